//! What SQLite itself does: the same rows into the same tables, in groups of a given size, and nothing asked or
//! decided.

use std::path::Path;
use std::time::Duration;

use footlight::base::clock;
use footlight::shop::ids::new_id;
use nix::time::{ClockId, clock_gettime};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::disk;
use crate::names::{self, HOT, STOCK};

const SCHEMA: &str = include_str!("../../src/shop/store/schema.sql");

/// The log is carried over at this length, as the store does it in a rush.
const LOG_PAGES: i64 = (32 << 20) / 4_096;

struct Row {
    key: String,
    fingerprint: [u8; 16],
    id: String,
    buyer: String,
    contact: String,
}

/// Writes so many orders in groups of this size; says how long it took, and how much processor time.
pub fn run(orders: usize, group: usize) -> (Duration, Duration) {
    let folder = disk::folder();
    let mut connection = open(folder.path());
    let rows: Vec<Row> = (0..orders as u64)
        .map(|number| Row {
            key: names::key(number),
            fingerprint: [number as u8; 16],
            id: new_id().unwrap(),
            buyer: names::buyer(number),
            contact: names::contact(number),
        })
        .collect();
    let (began, cpu) = (clock::now(), cpu());
    let mut number = 0;
    for rows in rows.chunks(group) {
        write(&mut connection, rows, &mut number);
        if log_pages(&connection) >= LOG_PAGES {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }
    }
    (began.elapsed(), self::cpu().saturating_sub(cpu))
}

/// Processor time that this thread has used.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// A database as the store settles it, with the hot product in it.
fn open(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("raw.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.pragma_update(None, "journal_size_limit", 512 << 10).unwrap();
    connection.pragma_update(None, "cache_size", -(16 << 10)).unwrap();
    connection.pragma_update(None, "temp_store", "MEMORY").unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    let words = "INSERT INTO product (sku, title, description, amount, currency, on_sale, position, version, \
        available, held, sold, changed_at) VALUES (?1, 'Cup', '', 1999, 'CNY', 1, 0, 1, ?2, 0, 0, 0)";
    connection.execute(words, params![HOT, STOCK]).unwrap();
    connection
}

/// One transaction.
fn write(connection: &mut Connection, rows: &[Row], number: &mut i64) {
    let at = clock::unix_millis() as i64;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    {
        let mut order = change
            .prepare_cached(
                "INSERT INTO orders VALUES (?1, ?2, ?3, 1, ?4, ?5, 1999, 1999, 'CNY', 'accepted', NULL, NULL, \
                 NULL, ?6, ?6)",
            )
            .unwrap();
        let mut answer =
            change.prepare_cached("INSERT INTO answer VALUES (?1, ?2, 'order', ?3, NULL, ?4)").unwrap();
        let mut event = change
            .prepare_cached("INSERT INTO event VALUES (?1, ?2, 'order', ?3, ?4, -1, 0, 1, NULL)")
            .unwrap();
        for row in rows {
            *number += 1;
            order.execute(params![*number, row.id, HOT, row.buyer, row.contact, at]).unwrap();
            answer.execute(params![row.key, row.fingerprint, row.id, at]).unwrap();
            event.execute(params![*number, at, HOT, row.id]).unwrap();
        }
        let mut stock = change
            .prepare_cached(
                "UPDATE product SET available = available - ?2, sold = sold + ?2 WHERE sku = ?1 AND available >= ?2",
            )
            .unwrap();
        assert_eq!(stock.execute(params![HOT, rows.len() as i64]).unwrap(), 1);
    }
    change.commit().unwrap();
}

/// Pages in the log that are not carried over yet.
fn log_pages(connection: &Connection) -> i64 {
    let ask = "PRAGMA wal_checkpoint(NOOP)";
    let mut asked = connection.prepare_cached(ask).unwrap();
    asked.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)).unwrap()
}
