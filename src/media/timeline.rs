//! One timeline per stream, whatever its sources' clocks do.
//!
//! Pure: a track and its source times go in, times on the stream's timeline come out.
//!
//! ```text
//!   source   …71.00 71.03 71.07 | 73.10 73.13 |  0.00  0.03 |     picture and sound share one offset
//!   stream     0.00  0.03  0.07 |  2.10  2.13 |  2.17  2.20 |     while their clock is the same
//!                        2 s outage      clock began anew
//! ```
//!
//! Sources stamp `CLOCK_MONOTONIC`, so a pause on their clock is a pause in the world and stays one on the
//! timeline. What cannot be a pause (a clock that runs backwards, began anew, wrapped, or leaps) is folded into
//! the step of one frame. Never does a track's time stand still or run backwards.

use crate::base::ticks::Ticks;

use super::packet::Track;

/// The longest pause that is believed: a camera may be unplugged for minutes. Beyond it a clock has leapt.
const PAUSE_MAX: i64 = 600 * Ticks::PER_SECOND;

/// A step back up to here is jitter, and is flattened; beyond it the clock began anew.
const JITTER_MAX: i64 = Ticks::PER_SECOND / 2;

/// The least step of a track: one millisecond, so that its FLV times differ too.
const STEP_MIN: i64 = Ticks::PER_SECOND / 1_000;

/// The step that stands for a fold: one frame at 30 a second.
const STEP_FOLDED: i64 = Ticks::PER_SECOND / 30;

/// The most that a picture may be shown after its decoding: no encoder reorders over more.
const PRESENTATION_DELAY_MAX: i64 = 10 * Ticks::PER_SECOND;

/// A packet's times on the stream's timeline; `pts` is never before `dts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Decoding time.
    pub dts: Ticks,
    /// Presentation time.
    pub pts: Ticks,
}

/// Rebases the packets of one stream.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    tracks: [TrackClock; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct TrackClock {
    /// Stream time less source time. Arithmetic wraps, so that no source clock can overflow it.
    offset: Option<i64>,
    /// The last stream time given out.
    last: Option<i64>,
}

impl Timeline {
    /// A timeline that starts at 0 with the first packet.
    pub fn new() -> Timeline {
        Timeline::default()
    }

    /// Gives a packet its place. Nothing for sound from before the stream's first instant, which belongs to no
    /// picture and is left out; a picture from there is put at 0.
    pub fn rebase(&mut self, track: Track, dts: Ticks, pts: Ticks) -> Option<Stamp> {
        let end = self.end();
        let other = self.tracks[usize::from(track == Track::Video)].offset;
        let clock = &mut self.tracks[usize::from(track == Track::Audio)];
        let fits = |offset: &i64| {
            let at = dts.0.wrapping_add(*offset);
            // Before the track's first packet, the other track's time is the only measure.
            let earliest = clock.last.unwrap_or(0) - JITTER_MAX;
            (earliest..=end + PAUSE_MAX).contains(&at)
        };
        // The track's own clock first. If it broke, perhaps the other track has already followed the source to
        // its new one; so both are on one offset again.
        let offset = clock.offset.filter(fits).or(other.filter(fits)).unwrap_or_else(|| {
            let next = if clock.last.is_none() { end } else { end + STEP_FOLDED };
            next.wrapping_sub(dts.0)
        });
        let mut at = dts.0.wrapping_add(offset);
        match clock.last {
            Some(last) => at = at.max(last + STEP_MIN),
            None if at < 0 && track == Track::Audio => return None,
            None => at = at.max(0),
        }
        clock.offset = Some(offset);
        clock.last = Some(at);
        let delay = pts.0.saturating_sub(dts.0).clamp(0, PRESENTATION_DELAY_MAX);
        Some(Stamp { dts: Ticks(at), pts: Ticks(at + delay) })
    }

    /// The latest time given out so far.
    pub fn position(&self) -> Ticks {
        Ticks(self.end())
    }

