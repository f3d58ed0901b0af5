//! H.264 and H.265 as byte formats: what passes through is looked at, never decoded.
//!
//! ```text
//!   camera, encoder            Annex B:  00 00 00 01 SPS  00 00 00 01 PPS  00 00 01 IDR …
//!        │ ParameterSets::take_annexb, one pass
//!        ├─> payload           AVCC:     length IDR  length …        (FLV, RTMP, MP4)
//!        └─> VideoConfig       avcC / hvcC with the SPS and PPS      (the sequence header)
//! ```
//!
//! The two codecs share their walker ([`annexb_units`], [`avcc_units`]) and their bit reader; `h264.rs` and
//! `h265.rs` know what stands in a unit. Every reader here is bounded and takes arbitrary bytes.
//! References: ITU-T H.264 (08/2021), H.265 (08/2021), ISO/IEC 14496-15:2022.

mod bits;
pub mod h264;
pub mod h265;
mod nal;
mod sei;
mod sets;

pub use nal::{annexb_units, avcc_units};
pub use sei::{sei_unregistered, unescape};
pub use sets::{AccessUnit, ParameterSets};

use crate::media::packet::VideoCodec;

/// Bytes of a NAL unit's length in AVCC payloads, everywhere in the house.
pub const LENGTH_BYTES: usize = 4;

/// Pictures wider or higher than this are refused: 8K twice over.
pub const SIDE_MAX: u32 = 16_384;

/// Why bytes are no H.264 or H.265, as far as it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H26xError {
    /// The data ends inside a field or a unit.
    #[error("the {0} is cut short")]
    Truncated(&'static str),
    /// A field has a value that the standard excludes, or that no camera needs.
    #[error("the {0} holds an impossible value")]
    Invalid(&'static str),
    /// No parameter set has come yet.
    #[error("no {0} has come yet")]
    Missing(&'static str),
}

/// What a NAL unit is, as far as the house treats units differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// H.265's video parameter set.
    Vps,
    /// A sequence parameter set.
    Sps,
    /// A picture parameter set.
    Pps,
    /// An access unit delimiter, an end of sequence or stream, or filler: means nothing in AVCC.
    Delimiter,
    /// Supplemental information.
    Sei,
    /// A slice of a picture that decodes by itself (IDR; in H.265 any random access point).
    KeySlice,
    /// Another slice.
    Slice,
    /// Anything else.
    Other,
}

/// What `unit` is, by its header; nothing for an empty one.
pub fn unit_kind(codec: VideoCodec, unit: &[u8]) -> Option<UnitKind> {
    let first = *unit.first()?;
    Some(match codec {
        VideoCodec::H264 => h264::unit_kind(first),
        VideoCodec::H265 => h265::unit_kind(first),
    })
}

/// Whether a picture in AVCC decodes by itself.
pub fn is_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    avcc_units(payload, LENGTH_BYTES)
        .map_while(Result::ok)
        .any(|unit| unit_kind(codec, unit) == Some(UnitKind::KeySlice))
}

#[cfg(test)]
mod tests;
