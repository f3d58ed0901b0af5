//! Decides what is sent to the cloud, and when.
//!
//! Pure: an [`Event`] and the time go in, [`Actions`] come out; the outbox's task owns the connection and the store,
//! and obeys.
//!
//! ```text
//!   written ──> (gathered 200 ms) ──Read──> waiting ──Send──> under way ──Keep──> settled: forgotten here
//!                                              ^                  │
//!                                              └── due again <── aside: asked for again, or refused
//! ```
//!
//! What always holds:
//! - One request is under way, or one answer is being kept; what was answered counts once the store has kept it.
//! - Of one order, a later item is not sent before the earlier one is settled, so that the cloud never hears
//!   "cancelled" of an order it does not know.
//! - Nothing is ever dropped. An item that the cloud refuses by itself is set aside and tried hourly; it stands in
//!   nobody's way.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;

/// How long newly written items gather before they are sent: a person does not feel it, and a rush becomes one batch.
const GATHER: Duration = Duration::from_millis(200);

/// How often the cloud is asked for news while orders wait for their confirmation or payment, and otherwise.
const POLL_OPEN: Duration = Duration::from_secs(15);
const POLL_IDLE: Duration = Duration::from_secs(300);

/// Waits after what heals by itself: no line, 5xx, an answer that makes no sense.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Waits after what takes a person: a wrong token, a wrong address.
const SLOW_FIRST: Duration = Duration::from_secs(30);

/// Waits between the halves of a batch that was refused, so that a cloud that refuses everything is not flooded.
const SPLIT_FIRST: Duration = Duration::from_millis(100);
const SPLIT_MAX: Duration = Duration::from_secs(5);

/// The shortest and the longest that a cloud may make us wait by `Retry-After`.
const ASKED_MIN: Duration = Duration::from_secs(1);
const ASKED_MAX: Duration = Duration::from_secs(600);

/// Refusals of an item by itself after which it counts as stuck, and how often it is tried from then on.
pub const STUCK_AFTER: u32 = 5;
const STUCK_EVERY: Duration = Duration::from_secs(3_600);

/// Items that may be set aside. More than these are no bad orders but a cloud that refuses all: then nothing more is
/// set aside, and all wait.
pub const ASIDE_MAX: usize = 2_000;

/// Tries in a row that got no answer, or a broken one, before a batch is doubted: from then on a question for news is
/// asked between. If that is answered and the batch still is not, it is more than the cloud or the line can take, or one
/// of its orders breaks the cloud: it is halved.
const DOUBTED_AFTER: u32 = 4;

/// Bytes of items in one request; most servers and the proxies before them take 1 MiB.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Good batches before a larger one is tried, after one was too large.
const GROW_AFTER_TOO_LARGE: u32 = 32;

/// How long is waited after the store could not be read, and first and at most after it could not be written: the cloud
/// is asked again then, and has done nothing wrong.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
const STORE_MAX: Duration = Duration::from_secs(60);

/// The most one event can ask for: keep an answer, read on, send.
pub type Actions = heapless::Vec<Action, 3>;

/// What the core is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Items in one request, at most.
    pub batch: usize,
    /// Tells boxes apart, so that they do not come back in step.
    pub seed: u64,
}

/// An item that waits in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the log.
    pub seq: i64,
    /// Its order.
    pub order: String,
    /// When it was written, in Unix milliseconds.
    pub at_ms: i64,
    /// About how much of a request it takes.
    pub bytes: usize,
    /// How often the cloud refused it by itself.
    pub tries: u32,
    /// How often the cloud answered that it does not have it.
    pub answers: u32,
}

