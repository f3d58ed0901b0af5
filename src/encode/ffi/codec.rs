//! Encoders and the JPEG decoder (libavcodec).

use std::ptr::NonNull;

use bytes::Bytes;
use ffmpeg_next::sys;

use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};
use crate::encode::colour::Colour;

use super::picture::{Layout, Picture, SIDE_MAX};
use super::{CodecError, c_string, check, no_memory};

/// Whether this build of FFmpeg has an encoder of that name.
pub(in crate::encode) fn has_encoder(name: &str) -> bool {
    let name = c_string(name);
    // SAFETY: the name is a C string that outlives the call.
    !unsafe { sys::avcodec_find_encoder_by_name(name.as_ptr()) }.is_null()
}

/// How a video encoder is opened.
#[derive(Debug, Clone)]
pub(in crate::encode) struct VideoSettings<'a> {
    /// The encoder's name in FFmpeg.
    pub(in crate::encode) name: &'a str,
    /// Picture size, both sides even.
    pub(in crate::encode) size: PictureSize,
    /// Nominal frame rate, which rate control reckons with.
    pub(in crate::encode) fps: FrameRate,
    /// Target and, with [`VideoSettings::buffer_bits`], ceiling.
    pub(in crate::encode) bitrate: BitrateBps,
    /// The decoder's buffer that rate control keeps from running dry.
    pub(in crate::encode) buffer_bits: u64,
    /// The most frames between keyframes.
    pub(in crate::encode) keyframe_every_max: u32,
    /// What pictures look like.
    pub(in crate::encode) layout: Layout,
    /// What their numbers mean.
    pub(in crate::encode) colour: Colour,
    /// Threads that share one picture.
    pub(in crate::encode) threads: u32,
    /// The encoder's own options.
    pub(in crate::encode) options: &'a [(&'a str, String)],
}

/// One packet out of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::encode) struct Coded {
    /// The encoder's bytes, in its own memory.
    pub(in crate::encode) payload: Bytes,
    /// Presentation time in the encoder's time base.
    pub(in crate::encode) pts: i64,
    /// It decodes by itself.
    pub(in crate::encode) keyframe: bool,
}

/// An open encoder or decoder.
struct Context(NonNull<sys::AVCodecContext>);

// SAFETY: an AVCodecContext may move between threads as long as one at a time uses it, which `&mut` keeps.
unsafe impl Send for Context {}

impl Context {
    fn new(codec: *const sys::AVCodec) -> Result<Context, CodecError> {
        // SAFETY: `codec` is one that FFmpeg handed out; they live for ever.
        NonNull::new(unsafe { sys::avcodec_alloc_context3(codec) })
            .map(Context)
            .ok_or_else(|| no_memory("open a codec"))
    }

    fn open(&mut self, codec: *const sys::AVCodec, options: &[(&str, String)]) -> Result<(), CodecError> {
        let mut dictionary = std::ptr::null_mut();
        // SAFETY: keys and values are copied by av_dict_set; the dictionary is freed on every way out; the
        // context is ours and not open yet.
        unsafe {
            for (key, value) in options {
                let (key, value) = (c_string(key), c_string(value));
                sys::av_dict_set(&raw mut dictionary, key.as_ptr(), value.as_ptr(), 0);
            }
            let opened = sys::avcodec_open2(self.0.as_ptr(), codec, &raw mut dictionary);
            let left_over = sys::av_dict_count(dictionary);
            sys::av_dict_free(&raw mut dictionary);
            check("open a codec", opened)?;
            if left_over > 0 {
                return Err(CodecError::new("open a codec", "it does not know one of its options"));
            }
        }
        Ok(())
    }

    fn raw(&mut self) -> &mut sys::AVCodecContext {
        // SAFETY: allocated by us, freed only in Drop, borrowed as long as `self` is.
        unsafe { self.0.as_mut() }
    }

