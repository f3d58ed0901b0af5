//! What all video encoders are to this room, and x264 as one of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};

use super::colour::Colour;
use super::ffi::CodecError;
use super::ffi::codec::{VideoContext, VideoSettings};
use super::ffi::picture::{Layout, Picture};

/// What an encoder is opened for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wish {
    /// Picture size, both sides even.
    pub(super) size: PictureSize,
    /// Nominal rate.
    pub(super) fps: FrameRate,
    /// Target bitrate.
    pub(super) bitrate: BitrateBps,
    /// Time between keyframes; who encodes asks for them, the encoder only keeps a backstop.
    pub(super) gop: Duration,
    /// What the pictures' numbers mean.
    pub(super) colour: Colour,
    /// Steps of x264's presets faster than size and cores suggest, because the box turned out too slow.
    pub(super) haste: usize,
}

/// One coded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodedPicture {
    /// When the picture was captured.
    pub(super) at: Ticks,
    /// An IDR.
    pub(super) keyframe: bool,
    /// AVCC with four-byte lengths.
    pub(super) payload: Bytes,
    /// The configuration record, where this picture brings it or changed it.
    pub(super) record: Option<Bytes>,
}

/// Where coded pictures go.
pub(super) type Sink<'a> = &'a mut dyn FnMut(CodedPicture);

/// An open video encoder.
pub(super) trait VideoCodec: Send {
    /// The picture layout it takes.
    fn layout(&self) -> Layout;

