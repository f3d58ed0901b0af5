//! Takes out of a damaged database what can still be read.
//!
//! The damaged files are never opened by SQLite, which would change them: a copy is made page by page, with the
//! write-ahead log laid over it, frame by frame past those that are damaged. Out of the copy rows are read until
//! SQLite stumbles, and again from the nearest place behind, found by bisecting.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::log::Frames;
use super::open::{MAGIC, beside};

/// Letters of a key that are told apart: the longest has as many.
const KEY_LETTERS: usize = 128;

/// What of the files could not be used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// Pages that the disk does not give back.
    pub(super) pages: u64,
    /// Frames of the log that are damaged.
    pub(super) frames: u64,
    /// Whether the pages by which the tables are found had to be taken from a new database.
    pub(super) schema: bool,
}

/// Copies the database at `path` to `to`, with its log laid over it.
pub(super) fn copy(path: &Path, to: &Path) -> io::Result<Loss> {
    let mut loss = Loss::default();
    let mut copy = File::options().create(true).truncate(true).read(true).write(true).open(to)?;
    let mut page_bytes = 4_096;
    if let Some(from) = there(path)? {
        let mut head = [0; 18];
        if from.read_exact_at(&mut head, 0).is_ok() && head.starts_with(MAGIC) {
            page_bytes = match usize::from(u16::from_be_bytes([head[16], head[17]])) {
                1 => 65_536,
                size if size.is_power_of_two() && size >= 512 => size,
                _ => 4_096,
            };
        }
        let length = from.metadata()?.len();
        let mut page = vec![0; page_bytes];
        let mut at = 0;
        while at < length {
            let wanted = page_bytes.min((length - at) as usize);
            if let Err(cause) = from.read_exact_at(&mut page[..wanted], at) {
                if cause.raw_os_error() != Some(libc::EIO) {
                    return Err(cause);
                }
                loss.pages += 1;
                page.fill(0);
            }
            copy.write_all(&page[..wanted])?;
            at += wanted as u64;
        }
    }
    let mut pages = copy.metadata()?.len().div_ceil(page_bytes as u64);
    if let Some(log) = there(&beside(path, "-wal"))? {
        pages = lay_over(log, &mut copy, page_bytes, &mut loss)?.unwrap_or(pages);
    }
    copy.set_len(pages * page_bytes as u64)?;
    settle_header(&copy, pages)?;
    Ok(loss)
}

fn there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Writes every transaction of the log into the copy, and says how many pages the last one left.
fn lay_over(log: impl Read, copy: &mut File, page_bytes: usize, loss: &mut Loss) -> io::Result<Option<u64>> {
    let Some(mut frames) = Frames::of(log)? else { return Ok(None) };
    let (mut waiting, mut wrong, mut pages) = (Vec::new(), u64::from(!frames.is_right), None);
    while let Some(frame) = frames.next()? {
        if !frame.is_right {
            wrong += 1;
            continue;
        }
        if frame.page > 0 && frame.content.len() == page_bytes {
            waiting.push((u64::from(frame.page - 1) * page_bytes as u64, frame.content));
        }
        if frame.ends_at > 0 {
            // What stands behind the last end was never answered.
            loss.frames += std::mem::take(&mut wrong);
            pages = Some(u64::from(frame.ends_at));
            for (at, content) in waiting.drain(..) {
                copy.seek(SeekFrom::Start(at))?;
                copy.write_all(&content)?;
            }
        }
    }
    Ok(pages)
}

/// Makes the copy one that is read without a log, and as long as it is.
fn settle_header(copy: &File, pages: u64) -> io::Result<()> {
    let mut counter = [0; 4];
    if copy.read_exact_at(&mut counter, 24).is_err() {
        return Ok(());
    }
    copy.write_all_at(&[1, 1], 18)?;
    copy.write_all_at(&u32::try_from(pages).unwrap_or(u32::MAX).to_be_bytes(), 28)?;
    copy.write_all_at(&counter, 92)
}