    /// `false`: it has no room for another frame now.
    fn send_frame(&mut self, frame: *const sys::AVFrame) -> Result<bool, CodecError> {
        // SAFETY: the context is open; the frame is valid for the call, which takes its own references.
        match unsafe { sys::avcodec_send_frame(self.0.as_ptr(), frame) } {
            full if full == sys::AVERROR(libc::EAGAIN) => Ok(false),
            code => check("encode", code).map(|_| true),
        }
    }

    fn receive_packet(&mut self) -> Result<Option<Coded>, CodecError> {
        let packet = Packet::new()?;
        // SAFETY: the context is open and the packet ours.
        let code = unsafe { sys::avcodec_receive_packet(self.0.as_ptr(), packet.0.as_ptr()) };
        if code == sys::AVERROR(libc::EAGAIN) || code == sys::AVERROR_EOF {
            return Ok(None);
        }
        check("take a packet from the encoder", code)?;
        // SAFETY: the packet is ours and filled.
        let (pts, flags) = unsafe { ((*packet.0.as_ptr()).pts, (*packet.0.as_ptr()).flags) };
        Ok(Some(Coded {
            keyframe: flags & sys::AV_PKT_FLAG_KEY != 0,
            pts,
            payload: Bytes::from_owner(packet),
        }))
    }

    /// The codec's configuration record or headers; empty where it has none.
    fn extradata(&self) -> Bytes {
        // SAFETY: extradata is null or holds extradata_size readable bytes while the context lives.
        unsafe {
            let raw = self.0.as_ref();
            if raw.extradata.is_null() || raw.extradata_size <= 0 {
                return Bytes::new();
            }
            Bytes::copy_from_slice(std::slice::from_raw_parts(raw.extradata, raw.extradata_size as usize))
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: the context is ours and freed once.
        unsafe { sys::avcodec_free_context(&raw mut raw) };
    }
}

/// A packet, readable as bytes.
struct Packet(NonNull<sys::AVPacket>);

// SAFETY: an AVPacket is plain data over an atomically counted buffer.
unsafe impl Send for Packet {}

impl Packet {
    fn new() -> Result<Packet, CodecError> {
        // SAFETY: allocates, or returns null.
        NonNull::new(unsafe { sys::av_packet_alloc() }).map(Packet).ok_or_else(|| no_memory("make a packet"))
    }

    /// A packet with a copy of `bytes`, padded as decoders need it.
    fn with_copy(bytes: &[u8]) -> Result<Packet, CodecError> {
        let packet = Packet::new()?;
        let len = i32::try_from(bytes.len()).map_err(|_| no_memory("make a packet"))?;
        // SAFETY: av_new_packet makes `len` writable bytes and zeroes the padding behind them.
        unsafe {
            check("make a packet", sys::av_new_packet(packet.0.as_ptr(), len))?;
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), (*packet.0.as_ptr()).data, bytes.len());
        }
        Ok(packet)
    }
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: data is null or holds `size` readable bytes as long as the packet lives; nobody writes them.
        unsafe {
            let raw = self.0.as_ref();
            if raw.data.is_null() || raw.size <= 0 {
                return &[];
            }
            std::slice::from_raw_parts(raw.data, raw.size as usize)
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: the packet is ours and freed once.
        unsafe { sys::av_packet_free(&raw mut raw) };
    }
}

/// A video encoder.
pub(in crate::encode) struct VideoContext {
    context: Context,
    /// The ceiling to set with the next picture; see [`VideoContext::set_bitrate`].
    lower_ceiling: Option<(u64, u64)>,
}

