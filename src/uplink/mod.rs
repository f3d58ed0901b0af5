//! The uplink: one programme to one cloud by as many lines as there are, for as long as the box runs.
//!
//! ```text
//!                 ┌── line 0 (primary)  dial ─> link ─> RTMP ─> far end
//!   hub ──tags──> ├── line 1 (standby)  dial ─> link ─> SRT ──> far end      output: one task, owns all of this
//!                 └── …                           │
//!        who is dialled, ┌── failover (pure) <────┤ what was written, TCP_INFO every 25 ms
//!   fed, given up, rests └──> inflight, lines, pacer
//!                             bitrate (pure) <────┘ ──> governor ──> the encoder's bitrate
//! ```
//!
//! [`Outputs`] is the handle. `output.rs` is one output's life: each turn it moves bytes, feeds who carries, hands
//! the news to [`failover`], does what that says, and sleeps until something happens. `line.rs` is one destination,
//! `dial.rs` the way to an open socket, `link.rs` one connection and what it speaks (RTMP, or MPEG-TS by SRT),
//! `wire.rs` its bytes as the kernel counts them, `cargo.rs` what it is given, `shed.rs` what a line that is too slow
//! does without, `abandoned.rs` what becomes of one that fell silent. `governor.rs` lets all outputs of a stream have
//! their say about its encoder, `exits.rs` adds up what leaves by one way out; `books.rs` keeps figures and writes the
//! log, in which `telling.rs` keeps down what fails again and again.
//!
//! ```text
//!   TCP_INFO, tags written ──> inflight ──place──┐
//!                         └──> lines ──Reading──┬┴─> failover ──> connect, carry from this GOP, rest, trickle
//!                                               ├──> bitrate  ──> the encoder's bitrate
//!                                               └──> headroom ──> a word to pages and fleet
//!   rehearsal: all of it over simulated lines, for tests and benchmarks
//! ```
//!
//! A line is up once media bytes were acknowledged, not when somebody answered. Times go out as they stand on the
//! stream's timeline, over reconnects and switches, so that any line can carry on. Keys are never printed; what a
//! far end says is repeated without them.

mod abandoned;
pub mod bitrate;
mod books;
mod cargo;
mod dial;
mod error;
mod exits;
pub mod failover;
mod governor;
pub mod headroom;
pub mod inflight;
mod line;
pub mod lines;
mod link;
mod metrics;
mod need;
mod output;
mod outputs;
pub mod pacer;
#[cfg(any(test, feature = "sim"))]
pub mod rehearsal;
mod shed;
mod status;
mod telling;
mod wire;

pub use outputs::{OrderError, Outputs};
pub use status::{LineState, LineStatus, OutputStatus, State};

#[cfg(test)]
mod tests;
