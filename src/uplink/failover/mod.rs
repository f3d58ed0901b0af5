//! Decides which destination of an output carries the stream, and from which frame on.
//!
//! ```text
//!                 ┌───────────┐  Ended, Refused, Hung    ┌──────────┐
//!     Connect ──> │  dialing  │ ───────────────────────> │ waiting  │ ──> Connect, for ever
//!                 └─────┬─────┘                          └──────────┘
//!                       │ Published                            ↑
//!                 ┌─────▼─────┐  Ended, silent for 5 s         │
//!                 │  resting  │ ───────────────────────────────┤      a trickle every 2 s
//!                 └───┬───▲───┘                                │
//!               Carry │   │ Rest      Ended, silent for 5 s    │
//!                 ┌───▼───┴───┐ ───────────────────────────────┘
//!                 │ carrying  │   stalled 350 ms, frozen, slow: another line carries on from the GOP
//!                 └───────────┘   that holds the oldest frame this one did not get acknowledged
//! ```
//!
//! Pure: an [`Event`] and the time go in, [`Actions`] come out; the shell owns the sockets and obeys. A line is
//! alive while the far end acknowledges what it owes. What we wrote proves nothing: a dead 4G modem swallows
//! megabytes into its send buffer before it complains. Nor does one silent look: silence counts only while
//! somebody looked, so that a box that slept does not blame its lines.
//!
//! How a shell drives it: one task for each output owns the core and hears its lines by a bounded channel. It hands
//! on each [`LineEvent`] with the [`Dial`] of the connection it is about, samples every published connection each 20
//! to 50 ms, tells of each GOP that the ring gains or loses, sends [`Event::Tick`] at [`Failover::wake_at`], and does
//! the actions in their order before the next event. Between `Disconnect` and the next `Connect` of a line nothing
//! needs to be awaited: late news of the old connection carry its old number.
//!
//! It never sees a frame, a URL or an error text; numbers of tags are all it knows of the stream.

mod dialing;
mod line;
mod rhythm;
mod words;

use std::time::{Duration, Instant};

use crate::base::units::BitrateBps;
use crate::uplink::inflight::{Place, Seq};
use crate::uplink::lines::LineStats;

use line::{Line, Sick, State};

pub use words::{
    Action, Actions, Dial, Ending, Event, Gap, GapReason, LINES_MAX, LineEvent, LineId, Mode, Phase, Refusal,
    Settings, Why,
};

/// How long the first line to be published waits for the one that is home, when the output starts.
const START_GRACE: Duration = Duration::from_secs(2);

/// A line that is lost within this time after the stream went home to it is flapping.
const FLAP_WINDOW: Duration = Duration::from_secs(300);

/// A line that was left because it was slow, or lost something, is the last choice for this long.
const SICK_FOR: Duration = Duration::from_secs(60);

/// Going home waits for the moment right after a keyframe, when little has to be sent twice; no longer than this.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(6);
const HANDOVER_YOUNG: Duration = Duration::from_millis(700);

/// Catching up goes at twice what the stream needs: two seconds of resent stream are gone after two seconds, and
/// a line that was sized with the reserve we ask for is not choked for long.
const CATCH_UP: u64 = 2;

/// What is known of the stream's ring.
#[derive(Debug, Clone, Copy)]
struct Ring {
    oldest_gop: Seq,
    newest_gop: Seq,
    /// When the newest GOP began.
    since: Instant,
}

/// How home was kept so far.
#[derive(Debug, Clone, Copy, Default)]
struct Homecoming {
    /// How often in a row it was lost soon after the stream came home.
    flaps: u32,
    since: Option<Instant>,
}

/// A line as pages and metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineState {
    /// Nobody needs it.
    Off,
    /// It is dialled again at this time.
    Waiting {
        /// When.
        until: Instant,
        /// Tries that failed since it was last published.
        failures: u32,
    },
    /// It is being dialled.
    Dialing {
        /// How far.
        phase: Phase,
    },
    /// It is published.
    Up {
        /// It carries the stream.
        carrying: bool,
        /// What speaks against it now.
        trouble: Option<Why>,
    },
}

/// Which line of an output carries its stream.
pub struct Failover {
    settings: Settings,
    started: Instant,
    lines: Box<[Line]>,
    /// The line that the stream goes back to: the primary, or what somebody chose.
    home: LineId,
    home_since: Instant,
    /// Somebody sent the stream home, and it has not come there yet.
    ordered: bool,
    /// The line that carries, where only one does.
    carrier: Option<LineId>,
    /// For each line where all carry; else only the first: from where to go on while nobody carries.
    places: [Option<Place>; LINES_MAX],
    ring: Option<Ring>,
    need_bps: u64,
    /// Since when no line carries well.
    bereft_since: Option<Instant>,
    why_lost: Why,
    lost: Option<LineId>,
    homecoming: Homecoming,
    now: Instant,
}

