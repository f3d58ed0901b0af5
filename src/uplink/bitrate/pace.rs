//! How much one line should be asked to carry.

use std::time::{Duration, Instant};

use heapless::Deque;

use crate::uplink::lines::Reading;

/// What is taken of a line's capacity as it showed in an overrun, without asking: the rest stays free for keyframes
/// and for what the radio does next. The headroom rule calls anything above it an alarm.
const TAKE: f64 = 0.80;

/// A queue that grew is to be gone after this: a long one is pictures seconds late, a short one is not worth a dip
/// that everybody sees.
const DRAIN_LONG_IN: f64 = 1.2;
const DRAIN_SHORT_IN: f64 = 2.5;
const LONG_QUEUE: Duration = Duration::from_millis(600);

/// A queue below this is none: a picture and its sound pass through a socket.
const DRAINED: Duration = Duration::from_millis(90);

/// A line is asked for more than it was ever seen to carry only while not even this much queues after a keyframe.
const CLEAR: Duration = Duration::from_millis(60);

/// A connection's own slow start is not the line's fault: for this long, and so many round trips, a queue has to be
/// far longer to count.
const BEGINS_FOR: Duration = Duration::from_secs(1);
const BEGINS_ROUND_TRIPS: u32 = 4;
const OVERRUN_AT_FIRST: Duration = Duration::from_millis(1_200);

/// A line this full of the time, all of the last moments, is the bottleneck.
const FULL: f64 = 0.9;

/// As much of what is sent as must arrive for it to count as gone through: keyframes come in bursts.
const THROUGH: f64 = 0.9;

/// Less than the sound alone needs is asked of no line: what it cannot carry is left out there.
const RATE_MIN: f64 = 64_000.0;

/// Queues from which on a full line counts as overrun: a keyframe's own burst stays below.
const OVERRUN: Duration = Duration::from_millis(200);

/// And one from which on it does in any case, if it grows: nothing is measured of a line that hardly moves.
const OVERRUN_FAR: Duration = Duration::from_millis(700);

/// And a queue that stands for this long, whether it grows or not.
const STANDS_AFTER: Duration = Duration::from_secs(2);

/// After a cut its effect is waited for: the encoder takes a picture or two, the queue on the way a round trip.
const CUT_EVERY: Duration = Duration::from_millis(600);

/// Steps upwards where nothing speaks against it, and where the line was overrun before.
const STEP_WIDE: f64 = 1.20;
const STEP_NARROW: f64 = 1.06;

/// What a step has to prove before the next: no queue that outlasts a burst, for this long. A narrow step has to see
/// a whole GOP through, since keyframes are what overruns a full line first.
const PROVE_WIDE: Duration = Duration::from_secs(1);
const PROVE_NARROW: Duration = Duration::from_millis(2_200);

/// Rates this far above what once overran the line say that it has become wider.
const WIDER: f64 = 1.15;

/// A line that was busy for this part of the last moments shows what it carries.
const WIDER_SHARE: f64 = 0.6;

/// A line busier than this is not asked for more.
const SHARE_MAX: f64 = 0.75;

/// After an overrun narrow steps wait; each overrun by such a step doubles that.
const WAIT_FIRST: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Delays remembered: 600 ms of readings 50 ms apart.
const DELAYS: usize = 12;

/// One line's own rate, sound and framing included.
pub(super) struct Pace {
    rate: f64,
    most: f64,
    delays: Deque<Duration, DELAYS>,
    /// What the line carried when it was last overrun, while that is believed.
    capacity: Option<f64>,
    draining: bool,
    begun_at: Instant,
    cut_at: Option<Instant>,
    stepped_at: Instant,
    /// When there was last no queue to speak of.
    flowing_at: Instant,
    /// When a queue last outlasted a burst.
    queued_at: Instant,
    may_probe_at: Instant,
    wait: Duration,
}

impl Pace {
    pub(super) fn new(now: Instant, most: f64) -> Pace {
        Pace {
            rate: most,
            most,
            delays: Deque::new(),
            capacity: None,
            draining: false,
            begun_at: now,
            cut_at: None,
            stepped_at: now,
            flowing_at: now,
            queued_at: now,
            may_probe_at: now,
            wait: WAIT_FIRST,
        }
    }

