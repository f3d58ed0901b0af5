//! RTMP without sockets: bytes in, bytes out (Adobe, "Real Time Messaging Protocol", version 1.0).
//!
//! ```text
//!   far end's bytes ──> Publisher::receive ──┬─ handshake (rml_rtmp)
//!                                            ├─ ChunkReader ──> Message ──> commands, control
//!   FLV tag bodies ───> Publisher::send ─────┴─ ChunkSerializer (rml_rtmp) ──> Publisher::output
//! ```
//!
//! The handshake and the chunks on their way out are rml_rtmp's. Chunks on their way in are taken apart here: a
//! far end may interleave messages, announce 16 MB and send none of it, or open chunk streams without end, and
//! must not cost more than [`Bounds`] say. Commands are read by [`super::amf`], which bounds them too.
//!
//! Every message goes out with a full header and its own absolute time, so that nothing depends on what went
//! before it, and servers that disagree on deltas (after an extended timestamp, after a full header) agree here.

mod chunks;
mod commands;
mod control;
mod enhanced;
mod login;
mod publisher;

pub use chunks::{Bounds, ChunkError, ChunkReader, Message};
pub use control::{FarAcks, OwnAcks};
pub use login::{Demand, Login, LoginError, Method};
pub use publisher::{Phase, Publisher, SessionError, Stage, Target};

/// Message types (§5.4, §7.1).
mod kind {
    pub(super) const SET_CHUNK_SIZE: u8 = 1;
    pub(super) const ABORT: u8 = 2;
    pub(super) const ACKNOWLEDGEMENT: u8 = 3;
    pub(super) const USER_CONTROL: u8 = 4;
    pub(super) const WINDOW_ACKNOWLEDGEMENT: u8 = 5;
    pub(super) const SET_PEER_BANDWIDTH: u8 = 6;
    pub(super) const AUDIO: u8 = 8;
    pub(super) const VIDEO: u8 = 9;
    pub(super) const COMMAND_AMF3: u8 = 17;
    pub(super) const DATA: u8 = 18;
    pub(super) const COMMAND: u8 = 20;
}

#[cfg(test)]
mod tests;
