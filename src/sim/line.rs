//! A path with a narrow place, and one TCP connection over it.
//!
//! The TCP is a rough Reno with selective acknowledgements: slow start, halving no more than once a round trip,
//! repeats on evidence from later segments, and a repeat timer that doubles. Rough, but it has what hurts: a hole
//! holds back everything behind it, and after a long silence the next try comes late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Rng, ms};

const SEGMENT_BYTES: u64 = 1_448;
const RTO_MIN: Duration = ms(200);
const RTO_MAX: Duration = Duration::from_secs(60);

/// What a far end's kernel takes before its program reads.
pub const RECEIVE_BUFFER_BYTES: u64 = 256 << 10;

/// In what steps a kernel tells how much it would take, rounding up.
const WINDOW_GRANULE_BYTES: u64 = 1 << 10;

/// A way through the network, as it is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// What its narrow place lets through.
    pub bandwidth_bps: u64,
    /// There and back without queues.
    pub rtt: Duration,
    /// Of segments, 0.0 to 1.0.
    pub loss: f64,
    /// What may queue before the narrow place.
    pub queue_bytes: u64,
    /// Everything vanishes, and nobody says so.
    pub silent: bool,
}

impl Path {
    /// 20 Mbit/s, 50 ms, no loss.
    pub fn steady() -> Path {
        Path { bandwidth_bps: 20_000_000, rtt: ms(50), loss: 0.0, queue_bytes: 256 << 10, silent: false }
    }

    /// The same with another round trip.
    #[must_use]
    pub fn rtt(self, rtt: Duration) -> Path {
        Path { rtt, ..self }
    }

    /// The same with another bandwidth.
    #[must_use]
    pub fn bandwidth(self, bps: u64) -> Path {
        Path { bandwidth_bps: bps, ..self }
    }

    /// The same with this loss.
    #[must_use]
    pub fn loss(self, loss: f64) -> Path {
        Path { loss, ..self }
    }
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    start: u64,
    end: u64,
    sent_at: Instant,
    /// `None`: it got lost on the way.
    arrives: Option<Instant>,
    landed: bool,
    repeats: u32,
    /// The sender knows that it is lost.
    missed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ack {
    at: Instant,
    upto: u64,
    edge: u64,
    delivered: u64,
    newest_sent_at: Option<Instant>,
    rtt: Option<Duration>,
}

/// What a kernel says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Bytes acknowledged.
    pub acked_bytes: u64,
    /// Bytes handed over and not acknowledged.
    pub owed_bytes: u64,
    /// Of these, bytes not sent even once.
    pub unsent_bytes: u64,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Segments known to have arrived, in order or not.
    pub delivered_segments: u64,
    /// Segments sent, repeats included.
    pub sent_segments: u64,
    /// Segments sent again.
    pub retransmitted_segments: u64,
    /// What the far end would take now.
    pub window_bytes: u64,
}

/// One TCP connection.
#[derive(Debug, Clone)]
pub struct Conn {
    written: u64,
    next: u64,
    acked: u64,
    segments: VecDeque<Segment>,
    acks: VecDeque<Ack>,
    congestion_bytes: f64,
    threshold_bytes: f64,
    halved_at: Option<Instant>,
    rtt: Duration,
    rto_at: Option<Instant>,
    rto_backoff: u32,
    narrow_free_at: Instant,
    received: u64,
    read: u64,
    told_edge: u64,
    edge: u64,
    delivered: u64,
    known_delivered: u64,
    sent_segments: u64,
    repeated_segments: u64,
}

impl Conn {
    /// A connection that was just made over `path`.
    pub fn new(now: Instant, path: &Path) -> Conn {
        Conn {
            written: 0,
            next: 0,
            acked: 0,
            segments: VecDeque::new(),
            acks: VecDeque::new(),
            congestion_bytes: (10 * SEGMENT_BYTES) as f64,
            threshold_bytes: 1e9,
            halved_at: None,
            rtt: path.rtt,
            rto_at: None,
            rto_backoff: 0,
            narrow_free_at: now,
            received: 0,
            read: 0,
            told_edge: RECEIVE_BUFFER_BYTES,
            edge: RECEIVE_BUFFER_BYTES,
            delivered: 0,
            known_delivered: 0,
            sent_segments: 0,
            repeated_segments: 0,
        }
    }

    /// Hands bytes to the socket; where they end in the connection's byte stream.
    pub fn write(&mut self, bytes: u64) -> u64 {
        self.written += bytes;
        self.written
    }

