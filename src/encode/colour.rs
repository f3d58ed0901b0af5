//! What a picture's numbers mean.

use crate::base::units::PictureSize;
use crate::media::frame::PixelFormat;

/// From this many rows on planar video is taken for HD.
const HD_ROWS: u32 = 720;

/// The matrix between YUV and RGB. It is written into the stream as it is in the picture: converting it would
/// cost a pass over each picture, and every player reads the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// ITU-R BT.601, as SD video, JPEG (JFIF) and the USB video class have it.
    Bt601,
    /// ITU-R BT.709, as HD video has it.
    Bt709,
}

impl Colour {
    /// What a source's pictures are, as far as their format tells: packed 4:2:2 and JPEG come from USB cameras,
    /// whose class fixes BT.601 at any size; planar pictures follow their size; RGB is converted to what its
    /// size asks for.
    pub(super) fn of(format: PixelFormat, size: PictureSize) -> Colour {
        let usb = matches!(format, PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Mjpeg);
        if !usb && size.height >= HD_ROWS { Colour::Bt709 } else { Colour::Bt601 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hd_pictures_are_bt709_and_usb_cameras_bt601() {
        let hd = PictureSize { width: 1920, height: 1080 };
        let sd = PictureSize { width: 640, height: 480 };
        assert_eq!(Colour::of(PixelFormat::I420, hd), Colour::Bt709);
        assert_eq!(Colour::of(PixelFormat::I420, sd), Colour::Bt601);
        assert_eq!(Colour::of(PixelFormat::Mjpeg, hd), Colour::Bt601);
    }
}
