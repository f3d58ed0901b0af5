//! The uplink: one programme to one cloud, for as long as the box runs.
//!
//! ```text
//!   hub::Reader ──tags──> link ──RTMP──> far end        output: waits for media, dials, carries, backs off,
//!                          │  ▲                                 for ever
//!                 asks what│  │TCP_INFO every 250 ms
//!                     to do▼  │
//!                  shed (pure) stall (pure)
//! ```
//!
//! [`Outputs`] is the handle. `output.rs` is one output's life, `link.rs` owns a socket and one RTMP session on it
//! ([`crate::media::rtmp`]), `shed.rs` decides what a line that is too slow does without, and `stall.rs` when a
//! line that takes nothing is given up, `telling.rs` which failures stand in the log. A connection counts as up once
//! media bytes were acknowledged, not when somebody answered.
//!
//! Beside these stand the pure cores of hot standby and of a bitrate that follows the line, which no socket obeys
//! yet: an output has one destination in this version.
//!
//! ```text
//!   TCP_INFO, tags written ──> inflight ──place──┐
//!                         └──> lines ──Reading──┬┴─> failover ──> connect, carry from this GOP, rest, trickle
//!                                               ├──> bitrate  ──> the encoder's bitrate
//!                                               └──> headroom ──> a word to pages and fleet
//!   rehearsal: all of it over simulated lines, for tests and benchmarks
//! ```
//!
//! Times go out as they stand on the stream's timeline, over reconnects too, so that another line can carry on.
//! Keys are never printed; what a far end says is repeated without them.

pub mod bitrate;
mod error;
pub mod failover;
pub mod headroom;
pub mod inflight;
pub mod lines;
mod link;
mod output;
mod outputs;
pub mod pacer;
#[cfg(any(test, feature = "sim"))]
pub mod rehearsal;
mod shed;
mod stall;
mod status;
mod telling;
#[cfg(test)]
mod wire;

pub use outputs::Outputs;
pub use status::{OutputStatus, State};

#[cfg(test)]
mod tests;
