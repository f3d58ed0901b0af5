//! Keeps a hardware encoder at arm's length: on a thread of its own, behind bounded queues.
//!
//! A driver may block inside a call for ever. Then only that thread is lost: the stream's own thread sees that no
//! packet comes, goes to the next encoder, and leaves the stuck one behind with a line in the journal.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

use crate::base::clock;
use crate::base::threads;
use crate::base::units::BitrateBps;

use super::codec::{CodedPicture, Open, Sink, VideoCodec, Wish};
use super::ffi::CodecError;
use super::ffi::picture::{Layout, Picture};

/// Opening takes real chips some tens of milliseconds.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
/// So long the end of an encoder is awaited before it is left behind.
const END_PATIENCE: Duration = Duration::from_millis(500);
/// Pictures that may wait for the chip. At the bound the newest is not encoded: it has no successors yet.
const ORDERS_MAX: usize = 4;
/// Packets that may wait for the stream's thread, which asks every few milliseconds; at the bound the chip waits.
const REPORTS_MAX: usize = 64;
/// How often a chip that holds pictures is asked whether one is done.
const POLL: Duration = Duration::from_millis(2);

enum Order {
    Encode(Picture, bool),
    Bitrate(BitrateBps, u64),
}

enum Report {
    Coded(CodedPicture),
    Failed(CodecError),
}

/// The stream's end of a guarded encoder.
pub(super) struct Guarded {
    name: &'static str,
    layout: Layout,
    adjustable: bool,
    orders: Option<SyncSender<Order>>,
    reports: Receiver<Report>,
    /// A keyframe was asked for in a picture that found no room.
    owes_keyframe: bool,
}

impl Guarded {
    /// Opens an encoder on a thread of its own. `adjustable`: it takes another bitrate while running.
    ///
    /// # Errors
    /// What `open` says; or that it did not answer within a second.
    pub(super) fn open(
        name: &'static str,
        open: &Open,
        adjustable: bool,
        wish: &Wish,
    ) -> Result<Guarded, CodecError> {
        let (orders, order_queue) = sync_channel(ORDERS_MAX);
        let (report_queue, reports) = sync_channel(REPORTS_MAX);
        let (opened_queue, opened) = sync_channel(1);
        let (open, wish) = (open.clone(), *wish);
        threads::spawn("hw", name, move || match open(&wish) {
            Ok(codec) => {
                if opened_queue.send(Ok(codec.layout())).is_ok() {
                    serve(codec, &order_queue, &report_queue);
                }
            }
            Err(error) => drop(opened_queue.send(Err(error))),
        })
        .map_err(|error| CodecError::new("start the encoder's thread", error.to_string()))?;
        match opened.recv_timeout(OPEN_PATIENCE) {
            Ok(layout) => Ok(Guarded {
                name,
                layout: layout?,
                adjustable,
                orders: Some(orders),
                reports,
                owes_keyframe: false,
            }),
            Err(RecvTimeoutError::Timeout) => {
                Err(CodecError::new("open the encoder", "its driver hangs; its thread is left behind"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(CodecError::new("open the encoder", "its thread ended"))
            }
        }
    }

    fn dead() -> CodecError {
        CodecError::new("encode", "the encoder's thread ended")
    }
}

impl VideoCodec for Guarded {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, picture: &mut Picture, keyframe: bool, sink: Sink<'_>) -> Result<(), CodecError> {
        let keyframe = keyframe || self.owes_keyframe;
        let Some(orders) = &self.orders else { return Err(Guarded::dead()) };
        match orders.try_send(Order::Encode(picture.share()?, keyframe)) {
            Ok(()) => self.owes_keyframe = false,
            Err(TrySendError::Full(_)) => self.owes_keyframe = keyframe,
            Err(TrySendError::Disconnected(_)) => return Err(Guarded::dead()),
        }
        self.poll(sink)
    }

    fn poll(&mut self, sink: Sink<'_>) -> Result<(), CodecError> {
        loop {
            match self.reports.try_recv() {
                Ok(Report::Coded(picture)) => sink(picture),
                Ok(Report::Failed(error)) => return Err(error),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Guarded::dead()),
            }
        }
    }

    fn set_bitrate(&mut self, bitrate: BitrateBps, buffer_bits: u64) -> bool {
        let orders = self.orders.as_ref().filter(|_| self.adjustable);
        orders.is_some_and(|orders| orders.try_send(Order::Bitrate(bitrate, buffer_bits)).is_ok())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.orders = None;
        let deadline = clock::now() + END_PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            match self.reports.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        tracing::warn!(encoder = self.name, "the encoder's driver hangs, its thread is left behind");
    }
}

/// The encoder's own thread, until the stream lets go of it.
fn serve(mut codec: Box<dyn VideoCodec>, orders: &Receiver<Order>, reports: &SyncSender<Report>) {
    let mut in_flight: i64 = 0;
    loop {
        let order = if in_flight > 0 {
            orders.recv_timeout(POLL)
        } else {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let mut open = true;
        let mut sink = |picture| {
            in_flight -= 1;
            open &= reports.send(Report::Coded(picture)).is_ok();
        };
        let result = match order {
            Ok(Order::Encode(mut picture, keyframe)) => {
                let result = codec.encode(&mut picture, keyframe, &mut sink);
                in_flight += 1;
                result
            }
            Ok(Order::Bitrate(bitrate, buffer_bits)) => {
                codec.set_bitrate(bitrate, buffer_bits);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => codec.poll(&mut sink),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = result {
            // Nobody listens where the stream gave this encoder up already.
            let _ = reports.send(Report::Failed(error));
            return;
        }
        if !open {
            return;
        }
    }
}