impl VideoContext {
    /// Opens the encoder. Times are [`Ticks`].
    pub(in crate::encode) fn open(settings: &VideoSettings<'_>) -> Result<VideoContext, CodecError> {
        let name = c_string(settings.name);
        // SAFETY: the name is a C string that outlives the call.
        let codec = unsafe { sys::avcodec_find_encoder_by_name(name.as_ptr()) };
        if codec.is_null() {
            return Err(CodecError::new("open a codec", "not in this build"));
        }
        let mut context = Context::new(codec)?;
        let raw = context.raw();
        raw.width = settings.size.width as i32;
        raw.height = settings.size.height as i32;
        raw.pix_fmt = settings.layout.pixel_format();
        raw.time_base = sys::AVRational { num: 1, den: Ticks::PER_SECOND as i32 };
        raw.framerate =
            sys::AVRational { num: settings.fps.num.max(1) as i32, den: settings.fps.den.max(1) as i32 };
        raw.sample_aspect_ratio = sys::AVRational { num: 1, den: 1 };
        raw.bit_rate = settings.bitrate.0 as i64;
        raw.rc_max_rate = settings.bitrate.0 as i64;
        raw.rc_buffer_size = i32::try_from(settings.buffer_bits).unwrap_or(i32::MAX);
        raw.gop_size = i32::try_from(settings.keyframe_every_max).unwrap_or(i32::MAX);
        raw.max_b_frames = 0;
        raw.thread_count = settings.threads.max(1) as i32;
        raw.thread_type = sys::FF_THREAD_SLICE;
        raw.flags |= (sys::AV_CODEC_FLAG_GLOBAL_HEADER | sys::AV_CODEC_FLAG_CLOSED_GOP) as i32;
        raw.color_range = sys::AVColorRange::AVCOL_RANGE_MPEG;
        raw.chroma_sample_location = sys::AVChromaLocation::AVCHROMA_LOC_LEFT;
        raw.color_primaries = sys::AVColorPrimaries::AVCOL_PRI_BT709;
        raw.color_trc = sys::AVColorTransferCharacteristic::AVCOL_TRC_BT709;
        raw.colorspace = match settings.colour {
            Colour::Bt709 => sys::AVColorSpace::AVCOL_SPC_BT709,
            Colour::Bt601 => sys::AVColorSpace::AVCOL_SPC_SMPTE170M,
        };
        context.open(codec, settings.options)?;
        Ok(VideoContext { context, lower_ceiling: None })
    }

    /// Hands a picture in; `false`: it has no room, packets must be taken first. Every packet that is ready should
    /// be taken before the next picture.
    pub(in crate::encode) fn send(&mut self, picture: &Picture) -> Result<bool, CodecError> {
        let sent = self.context.send_frame(picture.as_ptr());
        if let Some((max_bits, buffer_bits)) = self.lower_ceiling.take() {
            self.set_ceiling(max_bits, buffer_bits);
        }
        sent
    }

    /// A packet, if one is ready.
    pub(in crate::encode) fn receive(&mut self) -> Result<Option<Coded>, CodecError> {
        self.context.receive_packet()
    }

    /// Parameter sets as the encoder gave them at opening; empty where they come with the keyframes.
    pub(in crate::encode) fn extradata(&self) -> Bytes {
        self.context.extradata()
    }

    /// Another bitrate from the next picture on, for encoders that take it while running (libx264 does: its
    /// wrapper compares these fields at each picture).
    ///
    /// A ceiling below the old target makes x264 complain and guess, and its wrapper sets the ceiling first; so
    /// on the way down the ceiling follows one picture later.
    pub(in crate::encode) fn set_bitrate(&mut self, bitrate: BitrateBps, buffer_bits: u64) {
        let raw = self.context.raw();
        let lower = (bitrate.0 as i64) < raw.bit_rate;
        raw.bit_rate = bitrate.0 as i64;
        if lower {
            self.lower_ceiling = Some((bitrate.0, buffer_bits));
        } else {
            self.lower_ceiling = None;
            self.set_ceiling(bitrate.0, buffer_bits);
        }
    }

    fn set_ceiling(&mut self, max_bits: u64, buffer_bits: u64) {
        let raw = self.context.raw();
        raw.rc_max_rate = max_bits as i64;
        raw.rc_buffer_size = i32::try_from(buffer_bits).unwrap_or(i32::MAX);
    }
}

/// The AAC-LC encoder.
pub(in crate::encode) struct SoundContext {
    context: Context,
    channels: usize,
}