/// What the store knew when the box started.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Everything up to here is settled or set aside.
    pub cursor: i64,
    /// The newest entry of the log.
    pub newest: i64,
    /// What is set aside.
    pub aside: Vec<Waiting>,
    /// Whether somebody paused the outbox.
    pub paused: bool,
    /// Whether orders wait for news from the cloud.
    pub open: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The log goes up to here now.
    Written {
        /// Its newest entry.
        newest: i64,
    },
    /// What [`Action::Read`] found.
    Read {
        /// In the log's order.
        items: Vec<Waiting>,
        /// Everything up to here was looked at.
        to: i64,
    },
    /// The store could not be read.
    ReadFailed,
    /// Whether orders wait for news from the cloud.
    Open(bool),
    /// What became of [`Action::Send`].
    Answered(Outcome),
    /// [`Action::Keep`] is on disk.
    Kept,
    /// It is not.
    KeepFailed,
    /// Nothing is to be sent for now.
    Pause,
    /// Go on.
    Resume,
    /// A person wants everything tried now.
    Hurry,
    /// [`Core::wake_at`] is due.
    Tick,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The cloud has all of it, but for these, which it wants again later.
    Taken {
        /// By their place in the log.
        again: Vec<i64>,
    },
    /// 413.
    TooLarge,
    /// Another 4xx: something in it is wrong.
    Refused,
    /// 401, 403, 404 and the like: a person must put something right.
    NotLetIn,
    /// 429 or 503, with what `Retry-After` says.
    Busy(Option<Duration>),
    /// 5xx, or an answer that makes no sense: the cloud's own trouble, or what one order does to it.
    Broken,
    /// No answer.
    Failed,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the last answer and where the outbox stands, in one transaction.
    Keep(Keep),
    /// Read items of the log.
    Read {
        /// Behind this entry.
        after: i64,
        /// At most so many.
        limit: usize,
    },
    /// Send these items, in this order; none: ask for news.
    Send {
        /// By their place in the log.
        items: Vec<i64>,
    },
}

/// Where the outbox stands after an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// Settled by this answer.
    pub settled: Vec<i64>,
    /// Set aside, or still so.
    pub aside: Vec<Aside>,
    /// Everything up to here is settled or set aside.
    pub cursor: i64,
}

/// An item that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Its place in the log.
    pub seq: i64,
    /// How often the cloud refused it by itself; [`STUCK_AFTER`]: it is stuck.
    pub tries: u32,
    /// How often the cloud answered that it does not have it.
    pub answers: u32,
}

#[derive(Debug)]
struct Slot {
    order: String,
    at_ms: i64,
    bytes: usize,
    /// Refusals by itself. Such an item travels alone.
    tries: u32,
    /// How often the cloud wanted it again.
    asked: u32,
    /// How often it was refused by itself or wanted again, ever.
    answers: u32,
    /// Not before.
    due: Option<Instant>,
    aside: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Sent(Vec<i64>),
    Keeping(Keep),
}

/// The outbox's decisions.
#[derive(Debug)]
pub struct Core {
    /// What is due at once is due since then.
    born: Instant,
    batch: usize,
    slots: BTreeMap<i64, Slot>,
    /// The log was read up to here, and goes up to there.
    read_to: i64,
    newest: i64,
    reading: bool,
    gather_until: Option<Instant>,
    step: Step,
    /// An answer could not be written, and is tried again then.
    keep_at: Option<Instant>,
    /// Of which nobody knows whether the cloud has it: it goes again as it was, under its own name, so that the cloud
    /// can tell.
    repeat: Vec<i64>,
    /// Batches in a row with a broken answer or none, and whether the cloud is known to be well since the last.
    broken: u32,
    cloud_is_well: bool,
    /// Up to here items were in a batch that was halved out of doubt.
    suspect_to: i64,
    /// Whether the last request was a question. A cloud that cannot answer those gets batches all the same, by turns.
    last_was_question: bool,
    /// Nothing is sent before.
    hold_until: Option<Instant>,
    /// Nor a question for news.
    question_from: Option<Instant>,
    /// No item that was refused is tried before.
    alone_from: Option<Instant>,
    last_was_alone: bool,
    /// Items in one request for now, and good batches until more are tried.
    limit: usize,
    grow_after: u32,
    retry: Backoff,
    slow: Backoff,
    split: Backoff,
    spread: Backoff,
    store: Backoff,
    /// When the cloud last answered well.
    exchanged: Option<Instant>,
    open: bool,
    paused: bool,
}

