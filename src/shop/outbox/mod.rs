//! Orders on their way to the cloud commerce system.
//!
//! ```text
//!   store ──items──> core (what, when) ──> wire (documents) ──> client (HTTPS) ──> cloud
//!     ^                                                                              │
//!     └──────── results, updates, leases, and where we stand: one transaction <──────┘
//! ```
//!
//! At least once, in each order's own order, for ever: an item is settled when the cloud's answer to it is on disk. What
//! makes it once is the cloud's books, which are kept by the item's key.
//!
//! It never holds the shop up: orders are accepted whether the cloud is there or not.

pub mod client;
pub mod core;
pub mod sign;
pub mod wire;
