//! Raw media, as sources hand it to encoders.

use bytes::Bytes;

use crate::base::queue::Classed;
use crate::base::ticks::Ticks;
use crate::base::units::PictureSize;

use super::packet::{AudioConfig, Packet, VideoConfig};

/// How a picture lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Planar 4:2:0, Y then U then V.
    I420,
    /// Y, then U and V interleaved.
    Nv12,
    /// Packed 4:2:2, Y0 U Y1 V.
    Yuyv,
    /// Packed 4:2:2, U Y0 V Y1.
    Uyvy,
    /// Packed blue, green, red, 8 bits each.
    Bgr24,
    /// One JPEG.
    Mjpeg,
}

/// One plane inside a frame's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// The plane's bytes; a slice of the capture buffer, given back to the camera when the last slice is dropped.
    pub data: Bytes,
    /// Bytes from one row to the next; 0 for [`PixelFormat::Mjpeg`].
    pub stride: usize,
}

/// One raw picture, by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured, `CLOCK_MONOTONIC`.
    pub at: Ticks,
    /// Memory layout.
    pub format: PixelFormat,
    /// Size in pixels.
    pub size: PictureSize,
    /// Its planes, as many as the format has (one for packed formats and JPEG).
    pub planes: heapless::Vec<Plane, 3>,
}

/// A piece of raw sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// When its first sample was captured, `CLOCK_MONOTONIC`.
    pub at: Ticks,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels, interleaved in `samples`.
    pub channels: u8,
    /// Interleaved samples, -1.0 to 1.0.
    pub samples: Vec<f32>,
}

/// In which form a source brings one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrackForm {
    /// Not at all.
    #[default]
    Absent,
    /// Raw, to be encoded.
    Raw,
    /// Already coded, to be passed through untouched.
    Coded,
}

/// What a source hands to its encoder: first [`Captured::Begin`], then what it announced. Begins again whenever
/// the source was restarted or its form changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Captured {
    /// The source is up and will bring these tracks.
    Begin {
        /// The picture.
        video: TrackForm,
        /// The sound.
        audio: TrackForm,
    },
    /// A raw picture.
    Frame(Frame),
    /// Raw sound.
    Sound(Sound),
    /// A coded picture track's configuration, before its first packet and at every change.
    VideoConfig(VideoConfig),
    /// A coded sound track's configuration, before its first packet and at every change.
    AudioConfig(AudioConfig),
    /// A coded packet. Its clock is the one of the frames: `CLOCK_MONOTONIC` at capture.
    Packet(Packet),
}

impl Classed for Captured {
    fn class_bound(&self) -> (u8, usize) {
        match self {
            // One being encoded, two waiting: a third would be older than a frame time when its turn comes.
            Captured::Frame(_) => (0, 2),
            // A second of sound in pieces of 20 ms rides out an encoder's hiccup.
            Captured::Sound(_) => (1, 50),
            // Passing through costs next to nothing, so the bound is only reached when the thread is gone.
            Captured::Packet(_) => (2, 2_048),
            Captured::Begin { .. } | Captured::VideoConfig(_) | Captured::AudioConfig(_) => (3, 64),
        }
    }
}
