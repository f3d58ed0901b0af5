//! Which tags of the shared ring a connection still owes the far end.
//!
//! TCP acknowledges bytes of a connection, a standby carries on from a tag of the ring: this window translates.
//! Whoever puts a tag into the connection's byte stream says at which byte it ends; whoever reads the kernel's
//! counters says how far the far end has them. What is left in between is owed.
//!
//! ```text
//!   bytes of the connection   ────────┬───────┬──────┬─────────────┬──────>
//!   tags of the ring             41   │  42   │  43  │      44     │ 45
//!                                     ↑ acknowledged           written ↑
//!                                     └ place: tag 42, to be joined at the GOP that holds it
//! ```

use heapless::Deque;

use crate::base::ticks::Ticks;

/// Tags that one connection can owe one by one: 6 s of 30 pictures and 47 pieces of sound a second.
///
/// At the bound the two oldest are counted as one, from the older one's beginning: what would be sent again gets
/// longer, never shorter, so that no frame is lost by it.
const OWED_MAX: usize = 512;

/// The number of a tag in the stream's ring: consecutive, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The tag after this one.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// Where in the stream somebody stands: before the tag `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The next tag wanted.
    pub seq: Seq,
    /// The tag from which a decoder must start to understand it: the keyframe of its GOP.
    pub gop: Seq,
}

/// One or more neighbouring tags that were written and not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Owed {
    /// Where in the connection's bytes the last of them ends.
    end: u64,
    first: Seq,
    last: Seq,
    /// The GOP of the first.
    gop: Seq,
    /// The GOP of the last.
    last_gop: Seq,
    /// When the first stands on the stream's timeline.
    at: Ticks,
}

/// The tags that one connection owes, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Inflight {
    owed: Deque<Owed, OWED_MAX>,
    /// Where to go on when nothing is owed: after the last tag acknowledged, or where the connection was put.
    settled: Option<Place>,
    written: Option<Place>,
    acked: u64,
}

impl Inflight {
    /// A connection that has carried nothing.
    pub fn new() -> Inflight {
        Inflight::default()
    }

    /// Puts the connection at the GOP `from`: what it owed before is another's now.
    pub fn start(&mut self, from: Place) {
        self.owed.clear();
        self.settled = Some(from);
    }

    /// The tag `seq` of the GOP `gop`, which stands at `at` on the stream's timeline, is in the connection's byte
    /// stream for good and ends before byte `end`.
    ///
    /// `end` counts the bytes of the connection itself (after TLS, where there is TLS) and never falls, nor does
    /// `seq`; a tag that was told already is not told again.
    pub fn wrote(&mut self, end: u64, seq: Seq, gop: Seq, at: Ticks) {
        let gop = gop.min(seq);
        let newest = self.owed.back();
        if newest.is_some_and(|owed| seq <= owed.last) {
            return;
        }
        let end = newest.map_or(end, |owed| end.max(owed.end));
        self.written = Some(Place { seq: seq.next(), gop });
        if end <= self.acked {
            self.settle(Owed { end, first: seq, last: seq, gop, last_gop: gop, at });
            return;
        }
        if self.owed.is_full() {
            self.merge_oldest();
        }
        let owed = Owed { end, first: seq, last: seq, gop, last_gop: gop, at };
        let fits = self.owed.push_back(owed).is_ok();
        debug_assert!(fits, "two entries became one");
    }

    /// The far end has all bytes before `upto`. A number that falls is not believed.
    pub fn acked(&mut self, upto: u64) {
        self.acked = self.acked.max(upto);
        while let Some(done) = self.owed.pop_front_if(|owed| owed.end <= upto) {
            self.settle(done);
        }
    }

    fn settle(&mut self, done: Owed) {
        self.settled = Some(Place { seq: done.last.next(), gop: done.last_gop });
    }

    fn merge_oldest(&mut self) {
        let (Some(older), Some(newer)) = (self.owed.pop_front(), self.owed.front_mut()) else { return };
        newer.first = older.first;
        newer.gop = older.gop;
        newer.at = older.at;
    }

    /// The oldest tag that the far end is not known to have; where the connection was put, if it wrote nothing yet.
    pub fn place(&self) -> Option<Place> {
        self.owed.front().map(|owed| Place { seq: owed.first, gop: owed.gop }).or(self.settled)
    }

    /// The tag after the last one written; `None` if the connection never carried.
    pub fn written(&self) -> Option<Place> {
        self.written
    }

