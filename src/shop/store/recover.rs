//! Makes a sound database of a damaged one.
//!
//! ```text
//!   footlight.db ──copy of its pages, log laid over──> .reading ──row by row──> .recovering ──audit──> .recovered
//!   then   footlight.db, -wal, -shm ──renamed──> .damaged-...      .recovered ──renamed──> footlight.db
//! ```
//! The damaged files are read, and in the end renamed; nothing of them is ever deleted. A crash before `.recovered`
//! stands leaves everything as it was, but for drafts that the next try begins anew. After that the box refuses to
//! open the store until the next try has done the renaming.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use crate::shop::audit::Report;

use super::open::{self, NAME, RECOVERED, beside};
use super::proof;
use super::rebuild;
use super::salvage::{self, Copied, Loss, TABLES};
use super::schema;
use super::trouble::{Trouble, TroubleKind};

/// What became of the store.
#[derive(Debug)]
pub enum Recovery {
    /// It was sound: nothing was done.
    Sound,
    /// An earlier try was finished.
    Finished {
        /// Where the damaged file is now.
        damaged: PathBuf,
    },
    /// It was made anew.
    Made {
        /// Where the damaged file is now.
        damaged: PathBuf,
        /// What was saved, what was lost, and what a person must look at, in lines.
        told: Vec<String>,
        /// The audit of what was made.
        report: Report,
    },
}

/// Recovers the store in `folder`; `stamp` tells this try's files from others (`20261121T160000Z`).
///
/// # Errors
/// Why not; everything is as it was then.
pub fn recover(folder: &Path, stamp: &str) -> Result<Recovery, Trouble> {
    let path = folder.join(NAME);
    let lock = open::lock(folder)?;
    let failing = |cause: io::Error| open::refused(&path, &cause);
    if folder.join(RECOVERED).exists() {
        let damaged = put_into_place(folder, stamp).map_err(failing)?;
        drop(lock);
        return Ok(Recovery::Finished { damaged });
    }
    match open::is_sound(&path) {
        Ok(()) => return Ok(Recovery::Sound),
        Err(trouble) if trouble.kind == TroubleKind::Corrupt => {}
        Err(trouble) => return Err(trouble),
    }
    let reading = folder.join(format!("{NAME}.reading"));
    let draft = folder.join(format!("{NAME}.recovering"));
    let made = make(&path, &reading, &draft);
    // Our own drafts; what was damaged is still where it was.
    for name in [&reading, &beside(&reading, "-journal")] {
        let _ = fs::remove_file(name);
    }
    let mut told = made.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    let report = proof::audit_file(&draft)?;
    told.extend(report.violations.iter().map(|violation| format!("look at: {violation}")));
    fs::rename(&draft, folder.join(RECOVERED)).and_then(|()| open::sync_folder(folder)).map_err(failing)?;
    let damaged = put_into_place(folder, stamp).map_err(failing)?;
    drop(lock);
    Ok(Recovery::Made { damaged, told, report })
}