    fn end(&self) -> i64 {
        self.tracks.iter().filter_map(|clock| clock.last).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 71 * Ticks::PER_SECOND;

    fn millis(timeline: &mut Timeline, track: Track, source_millis: i64) -> Option<i64> {
        let at = Ticks::from_millis(source_millis);
        timeline.rebase(track, at, at).map(|stamp| stamp.dts.millis())
    }

    #[test]
    fn a_stream_starts_at_zero_and_both_tracks_share_one_offset() {
        let mut timeline = Timeline::new();
        assert_eq!(millis(&mut timeline, Track::Video, 71_000), Some(0));
        assert_eq!(millis(&mut timeline, Track::Audio, 71_005), Some(5));
        assert_eq!(millis(&mut timeline, Track::Video, 71_033), Some(33));
        assert_eq!(millis(&mut timeline, Track::Audio, 71_026), Some(26));
        assert_eq!(timeline.position(), Ticks::from_millis(33));
    }

    #[test]
    fn sound_from_before_the_first_picture_is_left_out_and_an_early_picture_is_not() {
        let mut timeline = Timeline::new();
        millis(&mut timeline, Track::Video, 71_000);
        assert_eq!(millis(&mut timeline, Track::Audio, 70_980), None);
        assert_eq!(millis(&mut timeline, Track::Audio, 71_001), Some(1));
        let mut timeline = Timeline::new();
        millis(&mut timeline, Track::Audio, 71_000);
        assert_eq!(millis(&mut timeline, Track::Video, 70_980), Some(0));
        assert_eq!(millis(&mut timeline, Track::Video, 71_013), Some(13));
    }

    #[test]
    fn an_outage_of_two_seconds_is_two_seconds_on_the_timeline() {
        let mut timeline = Timeline::new();
        millis(&mut timeline, Track::Video, 71_000);
        assert_eq!(millis(&mut timeline, Track::Video, 73_000), Some(2_000));
        assert_eq!(millis(&mut timeline, Track::Audio, 73_010), Some(2_010));
    }

    #[test]
    fn a_clock_that_began_anew_goes_on_after_one_frame_and_the_tracks_stay_together() {
        let mut timeline = Timeline::new();
        millis(&mut timeline, Track::Video, 71_000);
        millis(&mut timeline, Track::Audio, 71_010);
        millis(&mut timeline, Track::Video, 71_033);
        assert_eq!(millis(&mut timeline, Track::Video, 0), Some(66));
        // Sound still on its way from before the restart keeps its place…
        assert_eq!(millis(&mut timeline, Track::Audio, 71_031), Some(31));
        // …and the restarted sound lands beside its picture, not one more frame away.
        assert_eq!(millis(&mut timeline, Track::Audio, 5), Some(71));
        assert_eq!(millis(&mut timeline, Track::Video, 33), Some(99));
    }

    #[test]
    fn a_leap_is_folded_and_a_small_step_back_is_flattened() {
        let mut timeline = Timeline::new();
        millis(&mut timeline, Track::Video, 71_000);
        assert_eq!(millis(&mut timeline, Track::Video, 90_000_000), Some(33));
        assert_eq!(millis(&mut timeline, Track::Video, 89_999_990), Some(34));
        assert_eq!(millis(&mut timeline, Track::Video, 90_000_033), Some(66));
    }

    #[test]
    fn tracks_on_two_unrelated_clocks_both_run_at_their_own_pace() {
        let mut timeline = Timeline::new();
        for step in 0..100 {
            assert_eq!(millis(&mut timeline, Track::Video, 71_000_000 + step * 40), Some(step * 40));
            assert_eq!(millis(&mut timeline, Track::Audio, step * 40), Some(step * 40));
        }
    }

    #[test]
    fn a_picture_is_never_shown_before_it_is_decoded() {
        let mut timeline = Timeline::new();
        let stamp = timeline.rebase(Track::Video, Ticks(START), Ticks(START - 9)).unwrap();
        assert_eq!(stamp, Stamp { dts: Ticks(0), pts: Ticks(0) });
        let stamp = timeline.rebase(Track::Video, Ticks(START + 3_000), Ticks(START + 9_000)).unwrap();
        assert_eq!(stamp, Stamp { dts: Ticks(3_000), pts: Ticks(9_000) });
    }

    fn any_clock() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            -200_000i64..200_000,
            START..START + 90_000_000,
            Just(i64::MIN),
            Just(i64::MAX)
        ]
    }

    proptest! {
        #[test]
        fn time_is_monotonic_over_any_input(
            input in prop::collection::vec((any::<bool>(), any_clock(), any_clock()), 0..200),
        ) {
            let mut timeline = Timeline::new();
            let mut last = [None; 2];
            for (video, dts, pts) in input {
                let track = if video { Track::Video } else { Track::Audio };
                let before = timeline.position();
                let Some(stamp) = timeline.rebase(track, Ticks(dts), Ticks(pts)) else { continue };
                let last = &mut last[usize::from(video)];
                prop_assert!(stamp.dts >= Ticks::ZERO && stamp.pts >= stamp.dts);
                prop_assert!(last.is_none_or(|last: Ticks| stamp.dts.millis() > last.millis()));
                prop_assert!(stamp.dts.0 - before.0 <= PAUSE_MAX);
                *last = Some(stamp.dts);
            }
        }

        #[test]
        fn a_steady_source_is_shifted_and_nothing_else(start in any_clock(), frames in 1i64..500) {
            let mut timeline = Timeline::new();
            for frame in 0..frames {
                let at = Ticks(start.wrapping_add(frame * 3_003));
                let stamp = timeline.rebase(Track::Video, at, at).unwrap();
                prop_assert_eq!(stamp.dts, Ticks(frame * 3_003));
            }
        }
    }
}
