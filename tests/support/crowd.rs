//! A crowd of buyers: requests sent over many keep-alive connections at once, each answer handed back in its place.
//!
//! One thread and one connection for each of so many buyers at work; who has an answer takes the next request. The
//! crowd counts nothing and expects nothing: what the answers mean is for the test to say.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use footlight::base::clock;

/// How long an answer may take before somebody is worth a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stack of one buyer: a thousand of them fit anywhere.
const STACK_BYTES: usize = 256 << 10;

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    /// `Idempotency-Key`
    pub key: Option<String>,
    pub body: String,
    /// Who waits no longer than this hangs up; nothing: waits.
    pub patience: Option<Duration>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    /// `Idempotency-Replayed: true`
    pub again: bool,
    pub body: String,
}

impl Ask {
    /// An order of `quantity` units.
    pub fn order(key: impl Into<String>, sku: &str, quantity: u32, buyer: &str) -> Ask {
        Ask::post(
            "/api/v1/orders",
            Some(key.into()),
            format!(r#"{{"sku":"{sku}","quantity":{quantity},"buyer":"{buyer}"}}"#),
        )
    }

    /// Any `POST` of JSON.
    pub fn post(path: impl Into<String>, key: Option<String>, body: impl Into<String>) -> Ask {
        Ask { method: "POST", path: path.into(), key, body: body.into(), patience: None }
    }

    fn written(&self, server: SocketAddr) -> String {
        let Ask { method, path, key, body, .. } = self;
        let key = key.as_ref().map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\n{key}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Sends all of these over so many connections; the answers are in the order of `asks`, `None` where there was none.
pub fn send(server: SocketAddr, connections: usize, asks: &[Ask]) -> Vec<Option<Told>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(vec![None; asks.len()]);
    let buyer = || {
        let mut line = None;
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(ask) = asks.get(place) else { return };
            let told = exchange(&mut line, server, ask);
            if told.is_err() {
                line = None;
            }
            answers.lock().unwrap()[place] = told.ok();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..connections.min(asks.len()) {
            let thread = std::thread::Builder::new().name("buyer".into()).stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, buyer).unwrap();
        }
    });
    answers.into_inner().unwrap()
}

fn exchange(line: &mut Option<TcpStream>, server: SocketAddr, ask: &Ask) -> io::Result<Told> {
    let socket = match line {
        Some(socket) => socket,
        None => line.insert(connect(server)?),
    };
    socket.set_read_timeout(Some(ask.patience.unwrap_or(PATIENCE)))?;
    socket.write_all(ask.written(server).as_bytes())?;
    read(socket)
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&server, PATIENCE)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Reads one answer with `Content-Length`, the only kind that the API gives to a request here.
fn read(socket: &mut TcpStream) -> io::Result<Told> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::with_capacity(1_024);
    let mut chunk = [0; 4_096];
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            let head = std::str::from_utf8(&bytes[..end]).map_err(|_| broken("a head that is no text"))?;
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
            let find = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                let mut named = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                named.next().map(|(_, value)| value.trim())
            };
            let length = find("content-length").map_or(Some(0), |length| length.parse::<usize>().ok());
            let (status, length) = status.zip(length).ok_or_else(|| broken("a head that is no HTTP"))?;
            let again = find("idempotency-replayed") == Some("true");
            if bytes.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned();
                return Ok(Told { status, again, body });
            }
        }
        match socket.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Chance that can be repeated (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From `FOOTLIGHT_SEED`, else from the clock; a test that fails shows which.
    pub fn new() -> Dice {
        let given = std::env::var("FOOTLIGHT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(clock::unix_millis);
        println!("repeat it with FOOTLIGHT_SEED={seed}");
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Whether it happens, `percent` times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Any order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}