/// Gives the copy the pages of a new database by which its tables are found. A database whose tables were made by the
/// same steps has them in the same places; `roots` are the new one's pages that are of tables and indexes.
pub(super) fn lend_schema(copy: &Path, new: &Path, roots: &[u64]) -> io::Result<()> {
    let (to, from) = (File::options().read(true).write(true).open(copy)?, File::open(new)?);
    let mut page = [0; 4_096];
    let page_bytes = page.len() as u64;
    for number in (1..=from.metadata()?.len() / page_bytes).filter(|number| !roots.contains(number)) {
        from.read_exact_at(&mut page, (number - 1) * page_bytes)?;
        to.write_all_at(&page, (number - 1) * page_bytes)?;
    }
    settle_header(&to, to.metadata()?.len() / page_bytes)
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) table: &'static str,
    /// Rows that stand in the new database.
    pub(super) saved: u64,
    /// Rows whose content is none.
    pub(super) refused: u64,
    /// Places where rows could not be read: after which row, and before which.
    pub(super) holes: Vec<(String, String)>,
}

/// A table to be copied.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What its rows are found by: `rowid`, or the key of a table that has none.
    key: &'static str,
    columns: &'static str,
}

/// All of them. What others refer to comes first.
pub(super) const TABLES: [Table; 7] = [
    Table {
        name: "product",
        key: "rowid",
        columns: "sku, title, product, variant, description, amount, currency, buyer_limit, low_stock, on_sale, \
            position, version, available, held, sold, lease_id, lease_units, lease_used, lease_until, image, \
            changed_at, removed",
    },
    Table { name: "image", key: "rowid", columns: "sku, content_type, bytes" },
    Table {
        name: "reservation",
        key: "id",
        columns: "id, sku, quantity, buyer, unit_amount, currency, state, lease, at, expires_at",
    },
    Table {
        name: "orders",
        key: "rowid",
        columns: "number, id, sku, quantity, buyer, contact, unit_amount, total, currency, state, reason, \
            reservation, lease, at, changed_at",
    },
    Table { name: "answer", key: "key", columns: "key, fingerprint, kind, of, detail, at" },
    Table { name: "event", key: "rowid", columns: "seq, at, kind, sku, of, available, held, sold, data" },
    Table { name: "setting", key: "name", columns: "name, value" },
];

/// Copies a table's rows, in one transaction of `to`.
pub(super) fn rows(
    from: &Connection,
    to: &Connection,
    table: &Table,
    keys_max: i64,
) -> rusqlite::Result<Copied> {
    let Table { name, key, columns } = table;
    let mut copied = Copied { table: name, saved: 0, refused: 0, holes: Vec::new() };
    let marks = vec!["?"; columns.split(',').count()].join(", ");
    let mut put = to.prepare(&format!("INSERT OR ABORT INTO {name} ({columns}) VALUES ({marks})"))?;
    let mut keep = |row: &Row<'_>| {
        let cells: rusqlite::Result<Vec<Value>> =
            (1..row.as_ref().column_count()).map(|column| row.get(column)).collect();
        match cells.and_then(|cells| put.execute(params_from_iter(cells))) {
            Ok(_) => copied.saved += 1,
            // What is there already came from before the hole.
            Err(_) => copied.refused += 1,
        }
    };
    let ascending = format!("SELECT {key}, {columns} FROM {name} NOT INDEXED WHERE {key} > ? ORDER BY {key}");
    let mut last = if *key == "rowid" { Value::Integer(i64::MIN) } else { Value::Text(String::new()) };
    loop {
        let stumbled = read(from, &ascending, &mut last, &mut keep);
        if stumbled.is_ok() {
            break;
        }
        // The nearest place from which it goes on.
        let Some(next) = behind(from, &ascending, &last, keys_max) else {
            copied.holes.push((shown(&last), "the end".to_owned()));
            break;
        };
        copied.holes.push((shown(&last), shown(&next)));
        last = next;
    }
    Ok(copied)
}

