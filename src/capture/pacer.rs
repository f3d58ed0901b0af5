//! When the next picture of a generated source is due.
//!
//! Pure: deadlines are computed from the start and the picture's number, so rounding never adds up to drift.

use crate::base::ticks::Ticks;
use crate::base::units::FrameRate;

/// Deadlines of one source, `rate` a second from `start` on.
#[derive(Debug)]
pub(super) struct Pacer {
    start: Ticks,
    rate: FrameRate,
    next: i64,
}

impl Pacer {
    pub(super) fn new(start: Ticks, rate: FrameRate) -> Pacer {
        Pacer { start, rate, next: 0 }
    }

    /// The deadline of the next picture, given that it is `now`.
    ///
    /// Pictures whose whole time has passed are skipped: after a pause the picture goes on from where time is, and
    /// a burst of late ones helps nobody.
    pub(super) fn next(&mut self, now: Ticks) -> Ticks {
        let whole_frames_passed = (i128::from((now - self.start).0) * i128::from(self.rate.num)
            / (i128::from(self.rate.den) * i128::from(Ticks::PER_SECOND)))
            as i64;
        let number = self.next.max(whole_frames_passed);
        self.next = number + 1;
        self.deadline(number)
    }

    fn deadline(&self, number: i64) -> Ticks {
        self.start + Ticks::from_units(number * i64::from(self.rate.den), self.rate.num)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Ticks = Ticks(123_456);

    #[test]
    fn an_hour_at_a_broken_rate_ends_exactly_where_arithmetic_says() {
        let mut pacer = Pacer::new(START, FrameRate { num: 30_000, den: 1_001 });
        let mut due = START;
        for _ in 0..=30_000 * 3 {
            due = pacer.next(due);
        }
        assert_eq!(due - START, Ticks(1_001 * 3 * Ticks::PER_SECOND));
    }

    #[test]
    fn a_picture_that_is_a_little_late_is_still_made_and_the_next_is_on_time() {
        let mut pacer = Pacer::new(START, FrameRate::whole(30));
        assert_eq!(pacer.next(START), START);
        assert_eq!(pacer.next(START + Ticks(5_000)), START + Ticks(3_000));
        assert_eq!(pacer.next(START + Ticks(5_100)), START + Ticks(6_000));
    }

    #[test]
    fn after_a_pause_pictures_are_skipped_not_bunched() {
        let mut pacer = Pacer::new(START, FrameRate::whole(30));
        pacer.next(START);
        let after = START + Ticks(Ticks::PER_SECOND * 2 + 100);
        assert_eq!(pacer.next(after), START + Ticks(Ticks::PER_SECOND * 2));
        assert_eq!(pacer.next(after), START + Ticks(Ticks::PER_SECOND * 2 + 3_000));
    }
}
