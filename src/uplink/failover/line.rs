//! One destination: dialled, published, well, silent, or waiting for its next try.

use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;
use crate::uplink::inflight::Inflight;
use crate::uplink::lines::{LineStats, Sample};

use super::rhythm::Rhythm;
use super::words::{Dial, Ending, LineId, Phase, Refusal, Settings, Why};

/// The longest that one sampling step may count as silence. If the box itself slept, the far end did not get the
/// chance to speak: only time in which somebody looked counts.
const STEP_MAX: Duration = Duration::from_millis(100);

/// A line that has been up this long has proved itself: the next retry starts from the shortest wait.
const PROVEN_AFTER: Duration = Duration::from_secs(5);

/// How often a far end that still believes in our old session is asked again. SRS forgets it after 5 s,
/// nginx-rtmp after its ping and ping timeout, 90 s by default: often first, then at the common cap.
const BUSY_EVERY: Duration = Duration::from_secs(1);
const BUSY_TRIES: u32 = 10;

/// A key that is not known is asked for less often: somebody has to act, and servers ban who hammers.
const AUTH_EVERY: Duration = Duration::from_secs(5);

/// Up to here a round trip is what `Settings::stall_after` reckons with: 50 ms and a keyframe's queue.
const RTT_USUAL: Duration = Duration::from_millis(60);

/// No stall is called slower than this, whatever the round trip.
const STALL_AFTER_MAX: Duration = Duration::from_secs(2);

/// A far end whose kernel takes this much while its program reads nothing, for this long, is frozen. SRS reads in
/// batches of up to 350 ms where it is told to.
const FROZEN_BYTES: u64 = 32 << 10;
const FROZEN_AFTER: Duration = Duration::from_millis(1_500);

/// The same, after its program's own word is overdue: SRS's batches, and a look or two.
const WORDLESS_AFTER: Duration = Duration::from_millis(500);

/// A kernel rounds its offer up to a multiple of up to 16 KiB each time it makes one, so that of a frozen program's
/// buffer a little seems to get free all the time: a hundredth of what came in, in a trial with Linux 6. Only an offer
/// of more than one such step, and of at least this part of what came in, is believed.
const CREEP: u64 = 4;
const OFFER_BYTES_MIN: u64 = 16 << 10;

const _: () =
    assert!(OFFER_BYTES_MIN * 2 <= FROZEN_BYTES, "who reads is believed before he counts as frozen");

/// A far end may offer more room only with the next bytes it takes: in a pause of the stream, the little that it
/// took last counts as read after this.
const READ_LAG: Duration = Duration::from_millis(300);

/// How long a line must be slow before it counts, and how long it may take to get going.
const SLOW_AFTER: Duration = Duration::from_secs(1);
const SLOW_GRACE: Duration = Duration::from_secs(3);

/// A line that was left because it was slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sick {
    /// Until when it is the last choice.
    pub(super) until: Instant,
    /// What it carried when it was left; bits per second.
    pub(super) carried: u64,
}

/// What a published connection does.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) since: Instant,
    /// Since when it is fed with the stream.
    pub(super) carrying: Option<Instant>,
    /// When something was last put on it.
    pub(super) said_at: Instant,
    /// Since when nothing spoke against it.
    pub(super) healthy_since: Option<Instant>,
    sampled: Option<(Instant, Sample)>,
    /// How long it has owed and not been heard of.
    silent: Duration,
    /// The furthest byte that the far end ever offered to take, how long that has not moved while more was
    /// acknowledged, and what had been acknowledged when it moved last.
    edge: u64,
    edge_still: Duration,
    edge_acked: u64,
    /// How long nothing was owed and nothing came: a pause of the stream, longer than between two pictures.
    quiet: Duration,
    /// What its program has read for certain.
    read: u64,
    /// What its program says by itself.
    rhythm: Rhythm,
    /// What had been acknowledged so long ago.
    old: (Duration, u64),
    slow: Duration,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a line is up nearly all of the time, and has its place anyway"
)]
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Nobody needs it.
    Off,
    Waiting {
        until: Instant,
    },
    Dialing {
        phase: Phase,
        since: Instant,
    },
    Up(Up),
}