impl SoundContext {
    /// Opens FFmpeg's own AAC encoder. Times are samples.
    pub(in crate::encode) fn open(
        sample_rate: u32,
        channels: u8,
        bitrate: BitrateBps,
    ) -> Result<SoundContext, CodecError> {
        let name = c_string("aac");
        // SAFETY: the name is a C string that outlives the call.
        let codec = unsafe { sys::avcodec_find_encoder_by_name(name.as_ptr()) };
        if codec.is_null() {
            return Err(CodecError::new("open the AAC encoder", "not in this build"));
        }
        let mut context = Context::new(codec)?;
        let raw = context.raw();
        raw.sample_rate = sample_rate as i32;
        raw.sample_fmt = sys::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        raw.bit_rate = bitrate.0 as i64;
        raw.time_base = sys::AVRational { num: 1, den: sample_rate as i32 };
        raw.flags |= sys::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
        // SAFETY: fills the layout in place; native orders own no memory.
        unsafe { sys::av_channel_layout_default(&raw mut raw.ch_layout, i32::from(channels)) };
        context.open(codec, &[])?;
        Ok(SoundContext { context, channels: usize::from(channels) })
    }

    /// Samples of each channel in one AAC frame (1,024).
    pub(in crate::encode) fn frame_samples(&mut self) -> usize {
        self.context.raw().frame_size.max(0) as usize
    }

    /// `AudioSpecificConfig`.
    pub(in crate::encode) fn extradata(&self) -> Bytes {
        self.context.extradata()
    }

    /// Hands in one frame: as many samples of each channel as [`SoundContext::frame_samples`] says. Packets come
    /// out with their own times: those of `pts` less the encoder's priming.
    pub(in crate::encode) fn send(&mut self, pts: i64, channels: &[&[f32]]) -> Result<(), CodecError> {
        let samples = self.frame_samples();
        if channels.len() != self.channels || channels.iter().any(|plane| plane.len() != samples) {
            return Err(CodecError::new("encode sound", "a frame of the wrong shape"));
        }
        // SAFETY: the frame is made, filled within its planes (float, planar, `samples` each) and freed here;
        // the encoder takes its own reference.
        unsafe {
            let mut frame = sys::av_frame_alloc();
            if frame.is_null() {
                return Err(no_memory("encode sound"));
            }
            (*frame).format = sys::AVSampleFormat::AV_SAMPLE_FMT_FLTP as i32;
            (*frame).nb_samples = samples as i32;
            (*frame).sample_rate = self.context.raw().sample_rate;
            (*frame).pts = pts;
            sys::av_channel_layout_default(&raw mut (*frame).ch_layout, self.channels as i32);
            let mut sent = check("encode sound", sys::av_frame_get_buffer(frame, 0)).map(drop);
            if sent.is_ok() {
                for (index, plane) in channels.iter().enumerate() {
                    let target = *(*frame).extended_data.add(index);
                    std::ptr::copy_nonoverlapping(plane.as_ptr().cast(), target, size_of_val(*plane));
                }
                sent = self.context.send_frame(frame).map(drop);
            }
            sys::av_frame_free(&raw mut frame);
            sent
        }
    }

    /// A packet, if one is ready.
    pub(in crate::encode) fn receive(&mut self) -> Result<Option<Coded>, CodecError> {
        self.context.receive_packet()
    }
}

/// A decoder of single pictures.
pub(in crate::encode) struct PictureDecoder {
    context: Context,
}

impl PictureDecoder {
    /// JPEG, one picture in, one out. A picture with broken data is an error; `lenient` takes it as it comes.
    pub(in crate::encode) fn mjpeg(lenient: bool) -> Result<PictureDecoder, CodecError> {
        let mut decoder = PictureDecoder::open(sys::AVCodecID::AV_CODEC_ID_MJPEG, &[])?;
        decoder.context.raw().err_recognition = if lenient { 0 } else { sys::AV_EF_EXPLODE };
        Ok(decoder)
    }

