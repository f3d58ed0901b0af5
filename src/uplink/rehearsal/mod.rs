//! An output in a simulated world: the failover core, its lines, their servers, an encoder, and time.
//!
//! ```text
//!   Encoder ──> Ring ──> Link (obeys) ──> Conn over Path ──> Server ──> what was delivered
//!                 │        ↑ │
//!                 └─Event──┴─┴──> Failover ──Action──> Link
//! ```
//!
//! For tests and benchmarks. What must hold is looked at after every step, not at the end: no two lines fed at
//! once, no tag that decodes nowhere, no time that runs backwards on a connection.

mod link;
pub mod narrow;

use std::time::{Duration, Instant};

use crate::base::units::BitrateBps;
use crate::sim::encoder::{Encoder, Ring};
use crate::sim::line::Path;
use crate::sim::server::Server;
use crate::sim::{Rng, epoch, ms, secs};

use super::failover::{Action, Dial, Ending, Event, Failover, Gap, LineEvent, LineId, Mode, Settings, Why};
use super::inflight::Seq;

use link::Link;

/// A step of simulated time.
const STEP: Duration = ms(5);

/// How often connections are sampled.
const SAMPLE_EVERY: Duration = ms(25);

/// What the ring holds, as the hub does by default.
const RING_SPAN: Duration = secs(10);

/// How the stream moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// When the core decided.
    pub at: Instant,
    /// Where to.
    pub to: LineId,
    /// From where.
    pub left: Option<LineId>,
    /// Why.
    pub why: Why,
    /// The first tag that the line was given.
    pub from: u64,
    /// When the far end had read the first byte of it.
    pub media_at: Option<Instant>,
    /// When it had read the first whole tag: a keyframe takes a slow start's round trips.
    pub picture_at: Option<Instant>,
}

/// The world.
pub struct Sim {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    settings: Settings,
    core: Option<Failover>,
    links: Vec<Link>,
    encoder: Encoder,
    ring: Ring,
    told_gops: Option<(u64, u64)>,
    sampled_at: Instant,
    delivered: Vec<bool>,
    gaps: Vec<Gap>,
    moves: Vec<Move>,
}

impl Sim {
    /// Nothing but a stream of 4 Mbit/s. The seed is printed by whatever fails.
    pub fn new(seed: u64) -> Sim {
        let start = epoch();
        Sim {
            seed,
            rng: Rng::new(seed),
            start,
            now: start,
            settings: Settings { seed, ..Settings::default() },
            core: None,
            links: Vec::new(),
            encoder: Encoder::new(start, 4_000_000),
            ring: Ring::new(start, RING_SPAN),
            told_gops: None,
            sampled_at: start,
            delivered: Vec::new(),
            gaps: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// With another destination: the first is the primary.
    #[must_use]
    pub fn line(mut self, name: &'static str, path: Path) -> Sim {
        self.links.push(Link::new(name, path));
        self
    }

    /// In this mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Sim {
        self.settings.mode = mode;
        self
    }

    /// With these settings; mode and number of lines stay.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Sim {
        change(&mut self.settings);
        self
    }

