//! The viewers: all on one thread, which wakes by the clock and looks what has come.
//!
//! It never sleeps in `epoll_wait`: waking it would be charged to the server, whose write does it.

use std::io::{IoSliceMut, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use footlight::base::clock;
use footlight::base::ticks::Ticks;
use footlight::media::flv::{self, BODY_BYTES_MAX, Item, Parser, TagType, VideoBody};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::stream;

/// How often the crowd looks.
const TICK: Ticks = Ticks(Ticks::PER_SECOND / 200);

/// How a viewer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Counted, and dropped inside the kernel.
    Discarded,
    /// Each picture's delay.
    Timed,
    /// The time to its first keyframe; then it leaves.
    Joining,
}

struct Viewer {
    socket: TcpStream,
    reading: Reading,
    /// Of the wall clock, in nanoseconds: its connect.
    began: u64,
    head: Vec<u8>,
    parser: Option<Parser>,
}

pub struct Crowd {
    address: SocketAddr,
    epoll: Epoll,
    viewers: Vec<Option<Viewer>>,
    buffer: Vec<u8>,
    bytes: u64,
    delays: Vec<f64>,
    joins: Vec<f64>,
}

impl Crowd {
    pub fn new(address: SocketAddr) -> Crowd {
        Crowd {
            address,
            epoll: Epoll::new(EpollCreateFlags::empty()).unwrap(),
            viewers: Vec::new(),
            buffer: vec![0; 1 << 20],
            bytes: 0,
            delays: Vec::new(),
            joins: Vec::new(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Viewers that are still there.
    pub fn open(&self) -> usize {
        self.viewers.iter().flatten().count()
    }

    pub fn take_delays(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.delays)
    }

    pub fn take_joins(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.joins)
    }

    /// Lets more viewers in, at most 100 a second.
    pub fn add(&mut self, count: usize, reading: Reading) {
        for _ in 0..count {
            let began = stream::wall_nanos();
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if reading != Reading::Discarded {
                setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
                // Room for a keyframe: its end must not wait until this thread looks again and makes some.
                socket.set_recv_buffer_size(200 << 10).unwrap();
            }
            socket.connect(&self.address.into()).unwrap();
            let mut socket: TcpStream = socket.into();
            socket.write_all(b"GET /live/main.flv HTTP/1.1\r\nhost: bench\r\n\r\n").unwrap();
            socket.set_nonblocking(true).unwrap();
            self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, self.viewers.len() as u64)).unwrap();
            self.viewers.push(Some(Viewer { socket, reading, began, head: Vec::new(), parser: None }));
            if count > 1 {
                self.run(Duration::from_millis(10));
            }
        }
    }

    /// Watches for this long, and says for how long it really was.
    pub fn run(&mut self, span: Duration) -> Duration {
        let start: Instant = clock::now();
        let base = clock::monotonic_ticks();
        for tick in 1.. {
            stream::sleep_until(base, Ticks(TICK.0 * tick));
            self.look();
            if start.elapsed() >= span {
                break;
            }
        }
        start.elapsed()
    }

    fn look(&mut self) {
        let mut events = [EpollEvent::empty(); 1_024];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
        for event in &events[..ready] {
            let slot = event.data() as usize;
            let Some(mut viewer) = self.viewers[slot].take() else { continue };
            let stays = match viewer.reading {
                Reading::Discarded => self.discard(viewer.socket.as_raw_fd()),
                Reading::Timed | Reading::Joining => self.parse(&mut viewer),
            };
            if stays {
                self.viewers[slot] = Some(viewer);
            }
        }
    }

    fn discard(&mut self, socket: RawFd) -> bool {
        loop {
            match recv(socket, &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(0) => return false,
                Ok(read) => self.bytes += read as u64,
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Reads with the kernel's time stamps; `false` if the viewer goes.
    fn parse(&mut self, viewer: &mut Viewer) -> bool {
        loop {
            let mut control = cmsg_space!(TimeSpec);
            let (read, arrived) = {
                let mut slices = [IoSliceMut::new(&mut self.buffer[..16_384])];
                let flags = MsgFlags::empty();
                match recvmsg::<()>(viewer.socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                    Ok(message) if message.bytes > 0 => {
                        let arrived = message.cmsgs().unwrap().find_map(|control| match control {
                            ControlMessageOwned::ScmTimestampns(at) => {
                                Some(Duration::from(at).as_nanos() as u64)
                            }
                            _ => None,
                        });
                        (message.bytes, arrived)
                    }
                    Err(Errno::EAGAIN) => return true,
                    _ => return false,
                }
            };
            self.bytes += read as u64;
            let mut bytes = &self.buffer[..read];
            while viewer.parser.is_none() && !bytes.is_empty() {
                viewer.head.push(bytes[0]);
                bytes = &bytes[1..];
                if viewer.head.ends_with(b"\r\n\r\n") {
                    assert!(
                        viewer.head.starts_with(b"HTTP/1.1 200"),
                        "{:?}",
                        String::from_utf8_lossy(&viewer.head)
                    );
                    viewer.parser = Some(Parser::new(BODY_BYTES_MAX));
                }
            }
            let Some(parser) = &mut viewer.parser else { continue };
            parser.push(bytes);
            while let Some(item) = parser.pull().unwrap() {
                let Item::Tag { kind: TagType::Video, body, .. } = item else { continue };
                let VideoBody::Frame { keyframe, payload, .. } = flv::parse_video(&body).unwrap() else {
                    continue;
                };
                let Some(arrived) = arrived else { continue };
                let millis = |since: u64| (arrived as f64 - since as f64) * 1e-6;
                if viewer.reading == Reading::Joining && keyframe {
                    self.joins.push(millis(viewer.began));
                    return false;
                }
                let made: [u8; 8] = payload[stream::STAMP_AT..stream::STAMP_AT + 8].try_into().unwrap();
                self.delays.push(millis(u64::from_be_bytes(made)));
            }
        }
    }
}