impl Failover {
    /// An output whose lines are all to be dialled: the first [`Event::Tick`], due now, asks for it. A number of
    /// lines out of bounds is brought into them.
    pub fn new(now: Instant, settings: Settings) -> Failover {
        let count = settings.lines.clamp(1, LINES_MAX as u8);
        let settings = Settings { lines: count, ..settings };
        Failover {
            settings,
            started: now,
            lines: (0..count).map(|id| Line::new(LineId(id), &settings)).collect(),
            home: LineId::PRIMARY,
            home_since: now,
            ordered: false,
            carrier: None,
            places: [None; LINES_MAX],
            ring: None,
            need_bps: 0,
            bereft_since: Some(now),
            why_lost: Why::Begin,
            lost: None,
            homecoming: Homecoming::default(),
            now,
        }
    }

    /// Takes one event and answers with what the shell must do, in order.
    ///
    /// `now` never runs backwards. News of a connection that was given up, or of a line that is not there, change
    /// nothing.
    pub fn handle(&mut self, now: Instant, event: Event) -> Actions {
        self.now = now.max(self.now);
        let now = self.now;
        let mut out = Actions::new();
        match event {
            Event::Line { line, dial, what } => self.hear(now, line, dial, what, &mut out),
            Event::Ring { oldest_gop, newest_gop } => self.turn(now, oldest_gop, newest_gop, &mut out),
            Event::Need(bps) => self.need_bps = bps.0,
            Event::Switch { to } if self.line(to).is_some() => self.go_by_order(now, to, &mut out),
            Event::Hold => self.settle_at(now, self.carrier.unwrap_or(self.home)),
            Event::Resume => self.settle_at(now, LineId::PRIMARY),
            Event::Reconnect { line } => self.redial(now, line, &mut out),
            Event::Switch { .. } | Event::Tick => {}
        }
        self.give_up(now, &mut out);
        self.steer(now, &mut out);
        self.tend(now, &mut out);
        out
    }

    /// When [`Event::Tick`] is due, if nothing else happens before; never in the past once the events up to now
    /// were handled.
    pub fn wake_at(&self) -> Option<Instant> {
        let lines = self.lines.iter().filter_map(|line| match &line.state {
            State::Off => self.wants(line.id).then_some(self.now),
            State::Waiting { until } => Some(*until),
            State::Dialing { .. } => line.dialing_until().map(|(_, until)| until),
            State::Up(up) => Some(up.said_at + self.settings.trickle_every),
        });
        let due = self.failback_due();
        let decisions = [
            due,
            due.map(|due| due + HANDOVER_PATIENCE),
            self.waits_for_home().then_some(self.started + START_GRACE),
            self.cold_step_at(),
        ];
        lines.chain(decisions.into_iter().flatten().filter(|due| *due > self.now)).min()
    }

    /// The line that carries; `None` where all do, or none does.
    pub fn carrier(&self) -> Option<LineId> {
        self.carrier
    }

    /// The line that the stream goes back to.
    pub fn home(&self) -> LineId {
        self.home
    }

    /// How a line is; `None` if there is no such line.
    pub fn state(&self, line: LineId) -> Option<LineState> {
        let line = self.line(line)?;
        Some(match &line.state {
            State::Off => LineState::Off,
            State::Waiting { until } => LineState::Waiting { until: *until, failures: line.failures },
            State::Dialing { phase, .. } => LineState::Dialing { phase: *phase },
            State::Up(up) => {
                LineState::Up { carrying: up.carrying.is_some(), trouble: line.trouble(&self.settings) }
            }
        })
    }

    /// The figures of a line's connection.
    pub fn stats(&self, line: LineId) -> Option<&LineStats> {
        self.line(line).map(|line| &line.stats)
    }

    /// The oldest tag that no destination is known to have, and the keyframe before it.
    pub fn place(&self) -> Option<Place> {
        match self.carrier {
            Some(carrier) => self.lines[carrier.index()].inflight.place(),
            None => self.places[0],
        }
    }

