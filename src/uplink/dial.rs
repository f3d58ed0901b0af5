//! From a destination to an open socket, by the way that is asked for.
//!
//! How long each step may take is the failover core's affair: what is dropped here is given up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::base::dial;
use crate::config::schema::Destination;

/// Bytes that may wait in the kernel unsent. What waits there can no longer be left out or sent by another line, so
/// little should: an eighth of a second at 4 Mbit/s.
const NOT_SENT_BYTES_MAX: u32 = 64 << 10;

/// Those of `addresses` that the destination's way out can reach, families taking turns.
pub(super) fn reachable(addresses: &[SocketAddr], destination: &Destination) -> Vec<SocketAddr> {
    let fits = |address: &&SocketAddr| {
        destination.source_address.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    };
    dial::in_turns(addresses.iter().filter(fits).copied())
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
    dial::race(addresses, |address| {
        let interface = interface.clone();
        async move { connect_one(address, interface.as_deref(), source).await }
    })
    .await
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_way_out_of_one_family_leaves_the_other_family_alone() {
        let found = ["[::1]:1", "1.1.1.1:1", "2.2.2.2:1"].map(|text| text.parse().expect("an address"));
        let mut destination: Destination = "rtmp://far.example/live/key".parse().expect("a URL");
        assert_eq!(reachable(&found, &destination), found);
        destination.source_address = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(reachable(&found, &destination), found[1..]);
    }
}
