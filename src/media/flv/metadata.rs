//! Script tag bodies.

use crate::media::amf::{self, AmfError, Value};
use crate::media::packet::{AudioConfig, Layout, VideoCodec, VideoConfig};

use super::FOURCC_HVC1;

/// `audiocodecid` of AAC.
const AUDIO_CODEC_AAC: f64 = 10.0;

/// The body of a script tag: `name`, then `value`.
///
/// # Errors
/// [`AmfError::TooLong`] and [`AmfError::TooDeep`].
pub fn script_body(name: &str, value: Value) -> Result<Vec<u8>, AmfError> {
    amf::write_all(&[Value::text(name), value])
}

/// The body of the `onMetaData` tag for `layout` (§E.5). Only what is true stands in it: nothing of a track
/// that does not exist, and no duration, since a live stream has none.
pub fn on_metadata(layout: &Layout) -> Vec<u8> {
    let mut properties = Vec::with_capacity(16);
    if let Some(video) = &layout.video {
        describe_video(video, &mut properties);
    }
    if let Some(audio) = &layout.audio {
        describe_audio(audio, &mut properties);
    }
    properties.push(("encoder".to_owned(), Value::text(concat!("footlight/", env!("CARGO_PKG_VERSION")))));
    script_body("onMetaData", Value::EcmaArray(properties)).expect("short names on one level always fit")
}

/// Whether a script tag's body is `onMetaData`: the first of a stream's headers.
pub fn is_metadata(body: &[u8]) -> bool {
    body.starts_with(b"\x02\x00\x0aonMetaData")
}

fn describe_video(video: &VideoConfig, properties: &mut Vec<(String, Value)>) {
    let mut number = |name: &str, value: f64| properties.push((name.to_owned(), Value::Number(value)));
    number("width", f64::from(video.size.width));
    number("height", f64::from(video.size.height));
    if let Some(fps) = video.fps {
        number("framerate", fps.per_second());
    }
    if let Some(bitrate) = video.bitrate {
        number("videodatarate", bitrate.0 as f64 / 1_000.0);
    }
    number(
        "videocodecid",
        match video.codec {
            VideoCodec::H264 => 7.0,
            // Enhanced RTMP: the FourCC, read as a number.
            VideoCodec::H265 => f64::from(u32::from_be_bytes(FOURCC_HVC1)),
        },
    );
}

fn describe_audio(audio: &AudioConfig, properties: &mut Vec<(String, Value)>) {
    let mut add = |name: &str, value: Value| properties.push((name.to_owned(), value));
    if let Some(bitrate) = audio.bitrate {
        add("audiodatarate", Value::Number(bitrate.0 as f64 / 1_000.0));
    }
    add("audiosamplerate", Value::Number(f64::from(audio.sample_rate)));
    add("audiosamplesize", Value::Number(16.0));
    add("audiochannels", Value::Number(f64::from(audio.channels)));
    add("stereo", Value::Boolean(audio.channels == 2));
    add("audiocodecid", Value::Number(AUDIO_CODEC_AAC));
}
