//! The core against simulated clouds, over simulated weeks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::base::clock;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// How long the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a simulated cloud does with one request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// Takes it and says so.
    Good,
    /// Takes it; the answer is lost.
    Lost,
    /// Takes it and answers 500 all the same.
    TakenThen500,
    /// Answers 500 at once.
    Only500,
    /// Never answers.
    Hangs,
    /// Answers with `Retry-After`.
    Busy(u64),
    /// Knows no such token.
    NotLetIn,
    /// Takes what stands at even places, and wants the rest again.
    Again,
    /// The store cannot keep the answer.
    DiskFull,
    /// Power goes while it is under way; the cloud took it.
    PowerCut,
}

/// A box, its store and a cloud.
struct Sim {
    now: Instant,
    core: Core,
    batch: usize,
    /// Order and what happened to it; place in the log is the index plus one.
    log: Vec<(String, &'static str, i64)>,
    cursor: i64,
    aside: BTreeMap<i64, u32>,
    /// What is to happen to the core.
    due: BTreeMap<(Instant, u32), Event>,
    events: u32,
    keep_fails: bool,
    /// The cloud's books, in the order in which it first took each item.
    books: Vec<i64>,
    known: BTreeSet<i64>,
    /// When it was asked, and for what.
    requests: Vec<(Instant, Vec<i64>)>,
    too_large_from: usize,
    /// Items that it refuses, and how.
    bad: BTreeSet<i64>,
    bad_by: Outcome,
    /// Batches of so many take longer than the box waits.
    hangs_from: usize,
    /// Questions for news are refused so.
    questions_by: Option<Outcome>,
}

impl Sim {
    fn new(batch: usize) -> Sim {
        let now = clock::now();
        let core = Core::new(now, &Settings { batch, seed: 7 }, Restored::default());
        let mut sim = Sim {
            now,
            core,
            batch,
            log: Vec::new(),
            cursor: 0,
            aside: BTreeMap::new(),
            due: BTreeMap::new(),
            events: 0,
            keep_fails: false,
            books: Vec::new(),
            known: BTreeSet::new(),
            requests: Vec::new(),
            too_large_from: usize::MAX,
            bad: BTreeSet::new(),
            bad_by: Outcome::Refused,
            hangs_from: usize::MAX,
            questions_by: None,
        };
        sim.later(Duration::ZERO, Event::Tick);
        sim
    }

    fn write(&mut self, order: usize, what: &'static str) -> i64 {
        self.log.push((format!("order-{order}"), what, 0));
        let newest = self.log.len() as i64;
        self.later(Duration::ZERO, Event::Written { newest });
        newest
    }

    fn write_orders(&mut self, count: usize) {
        (0..count).for_each(|order| {
            self.write(order, "accepted");
        });
    }

    fn later(&mut self, wait: Duration, event: Event) {
        self.events += 1;
        self.due.insert((self.now + wait, self.events), event);
    }

    fn item(&self, seq: i64) -> Waiting {
        let (order, _, at_ms) = self.log[seq as usize - 1].clone();
        let tries = self.aside.get(&seq).copied().unwrap_or(0);
        Waiting { seq, order, at_ms, bytes: 300, tries, answers: 0 }
    }

    fn restart(&mut self) {
        self.due.clear();
        let restored = Restored {
            cursor: self.cursor,
            newest: self.log.len() as i64,
            aside: self.aside.keys().map(|seq| self.item(*seq)).collect(),
            ..Restored::default()
        };
        self.core = Core::new(self.now, &Settings { batch: self.batch, seed: 9 }, restored);
        self.later(Duration::ZERO, Event::Tick);
    }

    fn take(&mut self, items: &[i64]) {
        for seq in items {
            if self.known.insert(*seq) {
                self.books.push(*seq);
            }
        }
    }