    /// What `TCP_INFO` would say.
    pub fn kernel(&self) -> Kernel {
        Kernel {
            acked_bytes: self.acked,
            owed_bytes: self.written - self.acked,
            unsent_bytes: self.unsent(),
            rtt: self.rtt,
            delivered_segments: self.known_delivered,
            sent_segments: self.sent_segments,
            retransmitted_segments: self.repeated_segments,
            window_bytes: self.edge.saturating_sub(self.acked),
        }
    }

    /// Bytes not sent even once.
    pub fn unsent(&self) -> u64 {
        self.written - self.next
    }

    /// Bytes ever handed over.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that the far end's program has read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Everything written was read.
    pub fn is_drained(&self) -> bool {
        self.read == self.written
    }

    /// Moves to `now`; the far end's program reads unless it is `frozen`.
    pub fn step(&mut self, now: Instant, path: &Path, frozen: bool, rng: &mut Rng) {
        self.land(now, path, frozen);
        self.hear(now);
        self.time_out(now);
        self.send(now, path, rng);
    }

    fn land(&mut self, now: Instant, path: &Path, frozen: bool) {
        let mut newest: Option<Segment> = None;
        for segment in &mut self.segments {
            if !segment.landed && segment.arrives.is_some_and(|at| at <= now) {
                segment.landed = true;
                self.delivered += 1;
                if newest.is_none_or(|other| other.sent_at < segment.sent_at) {
                    newest = Some(*segment);
                }
            }
        }
        for segment in &self.segments {
            if segment.end <= self.received {
                continue;
            }
            if !segment.landed || segment.start > self.received {
                break;
            }
            self.received = segment.end;
        }
        if !frozen {
            self.read = self.received;
        }
        let free = (self.read + RECEIVE_BUFFER_BYTES).saturating_sub(self.received);
        let edge = self.received + free.next_multiple_of(WINDOW_GRANULE_BYTES);
        if (newest.is_some() || edge > self.told_edge) && !path.silent {
            self.told_edge = edge.max(self.told_edge);
            self.acks.push_back(Ack {
                at: now + path.rtt / 2,
                upto: self.received,
                edge,
                delivered: self.delivered,
                newest_sent_at: newest.map(|segment| segment.sent_at),
                rtt: newest
                    .filter(|segment| segment.repeats == 0)
                    .map(|segment| now + path.rtt / 2 - segment.sent_at),
            });
        }
    }

    fn hear(&mut self, now: Instant) {
        while let Some(ack) = self.acks.front().copied().filter(|ack| ack.at <= now) {
            self.acks.pop_front();
            self.edge = self.edge.max(ack.edge);
            self.known_delivered = self.known_delivered.max(ack.delivered);
            if let Some(rtt) = ack.rtt {
                self.rtt = (self.rtt * 7 + rtt) / 8;
            }
            if ack.upto > self.acked {
                let fresh = (ack.upto - self.acked) as f64;
                self.acked = ack.upto;
                self.rto_backoff = 0;
                self.rto_at = None;
                self.congestion_bytes += if self.congestion_bytes < self.threshold_bytes {
                    fresh
                } else {
                    fresh * SEGMENT_BYTES as f64 / self.congestion_bytes
                };
                self.congestion_bytes = self.congestion_bytes.min(4e6);
            }
            while self.segments.front().is_some_and(|segment| segment.end <= self.acked) {
                self.segments.pop_front();
            }
            let Some(newest) = ack.newest_sent_at else { continue };
            let mut missed = false;
            for segment in &mut self.segments {
                if segment.arrives.is_none() && !segment.missed && segment.sent_at < newest {
                    (segment.missed, missed) = (true, true);
                }
            }
            if missed && self.halved_at.is_none_or(|at| now >= at + self.rtt) {
                self.halved_at = Some(now);
                self.threshold_bytes = (self.congestion_bytes * 0.7).max((2 * SEGMENT_BYTES) as f64);
                self.congestion_bytes = self.threshold_bytes;
            }
        }
    }

    fn time_out(&mut self, now: Instant) {
        if self.segments.is_empty() {
            self.rto_at = None;
            return;
        }
        let wait = (self.rtt + RTO_MIN).saturating_mul(1 << self.rto_backoff.min(16)).min(RTO_MAX);
        let due = *self.rto_at.get_or_insert(now + wait);
        if now < due {
            return;
        }
        for segment in self.segments.iter_mut().filter(|segment| segment.arrives.is_none()) {
            segment.missed = true;
        }
        self.threshold_bytes = (self.congestion_bytes * 0.5).max((4 * SEGMENT_BYTES) as f64);
        self.congestion_bytes = (2 * SEGMENT_BYTES) as f64;
        self.rto_backoff += 1;
        self.rto_at = None;
    }

