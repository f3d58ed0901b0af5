//! MPEG transport stream, the container of what goes out by SRT (ISO/IEC 13818-1:2019; AAC in it as ADTS, ISO/IEC
//! 13818-7 §6.2).
//!
//! ```text
//!   picture ──annexb──> AUD, parameter sets, units ──pes──> | 00 00 01 E0 … PTS DTS | ──packet──> 47 … 188 bytes
//!   sound   ──ADTS────> header, frame ───────────────pes──> | 00 00 01 C0 … PTS     | ──packet──> 47 … 188 bytes
//!   psi: PAT and PMT before each keyframe, and every 400 ms
//! ```
//!
//! Pure, and writing only: [`Mux`] is handed what stands in the hub's FLV tags and appends whole packets of 188 bytes.
//! The stream's time goes out untouched: PTS and DTS are its ticks (90 kHz, wrapping at 33 bits), the same on every
//! line, so that another line can carry on. The clock reference is what the stream's time was [`LEAD`] earlier.

mod annexb;
mod mux;
mod packet;
mod pes;
mod psi;

pub use mux::{LEAD, Mux, TsError};
pub use packet::PACKET_BYTES;

#[cfg(test)]
mod tests;
