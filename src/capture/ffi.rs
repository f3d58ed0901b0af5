//! The few fields of FFmpeg's structures that its wrapper does not show.
#![allow(unsafe_code, reason = "reads fields of FFmpeg's public structures")]

use bytes::Bytes;
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::frame::Video;

/// What a file's header says about one track.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// Decoder configuration as the container holds it; empty without one.
    pub(super) extradata: Bytes,
    /// Bits per second; 0 when unknown.
    pub(super) bitrate: u64,
    /// Samples per second, for sound; 0 when unknown.
    pub(super) sample_rate: u32,
    /// Channels, for sound; 0 when unknown.
    pub(super) channels: u8,
}

/// Copies what `parameters` say.
pub(super) fn header(parameters: &Parameters) -> Header {
    // SAFETY: the wrapper holds a valid `AVCodecParameters` for as long as `parameters` lives, and nothing else
    // writes to it meanwhile.
    let fields = unsafe { &*parameters.as_ptr() };
    let extradata = if fields.extradata.is_null() || fields.extradata_size <= 0 {
        Bytes::new()
    } else {
        // SAFETY: `extradata` points to `extradata_size` bytes (avcodec.h, AVCodecParameters), copied at once.
        Bytes::copy_from_slice(unsafe {
            std::slice::from_raw_parts(fields.extradata, fields.extradata_size as usize)
        })
    };
    Header {
        extradata,
        bitrate: fields.bit_rate.max(0) as u64,
        sample_rate: fields.sample_rate.max(0) as u32,
        channels: fields.ch_layout.nb_channels.clamp(0, 255) as u8,
    }
}

/// Whether a picture's rows lie one below the other. Some decoders describe upside-down pictures by negative
/// strides, which the wrapper's slices cannot.
pub(super) fn rows_go_down(picture: &Video) -> bool {
    // SAFETY: the wrapper holds a valid `AVFrame` for as long as `picture` lives.
    let strides = unsafe { (*picture.as_ptr()).linesize };
    strides.iter().all(|stride| *stride >= 0)
}