    /// Lets time go by.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        if self.core.is_none() {
            let settings = Settings { lines: self.links.len() as u8, ..self.settings };
            self.core = Some(Failover::new(now, settings));
            self.tell(Event::Need(BitrateBps(self.encoder.need())));
        }
        while let Some(tag) = self.encoder.next(now, &mut self.rng) {
            self.ring.push(tag);
            self.delivered.push(false);
        }
        let gops = self.ring.gops();
        if let Some((oldest, newest)) = gops.filter(|_| gops != self.told_gops) {
            self.told_gops = gops;
            self.tell(Event::Ring { oldest_gop: Seq(oldest), newest_gop: Seq(newest) });
        }
        let sampling = now >= self.sampled_at + SAMPLE_EVERY;
        for at in 0..self.links.len() {
            let mut news = Vec::new();
            let (delivered, moves) = (&mut self.delivered, &mut self.moves);
            self.links[at].step(now, &mut self.rng, &mut news, |seq| {
                delivered[seq as usize] = true;
                let waiting = moves.iter_mut().rev().find(|one| one.to.index() == at);
                if let Some(one) = waiting.filter(|one| one.picture_at.is_none() && seq >= one.from) {
                    one.picture_at = Some(now);
                }
            });
            let waiting = self.moves.iter_mut().rev().find(|one| one.to.index() == at);
            if let Some(one) = waiting.filter(|one| one.media_at.is_none()) {
                one.media_at = self.links[at].has_read_of(one.from).then_some(now);
            }
            self.links[at].feed(now, &self.ring, &mut news);
            if sampling && let Some((dial, sample)) = self.links[at].sample(&self.ring) {
                news.push((dial, LineEvent::Sampled(sample)));
            }
            for (dial, what) in news {
                self.tell(Event::Line { line: LineId(at as u8), dial, what });
            }
        }
        if sampling {
            self.sampled_at = now;
        }
        if self.core().wake_at().is_some_and(|at| at <= now) {
            self.tell(Event::Tick);
        }
        self.look();
    }

    /// What must hold at any time.
    fn look(&self) {
        let feeding = self.links.iter().filter(|link| link.is_feeding()).count();
        if self.settings.mode != Mode::Mirror {
            assert!(feeding <= 1, "{feeding} lines are fed at once");
        }
        assert!(self.core().wake_at().is_none_or(|at| at > self.now), "a tick that changes nothing");
    }

    /// Hands the core an event and does what it says.
    pub fn tell(&mut self, event: Event) {
        let now = self.now;
        let core = self.core.as_mut().expect("time has begun");
        let actions = core.handle(now, event);
        core.check_invariants();
        for action in actions {
            match action {
                Action::Connect { line, dial } => self.links[line.index()].connect(now, dial),
                Action::Disconnect { line, dial, .. } => self.links[line.index()].disconnect(dial),
                Action::Rest { line, dial } => self.links[line.index()].rest(dial),
                Action::Trickle { line, dial, at } => self.trickle(line, dial, at),
                Action::Gap(gap) => self.gaps.push(gap),
                Action::Carry { line, dial, from, pace, left, why } => {
                    self.links[line.index()].carry(now, dial, from.0, pace);
                    self.moves.push(Move {
                        at: now,
                        to: line,
                        left,
                        why,
                        from: from.0,
                        media_at: None,
                        picture_at: None,
                    });
                }
            }
        }
    }

    fn trickle(&mut self, line: LineId, dial: Dial, at: Option<Seq>) {
        let at = at.and_then(|seq| self.ring.get(seq.0)).map(|tag| tag.at);
        self.links[line.index()].trickle(dial, at);
    }

    // ---- faults -----------------------------------------------------------------------------------------------

    fn link(&mut self, name: &str) -> &mut Link {
        self.links.iter_mut().find(|link| link.name == name).expect("a line of that name")
    }

    /// Changes the way to a destination.
    pub fn path(&mut self, name: &str, change: impl FnOnce(&mut Path)) {
        change(&mut self.link(name).path);
    }

    /// Changes the server there.
    pub fn server(&mut self, name: &str, change: impl FnOnce(&mut Server)) {
        change(&mut self.link(name).server);
    }

    /// Everything to and from there vanishes.
    pub fn silence(&mut self, name: &str) {
        self.path(name, |path| path.silent = true);
    }

    /// It does no more.
    pub fn heal(&mut self, name: &str) {
        self.path(name, |path| path.silent = false);
    }

    /// The server there dies and its port is closed.
    pub fn kill(&mut self, name: &str) {
        let now = self.now;
        self.link(name).kill(now);
    }

    /// The connection there is reset; the server lives.
    pub fn reset(&mut self, name: &str) {
        let now = self.now;
        self.link(name).cut(now, Ending::Reset);
    }

    /// The server there runs (again).
    pub fn revive(&mut self, name: &str) {
        self.server(name, |server| (server.up, server.frozen) = (true, false));
    }

    /// What we still had on the way there is lost for good, without a word to the server.
    pub fn forget_ghosts(&mut self, name: &str) {
        self.link(name).forget_ghosts();
    }

    /// The camera dies, or lives again.
    pub fn camera(&mut self, running: bool) {
        self.encoder.set_running(running);
    }

    // ---- what became of it ------------------------------------------------------------------------------------

    /// The core.
    pub fn core(&self) -> &Failover {
        self.core.as_ref().expect("time has begun")
    }

    /// The line that carries.
    pub fn carrier(&self) -> Option<&'static str> {
        self.core().carrier().map(|line| self.links[line.index()].name)
    }

    /// The oldest tag that was written to a line and that its far end has not read.
    pub fn first_unread(&self, name: &str) -> Option<u64> {
        self.links.iter().find(|link| link.name == name)?.owed_first()
    }

    /// The keyframe before a tag.
    pub fn gop_of(&self, seq: u64) -> Option<u64> {
        self.ring.get(seq).map(|tag| tag.gop)
    }

    /// How the stream moved, oldest first.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// What reached nobody, and why.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Now.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When something happened, counted from the start.
    pub fn since_start(&self, at: Instant) -> Duration {
        at - self.start
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Tags that no destination has read and no gap explains, from the first one carried up to `span` ago.
    pub fn unexplained(&self, span: Duration) -> Vec<u64> {
        let first = self.moves.first().map_or(u64::MAX, |one| one.from);
        let horizon = self.now.checked_sub(span).unwrap_or(self.start);
        let last = self.ring_before(horizon);
        (first..last)
            .filter(|seq| !self.delivered[*seq as usize])
            .filter(|seq| !self.gaps.iter().any(|gap| gap.first.0 <= *seq && *seq <= gap.last.0))
            .collect()
    }

    fn ring_before(&self, horizon: Instant) -> u64 {
        let mut last = self.ring.head();
        while last > 0 && self.ring.get(last - 1).is_some_and(|tag| tag.at > horizon) {
            last -= 1;
        }
        last
    }

    /// The seed, to be printed with whatever fails.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}
