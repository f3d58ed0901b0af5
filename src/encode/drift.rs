//! Keeps sound on the picture's clock.
//!
//! Pure: what the capture stamps say against where the encoded sound stands goes in, [`Advice`] comes out.
//!
//! A sound card's crystal is off by up to some hundred parts in a million: 1 s in three hours. The stamps are
//! right on average but jitter by a period of the card. So the difference is smoothed, and a slow control loop
//! (proportional and integral, without a lasting error) makes a few samples more or fewer; a hole that no such
//! correction could close is filled with silence, and a surplus cut.

use crate::base::ticks::Ticks;

/// The smoothing of stamps, in seconds: a hundred and more stamps of a usual card.
const SMOOTHING: f64 = 3.0;
/// The control loop's time constant in seconds: ten times the smoothing, so that the two do not swing together.
const LOOP: f64 = 30.0;
const PROPORTIONAL: f64 = 2.0 / LOOP;
const INTEGRAL: f64 = 1.0 / (LOOP * LOOP);
/// The most that sound is bent, in parts of one: 3.5 cents, a tenth of what trained ears notice.
const BEND_MAX: f64 = 0.002;

/// From this difference on sound is cut or filled: lips and voice part visibly from here on.
const HARD: f64 = 0.100;
/// For so many pieces in a row, because one late stamp is a busy moment and no hole.
const HARD_PIECES: u32 = 3;
/// From here on there is no silence to be made up, nor sound to be cut: time itself jumps, or its clock began anew.
const JUMP: f64 = 1.0;

/// What to do with the next piece of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Encode it, making so many samples in a million more (or fewer).
    Bend {
        /// Parts in a million.
        ppm: i32,
    },
    /// Put so much silence before it.
    Fill(Ticks),
    /// Leave out so much of it and what follows.
    Cut(Ticks),
    /// Begin anew at its own stamp.
    Jump,
}

/// The control loop.
#[derive(Debug, Clone, Default)]
pub(super) struct Drift {
    /// Smoothed difference in seconds; positive: the stamps are ahead of the encoded sound.
    smoothed: Option<f64>,
    /// What the loop has learned of the card's crystal, in parts of one.
    learned: f64,
    hard_pieces: u32,
    /// The source began again: its first stamp is believed at once.
    fresh: bool,
}

impl Drift {
    /// Takes one piece of sound of length `span`, whose stamp lies `ahead` of where the encoded sound stands.
    pub(super) fn observe(&mut self, ahead: Ticks, span: Ticks) -> Advice {
        let (error, span) = (ahead.seconds(), span.seconds().clamp(0.0, 1.0));
        let fresh = std::mem::take(&mut self.fresh);
        if error.abs() > HARD {
            self.hard_pieces += 1;
            if self.hard_pieces < HARD_PIECES && !fresh {
                return Advice::Bend { ppm: self.ppm() };
            }
            self.restart();
            return match error {
                error if error.abs() > JUMP => Advice::Jump,
                error if error > 0.0 => Advice::Fill(ahead),
                _ => Advice::Cut(Ticks(-ahead.0)),
            };
        }
        self.hard_pieces = 0;
        let smoothed = self.smoothed.map_or(error, |old| old + (error - old) * (span / SMOOTHING).min(1.0));
        self.smoothed = Some(smoothed);
        let within = (smoothed * PROPORTIONAL + self.learned).abs() < BEND_MAX;
        if within {
            self.learned = (self.learned + smoothed * INTEGRAL * span).clamp(-BEND_MAX / 2.0, BEND_MAX / 2.0);
        }
        Advice::Bend { ppm: self.ppm() }
    }

    /// The source began again.
    pub(super) fn begin(&mut self) {
        self.restart();
        self.fresh = true;
    }

    /// The smoothed difference: positive where the stamps are ahead.
    pub(super) fn offset(&self) -> Ticks {
        Ticks((self.smoothed.unwrap_or(0.0) * Ticks::PER_SECOND as f64) as i64)
    }

    /// After a cut the old difference means nothing; what was learned of the crystal stays true.
    fn restart(&mut self) {
        self.smoothed = None;
        self.hard_pieces = 0;
    }