    /// Panics where the state contradicts itself; for tests.
    pub fn check_invariants(&self) {
        let carrying: Vec<LineId> =
            self.lines.iter().filter(|line| line.carries()).map(|line| line.id).collect();
        if self.settings.mode == Mode::Mirror {
            assert_eq!(self.carrier, None, "where all carry, none is the one");
        } else {
            assert!(carrying.len() <= 1, "{carrying:?} carry at once");
            assert_eq!(self.carrier, carrying.first().copied(), "who carries is who was told to");
        }
        assert!(self.home.index() < self.lines.len());
        assert!(self.lines.iter().all(|line| line.up().is_none() || line.dial != Dial(0)));
        assert!(self.wake_at().is_none_or(|at| at >= self.now), "the past is over");
        for line in &self.lines {
            line.inflight.check_invariants();
        }
    }

    fn line(&self, line: LineId) -> Option<&Line> {
        self.lines.get(line.index())
    }

    // ---- news -------------------------------------------------------------------------------------------------

    fn hear(&mut self, now: Instant, id: LineId, dial: Dial, what: LineEvent, out: &mut Actions) {
        let (settings, need) = (self.settings, self.need_bps);
        let Some(line) = self.lines.get_mut(id.index()) else { return };
        if line.dial != dial || !line.is_connected() {
            return;
        }
        match what {
            LineEvent::Reached(phase) => line.reached(now, phase),
            LineEvent::Published => line.published(now),
            LineEvent::Wrote { end, seq, gop, at } => {
                line.inflight.wrote(end, seq, gop, at);
                line.said(now);
            }
            LineEvent::Sampled(sample) => line.sampled(now, sample, need, &settings),
            LineEvent::Acknowledged(number) => line.acknowledged(number),
            LineEvent::Lost { from, to } => self.lose(now, id, (from, to), out),
            LineEvent::Refused(refusal) => {
                self.leave(now, id, Why::Lost);
                self.lines[id.index()].refused(now, refusal, &settings);
            }
            LineEvent::Ended(ending) => {
                self.leave(now, id, Why::Lost);
                self.lines[id.index()].ended(now, ending, &settings);
            }
            LineEvent::Skipped { first, last, pictures_only, why } => {
                if line.carries() && first <= last {
                    push(out, Action::Gap(Gap { line: id, first, last, pictures_only, why }));
                }
            }
        }
    }

    /// The far end of `id` went on without these bytes. A line that is well has the ring to send them from; where none
    /// is, or it was left for the like itself, they are lost.
    fn lose(&mut self, now: Instant, id: LineId, bytes: (u64, u64), out: &mut Actions) {
        let line = &mut self.lines[id.index()];
        if !line.carries() {
            line.inflight.forget_written();
            return;
        }
        let Some((first, last)) = line.inflight.between(bytes.0, bytes.1) else { return };
        let better = self.best(now, Some(id)).filter(|(_, is_sick)| !is_sick);
        if let Some((better, _)) = better
            && self.settings.mode != Mode::Mirror
            && self.ring.is_some()
        {
            self.move_to(now, better, Why::Lossy, out);
            self.lines[id.index()].inflight.forget_written();
        } else {
            let gap = Gap { line: id, first, last, pictures_only: false, why: GapReason::TooLate };
            push(out, Action::Gap(gap));
        }
    }

    /// The ring turned: a GOP came, or one went.
    fn turn(&mut self, now: Instant, oldest_gop: Seq, newest_gop: Seq, out: &mut Actions) {
        let since = match self.ring {
            Some(ring) if ring.newest_gop == newest_gop => ring.since,
            _ => now,
        };
        self.ring = Some(Ring { oldest_gop, newest_gop, since });
        // While nobody carries, what the ring lets go is lost, and said at once. Where all carry, the others have
        // it: it is said when the line comes back.
        if self.settings.mode != Mode::Mirror && self.carrier.is_none() {
            let line = self.lost.unwrap_or(self.home);
            if let Some(place) = self.places[0] {
                self.places[0] = Some(within_ring(place, oldest_gop, line, GapReason::NoLine, out));
            }
        }
    }

    fn settle_at(&mut self, now: Instant, home: LineId) {
        self.ordered = false;
        if home != self.home {
            (self.home, self.home_since, self.homecoming) = (home, now, Homecoming::default());
        }
    }

    /// Somebody wants the stream on `to`.
    fn go_by_order(&mut self, now: Instant, to: LineId, out: &mut Actions) {
        self.settle_at(now, to);
        let well = self.lines[to.index()].rank(now, &self.settings).is_some();
        if self.settings.mode != Mode::Mirror && self.carrier != Some(to) && well && self.ring.is_some() {
            self.move_to(now, to, Why::Told, out);
        } else {
            self.lines[to.index()].sick = None;
            self.ordered = self.carrier != Some(to);
        }
    }