    /// H.264 in AVCC with its record, for looking at what was encoded.
    #[cfg(test)]
    pub(in crate::encode) fn h264(record: &[u8]) -> Result<PictureDecoder, CodecError> {
        PictureDecoder::open(sys::AVCodecID::AV_CODEC_ID_H264, record)
    }

    fn open(id: sys::AVCodecID, extradata: &[u8]) -> Result<PictureDecoder, CodecError> {
        // SAFETY: looks a constant up.
        let codec = unsafe { sys::avcodec_find_decoder(id) };
        if codec.is_null() {
            return Err(CodecError::new("open a decoder", "not in this build"));
        }
        let mut context = Context::new(codec)?;
        let raw = context.raw();
        // More threads would hold pictures back: JPEG decodes in parallel only by whole pictures.
        raw.thread_count = 1;
        // A corrupt header must not ask for gigabytes.
        raw.max_pixels = i64::from(SIDE_MAX) * i64::from(SIDE_MAX) / 2;
        if !extradata.is_empty() {
            let padded = extradata.len() + sys::AV_INPUT_BUFFER_PADDING_SIZE as usize;
            // SAFETY: av_mallocz gives zeroed bytes that the context frees with itself.
            unsafe {
                raw.extradata = sys::av_mallocz(padded).cast();
                if raw.extradata.is_null() {
                    return Err(no_memory("open a decoder"));
                }
                std::ptr::copy_nonoverlapping(extradata.as_ptr(), raw.extradata, extradata.len());
            }
            raw.extradata_size = extradata.len() as i32;
        }
        context.open(codec, &[])?;
        Ok(PictureDecoder { context })
    }

    /// Sound of any kind that brings its configuration, for listening to what was encoded.
    #[cfg(test)]
    pub(in crate::encode) fn aac(record: &[u8]) -> Result<PictureDecoder, CodecError> {
        PictureDecoder::open(sys::AVCodecID::AV_CODEC_ID_AAC, record)
    }

    /// Decodes one picture.
    ///
    /// # Errors
    /// When the bytes are no whole picture; the decoder goes on with the next.
    pub(in crate::encode) fn decode(&mut self, bytes: &[u8]) -> Result<Picture, CodecError> {
        let packet = Packet::with_copy(bytes)?;
        let mut picture = Picture::for_decoder()?;
        // SAFETY: context, packet and frame are ours; the decoder keeps its own references.
        unsafe {
            let raw = self.context.0.as_ptr();
            check("decode a picture", sys::avcodec_send_packet(raw, packet.0.as_ptr()))?;
            check("decode a picture", sys::avcodec_receive_frame(raw, picture.as_mut_ptr()))?;
        }
        if picture.damaged() {
            return Err(CodecError::new("decode a picture", "it is damaged"));
        }
        Ok(picture)
    }
}

/// Encodes one JPEG, as a camera would.
#[cfg(test)]
pub(in crate::encode) fn jpeg_of(picture: &Picture) -> Result<Bytes, CodecError> {
    let name = c_string("mjpeg");
    // SAFETY: the name is a C string that outlives the call.
    let codec = unsafe { sys::avcodec_find_encoder_by_name(name.as_ptr()) };
    let mut context = Context::new(codec)?;
    let raw = context.raw();
    raw.width = picture.size().width as i32;
    raw.height = picture.size().height as i32;
    raw.pix_fmt = sys::AVPixelFormat::AV_PIX_FMT_YUVJ420P;
    raw.time_base = sys::AVRational { num: 1, den: 30 };
    raw.qmin = 2;
    raw.qmax = 3;
    raw.bit_rate = 50_000_000;
    context.open(codec, &[])?;
    let full = picture.as_plain(sys::AVPixelFormat::AV_PIX_FMT_YUVJ420P as i32)?;
    context.send_frame(full.as_ptr())?;
    context.send_frame(std::ptr::null())?;
    let coded = context.receive_packet()?.ok_or_else(|| CodecError::new("make a JPEG", "nothing came"))?;
    Ok(coded.payload)
}