impl Core {
    /// Goes on where the store says.
    pub fn new(now: Instant, settings: &Settings, restored: Restored) -> Core {
        let seed = settings.seed;
        let batch = settings.batch.max(1);
        let mut core = Core {
            born: now,
            batch,
            slots: BTreeMap::new(),
            read_to: restored.cursor,
            newest: restored.newest.max(restored.cursor),
            reading: false,
            gather_until: (restored.newest > restored.cursor).then_some(now),
            step: Step::Idle,
            keep_at: None,
            repeat: Vec::new(),
            broken: 0,
            cloud_is_well: false,
            suspect_to: 0,
            last_was_question: false,
            hold_until: None,
            question_from: None,
            alone_from: None,
            last_was_alone: false,
            limit: batch,
            grow_after: 0,
            retry: Backoff::new(RETRY_FIRST, RETRY_MAX, seed),
            slow: Backoff::new(SLOW_FIRST, RETRY_MAX, seed ^ 0x5f5f),
            split: Backoff::new(SPLIT_FIRST, SPLIT_MAX, seed ^ 0x3c3c),
            store: Backoff::new(STORE_PATIENCE, STORE_MAX, seed ^ 0x7878),
            spread: Backoff::new(STUCK_EVERY, STUCK_EVERY, seed ^ 0x6969),
            exchanged: None,
            open: restored.open,
            paused: restored.paused,
        };
        for item in restored.aside {
            core.slots.insert(item.seq, Slot::new(item, true));
        }
        core
    }

    /// Takes one event and answers with what the shell must do, in order.
    ///
    /// `now` never runs backwards. After [`Core::new`] a first [`Event::Tick`] is due at once.
    pub fn handle(&mut self, now: Instant, event: Event) -> Actions {
        let mut actions = Actions::new();
        match event {
            Event::Written { newest } => self.written(now, newest),
            Event::Read { items, to } => self.take_in(now, items, to),
            Event::ReadFailed => {
                self.reading = false;
                self.gather_until = Some(now + STORE_PATIENCE);
            }
            Event::Open(open) => self.open = open,
            Event::Answered(outcome) => {
                if let Some(keep) = self.answered(now, outcome) {
                    self.step = Step::Keeping(keep.clone());
                    push(&mut actions, Action::Keep(keep));
                }
            }
            Event::Kept => self.kept(),
            // News come once: what was answered is not asked for again, but written when it can be.
            Event::KeepFailed => self.keep_at = Some(now + self.store.next_wait()),
            Event::Pause => self.paused = true,
            Event::Resume => self.paused = false,
            Event::Hurry => self.hurry(),
            Event::Tick => {}
        }
        self.keep_again(now, &mut actions);
        self.read_on(now, &mut actions);
        self.send_next(now, &mut actions);
        actions
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        let read = self.gather_until.filter(|_| self.wants_to_read());
        let send = if self.step == Step::Idle && !self.paused { self.send_at() } else { None };
        read.into_iter().chain(send).chain(self.keep_at).min()
    }

    /// Whether nothing is sent because somebody said so.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// When the oldest item was written that is not settled, in Unix milliseconds. What is stuck does not count: it is
    /// told apart by [`Core::stuck`].
    pub fn oldest_at_ms(&self) -> Option<i64> {
        self.slots.values().filter(|slot| !slot.is_stuck()).map(|slot| slot.at_ms).min()
    }

    /// Items that the cloud refuses by themselves.
    pub fn stuck(&self) -> usize {
        self.slots.values().filter(|slot| slot.is_stuck()).count()
    }

    /// Items that were read and are not settled, what is set aside among them.
    pub fn unsettled(&self) -> usize {
        self.slots.len()
    }

    /// What is set aside, in the log's order.
    pub fn set_aside(&self) -> Vec<Aside> {
        self.slots.keys().filter_map(|seq| self.aside(*seq)).collect()
    }

    /// The log was read up to here: what comes later waits, too.
    pub fn read_to(&self) -> i64 {
        self.read_to
    }

    /// The log's newest entry.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// How often the cloud answered that it does not have these items. With each such answer the same items make another
    /// request, to which a cloud that remembers its answers has none yet.
    pub fn answers_to(&self, items: &[i64]) -> u64 {
        items.iter().filter_map(|seq| self.slots.get(seq)).map(|slot| u64::from(slot.answers)).sum()
    }

    /// Whether all of the log was read.
    pub fn has_read_all(&self) -> bool {
        self.read_to >= self.newest
    }

