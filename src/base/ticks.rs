//! Media time.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in media time, or a span of it, in units of 1/90,000 s.
///
/// Exact for 25, 30 and 29.97 frames a second, and for AAC frames at 48 kHz (1,920 ticks), so that sums never
/// drift. Rounded to milliseconds once, from the absolute time, when FLV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub i64);

impl Ticks {
    /// Ticks in one second.
    pub const PER_SECOND: i64 = 90_000;
    /// The origin.
    pub const ZERO: Ticks = Ticks(0);

    /// The time of `count` units of `1/rate` s, rounded down: `from_units(samples, 48_000)`.
    pub const fn from_units(count: i64, rate: u32) -> Ticks {
        Ticks((count as i128 * Self::PER_SECOND as i128).div_euclid(rate as i128) as i64)
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: i64) -> Ticks {
        Ticks(millis * 90)
    }

    /// Milliseconds, rounded to the nearest (halves up).
    pub const fn millis(self) -> i64 {
        (self.0 + 45).div_euclid(90)
    }

    /// Seconds as a float, for figures shown to people.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / Self::PER_SECOND as f64
    }

    /// The span as a [`Duration`]; a negative one is zero.
    pub fn duration(self) -> Duration {
        Duration::from_nanos((self.0.max(0) as u128 * 1_000_000_000 / Self::PER_SECOND as u128) as u64)
    }
}

impl From<Duration> for Ticks {
    fn from(span: Duration) -> Ticks {
        Ticks((span.as_nanos() * Ticks::PER_SECOND as u128 / 1_000_000_000) as i64)
    }
}

impl Add for Ticks {
    type Output = Ticks;
    fn add(self, other: Ticks) -> Ticks {
        Ticks(self.0.saturating_add(other.0))
    }
}

impl Sub for Ticks {
    type Output = Ticks;
    fn sub(self, other: Ticks) -> Ticks {
        Ticks(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Ticks) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_times_of_common_rates_are_exact() {
        assert_eq!(Ticks::from_units(1, 30), Ticks(3_000));
        assert_eq!(Ticks::from_units(1, 25), Ticks(3_600));
        assert_eq!(Ticks::from_units(1_024, 48_000), Ticks(1_920));
        assert_eq!(Ticks::from_units(30_000 * 1_001, 30_000), Ticks(1_001 * 90_000));
    }

    #[test]
    fn milliseconds_round_to_the_nearest_also_below_zero() {
        assert_eq!(Ticks(44).millis(), 0);
        assert_eq!(Ticks(45).millis(), 1);
        assert_eq!(Ticks(-46).millis(), -1);
        assert_eq!(Ticks::from(Duration::from_millis(33)), Ticks(2_970));
        assert_eq!(Ticks(-5).duration(), Duration::ZERO);
    }
}
