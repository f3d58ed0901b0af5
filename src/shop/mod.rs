//! The order cache: takes orders at the spike, loses none, sells no unit twice.
//!
//! ```text
//!   buyers ──Wish, Key──> Orders ──bounded queue──> writer ──one transaction for all that wait──> SQLite
//!                            ^                        │ desk asks rules               │
//!                            └──────answers───────────┴──once it is on the disk───────┘
//!                                                     ├──> board (stock of now), counters ──> API, metrics
//!                                                     └──> feed ──> pages
//!   lookers ──> readers (read-only connections, never wait for the writer)
//! ```
//!
//! [`Orders`] is the handle. `product.rs`, `order.rs`, `money.rs`, `event.rs` are the vocabulary, `fields.rs` reads it
//! from JSON and names what is wrong; [`rules`] decides (pure); `desk.rs` carries out what it says inside a
//! transaction; `writer.rs` groups, commits and answers; [`store`] is SQLite. `shared.rs` is what everybody may see.
//! [`outbox`] sends orders to the shop's cloud; [`transfer`] is the catalogue as CSV and JSON; [`audit`] proves the log
//! and [`export`] writes orders, for the command line.
//!
//! Everything that happens stands in the log, written in the same transaction: what pages follow and audits replay.
//! This room knows no HTTP and no streams; they go on whatever becomes of the disk.

pub mod audit;
pub mod counters;
mod desk;
pub mod event;
pub mod export;
pub mod feed;
pub mod fields;
pub mod ids;
mod intent;
pub mod money;
pub mod order;
mod orders;
pub mod outbox;
pub mod product;
mod readers;
pub mod rules;
mod shared;
pub mod store;
pub mod times;
pub mod transfer;
mod writer;

pub use intent::{By, Grant, Image, News, No, Noted, Placed};
pub use orders::{OrderError, Orders, Running};