    fn send(&mut self, items: &[i64], fate: Fate) {
        self.requests.push((self.now, items.to_vec()));
        if items.len() >= self.too_large_from {
            return self.later(10 * MS, Event::Answered(Outcome::TooLarge));
        }
        if items.iter().any(|seq| self.bad.contains(seq)) && fate == Fate::Good {
            let wait = if self.bad_by == Outcome::Failed { PATIENCE } else { 10 * MS };
            return self.later(wait, Event::Answered(self.bad_by.clone()));
        }
        if items.len() >= self.hangs_from {
            self.take(items);
            return self.later(PATIENCE, Event::Answered(Outcome::Failed));
        }
        if let Some(outcome) = self.questions_by.clone().filter(|_| items.is_empty() && fate == Fate::Good) {
            return self.later(10 * MS, Event::Answered(outcome));
        }
        let all = Outcome::Taken { again: Vec::new() };
        let (wait, outcome) = match fate {
            Fate::Good | Fate::DiskFull => (10 * MS, all),
            Fate::Lost | Fate::Hangs => (PATIENCE, Outcome::Failed),
            Fate::TakenThen500 | Fate::Only500 | Fate::PowerCut => (10 * MS, Outcome::Broken),
            Fate::Busy(seconds) => (10 * MS, Outcome::Busy(Some(Duration::from_secs(seconds)))),
            Fate::NotLetIn => (10 * MS, Outcome::NotLetIn),
            Fate::Again => {
                (10 * MS, Outcome::Taken { again: items.iter().copied().skip(1).step_by(2).collect() })
            }
        };
        match &outcome {
            Outcome::Taken { again } => {
                let taken: Vec<_> = items.iter().copied().filter(|seq| !again.contains(seq)).collect();
                self.take(&taken);
            }
            _ if matches!(fate, Fate::Lost | Fate::TakenThen500 | Fate::PowerCut) => self.take(items),
            _ => {}
        }
        self.keep_fails = fate == Fate::DiskFull;
        if fate == Fate::PowerCut {
            return self.restart();
        }
        self.later(wait, Event::Answered(outcome));
    }

    /// Plays until `end`; `fate` says what becomes of each request.
    fn run(&mut self, span: Duration, mut fate: impl FnMut(&[i64]) -> Fate) {
        let end = self.now + span;
        loop {
            let event = self.due.first_key_value().map(|((at, _), _)| *at);
            let wake = self.core.wake_at().map(|at| at.max(self.now));
            let Some(next) = event.into_iter().chain(wake).min().filter(|at| *at <= end) else { break };
            self.now = next;
            let event = if event == Some(next) { self.due.pop_first().map(|(_, event)| event) } else { None };
            let is_tick = event.is_none();
            let actions = self.core.handle(self.now, event.unwrap_or(Event::Tick));
            let moved = self.core.wake_at().is_none_or(|at| at > self.now);
            assert!(!is_tick || !actions.is_empty() || moved, "a tick changed nothing: {:?}", self.core);
            self.obey(actions, &mut fate);
        }
        self.now = end;
    }

    fn obey(&mut self, actions: Actions, fate: &mut impl FnMut(&[i64]) -> Fate) {
        for action in actions {
            match action {
                Action::Read { after, limit } => {
                    let last = (after as usize + limit).min(self.log.len()) as i64;
                    let items = (after + 1..=last).map(|seq| self.item(seq)).collect();
                    self.later(MS, Event::Read { items, to: last });
                }
                Action::Send { items } => {
                    self.check(&items);
                    let fate = fate(&items);
                    self.send(&items, fate);
                }
                Action::Keep(_) if std::mem::take(&mut self.keep_fails) => self.later(MS, Event::KeepFailed),
                Action::Keep(keep) => {
                    self.aside.extend(keep.aside.iter().map(|aside| (aside.seq, aside.tries)));
                    keep.settled.iter().for_each(|seq| {
                        assert!(self.known.contains(seq), "{seq} settled, and the cloud never took it");
                        self.aside.remove(seq);
                    });
                    assert!(keep.cursor >= self.cursor, "the cursor never goes back");
                    self.cursor = keep.cursor;
                    let lost = (1..=self.cursor)
                        .find(|seq| !self.known.contains(seq) && !self.aside.contains_key(seq));
                    assert_eq!(lost, None, "the cursor passed an item that waits");
                    self.later(MS, Event::Kept);
                }
            }
        }
    }

    fn check(&self, items: &[i64]) {
        assert!(items.len() <= self.batch);
        assert!(items.is_sorted(), "{items:?}");
        for seq in items {
            let order = &self.log[*seq as usize - 1].0;
            let earlier = (1..*seq).filter(|before| self.log[*before as usize - 1].0 == *order);
            earlier
                .for_each(|before| assert!(self.known.contains(&before), "{seq} was sent before {before}"));
        }
    }

    fn all_settled(&self) -> bool {
        self.cursor == self.log.len() as i64 && self.aside.is_empty()
    }

