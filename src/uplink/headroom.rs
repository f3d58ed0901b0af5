//! Whether a line has enough to spare for what it is asked to carry.
//!
//! Pure: what all outputs on one line need, and what the line showed it can do, go in; changes of judgement come
//! out, for pages, metrics and the fleet. A judgement must hold for a while before it is told, and its opposite
//! for longer before it is taken back: a line near a bound must not ring a bell every second.

use std::time::{Duration, Instant};

use crate::base::units::BitrateBps;

/// Less reserve than this is worth a word: a line's capacity moves by a third within a show.
const RESERVE_PERCENT: u64 = 30;

/// More use than this is an alarm: keyframes alone overrun the rest.
const USE_PERCENT_MAX: u64 = 80;

/// A judgement is taken back only this far on the good side of its bound.
const MARGIN_PERCENT: u64 = 5;

/// Repeats from which on a rise is worth a word: below, a single lost segment would be a trend.
const REPEATS_MIN: f64 = 0.02;

const RAISE_AFTER: Duration = Duration::from_secs(3);
const CLEAR_AFTER: Duration = Duration::from_secs(10);

const _: () = assert!(100 - RESERVE_PERCENT < USE_PERCENT_MAX);

/// What a line is asked to carry and what it showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// The sum of the bitrates of all lines that leave by the same way out.
    pub needed: BitrateBps,
    /// What the way out can carry, as far as it was measured: this line's capacity, and what the others carry.
    pub capacity: Option<BitrateBps>,
    /// Segments sent again of those sent, over the last 5 s.
    pub retransmitted: f64,
    /// The same over the 5 s before.
    pub retransmitted_before: f64,
}

/// How a line is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Strain {
    /// Enough to spare, or nothing known against it.
    #[default]
    Fine,
    /// Less than 30 % of the capacity is left, or more and more segments are sent again.
    Tight,
    /// More than 80 % of the capacity is needed.
    Overloaded,
}

/// Judges one line.
#[derive(Debug, Clone, Default)]
pub struct Headroom {
    told: Strain,
    /// What the line looks like now, and since when.
    seen: Option<(Strain, Instant)>,
}

impl Headroom {
    /// Nothing known against the line.
    pub fn new() -> Headroom {
        Headroom::default()
    }

    /// Takes a fresh look; `Some` when the judgement changes.
    pub fn handle(&mut self, now: Instant, load: Load) -> Option<Strain> {
        let looks = self.judge(load);
        let since = match self.seen {
            Some((seen, since)) if seen == looks => since,
            // Getting better by one step after the other is getting better all the while.
            Some((seen, since)) if seen < self.told && looks < self.told => since,
            _ => now,
        };
        self.seen = Some((looks, since));
        let patience = if looks > self.told { RAISE_AFTER } else { CLEAR_AFTER };
        if looks == self.told || now < since + patience {
            return None;
        }
        self.told = looks;
        Some(looks)
    }

    /// The judgement in force.
    pub fn strain(&self) -> Strain {
        self.told
    }

    fn judge(&self, load: Load) -> Strain {
        let used_percent = match load.capacity {
            Some(BitrateBps(capacity)) if capacity > 0 => load.needed.0.saturating_mul(100) / capacity,
            Some(_) if load.needed.0 > 0 => 100,
            _ => 0,
        };
        let margin = |level| if self.told >= level { MARGIN_PERCENT } else { 0 };
        let rising =
            load.retransmitted >= REPEATS_MIN && load.retransmitted > 1.5 * load.retransmitted_before;
        if used_percent > USE_PERCENT_MAX - margin(Strain::Overloaded) {
            Strain::Overloaded
        } else if used_percent > 100 - RESERVE_PERCENT - margin(Strain::Tight) || rising {
            Strain::Tight
        } else {
            Strain::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    fn load(needed: u64, capacity: Option<u64>) -> Load {
        Load {
            needed: BitrateBps(needed),
            capacity: capacity.map(BitrateBps),
            retransmitted: 0.0,
            retransmitted_before: 0.0,
        }
    }

    /// Shows the same load once a second for `seconds`; the changes told.
    fn show(headroom: &mut Headroom, at: &mut Instant, seconds: u64, load: Load) -> Vec<Strain> {
        (0..seconds)
            .filter_map(|_| {
                *at += Duration::from_secs(1);
                headroom.handle(*at, load)
            })
            .collect()
    }

    #[test]
    fn a_line_is_judged_by_what_is_left_of_its_capacity() {
        for (needed, capacity, want) in [
            (4_000_000, None, Strain::Fine),
            (4_000_000, Some(6_000_000), Strain::Fine),
            (4_000_000, Some(5_500_000), Strain::Tight),
            (4_000_000, Some(4_500_000), Strain::Overloaded),
            (4_000_000, Some(0), Strain::Overloaded),
            (0, Some(0), Strain::Fine),
        ] {
            let (mut headroom, mut at) = (Headroom::new(), clock::now());
            show(&mut headroom, &mut at, 5, load(needed, capacity));
            assert_eq!(headroom.strain(), want, "{needed} of {capacity:?}");
        }
    }

    #[test]
    fn a_line_near_a_bound_does_not_ring_every_second() {
        let (mut headroom, mut at) = (Headroom::new(), clock::now());
        let mut told = Vec::new();
        for round in 0..120 {
            let capacity = if round % 2 == 0 { 4_900_000 } else { 5_100_000 };
            told.extend(show(&mut headroom, &mut at, 1, load(4_000_000, Some(capacity))));
        }
        assert!(told.len() <= 1, "{told:?}");
        assert_eq!(show(&mut headroom, &mut at, 9, load(4_000_000, Some(4_000_000))), [Strain::Overloaded]);
        assert_eq!(show(&mut headroom, &mut at, 9, load(1_000_000, Some(4_000_000))), []);
        assert_eq!(show(&mut headroom, &mut at, 5, load(1_000_000, Some(4_000_000))), [Strain::Fine]);
    }

    #[test]
    fn repeats_that_rise_are_worth_a_word_before_the_line_is_full() {
        let (mut headroom, mut at) = (Headroom::new(), clock::now());
        let losing =
            Load { retransmitted: 0.05, retransmitted_before: 0.01, ..load(1_000_000, Some(10_000_000)) };
        assert_eq!(show(&mut headroom, &mut at, 5, losing), [Strain::Tight]);
        let steady = Load { retransmitted_before: 0.05, ..losing };
        assert_eq!(
            show(&mut headroom, &mut at, 15, steady),
            [Strain::Fine],
            "a radio that always loses some"
        );
    }
}
