//! What an output shows while its lines come and go.

use super::*;
use crate::base::ticks::Ticks;
use crate::sim::{epoch, ms, secs};
use crate::uplink::exits::Exits;
use crate::uplink::failover::{Action, Actions, Dial, Ending, Event, GapReason, LineEvent, Mode, Refusal};
use crate::uplink::inflight::Seq;
use crate::uplink::lines::Sample;
use crate::uplink::status::LineStatus;

const STEP: Duration = Duration::from_millis(100);

/// An output's core and books, over far ends that do as they are told.
struct Stage {
    now: Instant,
    core: Failover,
    books: Books,
    figures: Figures,
    /// Each line's connection, and when it was dialled.
    dials: Vec<Option<(Dial, Instant)>>,
}

/// How a far end behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    /// Takes the stream.
    Willing,
    /// Says nothing at all.
    BlackHole,
    /// Refuses.
    Refuses,
    /// Takes the stream, and hangs up a second later.
    HangsUp,
}

impl Stage {
    fn new(mode: OutputMode, lines: usize) -> Stage {
        let roles = ["primary", "standby 1", "standby 2"];
        let line = |role| LineStatus { role, ..LineStatus::default() };
        let described = roles[..lines].iter().map(|role| line(role)).collect();
        let figures = Figures::new(OutputStatus::new("cloud", "main", mode, described));
        let now = epoch();
        let core_mode = if mode == OutputMode::Mirror { Mode::Mirror } else { Mode::Warm };
        let settings = Settings { mode: core_mode, lines: lines as u8, ..Settings::default() };
        let destination = "rtmp://a.example/live/key".parse().expect("a URL");
        let exits = Exits::default();
        let mut stage = Stage {
            now,
            core: Failover::new(now, settings),
            books: Books::new(now, figures.clone(), (0..lines).map(|_| exits.join(&destination)).collect()),
            figures,
            dials: vec![None; lines],
        };
        stage.books.enter(State::Connecting);
        stage.tell(Event::Ring { oldest_gop: Seq(1), newest_gop: Seq(1) });
        stage
    }

    fn tell(&mut self, event: Event) {
        let actions = self.core.handle(self.now, event);
        self.obey(actions);
    }

    fn hear(&mut self, line: usize, what: LineEvent, failure: Option<&LinkError>) {
        let Some((dial, _)) = self.dials[line] else { return };
        let id = LineId(line as u8);
        if what == LineEvent::Published {
            self.books.published(id);
        }
        let actions = self.core.handle(self.now, Event::Line { line: id, dial, what });
        if let Some(failure) = failure {
            self.dials[line] = None;
            self.books.failed(self.now, id, failure, self.core.state(id));
        }
        self.obey(actions);
    }

