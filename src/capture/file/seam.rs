//! A looped clip's time: one line that goes on over the seam, for the picture and for the sound.
//!
//! Pure. The picture leads: a pass through the clip lasts as long as its pictures do, and the next begins exactly
//! there. The sound is held to that line sample by sample: what is longer than the picture is cut, what is shorter is
//! filled with silence, and small inexactness of the file's time stamps (a millisecond in Matroska) moves nothing.

use crate::base::ticks::Ticks;

/// A picture further ahead than this follows a jump in the file's time stamps, not a pause.
const JUMP_AHEAD: Ticks = Ticks(10 * Ticks::PER_SECOND);
/// A picture further back than this does, too; B-frames and careless muxers go back by less.
const JUMP_BACK: Ticks = Ticks(Ticks::PER_SECOND);
/// Sound this far from where the sound before it ended is moved by whole samples or frames; nearer, it is only
/// the file's rounding.
const SOUND_TOLERANCE: Ticks = Ticks(Ticks::PER_SECOND / 50);

/// No clip is played faster than this, whatever it says: 120 pictures a second.
const FRAME_MIN: Ticks = Ticks(Ticks::PER_SECOND / 120);
/// Decoding times that stand still or run back go on by this part of a frame.
const STEP_PART: i64 = 8;

/// Where a picture stands on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) dts: Ticks,
    pub(super) pts: Ticks,
}

/// The line that the picture leads.
#[derive(Debug)]
pub(super) struct Seam {
    /// What a picture without a duration of its own lasts.
    frame: Ticks,
    /// The clip's own time of its first picture.
    start: Option<Ticks>,
    /// What is added to the clip's time since `start`.
    offset: Ticks,
    /// The end of the picture so far, on the line.
    end: Ticks,
    last_dts: Option<Ticks>,
    pictures_in_pass: u64,
}

impl Seam {
    /// A line from zero on; `frame` is the clip's nominal frame time.
    pub(super) fn new(frame: Ticks) -> Seam {
        let frame = frame.max(FRAME_MIN);
        Seam {
            frame,
            start: None,
            offset: Ticks::ZERO,
            end: Ticks::ZERO,
            last_dts: None,
            pictures_in_pass: 0,
        }
    }

    /// Puts the next picture (in decoding order) on the line. `dts` never stands still or goes back there.
    pub(super) fn picture(&mut self, dts: Ticks, pts: Ticks, duration: Option<Ticks>) -> Placed {
        let start = *self.start.get_or_insert(pts);
        let mut placed = dts - start + self.offset;
        if let Some(last) = self.last_dts.filter(|_| self.pictures_in_pass > 0)
            && (placed > last + JUMP_AHEAD || placed < last - JUMP_BACK)
        {
            self.offset += last + self.frame - placed;
            placed = last + self.frame;
        }
        let dts = self.last_dts.map_or(placed, |last| placed.max(last + Ticks(self.frame.0 / STEP_PART)));
        let pts = (pts - start + self.offset).max(dts);
        self.last_dts = Some(dts);
        self.end = self.end.max(pts + duration.filter(|span| *span > Ticks::ZERO).unwrap_or(self.frame));
        self.pictures_in_pass += 1;
        Placed { dts, pts }
    }

    /// Where something of the clip's own time `at` stands on the line; `None` before the first picture.
    pub(super) fn place(&self, at: Ticks) -> Option<Ticks> {
        self.start.map(|start| at - start + self.offset)
    }

    /// The end of the picture so far, on the line.
    pub(super) fn end(&self) -> Ticks {
        self.end
    }

    /// The clip begins again, where its picture ended. Answers how many pictures the pass had.
    pub(super) fn next_pass(&mut self) -> u64 {
        self.offset = self.end.max(self.offset + self.frame);
        self.end = self.offset;
        std::mem::take(&mut self.pictures_in_pass)
    }
}

