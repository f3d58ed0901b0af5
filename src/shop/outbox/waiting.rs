//! What of the store the outbox reads, and what it writes there.
//!
//! The log itself is the queue: orders and cancellations in it, behind a cursor that stands among the settings. What is
//! set aside stands beside the cursor, so that it may move on.

use std::fmt::Write;

use rusqlite::{Connection, params};
use serde_json::Value;
use tracing::error;

use crate::shop::order::{Order, OrderState};
use crate::shop::product::Sku;
use crate::shop::store::rows;
use crate::shop::{Grant, News, OrderError, Orders};

use super::core::{ASIDE_MAX, Aside, Keep, Restored, Waiting};
use super::wire::{self, Answer, Item, Verdict, What};

/// Everything in the log up to here is settled or set aside.
const CURSOR: &str = "outbox_cursor";

/// What is set aside, as `SEQ:TRIES:ANSWERS` with commas between.
const ASIDE: &str = "outbox_aside";

/// The newest request whose answer is on the disk.
const LAST_NEWS: &str = "outbox_last_news";

/// `1` while nobody wants anything sent.
const PAUSED: &str = "outbox_paused";

/// Newest orders that are looked through for some that wait for news.
const OPEN_AMONG: i64 = 1_000;

/// Beyond, waiting items are not counted any more.
const COUNTED_MAX: i64 = 1_000_000;

/// Bytes of an item beside its order's texts.
const ITEM_BYTES: usize = 500;

/// What one look into the store found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) items: Vec<Waiting>,
    /// Everything up to here was looked at.
    pub(super) to: i64,
}

/// Where the outbox stood when the box stopped, and the newest request whose answer is on the disk.
pub(super) async fn restore(orders: &Orders) -> Result<(Restored, Option<String>), OrderError> {
    orders
        .look(|from| {
            let newest = rows::last_seq(from)?;
            let cursor = rows::setting(from, CURSOR)?.and_then(|text| text.parse().ok()).unwrap_or(0);
            let cursor = within_log(cursor, newest);
            let kept = rows::setting(from, ASIDE)?.unwrap_or_default();
            let mut aside = Vec::new();
            for Aside { seq, tries, answers } in read_aside(&kept) {
                // What lies behind the cursor is read anyway.
                if let Some((_, order, at_ms)) = entry(from, seq)?.filter(|_| seq <= cursor) {
                    aside.push(Waiting { tries, answers, ..waiting(seq, &order, at_ms) });
                }
            }
            let paused = rows::setting(from, PAUSED)?.as_deref() == Some("1");
            let restored = Restored { cursor, newest, aside, paused, open: is_open(from)? };
            Ok((restored, rows::setting(from, LAST_NEWS)?))
        })
        .await
}

/// A cursor beyond the log's end belongs to another log: from which entry on this one was told is not known, and what
/// the cloud has already does no harm.
fn within_log(cursor: i64, newest: i64) -> i64 {
    if cursor <= newest {
        return cursor;
    }
    error!(
        cursor,
        newest,
        "where the outbox stands lies beyond the log's end: all orders in the store are told to the cloud again"
    );
    0
}

/// Items behind this entry of the log.
pub(super) async fn read(orders: &Orders, after: i64, limit: usize) -> Result<Found, OrderError> {
    orders.look(move |from| {
        let newest = rows::last_seq(from)?;
        let words = "SELECT seq, of, at FROM event WHERE seq > ?1 AND seq <= ?2 AND kind IN ('order', 'cancelled') \
            ORDER BY seq LIMIT ?3";
        let mut asked = from.prepare_cached(words)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?, row.get(2)?));
        let found = asked.query_map(params![after, newest, limit as i64], row)?;
        let found: Vec<(i64, Option<String>, i64)> = found.collect::<rusqlite::Result<_>>()?;
        let to = if found.len() == limit { found.last().map_or(newest, |last| last.0) } else { newest };
        let mut items = Vec::with_capacity(found.len());
        for (seq, id, at_ms) in found {
            if let Some(order) = rows::order_by_id(from, id.as_deref().unwrap_or_default())? {
                items.push(waiting(seq, &order, at_ms));
            }
        }
        Ok(Found { items, to })
    })
    .await
}

/// These items as they are told now.
pub(super) async fn items(orders: &Orders, seqs: Vec<i64>) -> Result<Vec<Item>, OrderError> {
    orders
        .look(move |from| {
            let mut items = Vec::with_capacity(seqs.len());
            for seq in seqs {
                if let Some((what, order, _)) = entry(from, seq)? {
                    items.push(Item { seq, id: order.id.clone(), what, order: told(&order) });
                }
            }
            Ok(items)
        })
        .await
}

/// Whether some of the newest orders wait for news from the cloud.
pub(super) async fn open(orders: &Orders) -> Result<bool, OrderError> {
    orders.look(is_open).await
}

/// How many items stand behind this entry of the log.
pub(super) async fn count(orders: &Orders, after: i64) -> Result<u64, OrderError> {
    orders.look(move |from| {
        let words = "SELECT count(*) FROM (SELECT 1 FROM event WHERE seq > ?1 AND kind IN ('order', 'cancelled') LIMIT ?2)";
        let count: i64 = from.prepare_cached(words)?.query_row([after, COUNTED_MAX], |row| row.get(0))?;
        Ok(count as u64)
    })
    .await
}

