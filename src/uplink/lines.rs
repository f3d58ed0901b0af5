//! What a destination's line is like, from what the kernel says of its connection.
//!
//! ```text
//!   TCP_INFO every 20 to 50 ms ──Sample──> LineStats ──Reading──> failover (too slow?), bitrate, pages, metrics
//!                                              └── 10 s in buckets of 100 ms, RTT minima of 30 s
//! ```
//!
//! Pure, and of a fixed size. Capacity is measured only while the line was the bottleneck, that is while bytes
//! waited for it at both ends of a sampling step, here or in a queue on the way: what a half-empty line carries
//! says nothing about what it could.

use std::time::{Duration, Instant};

use heapless::Deque;

use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;

/// Buckets kept, and the span of each: 10 s, in steps finer than any decision taken on them.
const BUCKETS: usize = 100;
const BUCKET: Duration = Duration::from_millis(100);

/// RTT minima kept, one a second: a route that gets longer is believed after 30 s, a queue that stands is not.
const MINIMA: usize = 30;

/// Busy time below which a capacity is not believed: a few acknowledgements more or less would double it.
const BUSY_ENOUGH: Duration = Duration::from_millis(120);

/// A round trip this much above the shortest tells of a queue on the way, and not of a jittery radio.
const STANDING: Duration = Duration::from_millis(60);

/// What is over sooner than this may be a burst.
const MOMENTS: Duration = Duration::from_millis(400);

/// How far back capacity looks for busy time.
const CAPACITY_WINDOW: Duration = Duration::from_secs(3);

/// A capacity older than this says nothing about now, nor one that is exceeded by so much.
const CAPACITY_AGE_MAX: Duration = Duration::from_secs(60);
const CAPACITY_EXCEEDED: f64 = 1.1;

/// How long a connection may take to get going: this, and so many round trips.
const BEGINS_FOR: Duration = Duration::from_secs(1);
const BEGINS_ROUND_TRIPS: u32 = 4;

/// What the kernel says of one connection at one moment. Counters start at 0 with each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Bytes of the connection that the far end's kernel acknowledged: `TcpInfo::bytes_acked`.
    pub acked_bytes: u64,
    /// Bytes of the connection that the far end's program has read, where that is known: SRT, whose far end holds
    /// back what it acknowledges. `None`: to be told from `window_bytes`.
    pub read_bytes: Option<u64>,
    /// Bytes handed to the socket and not acknowledged: `SIOCOUTQ`.
    pub owed_bytes: u64,
    /// Of these, bytes not sent even once: `tcpi_notsent_bytes`.
    pub unsent_bytes: u64,
    /// Bytes of the stream that wait in the ring, or in the sender's own buffer, for this line.
    pub waiting_bytes: u64,
    /// The time of the stream's newest tag.
    pub stream_at: Ticks,
    /// The time of the tag that this line is to be given next; `None` where it has all there is.
    pub waiting_at: Option<Ticks>,
    /// `tcpi_rtt`; zero where nothing was measured yet.
    pub rtt: Duration,
    /// Segments that arrived, in order or not: `tcpi_delivered`. `None` before Linux 4.18.
    pub delivered_segments: Option<u64>,
    /// Segments of data sent, repeats included: `tcpi_data_segs_out`.
    pub sent_segments: u64,
    /// Segments sent again: `tcpi_total_retrans`.
    pub retransmitted_segments: u64,
    /// How much the far end would take now: `tcpi_snd_wnd`. `None` before Linux 5.4.
    pub window_bytes: Option<u64>,
}

/// A line's figures at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Smoothed round trip, as the kernel has it.
    pub rtt: Duration,
    /// The shortest round trip of the last 30 s: the line without queues.
    pub rtt_base: Duration,
    /// Bytes acknowledged, over the last second.
    pub acked: BitrateBps,
    /// What the line carried while it was the bottleneck, lately; `None` while it never was.
    pub capacity: Option<BitrateBps>,
    /// How busy it was in the last 400 ms.
    pub busy: Busy,
    /// How busy it was in the last two seconds: a whole GOP.
    pub busy_gop: Busy,
    /// Bytes that wait here: not sent, and behind.
    pub queued_bytes: u64,
    /// How far the far end is behind the stream: the age of the oldest tag that it has not acknowledged.
    pub behind: Duration,
    /// The same without the round trip: what queues add, here and on the way.
    pub queue_time: Duration,
    /// Segments sent again of those sent, over the last 5 s: 0.0 to 1.0.
    pub retransmitted: f64,
    /// The same over the 5 s before.
    pub retransmitted_before: f64,
}

