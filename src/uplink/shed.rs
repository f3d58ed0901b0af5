//! Decides what a line that is too slow does without.
//!
//! Pure: a tag's kind and how far the line is behind go in, whether it is sent comes out.
//!
//! ```text
//!   behind   0 ────────── LATE ──────────── VERY_LATE ─────>
//!   sent     everything │ headers and sound │ headers        until a keyframe at which it is less than
//!                                                            half of LATE behind
//! ```
//!
//! A picture without the ones before it cannot be decoded, so the rest of its GOP goes with it. Skipped tags cost
//! the line nothing: what is left to send is soon near the live edge again. Sound goes last, since viewers forgive
//! a frozen picture.

use crate::base::ticks::Ticks;
use crate::hub::TagKind;

/// A line that is further behind does without the rest of the GOP. Below what players buffer of a cloud's stream.
const LATE: Ticks = Ticks(3 * Ticks::PER_SECOND);

/// A line that is further behind, although it carries only sound, does without that too.
const VERY_LATE: Ticks = Ticks(6 * Ticks::PER_SECOND);

/// How much more than at its start a line may be behind at first: it begins at the newest keyframe, and the
/// GOPs of some cameras are longer than [`LATE`].
const START_ALLOWANCE: Ticks = Ticks(Ticks::PER_SECOND);

/// The longest GOP for which that is allowed, and as much as a hub holds: what is older than this is a source's
/// past, and no start.
const START_BEHIND_MAX: Ticks = Ticks(10 * Ticks::PER_SECOND);

/// What is left out at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shedding {
    Nothing,
    Pictures,
    PicturesAndSound,
}

/// The policy of one line.
#[derive(Debug)]
pub(super) struct Shed {
    late: Ticks,
    mode: Shedding,
    pictures: u64,
    sounds: u64,
}

impl Shed {
    /// For a line that begins `behind`; `mode` is what it does without already.
    pub(super) fn new(behind: Ticks, mode: Shedding) -> Shed {
        let late = LATE.max(behind.min(START_BEHIND_MAX) + START_ALLOWANCE);
        Shed { late, mode, pictures: 0, sounds: 0 }
    }

    /// Whether the next tag, which is `behind` the newest one, is sent.
    pub(super) fn sends(&mut self, kind: TagKind, behind: Ticks) -> bool {
        // What it has caught up it may not lose again, but for the steps in which it does: the newest tag comes a
        // whole picture at a time, the line's bytes in bursts.
        self.late = self.late.min(behind + START_ALLOWANCE).max(LATE);
        if behind > self.late {
            self.mode = self.mode.max(Shedding::Pictures);
        }
        if behind > self.late.max(VERY_LATE) {
            self.mode = Shedding::PicturesAndSound;
        }
        if kind == (TagKind::Video { keyframe: true }) && behind.0 <= LATE.0 / 2 {
            self.mode = Shedding::Nothing;
        } else if behind.0 <= LATE.0 / 2 {
            // Sound needs no keyframe.
            self.mode = self.mode.min(Shedding::Pictures);
        }
        match kind {
            TagKind::Script | TagKind::VideoHeader | TagKind::AudioHeader => true,
            TagKind::Video { .. } => {
                let sends = self.mode == Shedding::Nothing;
                self.pictures += u64::from(!sends);
                sends
            }
            TagKind::Audio => {
                let sends = self.mode < Shedding::PicturesAndSound;
                self.sounds += u64::from(!sends);
                sends
            }
        }
    }

    /// What is left out at the moment.
    pub(super) fn mode(&self) -> Shedding {
        self.mode
    }

