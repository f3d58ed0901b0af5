//! Pictures in FFmpeg's hands: made from captured frames without a copy, or with memory of their own.

use std::ptr::NonNull;

use bytes::Bytes;
use ffmpeg_next::sys;
use sys::AVPixelFormat as Px;

use crate::base::ticks::Ticks;
use crate::base::units::PictureSize;
use crate::media::frame::{Frame, PixelFormat};

use super::{CodecError, check, no_memory};

/// The largest side of a picture that is taken from anyone: 8K. More is a corrupt header.
pub(in crate::encode) const SIDE_MAX: u32 = 8_192;

/// One picture (an `AVFrame` of video).
pub(in crate::encode) struct Picture(NonNull<sys::AVFrame>);

// SAFETY: an AVFrame is plain data with atomically counted buffers; nothing in it is bound to a thread.
unsafe impl Send for Picture {}

/// The layouts that encoders take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::encode) enum Layout {
    /// Planar 4:2:0.
    I420,
    /// Y, then U and V interleaved.
    Nv12,
}

impl Layout {
    pub(super) fn pixel_format(self) -> Px {
        match self {
            Layout::I420 => Px::AV_PIX_FMT_YUV420P,
            Layout::Nv12 => Px::AV_PIX_FMT_NV12,
        }
    }
}

impl Picture {
    fn empty() -> Result<Picture, CodecError> {
        // SAFETY: allocates, or returns null.
        NonNull::new(unsafe { sys::av_frame_alloc() }).map(Picture).ok_or_else(|| no_memory("make a picture"))
    }

    /// An empty picture for a decoder to fill.
    pub(super) fn for_decoder() -> Result<Picture, CodecError> {
        Picture::empty()
    }

    /// A black picture with memory of its own.
    pub(in crate::encode) fn black(layout: Layout, size: PictureSize) -> Result<Picture, CodecError> {
        let mut picture = Picture::with_memory(layout.pixel_format(), size)?;
        picture.fill(0, 16);
        picture.fill(1, 128);
        picture.fill(2, 128);
        Ok(picture)
    }

    fn with_memory(format: Px, size: PictureSize) -> Result<Picture, CodecError> {
        let picture = Picture::empty()?;
        // SAFETY: the frame is ours; its format and size are set before buffers are asked for.
        unsafe {
            let raw = picture.0.as_ptr();
            (*raw).format = format as i32;
            (*raw).width = size.width as i32;
            (*raw).height = size.height as i32;
            check("make a picture", sys::av_frame_get_buffer(raw, 0))?;
        }
        Ok(picture)
    }

    /// The captured picture itself, without a copy: its memory goes back to the camera when the encoder has
    /// dropped the last reference. Only for encoders, which read rows exactly; see [`Picture::copied`].
    ///
    /// # Errors
    /// When the planes are shorter than size and stride say.
    pub(in crate::encode) fn borrowed(frame: &Frame) -> Result<Picture, CodecError> {
        let format = raw_format(frame.format)?;
        let rows = checked_planes(frame)?;
        let picture = Picture::empty()?;
        for (index, plane) in frame.planes.iter().enumerate().take(rows.len()) {
            let owner = Box::new(plane.data.clone());
            let (data, len) = (owner.as_ptr().cast_mut(), owner.len());
            // SAFETY: the bytes live at a fixed address until `give_back` drops the box, which libavutil calls
            // exactly once, with the last reference; read-only buffers are never written by FFmpeg. On failure
            // the callback is not called and the box is taken back.
            unsafe {
                let owner = Box::into_raw(owner);
                let buffer = sys::av_buffer_create(
                    data,
                    len,
                    Some(give_back),
                    owner.cast(),
                    sys::AV_BUFFER_FLAG_READONLY,
                );
                if buffer.is_null() {
                    drop(Box::from_raw(owner));
                    return Err(no_memory("wrap a picture"));
                }
                let raw = picture.0.as_ptr();
                (*raw).buf[index] = buffer;
                (*raw).data[index] = data;
                (*raw).linesize[index] = plane.stride as i32;
            }
        }
        // SAFETY: the frame is ours.
        unsafe {
            let raw = picture.0.as_ptr();
            (*raw).extended_data = (&raw mut (*raw).data).cast();
            (*raw).format = format as i32;
            (*raw).width = frame.size.width as i32;
            (*raw).height = frame.size.height as i32;
        }
        Ok(picture)
    }

    /// The captured picture in memory of our own, for the converter: its vector loops may read some bytes past
    /// the last row, which in a camera's buffer can be the end of the mapping.
    ///
    /// # Errors
    /// When the planes are shorter than size and stride say.
    pub(in crate::encode) fn copied(frame: &Frame) -> Result<Picture, CodecError> {
        let rows = checked_planes(frame)?;
        let mut picture = Picture::with_memory(raw_format(frame.format)?, frame.size)?;
        for (index, (plane, (row_bytes, rows))) in frame.planes.iter().zip(rows).enumerate() {
            let (target, stride) = picture.plane_mut(index, rows);
            for row in 0..rows {
                target[row * stride..][..row_bytes]
                    .copy_from_slice(&plane.data[row * plane.stride..][..row_bytes]);
            }
        }
        Ok(picture)
    }

