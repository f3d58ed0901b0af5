//! A camera's buffers, lent out by reference.
//!
//! ```text
//!   driver ──dequeue──> Taken ──> Loan (shared by the planes of one frame) ──> encoder
//!     ^                                      │
//!     └────────────── queued again when the last plane is dropped
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;

use crate::base::ticks::Ticks;

use super::abi::{
    BUF_FLAG_ERROR, BUF_FLAG_TIMESTAMP_MASK, BUF_FLAG_TIMESTAMP_MONOTONIC, BUF_TYPE_VIDEO_CAPTURE_MPLANE,
    Buffer, MEMORY_MMAP, PlaneInfo, RequestBuffers,
};
use super::device::{Device, Trouble};
use super::sys::{Mapping, Node, Planes};

/// Buffers asked for: one being filled and one waiting for it, one being encoded, two waiting for that, one between.
const BUFFERS: u32 = 6;
/// A driver that gives fewer cannot fill one while another is read.
const BUFFERS_MIN: u32 = 2;
/// With fewer than this left in the driver, a picture is copied and its buffer given back at once: a driver without
/// buffers drops pictures, and some stop for good.
const QUEUED_MIN: u32 = 2;

/// A camera that streams. Stops when dropped; memory that is still lent out stays until it is given back.
pub(super) struct Stream {
    shared: Arc<Shared>,
    /// Memories of one picture.
    memories: usize,
}

/// A picture that the driver handed over.
pub(super) struct Taken {
    loan: Arc<Loan>,
    /// For each memory: where its data starts, and how much there is according to the driver.
    pub(super) data: heapless::Vec<Data, 3>,
    /// The driver says that the picture is damaged.
    pub(super) is_damaged: bool,
    /// When it was taken, if the driver's clock is ours.
    pub(super) at: Option<Ticks>,
    /// Too few buffers are left in the driver: copy, and give this one back.
    pub(super) must_copy: bool,
}

/// The data in one memory of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) offset: usize,
    /// Bytes from `offset` on, as the driver says; never more than there are.
    pub(super) used: usize,
    /// Bytes from `offset` on that the memory has.
    pub(super) room: usize,
}

struct Shared {
    // Unmapped before the node is closed.
    buffers: Vec<Vec<Mapping>>,
    node: Node,
    kind: u32,
    state: Mutex<State>,
}

struct State {
    is_on: bool,
    queued: u32,
}

/// One buffer outside of the driver.
struct Loan {
    shared: Arc<Shared>,
    index: u32,
}

/// One memory of it.
struct Lent {
    loan: Arc<Loan>,
    memory: usize,
}

impl Stream {
    /// Allocates and maps buffers, and starts the camera. `memories` is how many make one picture.
    pub(super) fn start(device: Device, memories: usize) -> Result<Stream, Trouble> {
        let Device { node, kind, .. } = device;
        let mut request = RequestBuffers { count: BUFFERS, kind, memory: MEMORY_MMAP, ..Default::default() };
        node.reqbufs(&mut request).map_err(|errno| Trouble::of("asking for buffers", errno))?;
        if request.count < BUFFERS_MIN {
            return Err(Trouble::Other("asking for buffers", Errno::ENOMEM));
        }
        let buffers = (0..request.count)
            .map(|index| map(&node, kind, index, memories))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|errno| Trouble::of("mapping its buffers", errno))?;
        let state = Mutex::new(State { is_on: true, queued: 0 });
        let shared = Arc::new(Shared { buffers, node, kind, state });
        for index in 0..request.count {
            shared.queue(index).map_err(|errno| Trouble::of("queueing its buffers", errno))?;
        }
        shared.node.streamon(kind).map_err(|errno| Trouble::of("starting it", errno))?;
        Ok(Stream { shared, memories })
    }

    /// Readable when a picture is ready.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.node.as_fd()
    }

    /// The next picture, `None` when none is ready.
    pub(super) fn take(&self) -> Result<Option<Taken>, Errno> {
        let (mut buffer, mut planes) = (Buffer::new(self.shared.kind, 0), Planes::default());
        match self.shared.node.dqbuf(&mut buffer, &mut planes) {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let Some(mappings) = self.shared.buffers.get(buffer.index as usize) else {
            return Err(Errno::EBADMSG);
        };
        let queued = {
            let mut state = self.shared.state();
            state.queued = state.queued.saturating_sub(1);
            state.queued
        };
        let loan = Arc::new(Loan { shared: self.shared.clone(), index: buffer.index });
        let is_multi_planar = self.shared.kind == BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        let data = mappings
            .iter()
            .zip(&planes)
            .take(self.memories)
            .map(|(mapping, plane)| {
                let (used, offset) = if is_multi_planar {
                    (plane.bytes_used as usize, plane.data_offset as usize)
                } else {
                    (buffer.bytes_used as usize, 0)
                };
                data(used, offset, mapping.as_ref().len())
            })
            .collect();
        Ok(Some(Taken {
            loan,
            data,
            is_damaged: buffer.flags & BUF_FLAG_ERROR != 0,
            at: (buffer.flags & BUF_FLAG_TIMESTAMP_MASK == BUF_FLAG_TIMESTAMP_MONOTONIC)
                .then(|| timestamp(&buffer))
                .flatten(),
            must_copy: queued < QUEUED_MIN,
        }))
    }
}

