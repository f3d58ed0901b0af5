//! The structures and numbers of V4L2, as in Linux's `videodev2.h`. No calls here.
//!
//! Unions are kept as plain words, and read by index: nothing in them is a pointer that we follow.

use nix::libc::{c_int, timeval};

/// `V4L2_CAP_VIDEO_CAPTURE`
pub(super) const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
/// `V4L2_CAP_VIDEO_CAPTURE_MPLANE`
pub(super) const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
/// `V4L2_CAP_STREAMING`
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
/// `V4L2_CAP_DEVICE_CAPS`: `device_caps` is filled in.
pub(super) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`
pub(super) const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
/// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`
pub(super) const BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
/// `V4L2_MEMORY_MMAP`
pub(super) const MEMORY_MMAP: u32 = 1;
/// `V4L2_BUF_FLAG_ERROR`: the data is damaged, the stream goes on.
pub(super) const BUF_FLAG_ERROR: u32 = 0x0000_0040;
/// `V4L2_BUF_FLAG_TIMESTAMP_MASK`
pub(super) const BUF_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
/// `V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`
pub(super) const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
/// `V4L2_FIELD_ANY`
pub(super) const FIELD_ANY: u32 = 0;
/// `V4L2_FRMSIZE_TYPE_DISCRETE`, and the same for intervals.
pub(super) const ENUM_DISCRETE: u32 = 1;
/// `V4L2_CAP_TIMEPERFRAME`, in a capture parameter's capability.
pub(super) const PARM_TIMEPERFRAME: u32 = 0x1000;
/// `VIDEO_MAX_PLANES`
pub(super) const PLANES_MAX: usize = 8;

/// `struct v4l2_capability`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FormatDescription {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) pixel_format: u32,
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FrameSizeEnum {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) kind: u32,
    /// Discrete: width, height. Otherwise: least, greatest and step of the width, then of the height.
    pub(super) words: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FrameIntervalEnum {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    /// Discrete: numerator, denominator. Otherwise: those of the shortest, the longest and the step.
    pub(super) words: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_format`, whose union holds `v4l2_pix_format` or `v4l2_pix_format_mplane` here.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) kind: u32,
    /// Another member of the union holds pointers, and aligns it.
    align: [usize; 0],
    pub(super) words: [u32; 50],
}

/// `struct v4l2_requestbuffers`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RequestBuffers {
    pub(super) count: u32,
    pub(super) kind: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u8,
    pub(super) reserved: [u8; 3],
}

/// `struct v4l2_buffer`
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) timestamp: timeval,
    pub(super) timecode: [u32; 4],
    pub(super) sequence: u32,
    pub(super) memory: u32,
    /// The union `m`: an offset for mmap in its low half, or the address of the planes.
    pub(super) place: usize,
    pub(super) length: u32,
    pub(super) reserved: u32,
    pub(super) request_fd: c_int,
}

/// `struct v4l2_plane`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PlaneInfo {
    pub(super) bytes_used: u32,
    pub(super) length: u32,
    /// The union `m`: an offset for mmap in its low half.
    pub(super) place: usize,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

/// `struct v4l2_streamparm`, whose union holds `v4l2_captureparm` here: capability, capturemode, and the interval's
/// numerator and denominator.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct StreamParameters {
    pub(super) kind: u32,
    pub(super) words: [u32; 50],
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<FrameSizeEnum>() == 44);
    assert!(size_of::<FrameIntervalEnum>() == 52);
    assert!(size_of::<Format>() == 208);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<Buffer>() == 88);
    assert!(size_of::<PlaneInfo>() == 64);
    assert!(size_of::<StreamParameters>() == 204);
};
// The unions' offsets stand in the low half of a word.
const _: () = assert!(cfg!(target_endian = "little"));

impl Format {
    pub(super) fn new(kind: u32) -> Format {
        Format { kind, align: [], words: [0; 50] }
    }
}

impl StreamParameters {
    pub(super) fn new(kind: u32) -> StreamParameters {
        StreamParameters { kind, words: [0; 50] }
    }
}

impl Buffer {
    pub(super) fn new(kind: u32, index: u32) -> Buffer {
        Buffer {
            index,
            kind,
            bytes_used: 0,
            flags: 0,
            field: FIELD_ANY,
            timestamp: timeval { tv_sec: 0, tv_usec: 0 },
            timecode: [0; 4],
            sequence: 0,
            memory: MEMORY_MMAP,
            place: 0,
            length: 0,
            reserved: 0,
            request_fd: 0,
        }
    }
}
