//! Quantities with their units in the type.

use std::fmt;

/// Bits per second. Never bytes, never kilobits: those exist only in configuration text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BitrateBps(pub u64);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Picture width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PictureSize {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Frames per second as a fraction: 30000/1001 is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameRate {
    /// Frames.
    pub num: u32,
    /// In this many seconds; never 0.
    pub den: u32,
}

impl FrameRate {
    /// A whole number of frames a second.
    pub const fn whole(fps: u32) -> FrameRate {
        FrameRate { num: fps, den: 1 }
    }

    /// Frames per second as a float, for figures and `onMetaData`.
    pub fn per_second(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
}

impl fmt::Display for PictureSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}
