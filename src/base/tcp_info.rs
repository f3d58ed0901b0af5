//! What the kernel knows about a TCP connection: what arrived at the far end, not what was written.
#![allow(unsafe_code, reason = "TCP_INFO has no safe wrapper that tells acknowledged bytes")]

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// One look at a connection (Linux, `tcp(7)`, `struct tcp_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Bytes of ours that the far end's kernel acknowledged.
    pub bytes_acked: u64,
    /// Bytes that are written and not yet sent for the first time.
    pub bytes_not_sent: u32,
    /// Segments on their way, not acknowledged.
    pub segments_unacked: u32,
    /// Smoothed round trip time.
    pub rtt: Duration,
    /// The least round trip time that was seen lately.
    pub rtt_min: Duration,
    /// Segments sent again, ever.
    pub retransmits: u32,
    /// What the line carried lately, in bytes a second; 0 if not known.
    pub delivery_bytes_per_second: u64,
    /// Segments of data sent, repeats included.
    pub data_segments_sent: u32,
    /// Segments that arrived, in order or not; `None` before Linux 4.18.
    pub delivered: Option<u32>,
    /// How many bytes the far end would take now; `None` before Linux 5.4.
    pub window_bytes: Option<u32>,
}

impl TcpInfo {
    /// Asks the kernel about `socket`.
    ///
    /// # Errors
    /// If it is no TCP socket.
    pub fn of(socket: &impl AsFd) -> io::Result<TcpInfo> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: getsockopt writes at most `length` bytes to `info`, which has that many; the descriptor is
        // open while `socket` is borrowed.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the structure is plain integers, for which zeros are valid: what an older kernel left unwritten
        // stays 0.
        let info = unsafe { info.assume_init() };
        let told = |offset: usize| offset + size_of::<u32>() <= length as usize;
        let micros = |micros: u32| Duration::from_micros(u64::from(micros));
        Ok(TcpInfo {
            // The kernel counts the SYN as a byte.
            bytes_acked: info.tcpi_bytes_acked.saturating_sub(1),
            bytes_not_sent: info.tcpi_notsent_bytes,
            segments_unacked: info.tcpi_unacked,
            rtt: micros(info.tcpi_rtt),
            rtt_min: micros(info.tcpi_min_rtt),
            retransmits: info.tcpi_total_retrans,
            delivery_bytes_per_second: info.tcpi_delivery_rate,
            data_segments_sent: info.tcpi_data_segs_out,
            delivered: told(offset_of!(libc::tcp_info, tcpi_delivered)).then_some(info.tcpi_delivered),
            window_bytes: told(offset_of!(libc::tcp_info, tcpi_snd_wnd)).then_some(info.tcpi_snd_wnd),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_that_arrived_are_acknowledged_to_the_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (mut far, _) = listener.accept().expect("accepts");
        near.write_all(&[7; 10_000]).expect("written");
        far.read_exact(&mut [0; 10_000]).expect("read");
        // An answer carries the acknowledgement with it, at the latest.
        far.write_all(&[1]).expect("written");
        near.read_exact(&mut [0]).expect("read");
        let info = TcpInfo::of(&near).expect("a TCP socket");
        assert_eq!((info.bytes_acked, info.bytes_not_sent, info.segments_unacked), (10_000, 0, 0));
        assert!(info.data_segments_sent > 0 && info.delivered.is_none_or(|count| count > 0), "{info:?}");
        assert!(info.window_bytes.is_none_or(|bytes| bytes > 1_000), "{info:?}");
    }

    #[test]
    fn what_is_no_tcp_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").expect("opens");
        assert!(TcpInfo::of(&file).is_err());
    }
}