    fn ppm(&self) -> i32 {
        let bend = self.smoothed.unwrap_or(0.0) * PROPORTIONAL + self.learned;
        (bend.clamp(-BEND_MAX, BEND_MAX) * 1e6).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sound card whose clock is off by `card_ppm`, its stamps jittering by up to `jitter_ms`, encoded for
    /// `seconds`; returns the worst true difference in ms after the first minute, and the last correction.
    fn run(card_ppm: f64, jitter_ms: f64, seconds: u32) -> (f64, i32) {
        let mut drift = Drift::default();
        let (mut encoded, mut worst, mut ppm) = (0.0f64, 0.0f64, 0);
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        for piece in 0..u64::from(seconds) * 50 {
            // The card believes that a piece is 20 ms; in truth it takes a little more or less.
            let truth = piece as f64 * 0.020 / (1.0 + card_ppm / 1e6);
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let jitter = ((seed % 2_001) as f64 / 1_000.0 - 1.0) * jitter_ms / 1_000.0;
            let ahead = Ticks(((truth + jitter - encoded) * Ticks::PER_SECOND as f64) as i64);
            match drift.observe(ahead, Ticks::from_millis(20)) {
                Advice::Bend { ppm: bend } => ppm = bend,
                advice => panic!("{advice:?} at {piece}"),
            }
            if piece > 60 * 50 {
                worst = worst.max((truth - encoded).abs() * 1_000.0);
            }
            encoded += 0.020 * (1.0 + f64::from(ppm) / 1e6);
        }
        (worst, ppm)
    }

    #[test]
    fn a_card_off_by_two_hundred_ppm_stays_within_five_milliseconds_for_twelve_hours() {
        for card_ppm in [-200.0, 200.0] {
            let (worst, ppm) = run(card_ppm, 8.0, 12 * 3_600);
            assert!(worst < 5.0, "{worst} ms off with a card off by {card_ppm} ppm");
            assert!((f64::from(ppm) + card_ppm).abs() < 100.0, "corrects by {ppm}");
        }
    }

    #[test]
    fn a_good_card_is_left_alone() {
        let (worst, ppm) = run(0.0, 0.0, 3_600);
        assert!(worst < 0.1, "{worst}");
        assert_eq!(ppm, 0);
    }

    #[test]
    fn one_late_stamp_is_not_a_hole_but_three_are() {
        let mut drift = Drift::default();
        let piece = Ticks::from_millis(20);
        let hole = Ticks::from_millis(300);
        assert_eq!(drift.observe(Ticks(0), piece), Advice::Bend { ppm: 0 });
        assert_eq!(drift.observe(hole, piece), Advice::Bend { ppm: 0 });
        assert_eq!(drift.observe(Ticks(0), piece), Advice::Bend { ppm: 0 });
        assert_eq!(drift.observe(hole, piece), Advice::Bend { ppm: 0 });
        assert_eq!(drift.observe(hole, piece), Advice::Bend { ppm: 0 });
        assert_eq!(drift.observe(hole, piece), Advice::Fill(hole));
    }

    #[test]
    fn a_surplus_is_cut_and_a_long_absence_jumped_over() {
        let mut drift = Drift::default();
        let piece = Ticks::from_millis(20);
        for _ in 0..2 {
            drift.observe(Ticks::from_millis(-400), piece);
        }
        assert_eq!(drift.observe(Ticks::from_millis(-400), piece), Advice::Cut(Ticks::from_millis(400)));
        for _ in 0..2 {
            drift.observe(Ticks::from_millis(5_000), piece);
        }
        assert_eq!(drift.observe(Ticks::from_millis(5_000), piece), Advice::Jump);
    }

    #[test]
    fn the_first_stamp_of_a_source_that_came_back_is_believed_at_once() {
        let mut drift = Drift::default();
        let piece = Ticks::from_millis(20);
        drift.observe(Ticks(0), piece);
        for ahead in [5_000, -5_000] {
            drift.begin();
            assert_eq!(drift.observe(Ticks::from_millis(ahead), piece), Advice::Jump);
        }
        drift.begin();
        assert_eq!(drift.observe(Ticks::from_millis(300), piece), Advice::Fill(Ticks::from_millis(300)));
    }

    #[test]
    fn the_bend_has_a_bound() {
        let mut drift = Drift::default();
        for _ in 0..10_000 {
            let advice = drift.observe(Ticks::from_millis(99), Ticks::from_millis(20));
            assert!(matches!(advice, Advice::Bend { ppm: 0..=2_000 }), "{advice:?}");
        }
    }
}