    fn obey(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Connect { line, dial } => {
                    self.books.redialled(line);
                    self.dials[line.index()] = Some((dial, self.now));
                }
                Action::Disconnect { line, why, .. } => {
                    self.dials[line.index()] = None;
                    let name = Name { host: "far".into(), field: "primary" };
                    self.books.given_up(self.now, line, &name, why, self.core.state(line));
                }
                Action::Carry { line, left, why, .. } => self.books.moved(self.now, line, left, why),
                Action::Gap(gap) => self.books.lost(self.now, gap),
                Action::Rest { .. } | Action::Trickle { .. } => {}
            }
        }
        self.books.report(self.now, &self.core, &Need::new(), None);
    }

    /// One step of time, the far ends being as they are.
    fn step(&mut self, far: &[Far]) -> OutputStatus {
        self.now += STEP;
        let broken = LinkError::Stalled { host: "far".into(), silent: secs(1) };
        for (line, manner) in far.iter().enumerate() {
            let Some((_, since)) = self.dials[line] else { continue };
            let up = matches!(self.core.state(LineId(line as u8)), Some(CoreState::Up { .. }));
            match manner {
                Far::Willing | Far::HangsUp if !up => self.hear(line, LineEvent::Published, None),
                Far::HangsUp if self.now >= since + secs(1) => {
                    self.hear(line, LineEvent::Ended(Ending::Closed), Some(&broken));
                }
                Far::Willing | Far::HangsUp => self.sample(line),
                Far::Refuses => self.hear(line, LineEvent::Refused(Refusal::Other), Some(&broken)),
                Far::BlackHole => {}
            }
        }
        self.tell(Event::Tick);
        self.books.report(self.now, &self.core, &Need::new(), None);
        self.figures.get()
    }

    fn sample(&mut self, line: usize) {
        let id = LineId(line as u8);
        let carries = matches!(self.core.state(id), Some(CoreState::Up { carrying: true, .. }));
        let sampled = Sampled {
            sample: Sample::default(),
            sent_bytes: 0,
            left_out: 0,
            behind: Ticks::ZERO,
            carries,
            carried: carries,
        };
        self.books.sampled(id, &sampled);
    }

    /// The figures after each step of `span`.
    fn run(&mut self, span: Duration, far: &[Far]) -> Vec<OutputStatus> {
        (0..span.as_millis() / STEP.as_millis()).map(|_| self.step(far)).collect()
    }
}

fn keys(status: &OutputStatus) -> Vec<&'static str> {
    status.alerts().into_iter().map(|(key, _)| key).collect()
}

