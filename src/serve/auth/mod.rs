//! Who asks, and whether they may.
//!
//! ```text
//!   footlight token ──file──> DATA_DIR/tokens.json ──tokens (looks once a second at most)──> the book in force
//!                                                                                              │
//!   a request ──> door: allow(house, peer, request, role) ── a token? the box itself? ─────────┘──> Caller, or why not
//! ```
//!
//! `book.rs` (pure) knows tokens by their hashes, `file.rs` reads and replaces the file, `tokens.rs` keeps what is in
//! force in a running box, `door.rs` judges requests. Tokens are not in the database on purpose: who may give orders
//! must be known also while the store is broken.
//!
//! This room keeps no token: a token is shown once, to who made it.

mod book;
mod door;
mod file;
mod tokens;

pub(super) use door::{Caller, Door, allow};

pub use book::{BookError, Record, Role};
pub use file::{Made, TokenError, list, make, revoke};
pub use tokens::Tokens;