/// How much of a span the line was the bottleneck, and what it carried then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Busy {
    /// 0.0 to 1.0.
    pub share: f64,
    /// Bytes acknowledged while it was; 0 while it was not.
    pub carried: BitrateBps,
}

impl Reading {
    /// What queues on the way add to the round trip.
    pub fn standing_queue(&self) -> Duration {
        self.rtt.saturating_sub(self.rtt_base)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    span: Duration,
    acked_bytes: u64,
    busy: Duration,
    busy_bytes: u64,
    sent: u64,
    retransmitted: u64,
}

/// The figures of one connection, gathered from its samples.
#[derive(Debug, Clone)]
pub struct LineStats {
    buckets: Deque<Bucket, BUCKETS>,
    minima: Deque<Duration, MINIMA>,
    minimum_since: Option<Instant>,
    begun_at: Option<Instant>,
    last: Option<(Instant, Sample)>,
    behind: Duration,
    capacity: Option<(Instant, BitrateBps)>,
}

impl Default for LineStats {
    fn default() -> LineStats {
        LineStats::new()
    }
}

impl LineStats {
    /// Knows nothing yet.
    pub fn new() -> LineStats {
        LineStats {
            buckets: Deque::new(),
            minima: Deque::new(),
            minimum_since: None,
            begun_at: None,
            last: None,
            behind: Duration::ZERO,
            capacity: None,
        }
    }

    /// A new connection: all starts over, since the line that comes back may be another than the one that went.
    pub fn reconnected(&mut self) {
        *self = LineStats::new();
    }

    /// Takes what the kernel says at `now`; `owed_at` is the time of the oldest tag that was written and not
    /// acknowledged, if there is one.
    pub fn sample(&mut self, now: Instant, sample: Sample, owed_at: Option<Ticks>) {
        self.note_rtt(now, sample.rtt);
        let oldest = owed_at.or(sample.waiting_at).unwrap_or(sample.stream_at);
        self.behind = (sample.stream_at - oldest).duration();
        if let Some((then, before)) = self.last {
            let span = now.saturating_duration_since(then);
            let acked = sample.acked_bytes.saturating_sub(before.acked_bytes);
            let base = self.rtt_base();
            let waits = |sample: &Sample| {
                sample.unsent_bytes > 0 || base.is_some_and(|base| sample.rtt > base + STANDING)
            };
            let busy = waits(&before) && waits(&sample);
            self.add(Bucket {
                span,
                acked_bytes: acked,
                busy: if busy { span } else { Duration::ZERO },
                busy_bytes: if busy { acked } else { 0 },
                sent: sample.sent_segments.saturating_sub(before.sent_segments),
                retransmitted: sample.retransmitted_segments.saturating_sub(before.retransmitted_segments),
            });
        }
        let begun_at = *self.begun_at.get_or_insert(now);
        self.last = Some((now, sample));
        self.note_capacity(now, now < begun_at + BEGINS_FOR + sample.rtt * BEGINS_ROUND_TRIPS);
    }

    fn note_capacity(&mut self, now: Instant, begins: bool) {
        // More went through than it could carry, or nobody has seen it full for long: nothing is known of it.
        let through = self.acked_over(CAPACITY_WINDOW).0 as f64;
        self.capacity = self.capacity.filter(|(at, capacity)| {
            now < *at + CAPACITY_AGE_MAX && through <= capacity.0 as f64 * CAPACITY_EXCEEDED
        });
        let recent = self.sum(CAPACITY_WINDOW);
        // A connection's own slow start is not the line's end, and silence is no capacity.
        let silent = self.sum(MOMENTS).acked_bytes == 0;
        if recent.busy >= BUSY_ENOUGH && !begins && !silent {
            self.capacity = Some((now, rate(recent.busy_bytes, recent.busy)));
        }
    }

    fn add(&mut self, step: Bucket) {
        if let Some(current) = self.buckets.back_mut().filter(|bucket| bucket.span < BUCKET) {
            current.span += step.span;
            current.acked_bytes += step.acked_bytes;
            current.busy += step.busy;
            current.busy_bytes += step.busy_bytes;
            current.sent += step.sent;
            current.retransmitted += step.retransmitted;
            return;
        }
        if self.buckets.is_full() {
            self.buckets.pop_front();
        }
        let fits = self.buckets.push_back(step).is_ok();
        debug_assert!(fits, "one was taken out");
    }

