//! What an audit found, for people and for programs.
//!
//! Pure.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::{Moves, PLACES, shown};

/// Violations that are told, at most; the others are counted.
pub const VIOLATIONS_TOLD: usize = 1_000;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which SKU.
    pub sku: Option<String>,
    /// Of which order or reservation, as `order 7`.
    pub of: Option<String>,
    /// At which place of the log.
    pub seq: Option<i64>,
    /// What.
    pub what: String,
}

/// A SKU's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub sku: String,
    /// What it began with.
    pub initial: i64,
    /// What people added and took away since.
    pub restocked: i64,
    /// Available, held, sold.
    pub counts: Moves,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Every SKU there ever was.
    pub skus: Vec<Line>,
    /// The first [`VIOLATIONS_TOLD`].
    pub violations: Vec<Violation>,
    /// How many there are beyond these.
    pub more: u64,
    /// How many events were replayed.
    pub events: u64,
    /// How many orders there are.
    pub orders: u64,
    /// How many reservations there are.
    pub reservations: u64,
    /// How many keys were answered.
    pub keys: i64,
}

impl Report {
    pub(super) fn violation(
        &mut self,
        sku: Option<&str>,
        of: Option<String>,
        seq: Option<i64>,
        what: impl Into<String>,
    ) {
        if self.violations.len() >= VIOLATIONS_TOLD {
            self.more += 1;
            return;
        }
        self.violations.push(Violation { sku: sku.map(shown), of, seq, what: what.into() });
    }

    /// Whether all is as it must be.
    pub fn is_proven(&self) -> bool {
        self.violations.is_empty()
    }

    /// How many violations there are.
    pub fn count(&self) -> u64 {
        self.violations.len() as u64 + self.more
    }

    /// In one line.
    pub fn verdict(&self) -> String {
        let Report { events, orders, reservations, keys, .. } = self;
        let seen = format!(
            "{} SKUs, {orders} orders, {reservations} reservations, {keys} keys, {events} events",
            self.skus.len()
        );
        match self.count() {
            0 => format!("proven: {seen}; every unit is where the log says"),
            1 => format!("violated: 1 thing is not as it must be; {seen}"),
            count => format!("violated: {count} things are not as they must be; {seen}"),
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let skus = self.skus.iter().map(|Line { sku, initial, restocked, counts }| {
            json!({
                "sku": shown(sku),
                "initial": initial,
                "restocked": restocked,
                "available": counts[0],
                "held": counts[1],
                "sold": counts[2],
            })
        });
        let violations = self.violations.iter().map(
            |Violation { sku, of, seq, what }| json!({ "sku": sku, "of": of, "seq": seq, "what": what }),
        );
        json!({
            "proven": self.is_proven(),
            "verdict": self.verdict(),
            "events": self.events,
            "orders": self.orders,
            "reservations": self.reservations,
            "keys": self.keys,
            "skus": skus.collect::<Vec<_>>(),
            "violations": violations.collect::<Vec<_>>(),
            "violations_not_told": self.more,
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = Vec::new();
        place.extend(self.sku.as_ref().map(|sku| format!("SKU {sku}")));
        place.extend(self.of.clone());
        place.extend(self.seq.map(|seq| format!("event {seq}")));
        if place.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{}: {}", place.join(", "), self.what)
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.skus.iter().map(|line| shown(&line.sku).chars().count()).max().unwrap_or(0).max(3);
        let mut table = String::new();
        let [available, held, sold] = PLACES.map(str::to_uppercase);
        if !self.skus.is_empty() {
            write!(table, "{:<width$}  {:>10}  {:>10} ", "SKU", "INITIAL", "RESTOCKED")?;
            writeln!(table, " = {available:>10} + {held:>8} + {sold:>8}")?;
        }
        for Line { sku, initial, restocked, counts: [available, held, sold] } in &self.skus {
            write!(table, "{:<width$}  {initial:>10}  {restocked:>+10} ", shown(sku))?;
            writeln!(table, " = {available:>10} + {held:>8} + {sold:>8}")?;
        }
        f.write_str(&table)?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        writeln!(f, "{}", self.verdict())
    }
}
