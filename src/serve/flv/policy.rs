//! When tags go out, and what becomes of a viewer that does not keep up.
//!
//! Pure: [`Rhythm`] decides for all viewers of a stream at once, [`Patience`] for one; `shard.rs` obeys.

use std::time::{Duration, Instant};

/// How long sound may wait for a picture to ride with: a frame at 25 a second and what its camera jitters.
const SOUND_WAITS: Duration = Duration::from_millis(45);

/// What happened at the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// A picture.
    Picture,
    /// Sound, or a header, in a stream that has pictures.
    BesidePicture,
    /// Sound, or a header, in a stream without.
    Alone,
    /// All that was there has been looked at.
    Looked,
    /// All that came was written.
    Written,
}

/// Decides when what came is written to the viewers.
///
/// A write costs far more than its bytes, so the sound since the last picture rides with the next one, and with
/// `merge` pictures wait for each other. Sound does not even wake anybody: it is found by looking now and then, and
/// counted as waiting since the look before.
#[derive(Debug)]
pub(super) struct Rhythm {
    merge: Duration,
    looked_at: Instant,
    due: Option<Instant>,
}

impl Rhythm {
    pub(super) fn new(now: Instant, merge: Duration) -> Rhythm {
        Rhythm { merge, looked_at: now, due: None }
    }

    /// Another time for pictures to wait, from the next one on.
    pub(super) fn set_merge(&mut self, merge: Duration) {
        self.merge = merge;
    }

    /// Takes note of what happened.
    pub(super) fn handle(&mut self, now: Instant, came: Came) {
        let due = match came {
            Came::Picture | Came::Alone => now + self.merge,
            Came::BesidePicture => self.looked_at + self.sound_waits(),
            Came::Looked => {
                self.looked_at = now;
                return;
            }
            Came::Written => {
                self.due = None;
                return;
            }
        };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// When to look, and to write what [is due](Rhythm::is_due) then.
    pub(super) fn wake_at(&self) -> Instant {
        self.due.unwrap_or(self.looked_at + self.sound_waits())
    }

    /// Whether to write now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    fn sound_waits(&self) -> Duration {
        self.merge.max(SOUND_WAITS)
    }
}

/// The bounds of patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// A viewer further behind than this jumps to the newest keyframe.
    pub(super) lag: Duration,
    /// A viewer that takes not one byte for this long is cut.
    pub(super) stall: Duration,
}

/// What became of a write to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has everything.
    CaughtUp,
    /// It is owed more; `bytes` were taken, none included.
    Owed {
        /// What its socket took, or what its far end acknowledged.
        bytes: usize,
    },
}

/// What to do about a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// Move it to the newest keyframe.
    Jump,
    /// End it.
    Cut,
}

