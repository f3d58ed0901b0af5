//! Turns a source's coded tracks into raw pictures and sound.

use std::sync::Arc;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;

use ffmpeg::codec::Parameters;
use ffmpeg::codec::{Id, threading};
use ffmpeg::format::{Pixel, Sample, sample};
use ffmpeg::software::{resampling, scaling};
use ffmpeg::{ChannelLayout, Packet, Rational, codec, decoder, frame};

use crate::base::ticks::Ticks;
use crate::base::units::PictureSize;
use crate::media::frame::{PixelFormat, Plane};
use crate::media::packet::VideoCodec;

use super::ffi;

/// Threads of one picture decoder: enough for 1080p60 on a small box, and the encoder needs cores too.
const THREADS_MAX: usize = 2;

/// A decoded picture, without its place on the line.
pub(super) struct Picture {
    /// The source's own time; `None` where the file does not tell.
    pub(super) at: Option<Ticks>,
    pub(super) format: PixelFormat,
    pub(super) size: PictureSize,
    pub(super) planes: heapless::Vec<Plane, 3>,
}

/// Decoded sound, without its place on the line.
pub(super) struct Piece {
    /// The source's own time; `None` where the file does not tell.
    pub(super) at: Option<Ticks>,
    pub(super) sample_rate: u32,
    pub(super) channels: u8,
    /// Interleaved.
    pub(super) samples: Vec<f32>,
}

/// Decodes pictures.
pub(super) struct Pictures {
    decoder: decoder::Video,
    time_base: Rational,
    scaler: Option<scaling::Context>,
}

/// Decodes sound.
pub(super) struct Sounds {
    decoder: decoder::Audio,
    time_base: Rational,
    converter: Option<resampling::Context>,
}

impl Pictures {
    /// # Errors
    /// Words for the studio.
    pub(super) fn open(parameters: &Parameters, time_base: Rational) -> Result<Pictures, String> {
        let open = || {
            let mut context = codec::Context::from_parameters(parameters.clone())?;
            context.set_threading(threading::Config { kind: threading::Type::Frame, count: THREADS_MAX });
            let mut decoder = context.decoder();
            decoder.set_packet_time_base(time_base);
            decoder.video()
        };
        let decoder = open().map_err(|cause| no_decoder(parameters.id(), cause))?;
        Ok(Pictures { decoder, time_base, scaler: None })
    }

    /// For a camera's H.264 or H.265 in Annex B, whose pictures come out as they go in, one for one; times are [`Ticks`].
    ///
    /// # Errors
    /// Words for the studio.
    pub(super) fn of_camera(codec: VideoCodec) -> Result<Pictures, String> {
        let id = match codec {
            VideoCodec::H264 => Id::H264,
            VideoCodec::H265 => Id::HEVC,
        };
        let time_base = Rational::new(1, Ticks::PER_SECOND as i32);
        let open = || {
            let codec = decoder::find(id).ok_or(ffmpeg::Error::DecoderNotFound)?;
            let mut context = codec::Context::new_with_codec(codec);
            context.set_threading(threading::Config { kind: threading::Type::Slice, count: THREADS_MAX });
            context.set_flags(codec::Flags::LOW_DELAY);
            let mut decoder = context.decoder();
            decoder.set_packet_time_base(time_base);
            decoder.open_as(codec)?.video()
        };
        let decoder = open().map_err(|cause| no_decoder(id, cause))?;
        Ok(Pictures { decoder, time_base, scaler: None })
    }

    /// Feeds one packet, or the end of the pass, and hands each picture that is ready to `each`. Answers whether
    /// the packet could be decoded.
    pub(super) fn decode(&mut self, packet: Option<&Packet>, mut each: impl FnMut(Picture)) -> bool {
        let mut good = match packet {
            Some(packet) => self.decoder.send_packet(packet),
            None => self.decoder.send_eof(),
        }
        .is_ok();
        let mut decoded = frame::Video::empty();
        while self.decoder.receive_frame(&mut decoded).is_ok() {
            let at = decoded.timestamp().map(|value| ticks(value, self.time_base));
            match self.convert(std::mem::replace(&mut decoded, frame::Video::empty())) {
                Some((format, size, planes)) => each(Picture { at, format, size, planes }),
                None => good = false,
            }
        }
        if packet.is_none() {
            self.decoder.flush();
        }
        good
    }

