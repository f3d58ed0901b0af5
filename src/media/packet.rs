//! Encoded media, as encoders and passing-through sources hand it to a channel.

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};

/// Which track a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Track {
    /// The picture.
    Video,
    /// The sound.
    Audio,
}

/// How pictures are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

/// What a decoder must know before the first picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoConfig {
    /// The codec.
    pub codec: VideoCodec,
    /// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1) or `HEVCDecoderConfigurationRecord` (§8.3.3.1).
    pub record: Bytes,
    /// Picture size.
    pub size: PictureSize,
    /// Nominal frame rate, where known.
    pub fps: Option<FrameRate>,
    /// Target bitrate, where known.
    pub bitrate: Option<BitrateBps>,
}

/// What a decoder must know before the first sound. The codec is AAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioConfig {
    /// `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1).
    pub record: Bytes,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Target bitrate, where known.
    pub bitrate: Option<BitrateBps>,
}

/// The tracks that a stream has from here on; never both `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The picture, if there is one.
    pub video: Option<VideoConfig>,
    /// The sound, if there is any.
    pub audio: Option<AudioConfig>,
}

/// One coded picture, or one AAC frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its track.
    pub track: Track,
    /// Decoding time on the source's own clock.
    pub dts: Ticks,
    /// Presentation time on the source's own clock; the same as `dts` without B-frames.
    pub pts: Ticks,
    /// A picture that decodes by itself (IDR). `true` for all sound.
    pub keyframe: bool,
    /// Video: NAL units with four-byte lengths (AVCC), parameter sets kept in the [`VideoConfig`]. Audio: raw
    /// AAC without ADTS.
    pub payload: Bytes,
}

/// What flows into a channel: first a [`Layout`], then packets; another layout whenever the source, the encoder
/// or their settings change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// The tracks from here on.
    Layout(Layout),
    /// A packet of one of them.
    Packet(Packet),
}
