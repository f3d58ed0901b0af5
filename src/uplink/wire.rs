//! The bytes of one connection, plain or encrypted, without ever blocking.
//!
//! ```text
//!   session's output ──push──> | TLS | ──> pending ──flush──> socket        end() = written + pending
//!   session's input  <──read── | TLS | <────────────────────  socket
//! ```
//!
//! Encryption happens at [`Wire::push`]: from then on a byte has its place in the connection's byte stream, so that
//! [`Wire::end`] and what the kernel says was acknowledged count the same bytes (RFC 4898 counts what TCP carries,
//! which is ciphertext). Decides nothing: whom a destination trusts and what a failure means to it says
//! `trust.rs`.

mod trust;

use std::io::{self, Read as _, Write as _};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use rustls::ClientConnection;
use socket2::{SockRef, Socket};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(super) use trust::{trust_of, words};

use crate::base::tls::TlsError;

/// Bytes read from the socket in one go; far ends of an uplink have little to say.
const READ_BYTES: usize = 4 << 10;

/// Records of the far end taken in one [`Wire::read`] although none of them says anything: after these another
/// connection has its turn.
const SILENT_RECORDS_MAX: usize = 16;

/// What [`Wire::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes, at the buffer's beginning.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The far end will say nothing more: it hung up, with TLS's good-bye or without.
    End,
}

/// Why a connection can go on no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The socket's own trouble.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// TLS's.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A connected socket, with TLS on it or without.
pub(super) struct Wire {
    socket: TcpStream,
    tls: Option<Session>,
    pending: BytesMut,
    written: u64,
}

/// TLS on a socket.
struct Session {
    connection: Box<ClientConnection>,
    /// Read from the socket, and not yet taken by `connection`: at most [`READ_BYTES`].
    heard: BytesMut,
}

impl Wire {
    /// The socket as it is.
    pub(super) fn plain(socket: TcpStream) -> Wire {
        Wire { socket, tls: None, pending: BytesMut::new(), written: 0 }
    }

    /// TLS on the socket; the first words of its handshake are pending at once. `connection` is of `Tls::session`.
    pub(super) fn tls(socket: TcpStream, connection: ClientConnection) -> Wire {
        let session = Session { connection: Box::new(connection), heard: BytesMut::new() };
        let mut wire = Wire { socket, tls: Some(session), pending: BytesMut::new(), written: 0 };
        wire.collect();
        wire
    }

    /// The socket, for the kernel's counters.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Another hold on the socket: while it lives the connection does.
    pub(super) fn hold(&self) -> io::Result<Socket> {
        SockRef::from(&self.socket).try_clone()
    }

    /// Whether TLS has not been agreed upon yet. Nothing can be pushed until then.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.is_handshaking())
    }

    /// Takes all of `plain` into the byte stream, and leaves it empty. While TLS is being agreed upon `plain` stays
    /// where it is: push it again later.
    ///
    /// Bounded by the caller, who gives nothing more while [`Wire::pending_bytes`] is much.
    pub(super) fn push(&mut self, plain: &mut BytesMut) {
        let Some(tls) = &mut self.tls else {
            if self.pending.is_empty() {
                std::mem::swap(&mut self.pending, plain);
            } else {
                self.pending.extend_from_slice(plain);
            }
            plain.clear();
            return;
        };
        if tls.connection.is_handshaking() || plain.is_empty() {
            return;
        }
        let taken = tls.connection.writer().write_all(plain);
        debug_assert!(taken.is_ok(), "the session's buffer has no limit");
        plain.clear();
        self.collect();
    }

    /// Bytes that are in the byte stream and not in the kernel.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Bytes handed to the kernel.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Where the byte stream ends, counted from the connection's first byte as the kernel counts acknowledgements.
    pub(super) fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Gives the kernel what it takes.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.socket.try_write(&self.pending) {
                Ok(bytes) => {
                    self.pending.advance(bytes);
                    self.written += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the far end says into `into`, and carries TLS's handshake on. What TLS has to answer is pending
    /// afterwards; call it until [`Read::Nothing`], then flush.
    ///
    /// # Errors
    /// [`WireError`]; the connection is over then, and the far end was told why if TLS has words for it.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<Read, WireError> {
        if self.tls.is_none() {
            return match self.socket.try_read(into) {
                Ok(0) => Ok(Read::End),
                Ok(bytes) => Ok(Read::Bytes(bytes)),
                Err(error) => nothing_yet(error),
            };
        }
        for _ in 0..SILENT_RECORDS_MAX {
            let Some(tls) = &mut self.tls else { break };
            match tls.connection.reader().read(into) {
                Ok(0) => return Ok(Read::End),
                Ok(bytes) => return Ok(Read::Bytes(bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if tls.heard.is_empty() {
                tls.heard.reserve(READ_BYTES);
                match self.socket.try_read_buf(&mut tls.heard) {
                    Ok(0) => return Ok(Read::End),
                    Ok(_) => {}
                    Err(error) => return nothing_yet(error),
                }
            }
            self.take_heard()?;
        }
        Ok(Read::Nothing)
    }

    /// Ready as soon as something may be read, or the kernel takes some of what is pending. A broken socket is
    /// ready: the next step finds out.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let unread = self.tls.as_ref().is_some_and(|tls| !tls.heard.is_empty());
        let reads = self.socket.poll_read_ready(cx).is_ready();
        let writes = !self.pending.is_empty() && self.socket.poll_write_ready(cx).is_ready();
        if unread || reads || writes { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Gives the kernel all that is pending, says TLS's good-bye, closes our direction and waits for the far end to
    /// close its own. Whoever calls it bounds the time.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn close(mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.connection.send_close_notify();
            self.collect();
        }
        self.socket.write_all_buf(&mut self.pending).await?;
        self.socket.shutdown().await?;
        // Hanging up with unread answers would make the kernel reset the line, and the far end lose the good-bye
        // with it. What is said now is of no interest, so that it stays encrypted.
        let mut heard = [0; READ_BYTES];
        loop {
            self.socket.readable().await?;
            match self.socket.try_read(&mut heard) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    fn take_heard(&mut self) -> Result<(), WireError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut rest = &tls.heard[..];
        let taken = tls.connection.read_tls(&mut rest)?;
        // After its good-bye nothing of the far end counts.
        let left = if taken == 0 { 0 } else { rest.len() };
        tls.heard.advance(tls.heard.len() - left);
        let outcome = tls.connection.process_new_packets();
        self.collect();
        if let Err(error) = outcome {
            // The far end's log shall say why, too: an alert was made for it.
            let _ = self.flush();
            return Err(TlsError::from(error).into());
        }
        Ok(())
    }

    /// Moves what TLS has to say into the byte stream.
    fn collect(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        let mut pending = Pending(&mut self.pending);
        while tls.connection.wants_write() {
            if tls.connection.write_tls(&mut pending).is_err() {
                debug_assert!(false, "memory takes what is written");
                break;
            }
        }
    }
}

/// The byte stream's end as something to write to.
struct Pending<'a>(&'a mut BytesMut);

impl io::Write for Pending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nothing_yet(error: io::Error) -> Result<Read, WireError> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Read::Nothing),
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