    /// When something is sent next, if nothing happens before; `None` while a request is under way or all is paused.
    pub fn next_try(&self) -> Option<Instant> {
        self.wake_at().filter(|_| self.step == Step::Idle)
    }

    fn written(&mut self, now: Instant, newest: i64) {
        if newest > self.newest {
            self.newest = newest;
            let due = now + GATHER;
            self.gather_until = Some(self.gather_until.map_or(due, |earlier| earlier.min(due)));
        }
        // What the log holds besides orders counts here, too: then a batch goes a little earlier.
        if self.newest - self.read_to >= self.batch as i64 {
            self.gather_until = Some(now);
        }
    }

    fn take_in(&mut self, now: Instant, items: Vec<Waiting>, to: i64) {
        self.reading = false;
        for item in items.into_iter().filter(|item| item.seq > self.read_to) {
            self.slots.insert(item.seq, Slot::new(item, false));
        }
        // A log that ends before what was read is another one: it is not read in circles until that is found out.
        let again_at = if to > self.read_to { now } else { now + STORE_PATIENCE };
        self.read_to = self.read_to.max(to);
        self.gather_until = (self.newest > self.read_to).then_some(again_at);
    }

    fn hurry(&mut self) {
        self.hold_until = None;
        self.question_from = None;
        self.alone_from = None;
        self.exchanged = None;
        self.keep_at = self.keep_at.map(|_| self.born);
        self.slots.values_mut().for_each(|slot| slot.due = None);
    }

    /// What must be kept of an answer, if anything.
    fn answered(&mut self, now: Instant, outcome: Outcome) -> Option<Keep> {
        let Step::Sent(sent) = std::mem::replace(&mut self.step, Step::Idle) else { return None };
        self.last_was_alone = self.is_alone(&sent);
        self.last_was_question = sent.is_empty();
        let outcome = self.doubt(&sent, outcome);
        let is_answer = matches!(outcome, Outcome::Taken { .. });
        let mut keep = Keep::default();
        match outcome {
            Outcome::Taken { again } => {
                self.well(now, sent.len());
                for seq in sent {
                    if again.contains(&seq) {
                        self.ask_again(now, seq);
                        keep.aside.extend(self.aside(seq));
                    } else {
                        keep.settled.push(seq);
                    }
                }
            }
            Outcome::TooLarge if sent.len() > 1 => self.halve(now, sent.len(), GROW_AFTER_TOO_LARGE),
            Outcome::Refused if sent.len() > 1 => self.halve(now, sent.len(), 1),
            Outcome::TooLarge | Outcome::Refused => {
                let Some(seq) = sent.first() else {
                    // Who refuses questions may take orders.
                    self.question_from = Some(now + self.slow.next_wait());
                    return None;
                };
                self.refuse_alone(now, *seq);
                keep.aside.extend(self.aside(*seq));
            }
            Outcome::NotLetIn => self.hold_until = Some(now + self.slow.next_wait()),
            Outcome::Busy(Some(wait)) => self.hold_until = Some(now + wait.clamp(ASKED_MIN, ASKED_MAX)),
            Outcome::Busy(None) | Outcome::Broken | Outcome::Failed => {
                self.hold_until = Some(now + self.retry.next_wait());
                if !sent.is_empty() {
                    self.repeat = sent;
                }
            }
        }
        // An answer to a poll brings news, too.
        if !is_answer && keep.aside.is_empty() {
            return None;
        }
        keep.cursor = self.cursor_without(&keep.settled);
        Some(keep)
    }

    /// What an outcome is taken for, after what came before. A batch that breaks a cloud which is well is refused; one
    /// that such a cloud does not answer is too large.
    fn doubt(&mut self, sent: &[i64], outcome: Outcome) -> Outcome {
        match (&outcome, sent.last()) {
            // A question that is refused was heard, too.
            (Outcome::Taken { .. } | Outcome::Refused | Outcome::TooLarge, None) => self.cloud_is_well = true,
            (Outcome::Broken | Outcome::Failed, Some(last)) => {
                self.broken = self.broken.saturating_add(1);
                let well = std::mem::take(&mut self.cloud_is_well);
                if self.last_was_alone {
                    // It was found already, and the others have waited for it once.
                    self.broken = self.broken.max(DOUBTED_AFTER + 1);
                }
                if well && self.broken > DOUBTED_AFTER {
                    self.suspect_to = self.suspect_to.max(*last);
                    return if outcome == Outcome::Broken { Outcome::Refused } else { Outcome::TooLarge };
                }
            }
            // One half went through: the other is doubted at once, not after as many tries again.
            (Outcome::Taken { .. }, Some(_)) if self.has_suspects_beside(sent) => {
                (self.broken, self.cloud_is_well) = (DOUBTED_AFTER, true);
            }
            (Outcome::Taken { .. }, Some(_)) => (self.broken, self.cloud_is_well) = (0, true),
            _ => {}
        }
        outcome
    }