/// Reads on from `last`, which then is the last row that was read.
fn read(
    from: &Connection,
    question: &str,
    last: &mut Value,
    keep: &mut impl FnMut(&Row<'_>),
) -> rusqlite::Result<()> {
    let mut asked = from.prepare_cached(question)?;
    let mut rows = asked.query([&*last])?;
    while let Some(row) = rows.next()? {
        *last = row.get(0)?;
        keep(row);
    }
    Ok(())
}

/// Whether something can be read from there: a row, or that there is none.
fn goes_on(from: &Connection, question: &str, after: &Value) -> bool {
    let Ok(mut asked) = from.prepare_cached(question) else { return false };
    let Ok(mut rows) = asked.query([after]) else { return false };
    rows.next().is_ok()
}

/// The key behind `last` that is nearest to it and from which reading goes on.
fn behind(from: &Connection, question: &str, last: &Value, keys_max: i64) -> Option<Value> {
    match last {
        Value::Text(last) => {
            // The nearest keys first: those that differ in their last letter only.
            let bytes = last.as_bytes();
            let later = (0..bytes.len()).rev().filter(|length| bytes[*length] < 0x7f).flat_map(|length| {
                let step = move |letter: u8| {
                    let mut key = bytes[..length].to_vec();
                    key.push(letter);
                    String::from_utf8(key).ok().map(Value::Text)
                };
                (bytes[length] + 1..=0x7f).filter_map(step)
            });
            let first = bytes.is_empty().then_some(0x20..=0x7fu8).into_iter().flatten();
            let first = first.map(|letter| Value::Text(char::from(letter).to_string()));
            let mut wrong = last.clone();
            for key in later.chain(first) {
                let Value::Text(text) = &key else { continue };
                if goes_on(from, question, &key) {
                    return Some(Value::Text(nearest(from, question, wrong, text.clone())));
                }
                wrong.clone_from(text);
            }
            None
        }
        last => {
            let last = match last {
                Value::Integer(last) => (*last).max(0),
                _ => 0,
            };
            let (mut wrong, mut step) = (last, 1);
            let mut right = loop {
                let tried = wrong.saturating_add(step);
                if tried > keys_max {
                    return None;
                }
                if goes_on(from, question, &Value::Integer(tried)) {
                    break tried;
                }
                // Fine steps near by, so that little is stepped over.
                (wrong, step) = (tried, (tried - last) / 64 + 1);
            };
            while right - wrong > 1 {
                let middle = wrong + (right - wrong) / 2;
                if goes_on(from, question, &Value::Integer(middle)) { right = middle } else { wrong = middle }
            }
            Some(Value::Integer(right))
        }
    }
}

/// The least text from which reading goes on, between one from which it does not and one from which it does.
fn nearest(from: &Connection, question: &str, mut wrong: String, mut right: String) -> String {
    for _ in 0..KEY_LETTERS {
        if right.starts_with(&wrong) {
            break;
        }
        let with = |letter: u8| format!("{wrong}{}", char::from(letter));
        let (mut low, mut high) = (0x1f, 0x7f);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if goes_on(from, question, &Value::Text(with(middle))) { high = middle } else { low = middle }
        }
        if high < 0x7f {
            right = with(high);
        }
        if low < 0x20 {
            break;
        }
        wrong = with(low);
    }
    right
}

fn shown(key: &Value) -> String {
    match key {
        Value::Integer(i64::MIN) => "the beginning".to_owned(),
        Value::Integer(key) => key.to_string(),
        Value::Text(key) if key.is_empty() => "the beginning".to_owned(),
        Value::Text(key) => key.chars().take(32).map(|c| if c.is_control() { '?' } else { c }).collect(),
        _ => "?".to_owned(),
    }
}
