//! The door: takes connections in, as many as there are seats.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::base::clock;
use crate::base::loggate::LogGate;

use super::connection;
use super::house::{self, House};
use super::socket;

/// Connections that the kernel holds ready while all workers write: thousands of buyers tap within one second. The
/// kernel takes no more than `net.core.somaxconn`, which is this since Linux 5.4.
const BACKLOG: i32 = 4_096;

/// How long to wait when the system has no descriptor or no memory for another connection: those that end give theirs
/// back meanwhile, and the kernel's backlog keeps who knocks.
const EXHAUSTED_WAITS: Duration = Duration::from_millis(50);

/// Connections that are being told that all seats are taken; beyond it they are closed without a word.
const REFUSING_MAX: u32 = 64;

/// How long a refused client may take to read why.
const REFUSING_LASTS: Duration = Duration::from_secs(1);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 64\r\n\r\n\
    Not now: all connections are taken (http.max_connections).     \n";

static EXHAUSTED: LogGate = LogGate::new(Duration::from_secs(10));
static NO_SEAT: LogGate = LogGate::new(Duration::from_secs(10));

/// Listens on `address`; `[::]` takes IPv4 too.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted box takes its port back while old connections still fade away.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Takes connections in until `stopping`, then waits for those that are left.
pub(super) async fn run(listener: TcpListener, house: Arc<House>, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let refusing = Arc::new(AtomicU32::new(0));
    let stopped = stopping.clone();
    loop {
        tokio::select! {
            () = house::told_to_stop(&mut stopping) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(stream, peer, &house, &stopped, &refusing, &mut connections),
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    house: &Arc<House>,
    stopping: &watch::Receiver<bool>,
    refusing: &Arc<AtomicU32>,
    connections: &mut JoinSet<()>,
) {
    if let Err(error) = socket::tune(&stream) {
        // The far end is gone already, or the kernel lacks an option that only saves memory.
        debug!(%peer, %error, "a socket could not be tuned");
    }
    if let Some(seat) = house.seats.take(house.http().max_connections) {
        connections.spawn(connection::serve(stream, peer, seat, house.clone(), stopping.clone()));
        return;
    }
    if let Some(held_back) = NO_SEAT.pass(clock::now()) {
        warn!(%peer, held_back, "all connections are taken (http.max_connections)");
    }
    if refusing.fetch_add(1, Ordering::Relaxed) < REFUSING_MAX {
        connections.spawn(refuse(stream, refusing.clone()));
    } else {
        refusing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells a client that there is no seat. What it says meanwhile is read away: closing on unread bytes would reset
/// the connection before it has read why.
async fn refuse(mut stream: TcpStream, refusing: Arc<AtomicU32>) {
    let telling = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        let mut unwanted = [0; 1_024];
        while stream.read(&mut unwanted).await? > 0 {}
        io::Result::Ok(())
    };
    // Told or not, it is over.
    let _ = tokio::time::timeout(REFUSING_LASTS, telling).await;
    refusing.fetch_sub(1, Ordering::Relaxed);
}

async fn pause(error: &io::Error) {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    if !error.raw_os_error().is_some_and(|code| exhausted.contains(&code)) {
        // The client gave up before it was taken in.
        debug!(%error, "a connection was gone before it was accepted");
        return;
    }
    if let Some(held_back) = EXHAUSTED.pass(clock::now()) {
        warn!(%error, held_back, "the system has nothing left for another connection");
    }
    tokio::time::sleep(EXHAUSTED_WAITS).await;
}