    /// Whether the cloud is to be asked for news before it gets this batch again.
    fn is_doubted(&self) -> bool {
        self.broken >= DOUBTED_AFTER && !self.cloud_is_well && !self.last_was_question
    }

    fn has_suspects_beside(&self, sent: &[i64]) -> bool {
        let mut suspects = self.slots.range(..=self.suspect_to).filter(|(_, slot)| !slot.aside);
        suspects.any(|(seq, _)| !sent.contains(seq))
    }

    /// The cloud answered as it should.
    fn well(&mut self, now: Instant, items: usize) {
        self.exchanged = Some(now);
        self.hold_until = None;
        self.retry.reset();
        self.slow.reset();
        self.split.reset();
        if items >= self.limit && self.limit < self.batch {
            self.grow_after = self.grow_after.saturating_sub(1);
            if self.grow_after == 0 {
                self.limit = (self.limit * 2).min(self.batch);
                self.grow_after = 1;
            }
        }
    }

    fn halve(&mut self, now: Instant, items: usize, grow_after: u32) {
        self.limit = (items / 2).max(1);
        self.grow_after = self.grow_after.max(grow_after);
        self.hold_until = Some(now + self.split.next_wait());
    }

    fn ask_again(&mut self, now: Instant, seq: i64) {
        let room = self.has_room_aside();
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        // The cloud answers well: its wish is no trouble of the line, and each item has its own pace.
        let wait = RETRY_FIRST.saturating_mul(1 << slot.asked.min(10)).min(RETRY_MAX);
        slot.asked = slot.asked.saturating_add(1);
        slot.answers = slot.answers.saturating_add(1);
        slot.due = Some(now + wait);
        slot.tries = 0;
        slot.aside |= room;
    }

    fn refuse_alone(&mut self, now: Instant, seq: i64) {
        let room = self.has_room_aside();
        let spread = self.spread.next_wait();
        let pause = self.split.next_wait();
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        slot.tries = slot.tries.saturating_add(1);
        slot.answers = slot.answers.saturating_add(1);
        let wait = if slot.is_stuck() { spread } else { RETRY_FIRST.saturating_mul(1 << slot.tries) };
        slot.due = Some(now + wait);
        slot.aside |= room;
        // Two pauses, so that what may be good comes first.
        self.hold_until = Some(now + pause);
        self.alone_from = Some(now + pause * 2);
    }

    fn kept(&mut self) {
        if let Step::Keeping(keep) = std::mem::replace(&mut self.step, Step::Idle) {
            self.store.reset();
            for seq in keep.settled {
                self.slots.remove(&seq);
            }
        }
    }

    fn keep_again(&mut self, now: Instant, actions: &mut Actions) {
        if let (Step::Keeping(keep), Some(at)) = (&self.step, self.keep_at)
            && at <= now
        {
            push(actions, Action::Keep(keep.clone()));
            self.keep_at = None;
        }
    }

    fn read_on(&mut self, now: Instant, actions: &mut Actions) {
        if self.wants_to_read() && self.gather_until.is_some_and(|at| at <= now) {
            self.reading = true;
            push(actions, Action::Read { after: self.read_to, limit: self.batch });
        }
    }

    fn send_next(&mut self, now: Instant, actions: &mut Actions) {
        if self.paused || self.step != Step::Idle || self.hold_until.is_some_and(|until| until > now) {
            return;
        }
        if self.is_doubted() {
            self.hold_until = None;
            self.step = Step::Sent(Vec::new());
            return push(actions, Action::Send { items: Vec::new() });
        }
        let repeat = std::mem::take(&mut self.repeat);
        let items = if repeat.is_empty() { self.pick(now) } else { repeat };
        // While the log is being read, what it holds makes a poll needless.
        if items.is_empty() && (self.reading || self.poll_at().is_some_and(|at| at > now)) {
            return;
        }
        self.hold_until = None;
        self.step = Step::Sent(items.clone());
        push(actions, Action::Send { items });
    }

