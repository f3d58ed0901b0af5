//! From a destination to an open socket: its name resolved, its addresses tried, by the way that is asked for.
//!
//! How long each step may take is the failover core's affair: what is dropped here is given up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::config::schema::Destination;

/// Addresses of one name that are tried in one go.
const ADDRESSES_MAX: usize = 4;

/// How long an address has to itself before the next one is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Bytes that may wait in the kernel unsent. What waits there can no longer be left out or sent by another line, so
/// little should: an eighth of a second at 4 Mbit/s.
const NOT_SENT_BYTES_MAX: u32 = 64 << 10;

/// What a name service said, or has yet to say.
pub(super) type Lookup = JoinHandle<io::Result<Vec<SocketAddr>>>;

/// Asks for the addresses of `host`. A name service that hangs holds a thread, so one question is asked at a time
/// and not dropped.
pub(super) fn resolve(host: &str, port: u16) -> Lookup {
    let host = host.to_owned();
    tokio::spawn(async move {
        if is_this_machine(&host) {
            return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
        }
        let addresses: Vec<_> = lookup_host((host.as_str(), port)).await?.collect();
        if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
    })
}

/// Those of `addresses` that the destination's way out can reach, families taking turns.
pub(super) fn reachable(addresses: &[SocketAddr], destination: &Destination) -> Vec<SocketAddr> {
    let fits = |address: &&SocketAddr| {
        destination.source_address.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    };
    let (four, six): (Vec<_>, Vec<_>) = addresses.iter().filter(fits).partition(|address| address.is_ipv4());
    let first_is_six = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other) = if first_is_six { (six, four) } else { (four, six) };
    let turns = one.len().max(other.len());
    let taken = (0..turns).flat_map(|at| [one.get(at), other.get(at)]).flatten();
    taken.copied().take(ADDRESSES_MAX).collect()
}

/// Connects to the first address that answers; the last failure counts.
///
/// # Errors
/// Of the socket. An interface that does not exist is an error of this kind too.
pub(super) async fn connect(
    addresses: Vec<SocketAddr>,
    interface: Option<String>,
    source: Option<IpAddr>,
) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for (at, address) in (0u32..).zip(addresses) {
        let interface = interface.clone();
        tries.spawn(async move {
            sleep(NEXT_ADDRESS_AFTER * at).await;
            connect_one(address, interface.as_deref(), source).await
        });
    }
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(cause)) => failure = cause,
            Err(bug) => failure = io::Error::other(bug),
        }
    }
    Err(failure)
}

async fn connect_one(
    address: SocketAddr,
    interface: Option<&str>,
    source: Option<IpAddr>,
) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    let socket = socket.connect(address).await?;
    tune(&socket)?;
    Ok(socket)
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX)?;
    // For a line that owes nothing, because the stream stands still, and dies meanwhile.
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)
}

/// `localhost` is this machine, whatever a name service says (RFC 6761 §6.3): also in a root without `/etc/hosts`.
fn is_this_machine(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn families_take_turns_so_that_a_broken_one_costs_a_moment() {
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(address);
        let mut destination: Destination = "rtmp://far.example/live/key".parse().expect("a URL");
        let want = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1"].map(address);
        assert_eq!(reachable(&found, &destination), want);
        destination.source_address = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(reachable(&found, &destination), ["1.1.1.1:1", "2.2.2.2:1"].map(address));
    }

    #[test]
    fn this_machine_is_known_without_a_name_service() {
        assert!(is_this_machine("LocalHost.") && !is_this_machine("localhost.example"));
    }
}
