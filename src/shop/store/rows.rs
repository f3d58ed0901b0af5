//! Rows as the vocabulary's types, and the questions asked of the database.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::shop::event::{Event, Kind};
use crate::shop::ids::Fingerprint;
use crate::shop::money::{Currency, Money};
use crate::shop::order::{HoldState, Order, OrderState, Reservation};
use crate::shop::product::{Card, Lease, Product, Sku, Stock};
use crate::shop::rules::Move;

/// What a key was answered with before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What was asked then.
    pub fingerprint: Fingerprint,
    /// What was answered.
    pub reply: Reply,
}

/// One of the answers that are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The order of that id.
    Order(String),
    /// The reservation of that id.
    Reservation(String),
    /// No.
    Refusal {
        /// The problem's name.
        name: String,
        /// What was told.
        detail: String,
    },
}

/// What was sold of a SKU, and for how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Which.
    pub sku: String,
    /// Orders that count as sales.
    pub orders: i64,
    /// Units in them.
    pub units: i64,
    /// Their totals in minor units.
    pub amount: i64,
    /// Of this currency.
    pub currency: String,
}

const PRODUCT: &str = "SELECT sku, title, product, variant, description, amount, currency, buyer_limit, low_stock, \
    on_sale, position, version, available, held, sold, lease_id, lease_units, lease_used, lease_until, image, \
    changed_at, removed FROM product";

const ORDER: &str = "SELECT number, id, sku, quantity, buyer, contact, unit_amount, total, currency, state, reason, \
    at, changed_at, lease FROM orders";

const RESERVATION: &str =
    "SELECT id, sku, quantity, buyer, unit_amount, currency, state, at, expires_at, lease FROM reservation";

const EVENT: &str = "SELECT seq, at, kind, sku, of, available, held, sold, data FROM event";

/// Longer than any reservation holds (`orders.hold` goes up to a day).
const HOLD_MAX_MS: i64 = 25 * 3_600 * 1_000;

/// A value that the schema should have kept out.
fn wrong(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
}

fn sku(row: &Row<'_>, column: usize) -> rusqlite::Result<Sku> {
    Sku::parse(row.get_ref(column)?.as_str()?).ok_or_else(|| wrong(column, "no SKU"))
}

fn money(row: &Row<'_>, amount: usize, currency: usize) -> rusqlite::Result<Money> {
    let code = row.get_ref(currency)?.as_str()?;
    let currency = Currency::parse(code).ok_or_else(|| wrong(currency, "no currency"))?;
    Ok(Money { amount: row.get(amount)?, currency })
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    let lease = match row.get::<_, Option<String>>(15)? {
        Some(id) => {
            let (units, used, until_ms) = (row.get(16)?, row.get(17)?, row.get(18)?);
            Some(Lease { id, units, used, until_ms })
        }
        None => None,
    };
    Ok(Product {
        sku: sku(row, 0)?,
        card: Card {
            title: row.get(1)?,
            product: row.get(2)?,
            variant: row.get(3)?,
            description: row.get(4)?,
            price: money(row, 5, 6)?,
            buyer_limit: row.get(7)?,
            low_stock: row.get(8)?,
            on_sale: row.get(9)?,
            position: row.get(10)?,
        },
        version: row.get(11)?,
        stock: Stock { available: row.get(12)?, held: row.get(13)?, sold: row.get(14)? },
        lease,
        image: row.get(19)?,
        changed_ms: row.get(20)?,
        removed: row.get(21)?,
    })
}

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let state = OrderState::parse(row.get_ref(9)?.as_str()?).ok_or_else(|| wrong(9, "no order state"))?;
    let unit_price = money(row, 6, 8)?;
    Ok(Order {
        number: row.get(0)?,
        id: row.get(1)?,
        sku: sku(row, 2)?,
        quantity: row.get(3)?,
        buyer: row.get(4)?,
        contact: row.get(5)?,
        unit_price,
        total: Money { amount: row.get(7)?, ..unit_price },
        state,
        reason: row.get(10)?,
        at_ms: row.get(11)?,
        changed_ms: row.get(12)?,
        lease: row.get(13)?,
    })
}

