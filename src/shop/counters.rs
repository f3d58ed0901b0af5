//! What the anchor sees of the sale: orders a minute, revenue, best sellers, since the show began.
//!
//! Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::money::{Currency, Money};
use super::product::Sku;
use super::times::rfc3339;

/// Steps that "a minute" is counted in: a number that falls within seconds of the last order.
const STEPS: usize = 12;
const STEP_MS: i64 = 5_000;

/// Best sellers told.
const BEST: usize = 10;

/// An order that came, or one that was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// Of what.
    pub sku: Sku,
    /// How many units.
    pub units: i64,
    /// For how much.
    pub total: Money,
    /// When the order came, in Unix milliseconds.
    pub at_ms: i64,
    /// Whether it was given back.
    pub back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sold {
    orders: i64,
    units: i64,
    amount: i64,
}

/// The sale so far. As large as there are SKUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    since_ms: i64,
    sold: BTreeMap<(Sku, Currency), Sold>,
    /// Orders that came in each of the last steps, and which step each slot is of.
    recent: [(i64, u32); STEPS],
    cancelled: i64,
}

impl Counters {
    /// Nothing sold since then.
    pub fn new(since_ms: i64) -> Counters {
        Counters { since_ms, sold: BTreeMap::new(), recent: [(i64::MIN, 0); STEPS], cancelled: 0 }
    }

    /// Since when it counts.
    pub fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Takes over what was sold before this process began.
    pub fn take_over(&mut self, sku: Sku, orders: i64, units: i64, total: Money) {
        self.sold.insert((sku, total.currency), Sold { orders, units, amount: total.amount });
    }

    /// An order came, or was given back.
    pub fn note(&mut self, sale: &Sale) {
        if sale.at_ms < self.since_ms {
            return;
        }
        let sold = self.sold.entry((sale.sku.clone(), sale.total.currency)).or_default();
        if sale.back {
            self.cancelled += 1;
            sold.orders -= 1;
            sold.units -= sale.units;
            sold.amount -= sale.total.amount;
            return;
        }
        sold.orders += 1;
        sold.units += sale.units;
        sold.amount += sale.total.amount;
        let step = sale.at_ms.div_euclid(STEP_MS);
        let slot = &mut self.recent[step.rem_euclid(STEPS as i64) as usize];
        *slot = if slot.0 == step { (step, slot.1 + 1) } else { (step, 1) };
    }

    /// Orders that came within the last minute.
    pub fn orders_a_minute(&self, now_ms: i64) -> u32 {
        let step = now_ms.div_euclid(STEP_MS);
        let within = self.recent.iter().filter(|(at, _)| (step - STEPS as i64 + 1..=step).contains(at));
        within.map(|(_, count)| count).sum()
    }

    /// Orders that count as sales.
    pub fn orders(&self) -> i64 {
        self.sold.values().map(|sold| sold.orders).sum()
    }

    /// Units sold.
    pub fn units(&self) -> i64 {
        self.sold.values().map(|sold| sold.units).sum()
    }

    /// As the API tells it.
    pub fn to_json(&self, now_ms: i64) -> Value {
        let mut revenue: BTreeMap<Currency, i64> = BTreeMap::new();
        let mut by_sku: BTreeMap<&Sku, i64> = BTreeMap::new();
        for ((sku, currency), sold) in &self.sold {
            *revenue.entry(*currency).or_default() += sold.amount;
            *by_sku.entry(sku).or_default() += sold.units;
        }
        let mut best: Vec<(&Sku, i64)> = by_sku.into_iter().filter(|(_, units)| *units > 0).collect();
        best.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
        json!({
            "since": rfc3339(self.since_ms),
            "orders": self.orders(),
            "units": self.units(),
            "given_back": self.cancelled,
            "orders_per_minute": self.orders_a_minute(now_ms),
            "revenue": revenue.iter()
                .map(|(currency, amount)| json!({ "amount": amount, "currency": currency.as_str() }))
                .collect::<Vec<_>>(),
            "best_sellers": best.iter().take(BEST)
                .map(|(sku, units)| json!({ "sku": sku.as_str(), "units": units }))
                .collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(sku: &str, units: i64, amount: i64, at_ms: i64) -> Sale {
        let currency = Currency::parse("CNY").expect("in use");
        let sku = Sku::parse(sku).expect("a SKU");
        Sale { sku, units, total: Money { amount, currency }, at_ms, back: false }
    }

    #[test]
    fn orders_a_minute_fall_as_the_minute_passes() {
        let mut counters = Counters::new(0);
        (0..60).for_each(|second| counters.note(&sale("A", 1, 100, second * 1_000)));
        assert_eq!(counters.orders_a_minute(59_999), 60);
        assert_eq!(counters.orders_a_minute(89_999), 30);
        assert_eq!(counters.orders_a_minute(200_000), 0);
        counters.note(&sale("A", 1, 100, 200_000));
        assert_eq!(counters.orders_a_minute(200_000), 1);
    }

    #[test]
    fn what_is_given_back_is_neither_sold_nor_revenue() {
        let mut counters = Counters::new(1_000);
        counters.note(&sale("A", 2, 200, 2_000));
        counters.note(&sale("B", 5, 500, 2_000));
        counters.note(&Sale { back: true, ..sale("A", 2, 200, 2_000) });
        counters.note(&Sale { back: true, ..sale("A", 9, 900, 500) });
        let told = counters.to_json(2_000);
        assert_eq!((&told["orders"], &told["units"], &told["given_back"]), (&1.into(), &5.into(), &1.into()));
        assert_eq!(told["revenue"], json!([{ "amount": 500, "currency": "CNY" }]));
        assert_eq!(told["best_sellers"], json!([{ "sku": "B", "units": 5 }]));
    }
}