/// Judges one viewer.
#[derive(Debug)]
pub(super) struct Patience {
    /// When a viewer that is owed something last took a byte, or came to be owed.
    waiting_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { waiting_since: None }
    }

    /// Takes note of a write.
    pub(super) fn handle(&mut self, now: Instant, outcome: Outcome) {
        self.waiting_since = match (outcome, self.waiting_since) {
            (Outcome::CaughtUp, _) => None,
            (Outcome::Owed { bytes: 0 }, Some(since)) => Some(since),
            (Outcome::Owed { .. }, _) => Some(now),
        };
    }

    /// What to do about a viewer that is `lag` behind.
    pub(super) fn judge(&self, now: Instant, lag: Duration, bounds: Bounds) -> Verdict {
        let Some(since) = self.waiting_since else { return Verdict::Keep };
        if now.saturating_duration_since(since) >= bounds.stall {
            Verdict::Cut
        } else if lag > bounds.lag {
            Verdict::Jump
        } else {
            Verdict::Keep
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::clock;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn no_picture_waits_and_sound_rides_with_it() {
        let start = clock::now();
        let mut rhythm = Rhythm::new(start, Duration::ZERO);
        rhythm.handle(start + ms(33), Came::BesidePicture);
        assert!(!rhythm.is_due(start + ms(33)));
        rhythm.handle(start + ms(33), Came::Picture);
        assert!(rhythm.is_due(start + ms(33)));
        rhythm.handle(start + ms(33), Came::Looked);
        rhythm.handle(start + ms(33), Came::Written);
        assert_eq!(rhythm.wake_at(), start + ms(33) + SOUND_WAITS);
    }

    #[test]
    fn sound_does_not_wait_for_a_picture_that_does_not_come() {
        let start = clock::now();
        let mut rhythm = Rhythm::new(start, Duration::ZERO);
        rhythm.handle(start + SOUND_WAITS, Came::BesidePicture);
        assert!(rhythm.is_due(start + SOUND_WAITS), "it may have come right after the last look");
        let mut rhythm = Rhythm::new(start, Duration::ZERO);
        rhythm.handle(start, Came::Alone);
        assert!(rhythm.is_due(start), "without a picture nothing waits");
    }

    #[test]
    fn merging_gathers_pictures_for_that_long_and_no_longer() {
        let start = clock::now();
        let mut rhythm = Rhythm::new(start, ms(100));
        rhythm.handle(start, Came::Picture);
        for millis in [33, 67, 99] {
            rhythm.handle(start + ms(millis), Came::Looked);
            rhythm.handle(start + ms(millis), Came::Picture);
            assert!(!rhythm.is_due(start + ms(millis)));
        }
        assert!(rhythm.is_due(start + ms(100)));
    }

    const BOUNDS: Bounds = Bounds { lag: ms_const(3_000), stall: ms_const(10_000) };

    const fn ms_const(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn who_takes_something_now_and_then_is_never_cut_but_jumps() {
        let start = clock::now();
        let mut patience = Patience::new();
        for second in 0..60 {
            let now = start + ms(second * 1_000);
            patience.handle(now, Outcome::Owed { bytes: usize::from(second % 9 == 0) });
            assert_eq!(patience.judge(now, ms(2_999), BOUNDS), Verdict::Keep);
            assert_eq!(patience.judge(now, ms(3_001), BOUNDS), Verdict::Jump);
        }
    }

    #[test]
    fn who_takes_nothing_is_cut_and_a_silent_source_cuts_nobody() {
        let start = clock::now();
        let mut patience = Patience::new();
        patience.handle(start, Outcome::Owed { bytes: 100 });
        patience.handle(start + ms(5_000), Outcome::Owed { bytes: 0 });
        assert_eq!(patience.judge(start + ms(9_999), ms(0), BOUNDS), Verdict::Keep);
        assert_eq!(patience.judge(start + ms(10_000), ms(0), BOUNDS), Verdict::Cut);
        patience.handle(start + ms(10_000), Outcome::CaughtUp);
        assert_eq!(patience.judge(start + ms(99_000), ms(0), BOUNDS), Verdict::Keep);
        patience.handle(start + ms(99_000), Outcome::Owed { bytes: 0 });
        assert_eq!(patience.judge(start + ms(99_000), ms(0), BOUNDS), Verdict::Keep, "owed only since now");
    }

    proptest! {
        #[test]
        fn nothing_ever_waits_longer_than_merging_or_riding_along_allows(
            merge in 0u64..200,
            came in prop::collection::vec((0u64..50, 0u8..3), 1..100),
        ) {
            let bound = ms(merge).max(SOUND_WAITS);
            let mut now = clock::now();
            let mut rhythm = Rhythm::new(now, ms(merge));
            // What came and was not looked at, what was and was not written: the oldest of each.
            let (mut unseen, mut unwritten): (Option<(Instant, Came)>, Option<Instant>) = (None, None);
            for (step, kind) in came {
                let next = now + ms(step);
                let came = [Came::Picture, Came::BesidePicture, Came::Alone][usize::from(kind)];
                // Everything but sound beside a picture wakes at once; time wakes in between.
                while rhythm.wake_at() < next {
                    now = rhythm.wake_at();
                    if let Some((at, sound)) = unseen.take() {
                        rhythm.handle(now, sound);
                        unwritten.get_or_insert(at);
                    }
                    rhythm.handle(now, Came::Looked);
                    if rhythm.is_due(now) {
                        prop_assert!(unwritten.is_some_and(|at| now <= at + bound));
                        unwritten = None;
                        rhythm.handle(now, Came::Written);
                    }
                }
                now = next;
                if came == Came::BesidePicture {
                    unseen.get_or_insert((now, came));
                    continue;
                }
                if let Some((at, sound)) = unseen.take() {
                    rhythm.handle(now, sound);
                    unwritten.get_or_insert(at);
                }
                rhythm.handle(now, came);
                unwritten.get_or_insert(now);
                rhythm.handle(now, Came::Looked);
                prop_assert!(unwritten.is_some_and(|at| now <= at + bound));
                if rhythm.is_due(now) {
                    unwritten = None;
                    rhythm.handle(now, Came::Written);
                }
            }
        }
    }
}
