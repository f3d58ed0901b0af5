//! Makes orders anew whose own rows are lost and that the log still knows: their numbers must not be given out twice,
//! and who asks for one by its id or its key was told that it is accepted.

use rusqlite::{Connection, OptionalExtension, params};

/// Orders that are told one by one.
const TOLD_MAX: usize = 50;

/// Every order by the log, with its number where its row was saved.
const LOGGED: &str = "SELECT e.of, e.sku, e.seq, e.at, e.held, e.sold, o.number FROM event e \
    LEFT JOIN orders o ON o.id = e.of \
    WHERE e.kind = 'order' AND e.of IS NOT NULL AND e.sku IS NOT NULL AND e.sold > 0 ORDER BY e.seq";

/// What one cost then: by the log, else what it costs now.
const PRICE: &str = "SELECT amount, currency FROM (\
    SELECT json_extract(data, '$.price.amount') AS amount, json_extract(data, '$.price.currency') AS currency, seq \
        FROM event WHERE kind = 'product' AND sku = ?1 AND seq < ?2 AND json_valid(data) \
        AND json_extract(data, '$.price.amount') IS NOT NULL \
    UNION ALL SELECT amount, currency, 0 FROM product WHERE sku = ?1) ORDER BY seq DESC LIMIT 1";

/// Reservations that became an order which is not there.
const RESERVED: &str = "SELECT id, buyer, unit_amount, currency FROM reservation \
    WHERE state = 'ordered' AND sku = ?1 AND quantity = ?2 \
    AND id NOT IN (SELECT reservation FROM orders WHERE reservation IS NOT NULL) LIMIT 2";

/// What became of it last.
const STATE: &str = "SELECT kind, at FROM event WHERE of = ?1 \
    AND kind IN ('order', 'synced', 'confirmed', 'paid', 'rejected', 'cancelled') ORDER BY seq DESC LIMIT 1";

const PUT: &str = "INSERT INTO orders (number, id, sku, quantity, buyer, contact, unit_amount, total, currency, state, \
    reason, reservation, lease, at, changed_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, ?6 * ?4, ?7, ?8, 'made anew from the log after damage', ?9, NULL, ?10, ?11)";

/// An order that only the log knows.
struct Lost {
    number: i64,
    id: String,
    sku: String,
    seq: i64,
    at_ms: i64,
    was_held: bool,
    quantity: i64,
}

/// What is known of an order beside what its event says.
struct Known {
    buyer: Option<String>,
    unit_amount: i64,
    currency: String,
    reservation: Option<String>,
}

/// Makes them anew, and tells of each.
pub(super) fn orders(to: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut told = Vec::new();
    let lost = lost(to)?;
    for order in &lost {
        let made = known(to, order)?.map(|known| put(to, order, &known).map(|()| known.buyer));
        let Lost { number, id, sku, quantity, .. } = order;
        let what = format!("order {number} ({quantity} x {sku}, id {id})");
        if told.len() < TOLD_MAX {
            told.push(match made {
                Some(Ok(None)) => {
                    format!("look at: {what} was made anew from the log; who ordered it is lost")
                }
                Some(Ok(Some(buyer))) => {
                    format!("look at: {what} was made anew from the log and its reservation by {buyer:?}")
                }
                _ => format!("look at: {what} is lost but for its event"),
            });
        }
    }
    if lost.len() > told.len() {
        told.push(format!("look at: {} more orders of that kind", lost.len() - told.len()));
    }
    Ok(told)
}

fn lost(to: &Connection) -> rusqlite::Result<Vec<Lost>> {
    let mut asked = to.prepare(LOGGED)?;
    let mut rows = asked.query([])?;
    let (mut lost, mut last) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        // Numbers count up in the order of the log.
        if let Some(number) = row.get::<_, Option<i64>>(6)? {
            last = number;
            continue;
        }
        last += 1;
        lost.push(Lost {
            number: last,
            id: row.get(0)?,
            sku: row.get(1)?,
            seq: row.get(2)?,
            at_ms: row.get(3)?,
            was_held: row.get::<_, i64>(4)? < 0,
            quantity: row.get(5)?,
        });
    }
    Ok(lost)
}

fn known(to: &Connection, order: &Lost) -> rusqlite::Result<Option<Known>> {
    if order.was_held {
        let mut asked = to.prepare_cached(RESERVED)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Known {
                reservation: row.get(0)?,
                buyer: row.get(1)?,
                unit_amount: row.get(2)?,
                currency: row.get(3)?,
            })
        };
        let mut found =
            asked.query_map(params![order.sku, order.quantity], read)?.collect::<Result<Vec<_>, _>>()?;
        // Of several nobody knows which.
        if found.len() == 1 {
            return Ok(found.pop());
        }
    }
    let price = to.prepare_cached(PRICE)?.query_row(params![order.sku, order.seq], |row| {
        Ok(Known { buyer: None, unit_amount: row.get(0)?, currency: row.get(1)?, reservation: None })
    });
    price.optional()
}

fn put(to: &Connection, order: &Lost, known: &Known) -> rusqlite::Result<()> {
    let (kind, changed_ms): (String, i64) =
        to.prepare_cached(STATE)?.query_row([&order.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let state = if kind == "order" { "accepted" } else { &kind };
    to.prepare_cached(PUT)?.execute(params![
        order.number,
        order.id,
        order.sku,
        order.quantity,
        known.buyer.as_deref().unwrap_or("unknown"),
        known.unit_amount,
        known.currency,
        state,
        known.reservation,
        order.at_ms,
        changed_ms,
    ])?;
    Ok(())
}
