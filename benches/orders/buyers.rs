//! The buyers: each a keep-alive connection that orders, hears the answer, and orders again. All on one thread, which
//! never sleeps in `epoll_wait`: waking it would be charged to the server, whose answer does it.
//!
//! Two ways of asking: [`Buyers::as_fast_as_answered`], where each asks again once it is answered, finds out how much
//! there can be; [`Buyers::at_rate`] asks by the clock, whatever becomes of earlier requests, and counts an answer's
//! time from when its request was due: a server that falls behind is not spared the requests that would have come.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use footlight::base::clock;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use socket2::{Domain, Socket, Type};

use crate::names::{self, HOT};

/// How long the thread sleeps when it finds nothing to do; answers look later by up to this much.
const NAP: Duration = Duration::from_micros(100);

/// Connections that are made in one go, so that no queue of half-open ones runs over.
const MADE_AT_ONCE: usize = 100;

/// Without any answer for this long the server is taken for dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer is no longer than this.
const ANSWER_BYTES_MAX: usize = 8 << 10;

struct Buyer {
    socket: TcpStream,
    answer: Vec<u8>,
    /// When the request was due that it waits for.
    due: Option<Instant>,
}

/// What the buyers heard.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    pub accepted: u64,
    /// 409: sold out, or another refusal.
    pub refused: u64,
    /// 503: too many wait.
    pub turned_away: u64,
    /// Of all answers, in milliseconds from when the request was due.
    pub delays: Vec<f64>,
    /// From the first request's due time to the last answer.
    pub took: Duration,
}

impl Heard {
    /// Accepted orders a second.
    pub fn per_second(&self) -> f64 {
        self.accepted as f64 / self.took.as_secs_f64()
    }

    fn answers(&self) -> u64 {
        self.accepted + self.refused + self.turned_away
    }
}

pub struct Buyers {
    epoll: Epoll,
    all: Vec<Buyer>,
    idle: VecDeque<usize>,
    /// Requests made so far: each has a key of its own.
    number: u64,
}

impl Buyers {
    /// So many buyers, connected. `first` is the number of their first request.
    pub fn connect(server: SocketAddr, count: usize, first: u64) -> Buyers {
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let all = (0..count)
            .map(|slot| {
                if slot % MADE_AT_ONCE == MADE_AT_ONCE - 1 {
                    nap(Duration::from_millis(5));
                }
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.connect(&server.into()).unwrap();
                let socket: TcpStream = socket.into();
                socket.set_nodelay(true).unwrap();
                socket.set_nonblocking(true).unwrap();
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64)).unwrap();
                Buyer { socket, answer: Vec::new(), due: None }
            })
            .collect();
        Buyers { epoll, all, idle: (0..count).collect(), number: first }
    }

    /// All order, and again as soon as they are answered, for this long; then the last answers are awaited.
    pub fn as_fast_as_answered(&mut self, span: Duration) -> Heard {
        let began = clock::now();
        self.work(|now, idle, _| if now.duration_since(began) < span { Some(vec![now; idle]) } else { None })
    }

    /// Each orders once, all at the same moment.
    pub fn once(&mut self) -> Heard {
        let mut count = Some(self.all.len());
        self.work(|now, _, _| count.take().map(|count| vec![now; count]))
    }

    /// Orders are due at this rate, for this long.
    pub fn at_rate(&mut self, per_second: u32, span: Duration) -> Heard {
        let began = clock::now();
        let all = (f64::from(per_second) * span.as_secs_f64()) as u64;
        let due = |number: u64| began + Duration::from_secs_f64(number as f64 / f64::from(per_second));
        self.work(|now, _, asked| {
            (asked < all).then(|| (asked..all).map(due).take_while(|due| *due <= now).collect())
        })
    }

    /// Asks what is due, by what `plan` says from the time, the number of idle buyers and how many requests there
    /// were, until it says no more and everything is answered.
    fn work(&mut self, mut plan: impl FnMut(Instant, usize, u64) -> Option<Vec<Instant>>) -> Heard {
        let mut heard = Heard::default();
        let (began, mut last) = (clock::now(), clock::now());
        let (mut waiting, mut asked, mut more) = (VecDeque::new(), 0u64, true);
        while more || heard.answers() < asked {
            let now = clock::now();
            match plan(now, self.idle.len(), asked).filter(|_| more) {
                Some(due) => {
                    asked += due.len() as u64;
                    waiting.extend(due);
                }
                None => more = false,
            }
            let mut is_busy = false;
            while !waiting.is_empty()
                && let Some(slot) = self.idle.pop_front()
            {
                self.ask(slot, waiting.pop_front().unwrap());
                is_busy = true;
            }
            let before = heard.answers();
            self.look(&mut heard);
            if heard.answers() > before {
                last = clock::now();
            } else if !is_busy {
                assert!(last.elapsed() < PATIENCE, "no answer for a minute, {before} of {asked} came");
                nap(NAP);
            }
        }
        heard.took = last - began;
        heard
    }

    fn ask(&mut self, slot: usize, due: Instant) {
        let buyer = &mut self.all[slot];
        let number = self.number;
        self.number += 1;
        let body = format!(
            r#"{{"sku":"{HOT}","quantity":1,"buyer":"{}","contact":"{}"}}"#,
            names::buyer(number),
            names::contact(number)
        );
        let request = format!(
            "POST /api/v1/orders HTTP/1.1\r\nhost: footlight\r\ncontent-type: application/json\r\n\
             idempotency-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            names::key(number),
            body.len()
        );
        // It fits any send buffer, and nothing else waits in this one.
        assert_eq!(buyer.socket.write(request.as_bytes()).unwrap(), request.len());
        buyer.due = Some(due);
    }

    /// Reads the answers that have come.
    fn look(&mut self, heard: &mut Heard) {
        let mut events = [EpollEvent::empty(); 512];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
        let mut bytes = [0; ANSWER_BYTES_MAX];
        for event in &events[..ready] {
            let slot = event.data() as usize;
            let buyer = &mut self.all[slot];
            let read = buyer.socket.read(&mut bytes).unwrap();
            assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(&buyer.answer));
            buyer.answer.extend_from_slice(&bytes[..read]);
            let Some(status) = whole(&buyer.answer) else { continue };
            match status {
                201 => heard.accepted += 1,
                409 => heard.refused += 1,
                503 => heard.turned_away += 1,
                _ => panic!("{}", String::from_utf8_lossy(&buyer.answer)),
            }
            buyer.answer.clear();
            let due = buyer.due.take().expect("an answer follows a request");
            heard.delays.push(due.elapsed().as_secs_f64() * 1e3);
            self.idle.push_back(slot);
        }
    }
}

/// The status of an answer, once all of it is there.
fn whole(answer: &[u8]) -> Option<u16> {
    let head_bytes = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_bytes]).unwrap();
    let name = "\r\ncontent-length: ";
    let at = head.find(name).unwrap_or_else(|| panic!("an answer without its length: {head}")) + name.len();
    let length: usize = head[at..].split('\r').next().unwrap().parse().unwrap();
    assert!(answer.len() <= head_bytes + length, "an answer that nobody asked for");
    (answer.len() == head_bytes + length).then(|| head[9..12].parse().unwrap())
}

fn nap(span: Duration) {
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::empty(), &span.into());
}