    /// What the line should be asked for; bits per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn set_most(&mut self, most: f64) {
        // Who was at its bound goes with it, who was below stays where the line put it.
        self.rate = if self.rate >= self.most { most } else { self.rate.min(most) };
        self.most = most;
    }

    /// Another line: what is asked for stays, what was learnt is forgotten.
    pub(super) fn moved(&mut self, now: Instant) {
        *self = Pace { rate: self.rate, ..Pace::new(now, self.most) };
    }

    /// Takes a reading; `sent` is what the stream needs at the encoder's present bitrate.
    pub(super) fn read(&mut self, now: Instant, reading: &Reading, sent: f64, catching_up: bool) {
        let delay = if catching_up { reading.standing_queue() } else { reading.queue_time };
        let grows = self.delays.front().is_none_or(|oldest| delay > *oldest);
        if self.delays.is_full() {
            self.delays.pop_front();
        }
        let fits = self.delays.push_back(delay).is_ok();
        debug_assert!(fits, "one was taken out");

        let carried = reading.busy.carried.0 as f64;
        if reading.busy.share >= WIDER_SHARE && self.capacity.is_some_and(|known| carried > known * WIDER) {
            // It drains far faster than it could: there is no need to find that out step by step.
            (self.capacity, self.wait, self.may_probe_at) = (Some(carried), WAIT_FIRST, now);
        }
        let full = reading.busy.share >= FULL;
        let short = carried < sent * 0.97;
        // Once the line carries more than is sent, its queue drains, however long that takes to be seen.
        let far = delay > OVERRUN_FAR && self.shortest() > OVERRUN_FAR / 2 && carried < sent * 1.1;
        if self.shortest() <= OVERRUN {
            self.flowing_at = now;
        }
        // A queue that neither grows nor drains is seconds of delay for nothing.
        let stands = now >= self.flowing_at.max(self.cut_at.unwrap_or(self.flowing_at)) + STANDS_AFTER
            && carried < sent * 1.1;
        let overrun = (grows && ((full && short && delay > OVERRUN) || far)) || stands;
        let begins = now < self.begun_at + BEGINS_FOR + reading.rtt_base * BEGINS_ROUND_TRIPS;
        if self.shortest() > CLEAR {
            self.queued_at = now;
        }
        if overrun && !catching_up && (!begins || delay > OVERRUN_AT_FIRST) {
            self.cut(now, reading, sent);
        } else if self.draining {
            self.drain(now, delay);
        } else if !catching_up {
            self.step_up(now, reading, sent);
        }
    }

    fn shortest(&self) -> Duration {
        self.delays.iter().copied().min().unwrap_or_default()
    }

    /// Down to what the line carries, less what its queue needs to drain.
    fn cut(&mut self, now: Instant, reading: &Reading, sent: f64) {
        if self.cut_at.is_some_and(|at| now < at + CUT_EVERY) {
            return;
        }
        let carried =
            if reading.busy.carried.0 > 0 { reading.busy.carried.0 } else { reading.acked.0 } as f64;
        let capacity = if reading.busy.share >= FULL { carried } else { carried.min(sent) };
        // A probe that found the same end of the line again was one too many; anything else is news.
        let probed =
            self.capacity.is_some_and(|known| capacity > known * 0.8 && self.rate > known * TAKE * 1.01);
        if !self.draining {
            self.wait = if probed { (self.wait * 2).min(WAIT_MAX) } else { WAIT_FIRST };
        }
        let queue = reading.queue_time.as_secs_f64() * capacity;
        let drain_in = if reading.queue_time > LONG_QUEUE { DRAIN_LONG_IN } else { DRAIN_SHORT_IN };
        self.rate = (capacity * 0.95 - queue / drain_in).max(capacity * 0.3).min(self.rate).max(RATE_MIN);
        self.capacity = Some(capacity);
        self.draining = true;
        self.cut_at = Some(now);
        self.may_probe_at = now + self.wait;
    }

    /// Once the queue is gone: to what the line showed it can, less a reserve.
    fn drain(&mut self, now: Instant, delay: Duration) {
        if delay > DRAINED {
            return;
        }
        self.draining = false;
        self.rate = self.rate.max(self.capacity.unwrap_or(0.0) * TAKE).min(self.most);
        self.stepped_at = now;
    }

    /// A step up, if the last one has proved itself.
    fn step_up(&mut self, now: Instant, reading: &Reading, sent: f64) {
        // What goes through without a queue is proof, whoever asked for it: an encoder that may go no lower, say.
        let through = now >= self.stepped_at.max(self.queued_at) + PROVE_NARROW
            && reading.acked.0 as f64 >= sent * THROUGH;
        if through && self.rate < sent.min(self.most) {
            self.rate = sent.min(self.most);
            self.stepped_at = now;
            // More than the line could carry has gone through: it can carry more.
            if self.capacity.is_some_and(|known| known < sent * 1.05) {
                (self.capacity, self.wait) = (None, WAIT_FIRST);
            }
        }
        if self.capacity.is_some_and(|known| self.rate > known * WIDER) {
            (self.capacity, self.wait) = (None, WAIT_FIRST);
        }
        let safe = self.capacity.map_or(self.most, |known| known * TAKE).min(self.most);
        let narrow = self.rate >= safe;
        let proved_at = self.stepped_at.max(self.queued_at) + if narrow { PROVE_NARROW } else { PROVE_WIDE };
        // A line that another output keeps below its rate shows nothing: it goes ahead by one step only.
        let idle = sent * STEP_WIDE < self.rate;
        if now < proved_at
            || idle
            || (narrow && (now < self.may_probe_at || reading.busy_gop.share > SHARE_MAX))
        {
            return;
        }
        let next =
            if narrow { self.rate * STEP_NARROW } else { (self.rate * STEP_WIDE).min(safe) }.min(self.most);
        if next > self.rate {
            self.rate = next;
            self.stepped_at = now;
        }
    }
}
