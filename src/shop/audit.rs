//! Proves from the log what the rows say: replays every event, and holds orders, reservations and keys against it.
//!
//! Pure: rows go in, a [`Report`] comes out; `store/proof.rs` reads them in one transaction. What is of one order or
//! reservation comes together ([`Part`]), so that memory is bounded by SKUs, however many orders there are.
//!
//! Nothing that it is handed is believed: a store that was tampered with holds anything.

use std::collections::BTreeMap;

use super::event::Kind;
use super::order::{HoldState, OrderState};

mod report;

pub use report::{Line, Report, VIOLATIONS_TOLD, Violation};

/// Units that changed place: what is available, held, sold.
pub type Moves = [i64; 3];

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its place.
    pub seq: i64,
    /// What.
    pub kind: String,
    /// Of which SKU.
    pub sku: Option<String>,
    /// Units that changed place.
    pub by: Moves,
}

/// What is of one order or reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Its row.
    Row(Row),
    /// Something that happened to it. They come in the order of the log.
    Event(EventRow),
    /// A key that it was asked for under.
    Key,
    /// An order that was made of the reservation.
    Taken {
        /// The order's number.
        number: i64,
        /// Of what.
        sku: String,
        /// How many.
        quantity: i64,
    },
}

/// An order's or a reservation's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// An order's number.
    pub number: Option<i64>,
    /// Of what.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// What one costs.
    pub unit_amount: i64,
    /// What all cost; a reservation has none.
    pub total: Option<i64>,
    /// Where it stands.
    pub state: String,
    /// Whether an order was made of a reservation.
    pub was_held: bool,
}

/// What is known of a SKU.
#[derive(Debug, Default)]
struct Tally {
    initial: i64,
    restocked: i64,
    /// As the replay has it.
    counts: Moves,
    /// As the product's row has it.
    row: Option<Moves>,
    /// Units of reservations that hold, and of orders that are sales.
    held: i64,
    sold: i64,
    has_moved: bool,
}

/// The audit under way: events first, then products, orders, reservations.
#[derive(Debug, Default)]
pub struct Audit {
    tallies: BTreeMap<String, Tally>,
    seq: i64,
    report: Report,
    case: Option<Case>,
}

/// One order or reservation, as far as it was seen.
#[derive(Debug)]
struct Case {
    of: String,
    is_order: bool,
    row: Option<Row>,
    /// Events that began it, and the state that they all led to.
    begun: u32,
    order_state: Option<OrderState>,
    hold_state: Option<HoldState>,
    first_seq: Option<i64>,
    keys: u32,
    taken: u32,
}

impl Audit {
    /// Takes the log's next event.
    pub fn event(&mut self, event: &EventRow) {
        let EventRow { seq, kind, sku, by } = event;
        let (seq, expected) = (*seq, self.seq.saturating_add(1));
        self.report.events += 1;
        if seq > expected {
            let words = match seq - 1 {
                last if last == expected => "is missing in the log".to_owned(),
                last => format!("is missing in the log, with all up to {last}"),
            };
            self.report.violation(None, None, Some(expected), words);
        } else if seq < expected {
            self.report.violation(None, None, Some(seq), "stands below 1, where the log begins");
        }
        self.seq = seq;
        let Some(parsed) = Kind::parse(kind) else {
            self.report.violation(
                sku.as_deref(),
                None,
                Some(seq),
                format!("is of no known kind: {}", shown(kind)),
            );
            return;
        };
        let Some(sku) = sku else {
            if *by != [0; 3] {
                self.report.violation(None, None, Some(seq), "moves units of no SKU");
            }
            return;
        };
        let tally = self.tallies.entry(sku.clone()).or_default();
        if !may_move(parsed, *by) {
            let words = format!("{kind} moves units as it never does: {by:?} (available, held, sold)");
            self.report.violation(Some(sku), None, Some(seq), words);
        }
        match parsed {
            Kind::Initial if tally.has_moved => {
                self.report.violation(Some(sku), None, Some(seq), "begins with units a second time");
            }
            Kind::Initial => tally.initial = by[0],
            Kind::Restock => tally.restocked = tally.restocked.saturating_add(by[0]),
            _ => {}
        }
        tally.has_moved |= *by != [0; 3];
        for (place, moved) in by.iter().enumerate() {
            let was_negative = tally.counts[place] < 0;
            tally.counts[place] = tally.counts[place].saturating_add(*moved);
            if tally.counts[place] < 0 && !was_negative {
                let words = format!("{} becomes {}", PLACES[place], tally.counts[place]);
                self.report.violation(Some(sku), None, Some(seq), words);
            }
        }
    }

    /// Takes a product's counts.
    pub fn product(&mut self, sku: &str, counts: Moves) {
        self.tallies.entry(sku.to_owned()).or_default().row = Some(counts);
    }

    /// Takes what is of an order; all of one order comes together.
    pub fn of_order(&mut self, of: &str, part: Part) {
        self.part(of, true, part);
    }