/// What to do with a piece of sound so that it follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// Samples of silence to put before it.
    pub(super) silence: u64,
    /// Samples to cut off its front.
    pub(super) skip: u64,
}

/// The sound, counted in samples on the picture's line.
#[derive(Debug)]
pub(super) struct SoundLine {
    rate: u32,
    next: i64,
}

impl SoundLine {
    /// Sound of `rate` samples a second, from the line's zero on.
    pub(super) fn new(rate: u32) -> SoundLine {
        SoundLine { rate: rate.max(1), next: 0 }
    }

    /// Where the next sample stands on the line.
    pub(super) fn next_at(&self) -> Ticks {
        Ticks::from_units(self.next, self.rate)
    }

    /// How a piece of `samples` that the clip puts at `at` is made to fit. Both answers are whole multiples of
    /// `grain`: a coded frame cannot be cut.
    pub(super) fn fit(&self, at: Ticks, samples: u64, grain: u64) -> Fit {
        let off = self.samples_at(at) - self.next;
        if off.abs() <= self.samples_at(SOUND_TOLERANCE) {
            return Fit { silence: 0, skip: 0 };
        }
        let grain = grain.max(1);
        let whole = (off.unsigned_abs() + grain / 2) / grain * grain;
        if off > 0 { Fit { silence: whole, skip: 0 } } else { Fit { silence: 0, skip: whole.min(samples) } }
    }

    /// Samples of silence that bring the sound up to `at`, in whole grains; 0 when it is there.
    pub(super) fn short_of(&self, at: Ticks, grain: u64) -> u64 {
        let missing = (self.samples_at(at) - self.next).max(0) as u64;
        missing / grain.max(1) * grain.max(1)
    }

    /// `samples` follow; answers where the first stands.
    pub(super) fn take(&mut self, samples: u64) -> Ticks {
        let at = self.next_at();
        self.next = self.next.saturating_add(samples as i64);
        at
    }

    /// The last `samples` will not be heard after all.
    pub(super) fn give_back(&mut self, samples: u64) {
        self.next = self.next.saturating_sub(samples as i64);
    }