    fn send(&mut self, now: Instant, path: &Path, rng: &mut Rng) {
        let mut budget = self.congestion_bytes as u64;
        for at in 0..self.segments.len() {
            let segment = self.segments[at];
            if segment.missed && budget > 0 {
                budget = budget.saturating_sub(segment.end - segment.start);
                self.repeated_segments += 1;
                let arrives = self.transmit(now, path, segment.end - segment.start, rng);
                let repeats = segment.repeats + 1;
                self.segments[at] = Segment { sent_at: now, arrives, repeats, missed: false, ..segment };
            }
        }
        while self.next < self.written {
            let end = self.written.min(self.next + SEGMENT_BYTES).min(self.edge);
            if end <= self.next || (end - self.acked) as f64 > self.congestion_bytes {
                break;
            }
            let arrives = self.transmit(now, path, end - self.next, rng);
            self.segments.push_back(Segment {
                start: self.next,
                end,
                sent_at: now,
                arrives,
                landed: false,
                repeats: 0,
                missed: false,
            });
            self.next = end;
        }
    }

    fn transmit(&mut self, now: Instant, path: &Path, bytes: u64, rng: &mut Rng) -> Option<Instant> {
        self.sent_segments += 1;
        let starts = self.narrow_free_at.max(now);
        let queued = (starts - now).as_secs_f64() * path.bandwidth_bps as f64 / 8.0;
        if path.silent || queued > path.queue_bytes as f64 {
            return None;
        }
        self.narrow_free_at =
            starts + Duration::from_secs_f64((bytes + 52) as f64 * 8.0 / path.bandwidth_bps as f64);
        (!rng.happens(path.loss)).then(|| self.narrow_free_at + path.rtt / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{epoch, secs};

    /// Offers more than the path carries for `span`; the bits per second that were read.
    fn throughput(path: Path, span: Duration, seed: u64) -> u64 {
        let (start, mut rng) = (epoch(), Rng::new(seed));
        let mut conn = Conn::new(start, &path);
        let mut now = start;
        while now < start + span {
            now += ms(5);
            if conn.unsent() < 64 << 10 {
                conn.write(64 << 10);
            }
            conn.step(now, &path, false, &mut rng);
        }
        conn.read() * 8 / span.as_secs()
    }

    #[test]
    fn a_connection_fills_a_clean_path_and_suffers_on_a_lossy_one() {
        let clean = throughput(Path::steady().bandwidth(6_000_000), secs(20), 1);
        assert!((5_000_000..6_000_000).contains(&clean), "{clean}");
        let lossy = throughput(Path::steady().bandwidth(6_000_000).loss(0.05), secs(20), 1);
        assert!((300_000..3_000_000).contains(&lossy), "{lossy}");
    }

    #[test]
    fn after_a_silence_everything_arrives_late_and_whole() {
        let (start, mut rng) = (epoch(), Rng::new(3));
        let mut path = Path::steady();
        let mut conn = Conn::new(start, &path);
        let mut now = start;
        for step in 0..4_000 {
            now += ms(5);
            path.silent = (200..1_000).contains(&step);
            if step < 2_000 {
                conn.write(2_000);
            }
            conn.step(now, &path, false, &mut rng);
            if step == 990 {
                assert!(conn.kernel().owed_bytes > 1_000_000);
            }
        }
        assert!(conn.is_drained());
        assert_eq!(conn.kernel().owed_bytes, 0);
    }

    #[test]
    fn a_program_that_reads_nothing_lets_its_kernel_take_a_buffer_full() {
        let (start, mut rng, path) = (epoch(), Rng::new(3), Path::steady());
        let mut conn = Conn::new(start, &path);
        conn.write(1 << 20);
        for step in 0..1_000 {
            conn.step(start + ms(5 * step), &path, true, &mut rng);
        }
        let kernel = conn.kernel();
        assert_eq!(conn.read(), 0);
        assert!(kernel.acked_bytes.abs_diff(RECEIVE_BUFFER_BYTES) <= WINDOW_GRANULE_BYTES, "{kernel:?}");
        assert_eq!(kernel.window_bytes, 0);
    }
}
