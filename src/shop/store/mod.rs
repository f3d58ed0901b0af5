//! The database: how it is opened and checked, its rows, and the statements on them.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what was committed is on the disk. One [`Store`] writes, in the
//! writer's thread; any number of read-only connections ([`read_only`]) look on, without ever waiting for it or
//! making it wait. Nothing is decided here.
//!
//! `open.rs` opens and checks, with `schema.rs` for its versions and `log.rs` for its write-ahead log; `rows.rs` asks and
//! `write.rs` changes; `trouble.rs` says why not. `proof.rs` reads it whole for the audit. `recover.rs` makes a sound one
//! of a damaged one, out of what `salvage.rs` can read and `rebuild.rs` finds in the log.

mod log;
mod open;
mod proof;
mod rebuild;
mod recover;
pub(super) mod rows;
mod salvage;
mod schema;
mod trouble;
mod write;

pub use open::{LOCK, NAME, look_only, read_only};
pub use proof::audit;
pub use recover::{Recovery, recover};
pub use rows::{Answered, Reply, Totals};
pub use trouble::{Trouble, TroubleKind};

pub(super) use open::{Before, Store};
pub(super) use write::Writing;

#[cfg(test)]
mod tests;
