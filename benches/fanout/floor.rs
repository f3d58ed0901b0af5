//! The floor: one thread, one buffer for all, and a bare `write()` for each tag and viewer. No HTTP beyond a fixed
//! head, no queue, no copy; each viewer is a position in the buffer.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use footlight::base::clock;
use footlight::media::flv::{self, TAG_HEADER_BYTES};
use footlight::media::packet::Track;

use crate::shared::stream::{self, Piece};

/// The buffer goes round after this many pieces: 16 s.
const PIECES: usize = 1_230;

struct Out {
    socket: TcpStream,
    /// Position in the endless stream; `None` until its request has come.
    at: Option<u64>,
}

pub fn run() {
    let (mut buffer, ends) = record();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-type: video/x-flv\r\nconnection: close\r\n\r\n".to_vec();
    head.extend_from_slice(&flv::file_header(true, true));
    let start = clock::monotonic_ticks();
    let (mut outs, mut written, mut key) = (Vec::<Out>::new(), 0u64, 0u64);
    for (number, piece) in stream::pieces().enumerate() {
        let slot = number % PIECES;
        let from = if slot == 0 { 0 } else { ends[slot - 1] };
        if piece.keyframe && piece.track == Track::Video {
            key = written;
        }
        stream::sleep_until(start, piece.at);
        renew(&mut buffer[from..ends[slot]], piece);
        written += (ends[slot] - from) as u64;
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
            outs.push(Out { socket, at: None });
        }
        outs.retain_mut(|out| give(out, &buffer, &head, key, written));
    }
}

/// Writes one viewer what is due; `false` if it left.
fn give(out: &mut Out, buffer: &[u8], head: &[u8], key: u64, until: u64) -> bool {
    if out.at.is_none() {
        match out.socket.read(&mut [0; 2_048]) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            _ => return false,
        }
        out.socket.write_all(head).unwrap();
        out.at = Some(key);
    }
    let at = out.at.as_mut().unwrap();
    while *at < until {
        let from = (*at % buffer.len() as u64) as usize;
        let len = ((until - *at) as usize).min(buffer.len() - from);
        match out.socket.write(&buffer[from..from + len]) {
            Ok(taken) => *at += taken as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// All pieces as FLV tags side by side, and where each ends.
fn record() -> (Vec<u8>, Vec<usize>) {
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    for piece in stream::pieces().take(PIECES) {
        let payload = stream::payload(piece.bytes);
        let tag = match piece.track {
            Track::Video => {
                let codec = stream::layout().video.unwrap().codec;
                flv::video_tag(piece.at, piece.at, piece.keyframe, codec, &payload).unwrap()
            }
            Track::Audio => flv::audio_tag(piece.at, &payload).unwrap(),
        };
        buffer.extend_from_slice(&tag);
        ends.push(buffer.len());
    }
    (buffer, ends)
}

/// The tag's time, for all viewers at once, and when it was made.
fn renew(tag: &mut [u8], piece: Piece) {
    let [b3, b2, b1, b0] = (piece.at.millis() as u32).to_be_bytes();
    tag[4..8].copy_from_slice(&[b2, b1, b0, b3]);
    if piece.track == Track::Video {
        stream::stamp(&mut tag[TAG_HEADER_BYTES + 5..]);
    }
}
