//! The versions of the database, and how one becomes the next.

use rusqlite::Connection;

/// Marks a file as ours: `FLOT`.
pub(super) const APPLICATION_ID: i32 = 0x464c_4f54;

/// Each step makes the next version of the one before; the first makes version 1 of nothing. A step that was
/// released is never changed.
const STEPS: &[&str] = &[include_str!("schema.sql")];

/// The version that this program works with.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Brings a database of version `from` to [`VERSION`], whole or not at all.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let steps = STEPS.iter().skip(usize::try_from(from).unwrap_or(usize::MAX));
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in steps {
        change.execute_batch(step)?;
    }
    change.pragma_update(None, "application_id", APPLICATION_ID)?;
    change.pragma_update(None, "user_version", VERSION)?;
    change.commit()
}
