//! Encoders that are chips, as FFmpeg drives them. Always used behind a [`Guarded`](super::guard::Guarded).
//!
//! FFmpeg's V4L2 wrapper looks for finished packets only while it takes a picture, so a chip that is not done by
//! then gives its packet with the next one: up to a frame time later than it could.

use std::time::Duration;

use bytes::Bytes;

use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::media::h26x::ParameterSets;
use crate::media::packet::VideoCodec as Codec;

use super::codec::{CodedPicture, Sink, VideoCodec, Wish, buffer_bits};
use super::ffi::CodecError;
use super::ffi::codec::{Coded, VideoContext, VideoSettings};
use super::ffi::picture::{Layout, Picture};

/// A chip whose queue is full makes room within a picture's time, or is stuck.
const ROOM_PATIENCE: Duration = Duration::from_millis(500);
const ROOM_POLL: Duration = Duration::from_millis(1);

/// One chip's encoder.
pub(super) struct Hardware {
    context: VideoContext,
    layout: Layout,
    sets: ParameterSets,
    record: Option<Bytes>,
}

impl Hardware {
    /// Opens FFmpeg's encoder `name` with the layout that the driver takes.
    ///
    /// # Errors
    /// What FFmpeg said last, for neither layout being taken.
    pub(super) fn open(name: &str, wish: &Wish) -> Result<Hardware, CodecError> {
        // Most chips want NV12; some stateful V4L2 drivers only planar.
        let context = open(name, wish, Layout::Nv12).map(|context| (context, Layout::Nv12));
        let (context, layout) = match context {
            Ok(opened) => opened,
            Err(_) => (open(name, wish, Layout::I420)?, Layout::I420),
        };
        let mut sets = ParameterSets::new(Codec::H264);
        sets.take_annexb(&context.extradata());
        Ok(Hardware { context, layout, sets, record: None })
    }

    fn repack(&mut self, coded: &Coded) -> Option<CodedPicture> {
        let unit = self.sets.take_annexb(&coded.payload);
        if unit.sets_changed || self.record.is_none() {
            self.record = self.sets.config().ok().map(|config| config.record);
        }
        // Some drivers hand out the parameter sets as a packet of their own before the first picture.
        let record = self.record.clone().filter(|_| unit.keyframe);
        (!unit.payload.is_empty()).then_some(CodedPicture {
            at: Ticks(coded.pts),
            keyframe: unit.keyframe,
            payload: unit.payload,
            record,
        })
    }
}

impl VideoCodec for Hardware {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, picture: &mut Picture, keyframe: bool, sink: Sink<'_>) -> Result<(), CodecError> {
        picture.set_keyframe(keyframe);
        let deadline = clock::now() + ROOM_PATIENCE;
        while !self.context.send(picture)? {
            if clock::now() > deadline {
                return Err(CodecError::new("encode", "its queue stays full"));
            }
            self.poll(&mut *sink)?;
            std::thread::park_timeout(ROOM_POLL);
        }
        self.poll(sink)
    }

    fn poll(&mut self, sink: Sink<'_>) -> Result<(), CodecError> {
        while let Some(coded) = self.context.receive()? {
            if let Some(picture) = self.repack(&coded) {
                sink(picture);
            }
        }
        Ok(())
    }

    /// FFmpeg's wrappers read the bitrate at opening only.
    fn set_bitrate(&mut self, _bitrate: BitrateBps, _buffer_bits: u64) -> bool {
        false
    }
}

fn open(name: &str, wish: &Wish, layout: Layout) -> Result<VideoContext, CodecError> {
    let gop_frames = wish.gop.as_secs_f64() * wish.fps.per_second();
    VideoContext::open(&VideoSettings {
        name,
        size: wish.size,
        fps: wish.fps,
        bitrate: wish.bitrate,
        buffer_bits: buffer_bits(wish.bitrate),
        keyframe_every_max: gop_frames.clamp(1.0, 1e6) as u32,
        layout,
        colour: wish.colour,
        threads: 1,
        options: &[],
    })
}