    /// When it was captured.
    #[cfg(test)]
    pub(in crate::encode) fn at(&self) -> Ticks {
        // SAFETY: the frame is ours.
        Ticks(unsafe { (*self.0.as_ptr()).pts })
    }

    /// When it was captured.
    pub(in crate::encode) fn set_at(&mut self, at: Ticks) {
        // SAFETY: the frame is ours.
        unsafe { (*self.0.as_ptr()).pts = at.0 };
    }

    /// Asks the encoder to make a keyframe of it, or to decide for itself.
    pub(in crate::encode) fn set_keyframe(&mut self, keyframe: bool) {
        let kind = if keyframe {
            sys::AVPictureType::AV_PICTURE_TYPE_I
        } else {
            sys::AVPictureType::AV_PICTURE_TYPE_NONE
        };
        // SAFETY: the frame is ours.
        unsafe { (*self.0.as_ptr()).pict_type = kind };
    }

    pub(in crate::encode) fn size(&self) -> PictureSize {
        // SAFETY: the frame is ours.
        let (width, height) = unsafe { ((*self.0.as_ptr()).width, (*self.0.as_ptr()).height) };
        PictureSize { width: width.max(0) as u32, height: height.max(0) as u32 }
    }

    /// The layout, where it is one that encoders take as it is.
    pub(in crate::encode) fn layout(&self) -> Option<Layout> {
        match self.format() {
            format if format == Px::AV_PIX_FMT_YUV420P as i32 && !self.full_range() => Some(Layout::I420),
            format if format == Px::AV_PIX_FMT_NV12 as i32 && !self.full_range() => Some(Layout::Nv12),
            _ => None,
        }
    }

    /// Luma from 0 to 255, as JPEG has it, instead of 16 to 235.
    pub(in crate::encode) fn full_range(&self) -> bool {
        // SAFETY: the frame is ours; AVFrame.color_range is an enum that FFmpeg itself wrote.
        let range = unsafe { (*self.0.as_ptr()).color_range };
        let jpeg = [
            Px::AV_PIX_FMT_YUVJ420P as i32,
            Px::AV_PIX_FMT_YUVJ422P as i32,
            Px::AV_PIX_FMT_YUVJ444P as i32,
            Px::AV_PIX_FMT_YUVJ440P as i32,
        ];
        range == sys::AVColorRange::AVCOL_RANGE_JPEG || jpeg.contains(&self.format())
    }

    /// A decoder saw damage in it.
    pub(super) fn damaged(&self) -> bool {
        // SAFETY: the frame is ours.
        let raw = unsafe { &*self.0.as_ptr() };
        raw.decode_error_flags != 0 || raw.flags & sys::AV_FRAME_FLAG_CORRUPT != 0
    }

    /// `enum AVPixelFormat` as a number.
    pub(super) fn format(&self) -> i32 {
        // SAFETY: the frame is ours.
        unsafe { (*self.0.as_ptr()).format }
    }

