//! From a name to an open socket: its addresses asked for, and raced.
//!
//! How long each step may take is the caller's affair: what is dropped here is given up.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// Addresses of one name that are tried in one go.
const ADDRESSES_MAX: usize = 4;

/// How long an address has to itself before the next one is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// What a name service said, or has yet to say.
pub type Lookup = JoinHandle<io::Result<Vec<SocketAddr>>>;

/// Asks for the addresses of `host`. A name service that hangs holds a thread, so one question is asked at a time
/// and not dropped.
pub fn resolve(host: &str, port: u16) -> Lookup {
    let host = host.to_owned();
    tokio::spawn(async move {
        if is_this_machine(&host) {
            return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
        }
        let addresses: Vec<_> = lookup_host((host.as_str(), port)).await?.collect();
        if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
    })
}

/// Some of `addresses`, families taking turns, so that a broken one costs a moment.
pub fn in_turns(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.into_iter().peekable();
    let first_is_six = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (four, six): (Vec<_>, Vec<_>) = addresses.partition(SocketAddr::is_ipv4);
    let (one, other) = if first_is_six { (six, four) } else { (four, six) };
    let turns = one.len().max(other.len());
    let taken = (0..turns).flat_map(|at| [one.get(at), other.get(at)]).flatten();
    taken.copied().take(ADDRESSES_MAX).collect()
}

/// Connects to the first address that answers, each by `connect`; the last failure counts, unless it only says that
/// this machine has no way to such an address.
///
/// # Errors
/// Of the socket.
pub async fn race<Trial>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> Trial,
) -> io::Result<TcpStream>
where
    Trial: Future<Output = io::Result<TcpStream>> + Send + 'static,
{
    let mut tries = JoinSet::new();
    for (at, address) in (0u32..).zip(addresses) {
        let connecting = connect(address);
        tries.spawn(async move {
            sleep(NEXT_ADDRESS_AFTER * at).await;
            connecting.await
        });
    }
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(cause)) if says_more(&cause) || !says_more(&failure) => failure = cause,
            Ok(Err(_)) => {}
            Err(bug) => failure = io::Error::other(bug),
        }
    }
    Err(failure)
}

/// Whether it is about the far end, and not about a family of addresses that this machine does not use.
fn says_more(cause: &io::Error) -> bool {
    !matches!(cause.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable)
}

/// `localhost` is this machine, whatever a name service says (RFC 6761 §6.3): also in a root without `/etc/hosts`.
fn is_this_machine(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_so_that_a_broken_one_costs_a_moment() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(address);
        assert_eq!(in_turns(found), ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1"].map(address));
    }

    #[test]
    fn this_machine_is_known_without_a_name_service() {
        assert!(is_this_machine("LocalHost.") && !is_this_machine("localhost.example"));
    }
}
