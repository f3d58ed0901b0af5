//! Far ends that hold back what they acknowledge until it is due, as SRT's do.

use crate::base::ticks::Ticks;
use crate::sim::ms;
use crate::uplink::lines::Sample;

use super::*;

/// Pictures of 33 ms and 1,000 bytes.
const PICTURE: Duration = Duration::from_millis(33);

/// Two lines that are up, the first of which carries, fed with GOPs of so many pictures.
struct Pair {
    core: Failover,
    now: Instant,
    gop_pictures: u64,
    next: u64,
    heard: Vec<Action>,
}

impl Pair {
    fn new(gop_pictures: u64) -> Pair {
        let now = crate::sim::epoch();
        let core = Failover::new(now, Settings { lines: 2, ..Settings::default() });
        let mut pair = Pair { core, now, gop_pictures, next: 0, heard: Vec::new() };
        pair.tell(Event::Tick);
        for line in [LineId(0), LineId(1)] {
            pair.tell(Event::Line { line, dial: Dial(1), what: LineEvent::Published });
        }
        pair.tell(Event::Ring { oldest_gop: Seq(0), newest_gop: Seq(0) });
        assert_eq!(pair.core.carrier(), Some(LineId(0)));
        pair.heard.clear();
        pair
    }

    fn tell(&mut self, event: Event) {
        self.heard.extend(self.core.handle(self.now, event));
        self.core.check_invariants();
    }

    fn line(&mut self, line: u8, what: LineEvent) {
        self.tell(Event::Line { line: LineId(line), dial: Dial(1), what });
    }

    /// The primary carries so many pictures and acknowledges all but the last; its program has them so much later.
    fn carry(&mut self, pictures: u64, held: u64) {
        for _ in 0..pictures {
            self.now += PICTURE;
            let seq = self.next;
            self.next += 1;
            let gop = seq - seq % self.gop_pictures;
            self.tell(Event::Ring { oldest_gop: Seq(0), newest_gop: Seq(gop) });
            let carrier = self.core.carrier().map_or(0, |line| line.0);
            let at = Ticks::from_millis(seq as i64 * 33);
            self.line(carrier, LineEvent::Wrote { end: self.next * 1_000, seq: Seq(seq), gop: Seq(gop), at });
            let sample = Sample {
                acked_bytes: seq * 1_000,
                read_bytes: Some(seq.saturating_sub(held) * 1_000),
                owed_bytes: 1_000,
                stream_at: at,
                rtt: ms(50),
                ..Sample::default()
            };
            self.line(carrier, LineEvent::Sampled(sample));
            let idle = Sample { stream_at: at, rtt: ms(50), ..Sample::default() };
            self.line(1 - carrier, LineEvent::Sampled(idle));
        }
    }

    /// Where the stream went on, if it moved.
    fn carried_from(&self) -> Option<(LineId, Seq, Why)> {
        self.heard.iter().rev().find_map(|action| match action {
            Action::Carry { line, from, why, .. } => Some((*line, *from, *why)),
            _ => None,
        })
    }
}

#[test]
fn what_a_killed_listener_acknowledged_and_never_played_is_sent_by_the_standby() {
    for gop_pictures in [5, 60] {
        let mut pair = Pair::new(gop_pictures);
        pair.carry(100, 20);
        pair.line(0, LineEvent::Ended(Ending::Reset));
        let oldest = 99 - 20;
        let want = Seq(oldest - oldest % gop_pictures);
        assert_eq!(pair.carried_from(), Some((LineId(1), want, Why::Lost)), "GOPs of {gop_pictures}");
    }
}

#[test]
fn the_stream_goes_home_right_after_a_keyframe_though_the_far_end_holds_it_back() {
    let mut pair = Pair::new(60);
    pair.tell(Event::Switch { to: LineId(1) });
    pair.tell(Event::Resume);
    pair.carry(700, 30);
    let (line, from, why) = pair.carried_from().expect("it moved");
    assert_eq!((line, why, from.0 % 60), (LineId(0), Why::Home, 0));
    // What its program did not have yet stood in the newest GOP: nothing older was sent twice.
    assert_eq!(from, pair.core.lines[0].inflight.place().map_or(from, |place| place.gop.min(from)));
}

#[test]
fn what_a_far_end_went_on_without_is_sent_by_the_standby_or_told() {
    let mut pair = Pair::new(10);
    pair.carry(100, 20);
    let lost = LineEvent::Lost { from: 93_500, to: 95_001 };
    pair.line(0, lost);
    assert_eq!(pair.carried_from(), Some((LineId(1), Seq(70), Why::Lossy)));
    assert!(!pair.heard.iter().any(|action| matches!(action, Action::Gap(_))), "nothing is missing");
    // The standby does the like: to go back at once would only send everything twice.
    pair.heard.clear();
    pair.carry(50, 20);
    pair.line(1, LineEvent::Lost { from: 140_000, to: 140_001 });
    let gap = Gap {
        line: LineId(1),
        first: Seq(140),
        last: Seq(140),
        pictures_only: false,
        why: GapReason::TooLate,
    };
    assert_eq!(pair.heard, [Action::Gap(gap)]);
    assert_eq!(pair.core.carrier(), Some(LineId(1)));
}

#[test]
fn a_line_that_lost_something_begins_at_a_keyframe_when_the_stream_comes_back() {
    let mut pair = Pair::new(60);
    pair.carry(100, 20);
    pair.tell(Event::Switch { to: LineId(1) });
    pair.line(0, LineEvent::Lost { from: 98_000, to: 99_000 });
    pair.heard.clear();
    // The standby had no time for anything.
    pair.line(1, LineEvent::Ended(Ending::Reset));
    assert_eq!(pair.carried_from(), Some((LineId(0), Seq(60), Why::Lost)));
}
