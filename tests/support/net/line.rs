//! The line between the box and one far end: a thread that carries IP packets and can be made worse.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use footlight::base::{clock, threads};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::tap::Tap;

/// No look takes longer, so that a change of shape and the end are noticed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// More than a TUN device's MTU.
const PACKET_BYTES_MAX: usize = 2_048;

/// How a line is. The default is a short wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Half of the round trip, each way.
    pub delay: Duration,
    /// Bits per second towards the far end, IP headers included; `None`: as fast as it comes. The way back is wide.
    pub rate_bps: Option<u64>,
    /// What may wait before the narrow place; more is dropped at its tail.
    pub queue_bytes: u64,
    /// The share of packets that is lost, each way.
    pub loss: f64,
    /// Nothing passes, and nobody is told.
    pub silent: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { delay: Duration::ZERO, rate_bps: None, queue_bytes: 64 << 10, loss: 0.0, silent: false }
    }
}

impl Shape {
    /// With this round trip.
    pub fn rtt(mut self, rtt: Duration) -> Shape {
        self.delay = rtt / 2;
        self
    }

    /// With this many bits per second towards the far end, and a queue of 200 ms before them.
    pub fn rate(mut self, bps: u64) -> Shape {
        self.rate_bps = Some(bps);
        self.queue_bytes = (bps / 8 / 5).max(16 << 10);
        self
    }

    /// With this share of packets lost.
    pub fn loss(mut self, share: f64) -> Shape {
        self.loss = share;
        self
    }
}

/// A line; down when dropped.
pub struct Line {
    shared: Arc<Shared>,
    carrier: Option<JoinHandle<()>>,
}

struct Shared {
    shape: Mutex<Shape>,
    tap: Mutex<Tap>,
    over: AtomicBool,
}

impl Line {
    pub(super) fn start(near: File, far: File, shape: Shape) -> Line {
        let shared = Arc::new(Shared {
            shape: Mutex::new(shape),
            tap: Mutex::new(Tap::default()),
            over: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let carrier = threads::spawn("test", "line", move || carry(&near, &far, &theirs)).unwrap();
        Line { shared, carrier: Some(carrier) }
    }

    /// Changes what the line is like; hands back when.
    pub fn change(&self, change: impl FnOnce(&mut Shape)) -> Instant {
        change(&mut lock(&self.shared.shape));
        clock::now()
    }

    /// Lets nothing pass any more, without a word to anybody; hands back when.
    pub fn fall_silent(&self) -> Instant {
        self.change(|shape| shape.silent = true)
    }

    /// Undoes [`Line::fall_silent`].
    pub fn heal(&self) -> Instant {
        self.change(|shape| shape.silent = false)
    }

    /// Looks at what passed.
    pub fn tap<T>(&self, look: impl FnOnce(&Tap) -> T) -> T {
        look(&lock(&self.shared.tap))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

/// One direction: what left its narrow place and is on its way.
#[derive(Default)]
struct Way {
    packets: VecDeque<(Instant, Vec<u8>)>,
    /// When the narrow place has sent all that waits.
    busy_until: Option<Instant>,
    /// Chance, the same in every run (SplitMix64).
    chance: u64,
}

impl Way {
    fn take(&mut self, now: Instant, packet: &[u8], shape: &Shape, narrow: bool) {
        if shape.silent || (shape.loss > 0.0 && self.chance() < shape.loss) {
            return;
        }
        let mut leaves = now;
        if let Some(rate) = shape.rate_bps.filter(|_| narrow) {
            let starts = self.busy_until.map_or(now, |until| until.max(now));
            let waiting_bytes = (starts - now).as_secs_f64() * rate as f64 / 8.0;
            if waiting_bytes > shape.queue_bytes as f64 {
                return;
            }
            leaves = starts + Duration::from_secs_f64(packet.len() as f64 * 8.0 / rate as f64);
            self.busy_until = Some(leaves);
        }
        self.packets.push_back((leaves + shape.delay, packet.to_vec()));
    }

    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.packets.front().filter(|(due, _)| *due <= now)?;
        self.packets.pop_front().map(|(_, packet)| packet)
    }

    fn chance(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn carry(mut near: &File, mut far: &File, shared: &Shared) {
    let (mut out, mut back) = (Way::default(), Way { chance: 1, ..Way::default() });
    let mut packet = [0; PACKET_BYTES_MAX];
    while !shared.over.load(Ordering::Relaxed) {
        let next = [&out, &back].into_iter().filter_map(|way| Some(way.packets.front()?.0)).min();
        let patience = next.map_or(LOOK_EVERY, |due| due.saturating_duration_since(clock::now()));
        let mut files =
            [PollFd::new(near.as_fd(), PollFlags::POLLIN), PollFd::new(far.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut files, Some(TimeSpec::from_duration(patience.min(LOOK_EVERY))), None);
        let (now, shape) = (clock::now(), *lock(&shared.shape));
        while let Ok(bytes) = near.read(&mut packet) {
            out.take(now, &packet[..bytes], &shape, true);
        }
        while let Ok(bytes) = far.read(&mut packet) {
            back.take(now, &packet[..bytes], &shape, false);
        }
        // What was under way when the line fell silent is lost with it.
        if shape.silent {
            out.packets.clear();
            back.packets.clear();
        }
        let mut tap = lock(&shared.tap);
        while let Some(packet) = out.due(now) {
            tap.delivered(now, &packet);
            let _ = far.write(&packet);
        }
        while let Some(packet) = back.due(now) {
            tap.came_back(now, &packet);
            let _ = near.write(&packet);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