    /// The line `id` carries no more, for a reason of its own: remembers where to go on.
    fn leave(&mut self, now: Instant, id: LineId, why: Why) {
        let line = &mut self.lines[id.index()];
        if !line.carries() {
            return;
        }
        let place = line.inflight.place();
        if self.settings.mode == Mode::Mirror {
            self.places[id.index()] = place;
        } else {
            self.places[0] = place;
            self.carrier = None;
            self.bereft_since = self.bereft_since.or(Some(now));
            (self.lost, self.why_lost) = (Some(id), why);
            self.note_departure(now, id, why);
        }
        self.lines[id.index()].rest();
    }

    /// Home was left against our will: soon after coming home that is a flap.
    fn note_departure(&mut self, now: Instant, id: LineId, why: Why) {
        if id != self.home || matches!(why, Why::Told | Why::Home) {
            return;
        }
        self.homecoming.flaps = match self.homecoming.since {
            Some(since) if now < since + FLAP_WINDOW => (self.homecoming.flaps + 1).min(16),
            Some(_) => 0,
            None => self.homecoming.flaps,
        };
        self.homecoming.since = None;
    }

    // ---- who carries ------------------------------------------------------------------------------------------

    fn steer(&mut self, now: Instant, out: &mut Actions) {
        let Some(ring) = self.ring else { return };
        if self.settings.mode == Mode::Mirror {
            for at in 0..self.lines.len() {
                if self.lines[at].up().is_some() && !self.lines[at].carries() {
                    self.join_mirror(now, LineId(at as u8), ring, out);
                }
            }
            return;
        }
        let trouble = self.carrier.and_then(|carrier| self.lines[carrier.index()].trouble(&self.settings));
        let next = match (self.carrier, trouble) {
            (Some(_), None) => {
                let why = if self.ordered { Why::Told } else { Why::Home };
                self.homeward(now, ring).map(|home| (home, why))
            }
            (Some(carrier), Some(why)) => {
                let best = self.best(now, Some(carrier)).map(|(line, _)| line);
                best.filter(|line| why != Why::Slow || self.is_quicker(now, *line, carrier))
                    .map(|line| (line, why))
            }
            (None, _) if self.waits_for_home() && now < self.started + START_GRACE => None,
            (None, _) => self.best(now, None).map(|(line, _)| (line, self.why_lost)),
        };
        match next {
            Some((line, why)) => self.move_to(now, line, why, out),
            None if trouble.is_some() => self.bereft_since = self.bereft_since.or(Some(now)),
            None if self.carrier.is_some() => self.bereft_since = None,
            None => {}
        }
    }

    /// At the start a standby that happens to be quicker leaves the beginning to home, unless home has failed.
    fn waits_for_home(&self) -> bool {
        let home = &self.lines[self.home.index()];
        self.lost.is_none() && self.carrier.is_none() && home.failures == 0 && home.up().is_none()
    }

    /// The best line to carry but `left`: well before sick, home before the others, these in their order.
    fn best(&self, now: Instant, left: Option<LineId>) -> Option<(LineId, bool)> {
        let lines = self.lines.iter().filter(|line| Some(line.id) != left);
        let ranked = lines.filter_map(|line| Some((line.rank(now, &self.settings)?, line.id)));
        let best = ranked.min_by_key(|(sick, id)| (*sick, *id != self.home, *id));
        best.map(|(sick, id)| (id, sick))
    }

    /// Whether `line` is the better choice than a carrier that is too slow: it is not known to be slow as well, or
    /// was much quicker when it was left than the carrier is now.
    fn is_quicker(&self, now: Instant, line: LineId, carrier: LineId) -> bool {
        let sick = self.lines[line.index()].sick.filter(|sick| now < sick.until);
        sick.is_none_or(|sick| sick.carried / 2 > self.lines[carrier.index()].carries_bps())
    }

    /// When home has been well for long enough; `None` while the stream is there, or home is not well.
    fn failback_due(&self) -> Option<Instant> {
        if self.settings.mode == Mode::Mirror || self.carrier.is_none_or(|carrier| carrier == self.home) {
            return None;
        }
        let home = &self.lines[self.home.index()];
        let since = home.up()?.healthy_since?;
        if self.ordered {
            return Some(since);
        }
        let wait = self.settings.failback_after.saturating_mul(1 << self.homecoming.flaps);
        let due = (since + wait.min(self.settings.failback_after_max)).max(self.home_since);
        Some(home.sick.map_or(due, |sick| due.max(sick.until)))
    }