/// Renames the damaged files away and the recovered one into their place. May be done again after a crash.
fn put_into_place(folder: &Path, stamp: &str) -> io::Result<PathBuf> {
    let path = folder.join(NAME);
    let mut damaged = beside(&path, &format!(".damaged-{stamp}"));
    let mut count = 1;
    while ["", "-wal", "-shm"].iter().any(|suffix| beside(&damaged, suffix).exists()) {
        count += 1;
        damaged = beside(&path, &format!(".damaged-{stamp}-{count}"));
    }
    for suffix in ["", "-wal", "-shm"] {
        match fs::rename(beside(&path, suffix), beside(&damaged, suffix)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
    }
    open::sync_folder(folder)?;
    fs::rename(folder.join(RECOVERED), &path)?;
    open::sync_folder(folder)?;
    Ok(damaged)
}

/// Makes the new database at `draft`, on the disk whole, and says what it was made of.
fn make(path: &Path, reading: &Path, draft: &Path) -> Result<Vec<String>, Trouble> {
    let failing = |cause: io::Error| open::refused(draft, &cause);
    let of = |error: rusqlite::Error| Trouble::of(draft, &error);
    for stale in [draft, &*beside(draft, "-journal")] {
        match fs::remove_file(stale) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failing(cause)),
            _ => {}
        }
    }
    open::make(draft)?;
    let mut to = Connection::open(draft).map_err(of)?;
    to.pragma_update(None, "foreign_keys", false).map_err(of)?;
    schema::migrate(&mut to, 0).map_err(of)?;
    open::make(reading)?;
    let mut loss = salvage::copy(path, reading).map_err(failing)?;
    let mut from = look(reading).map_err(of)?;
    if !has_tables(&from) {
        drop(from);
        let mut asked = to.prepare("SELECT rootpage FROM sqlite_schema").map_err(of)?;
        let roots = asked.query_map([], |row| row.get::<_, i64>(0)).map_err(of)?;
        let roots: Vec<u64> = roots.flatten().map(i64::unsigned_abs).collect();
        drop(asked);
        salvage::lend_schema(reading, draft, &roots).map_err(failing)?;
        loss.schema = true;
        from = look(reading).map_err(of)?;
    }
    // No row takes less than four bytes, and numbers count up without gaps.
    let keys_max = fs::metadata(reading).map_or(0, |file| file.len() / 4) as i64;
    let change = to.transaction().map_err(of)?;
    let mut copied = Vec::new();
    for table in &TABLES {
        copied.push(salvage::rows(&from, &change, table, keys_max).map_err(of)?);
    }
    let mended = mend(&change).map_err(of)?;
    change.commit().map_err(of)?;
    drop(to);
    File::open(draft).and_then(|file| file.sync_all()).map_err(failing)?;
    Ok(tell(loss, &copied, mended))
}

