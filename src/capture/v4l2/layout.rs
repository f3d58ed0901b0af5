//! Where the planes of a raw picture lie in a driver's buffer.
//!
//! Pure. Rows may be longer than the picture is wide, and the planes of one picture lie in one piece of memory or in
//! several, as the driver likes.

use std::ops::Range;

use crate::base::units::PictureSize;
use crate::media::frame::PixelFormat;

use super::modes::CameraFormat;

/// One plane of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// In which of the buffer's memories.
    pub(super) memory: usize,
    pub(super) range: Range<usize>,
    pub(super) stride: usize,
}

/// All planes of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) format: PixelFormat,
    pub(super) places: heapless::Vec<Place, 3>,
}

/// A format that the house films in, as drivers name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) format: CameraFormat,
    /// Pieces of memory for one picture.
    pub(super) memories: usize,
}

/// What a driver's name stands for; `None` for formats that the house cannot use.
pub(super) fn known(code: u32) -> Option<Known> {
    let known = |format, memories| Some(Known { format, memories });
    match &code.to_le_bytes() {
        b"YUYV" => known(CameraFormat::Yuyv, 1),
        b"UYVY" => known(CameraFormat::Uyvy, 1),
        b"NV12" => known(CameraFormat::Nv12, 1),
        b"NM12" => known(CameraFormat::Nv12, 2),
        b"YU12" => known(CameraFormat::I420, 1),
        b"YM12" => known(CameraFormat::I420, 3),
        b"BGR3" => known(CameraFormat::Bgr24, 1),
        b"MJPG" | b"JPEG" => known(CameraFormat::Mjpeg, 1),
        b"H264" => known(CameraFormat::H264, 1),
        b"HEVC" => known(CameraFormat::H265, 1),
        _ => None,
    }
}

/// The planes of a picture whose memories have rows of `strides` bytes (0: as wide as the picture). `None` for coded
/// formats, and for what makes no sense.
pub(super) fn layout(known: Known, size: PictureSize, strides: &[u32]) -> Option<Layout> {
    let (width, height) = (size.width as usize, size.height as usize);
    let half = height.div_ceil(2);
    let (format, row) = match known.format {
        CameraFormat::Yuyv => (PixelFormat::Yuyv, width * 2),
        CameraFormat::Uyvy => (PixelFormat::Uyvy, width * 2),
        CameraFormat::Bgr24 => (PixelFormat::Bgr24, width * 3),
        CameraFormat::Nv12 => (PixelFormat::Nv12, width),
        CameraFormat::I420 => (PixelFormat::I420, width),
        CameraFormat::Mjpeg | CameraFormat::H264 | CameraFormat::H265 => return None,
    };
    let stride = |memory: usize, usual: usize| match strides.get(memory) {
        Some(0) | None => usual,
        Some(told) => (*told as usize).max(usual),
    };
    let first = stride(0, row);
    let apart = known.memories > 1;
    // Each plane: its rows, its stride, and the memory that it has for itself where they lie apart.
    let planes: &[(usize, usize)] = match known.format {
        CameraFormat::Nv12 => &[(height, first), (half, if apart { stride(1, row) } else { first })],
        CameraFormat::I420 => {
            let chroma = |memory| if apart { stride(memory, width.div_ceil(2)) } else { first.div_ceil(2) };
            &[(height, first), (half, chroma(1)), (half, chroma(2))]
        }
        _ => &[(height, first)],
    };
    let mut places = heapless::Vec::new();
    let mut start = 0;
    for (number, (rows, stride)) in planes.iter().enumerate() {
        let (memory, from) = if apart { (number, 0) } else { (0, start) };
        let end = from + rows * stride;
        places.push(Place { memory, range: from..end, stride: *stride }).ok()?;
        start = end;
    }
    (width > 0 && height > 0).then_some(Layout { format, places })
}

impl Layout {
    /// Bytes that memory number `memory` must hold. The last row may end with the picture's last pixel.
    pub(super) fn bytes_in(&self, memory: usize) -> usize {
        self.places
            .iter()
            .filter(|place| place.memory == memory)
            .map(|place| place.range.end)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fourcc(name: [u8; 4]) -> u32 {
        u32::from_le_bytes(name)
    }

    const SIZE: PictureSize = PictureSize { width: 640, height: 360 };

    fn places(name: [u8; 4], strides: &[u32]) -> Vec<(usize, Range<usize>, usize)> {
        let known = known(fourcc(name)).expect("a known format");
        let layout = layout(known, SIZE, strides).expect("a raw format");
        layout.places.iter().map(|place| (place.memory, place.range.clone(), place.stride)).collect()
    }

    #[test]
    fn planes_in_one_memory_follow_each_other() {
        assert_eq!(places(*b"YUYV", &[0]), [(0, 0..460_800, 1_280)]);
        assert_eq!(places(*b"BGR3", &[2_048]), [(0, 0..737_280, 2_048)]);
        assert_eq!(places(*b"NV12", &[640]), [(0, 0..230_400, 640), (0, 230_400..345_600, 640)]);
        let padded = [(0, 0..253_440, 704), (0, 253_440..316_800, 352), (0, 316_800..380_160, 352)];
        assert_eq!(places(*b"YU12", &[704]), padded);
    }

    #[test]
    fn planes_in_memories_of_their_own_start_there() {
        assert_eq!(places(*b"NM12", &[640, 640]), [(0, 0..230_400, 640), (1, 0..115_200, 640)]);
        let three = [(0, 0..230_400, 640), (1, 0..69_120, 384), (2, 0..57_600, 320)];
        assert_eq!(places(*b"YM12", &[640, 384, 0]), three);
    }

    #[test]
    fn coded_and_unknown_formats_have_no_planes() {
        assert_eq!(layout(known(fourcc(*b"MJPG")).expect("known"), SIZE, &[0]), None);
        assert_eq!(known(fourcc(*b"BA81")), None);
        let nothing = PictureSize { width: 0, height: 0 };
        assert_eq!(layout(known(fourcc(*b"YUYV")).expect("known"), nothing, &[0]), None);
    }

    #[test]
    fn a_stride_shorter_than_the_picture_is_not_believed() {
        assert_eq!(places(*b"YUYV", &[100]), [(0, 0..460_800, 1_280)]);
    }
}
