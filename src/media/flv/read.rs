//! Bytes to tags, as they arrive.

use bytes::{Buf, Bytes, BytesMut};

use crate::media::packet::VideoCodec;

use super::{
    AUDIO_FLAGS_AAC, BODY_BYTES_MAX, FILE_HEADER_BYTES, FOURCC_HVC1, FlvError, TAG_HEADER_BYTES,
    TAG_TRAILER_BYTES, TagType, VIDEO_CODEC_AVC, VIDEO_EX_HEADER, ex_packet,
};

/// Reads an FLV stream piece by piece. Keeps what was pushed and not yet taken out: at most one tag if
/// [`Parser::pull`] is called until it gives nothing after each [`Parser::push`].
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    begun: bool,
    body_bytes_max: usize,
}

/// What [`Parser::pull`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The start of the stream, and which tracks it claims to have.
    Header {
        /// It has pictures.
        has_video: bool,
        /// It has sound.
        has_audio: bool,
    },
    /// A tag.
    Tag {
        /// What it carries.
        kind: TagType,
        /// Its time in milliseconds.
        millis: u32,
        /// What it carries, codec header included; the same bytes are the payload of an RTMP message.
        body: Bytes,
    },
}

/// The body of a video tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoBody {
    /// A sequence header: the decoder configuration record.
    Header {
        /// The codec.
        codec: VideoCodec,
        /// `avcC` or `hvcC`.
        record: Bytes,
    },
    /// A picture.
    Frame {
        /// The codec.
        codec: VideoCodec,
        /// It decodes by itself.
        keyframe: bool,
        /// Presentation less decoding time, in milliseconds.
        cts_millis: i32,
        /// NAL units behind their lengths.
        payload: Bytes,
    },
    /// The end of the sequence, or a command to the player: nothing to show.
    Nothing,
}

/// The body of an audio tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioBody {
    /// A sequence header: `AudioSpecificConfig`.
    Header(Bytes),
    /// A raw AAC frame.
    Frame(Bytes),
}

impl Parser {
    /// Refuses tags whose body is longer than `body_bytes_max`.
    pub fn new(body_bytes_max: usize) -> Parser {
        Parser { buffer: BytesMut::new(), begun: false, body_bytes_max: body_bytes_max.min(BODY_BYTES_MAX) }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives out the next item, or nothing until more is pushed.
    ///
    /// # Errors
    /// The stream is no FLV, torn, or beyond the bound. There is no way on after an error.
    pub fn pull(&mut self) -> Result<Option<Item>, FlvError> {
        if self.begun { self.pull_tag() } else { self.pull_header() }
    }

    fn pull_header(&mut self) -> Result<Option<Item>, FlvError> {
        let signature = b"FLV\x01";
        let known = self.buffer.len().min(signature.len());
        if self.buffer[..known] != signature[..known] {
            return Err(FlvError::NotFlv);
        }
        if self.buffer.len() < FILE_HEADER_BYTES {
            return Ok(None);
        }
        // The header may only have this length in version 1, and is followed by a zero.
        if self.buffer[5..FILE_HEADER_BYTES] != [0, 0, 0, 9, 0, 0, 0, 0] {
            return Err(FlvError::NotFlv);
        }
        let tracks = self.buffer[4];
        self.buffer.advance(FILE_HEADER_BYTES);
        self.begun = true;
        Ok(Some(Item::Header { has_video: tracks & 1 != 0, has_audio: tracks & 4 != 0 }))
    }

    fn pull_tag(&mut self) -> Result<Option<Item>, FlvError> {
        let Some(&[kind, l0, l1, l2, t0, t1, t2, t3, _, _, _]) =
            self.buffer.first_chunk::<TAG_HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let kind = match kind {
            8 => TagType::Audio,
            9 => TagType::Video,
            18 => TagType::Script,
            other => return Err(FlvError::TagType(other)),
        };
        let body_bytes = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if body_bytes > self.body_bytes_max {
            return Err(FlvError::TooLong(body_bytes));
        }
        if self.buffer.len() < TAG_HEADER_BYTES + body_bytes + TAG_TRAILER_BYTES {
            return Ok(None);
        }
        self.buffer.advance(TAG_HEADER_BYTES);
        let body = self.buffer.split_to(body_bytes).freeze();
        let trailer = self.buffer.get_u32();
        let tag = (TAG_HEADER_BYTES + body_bytes) as u32;
        if trailer != tag {
            return Err(FlvError::Torn { tag, trailer });
        }
        Ok(Some(Item::Tag { kind, millis: u32::from_be_bytes([t3, t0, t1, t2]), body }))
    }
}

/// Takes the body of a video tag apart; shares its memory.
///
/// # Errors
/// [`FlvError::Truncated`] and [`FlvError::Codec`].
pub fn parse_video(body: &Bytes) -> Result<VideoBody, FlvError> {
    let first = *body.first().ok_or(FlvError::Truncated)?;
    let frame_type = first >> 4 & 7;
    if frame_type == 5 {
        return Ok(VideoBody::Nothing);
    }
    let keyframe = frame_type == 1;
    let &[_, a, b, c, d] = body.first_chunk::<5>().ok_or(FlvError::Truncated)?;
    if first & VIDEO_EX_HEADER != 0 {
        return parse_enhanced(body, first & 0x0F, [a, b, c, d], keyframe);
    }
    if first & 0x0F != VIDEO_CODEC_AVC {
        return Err(FlvError::Codec(u32::from(first & 0x0F)));
    }
    let codec = VideoCodec::H264;
    Ok(match a {
        0 => VideoBody::Header { codec, record: body.slice(5..) },
        1 => VideoBody::Frame { codec, keyframe, cts_millis: signed24([b, c, d]), payload: body.slice(5..) },
        _ => VideoBody::Nothing,
    })
}

fn parse_enhanced(body: &Bytes, packet: u8, fourcc: [u8; 4], keyframe: bool) -> Result<VideoBody, FlvError> {
    if fourcc != FOURCC_HVC1 {
        return Err(FlvError::Codec(u32::from_be_bytes(fourcc)));
    }
    let codec = VideoCodec::H265;
    Ok(match packet {
        ex_packet::SEQUENCE_START => VideoBody::Header { codec, record: body.slice(5..) },
        ex_packet::CODED_FRAMES => {
            let &[.., a, b, c] = body.first_chunk::<8>().ok_or(FlvError::Truncated)?;
            VideoBody::Frame { codec, keyframe, cts_millis: signed24([a, b, c]), payload: body.slice(8..) }
        }
        ex_packet::CODED_FRAMES_X => {
            VideoBody::Frame { codec, keyframe, cts_millis: 0, payload: body.slice(5..) }
        }
        ex_packet::SEQUENCE_END.. => VideoBody::Nothing,
    })
}

/// Takes the body of an audio tag apart; shares its memory.
///
/// # Errors
/// [`FlvError::Truncated`] and [`FlvError::Codec`].
pub fn parse_audio(body: &Bytes) -> Result<AudioBody, FlvError> {
    let &[flags, kind] = body.first_chunk::<2>().ok_or(FlvError::Truncated)?;
    if flags >> 4 != AUDIO_FLAGS_AAC >> 4 {
        return Err(FlvError::Codec(u32::from(flags >> 4)));
    }
    let rest = body.slice(2..);
    Ok(if kind == 0 { AudioBody::Header(rest) } else { AudioBody::Frame(rest) })
}

fn signed24([a, b, c]: [u8; 3]) -> i32 {
    i32::from_be_bytes([a, b, c, 0]) >> 8
}
