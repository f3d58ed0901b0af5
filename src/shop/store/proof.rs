//! Reads the whole store for an audit: in one transaction, so that a running box changes nothing of what is seen.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row as SqlRow};

use crate::shop::audit::{Audit, EventRow, Moves, Part, Report, Row};

use super::open::{NAME, look_only};
use super::trouble::{Trouble, TroubleKind};

/// Complaints of the database that are told.
const COMPLAINTS_MAX: usize = 100;

/// What of `integrity_check` speaks of values and not of a damaged file.
const OF_VALUES: [&str; 3] = ["CHECK constraint failed", "NULL value in", "non-unique entry in index"];

const EVENTS: &str = "SELECT seq, kind, sku, available, held, sold FROM event ORDER BY seq";

const PRODUCTS: &str = "SELECT sku, available, held, sold FROM product";

/// All that is of one order comes together: its row, its events as they stand in the log, its keys. SQLite sorts on
/// the disk what does not fit into its cache.
const ORDERS: &str = "\
    SELECT id AS of, 0 AS part, 0 AS seq, sku, state, number, quantity, unit_amount, total, reservation IS NOT NULL \
        FROM orders \
    UNION ALL SELECT coalesce(of, ''), 1, seq, sku, kind, available, held, sold, 0, 0 FROM event \
        WHERE kind IN ('order', 'synced', 'confirmed', 'paid', 'rejected', 'cancelled') \
    UNION ALL SELECT of, 2, 0, NULL, '', 0, 0, 0, 0, 0 FROM answer WHERE kind = 'order' \
    ORDER BY 1, 2, 3";

/// The same for reservations, with the orders that were made of them.
const RESERVATIONS: &str = "\
    SELECT id AS of, 0 AS part, 0 AS seq, sku, state, 0, quantity, unit_amount, 0, 0 FROM reservation \
    UNION ALL SELECT coalesce(of, ''), 1, seq, sku, kind, available, held, sold, 0, 0 FROM event \
        WHERE kind IN ('hold', 'release', 'expire') \
    UNION ALL SELECT of, 2, 0, NULL, '', 0, 0, 0, 0, 0 FROM answer WHERE kind = 'reservation' \
    UNION ALL SELECT reservation, 3, 0, sku, '', number, quantity, 0, 0, 0 FROM orders \
        WHERE reservation IS NOT NULL \
    ORDER BY 1, 2, 3";

const KEYS_TWICE: &str = "SELECT key, count(*) FROM answer GROUP BY key HAVING count(*) > 1";

/// Audits the store in `folder`, beside a running box if need be. Writes nothing.
///
/// # Errors
/// Why it cannot be read.
pub fn audit(folder: &Path) -> Result<Report, Trouble> {
    audit_of(&look_only(folder)?, &folder.join(NAME))
}

/// Audits a database that nobody works with.
pub(super) fn audit_file(path: &Path) -> Result<Report, Trouble> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    audit_of(&connection.map_err(|error| Trouble::of(path, &error))?, path)
}

fn audit_of(connection: &Connection, path: &Path) -> Result<Report, Trouble> {
    let of = |error: rusqlite::Error| Trouble::of(path, &error);
    // Looks only: nothing of it is ever committed.
    let look = connection.unchecked_transaction().map_err(of)?;
    let mut audit = Audit::default();
    let damage = complaints(&look, &mut audit).map_err(of)?;
    if let Some(damage) = damage {
        return Err(Trouble::new(TroubleKind::Corrupt, path, damage));
    }
    replay(&look, &mut audit).map_err(of)?;
    Ok(audit.finish())
}

/// What the database itself finds wrong; damage of the file is handed back.
fn complaints(from: &Connection, audit: &mut Audit) -> rusqlite::Result<Option<String>> {
    let mut asked = from.prepare(&format!("PRAGMA integrity_check({COMPLAINTS_MAX})"))?;
    let mut found = asked.query([])?;
    while let Some(row) = found.next()? {
        let words: String = row.get(0)?;
        if OF_VALUES.iter().any(|of_values| words.starts_with(of_values)) {
            audit.complaint(&words);
        } else if words != "ok" {
            return Ok(Some(words.replace('\n', " ").chars().take(300).collect()));
        }
    }
    let mut asked = from.prepare("PRAGMA foreign_key_check")?;
    let mut found = asked.query([])?;
    let mut count = 0;
    while let Some(row) = found.next()?.filter(|_| count < COMPLAINTS_MAX) {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        audit.complaint(&format!("a row of {table} names a row of {parent} that is not there"));
        count += 1;
    }
    Ok(None)
}

fn replay(from: &Connection, audit: &mut Audit) -> rusqlite::Result<()> {
    let mut asked = from.prepare(EVENTS)?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, kind, sku) = (row.get(0)?, row.get(1)?, row.get(2)?);
        audit.event(&EventRow { seq, kind, sku, by: moves(row, 3)? });
    }
    let mut asked = from.prepare(PRODUCTS)?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        audit.product(row.get_ref(0)?.as_str()?, moves(row, 1)?);
    }
    let mut asked = from.prepare(ORDERS)?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        audit.of_order(row.get_ref(0)?.as_str()?, part(row, true)?);
    }
    let mut asked = from.prepare(RESERVATIONS)?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        audit.of_reservation(row.get_ref(0)?.as_str()?, part(row, false)?);
    }
    let mut asked = from.prepare(KEYS_TWICE)?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        audit.key_twice(row.get_ref(0)?.as_str()?, row.get(1)?);
    }
    audit.keys(from.query_row("SELECT count(*) FROM answer", [], |row| row.get(0))?);
    Ok(())
}

fn moves(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Moves> {
    Ok([row.get(first)?, row.get(first + 1)?, row.get(first + 2)?])
}

fn part(row: &SqlRow<'_>, is_order: bool) -> rusqlite::Result<Part> {
    Ok(match row.get(1)? {
        0 => Part::Row(Row {
            number: if is_order { Some(row.get(5)?) } else { None },
            sku: row.get(3)?,
            quantity: row.get(6)?,
            unit_amount: row.get(7)?,
            total: if is_order { Some(row.get(8)?) } else { None },
            state: row.get(4)?,
            was_held: row.get(9)?,
        }),
        1 => Part::Event(EventRow {
            seq: row.get(2)?,
            kind: row.get(4)?,
            sku: row.get(3)?,
            by: moves(row, 5)?,
        }),
        2 => Part::Key,
        _ => Part::Taken { number: row.get(5)?, sku: row.get(3)?, quantity: row.get(6)? },
    })
}
