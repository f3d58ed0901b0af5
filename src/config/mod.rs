//! The configuration: what `footlight.toml` and the environment mean.
//!
//! ```text
//!  file ──document──> tree of keys ──environment lays variables over──> read ──> Config ──> the rooms
//!                         └─────────────── problems, each with its place ──────────┴──> report
//!  old Config, new Config ──diff──> what changes live, and what must restart
//! ```
//!
//! Everything wrong is told at once, with file, line, column, key and what to do ([`Problems`]); a wrong
//! configuration yields no [`Config`] at all. Keys are listed once (`keys`), what the contract names and
//! this version lacks stands in one place (`later`), and messages never show a key or a password.
//!
//! This room reads files and is handed the environment; it never writes, never asks the network whether a
//! host is there, and never asks a camera what it can do.

mod destination;
mod diff;
mod document;
mod environment;
mod https_url;
mod keys;
mod later;
mod load;
mod orders;
mod outputs;
mod problems;
mod push_url;
mod read;
mod report;
pub mod schema;
mod secrets;
mod section;
#[cfg(test)]
mod tests;
mod values;

pub use diff::{Change, Effect, diff};
pub use https_url::HttpsUrlError;
pub use load::{Loaded, Source, load};
pub use problems::{Place, Problem, Problems};
pub use push_url::PushUrlError;
pub use report::{check_report, summary};
pub use schema::Config;