fn reservation(row: &Row<'_>) -> rusqlite::Result<Reservation> {
    Ok(Reservation {
        id: row.get(0)?,
        sku: sku(row, 1)?,
        quantity: row.get(2)?,
        buyer: row.get(3)?,
        unit_price: money(row, 4, 5)?,
        state: HoldState::parse(row.get_ref(6)?.as_str()?).ok_or_else(|| wrong(6, "no reservation state"))?,
        at_ms: row.get(7)?,
        expires_ms: row.get(8)?,
        lease: row.get(9)?,
    })
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let kind = Kind::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| wrong(2, "no kind of event"))?;
    let text = row.get_ref(3)?.as_str_or_null()?;
    Ok(Event {
        seq: row.get(0)?,
        at_ms: row.get(1)?,
        kind,
        sku: text.map(|text| Sku::parse(text).ok_or_else(|| wrong(3, "no SKU"))).transpose()?,
        of: row.get(4)?,
        by: Move { available: row.get(5)?, held: row.get(6)?, sold: row.get(7)?, leased: 0 },
        data: row.get(8)?,
    })
}

/// Every product there ever was, removed ones included, by SKU.
pub(in crate::shop) fn products(from: &Connection) -> rusqlite::Result<Vec<Product>> {
    from.prepare_cached(&format!("{PRODUCT} ORDER BY sku"))?.query_map([], product)?.collect()
}

/// The order of this id.
pub(in crate::shop) fn order_by_id(from: &Connection, id: &str) -> rusqlite::Result<Option<Order>> {
    from.prepare_cached(&format!("{ORDER} WHERE id = ?1"))?.query_row([id], order).optional()
}