    /// The picture in a format that the house has a name for: shared where it is one already, else converted.
    fn convert(
        &mut self,
        decoded: frame::Video,
    ) -> Option<(PixelFormat, PictureSize, heapless::Vec<Plane, 3>)> {
        let size = even(decoded.width(), decoded.height());
        let is_even = (size.width, size.height) == (decoded.width(), decoded.height());
        let format = match decoded.format() {
            Pixel::YUV420P => Some(PixelFormat::I420),
            Pixel::NV12 => Some(PixelFormat::Nv12),
            _ => None,
        };
        if let Some(format) = format.filter(|_| is_even && ffi::rows_go_down(&decoded)) {
            return Some((format, size, share(decoded)));
        }
        let from = (decoded.format(), decoded.width(), decoded.height());
        let fits = |scaler: &scaling::Context| {
            let input = scaler.input();
            (input.format, input.width, input.height) == from
        };
        if !self.scaler.as_ref().is_some_and(fits) {
            let (width, height) = (size.width, size.height);
            let flags = scaling::Flags::BILINEAR | scaling::Flags::ACCURATE_RND;
            self.scaler =
                scaling::Context::get(from.0, from.1, from.2, Pixel::YUV420P, width, height, flags).ok();
        }
        let mut converted = frame::Video::empty();
        self.scaler.as_mut()?.run(&decoded, &mut converted).ok()?;
        Some((PixelFormat::I420, size, share(converted)))
    }
}

impl Sounds {
    /// # Errors
    /// Words for the studio.
    pub(super) fn open(parameters: &Parameters, time_base: Rational) -> Result<Sounds, String> {
        let open = || {
            let mut decoder = codec::Context::from_parameters(parameters.clone())?.decoder();
            decoder.set_packet_time_base(time_base);
            decoder.audio()
        };
        let decoder = open().map_err(|cause| no_decoder(parameters.id(), cause))?;
        Ok(Sounds { decoder, time_base, converter: None })
    }

    /// Feeds one packet, or the end of the pass, and hands the sound that is ready to `each`.
    pub(super) fn decode(&mut self, packet: Option<&Packet>, mut each: impl FnMut(Piece)) {
        // A damaged packet costs its own sound, which silence then fills.
        let _ = match packet {
            Some(packet) => self.decoder.send_packet(packet),
            None => self.decoder.send_eof(),
        };
        let mut decoded = frame::Audio::empty();
        while self.decoder.receive_frame(&mut decoded).is_ok() {
            if let Some(piece) = self.convert(&mut decoded) {
                each(piece);
            }
        }
        if packet.is_none() {
            self.decoder.flush();
        }
    }

    /// Interleaved floats, one or two channels; more are mixed down.
    fn convert(&mut self, decoded: &mut frame::Audio) -> Option<Piece> {
        let at = decoded.timestamp().map(|value| ticks(value, self.time_base));
        let channels = decoded.channels().clamp(1, 2);
        let wanted = if channels == 1 { ChannelLayout::MONO } else { ChannelLayout::STEREO };
        if decoded.channel_layout().is_empty()
            || i32::from(decoded.channels()) != decoded.channel_layout().channels()
        {
            decoded.set_channel_layout(ChannelLayout::default(i32::from(decoded.channels())));
        }
        let from = (decoded.format(), decoded.channel_layout(), decoded.rate());
        let packed = Sample::F32(sample::Type::Packed);
        let fits = |converter: &resampling::Context| {
            let input = converter.input();
            (input.format, input.channel_layout, input.rate) == from
        };
        if !self.converter.as_ref().is_some_and(fits) {
            self.converter = resampling::Context::get(from.0, from.1, from.2, packed, wanted, from.2).ok();
        }
        let mut converted = frame::Audio::empty();
        self.converter.as_mut()?.run(decoded, &mut converted).ok()?;
        let bytes = converted.samples() * usize::from(channels) * size_of::<f32>();
        let samples = converted
            .data(0)
            .get(..bytes)?
            .chunks_exact(size_of::<f32>())
            .map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        Some(Piece { at, sample_rate: from.2, channels: channels as u8, samples })
    }
}

/// One plane of a decoded picture, kept alive by it.
struct Shared {
    picture: Arc<frame::Video>,
    plane: usize,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.picture.data(self.plane)
    }
}

/// The picture's planes without a copy: FFmpeg counts references to its buffers too, and decodes the next picture
/// into others.
fn share(picture: frame::Video) -> heapless::Vec<Plane, 3> {
    let planes = picture.planes().min(3);
    let picture = Arc::new(picture);
    (0..planes)
        .map(|plane| Plane {
            stride: picture.stride(plane),
            data: Bytes::from_owner(Shared { picture: picture.clone(), plane }),
        })
        .collect()
}

/// A stream's time in the house's.
pub(super) fn ticks(value: i64, base: Rational) -> Ticks {
    let denominator = i128::from(base.denominator()).max(1);
    let exact = i128::from(value) * i128::from(base.numerator()) * i128::from(Ticks::PER_SECOND);
    Ticks(exact.div_euclid(denominator).clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64)
}

/// A picture's size with even sides, as 4:2:0 needs it.
pub(super) fn even(width: u32, height: u32) -> PictureSize {
    PictureSize { width: (width & !1).max(2), height: (height & !1).max(2) }
}

fn no_decoder(codec: Id, cause: ffmpeg::Error) -> String {
    format!("{} cannot be decoded by this build: {cause}", codec.name())
}