    /// The time of the oldest tag that ends beyond byte `upto`; `None` if all that was written ends before.
    pub fn oldest_beyond(&self, upto: u64) -> Option<Ticks> {
        self.owed.iter().find(|owed| owed.end > upto).map(|owed| owed.at)
    }

    /// The first and the last tag of which something stands between these bytes, of those that are owed.
    pub fn between(&self, from: u64, to: u64) -> Option<(Seq, Seq)> {
        let (mut found, mut begin) = (None, self.acked);
        for owed in &self.owed {
            if begin < to && owed.end > from {
                let first = found.map_or(owed.first, |(first, _)| first);
                found = Some((first, owed.last));
            }
            begin = owed.end;
        }
        found
    }

    /// What was written did not all arrive: another time the connection begins at a keyframe, as a fresh one does.
    pub fn forget_written(&mut self) {
        self.written = None;
    }

    /// Whether a tag was written and not acknowledged.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Panics where the window contradicts itself; for tests.
    pub fn check_invariants(&self) {
        assert!(self.owed.iter().all(|owed| owed.end > self.acked && owed.first <= owed.last));
        assert!(self.owed.iter().all(|owed| owed.gop <= owed.first && owed.last_gop <= owed.last));
        assert!(self.owed.iter().zip(self.owed.iter().skip(1)).all(|(one, two)| one.end <= two.end));
        assert!(self.owed.iter().zip(self.owed.iter().skip(1)).all(|(one, two)| one.last < two.first));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(seq: u64, gop: u64) -> Place {
        Place { seq: Seq(seq), gop: Seq(gop) }
    }

    #[test]
    fn the_oldest_unacknowledged_tag_is_named_with_the_keyframe_that_it_needs() {
        let mut inflight = Inflight::new();
        assert_eq!(inflight.place(), None);
        inflight.start(Place { seq: Seq(40), gop: Seq(40) });
        assert_eq!(inflight.place(), Some(place(40, 40)), "nothing written: all of it is wanted");
        for (end, seq, gop) in [(1_000, 40, 40), (1_200, 41, 40), (2_400, 42, 42), (2_500, 43, 42)] {
            inflight.wrote(end, Seq(seq), Seq(gop), Ticks(seq as i64 * 90));
        }
        assert_eq!(inflight.oldest_beyond(1_100), Some(Ticks(41 * 90)));
        assert_eq!(inflight.oldest_beyond(2_500), None);
        assert_eq!(inflight.between(1_000, 1_001), Some((Seq(41), Seq(41))));
        assert_eq!(inflight.between(1_199, 1_201), Some((Seq(41), Seq(42))));
        assert_eq!(inflight.between(2_500, 9_000), None);
        for (upto, want) in [
            (0, place(40, 40)),
            (999, place(40, 40)),
            (1_000, place(41, 40)),
            (1_200, place(42, 42)),
            (700, place(42, 42)),
            (2_500, place(44, 42)),
        ] {
            inflight.acked(upto);
            inflight.check_invariants();
            assert_eq!(inflight.place(), Some(want), "{upto} bytes acknowledged");
        }
        assert!(!inflight.owes());
        assert_eq!(inflight.written(), Some(place(44, 42)));
    }

    #[test]
    fn a_tag_that_was_acknowledged_before_it_was_told_of_is_not_owed() {
        let mut inflight = Inflight::new();
        inflight.acked(500);
        inflight.wrote(400, Seq(7), Seq(7), Ticks::ZERO);
        assert_eq!(inflight.place(), Some(place(8, 7)));
        assert!(!inflight.owes());
    }

    proptest! {
        #[test]
        fn at_the_bound_more_is_sent_again_and_never_less(
            steps in proptest::collection::vec((1u64..4_000, any::<bool>(), 0u64..6_000), 0..2_000)
        ) {
            let (mut inflight, mut naive) = (Inflight::new(), Vec::new());
            let (mut end, mut acked, mut gop) = (0, 0, Seq(0));
            for (seq, (bytes, keyframe, ack)) in (0..).map(Seq).zip(steps) {
                gop = if keyframe { seq } else { gop };
                end += bytes;
                inflight.wrote(end, seq, gop, Ticks::ZERO);
                naive.push((end, seq, gop));
                acked = end.min(acked + ack / 2);
                inflight.acked(acked);
                inflight.check_invariants();
                naive.retain(|(end, ..)| *end > acked);
                let Some(place) = inflight.place() else { continue };
                if let Some((_, first, first_gop)) = naive.first() {
                    prop_assert!(place.seq <= *first && place.gop <= *first_gop);
                } else {
                    prop_assert_eq!(place.seq, seq.next());
                }
            }
        }
    }
}