    fn note_rtt(&mut self, now: Instant, rtt: Duration) {
        if rtt.is_zero() {
            return;
        }
        let fresh = self.minimum_since.is_none_or(|since| now >= since + Duration::from_secs(1));
        if fresh {
            self.minimum_since = Some(now);
            if self.minima.is_full() {
                self.minima.pop_front();
            }
            let fits = self.minima.push_back(rtt).is_ok();
            debug_assert!(fits, "one was taken out");
        } else if let Some(newest) = self.minima.back_mut() {
            *newest = rtt.min(*newest);
        }
    }

    fn rtt_base(&self) -> Option<Duration> {
        self.minima.iter().copied().min()
    }

    fn busy_over(&self, span: Duration) -> Busy {
        let sum = self.sum(span);
        let share = if sum.span.is_zero() { 0.0 } else { sum.busy.as_secs_f64() / sum.span.as_secs_f64() };
        Busy { share, carried: rate(sum.busy_bytes, sum.busy) }
    }

    /// The newest buckets that make up `span`, as one.
    fn sum(&self, span: Duration) -> Bucket {
        self.sum_between(Duration::ZERO, span)
    }

    /// The buckets between `from` and `to` ago, as one.
    fn sum_between(&self, from: Duration, to: Duration) -> Bucket {
        let mut age = Duration::ZERO;
        let mut sum = Bucket::default();
        for bucket in self.buckets.iter().rev() {
            if age >= to {
                break;
            }
            if age >= from {
                sum.span += bucket.span;
                sum.acked_bytes += bucket.acked_bytes;
                sum.busy += bucket.busy;
                sum.busy_bytes += bucket.busy_bytes;
                sum.sent += bucket.sent;
                sum.retransmitted += bucket.retransmitted;
            }
            age += bucket.span;
        }
        sum
    }

    /// Bytes acknowledged, over the last `span`.
    pub fn acked_over(&self, span: Duration) -> BitrateBps {
        let sum = self.sum(span);
        rate(sum.acked_bytes, sum.span.max(BUCKET))
    }

    /// What the line carried while it was the bottleneck, and when that was last measured.
    pub fn capacity(&self) -> Option<(Instant, BitrateBps)> {
        self.capacity
    }

    /// The newest sample.
    pub fn last(&self) -> Option<Sample> {
        self.last.map(|(_, sample)| sample)
    }

    /// The kernel's round trip; `None` where nothing was measured yet.
    pub fn rtt(&self) -> Option<Duration> {
        self.last().map(|sample| sample.rtt).filter(|rtt| !rtt.is_zero())
    }

    /// All figures. `None` before the first sample.
    pub fn reading(&self) -> Option<Reading> {
        let sample = self.last()?;
        let acked = self.acked_over(Duration::from_secs(1));
        let capacity = self.capacity.map(|(_, bps)| bps);
        let rtt_base = self.rtt_base().unwrap_or(sample.rtt);
        let (recent, before) = (
            self.sum(Duration::from_secs(5)),
            self.sum_between(Duration::from_secs(5), Duration::from_secs(10)),
        );
        Some(Reading {
            rtt: sample.rtt,
            rtt_base,
            acked,
            capacity,
            busy: self.busy_over(MOMENTS),
            busy_gop: self.busy_over(Duration::from_secs(2)),
            queued_bytes: sample.unsent_bytes + sample.waiting_bytes,
            behind: self.behind,
            queue_time: self.behind.saturating_sub(rtt_base),
            retransmitted: share(recent.retransmitted, recent.sent),
            retransmitted_before: share(before.retransmitted, before.sent),
        })
    }
}

fn rate(bytes: u64, span: Duration) -> BitrateBps {
    if span.is_zero() {
        return BitrateBps(0);
    }
    BitrateBps((bytes as f64 * 8.0 / span.as_secs_f64()) as u64)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const STEP: Duration = Duration::from_millis(25);

    /// Samples a line that acknowledges `bps` for `span`, `unsent` bytes waiting all the while.
    fn feed(stats: &mut LineStats, at: &mut Instant, sample: &mut Sample, span: Duration, bps: u64) {
        let owed_at = (sample.unsent_bytes > 0).then_some(Ticks::ZERO);
        let end = *at + span;
        while *at < end {
            *at += STEP;
            let bytes = bps * 25 / 8_000;
            sample.acked_bytes += bytes;
            sample.sent_segments += bytes / 1_448 + 1;
            stats.sample(*at, *sample, owed_at);
        }
    }

    #[test]
    fn capacity_is_learnt_only_while_bytes_wait_for_the_line() {
        let (mut stats, mut at) = (LineStats::new(), clock::now());
        let mut sample = Sample { rtt: Duration::from_millis(50), ..Sample::default() };
        assert!(stats.reading().is_none());
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(5), 2_000_000);
        let idle = stats.reading().expect("samples came");
        assert_eq!((idle.capacity, idle.queue_time), (None, Duration::ZERO));
        assert!(idle.acked.0.abs_diff(2_000_000) < 40_000, "{:?}", idle.acked);

        (sample.unsent_bytes, sample.stream_at) = (300_000, Ticks::from_millis(800));
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(2), 3_000_000);
        let full = stats.reading().expect("samples came");
        assert!(full.capacity.expect("it was busy").0.abs_diff(3_000_000) < 60_000, "{full:?}");
        assert_eq!((full.behind, full.queue_time), (Duration::from_millis(800), Duration::from_millis(750)));