    fn wants_to_read(&self) -> bool {
        let fresh = self.slots.values().filter(|slot| !slot.aside).count();
        !self.reading && self.newest > self.read_to && fresh < self.batch * 2
    }

    /// When something can be sent; `None` while the log is being read and nothing else waits.
    fn send_at(&self) -> Option<Instant> {
        let mut orders = HashSet::new();
        let first_of_its_order = self.slots.values().filter(|slot| orders.insert(slot.order.as_str()));
        let due = first_of_its_order.map(|slot| {
            let alone = if slot.tries > 0 { self.alone_from } else { None };
            slot.due.into_iter().chain(alone).max().unwrap_or(self.born)
        });
        if !self.repeat.is_empty() || self.is_doubted() {
            return Some(self.hold_until.unwrap_or(self.born));
        }
        let poll = if self.reading { None } else { Some(self.poll_at().unwrap_or(self.born)) };
        let soonest = due.chain(poll).min()?;
        Some(self.hold_until.map_or(soonest, |until| until.max(soonest)))
    }

    /// When the cloud is asked for news; `None`: at once.
    fn poll_at(&self) -> Option<Instant> {
        let due = self.exchanged.map(|at| at + if self.open { POLL_OPEN } else { POLL_IDLE });
        due.into_iter().chain(self.question_from).max()
    }

    /// The next batch: what is due, in the log's order, of each order the first that is not settled; or one item that
    /// was refused before. The two take turns.
    fn pick(&self, now: Instant) -> Vec<i64> {
        let (mut orders, mut batch, mut bytes, mut alone) = (HashSet::new(), Vec::new(), 0, None);
        for (seq, slot) in &self.slots {
            if !orders.insert(slot.order.as_str()) || slot.due.is_some_and(|due| due > now) {
                continue;
            }
            if slot.tries > 0 {
                alone = alone.or(Some(*seq));
                continue;
            }
            let full = batch.len() >= self.limit || bytes + slot.bytes > BATCH_BYTES_MAX;
            if full && !batch.is_empty() {
                break;
            }
            bytes += slot.bytes;
            batch.push(*seq);
        }
        let may_alone = self.alone_from.is_none_or(|from| from <= now);
        match alone {
            Some(seq) if may_alone && (batch.is_empty() || !self.last_was_alone) => vec![seq],
            _ => batch,
        }
    }

    fn is_alone(&self, sent: &[i64]) -> bool {
        sent.first().and_then(|seq| self.slots.get(seq)).is_some_and(|slot| slot.tries > 0)
    }

    fn has_room_aside(&self) -> bool {
        self.slots.values().filter(|slot| slot.aside).count() < ASIDE_MAX
    }

    fn aside(&self, seq: i64) -> Option<Aside> {
        let slot = self.slots.get(&seq).filter(|slot| slot.aside)?;
        Some(Aside { seq, tries: slot.tries, answers: slot.answers })
    }

    /// Everything up to here is settled or set aside, once these are.
    fn cursor_without(&self, settled: &[i64]) -> i64 {
        let settled: HashSet<_> = settled.iter().collect();
        let first = self.slots.iter().find(|(seq, slot)| !slot.aside && !settled.contains(seq));
        first.map_or(self.read_to, |(seq, _)| seq - 1)
    }
}

impl Slot {
    fn new(item: Waiting, aside: bool) -> Slot {
        let Waiting { seq: _, order, at_ms, bytes, tries, answers } = item;
        Slot { order, at_ms, bytes, tries, asked: 0, answers, due: None, aside }
    }

    fn is_stuck(&self) -> bool {
        self.tries >= STUCK_AFTER
    }
}

fn push(actions: &mut Actions, action: Action) {
    let pushed = actions.push(action);
    debug_assert!(pushed.is_ok(), "an event asks for three things at most");
}

#[cfg(test)]
mod tests;