    /// Pictures and pieces of sound left out so far.
    pub(super) fn left_out(&self) -> (u64, u64) {
        (self.pictures, self.sounds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: TagKind = TagKind::Video { keyframe: true };
    const PICTURE: TagKind = TagKind::Video { keyframe: false };

    fn seconds(seconds: f64) -> Ticks {
        Ticks((seconds * Ticks::PER_SECOND as f64) as i64)
    }

    #[test]
    fn a_line_that_catches_up_in_steps_carries_everything() {
        let mut shed = Shed::new(seconds(7.0), Shedding::Nothing);
        for step in 0..60 {
            let behind = 7.0 - f64::from(step) * 0.1;
            for kind in [PICTURE, TagKind::Audio, KEY] {
                assert!(
                    shed.sends(kind, seconds(behind)) && shed.sends(kind, seconds(behind + 0.2)),
                    "{behind}"
                );
            }
        }
    }

    #[test]
    fn a_line_in_time_carries_everything() {
        let mut shed = Shed::new(seconds(2.0), Shedding::Nothing);
        for kind in [KEY, PICTURE, TagKind::Audio, TagKind::Script] {
            assert!(shed.sends(kind, seconds(2.9)));
        }
    }

    #[test]
    fn the_rest_of_a_gop_is_left_out_whole_and_sound_goes_on() {
        let mut shed = Shed::new(Ticks::ZERO, Shedding::Nothing);
        assert!(!shed.sends(PICTURE, seconds(3.1)));
        assert!(shed.sends(TagKind::Audio, seconds(3.1)));
        assert!(!shed.sends(KEY, seconds(2.0)), "not near enough to live to be worth a keyframe");
        assert!(!shed.sends(PICTURE, seconds(0.1)), "its keyframe was not sent");
        assert!(shed.sends(TagKind::VideoHeader, seconds(0.1)));
        assert!(shed.sends(KEY, seconds(0.1)));
        assert!(shed.sends(PICTURE, seconds(0.1)));
        assert_eq!(shed.left_out(), (3, 0));
    }

    #[test]
    fn sound_goes_last_and_comes_back_first() {
        let mut shed = Shed::new(Ticks::ZERO, Shedding::Nothing);
        assert!(!shed.sends(TagKind::Audio, seconds(6.1)));
        assert!(!shed.sends(TagKind::Audio, seconds(2.0)));
        assert!(shed.sends(TagKind::Audio, seconds(1.0)));
        assert!(!shed.sends(PICTURE, seconds(1.0)));
    }

    #[test]
    fn a_camera_with_long_gops_is_carried_from_its_keyframe() {
        let mut shed = Shed::new(seconds(9.0), Shedding::Nothing);
        assert!(shed.sends(KEY, seconds(9.0)));
        assert!(shed.sends(PICTURE, seconds(9.5)));
        assert!(shed.sends(PICTURE, seconds(2.0)));
        assert!(!shed.sends(PICTURE, seconds(3.1)), "the allowance is for the start only");
    }

    #[test]
    fn a_past_of_minutes_is_not_sent_at_the_start() {
        let mut shed = Shed::new(seconds(180.0), Shedding::Nothing);
        for behind in [180.0, 90.0, 11.0, 2.0] {
            for kind in [KEY, PICTURE, TagKind::Audio] {
                assert!(!shed.sends(kind, seconds(behind)), "{kind:?} {behind}");
            }
        }
        assert!(shed.sends(TagKind::AudioHeader, seconds(180.0)));
        assert!(shed.sends(TagKind::Audio, seconds(1.0)) && shed.sends(KEY, seconds(0.0)));
    }

    proptest! {
        #[test]
        fn no_picture_is_sent_without_all_of_its_gop_before_it(
            tags in prop::collection::vec((0u8..8, 0i64..10 * Ticks::PER_SECOND), 0..300),
        ) {
            let mut shed = Shed::new(Ticks::ZERO, Shedding::Nothing);
            let mut whole = true;
            for (kind, behind) in tags {
                let kind = match kind { 0 => KEY, 1..=5 => PICTURE, 6 => TagKind::Audio, _ => TagKind::Script };
                let sent = shed.sends(kind, Ticks(behind));
                match kind {
                    TagKind::Video { keyframe: true } => whole = sent,
                    TagKind::Video { .. } => {
                        prop_assert!(whole || !sent);
                        whole &= sent;
                    }
                    TagKind::Audio => prop_assert!(sent || behind > LATE.0 / 2),
                    _ => prop_assert!(sent),
                }
            }
        }
    }
}