fn look(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Damage inside of a page is found before it is believed.
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn has_tables(from: &Connection) -> bool {
    TABLES.iter().all(|table| from.prepare(&format!("SELECT 1 FROM {}", table.name)).is_ok())
}

fn tell(loss: Loss, copied: &[Copied], mended: Vec<String>) -> Vec<String> {
    let mut told: Vec<String> =
        copied.iter().map(|copied| format!("saved: {} rows of {}", copied.saved, copied.table)).collect();
    if loss.pages > 0 {
        told.push(format!("lost: {} pages that the disk does not give back", loss.pages));
    }
    if loss.frames > 0 {
        told.push(format!("lost: {} damaged frames of the write-ahead log", loss.frames));
    }
    if loss.schema {
        told.push("lost: the pages by which the tables are found, which were made anew".to_owned());
    }
    for Copied { table, refused, holes, .. } in copied {
        for (after, before) in holes.iter().take(20) {
            told.push(format!("lost: rows of {table} after {after} and up to {before}"));
        }
        if holes.len() > 20 {
            told.push(format!("lost: rows of {table} in {} more places", holes.len() - 20));
        }
        if *refused > 0 {
            told.push(format!("lost: {refused} rows of {table} that hold nothing of sense"));
        }
    }
    told.extend(mended);
    told
}

/// Products that are lost, by their SKUs, and why they matter: something refers to them.
const LOST_PRODUCTS: &str = "SELECT sku FROM (SELECT sku FROM orders UNION SELECT sku FROM reservation \
    UNION SELECT sku FROM event WHERE sku IS NOT NULL) WHERE sku NOT IN (SELECT sku FROM product) ORDER BY sku";

/// What the log last said of a product.
const LAST_SAID: &str = "SELECT json_extract(data, '$.title'), json_extract(data, '$.price.amount'), \
    json_extract(data, '$.price.currency'), json_extract(data, '$.version') FROM event \
    WHERE kind = 'product' AND sku = ?1 AND json_valid(data) AND json_extract(data, '$.title') IS NOT NULL \
    ORDER BY seq DESC LIMIT 1";

/// A currency that something was sold in, where the log says nothing.
const ANY_CURRENCY: &str = "SELECT currency FROM (SELECT currency, sku <> ?1 AS other FROM orders \
    UNION ALL SELECT currency, 1 FROM product) ORDER BY other LIMIT 1";

/// A reservation that an order was made of is known from the order.
const LOST_RESERVATIONS: &str = "INSERT INTO reservation (id, sku, quantity, buyer, unit_amount, currency, state, \
    lease, at, expires_at) SELECT reservation, sku, quantity, buyer, unit_amount, currency, 'ordered', lease, at, at \
    FROM orders WHERE reservation IS NOT NULL AND reservation NOT IN (SELECT id FROM reservation) GROUP BY reservation";

/// For each SKU: its counts, those by the log, and what reservations and orders hold.
const COUNTS: &str = "SELECT p.sku, p.available, p.held, p.sold, \
    coalesce(e.available, 0), coalesce(e.held, 0), coalesce(e.sold, 0), \
    coalesce((SELECT sum(quantity) FROM reservation r WHERE r.sku = p.sku AND r.state = 'held'), 0), \
    coalesce((SELECT sum(quantity) FROM orders o WHERE o.sku = p.sku \
        AND o.state NOT IN ('rejected', 'cancelled')), 0) \
    FROM product p LEFT JOIN (SELECT sku, sum(available) AS available, sum(held) AS held, sum(sold) AS sold \
        FROM event GROUP BY sku) e ON e.sku = p.sku ORDER BY p.sku";

/// Puts right what follows from what was saved, and tells of it.
fn mend(to: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut told = Vec::new();
    let lost: Vec<String> =
        to.prepare(LOST_PRODUCTS)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for sku in &lost {
        make_product(to, sku)?;
        told.push(format!(
            "look at: product {sku} was lost and made anew from the log; it is not on sale until somebody puts it \
             right"
        ));
    }
    told.extend(rebuild::orders(to)?);
    let made = to.execute(LOST_RESERVATIONS, [])?;
    if made > 0 {
        told.push(format!("made anew: {made} reservations, from the orders that were made of them"));
    }
    to.execute("DELETE FROM image WHERE sku NOT IN (SELECT sku FROM product)", [])?;
    let pictures = to.execute(
        "UPDATE product SET image = NULL WHERE image IS NOT NULL AND sku NOT IN (SELECT sku FROM image)",
        [],
    )?;
    if pictures > 0 {
        told.push(format!("look at: {pictures} products lost their pictures"));
    }
    let (events, first, last): (i64, i64, i64) = to.query_row(
        "SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM event",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let log_is_whole = first == 1 && last == events;
    let mut asked = to.prepare(COUNTS)?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        let sku: String = row.get(0)?;
        let now: [i64; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
        let logged: [i64; 3] = [row.get(4)?, row.get(5)?, row.get(6)?];
        let (held, sold): (i64, i64) = (row.get(7)?, row.get(8)?);
        let is_proven = log_is_whole && logged[1] == held && logged[2] == sold && logged[0] >= 0;
        let (is_lost, available) = (lost.contains(&sku), logged[0].max(0));
        let right = match (is_proven, is_lost) {
            (true, _) => logged,
            (false, true) => [available, held, sold],
            // Too little to sell is put right by a person; too much is sold twice.
            (false, false) => [now[0], held, sold],
        };
        if right != now {
            to.execute(
                "UPDATE product SET available = ?2, held = ?3, sold = ?4 WHERE sku = ?1",
                params![sku, right[0], right[1], right[2]],
            )?;
            let [was, is] = [now, right].map(|counts| format!("{}, {}, {}", counts[0], counts[1], counts[2]));
            told.push(format!("counted anew: {sku} had {was} units (available, held, sold) and has {is}"));
        }
        if !is_proven {
            told.push(format!(
                "look at: the log does not prove how many units of {sku} are available: count them"
            ));
        }
    }
    Ok(told)
}

fn make_product(to: &Connection, sku: &str) -> rusqlite::Result<()> {
    let said = to.query_row(LAST_SAID, [sku], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
    });
    let (title, amount, currency, version) = said.unwrap_or_else(|_| {
        let currency = to.query_row(ANY_CURRENCY, [sku], |row| row.get(0));
        (sku.to_owned(), 0, currency.unwrap_or_else(|_| "EUR".to_owned()), 1)
    });
    to.execute(
        "INSERT INTO product (sku, title, description, amount, currency, on_sale, position, version, available, held, \
            sold, changed_at, removed) VALUES (?1, ?2, '', ?3, ?4, 0, 0, ?5, 0, 0, 0, \
            (SELECT coalesce(max(at), 0) FROM event), \
            coalesce((SELECT kind = 'removed' FROM event WHERE sku = ?1 AND kind IN ('product', 'removed') \
                ORDER BY seq DESC LIMIT 1), 0))",
        params![sku, title, amount, currency, version + 1],
    )?;
    Ok(())
}