pub(super) struct Line {
    pub(super) id: LineId,
    pub(super) dial: Dial,
    pub(super) state: State,
    pub(super) inflight: Inflight,
    pub(super) stats: LineStats,
    /// It was too slow for the stream.
    pub(super) sick: Option<Sick>,
    /// Tries that failed since it was last published.
    pub(super) failures: u32,
    retry: Backoff,
    busy_tries: u32,
    acknowledged: Option<u32>,
}

impl Line {
    pub(super) fn new(id: LineId, settings: &Settings) -> Line {
        let seed = settings.seed ^ (u64::from(id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Line {
            id,
            dial: Dial(0),
            state: State::Off,
            inflight: Inflight::new(),
            stats: LineStats::new(),
            sick: None,
            failures: 0,
            retry: Backoff::new(settings.retry_first, settings.retry_cap, seed),
            busy_tries: 0,
            acknowledged: None,
        }
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.state {
            State::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.state {
            State::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Dialing { .. } | State::Up(_))
    }

    pub(super) fn carries(&self) -> bool {
        self.up().is_some_and(|up| up.carrying.is_some())
    }

    /// A fresh connection begins.
    pub(super) fn connect(&mut self, now: Instant) {
        self.dial = Dial(self.dial.0.wrapping_add(1));
        self.state = State::Dialing { phase: Phase::Resolve, since: now };
        self.inflight = Inflight::new();
        self.stats.reconnected();
        self.acknowledged = None;
    }

    pub(super) fn reached(&mut self, now: Instant, phase: Phase) {
        if let State::Dialing { phase: current, since } = &mut self.state
            && *current != phase
        {
            (*current, *since) = (phase, now);
        }
    }

    pub(super) fn published(&mut self, now: Instant) {
        if !matches!(self.state, State::Dialing { .. }) {
            return;
        }
        self.failures = 0;
        self.busy_tries = 0;
        self.state = State::Up(Up {
            since: now,
            carrying: None,
            said_at: now,
            healthy_since: None,
            sampled: None,
            silent: Duration::ZERO,
            edge: 0,
            edge_still: Duration::ZERO,
            edge_acked: 0,
            quiet: Duration::ZERO,
            read: 0,
            rhythm: Rhythm::default(),
            old: (Duration::ZERO, 0),
            slow: Duration::ZERO,
        });
    }

    pub(super) fn refused(&mut self, now: Instant, refusal: Refusal, settings: &Settings) {
        let wait = match refusal {
            Refusal::Busy => self.busy_wait(settings),
            Refusal::Auth => self.retry.next_wait().max(AUTH_EVERY),
            Refusal::Other => self.retry.next_wait(),
        };
        self.wait(now + wait);
    }

    /// The connection ended by itself. SRS says nothing to who publishes a stream that is busy: it hangs up.
    pub(super) fn ended(&mut self, now: Instant, ending: Ending, settings: &Settings) {
        let wait = match (&self.state, ending) {
            (State::Dialing { phase: Phase::Publish, .. }, Ending::Closed) => self.busy_wait(settings),
            _ => self.retry.next_wait(),
        };
        self.wait(now + wait);
    }

    /// We gave the connection up.
    pub(super) fn gave_up(&mut self, now: Instant) {
        let wait = self.retry.next_wait();
        self.wait(now + wait);
    }

    /// Whatever it waited for: now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.retry.reset();
        self.wait(now);
    }

    fn wait(&mut self, until: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until };
    }

    fn busy_wait(&mut self, settings: &Settings) -> Duration {
        self.busy_tries = self.busy_tries.saturating_add(1);
        if self.busy_tries <= BUSY_TRIES { BUSY_EVERY } else { settings.retry_cap.max(BUSY_EVERY) }
    }

    pub(super) fn dialing_until(&self) -> Option<(Phase, Instant)> {
        match self.state {
            State::Dialing { phase, since } => Some((phase, since + phase.patience())),
            _ => None,
        }
    }

    /// A tag or a trickle was put on the connection.
    pub(super) fn said(&mut self, now: Instant) {
        if let Some(up) = self.up_mut() {
            up.said_at = now;
        }
    }

    pub(super) fn carry(&mut self, now: Instant) {
        if let Some(up) = self.up_mut() {
            (up.carrying, up.said_at, up.slow) = (Some(now), now, Duration::ZERO);
        }
    }

    pub(super) fn rest(&mut self) {
        if let Some(up) = self.up_mut() {
            (up.carrying, up.slow) = (None, Duration::ZERO);
        }
    }

    /// Takes what the kernel says; `need` is what the stream needs now, in bits per second.
    pub(super) fn sampled(&mut self, now: Instant, sample: Sample, need: u64, settings: &Settings) {
        let stall_after = self.stall_after(settings);
        let State::Up(up) = &mut self.state else { return };
        self.stats.sample(now, sample, self.inflight.oldest_beyond(sample.acked_bytes));
        let step = up.sampled.map_or(Duration::ZERO, |(then, _)| now.saturating_duration_since(then));
        let step = step.min(STEP_MAX);
        let before = up.sampled.map_or(Sample::default(), |(_, before)| before);
        let moved = sample.acked_bytes > before.acked_bytes
            || sample.delivered_segments > before.delivered_segments.or(sample.delivered_segments);
        up.sampled = Some((now, sample));
        if moved || sample.owed_bytes == 0 || before.owed_bytes == 0 {
            up.silent = Duration::ZERO;
        } else {
            up.silent += step;
        }
        // Where there is no kernel between us and the program, its word is in what it acknowledges.
        if sample.window_bytes.is_some() {
            up.rhythm.sampled(sample.acked_bytes, step);
        }
        let read = up.read_until(sample, before, step);
        self.inflight.acked(read);
        let slow = up.carrying.is_some_and(|since| now >= since + SLOW_GRACE)
            && self.stats.reading().is_some_and(|reading| {
                reading.queue_time > settings.slow_queue && reading.acked.0 < need - need / 10
            });
        up.slow = if slow { up.slow + step } else { Duration::ZERO };
        match up.trouble(stall_after) {
            Some(_) => up.healthy_since = None,
            None => up.healthy_since = up.healthy_since.or(Some(now)),
        }
        if now >= up.since + PROVEN_AFTER && up.healthy_since.is_some() {
            self.retry.reset();
        }
    }

    /// The far end acknowledged in RTMP: a sign of life, if it is a new one.
    pub(super) fn acknowledged(&mut self, number: u32) {
        let news = self.acknowledged.replace(number) != Some(number);
        if let Some(up) = self.up_mut().filter(|_| news) {
            up.rhythm.heard(up.sampled.map_or(0, |(_, sample)| sample.acked_bytes));
            up.silent = Duration::ZERO;
            up.edge_still = Duration::ZERO;
        }
    }

    /// What speaks against this line, if it is up.
    pub(super) fn trouble(&self, settings: &Settings) -> Option<Why> {
        self.up()?.trouble(self.stall_after(settings))
    }

    /// Silence that means a stall: up to 60 ms the configured time, longer where the round trip is longer, since a
    /// segment that was lost takes that much more to arrive.
    fn stall_after(&self, settings: &Settings) -> Duration {
        let rtt = self.stats.rtt().unwrap_or_default();
        let base = settings.stall_after;
        (base + rtt.saturating_sub(RTT_USUAL) * 3).min(STALL_AFTER_MAX.max(base))
    }

    /// Whether it has been silent or unread for so long that a fresh connection is the better bet.
    pub(super) fn is_given_up(&self, settings: &Settings) -> Option<Why> {
        let up = self.up()?;
        if up.silent >= settings.give_up_after {
            return Some(Why::Stalled);
        }
        let frozen_for = up.edge_still.max(up.rhythm.overdue());
        (up.is_frozen() && frozen_for >= settings.give_up_after).then_some(Why::Frozen)
    }

    /// Whether the stream could move here, the best first.
    pub(super) fn rank(&self, now: Instant, settings: &Settings) -> Option<bool> {
        let well = self.up().is_some() && self.trouble(settings).is_none();
        well.then(|| self.is_sick(now))
    }

    /// How long the far end holds back what it acknowledges, where it does: the age of what its program got last.
    pub(super) fn holds_back(&self) -> Duration {
        let Some(sample) = self.stats.last().filter(|sample| sample.read_bytes.is_some()) else {
            return Duration::ZERO;
        };
        self.inflight.oldest_beyond(0).map_or(Duration::ZERO, |at| (sample.stream_at - at).duration())
    }

    /// What the far end acknowledged in the last seconds; bits per second.
    pub(super) fn carries_bps(&self) -> u64 {
        self.stats.acked_over(Duration::from_secs(3)).0
    }

    pub(super) fn is_sick(&self, now: Instant) -> bool {
        self.sick.is_some_and(|sick| now < sick.until)
    }
}

impl Up {
    fn trouble(&self, stall_after: Duration) -> Option<Why> {
        if self.silent >= stall_after {
            Some(Why::Stalled)
        } else if self.is_frozen() {
            Some(Why::Frozen)
        } else if self.slow >= SLOW_AFTER {
            Some(Why::Slow)
        } else {
            None
        }
    }

