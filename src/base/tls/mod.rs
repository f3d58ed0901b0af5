//! TLS towards a far end: whom to trust, what was agreed upon last time, and why it failed, in words.
//!
//! ```text
//!   Trust ──> Verifier ──> ClientConfig ──> Tls ──> a session for whoever owns the socket
//! ```
//!
//! Owns no socket: a room that counts ciphertext takes [`Tls::session`], one that does not takes [`Tls::config`].

mod refusal;
mod session;
mod trust;

pub use refusal::{Fingerprint, TlsError};
pub use session::Tls;
pub use trust::Trust;
