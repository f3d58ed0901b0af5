//! V4L2's calls: each takes and gives plain structures, and the mappings are owned.
#![allow(unsafe_code, reason = "the ioctls and mappings of V4L2")]

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::abi::{
    BUF_TYPE_VIDEO_CAPTURE_MPLANE, Buffer, Capability, Format, FormatDescription, FrameIntervalEnum,
    FrameSizeEnum, PLANES_MAX, PlaneInfo, RequestBuffers, StreamParameters,
};

/// The raw calls, numbered as in `videodev2.h`.
mod raw {
    use super::{
        Buffer, Capability, Format, FormatDescription, FrameIntervalEnum, FrameSizeEnum, RequestBuffers,
        StreamParameters, c_int,
    };

    nix::ioctl_read!(querycap, b'V', 0, Capability);
    nix::ioctl_readwrite!(enum_fmt, b'V', 2, FormatDescription);
    nix::ioctl_readwrite!(s_fmt, b'V', 5, Format);
    nix::ioctl_readwrite!(reqbufs, b'V', 8, RequestBuffers);
    nix::ioctl_readwrite!(querybuf, b'V', 9, Buffer);
    nix::ioctl_readwrite!(qbuf, b'V', 15, Buffer);
    nix::ioctl_readwrite!(dqbuf, b'V', 17, Buffer);
    nix::ioctl_write_ptr!(streamon, b'V', 18, c_int);
    nix::ioctl_write_ptr!(streamoff, b'V', 19, c_int);
    nix::ioctl_readwrite!(g_parm, b'V', 21, StreamParameters);
    nix::ioctl_readwrite!(s_parm, b'V', 22, StreamParameters);
    nix::ioctl_readwrite!(enum_framesizes, b'V', 74, FrameSizeEnum);
    nix::ioctl_readwrite!(enum_frameintervals, b'V', 75, FrameIntervalEnum);
}

/// An open video node.
pub(super) struct Node(File);

/// A buffer's planes, as the driver last described them.
pub(super) type Planes = [PlaneInfo; PLANES_MAX];

/// A piece of a driver's memory. Unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: a mapping is plain memory of the whole process; only shared references to it are given out.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Wraps calls whose only promise is a valid descriptor and a structure of the size that the number tells, written by
/// the kernel within its bounds.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($type:ty);)*) => {
        impl Node {
            $($(#[$doc])*
            pub(super) fn $name(&self, argument: &mut $type) -> Result<(), Errno> {
                again(|| {
                    // SAFETY: the descriptor is open for as long as `self` lives, and `argument` is a structure of
                    // exactly the call's size without pointers that the kernel would follow.
                    unsafe { raw::$name(self.0.as_raw_fd(), argument) }
                })
            })*
        }
    };
}

calls! {
    /// `VIDIOC_QUERYCAP`
    querycap(Capability);
    /// `VIDIOC_ENUM_FMT`
    enum_fmt(FormatDescription);
    /// `VIDIOC_S_FMT`
    s_fmt(Format);
    /// `VIDIOC_REQBUFS`
    reqbufs(RequestBuffers);
    /// `VIDIOC_G_PARM`
    g_parm(StreamParameters);
    /// `VIDIOC_S_PARM`
    s_parm(StreamParameters);
    /// `VIDIOC_ENUM_FRAMESIZES`
    enum_framesizes(FrameSizeEnum);
    /// `VIDIOC_ENUM_FRAMEINTERVALS`
    enum_frameintervals(FrameIntervalEnum);
}

impl Node {
    /// Opens a node, for calls that do not wait.
    pub(super) fn open(path: &Path) -> std::io::Result<Node> {
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map(Node)
    }

    /// `VIDIOC_QUERYBUF`
    pub(super) fn querybuf(&self, buffer: &mut Buffer, planes: &mut Planes) -> Result<(), Errno> {
        self.with_planes(buffer, planes, raw::querybuf)
    }

    /// `VIDIOC_QBUF`
    pub(super) fn qbuf(&self, buffer: &mut Buffer, planes: &mut Planes) -> Result<(), Errno> {
        self.with_planes(buffer, planes, raw::qbuf)
    }

    /// `VIDIOC_DQBUF`; [`Errno::EAGAIN`] when no buffer is ready.
    pub(super) fn dqbuf(&self, buffer: &mut Buffer, planes: &mut Planes) -> Result<(), Errno> {
        self.with_planes(buffer, planes, raw::dqbuf)
    }

    /// `VIDIOC_STREAMON`
    pub(super) fn streamon(&self, kind: u32) -> Result<(), Errno> {
        let kind = kind as c_int;
        // SAFETY: the descriptor is open, and the call reads one `int`.
        again(|| unsafe { raw::streamon(self.0.as_raw_fd(), &raw const kind) })
    }

    /// `VIDIOC_STREAMOFF`
    pub(super) fn streamoff(&self, kind: u32) -> Result<(), Errno> {
        let kind = kind as c_int;
        // SAFETY: the descriptor is open, and the call reads one `int`.
        again(|| unsafe { raw::streamoff(self.0.as_raw_fd(), &raw const kind) })
    }

    /// Maps one plane of a buffer, for reading.
    pub(super) fn map(&self, offset: u32, length: u32) -> Result<Mapping, Errno> {
        let length = NonZeroUsize::new(length as usize).ok_or(Errno::EINVAL)?;
        let (protection, flags) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { mmap(None, length, protection, flags, &self.0, i64::from(offset)) }?;
        Ok(Mapping { start: start.cast(), length })
    }

    fn with_planes(
        &self,
        buffer: &mut Buffer,
        planes: &mut Planes,
        call: unsafe fn(c_int, *mut Buffer) -> nix::Result<c_int>,
    ) -> Result<(), Errno> {
        if buffer.kind == BUF_TYPE_VIDEO_CAPTURE_MPLANE {
            buffer.place = planes.as_mut_ptr().expose_provenance();
            buffer.length = PLANES_MAX as u32;
        }
        // SAFETY: the descriptor is open and `buffer` has the call's size. For a multi-planar buffer the kernel
        // follows its pointer to `planes`, which is as long as `length` says and outlives the call; for others it
        // treats that word as a number.
        again(|| unsafe { call(self.0.as_raw_fd(), &raw mut *buffer) })
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is valid for `length` bytes until it is dropped. The driver writes to it only while
        // its buffer is queued, and `stream.rs` gives slices only of buffers that are not.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length.get()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, and no slice of it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.length.get()) };
    }
}

/// Calls again when a signal interrupted the call.
fn again(mut call: impl FnMut() -> nix::Result<c_int>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            Err(other) => return Err(other),
            Ok(_) => return Ok(()),
        }
    }
}
