//! From a captured picture to one that the encoder takes: decoded, converted, scaled, framed in black.

use crate::base::units::PictureSize;
use crate::media::frame::{Frame, PixelFormat};

use super::colour::Colour;
use super::ffi::CodecError;
use super::ffi::codec::PictureDecoder;
use super::ffi::picture::{Layout, Picture};
use super::ffi::scale::Scaler;

/// Pictures that may be under way in an encoder at once before more memory is taken; they are used again.
const CANVASES_MAX: usize = 4;

/// A damaged JPEG is dropped; a camera whose JPEGs are all damaged has its own idea of the format, and grey blocks
/// are better than no picture.
const DAMAGED_MAX: u32 = 30;

/// What the encoder takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) size: PictureSize,
    pub(super) layout: Layout,
    pub(super) colour: Colour,
}

/// Where a picture lies inside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    x: u32,
    y: u32,
    size: PictureSize,
}

/// Makes pictures for one encoder. What fits already goes straight through, without a copy.
pub(super) struct Preparer {
    decoder: Option<PictureDecoder>,
    /// JPEGs in a row that were refused.
    damaged: u32,
    /// JPEGs in a row without their end marker.
    cut_short: u32,
    scaler: Scaler,
    canvases: Vec<Picture>,
    /// What the canvases are for; the black around the picture is painted once.
    painted: Option<(Target, Place)>,
}

impl Preparer {
    /// Shares conversion among `threads`.
    pub(super) fn new(threads: u32) -> Preparer {
        Preparer {
            decoder: None,
            damaged: 0,
            cut_short: 0,
            scaler: Scaler::new(threads),
            canvases: Vec::new(),
            painted: None,
        }
    }

    /// `frame` as `target` wants it.
    ///
    /// # Errors
    /// When the frame is no picture: a broken JPEG, planes that are too short. The next one may be fine.
    pub(super) fn prepare(&mut self, frame: &Frame, target: Target) -> Result<Picture, CodecError> {
        let mut picture = if frame.format == PixelFormat::Mjpeg {
            let decoded = self.decode(frame)?;
            if decoded.size() == target.size && decoded.layout() == Some(target.layout) {
                decoded
            } else {
                self.draw(&decoded, target)?
            }
        } else if frame.size == target.size && fits(frame.format, target.layout) {
            Picture::borrowed(frame)?
        } else {
            self.draw(&Picture::copied(frame)?, target)?
        };
        picture.set_at(frame.at);
        Ok(picture)
    }

    fn decode(&mut self, frame: &Frame) -> Result<Picture, CodecError> {
        let Some(jpeg) = frame.planes.first() else {
            return Err(CodecError::new("take a picture", "planes are missing"));
        };
        if is_whole_jpeg(&jpeg.data) {
            self.cut_short = 0;
        } else {
            // Now and then it is a fault on the cable; always, it is how this camera is.
            self.cut_short = self.cut_short.saturating_add(1);
            if self.cut_short <= DAMAGED_MAX {
                return Err(CodecError::new("take a picture", "the JPEG is cut short"));
            }
        }
        let decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => PictureDecoder::mjpeg(self.damaged >= DAMAGED_MAX)?,
        };
        let decoded = self.decoder.insert(decoder).decode(&jpeg.data);
        self.damaged = if decoded.is_ok() { 0 } else { self.damaged + 1 };
        if self.damaged == DAMAGED_MAX {
            tracing::warn!("all pictures of this camera are a little damaged; taking them as they are");
            self.decoder = None;
        }
        decoded
    }

    fn draw(&mut self, from: &Picture, target: Target) -> Result<Picture, CodecError> {
        let place = fit(from.size(), target.size);
        if self.painted != Some((target, place)) {
            self.canvases.clear();
            self.painted = Some((target, place));
        }
        let mut canvas = match self.canvases.iter_mut().position(Picture::is_writable) {
            Some(free) => self.canvases.swap_remove(free),
            None => Picture::black(target.layout, target.size)?,
        };
        self.scaler.draw(from, &mut canvas, (place.x, place.y), place.size, target.colour)?;
        let picture = canvas.share()?;
        if self.canvases.len() < CANVASES_MAX {
            self.canvases.push(canvas);
        }
        Ok(picture)
    }
}

