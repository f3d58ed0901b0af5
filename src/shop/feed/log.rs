//! The log as pages hear it: for one that comes back, or was late.

use rusqlite::Connection;

use crate::shop::event::Kind;
use crate::shop::store::rows;

use super::{event_json, is_told_alone, public_order, write_event};

/// Events after `after` up to `upto`, of so many rows at most, and the place in the log that they reach. Orders are told
/// as they are now, which may be further than they were then; `is_full`: whole.
pub(in crate::shop) fn render(
    from: &Connection,
    after: i64,
    upto: i64,
    rows_max: usize,
    is_full: bool,
) -> rusqlite::Result<(String, i64)> {
    let (mut told, mut reached) = (String::new(), after);
    for event in rows::events_after(from, after, rows_max)? {
        if event.seq > upto {
            break;
        }
        reached = event.seq;
        let name = event.kind.as_str();
        if is_told_alone(event.kind) {
            write_event(&mut told, name, Some(event.seq), &event_json(&event));
        } else if is_of_an_order(event.kind)
            && let Some(id) = &event.of
            && let Some(order) = rows::order_by_id(from, id)?
        {
            let data = if is_full { order.to_full_json() } else { public_order(&order) };
            write_event(&mut told, "order", Some(event.seq), &data);
        }
    }
    Ok((told, reached))
}

fn is_of_an_order(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Order | Kind::Synced | Kind::Confirmed | Kind::Paid | Kind::Rejected | Kind::Cancelled
    )
}
