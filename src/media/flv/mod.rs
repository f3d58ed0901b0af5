//! FLV, the container of what the hub keeps, viewers read and the uplink sends (Adobe, "Video File Format
//! Specification 10.1", annex E; H.265 by the "Enhanced RTMP" specification, version 1).
//!
//! ```text
//!   packet ──write──> | tag header 11 | codec header 2/5/8 | payload | size 4 |   one `Bytes`, framed once
//!                     └─ rewritten for a ┘└────── body = RTMP message payload ──┘
//!                        viewer's own zero
//!   bytes ──read──> Item::Header, Item::Tag ──> VideoBody, AudioBody
//! ```
//!
//! Knows no clock and keeps no stream: whoever writes brings the time on the stream's timeline.

mod metadata;
mod read;
mod write;

pub use metadata::{is_metadata, on_metadata, script_body};
pub use read::{AudioBody, Item, Parser, VideoBody, parse_audio, parse_video};
pub use write::{
    audio_header, audio_tag, file_header, rewrite_timestamp, script_tag, video_header, video_tag,
};

/// Bytes of a tag before its body.
pub const TAG_HEADER_BYTES: usize = 11;

/// Bytes of a tag after its body: its length once more (`PreviousTagSize`).
pub const TAG_TRAILER_BYTES: usize = 4;

/// Bytes of a file before its first tag, `PreviousTagSize0` included.
pub const FILE_HEADER_BYTES: usize = 13;

/// The longest body: the tag's length field has 24 bits.
pub const BODY_BYTES_MAX: usize = 0x00FF_FFFF;

/// What a tag carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TagType {
    /// Sound.
    Audio = 8,
    /// A picture.
    Video = 9,
    /// A script: metadata and cues.
    Script = 18,
}

/// Why something cannot be written as FLV, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// A body of 16 MiB or more: the length field has 24 bits. On reading: more than the reader's bound.
    #[error("an FLV tag of {0} bytes is too long")]
    TooLong(usize),
    /// A presentation offset outside of 24 signed bits of milliseconds (about ±2 h 20 min).
    #[error("a presentation offset of {0} ms does not fit into an FLV tag")]
    CompositionTime(i64),
    /// The file does not begin with `FLV` and version 1.
    #[error("this is not an FLV stream")]
    NotFlv,
    /// A tag of a type that does not exist, or an encrypted one.
    #[error("FLV tag type {0} is not supported")]
    TagType(u8),
    /// The length after a tag is not the tag's: the stream is torn.
    #[error("the FLV stream is torn: a tag of {tag} bytes is followed by the length {trailer}")]
    Torn {
        /// Header and body.
        tag: u32,
        /// What stands in `PreviousTagSize`.
        trailer: u32,
    },
    /// A body too short for its own header.
    #[error("an FLV tag's body is cut short")]
    Truncated,
    /// A codec other than H.264, H.265 and AAC.
    #[error("FLV codec {0} is not supported")]
    Codec(u32),
}

/// `hvc1`, as Enhanced RTMP names H.265.
const FOURCC_HVC1: [u8; 4] = *b"hvc1";

/// AAC at "44 kHz, 16 bit, stereo": the fixed flags that §E.4.2.1 demands of all AAC, whatever its real rate.
const AUDIO_FLAGS_AAC: u8 = 0xAF;

/// Codec identifiers (§E.4.3.1).
const VIDEO_CODEC_AVC: u8 = 7;

/// In the first byte of a video body: what follows is Enhanced RTMP's header.
const VIDEO_EX_HEADER: u8 = 0x80;

/// Enhanced RTMP packet types.
mod ex_packet {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const SEQUENCE_END: u8 = 2;
    /// Coded frames whose presentation offset is 0 and left out.
    pub(super) const CODED_FRAMES_X: u8 = 3;
}

#[cfg(test)]
mod tests;