impl Taken {
    /// One memory of the buffer, all of it, by reference.
    pub(super) fn memory(&self, memory: usize) -> Bytes {
        Bytes::from_owner(Lent { loan: self.loan.clone(), memory })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, index: u32) -> Result<(), Errno> {
        let mut state = self.state();
        if !state.is_on {
            return Ok(());
        }
        self.node.qbuf(&mut Buffer::new(self.kind, index), &mut Planes::default())?;
        state.queued += 1;
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.state().is_on = false;
        // The camera may be gone already.
        let _ = self.shared.node.streamoff(self.shared.kind);
        let kind = self.shared.kind;
        let mut none = RequestBuffers { count: 0, kind, memory: MEMORY_MMAP, ..Default::default() };
        let _ = self.shared.node.reqbufs(&mut none);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Err(errno) = self.shared.queue(self.index) {
            tracing::trace!(%errno, index = self.index, "a buffer cannot be queued again");
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        let buffer = &self.loan.shared.buffers[self.loan.index as usize];
        buffer.get(self.memory).map(Mapping::as_ref).unwrap_or_default()
    }
}

fn map(node: &Node, kind: u32, index: u32, memories: usize) -> Result<Vec<Mapping>, Errno> {
    let (mut buffer, mut planes) = (Buffer::new(kind, index), Planes::default());
    node.querybuf(&mut buffer, &mut planes)?;
    if kind != BUF_TYPE_VIDEO_CAPTURE_MPLANE {
        return Ok(vec![node.map(buffer.place as u32, buffer.length)?]);
    }
    planes.iter().take(memories).map(|plane: &PlaneInfo| node.map(plane.place as u32, plane.length)).collect()
}

/// What a driver says about a memory of `length` bytes, held to what can be.
fn data(used: usize, offset: usize, length: usize) -> Data {
    let offset = offset.min(length);
    // For several planes V4L2 counts the bytes before the data in.
    Data { offset, used: used.min(length).saturating_sub(offset), room: length - offset }
}

fn timestamp(buffer: &Buffer) -> Option<Ticks> {
    let seconds = u64::try_from(buffer.timestamp.tv_sec).ok()?;
    let micros = u32::try_from(buffer.timestamp.tv_usec).ok().filter(|micros| *micros < 1_000_000)?;
    let span = Duration::new(seconds, micros * 1_000);
    (!span.is_zero()).then(|| Ticks::from(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_claims_more_than_its_memory_holds_is_not_believed() {
        assert_eq!(data(500, 0, 1_000), Data { offset: 0, used: 500, room: 1_000 });
        assert_eq!(data(5_000, 0, 1_000), Data { offset: 0, used: 1_000, room: 1_000 });
        assert_eq!(data(500, 100, 1_000), Data { offset: 100, used: 400, room: 900 });
        assert_eq!(data(50, 5_000, 1_000), Data { offset: 1_000, used: 0, room: 0 });
    }

    #[test]
    fn a_timestamp_of_nothing_or_nonsense_is_none() {
        let mut buffer = Buffer::new(1, 0);
        assert_eq!(timestamp(&buffer), None);
        buffer.timestamp.tv_sec = 2;
        buffer.timestamp.tv_usec = 500_000;
        assert_eq!(timestamp(&buffer), Some(Ticks(225_000)));
        buffer.timestamp.tv_usec = 5_000_000;
        assert_eq!(timestamp(&buffer), None);
        buffer.timestamp.tv_sec = -1;
        assert_eq!(timestamp(&buffer), None);
    }
}