/// How often a value changes.
fn changes<T: PartialEq>(values: impl Iterator<Item = T>) -> usize {
    let values: Vec<T> = values.collect();
    values.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn a_standby_that_nobody_answers_is_one_alert_that_stays_until_it_is_well() {
    let mut stage = Stage::new(OutputMode::Warm, 2);
    let mut seen = stage.run(secs(60), &[Far::Willing, Far::BlackHole]);
    seen.extend(stage.run(secs(30), &[Far::Willing, Far::Willing]));
    assert_eq!(changes(seen.iter().map(keys)), 2, "it comes once and goes once");
    assert_eq!(keys(&seen[599]), ["uplink-line-down"]);
    assert!(keys(&seen[899]).is_empty());
    assert!(seen[10..].iter().all(|status| status.state == State::Live));
}

#[test]
fn a_start_that_takes_a_second_is_no_alert_and_one_that_takes_four_is() {
    let mut stage = Stage::new(OutputMode::Warm, 1);
    let quick = stage.run(secs(1), &[Far::BlackHole]);
    let live = stage.run(secs(1), &[Far::Willing]);
    assert!(quick.iter().chain(&live).all(|status| keys(status).is_empty()));
    let slow = Stage::new(OutputMode::Warm, 1).run(secs(4), &[Far::BlackHole]);
    assert_eq!(keys(&slow[20]), [""; 0]);
    assert_eq!(keys(&slow[39]), ["uplink-down"]);
}

#[test]
fn an_output_that_reaches_nobody_does_not_change_its_mind_with_each_try() {
    for manner in [Far::BlackHole, Far::Refuses] {
        let mut stage = Stage::new(OutputMode::Warm, 2);
        let seen = stage.run(secs(60), &[manner, manner]);
        assert_eq!(changes(seen[50..].iter().map(|status| status.state)), 0, "{manner:?}");
        assert_eq!(seen[599].state, State::Waiting);
        assert!(seen[50..].iter().all(|status| keys(status) == ["uplink-down"]), "{manner:?}");
    }
}

#[test]
fn a_far_end_that_takes_the_stream_and_hangs_up_each_time_is_one_alert() {
    let mut stage = Stage::new(OutputMode::Warm, 1);
    stage.run(secs(5), &[Far::HangsUp]);
    let mut seen = stage.run(secs(60), &[Far::HangsUp]);
    seen.extend(stage.run(secs(10), &[Far::Willing]));
    assert_eq!(changes(seen.iter().map(keys)), 1, "it goes once, when it is well");
    assert_eq!((keys(&seen[0]), keys(&seen[699])), (vec!["uplink-down"], vec![]));
    let words = |status: &OutputStatus| status.alerts().remove(0).1;
    assert!(seen[..600].iter().any(|status| words(status).contains("until just now")), "{}", words(&seen[0]));
}

#[test]
fn an_output_that_moves_from_line_to_line_stays_live() {
    let mut stage = Stage::new(OutputMode::Warm, 2);
    stage.run(secs(5), &[Far::Willing, Far::Willing]);
    stage.tell(Event::Switch { to: LineId(1) });
    let seen = stage.run(secs(2), &[Far::Willing, Far::Willing]);
    assert!(seen.iter().all(|status| status.state == State::Live && status.active == Some(1)));
}

fn gap(line: u8) -> Gap {
    let (first, last) = (Seq(10), Seq(19));
    Gap { line: LineId(line), first, last, pictures_only: false, why: GapReason::Overrun }
}

#[test]
fn what_one_mirror_misses_is_lost_only_if_no_other_has_it() {
    let mut stage = Stage::new(OutputMode::Mirror, 2);
    stage.run(secs(1), &[Far::Willing, Far::Willing]);
    stage.books.lost(stage.now, gap(1));
    let status = stage.figures.get();
    assert_eq!((status.lost, status.lines[0].missed, status.lines[1].missed), ([0; 5], 0, 10));
    stage.run(STEP, &[Far::Willing, Far::HangsUp]);
    stage.books.lost(stage.now, gap(0));
    let status = stage.figures.get();
    assert_eq!((status.lost.iter().sum(), status.lines[0].missed), (10, 10));
}

#[test]
fn an_output_that_has_ended_shows_no_line_that_carries() {
    let mut stage = Stage::new(OutputMode::Warm, 2);
    stage.run(ms(500), &[Far::Willing, Far::Willing]);
    assert_eq!(stage.figures.get().active, Some(0));
    stage.figures.stop();
    let status = stage.figures.get();
    assert_eq!((status.state, status.active), (State::Stopped, None));
    assert!(status.lines.iter().all(|line| line.state == LineState::Off && line.reading.is_none()));
    assert!(status.alerts().is_empty());
}

#[test]
fn what_other_outputs_put_on_the_same_way_out_counts_against_a_lines_reserve() {
    const MEGA: u64 = 1_000_000;
    let wire = "rtmp://a.example/live/key".parse().expect("a URL");
    let figures =
        Figures::new(OutputStatus::new("cloud", "main", OutputMode::Warm, vec![LineStatus::default()]));
    let exits = Exits::default();
    let other = exits.join(&wire);
    let mut now = epoch();
    let mut books = Books::new(now, figures, vec![exits.join(&wire)]);
    let account = &mut books.accounts[0];
    account.carries = true;
    let mut need = Need::new();
    need.look(Ticks::ZERO, 0, Some(BitrateBps(4 * MEGA)));
    let mut stats = LineStats::new();
    stats.sample(now, Sample { rtt: ms(50), ..Sample::default() }, None);
    let reading = stats.reading().expect("a sample came");
    let reading = Some(Reading { capacity: Some(BitrateBps(8 * MEGA)), ..reading });
    let mut strain = Strain::Fine;
    let mut look_for = |seconds: u64, strain: &mut Strain| {
        for _ in 0..seconds * 10 {
            now += STEP;
            judge(now, account, reading, &need, strain);
        }
    };
    look_for(20, &mut strain);
    assert_eq!(strain, Strain::Fine, "half of the line is to spare");
    other.carries(Some(Flow { needed: BitrateBps(7 * MEGA), acked: BitrateBps(7 * MEGA) }));
    look_for(5, &mut strain);
    assert_ne!(strain, Strain::Fine, "11 of 15 Mbit/s are used");
    drop(other);
    look_for(20, &mut strain);
    assert_eq!(strain, Strain::Fine);
}