/// What an answer changes, to be written in one transaction.
pub(super) fn news(answer: &Answer) -> News {
    let said = |said: &wire::Said, id: &str| {
        let state = match said.verdict {
            Verdict::Synced => OrderState::Synced,
            Verdict::Confirmed => OrderState::Confirmed,
            Verdict::Rejected => OrderState::Rejected,
            Verdict::Paid => OrderState::Paid,
            Verdict::Retry => return None,
        };
        Some((id.to_owned(), state, said.reason.clone()))
    };
    let results = answer.results.iter().filter_map(|result| {
        // What is said of a cancellation says nothing of the order, which is cancelled.
        said(result, result.of.strip_suffix(":accepted")?)
    });
    let updates = answer.updates.iter().filter_map(|update| said(update, &update.of));
    let grant = |grant: &wire::Grant| {
        let wire::Grant { sku, id, units, until_ms } = grant;
        Some((Sku::parse(sku)?, Grant { id: id.clone(), units: *units, until_ms: *until_ms }))
    };
    News {
        orders: results.chain(updates).collect(),
        leases: answer.leases.iter().filter_map(grant).collect(),
        settings: Vec::new(),
    }
}

/// Where the outbox stands, and the newest request whose answer is on the disk with it, as settings.
pub(super) fn settings(keep: &Keep, aside: &[Aside], last_news: Option<&str>) -> Vec<(&'static str, String)> {
    let mut settings = vec![(CURSOR, keep.cursor.to_string()), (ASIDE, write_aside(aside))];
    settings.extend(last_news.map(|id| (LAST_NEWS, id.to_owned())));
    settings
}

/// Whether it is paused, as a setting.
pub(super) fn pausing(paused: bool) -> News {
    News { settings: vec![(PAUSED, u8::from(paused).to_string())], ..News::default() }
}

fn entry(from: &Connection, seq: i64) -> rusqlite::Result<Option<(What, Order, i64)>> {
    let Some(event) = rows::events_after(from, seq - 1, 1)?.pop().filter(|event| event.seq == seq) else {
        return Ok(None);
    };
    let what = match event.kind {
        crate::shop::event::Kind::Order => What::Accepted,
        crate::shop::event::Kind::Cancelled => What::Cancelled,
        _ => return Ok(None),
    };
    let order = rows::order_by_id(from, event.of.as_deref().unwrap_or_default())?;
    Ok(order.map(|order| (what, order, event.at_ms)))
}

fn waiting(seq: i64, order: &Order, at_ms: i64) -> Waiting {
    // A text's characters may need six bytes each in JSON; most need one.
    let bytes = ITEM_BYTES + 2 * (order.buyer.len() + order.contact.len());
    Waiting { seq, order: order.id.clone(), at_ms, bytes, tries: 0, answers: 0 }
}

/// An order as the cloud gets it: nothing in it that changes by itself from one try to the next.
fn told(order: &Order) -> Value {
    let mut told = order.to_full_json();
    if let Some(fields) = told.as_object_mut() {
        fields.remove("changed_at");
    }
    told
}

fn is_open(from: &Connection) -> rusqlite::Result<bool> {
    let words = "SELECT EXISTS (SELECT 1 FROM (SELECT state FROM orders ORDER BY number DESC LIMIT ?1) \
        WHERE state IN ('accepted', 'synced', 'confirmed'))";
    from.prepare_cached(words)?.query_row([OPEN_AMONG], |row| row.get(0))
}

fn write_aside(aside: &[Aside]) -> String {
    let mut text = String::new();
    for Aside { seq, tries, answers } in aside {
        let comma = if text.is_empty() { "" } else { "," };
        // A String takes what is written.
        let _ = write!(text, "{comma}{seq}:{tries}:{answers}");
    }
    text
}

fn read_aside(text: &str) -> Vec<Aside> {
    let entry = |entry: &str| {
        let mut parts = entry.split(':');
        let (seq, tries) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        // Not written by the first versions.
        let answers = parts.next().and_then(|part| part.parse().ok()).unwrap_or(tries);
        Some(Aside { seq, tries, answers })
    };
    text.split(',').filter_map(entry).take(ASIDE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_found_again() {
        let aside = vec![Aside { seq: 7, tries: 0, answers: 3 }, Aside { seq: 12_345, tries: 5, answers: 9 }];
        assert_eq!(write_aside(&aside), "7:0:3,12345:5:9");
        assert_eq!(read_aside(&write_aside(&aside)), aside);
        assert_eq!(read_aside(""), []);
        assert_eq!(read_aside("x:1,3:,4:1"), [Aside { seq: 4, tries: 1, answers: 1 }]);
    }

    #[test]
    fn a_cursor_that_belongs_to_another_log_leaves_no_order_out() {
        assert_eq!([within_log(0, 0), within_log(7, 7), within_log(3, 7)], [0, 7, 3]);
        assert_eq!(within_log(8, 7), 0, "all of it is told again");
    }

    #[test]
    fn what_the_cloud_says_becomes_news_for_the_store() {
        let answer = Answer::read(
            br#"{"results":[{"key":"a:accepted","state":"confirmed"},{"key":"b:cancelled","state":"rejected"},
                            {"key":"c:accepted","state":"retry"},{"key":"odd","state":"paid"}],
                 "updates":[{"id":"d","state":"rejected","reason":"late"}],
                 "leases":[{"sku":"CUP","id":"show","units":5},{"sku":"no sku!","id":"show","units":5}]}"#,
        );
        let news = news(&answer.expect("as agreed"));
        let want = [
            ("a".to_owned(), OrderState::Confirmed, None),
            ("d".to_owned(), OrderState::Rejected, Some("late".to_owned())),
        ];
        assert_eq!(news.orders, want);
        assert_eq!(news.leases.len(), 1);
    }
}