    /// Encodes one picture. Its packet may come now, or later by [`VideoCodec::poll`].
    ///
    /// # Errors
    /// When the encoder is dead; it is not used again.
    fn encode(&mut self, picture: &mut Picture, keyframe: bool, sink: Sink<'_>) -> Result<(), CodecError>;

    /// Hands on what became ready meanwhile.
    ///
    /// # Errors
    /// When the encoder is dead; it is not used again.
    fn poll(&mut self, sink: Sink<'_>) -> Result<(), CodecError>;

    /// Another bitrate from the next picture on; `buffer_bits` is the decoder's buffer. `false`: it cannot, and
    /// must be opened again.
    fn set_bitrate(&mut self, bitrate: BitrateBps, buffer_bits: u64) -> bool;
}

/// Opens one encoder.
pub(super) type Open = Arc<dyn Fn(&Wish) -> Result<Box<dyn VideoCodec>, CodecError> + Send + Sync>;

/// A kind of encoder, to be opened as often as there are streams.
#[derive(Clone)]
pub(super) struct Kind {
    /// Its name in FFmpeg and in `encoder = "..."`.
    pub(super) name: &'static str,
    /// A chip does the work.
    pub(super) hardware: bool,
    /// Opens one.
    pub(super) open: Open,
}

/// x264's name.
pub(super) const X264: &str = "libx264";

/// x264's presets, best picture first. Without look-ahead and B-frames the slower ones win next to nothing: at
/// 1080p and 4 Mbit/s, CPU time and PSNR for each picture of a street scene were 9.4 ms and 39.0 dB with
/// ultrafast, 16.5 ms and 39.4 dB with superfast, 28 ms and 39.4 dB with veryfast.
const PRESETS: [&str; 3] = ["veryfast", "superfast", "ultrafast"];

/// The decoder's buffer in bits: how long a burst (a keyframe) may take on a line that is as fast as the bitrate.
/// Half a second to one is usual for live streams; less delay and poorer keyframes at the lower end.
pub(super) fn buffer_bits(bitrate: BitrateBps) -> u64 {
    bitrate.0 * 6 / 10
}

/// x264, on the thread that calls it and its own helpers, tuned for delay: each picture comes out at once.
pub(super) struct X264Codec {
    context: VideoContext,
    layout: Layout,
    record: Option<Bytes>,
}

impl X264Codec {
    /// Opens x264 for pictures of `layout`.
    ///
    /// # Errors
    /// When x264 refuses, for want of memory or for the size.
    pub(super) fn open(wish: &Wish, layout: Layout) -> Result<X264Codec, CodecError> {
        let cores = cores();
        // Three pictures of slack over the GOP: keyframes are asked for by time, this is what happens when
        // nobody asks.
        let gop_frames = wish.gop.as_secs_f64() * wish.fps.per_second();
        let context = VideoContext::open(&VideoSettings {
            name: X264,
            size: wish.size,
            fps: wish.fps,
            bitrate: wish.bitrate,
            buffer_bits: buffer_bits(wish.bitrate),
            keyframe_every_max: (gop_frames * 2.0).clamp(1.0, 1e6) as u32 + 3,
            layout,
            colour: wish.colour,
            threads: threads(wish.size, cores),
            options: &[
                ("preset", PRESETS[preset(wish, cores)].to_owned()),
                // No look-ahead, no B-frames, slices shared among threads instead of pictures.
                ("tune", "zerolatency".to_owned()),
                ("profile", "high".to_owned()),
                ("forced-idr", "1".to_owned()),
                // Length-prefixed NAL units and a ready-made avcC spare a pass over the bytes. A scene cut
                // would put a keyframe where nobody asked for one, and a burst on the line.
                ("x264-params", "annexb=0:scenecut=0".to_owned()),
            ],
        })?;
        let record = context.extradata();
        if record.is_empty() {
            return Err(CodecError::new("open libx264", "it gave no configuration record"));
        }
        Ok(X264Codec { context, layout, record: Some(record) })
    }
}

impl VideoCodec for X264Codec {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, picture: &mut Picture, keyframe: bool, sink: Sink<'_>) -> Result<(), CodecError> {
        picture.set_keyframe(keyframe);
        // x264 always has room: each picture comes out with the call that takes it.
        self.context.send(picture)?;
        self.poll(sink)
    }

    fn poll(&mut self, sink: Sink<'_>) -> Result<(), CodecError> {
        while let Some(coded) = self.context.receive()? {
            sink(CodedPicture {
                at: Ticks(coded.pts),
                keyframe: coded.keyframe,
                payload: coded.payload,
                record: self.record.take(),
            });
        }
        Ok(())
    }

    fn set_bitrate(&mut self, bitrate: BitrateBps, buffer_bits: u64) -> bool {
        self.context.set_bitrate(bitrate, buffer_bits);
        true
    }
}

/// Cores that this process may use.
pub(super) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// Which of [`PRESETS`]: the best picture that leaves half of the machine to others, by pixels a second on each
/// core, and faster where that turned out too slow.
fn preset(wish: &Wish, cores: u32) -> usize {
    let pixels = f64::from(wish.size.width) * f64::from(wish.size.height) * wish.fps.per_second();
    let suggested = match pixels / f64::from(cores.max(1)) {
        load if load <= 16e6 => 0,
        load if load <= 70e6 => 1,
        _ => 2,
    };
    (suggested + wish.haste).min(PRESETS.len() - 1)
}

/// One step faster than `wish`, if there is one.
pub(super) fn hastened(wish: &Wish) -> Option<Wish> {
    let faster = Wish { haste: wish.haste + 1, ..*wish };
    (preset(&faster, cores()) > preset(wish, cores())).then_some(faster)
}

/// Slices of one picture are encoded side by side. Each costs a little quality, and under 64 rows of
/// macroblocks' worth of work they cost more than they win.
fn threads(size: PictureSize, cores: u32) -> u32 {
    let worth = (size.height / 240).max(1);
    cores.min(worth).min(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preset_follows_the_work_for_each_core_and_haste() {
        let wish = |width, height, haste| Wish {
            size: PictureSize { width, height },
            fps: FrameRate::whole(30),
            bitrate: BitrateBps(1),
            gop: Duration::from_secs(2),
            colour: Colour::Bt709,
            haste,
        };
        for (width, height, cores, haste, want) in [
            (1280, 720, 2, 0, "veryfast"),
            (1920, 1080, 2, 0, "superfast"),
            (1920, 1080, 8, 0, "veryfast"),
            (3840, 2160, 2, 0, "ultrafast"),
            (1280, 720, 2, 1, "superfast"),
            (1280, 720, 2, 9, "ultrafast"),
        ] {
            assert_eq!(
                PRESETS[preset(&wish(width, height, haste), cores)],
                want,
                "{width}x{height} on {cores}"
            );
        }
    }
}
