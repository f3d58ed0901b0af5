//! One output over a line that gets narrower and wider, its encoder following.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::hub::TagKind;
use crate::sim::encoder::{Encoder, Tag};
use crate::sim::line::{Conn, Path};
use crate::sim::{Rng, epoch, ms};
use crate::uplink::bitrate::{Action, Bitrate, Bounds, Event, OutputId, Settings};
use crate::uplink::inflight::{Inflight, Seq};
use crate::uplink::lines::{LineStats, Sample};
use crate::uplink::shed::{Shed, Shedding};

const STEP: Duration = ms(5);
const SAMPLE_EVERY: Duration = ms(50);
const UNSENT_MAX: u64 = 32 << 10;

/// How it stood at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// What the encoder was told, in bits per second.
    pub bitrate: u64,
    /// What the line lets through, in bits per second.
    pub bandwidth: u64,
    /// How old the tag was that the far end read last.
    pub delay: Duration,
}

/// The world.
pub struct Narrow {
    rng: Rng,
    start: Instant,
    now: Instant,
    path: Path,
    tcp: Conn,
    encoder: Encoder,
    waiting: VecDeque<Tag>,
    ends: VecDeque<(u64, Tag)>,
    shed: Shed,
    inflight: Inflight,
    stats: LineStats,
    core: Option<Bitrate>,
    sampled_at: Instant,
    delay: Duration,
    history: Vec<Moment>,
    /// Pictures that were left out.
    pub thinned: u64,
    /// Pictures that the far end read, in bytes.
    pub read_bytes: u64,
    changes: u64,
}

impl Narrow {
    /// An encoder that wants `wanted` over `path`; it follows the line down to `floor` unless that is `None`.
    pub fn new(seed: u64, path: Path, wanted: u64, floor: Option<u64>) -> Narrow {
        let start = epoch();
        let encoder = Encoder::new(start, wanted);
        let beside = BitrateBps(encoder.need() - wanted);
        let core = floor.map(|floor| {
            let mut core = Bitrate::new(start, Settings { wanted: BitrateBps(wanted), beside });
            let bounds = Bounds { floor: BitrateBps(floor), ceiling: BitrateBps(wanted) };
            core.handle(start, Event::Bounds { output: OutputId(0), bounds });
            core
        });
        Narrow {
            rng: Rng::new(seed),
            start,
            now: start,
            path,
            tcp: Conn::new(start, &path),
            encoder,
            waiting: VecDeque::new(),
            ends: VecDeque::new(),
            shed: Shed::new(Ticks::ZERO, Shedding::Nothing),
            inflight: Inflight::new(),
            stats: LineStats::new(),
            core,
            sampled_at: start,
            delay: Duration::ZERO,
            history: Vec::new(),
            thinned: 0,
            read_bytes: 0,
            changes: 0,
        }
    }

    /// Lets time go by over a line of this bandwidth.
    pub fn run_at(&mut self, bandwidth_bps: u64, span: Duration) -> &[Moment] {
        self.path.bandwidth_bps = bandwidth_bps;
        let (end, first) = (self.now + span, self.history.len());
        while self.now < end {
            self.now += STEP;
            self.step();
        }
        &self.history[first..]
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(tag) = self.encoder.next(now, &mut self.rng) {
            self.waiting.push_back(tag);
        }
        while self.tcp.unsent() < UNSENT_MAX
            && let Some(tag) = self.waiting.pop_front()
        {
            let kind =
                if tag.picture { TagKind::Video { keyframe: tag.seq == tag.gop } } else { TagKind::Audio };
            let oldest = self.inflight.oldest_beyond(self.tcp.kernel().acked_bytes);
            let behind = self.time(now) - oldest.unwrap_or(self.time(tag.at));
            if !self.shed.sends(kind, behind) {
                self.thinned += 1;
                continue;
            }
            let end = self.tcp.write(tag.bytes);
            self.ends.push_back((end, tag));
            self.inflight.wrote(end, Seq(tag.seq), Seq(tag.gop), self.time(tag.at));
        }
        self.tcp.step(now, &self.path, false, &mut self.rng);
        while self.ends.front().is_some_and(|(end, _)| *end <= self.tcp.read())
            && let Some((_, tag)) = self.ends.pop_front()
        {
            self.read_bytes += tag.bytes;
            self.delay = now - tag.at;
        }
        if now >= self.sampled_at + SAMPLE_EVERY {
            self.sampled_at = now;
            self.sample();
        }
    }

    fn time(&self, at: Instant) -> Ticks {
        Ticks::from(at - self.start)
    }

    fn sample(&mut self) {
        let kernel = self.tcp.kernel();
        self.inflight.acked(kernel.acked_bytes);
        self.stats.sample(
            self.now,
            Sample {
                acked_bytes: kernel.acked_bytes,
                owed_bytes: kernel.owed_bytes,
                unsent_bytes: kernel.unsent_bytes,
                waiting_bytes: self.waiting.iter().map(|tag| tag.bytes).sum(),
                stream_at: self.time(self.now),
                waiting_at: self.waiting.front().map(|tag| self.time(tag.at)),
                rtt: kernel.rtt,
                delivered_segments: Some(kernel.delivered_segments),
                sent_segments: kernel.sent_segments,
                retransmitted_segments: kernel.retransmitted_segments,
                read_bytes: None,
                window_bytes: Some(kernel.window_bytes),
            },
            self.inflight.oldest_beyond(kernel.acked_bytes),
        );
        if let (Some(core), Some(reading)) = (&mut self.core, self.stats.reading()) {
            let event = Event::Read { output: OutputId(0), reading, catching_up: false };
            for action in core.handle(self.now, event) {
                if let Action::SetBitrate(bps) = action {
                    self.encoder.set_bitrate(bps.0);
                    self.changes += 1;
                }
            }
            core.check_invariants();
        }
        self.history.push(Moment {
            at: self.now - self.start,
            bitrate: self.encoder.bitrate(),
            bandwidth: self.path.bandwidth_bps,
            delay: self.delay,
        });
    }

    /// How often the encoder was told another bitrate.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}