    /// Home, if it is time and the moment is right: the oldest frame that the carrier owes stands in the newest
    /// GOP, and that is young, so that home begins with a keyframe and little is sent twice.
    fn homeward(&self, now: Instant, ring: Ring) -> Option<LineId> {
        let due = self.failback_due().filter(|due| *due <= now)?;
        let fresh = self.place().is_none_or(|place| place.seq >= ring.newest_gop)
            && now < ring.since + HANDOVER_YOUNG + self.holds_back();
        (fresh || self.ordered || now >= due + HANDOVER_PATIENCE).then_some(self.home)
    }

    /// How far behind the stream the oldest frame that the carrier owes stands even on the best of lines.
    fn holds_back(&self) -> Duration {
        self.carrier.map_or(Duration::ZERO, |carrier| self.lines[carrier.index()].holds_back())
    }

    /// The stream goes to `to`, from the GOP that holds the oldest frame nobody acknowledged.
    fn move_to(&mut self, now: Instant, to: LineId, why: Why, out: &mut Actions) {
        let Some(ring) = self.ring else { return };
        let left = self.carrier.or(self.lost.take());
        if let Some(carrier) = self.carrier {
            let line = &mut self.lines[carrier.index()];
            push(out, Action::Rest { line: carrier, dial: line.dial });
            self.places[0] = line.inflight.place();
            line.rest();
            if matches!(why, Why::Slow | Why::Lossy) {
                line.sick = Some(Sick { until: now + SICK_FOR, carried: line.carries_bps() });
            }
            self.note_departure(now, carrier, why);
        }
        let from = self.begin(to, 0, ring, out);
        self.lines[to.index()].carry(now);
        self.carrier = Some(to);
        self.ordered &= to != self.home;
        self.bereft_since = None;
        (self.lost, self.why_lost) = (None, Why::Lost);
        if to == self.home && why == Why::Home {
            self.homecoming.since = Some(now);
        }
        let dial = self.lines[to.index()].dial;
        push(out, Action::Carry { line: to, dial, from, pace: self.pace(), left, why });
    }

    fn join_mirror(&mut self, now: Instant, id: LineId, ring: Ring, out: &mut Actions) {
        let why = if self.places[id.index()].is_some() { Why::Lost } else { Why::Begin };
        let from = self.begin(id, id.index(), ring, out);
        self.lines[id.index()].carry(now);
        let dial = self.lines[id.index()].dial;
        push(out, Action::Carry { line: id, dial, from, pace: self.pace(), left: None, why });
    }

    /// Puts `to` where the stream goes on, by the place `at`; the first tag it must be given.
    fn begin(&mut self, to: LineId, at: usize, ring: Ring, out: &mut Actions) -> Seq {
        let fresh = Place { seq: ring.newest_gop, gop: ring.newest_gop };
        let place = self.places[at].unwrap_or(fresh);
        // The place may have come to stand exactly at the newest keyframe.
        let place = if place.seq == ring.newest_gop { fresh } else { place };
        let line = &mut self.lines[to.index()];
        // This very connection was given tags beyond the place's GOP: TCP brings them or breaks, so it goes on where
        // it stopped, be it in the midst of a GOP, and time never runs backwards on it.
        if let Some(written) = line.inflight.written()
            && written.seq > place.gop
            && written.seq >= ring.oldest_gop
        {
            if !line.inflight.owes() {
                line.inflight.start(Place { seq: written.seq, gop: written.gop });
            }
            self.places[at] = None;
            return written.seq;
        }
        let line_before = self.lost_or(to);
        let place = within_ring(place, ring.oldest_gop, line_before, GapReason::LeftBehind, out);
        self.lines[to.index()].inflight.start(place);
        self.places[at] = None;
        place.gop
    }

    fn lost_or(&self, to: LineId) -> LineId {
        self.carrier.or(self.lost).unwrap_or(to)
    }

    fn pace(&self) -> Option<BitrateBps> {
        (self.need_bps > 0).then(|| BitrateBps(self.need_bps.saturating_mul(CATCH_UP)))
    }
}

/// `place`, or the oldest GOP that the ring still has, and a word about what lies between.
fn within_ring(place: Place, oldest_gop: Seq, line: LineId, why: GapReason, out: &mut Actions) -> Place {
    if place.gop >= oldest_gop {
        return place;
    }
    if place.seq < oldest_gop {
        let last = Seq(oldest_gop.0 - 1);
        push(out, Action::Gap(Gap { line, first: place.seq, last, pictures_only: false, why }));
    }
    Place { seq: oldest_gop, gop: oldest_gop }
}

fn push(out: &mut Actions, action: Action) {
    let fits = out.push(action).is_ok();
    debug_assert!(fits, "one event asks for no more than `Actions` holds");
}

#[cfg(test)]
mod holding;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
