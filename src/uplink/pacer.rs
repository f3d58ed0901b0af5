//! How fast a line may be fed while it catches up.
//!
//! Pure. After a switch seconds of stream wait for a line that nobody has tried yet: at once, they would fill its
//! queue, and the live pictures behind them would come late or make it lose. The first tag goes at once; the rest
//! by the clock, until the line has all there is. From then on nothing is held back.

use std::time::{Duration, Instant};

use crate::base::units::BitrateBps;

/// Unused time is not saved up for longer than this: a burst after a pause is what pacing is to prevent.
const SAVED_MAX: Duration = Duration::from_millis(40);

/// Feeds one line.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: Option<BitrateBps>,
    /// When the next tag may go.
    free_at: Instant,
}

impl Pacer {
    /// Catching up at `rate` from `now` on; `None` holds nothing back.
    pub fn new(now: Instant, rate: Option<BitrateBps>) -> Pacer {
        Pacer { rate: rate.filter(|rate| rate.0 > 0), free_at: now }
    }

    /// Whether the next tag may go.
    pub fn may_send(&self, now: Instant) -> bool {
        self.rate.is_none() || now >= self.free_at
    }

    /// A tag of so many bytes went.
    pub fn sent(&mut self, now: Instant, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let from = self.free_at.max(now.checked_sub(SAVED_MAX).unwrap_or(now));
        self.free_at = from + Duration::from_secs_f64(bytes as f64 * 8.0 / rate.0 as f64);
    }

    /// Catches up no slower than this from here on.
    pub fn raise(&mut self, rate: BitrateBps) {
        self.rate = self.rate.map(|now| now.max(rate));
    }

    /// The line has all there is: it keeps up from here on.
    pub fn caught_up(&mut self) {
        self.rate = None;
    }

    /// Whether it still catches up: what waits for it waits on purpose.
    pub fn is_catching_up(&self) -> bool {
        self.rate.is_some()
    }

    /// When the next tag may go, if it is held back; not before that time, and perhaps past.
    pub fn wake_at(&self) -> Option<Instant> {
        self.rate.map(|_| self.free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn catching_up_keeps_to_its_rate_and_begins_at_once() {
        let start = clock::now();
        let mut pacer = Pacer::new(start, Some(BitrateBps(8_000_000)));
        let (mut now, mut bytes) = (start, 0);
        assert!(pacer.may_send(now));
        while now < start + Duration::from_secs(2) {
            while pacer.may_send(now) {
                pacer.sent(now, 10_000);
                bytes += 10_000;
            }
            assert!(pacer.wake_at().is_some_and(|at| at > now));
            now += Duration::from_millis(7);
        }
        assert!((1_980_000..=2_020_000).contains(&bytes), "{bytes} in 2 s at 1 MB/s");
        now += Duration::from_secs(60);
        let mut burst = 0;
        while pacer.may_send(now) {
            pacer.sent(now, 10_000);
            burst += 10_000;
        }
        assert!(burst <= 60_000, "{burst}: a pause is not saved up");
        pacer.raise(BitrateBps(1_000));
        pacer.sent(now, 1_000_000);
        assert!(pacer.wake_at().is_some_and(|at| at <= now + Duration::from_millis(1_100)), "never slower");
        pacer.caught_up();
        pacer.raise(BitrateBps(1_000));
        assert!(pacer.may_send(now) && pacer.wake_at().is_none() && !pacer.is_catching_up());
    }

    #[test]
    fn without_a_rate_nothing_is_held_back() {
        let now = clock::now();
        let mut pacer = Pacer::new(now, None);
        pacer.sent(now, u64::MAX);
        assert!(pacer.may_send(now));
        assert!(Pacer::new(now, Some(BitrateBps(0))).may_send(now));
    }
}