/// Orders with numbers above `after`, in their order, at most `limit`.
pub(in crate::shop) fn orders_after(
    from: &Connection,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Order>> {
    let mut asked = from.prepare_cached(&format!("{ORDER} WHERE number > ?1 ORDER BY number LIMIT ?2"))?;
    asked.query_map(params![after, limit as i64], order)?.collect()
}

/// Orders with numbers below `before`, newest first, at most `limit`.
pub(in crate::shop) fn orders_before(
    from: &Connection,
    before: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Order>> {
    let mut asked =
        from.prepare_cached(&format!("{ORDER} WHERE number < ?1 ORDER BY number DESC LIMIT ?2"))?;
    asked.query_map(params![before, limit as i64], order)?.collect()
}

/// The reservation of this id.
pub(in crate::shop) fn reservation_by_id(
    from: &Connection,
    id: &str,
) -> rusqlite::Result<Option<Reservation>> {
    from.prepare_cached(&format!("{RESERVATION} WHERE id = ?1"))?.query_row([id], reservation).optional()
}

/// Reservations whose time is over, the oldest first, at most `limit`; and those that end later than any can, which
/// were made while the clock was ahead.
pub(in crate::shop) fn reservations_due(
    from: &Connection,
    now_ms: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Reservation>> {
    let question = format!(
        "{RESERVATION} WHERE state = 'held' AND (expires_at <= ?1 OR expires_at > ?3) \
         ORDER BY expires_at LIMIT ?2"
    );
    from.prepare_cached(&question)?
        .query_map(params![now_ms, limit as i64, now_ms.saturating_add(HOLD_MAX_MS)], reservation)?
        .collect()
}

/// When the next reservation's time is over.
pub(in crate::shop) fn next_expiry(from: &Connection) -> rusqlite::Result<Option<i64>> {
    let question = "SELECT min(expires_at) FROM reservation WHERE state = 'held'";
    from.prepare_cached(question)?.query_row([], |row| row.get(0))
}

/// Units of a SKU that a buyer has ordered or reserved.
pub(in crate::shop) fn units_of_buyer(from: &Connection, sku: &Sku, buyer: &str) -> rusqlite::Result<i64> {
    let question = "SELECT \
        (SELECT coalesce(sum(quantity), 0) FROM orders \
            WHERE buyer = ?1 AND sku = ?2 AND state NOT IN ('rejected', 'cancelled')) + \
        (SELECT coalesce(sum(quantity), 0) FROM reservation WHERE buyer = ?1 AND sku = ?2 AND state = 'held')";
    from.prepare_cached(question)?.query_row([buyer, sku.as_str()], |row| row.get(0))
}

/// Units of a SKU that were sold or reserved under a lease.
pub(in crate::shop) fn units_of_lease(from: &Connection, sku: &Sku, lease: &str) -> rusqlite::Result<i64> {
    let question = "SELECT \
        (SELECT coalesce(sum(quantity), 0) FROM orders \
            WHERE sku = ?1 AND lease = ?2 AND state NOT IN ('rejected', 'cancelled')) + \
        (SELECT coalesce(sum(quantity), 0) FROM reservation WHERE sku = ?1 AND lease = ?2 AND state = 'held')";
    from.query_row(question, [sku.as_str(), lease], |row| row.get(0))
}

/// How many refusals are remembered.
pub(in crate::shop) fn refusals(from: &Connection) -> rusqlite::Result<i64> {
    from.query_row("SELECT count(*) FROM answer WHERE kind = 'refusal'", [], |row| row.get(0))
}

/// What a key was answered with.
pub(in crate::shop) fn answer_of(from: &Connection, key: &str) -> rusqlite::Result<Option<Answered>> {
    let mut asked = from.prepare_cached("SELECT fingerprint, kind, of, detail FROM answer WHERE key = ?1")?;
    asked
        .query_row([key], |row| {
            let fingerprint = row.get(0)?;
            let of: String = row.get(2)?;
            let reply = match row.get_ref(1)?.as_str()? {
                "order" => Reply::Order(of),
                "reservation" => Reply::Reservation(of),
                _ => {
                    Reply::Refusal { name: of, detail: row.get::<_, Option<String>>(3)?.unwrap_or_default() }
                }
            };
            Ok(Answered { fingerprint, reply })
        })
        .optional()
}

/// Events after `seq`, in their order, at most `limit`.
pub(in crate::shop) fn events_after(
    from: &Connection,
    seq: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let mut asked = from.prepare_cached(&format!("{EVENT} WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?;
    asked.query_map(params![seq, limit as i64], event)?.collect()
}

/// The newest event's place in the log; 0 where there is none.
pub(in crate::shop) fn last_seq(from: &Connection) -> rusqlite::Result<i64> {
    from.query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))
}

/// When the log began.
pub(in crate::shop) fn first_event_ms(from: &Connection) -> rusqlite::Result<Option<i64>> {
    from.query_row("SELECT at FROM event ORDER BY seq LIMIT 1", [], |row| row.get(0)).optional()
}

/// The newest order's number; 0 where there is none.
pub(in crate::shop) fn last_number(from: &Connection) -> rusqlite::Result<i64> {
    from.query_row("SELECT coalesce(max(number), 0) FROM orders", [], |row| row.get(0))
}

/// A setting's value.
pub(in crate::shop) fn setting(from: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let mut asked = from.prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
    asked.query_row([name], |row| row.get(0)).optional()
}

/// What was sold since then, for each SKU and currency.
pub(in crate::shop) fn totals_since(from: &Connection, since_ms: i64) -> rusqlite::Result<Vec<Totals>> {
    let question = "SELECT sku, count(*), sum(quantity), sum(total), currency FROM orders \
        WHERE at >= ?1 AND state NOT IN ('rejected', 'cancelled') GROUP BY sku, currency";
    let mut asked = from.prepare(question)?;
    asked
        .query_map([since_ms], |row| {
            Ok(Totals {
                sku: row.get(0)?,
                orders: row.get(1)?,
                units: row.get(2)?,
                amount: row.get(3)?,
                currency: row.get(4)?,
            })
        })?
        .collect()
}

/// A product's picture: its type and its bytes.
pub(in crate::shop) fn image(from: &Connection, sku: &Sku) -> rusqlite::Result<Option<(String, Vec<u8>)>> {
    let mut asked = from.prepare_cached("SELECT content_type, bytes FROM image WHERE sku = ?1")?;
    asked.query_row([sku.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}