    fn samples_at(&self, at: Ticks) -> i64 {
        (i128::from(at.0) * i128::from(self.rate)).div_euclid(i128::from(Ticks::PER_SECOND)) as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const FRAME: Ticks = Ticks(3_000);

    /// A clip of `count` pictures (one and a multiple of three) at 30 a second, as with two B-frames between others.
    fn pass(seam: &mut Seam, count: i64, first_pts: i64) -> Vec<Placed> {
        (0..count)
            .map(|number| {
                let shown = if number == 0 { 0 } else { number + [-1, 2, -1][(number % 3) as usize] };
                let pts = first_pts + shown * 3_000;
                seam.picture(Ticks(first_pts + number * 3_000 - 6_000), Ticks(pts), Some(FRAME))
            })
            .collect()
    }

    #[test]
    fn pictures_follow_each_other_over_the_seam_at_the_same_pace() {
        let mut seam = Seam::new(FRAME);
        let mut dts = Vec::new();
        for _ in 0..4 {
            dts.extend(pass(&mut seam, 31, 126_000).into_iter().map(|placed| placed.dts));
            assert_eq!(seam.next_pass(), 31);
        }
        assert!(dts.windows(2).all(|pair| pair[1] - pair[0] == FRAME), "{dts:?}");
        assert_eq!(seam.end(), Ticks(4 * 31 * 3_000));
    }

    #[test]
    fn a_jump_in_the_files_time_is_closed_and_a_pause_is_kept() {
        let mut seam = Seam::new(FRAME);
        seam.picture(Ticks(0), Ticks(0), None);
        assert_eq!(
            seam.picture(Ticks(450_000), Ticks(450_000), None).dts,
            Ticks(450_000),
            "5 s of a still picture"
        );
        let hour = 3_600 * Ticks::PER_SECOND;
        assert_eq!(seam.picture(Ticks(hour), Ticks(hour), None).dts, Ticks(453_000));
        assert_eq!(seam.picture(Ticks(hour + 3_000), Ticks(hour + 3_000), None).dts, Ticks(456_000));
        assert_eq!(seam.picture(Ticks(0), Ticks(0), None).dts, Ticks(459_000), "and back");
        assert_eq!(seam.place(Ticks(0)), Some(Ticks(459_000)), "sound of that time moves along");
    }

    #[test]
    fn sound_shorter_than_the_picture_is_filled_up_at_the_seam_to_the_sample() {
        let mut line = SoundLine::new(48_000);
        line.take(45_000);
        assert_eq!(line.fit(Ticks(90_000), 1_024, 1), Fit { silence: 3_000, skip: 0 });
        assert_eq!(line.fit(Ticks(90_000), 1_024, 1_024), Fit { silence: 3 * 1_024, skip: 0 });
    }

    #[test]
    fn sound_longer_than_the_picture_is_cut_at_the_seam() {
        let mut line = SoundLine::new(48_000);
        line.take(60_000);
        line.give_back(12_000);
        assert_eq!(line.next_at(), Ticks(90_000));
        assert_eq!(line.fit(Ticks(90_000), 1_024, 1), Fit { silence: 0, skip: 0 });
        line.take(2_000);
        assert_eq!(line.fit(Ticks(90_000), 1_024, 1), Fit { silence: 0, skip: 1_024 });
    }

    #[test]
    fn the_rounding_of_a_matroska_file_moves_no_sample() {
        let mut line = SoundLine::new(44_100);
        for number in 0..10_000i64 {
            let exact = Ticks::from_units(number * 1_024, 44_100);
            let rounded = Ticks::from_millis(exact.millis());
            assert_eq!(line.fit(rounded, 1_024, 1), Fit { silence: 0, skip: 0 });
            assert_eq!(line.take(1_024), exact);
        }
    }

    #[test]
    fn the_priming_frame_of_an_aac_track_falls_away() {
        let line = SoundLine::new(48_000);
        assert_eq!(line.fit(Ticks(-1_920), 1_024, 1_024), Fit { silence: 0, skip: 1_024 });
    }

    proptest! {
        #[test]
        fn whatever_a_file_says_decoding_times_grow_and_pictures_are_not_shown_before(
            times in vec((any::<i32>(), any::<i32>(), 0i64..1_000_000, any::<bool>()), 1..200),
        ) {
            let mut seam = Seam::new(FRAME);
            let mut last = None;
            for (dts, pts, duration, seamed) in times {
                let placed = seam.picture(Ticks(dts.into()), Ticks(pts.into()), Some(Ticks(duration)));
                prop_assert!(last.is_none_or(|last| placed.dts > last));
                prop_assert!(placed.pts >= placed.dts);
                last = Some(placed.dts);
                if seamed {
                    seam.next_pass();
                }
            }
        }

        #[test]
        fn sound_never_has_a_gap_and_stays_within_a_frame_of_the_picture(
            pieces in vec((-200_000i64..200_000, 1u64..4_000), 1..100), grain in 1u64..2_048,
        ) {
            let mut line = SoundLine::new(48_000);
            let mut end = Ticks::ZERO;
            for (at, samples) in pieces {
                let fit = line.fit(Ticks(at), samples, grain);
                prop_assert!(fit.silence.is_multiple_of(grain) && fit.skip <= samples);
                prop_assert_eq!(line.next_at(), end);
                line.take(fit.silence);
                if fit.skip < samples {
                    let off = line.next_at() - (Ticks(at) + Ticks::from_units(fit.skip as i64, 48_000));
                    prop_assert!(off.0.abs() <= SOUND_TOLERANCE.0 + Ticks::from_units(grain as i64, 48_000).0);
                }
                line.take(samples - fit.skip);
                end = line.next_at();
            }
        }
    }
}
