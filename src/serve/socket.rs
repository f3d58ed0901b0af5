//! A connection's socket while hyper speaks on it, and what it tells us meanwhile.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::flv::Taken;

/// Bytes that the kernel may hold unsent for one connection. What waits there can no longer be skipped when a viewer
/// lags, and is memory; a keyframe that is bigger goes out in two writes. (Linux: `TCP_NOTSENT_LOWAT`.)
const UNSENT_BYTES_MAX: u32 = 64 << 10;

/// A client whose answer is told bit by bit is gone if its kernel has acknowledged nothing for this long: a phone that
/// left the building says no good-bye. (Linux: `TCP_USER_TIMEOUT`.)
const TOLD_UNHEARD_MAX: Duration = Duration::from_secs(30);

/// Tunes an accepted socket: nothing waits for more, and little waits unsent. The send buffer itself stays with the
/// kernel's own tuning, which follows the line.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// What a connection's service, its socket and its task tell each other.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// A viewer that was let in by this connection.
    taken: Mutex<Option<Taken>>,
    /// hyper has given bytes to the socket and not flushed them all.
    unflushed: AtomicBool,
    /// Bytes that the socket took.
    written: AtomicU64,
    /// The answer is told bit by bit.
    told: AtomicBool,
}

impl Link {
    /// This connection is a viewer's from here on.
    pub(super) fn give(&self, taken: Taken) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
    }

    /// The viewer, once nothing of earlier answers is left to be written.
    pub(super) fn take(&self) -> Option<Taken> {
        if self.is_unflushed() {
            return None;
        }
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the far end is yet to take something.
    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Whether the answer is told bit by bit, and may rest.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn set_told(&self, is_told: bool) {
        self.told.store(is_told, Ordering::Relaxed);
    }

    /// Bytes that the far end's socket took so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// The socket as hyper sees it.
pub(super) struct Socket {
    io: TokioIo<TcpStream>,
    link: Arc<Link>,
    /// The kernel knows how long the client of an answer that is told bit by bit may be silent.
    is_bounded: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, link: Arc<Link>) -> Socket {
        Socket { io: TokioIo::new(stream), link, is_bounded: false }
    }

    /// The socket alone.
    pub(super) fn into_stream(self) -> TcpStream {
        self.io.into_inner()
    }

    /// Bytes are about to be written.
    fn begin_write(&mut self) {
        self.link.unflushed.store(true, Ordering::Relaxed);
        if !self.is_bounded && self.link.is_told() {
            self.is_bounded = true;
            // A kernel without it gives up after a quarter of an hour.
            let _ = SockRef::from(self.io.inner()).set_tcp_user_timeout(Some(TOLD_UNHEARD_MAX));
        }
    }

    fn note(&self, written: usize) -> usize {
        self.link.written.fetch_add(written as u64, Ordering::Relaxed);
        written
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.begin_write();
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        Poll::Ready(Ok(self.note(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begin_write();
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        Poll::Ready(Ok(self.note(written)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes here only with an empty buffer of its own.
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.link.unflushed.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