fn fits(format: PixelFormat, layout: Layout) -> bool {
    matches!((format, layout), (PixelFormat::I420, Layout::I420) | (PixelFormat::Nv12, Layout::Nv12))
}

/// The largest even rectangle with `from`'s shape inside `to`, in the middle. A difference of less than one part
/// in a hundred (1920x1088 in 1920x1080) is stretched: nobody sees it, and black lines everybody does.
fn fit(from: PictureSize, to: PictureSize) -> Place {
    let (from_w, from_h) = (u64::from(from.width.max(1)), u64::from(from.height.max(1)));
    let (to_w, to_h) = (u64::from(to.width), u64::from(to.height));
    let (mut width, mut height) = (to_w, to_h);
    if from_w * to_h > to_w * from_h {
        height = to_w * from_h / from_w;
    } else {
        width = to_h * from_w / from_h;
    }
    let near = |length: u64, whole: u64| (whole - length) * 100 < whole;
    if near(width, to_w) && near(height, to_h) {
        (width, height) = (to_w, to_h);
    }
    let even = |length: u64| (length as u32 & !1).max(2);
    let size = PictureSize { width: even(width), height: even(height) };
    let middle = |whole: u32, length: u32| (whole.saturating_sub(length) / 2) & !1;
    Place { x: middle(to.width, size.width), y: middle(to.height, size.height), size }
}