    pub(super) fn as_ptr(&self) -> *const sys::AVFrame {
        self.0.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sys::AVFrame {
        self.0.as_ptr()
    }

    /// A second picture over a part of this one's memory, from (`x`, `y`), both even, `size` large.
    pub(super) fn window(&mut self, x: u32, y: u32, size: PictureSize) -> Result<Picture, CodecError> {
        let whole = self.size();
        if x + size.width > whole.width || y + size.height > whole.height || x % 2 + y % 2 > 0 {
            return Err(CodecError::new("place a picture", "the window lies outside the picture"));
        }
        let window = Picture::empty()?;
        let layout =
            self.layout().ok_or_else(|| CodecError::new("place a picture", "not a 4:2:0 picture"))?;
        // SAFETY: av_frame_ref counts another reference on the same buffers; the pointers are moved inside
        // them, which the check above keeps in bounds.
        unsafe {
            let raw = window.0.as_ptr();
            check("place a picture", sys::av_frame_ref(raw, self.0.as_ptr()))?;
            (*raw).width = size.width as i32;
            (*raw).height = size.height as i32;
            let planes = if layout == Layout::I420 { 3 } else { 2 };
            for plane in 0..planes {
                let (down, across) = match (plane, layout) {
                    (0, _) => (y, x),
                    (_, Layout::Nv12) => (y / 2, x),
                    (_, Layout::I420) => (y / 2, x / 2),
                };
                let offset = down as usize * (*raw).linesize[plane] as usize + across as usize;
                (*raw).data[plane] = (*raw).data[plane].add(offset);
            }
        }
        Ok(window)
    }

    /// Another reference on the same picture.
    pub(in crate::encode) fn share(&self) -> Result<Picture, CodecError> {
        self.as_plain(self.format())
    }

    /// Nobody else refers to this picture's memory.
    pub(in crate::encode) fn is_writable(&mut self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { sys::av_frame_is_writable(self.0.as_ptr()) > 0 }
    }

    /// A second picture over the same memory that calls itself `format`, a format of the same shape.
    pub(super) fn as_plain(&self, format: i32) -> Result<Picture, CodecError> {
        let copy = Picture::empty()?;
        // SAFETY: av_frame_ref counts another reference on the same buffers.
        unsafe {
            check("scale", sys::av_frame_ref(copy.0.as_ptr(), self.0.as_ptr()))?;
            (*copy.0.as_ptr()).format = format;
        }
        Ok(copy)
    }

    /// One plane's bytes and its stride, for `rows` rows; empty where there is no such plane.
    #[cfg(test)]
    pub(in crate::encode) fn plane(&self, index: usize, rows: usize) -> (&[u8], usize) {
        // SAFETY: data[index] points to at least rows * linesize readable bytes for pictures that FFmpeg
        // allocated or decoded, with rows at most the plane's height, as the tests ask for.
        unsafe {
            let raw = &*self.0.as_ptr();
            let stride = raw.linesize[index].max(0) as usize;
            if raw.data[index].is_null() {
                return (&[], 0);
            }
            (std::slice::from_raw_parts(raw.data[index], stride * rows), stride)
        }
    }

    /// Decoded sound (float, planar), which FFmpeg keeps in the same structure.
    #[cfg(test)]
    pub(in crate::encode) fn sound(&self, channel: usize) -> Vec<f32> {
        // SAFETY: decoders of AAC give float planes of nb_samples each.
        unsafe {
            let raw = &*self.0.as_ptr();
            let data: *const f32 = raw.data[channel].cast();
            (0..raw.nb_samples.max(0) as usize).map(|index| data.add(index).read_unaligned()).collect()
        }
    }

    /// One plane of memory of our own, and its stride.
    fn plane_mut(&mut self, index: usize, rows: usize) -> (&mut [u8], usize) {
        // SAFETY: only called on pictures from `with_memory`, whose planes hold linesize bytes for each row
        // and which nobody else refers to yet.
        unsafe {
            let raw = &*self.0.as_ptr();
            let stride = raw.linesize[index].max(0) as usize;
            if raw.data[index].is_null() {
                return (&mut [], 0);
            }
            (std::slice::from_raw_parts_mut(raw.data[index], stride * rows), stride)
        }
    }

    fn fill(&mut self, plane: usize, value: u8) {
        let height = self.size().height as usize;
        let rows = if plane == 0 { height } else { height.div_ceil(2) };
        self.plane_mut(plane, rows).0.fill(value);
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: the frame is ours and freed once.
        unsafe { sys::av_frame_free(&raw mut raw) };
    }
}

unsafe extern "C" fn give_back(owner: *mut libc::c_void, _data: *mut u8) {
    // SAFETY: `owner` is the box that `borrowed` leaked for this buffer, handed back once.
    drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
}

fn raw_format(format: PixelFormat) -> Result<Px, CodecError> {
    Ok(match format {
        PixelFormat::I420 => Px::AV_PIX_FMT_YUV420P,
        PixelFormat::Nv12 => Px::AV_PIX_FMT_NV12,
        PixelFormat::Yuyv => Px::AV_PIX_FMT_YUYV422,
        PixelFormat::Uyvy => Px::AV_PIX_FMT_UYVY422,
        PixelFormat::Bgr24 => Px::AV_PIX_FMT_BGR24,
        PixelFormat::Mjpeg => return Err(CodecError::new("take a picture", "a JPEG must be decoded first")),
    })
}

/// Bytes in a row, and rows, of each plane; refuses what the planes do not hold.
fn checked_planes(frame: &Frame) -> Result<heapless::Vec<(usize, usize), 3>, CodecError> {
    let refuse = |cause: &str| Err(CodecError::new("take a picture", cause));
    let PictureSize { width, height } = frame.size;
    if width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX {
        return refuse("its size is out of bounds");
    }
    let (width, height) = (width as usize, height as usize);
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let wanted: &[(usize, usize)] = match frame.format {
        PixelFormat::I420 => &[(width, height), (half_width, half_height), (half_width, half_height)],
        PixelFormat::Nv12 => &[(width, height), (half_width * 2, half_height)],
        PixelFormat::Yuyv | PixelFormat::Uyvy => &[(half_width * 4, height)],
        PixelFormat::Bgr24 => &[(width * 3, height)],
        PixelFormat::Mjpeg => &[],
    };
    if frame.planes.len() < wanted.len() {
        return refuse("planes are missing");
    }
    for (plane, (row_bytes, rows)) in frame.planes.iter().zip(wanted) {
        let fits = plane.stride >= *row_bytes
            && i32::try_from(plane.stride).is_ok()
            && plane.stride.checked_mul(rows - 1).is_some_and(|start| start + row_bytes <= plane.data.len());
        if !fits {
            return refuse("a plane is shorter than the picture");
        }
    }
    heapless::Vec::from_slice(wanted).or_else(|_| refuse("it has too many planes"))
}