    fn is_frozen(&self) -> bool {
        let unread = self.unread_since_edge() >= FROZEN_BYTES && self.edge_still >= FROZEN_AFTER;
        unread || self.rhythm.overdue() >= WORDLESS_AFTER
    }

    fn unread_since_edge(&self) -> u64 {
        self.sampled.map_or(0, |(_, sample)| sample.acked_bytes).saturating_sub(self.edge_acked)
    }

    /// How far the far end's program has read, as far as one can tell. By SRT that is known. By TCP, its kernel
    /// offers to take more only when something was read. Bytes taken by the kernel of a program that froze are not
    /// counted as delivered.
    fn read_until(&mut self, sample: Sample, before: Sample, step: Duration) -> u64 {
        let acked = sample.acked_bytes;
        if let Some(read) = sample.read_bytes {
            (self.read, self.edge_acked) = (self.read.max(read.min(acked)), acked);
            return self.read;
        }
        let Some(window) = sample.window_bytes else {
            (self.read, self.edge_acked) = (acked, acked);
            return self.read;
        };
        self.old.0 += step;
        let edge = acked.saturating_add(window);
        let offered = edge.saturating_sub(self.edge);
        let taken = acked.saturating_sub(self.edge_acked);
        if offered >= OFFER_BYTES_MIN && offered.saturating_mul(CREEP) >= taken {
            (self.edge, self.edge_acked, self.edge_still) = (edge, acked, Duration::ZERO);
            // No more was read than is offered anew, and nothing of what came with this very offer.
            self.read = self.read.max(before.acked_bytes.min(self.read.saturating_add(offered)));
            // A kernel that takes some of its buffer back offers less than is read. Who reads has read what is old.
            if self.old.0 >= FROZEN_AFTER {
                self.read = self.read.max(self.old.1);
                self.old = (Duration::ZERO, acked);
            }
            return self.read;
        }
        self.edge_still += step;
        let quiet = sample.owed_bytes == 0 && acked == before.acked_bytes;
        self.quiet = if quiet { self.quiet + step } else { Duration::ZERO };
        if self.quiet >= READ_LAG && self.unread_since_edge() < FROZEN_BYTES && self.edge_still >= READ_LAG {
            (self.read, self.edge_acked, self.edge_still) = (acked, acked, Duration::ZERO);
        }
        self.read
    }
}