/// Whether it begins as a JPEG and ends as one. Cameras may pad the end with zeros; a lost packet on the USB
/// leaves the end marker out, and the decoder would guess the rest in grey.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.starts_with(&[0xff, 0xd8]) && bytes[..end].ends_with(&[0xff, 0xd9])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::base::ticks::Ticks;
    use crate::media::frame::Plane;

    use super::*;

    fn any_format() -> impl Strategy<Value = PixelFormat> {
        prop_oneof![
            Just(PixelFormat::I420),
            Just(PixelFormat::Nv12),
            Just(PixelFormat::Yuyv),
            Just(PixelFormat::Uyvy),
            Just(PixelFormat::Bgr24),
            Just(PixelFormat::Mjpeg),
        ]
    }

    fn any_plane() -> impl Strategy<Value = Plane> {
        (prop_oneof![0usize..40_000, Just(64 * 64 * 3)], prop_oneof![0usize..400, Just(usize::MAX)])
            .prop_map(|(bytes, stride)| Plane { data: Bytes::from(vec![0x5a; bytes]), stride })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn whatever_a_source_calls_a_picture_is_prepared_or_refused(
            format in any_format(),
            width in prop_oneof![0u32..200, Just(u32::MAX)],
            height in prop_oneof![0u32..200, Just(8_192u32)],
            planes in prop::collection::vec(any_plane(), 0..=3),
            layout in prop_oneof![Just(Layout::I420), Just(Layout::Nv12)],
        ) {
            let planes = planes.into_iter().collect();
            let frame = Frame { at: Ticks(7), format, size: size(width, height), planes };
            let target = Target { size: size(64, 48), layout, colour: Colour::Bt601 };
            if let Ok(picture) = Preparer::new(1).prepare(&frame, target) {
                prop_assert_eq!((picture.size(), picture.layout()), (target.size, Some(layout)));
            }
        }
    }

    fn size(width: u32, height: u32) -> PictureSize {
        PictureSize { width, height }
    }

    #[test]
    fn the_smallest_and_oddest_sizes_come_out_whole() {
        let target = Target { size: size(64, 48), layout: Layout::I420, colour: Colour::Bt709 };
        for (width, height) in (1..=20).flat_map(|width| (1..=20).map(move |height| (width, height))) {
            let (w, h) = (width as usize, height as usize);
            let (half_w, half_h) = (w.div_ceil(2), h.div_ceil(2));
            for (format, planes) in [
                (PixelFormat::I420, vec![(w, h), (half_w, half_h), (half_w, half_h)]),
                (PixelFormat::Nv12, vec![(w, h), (half_w * 2, half_h)]),
                (PixelFormat::Yuyv, vec![(half_w * 4, h)]),
                (PixelFormat::Uyvy, vec![(half_w * 4, h)]),
                (PixelFormat::Bgr24, vec![(w * 3, h)]),
            ] {
                let planes = planes
                    .into_iter()
                    .map(|(stride, rows)| Plane { data: Bytes::from(vec![99; stride * rows]), stride })
                    .collect();
                let frame = Frame { at: Ticks(7), format, size: size(width, height), planes };
                let prepared = Preparer::new(2).prepare(&frame, target);
                let picture = prepared.unwrap_or_else(|error| panic!("{width}x{height} {format:?}: {error}"));
                assert_eq!((picture.size(), picture.at()), (target.size, Ticks(7)));
            }
        }
    }

    #[test]
    fn pictures_of_another_shape_are_framed_never_distorted() {
        let hd = size(1280, 720);
        assert_eq!(fit(size(640, 480), hd), Place { x: 160, y: 0, size: size(960, 720) });
        assert_eq!(fit(size(1080, 1920), hd), Place { x: 438, y: 0, size: size(404, 720) });
        assert_eq!(fit(size(2560, 1080), hd), Place { x: 0, y: 90, size: size(1280, 540) });
        assert_eq!(fit(size(1920, 1080), hd), Place { x: 0, y: 0, size: hd });
        assert_eq!(fit(size(1920, 1088), size(1920, 1080)).size, size(1920, 1080));
    }

    #[test]
    fn no_shape_leaves_the_target() {
        for (w, h) in [(1, 8_192), (8_192, 1), (3, 3), (17, 16), (0, 0)] {
            for to in [size(2, 2), size(1280, 720), size(404, 718)] {
                let place = fit(size(w, h), to);
                assert!(place.x + place.size.width <= to.width, "{w}x{h} in {to}");
                assert!(place.y + place.size.height <= to.height, "{w}x{h} in {to}");
            }
        }
    }

    #[test]
    fn a_jpeg_may_be_padded_but_not_cut_short() {
        assert!(is_whole_jpeg(&[0xff, 0xd8, 1, 2, 0xff, 0xd9]));
        assert!(is_whole_jpeg(&[0xff, 0xd8, 1, 2, 0xff, 0xd9, 0, 0, 0]));
        assert!(!is_whole_jpeg(&[0xff, 0xd8, 1, 2]));
        assert!(!is_whole_jpeg(&[]));
        assert!(!is_whole_jpeg(&[0, 0]));
    }
    #[test]
    fn a_camera_that_never_writes_the_end_marker_is_seen_after_a_second() {
        let size = PictureSize { width: 64, height: 48 };
        let black = Picture::black(Layout::I420, size).unwrap();
        let jpeg = super::super::ffi::codec::jpeg_of(&black).unwrap();
        let endless = jpeg.slice(..jpeg.len() - 2);
        let mut planes = heapless::Vec::new();
        planes.push(Plane { data: endless, stride: 0 }).unwrap();
        let frame = Frame { at: Ticks::ZERO, format: PixelFormat::Mjpeg, size, planes };
        let target = Target { size, layout: Layout::I420, colour: Colour::of(PixelFormat::Mjpeg, size) };
        let mut preparer = Preparer::new(1);
        let tries = (0..3 * DAMAGED_MAX).position(|_| preparer.prepare(&frame, target).is_ok());
        assert!(tries.is_some_and(|tries| tries >= DAMAGED_MAX as usize), "{tries:?}");
    }
}
