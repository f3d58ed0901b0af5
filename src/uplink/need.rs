//! What a stream needs of a line, measured where nobody says.
//!
//! Pure: counted bytes and the stream's own time go in. Two GOPs of the usual length are looked back on, so that a
//! keyframe's burst is not taken for a need.

use heapless::Deque;

use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;

/// Looks that are kept, and the least time between them.
const LOOKS: usize = 9;
const LOOK_EVERY: Ticks = Ticks(Ticks::PER_SECOND / 2);

/// Less media than this says little.
const SPAN_MIN: Ticks = Ticks(Ticks::PER_SECOND);

/// A change of less than this part is none.
const STEP_MIN: f64 = 0.05;

/// RTMP's or SRT's own headers, as a part of the whole.
const FRAMING: f64 = 1.02;

/// The need of one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Need {
    looks: Deque<(Ticks, u64), LOOKS>,
    told: Option<BitrateBps>,
}

impl Need {
    /// Knows nothing yet.
    pub(super) fn new() -> Need {
        Need::default()
    }

    /// The stream has come to `at` and carried `bytes`; an encoder that was told a bitrate gives no more than
    /// `bound`. `Some` when the need is another than was told.
    pub(super) fn look(&mut self, at: Ticks, bytes: u64, bound: Option<BitrateBps>) -> Option<BitrateBps> {
        let newest = self.looks.back().map(|(at, _)| *at);
        if newest.is_none_or(|newest| at - newest >= LOOK_EVERY) {
            if self.looks.is_full() {
                self.looks.pop_front();
            }
            let fits = self.looks.push_back((at, bytes)).is_ok();
            debug_assert!(fits, "the oldest went");
        }
        let (first_at, first_bytes) = *self.looks.front()?;
        let span = at - first_at;
        let measured = (span >= SPAN_MIN).then(|| {
            let bits = bytes.saturating_sub(first_bytes) as f64 * 8.0 * FRAMING;
            BitrateBps((bits / span.seconds()) as u64)
        });
        let need = match (measured, bound) {
            (Some(measured), Some(bound)) => measured.min(bound),
            (measured, bound) => measured.or(bound)?,
        };
        let told = self.told.map_or(0, |told| told.0);
        if need.0.abs_diff(told) as f64 <= told as f64 * STEP_MIN {
            return None;
        }
        self.told = Some(need);
        self.told
    }

    /// The need that was told last.
    pub(super) fn told(&self) -> Option<BitrateBps> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Ticks {
        Ticks((seconds * Ticks::PER_SECOND as f64) as i64)
    }

    #[test]
    fn what_is_measured_counts_up_to_what_the_encoder_may_give() {
        let mut need = Need::new();
        assert_eq!(need.look(Ticks::ZERO, 0, Some(BitrateBps(3_000_000))), Some(BitrateBps(3_000_000)));
        assert_eq!(need.look(seconds(0.5), 250_000, Some(BitrateBps(3_000_000))), None);
        let measured = need.look(seconds(2.0), 500_000, Some(BitrateBps(3_000_000))).expect("it is less");
        assert!(measured.0.abs_diff(2_040_000) < 1_000, "{measured:?}");
        assert_eq!(need.look(seconds(2.5), 625_000, Some(BitrateBps(3_000_000))), None);
        let bound = Some(BitrateBps(1_000_000));
        assert_eq!(need.look(seconds(2.6), 640_000, bound), bound, "a cut counts at once");
    }

    #[test]
    fn a_stream_that_stands_still_needs_what_it_needed() {
        let mut need = Need::new();
        for step in 0..20 {
            need.look(seconds(f64::from(step) * 0.5), step as u64 * 125_000, None);
        }
        let told = need.told();
        for _ in 0..1_000 {
            assert_eq!(need.look(seconds(9.5), 19 * 125_000, None), None);
        }
        assert!(told.is_some() && need.told() == told);
    }
}