    /// Takes what is of a reservation; all of one reservation comes together.
    pub fn of_reservation(&mut self, of: &str, part: Part) {
        self.part(of, false, part);
    }

    /// Takes a key that stands more than once.
    pub fn key_twice(&mut self, key: &str, times: i64) {
        self.report.violation(None, None, None, format!("the key {} was answered {times} times", shown(key)));
    }

    /// Takes what the database's own checks complain of.
    pub fn complaint(&mut self, words: &str) {
        self.report.violation(None, None, None, format!("the database itself finds: {}", shown(words)));
    }

    /// How many keys there are.
    pub fn keys(&mut self, count: i64) {
        self.report.keys = count;
    }

    fn part(&mut self, of: &str, is_order: bool, part: Part) {
        if self.case.as_ref().is_some_and(|case| case.of != of || case.is_order != is_order) {
            self.close();
        }
        let case = self.case.get_or_insert_with(|| Case::new(of, is_order));
        case.take(part, &mut self.report);
    }

    /// Judges the case of which nothing more comes.
    fn close(&mut self) {
        let Some(case) = self.case.take() else { return };
        case.judge(&mut self.report);
        let Some(row) = &case.row else { return };
        let tally = self.tallies.entry(row.sku.clone()).or_default();
        if case.is_order {
            self.report.orders += 1;
            if OrderState::parse(&row.state).is_some_and(OrderState::is_sale) {
                tally.sold = tally.sold.saturating_add(row.quantity);
            }
        } else {
            self.report.reservations += 1;
            if HoldState::parse(&row.state) == Some(HoldState::Held) {
                tally.held = tally.held.saturating_add(row.quantity);
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(mut self) -> Report {
        self.close();
        let mut report = self.report;
        for (sku, tally) in self.tallies {
            let Tally { initial, restocked, counts, row, held, sold, .. } = tally;
            let mut differs = |words: String| report.violation(Some(&sku), None, None, words);
            match row {
                None => differs("its product is missing".to_owned()),
                Some(row) => {
                    for (place, (now, replayed)) in row.iter().zip(counts).enumerate() {
                        if *now != replayed {
                            differs(format!("{} is {now}, and by the log {replayed}", PLACES[place]));
                        }
                    }
                    for (place, now, sum, what) in
                        [(1, row[1], held, "its reservations hold"), (2, row[2], sold, "its orders have")]
                    {
                        if now != sum {
                            differs(format!("{} is {now}, and {what} {sum}", PLACES[place]));
                        }
                    }
                    let had = i128::from(initial) + i128::from(restocked);
                    let has = row.iter().map(|count| i128::from(*count)).sum::<i128>();
                    if had != has {
                        differs(format!("began with and was given {had} units, and has {has}"));
                    }
                }
            }
            report.skus.push(Line { sku, initial, restocked, counts: row.unwrap_or(counts) });
        }
        report
    }
}

/// Names of the counts.
const PLACES: [&str; 3] = ["available", "held", "sold"];

/// Whether an event of this kind moves units like this.
fn may_move(kind: Kind, [available, held, sold]: Moves) -> bool {
    let is_back = |from: i64| available > 0 && from == -available;
    match kind {
        Kind::Initial => available >= 0 && held == 0 && sold == 0,
        Kind::Restock => held == 0 && sold == 0,
        Kind::Hold => held > 0 && available == -held && sold == 0,
        Kind::Release | Kind::Expire => is_back(held) && sold == 0,
        Kind::Order => {
            sold > 0
                && available <= 0
                && held <= 0
                && (available == -sold) != (held == -sold)
                && available.saturating_add(held) == -sold
        }
        Kind::Rejected | Kind::Cancelled => is_back(sold) && held == 0,
        Kind::Synced
        | Kind::Confirmed
        | Kind::Paid
        | Kind::Product
        | Kind::Removed
        | Kind::Lease
        | Kind::SoldOut
        | Kind::LowStock
        | Kind::Cue
        | Kind::Show => available == 0 && held == 0 && sold == 0,
    }
}

/// The order state that an event leads to.
fn leads_to(kind: Kind) -> Option<OrderState> {
    Some(match kind {
        Kind::Order => OrderState::Accepted,
        Kind::Synced => OrderState::Synced,
        Kind::Confirmed => OrderState::Confirmed,
        Kind::Paid => OrderState::Paid,
        Kind::Rejected => OrderState::Rejected,
        Kind::Cancelled => OrderState::Cancelled,
        _ => return None,
    })
}

impl Case {
    fn new(of: &str, is_order: bool) -> Case {
        Case {
            of: of.to_owned(),
            is_order,
            row: None,
            begun: 0,
            order_state: None,
            hold_state: None,
            first_seq: None,
            keys: 0,
            taken: 0,
        }
    }

    /// What it is called: an order by its number, where that is known.
    fn name(&self) -> String {
        match (self.is_order, self.row.as_ref().and_then(|row| row.number)) {
            (true, Some(number)) => format!("order {number}"),
            (true, None) => format!("order {}", shown(&self.of)),
            (false, _) => format!("reservation {}", shown(&self.of)),
        }
    }

    fn take(&mut self, part: Part, report: &mut Report) {
        match part {
            Part::Row(row) => self.row = Some(row),
            Part::Key => self.keys += 1,
            Part::Event(event) => self.event(&event, report),
            Part::Taken { number, sku, quantity } => {
                self.taken += 1;
                if let Some(row) = self.row.as_ref().filter(|row| row.sku != sku || row.quantity != quantity)
                {
                    let words = format!(
                        "is of {} x {}, and {} holds {} x {}",
                        quantity,
                        shown(&sku),
                        self.name(),
                        row.quantity,
                        shown(&row.sku)
                    );
                    report.violation(Some(&sku), Some(format!("order {number}")), None, words);
                }
            }
        }
    }

    fn event(&mut self, event: &EventRow, report: &mut Report) {
        let EventRow { seq, kind, sku, by } = event;
        self.first_seq.get_or_insert(*seq);
        let (name, sku) = (self.name(), sku.as_deref());
        let mut wrong = |words: String| report.violation(sku, Some(name.clone()), Some(*seq), words);
        let Some(kind) = Kind::parse(kind) else { return };
        if let Some(row) = &self.row {
            if sku != Some(row.sku.as_str()) {
                wrong(format!("its event is of another SKU than {}", shown(&row.sku)));
            }
            let units = row.quantity;
            let wanted = match kind {
                Kind::Order if row.was_held => [0, -units, units],
                Kind::Order => [-units, 0, units],
                Kind::Rejected | Kind::Cancelled => [units, 0, -units],
                Kind::Hold => [-units, units, 0],
                Kind::Release | Kind::Expire => [units, -units, 0],
                _ => [0; 3],
            };
            if *by != wanted {
                wrong(format!(
                    "its event moves {by:?} and its quantity says {wanted:?} (available, held, sold)"
                ));
            }
        }
        if self.is_order {
            let Some(to) = leads_to(kind) else { return };
            match self.order_state {
                _ if kind == Kind::Order => self.begun += 1,
                None => wrong(format!("became {} before it was accepted", to.as_str())),
                Some(state) if !state.may_become(to) => {
                    wrong(format!(
                        "went from {} to {}, which is no way forward",
                        state.as_str(),
                        to.as_str()
                    ));
                }
                Some(_) => {}
            }
            self.order_state = Some(to);
        } else {
            let to = match kind {
                Kind::Hold => HoldState::Held,
                Kind::Release => HoldState::Released,
                Kind::Expire => HoldState::Expired,
                _ => return,
            };
            match self.hold_state {
                _ if kind == Kind::Hold => self.begun += 1,
                Some(HoldState::Held) => {}
                _ => wrong(format!("was {} though it held nothing", to.as_str())),
            }
            self.hold_state = Some(to);
        }
    }

    /// Judges it once all of it is known.
    fn judge(&self, report: &mut Report) {
        let (name, seq) = (self.name(), self.first_seq);
        let Some(row) = &self.row else {
            if self.begun > 0 || self.order_state.is_some() || self.hold_state.is_some() {
                report.violation(None, Some(name.clone()), seq, "stands in the log and nowhere else");
            }
            if self.keys > 0 {
                report.violation(None, Some(name.clone()), None, "was answered to a key and is not there");
            }
            if self.taken > 0 {
                report.violation(None, Some(name), None, "was made an order of and is not there");
            }
            return;
        };
        let mut wrong = |words: String| report.violation(Some(&row.sku), Some(name.clone()), None, words);
        match self.begun {
            1 => {}
            0 => wrong("has no event that it was made by".to_owned()),
            times => wrong(format!("was made {times} times by the log")),
        }
        if self.keys != 1 {
            wrong(format!("has {} keys, and everything that was asked for has one", self.keys));
        }
        if row.quantity <= 0 {
            wrong(format!("is of {} units", row.quantity));
        }
        if let Some(total) = row.total
            && row.unit_amount.checked_mul(row.quantity) != Some(total)
        {
            wrong(format!("costs {total}, and {} x {} is not that", row.quantity, row.unit_amount));
        }
        if self.is_order {
            let logged = self.order_state.map(OrderState::as_str);
            if logged.is_some_and(|logged| logged != row.state) || OrderState::parse(&row.state).is_none() {
                wrong(format!("is {}, and by the log {}", shown(&row.state), logged.unwrap_or("nothing")));
            }
            return;
        }
        let logged = match (self.hold_state, self.taken) {
            (Some(HoldState::Held), 1) => Some(HoldState::Ordered),
            (state, 0) => state,
            (_, times) => {
                wrong(format!("{times} orders were made of it, and it could become one"));
                return;
            }
        };
        let logged = logged.map(HoldState::as_str);
        if logged.is_some_and(|logged| logged != row.state) || HoldState::parse(&row.state).is_none() {
            wrong(format!("is {}, and by the log {}", shown(&row.state), logged.unwrap_or("nothing")));
        }
    }
}

/// A text of the store as a line shows it: short, and without what moves a terminal's cursor.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.is_empty() { "(nothing)".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