    fn batches(&self) -> Vec<usize> {
        self.requests.iter().map(|(_, items)| items.len()).filter(|len| *len > 0).collect()
    }
}

fn good(_: &[i64]) -> Fate {
    Fate::Good
}

#[test]
fn an_order_is_at_the_cloud_within_a_quarter_of_a_second_and_a_rush_at_once() {
    let mut sim = Sim::new(100);
    sim.run(SECOND, good);
    sim.requests.clear();
    let written = sim.now;
    sim.write(1, "accepted");
    sim.run(SECOND, good);
    let waited = sim.requests[0].0 - written;
    assert!(waited >= 200 * MS && waited <= 250 * MS, "{waited:?}");
    let written = sim.now;
    (2..102).for_each(|order| {
        sim.write(order, "accepted");
    });
    sim.run(SECOND, good);
    let waited = sim.requests[1].0 - written;
    assert!(waited <= 10 * MS && sim.all_settled(), "{waited:?}");
    assert_eq!(sim.batches(), [1, 100]);
}

#[test]
fn a_cloud_that_is_gone_for_a_week_is_asked_gently_and_gets_everything_when_it_is_back() {
    let mut sim = Sim::new(100);
    sim.write_orders(1_000);
    sim.run(WEEK, |_| Fate::Only500);
    let asked = sim.requests.len();
    assert!((2_000..3_000).contains(&asked), "{asked} requests in a week");
    assert!(sim.books.is_empty() && sim.core.oldest_at_ms() == Some(0));
    sim.run(6 * 60 * SECOND, good);
    assert!(sim.all_settled(), "{:?}", sim.core);
    assert_eq!(sim.books, (1..=1_000).collect::<Vec<_>>());
}

#[test]
fn one_bad_order_is_found_set_aside_and_tried_hourly_while_all_others_go_on() {
    let mut sim = Sim::new(100);
    sim.bad.insert(37);
    sim.write_orders(1_000);
    sim.run(60 * SECOND, good);
    assert_eq!(sim.books.len(), 999);
    assert_eq!((sim.core.stuck(), sim.core.oldest_at_ms(), sim.cursor), (1, None, 1_000));
    sim.requests.clear();
    sim.restart();
    sim.run(24 * HOUR, good);
    let tries = sim.requests.iter().filter(|(_, items)| *items == [37]).count();
    assert!((24..=34).contains(&tries), "{tries}");
    sim.bad.clear();
    sim.run(HOUR, good);
    assert!(sim.all_settled() && sim.core.stuck() == 0);
}

#[test]
fn one_order_that_breaks_the_cloud_is_found_while_the_cloud_answers_anything_else() {
    let mut sim = Sim::new(100);
    (sim.bad_by, sim.bad) = (Outcome::Broken, BTreeSet::from([37, 38]));
    sim.write_orders(1_000);
    sim.run(600 * SECOND, good);
    assert_eq!(sim.books.len(), 998, "{:?}", sim.core);
    sim.run(24 * HOUR, good);
    assert_eq!((sim.core.stuck(), sim.cursor), (2, 1_000));
    sim.bad.clear();
    sim.run(2 * HOUR, good);
    assert!(sim.all_settled());
}

#[test]
fn one_order_that_gets_no_answer_is_found_while_the_cloud_answers_anything_else() {
    let mut sim = Sim::new(100);
    (sim.bad_by, sim.bad) = (Outcome::Failed, BTreeSet::from([37]));
    sim.write_orders(1_000);
    sim.run(15 * 60 * SECOND, good);
    assert_eq!(sim.books.len(), 999, "{:?}", sim.core);
    sim.run(24 * HOUR, good);
    assert_eq!((sim.core.stuck(), sim.cursor), (1, 1_000));
    sim.bad.clear();
    sim.run(2 * HOUR, good);
    assert!(sim.all_settled());
}

#[test]
fn batches_that_take_longer_than_the_box_waits_become_smaller() {
    let mut sim = Sim::new(100);
    sim.hangs_from = 20;
    sim.write_orders(1_000);
    sim.run(30 * 60 * SECOND, good);
    assert!(sim.all_settled(), "{:?}", sim.core);
    assert!(sim.batches().iter().filter(|len| **len >= 20).count() < 20, "{:?}", sim.batches());
}

#[test]
fn a_line_that_is_dead_makes_no_batch_smaller() {
    let mut sim = Sim::new(100);
    sim.write_orders(1_000);
    sim.run(HOUR, |_| Fate::Hangs);
    sim.requests.clear();
    sim.run(6 * 60 * SECOND, good);
    assert!(sim.all_settled(), "{:?}", sim.core);
    assert_eq!(sim.batches(), [100; 10]);
}

#[test]
fn a_cloud_that_cannot_be_asked_for_news_gets_orders_all_the_same() {
    for by in [Outcome::Refused, Outcome::TooLarge, Outcome::Broken] {
        let mut sim = Sim::new(100);
        sim.questions_by = Some(by.clone());
        sim.later(Duration::ZERO, Event::Open(true));
        sim.run(HOUR, good);
        let written = sim.write(0, "accepted");
        sim.run(5 * SECOND, good);
        if by != Outcome::Broken {
            assert_eq!(sim.cursor, written, "{by:?}: it waited for the next question");
        }
        let asked = sim.requests.iter().filter(|(_, items)| items.is_empty()).count();
        assert!(asked < 200, "{by:?}: {asked} questions");
        sim.write(1, "accepted");
        sim.run(HOUR, |_| Fate::Hangs);
        sim.run(12 * 60 * SECOND, good);
        assert!(sim.all_settled(), "{by:?}: {:?}", sim.core);
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_written_later_and_not_asked_for_again() {
    let mut sim = Sim::new(10);
    sim.run(SECOND, good);
    sim.requests.clear();
    sim.write(1, "accepted");
    sim.run(60 * SECOND, |_| Fate::DiskFull);
    assert_eq!(sim.batches(), [1], "{:?}", sim.requests);
    assert!(sim.all_settled());
}

#[test]
fn a_log_that_ends_before_what_was_read_is_not_read_in_circles() {
    let now = clock::now();
    let restored = Restored { cursor: 10, newest: 20, ..Restored::default() };
    let mut core = Core::new(now, &Settings { batch: 10, seed: 7 }, restored);
    let reads = |actions: Actions| actions.iter().any(|action| matches!(action, Action::Read { .. }));
    assert!(reads(core.handle(now, Event::Tick)));
    assert!(!reads(core.handle(now, Event::Read { items: Vec::new(), to: 3 })));
    assert!(reads(core.handle(now + 2 * SECOND, Event::Tick)));
}

#[test]
fn an_answered_item_makes_another_request_each_time() {
    let mut sim = Sim::new(10);
    sim.write_orders(2);
    let mut seen = Vec::new();
    sim.run(SECOND, |items| if items.is_empty() { Fate::Good } else { Fate::Again });
    seen.push(sim.core.answers_to(&[2]));
    sim.bad.insert(2);
    for _ in 0..3 {
        sim.later(Duration::ZERO, Event::Hurry);
        sim.run(SECOND, good);
        seen.push(sim.core.answers_to(&[2]));
    }
    assert!(seen[0] == 1 && seen.windows(2).all(|two| two[0] < two[1]), "{seen:?}");
}

#[test]
fn a_cloud_that_refuses_everything_is_not_flooded_and_nothing_is_dropped() {
    let mut sim = Sim::new(100);
    sim.bad.extend(1..=500);
    sim.write_orders(500);
    sim.run(HOUR, good);
    assert!(sim.requests.len() < 1_000, "{}", sim.requests.len());
    sim.bad.clear();
    sim.run(2 * HOUR, good);
    assert!(sim.all_settled());
}

#[test]
fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let mut sim = Sim::new(200);
    sim.too_large_from = 31;
    sim.write_orders(2_000);
    sim.run(60 * SECOND, good);
    assert!(sim.all_settled(), "{:?}", sim.core);
    assert_eq!(sim.batches()[..4], [200, 100, 50, 25]);
    assert!(sim.batches().iter().filter(|len| **len > 30).count() < 8, "{:?}", sim.batches());
}

#[test]
fn a_cancelled_order_is_never_heard_of_before_the_order_itself() {
    let mut sim = Sim::new(10);
    sim.bad.insert(1);
    sim.write(1, "accepted");
    sim.write(1, "cancelled");
    sim.write(2, "accepted");
    sim.write(2, "cancelled");
    sim.run(HOUR, good);
    assert_eq!(sim.books, [3, 4], "what belongs to the refused order waits with it");
    sim.bad.clear();
    sim.run(HOUR + 60 * SECOND, good);
    assert_eq!(sim.books, [3, 4, 1, 2]);
    assert!(sim.all_settled());
}

#[test]
fn a_cloud_that_asks_for_time_gets_it_within_bounds() {
    for (asked, wait) in [(0, 1), (20, 20), (86_400, 600)] {
        let mut sim = Sim::new(10);
        sim.write(1, "accepted");
        let mut first = true;
        sim.run(HOUR, |_| if std::mem::take(&mut first) { Fate::Busy(asked) } else { Fate::Good });
        let waited = (sim.requests[1].0 - sim.requests[0].0).as_secs();
        assert_eq!(waited, wait, "asked for {asked}");
        assert!(sim.all_settled());
    }
}

#[test]
fn a_token_that_is_wrong_is_tried_slowly_until_somebody_puts_it_right() {
    let mut sim = Sim::new(10);
    sim.write(1, "accepted");
    sim.run(24 * HOUR, |_| Fate::NotLetIn);
    assert!((288..400).contains(&sim.requests.len()), "{}", sim.requests.len());
    sim.later(Duration::ZERO, Event::Hurry);
    sim.run(SECOND, good);
    assert!(sim.all_settled());
}

#[test]
fn the_cloud_is_asked_for_news_often_while_orders_wait_for_it_and_seldom_otherwise() {
    let mut sim = Sim::new(10);
    sim.run(HOUR, good);
    assert!((12..=14).contains(&sim.requests.len()), "{}", sim.requests.len());
    sim.requests.clear();
    sim.later(Duration::ZERO, Event::Open(true));
    sim.run(HOUR, good);
    assert!((230..=242).contains(&sim.requests.len()), "{}", sim.requests.len());
}

#[test]
fn a_paused_outbox_sends_nothing_and_goes_on_where_it_was() {
    let mut sim = Sim::new(10);
    sim.later(Duration::ZERO, Event::Pause);
    sim.run(SECOND, good);
    sim.requests.clear();
    sim.write_orders(100);
    sim.run(24 * HOUR, good);
    assert!(sim.requests.is_empty() && sim.core.is_paused());
    assert_eq!(sim.core.wake_at(), None, "nothing is to be done");
    sim.later(Duration::ZERO, Event::Resume);
    sim.run(SECOND, good);
    assert!(sim.all_settled());
}

/// Fates in the proportions of a bad day.
fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Good),
        1 => Just(Fate::Lost),
        1 => Just(Fate::TakenThen500),
        1 => Just(Fate::Only500),
        1 => Just(Fate::Hangs),
        1 => (0u64..2_000).prop_map(Fate::Busy),
        1 => Just(Fate::NotLetIn),
        2 => Just(Fate::Again),
        1 => Just(Fate::DiskFull),
        1 => Just(Fate::PowerCut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_on_the_way_every_item_is_in_the_clouds_books_once_and_in_order(
        fates in prop::collection::vec(any_fate(), 0..60),
        orders in prop::collection::vec((any::<bool>(), 0u64..3_000), 1..60),
        bad in prop::collection::btree_set(1i64..80, 0..5),
        bad_by in prop_oneof![Just(Outcome::Refused), Just(Outcome::Broken), Just(Outcome::Failed)],
        too_large_from in 2usize..30,
        batch in 1usize..20,
    ) {
        let mut sim = Sim::new(batch);
        (sim.bad, sim.bad_by) = (bad, bad_by);
        sim.too_large_from = too_large_from;
        let mut fates = fates.into_iter();
        let mut fate = |_: &[i64]| fates.next().unwrap_or(Fate::Good);
        for (order, (cancel, wait)) in orders.into_iter().enumerate() {
            sim.write(order, "accepted");
            sim.run(Duration::from_millis(wait), &mut fate);
            if cancel {
                sim.write(order, "cancelled");
                sim.run(Duration::from_millis(wait), &mut fate);
            }
        }
        sim.run(48 * HOUR, &mut fate);
        sim.bad.clear();
        sim.restart();
        sim.run(2 * HOUR, good);
        prop_assert!(sim.all_settled(), "{:?}", sim.core);
        let once: BTreeSet<_> = sim.books.iter().copied().collect();
        prop_assert_eq!(once.len(), sim.books.len());
        prop_assert_eq!(once, (1..=sim.log.len() as i64).collect());
    }
}
