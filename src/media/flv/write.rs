//! Packets to tags, one allocation each.

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::media::packet::{AudioConfig, VideoCodec, VideoConfig};

use super::{
    AUDIO_FLAGS_AAC, BODY_BYTES_MAX, FILE_HEADER_BYTES, FOURCC_HVC1, FlvError, TAG_HEADER_BYTES,
    TAG_TRAILER_BYTES, TagType, VIDEO_CODEC_AVC, VIDEO_EX_HEADER, ex_packet,
};

/// The start of a file or an HTTP response: signature, which tracks there are, and `PreviousTagSize0` (§E.2).
pub const fn file_header(has_video: bool, has_audio: bool) -> [u8; FILE_HEADER_BYTES] {
    let tracks = (has_audio as u8) << 2 | has_video as u8;
    [b'F', b'L', b'V', 1, tracks, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// Frames one picture, tag header and `PreviousTagSize` included.
///
/// `payload` holds NAL units with four-byte lengths; `dts` and `pts` are on the stream's timeline and are
/// rounded to milliseconds here, once. The tag's time wraps after 2^32 ms (49 days). Layout: §E.4.1 and §E.4.3.
///
/// # Errors
/// [`FlvError::TooLong`] and [`FlvError::CompositionTime`].
pub fn video_tag(
    dts: Ticks,
    pts: Ticks,
    keyframe: bool,
    codec: VideoCodec,
    payload: &[u8],
) -> Result<Bytes, FlvError> {
    let cts = pts.millis().saturating_sub(dts.millis());
    if !(-0x0080_0000..=0x007F_FFFF).contains(&cts) {
        return Err(FlvError::CompositionTime(cts));
    }
    let cts = &(cts as i32).to_be_bytes()[1..];
    let frame_type = if keyframe { 1 } else { 2 };
    let (mut header, mut len) = ([0; 8], 5);
    match codec {
        VideoCodec::H264 => {
            header[0] = frame_type << 4 | VIDEO_CODEC_AVC;
            header[1] = 1; // NAL units
            header[2..5].copy_from_slice(cts);
        }
        VideoCodec::H265 => {
            let without_offset = cts == [0; 3];
            let packet = if without_offset { ex_packet::CODED_FRAMES_X } else { ex_packet::CODED_FRAMES };
            header[0] = VIDEO_EX_HEADER | frame_type << 4 | packet;
            header[1..5].copy_from_slice(&FOURCC_HVC1);
            if !without_offset {
                header[5..8].copy_from_slice(cts);
                len = 8;
            }
        }
    }
    tag(TagType::Video, dts, &header[..len], payload)
}

/// The video sequence header: what a decoder needs before the first picture.
///
/// # Errors
/// [`FlvError::TooLong`].
pub fn video_header(dts: Ticks, config: &VideoConfig) -> Result<Bytes, FlvError> {
    let header = match config.codec {
        VideoCodec::H264 => [1 << 4 | VIDEO_CODEC_AVC, 0, 0, 0, 0],
        VideoCodec::H265 => {
            let [a, b, c, d] = FOURCC_HVC1;
            [VIDEO_EX_HEADER | 1 << 4 | ex_packet::SEQUENCE_START, a, b, c, d]
        }
    };
    tag(TagType::Video, dts, &header, &config.record)
}

/// Frames one AAC frame (raw, without ADTS). Layout: §E.4.2.
///
/// # Errors
/// [`FlvError::TooLong`].
pub fn audio_tag(dts: Ticks, payload: &[u8]) -> Result<Bytes, FlvError> {
    tag(TagType::Audio, dts, &[AUDIO_FLAGS_AAC, 1], payload)
}

/// The audio sequence header.
///
/// # Errors
/// [`FlvError::TooLong`].
pub fn audio_header(dts: Ticks, config: &AudioConfig) -> Result<Bytes, FlvError> {
    tag(TagType::Audio, dts, &[AUDIO_FLAGS_AAC, 0], &config.record)
}

/// Frames a script: an AMF name and value, as [`super::on_metadata`] and [`super::script_body`] make them.
///
/// # Errors
/// [`FlvError::TooLong`].
pub fn script_tag(dts: Ticks, body: &[u8]) -> Result<Bytes, FlvError> {
    tag(TagType::Script, dts, &[], body)
}

/// A copy of a tag's header with another time, in milliseconds: a viewer's stream can so start at 0 while its
/// body stays the shared one.
pub const fn rewrite_timestamp(header: &[u8; TAG_HEADER_BYTES], millis: u32) -> [u8; TAG_HEADER_BYTES] {
    let mut copy = *header;
    // The low 24 bits first, the high 8 after them (§E.4.1).
    let [high, a, b, c] = millis.to_be_bytes();
    [copy[4], copy[5], copy[6], copy[7]] = [a, b, c, high];
    copy
}

fn tag(kind: TagType, dts: Ticks, codec_header: &[u8], payload: &[u8]) -> Result<Bytes, FlvError> {
    let body_bytes = codec_header.len() + payload.len();
    if body_bytes > BODY_BYTES_MAX {
        return Err(FlvError::TooLong(body_bytes));
    }
    let [_, a, b, c] = (body_bytes as u32).to_be_bytes();
    let header = [kind as u8, a, b, c, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = Vec::with_capacity(TAG_HEADER_BYTES + body_bytes + TAG_TRAILER_BYTES);
    bytes.extend_from_slice(&rewrite_timestamp(&header, dts.millis() as u32));
    bytes.extend_from_slice(codec_header);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&((TAG_HEADER_BYTES + body_bytes) as u32).to_be_bytes());
    Ok(Bytes::from(bytes))
}