        sample.unsent_bytes = 0;
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(20), 500_000);
        let later = stats.reading().expect("samples came");
        assert!(later.capacity.expect("it stays").0.abs_diff(3_000_000) < 60_000, "{later:?}");
    }

    #[test]
    fn silence_is_no_capacity_and_what_is_exceeded_is_none_any_more() {
        let (mut stats, mut at) = (LineStats::new(), clock::now());
        let mut sample = Sample { rtt: Duration::from_millis(50), ..Sample::default() };
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(3), 2_000_000);
        sample.unsent_bytes = 300_000;
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(3), 1_000_000);
        let narrow = stats.reading().and_then(|reading| reading.capacity).expect("it was full");
        assert!(narrow.0.abs_diff(1_000_000) < 60_000, "{narrow:?}");
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(5), 0);
        let silent = stats.reading().and_then(|reading| reading.capacity).expect("it stays");
        assert!(silent.0 > 800_000, "{silent:?}");
        sample.unsent_bytes = 0;
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(4), 3_000_000);
        assert_eq!(stats.reading().and_then(|reading| reading.capacity), None);
    }

    #[test]
    fn a_queue_on_the_way_shows_against_the_shortest_round_trip() {
        let (mut stats, mut at) = (LineStats::new(), clock::now());
        let mut sample = Sample { rtt: Duration::from_millis(50), ..Sample::default() };
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(2), 2_000_000);
        sample.rtt = Duration::from_millis(230);
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(5), 2_000_000);
        let reading = stats.reading().expect("samples came");
        assert_eq!(reading.standing_queue(), Duration::from_millis(180));
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(31), 2_000_000);
        let moved = stats.reading().expect("samples came");
        assert_eq!(moved.standing_queue(), Duration::ZERO, "the route got longer");
    }

    #[test]
    fn repeats_are_told_as_a_share_and_against_what_they_were() {
        let (mut stats, mut at) = (LineStats::new(), clock::now());
        let mut sample = Sample { rtt: Duration::from_millis(50), ..Sample::default() };
        feed(&mut stats, &mut at, &mut sample, Duration::from_secs(5), 2_000_000);
        for _ in 0..50 {
            sample.retransmitted_segments += 1;
            feed(&mut stats, &mut at, &mut sample, Duration::from_millis(100), 2_000_000);
        }
        let reading = stats.reading().expect("samples came");
        assert!(reading.retransmitted_before < 0.001, "{reading:?}");
        assert!((0.03..0.06).contains(&reading.retransmitted), "{reading:?}");
    }

    #[test]
    fn counters_that_fall_or_a_clock_that_stands_still_harm_nothing() {
        let (mut stats, at) = (LineStats::new(), clock::now());
        stats.sample(at, Sample { acked_bytes: u64::MAX, unsent_bytes: 1, ..Sample::default() }, None);
        stats.sample(at, Sample::default(), None);
        stats.sample(at, Sample { acked_bytes: 5, ..Sample::default() }, None);
        assert!(stats.reading().is_some_and(|reading| reading.acked.0 <= 400));
    }
}
