//! One task that writes to many viewers of one stream.
//!
//! It wakes once for what comes, builds the vectors once, and goes over its viewers: one write for each. A viewer
//! has no task, no queue and no buffer of its own.
//!
//! ```text
//!   hub::Reader ──tags──> batch ──due──> viewers in step:  write the batch
//!                                        viewers behind:   read the ring themselves, as their sockets allow
//!   new viewers ──bounded queue──>       join, behind
//! ```

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::base::clock;
use crate::hub::{Channel, Next, Reader, Start, TagKind};

use super::batch::{Batch, Item};
use super::figures::StreamFigures;
use super::policy::{Bounds, Came, Rhythm};
use super::viewer::{Done, Fate, Viewer};
use crate::serve::gate::Ticket;
use crate::serve::house::Seat;

/// How often viewers are looked after that nothing was written to.
const LOOK_AFTER_EVERY: Duration = Duration::from_millis(250);

/// How many viewers may join between two turns of the shard, so that a crowd at the door does not stop the show.
const JOINS_AT_ONCE: usize = 16;

/// What the configuration says to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) merge: Duration,
    pub(super) bounds: Bounds,
}

/// Somebody who wants to watch, with everything but a place in the ring.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) stream: TcpStream,
    pub(super) head: Bytes,
    pub(super) start: Start,
    pub(super) place: Ticket,
    pub(super) seat: Seat,
}

/// The task's state.
pub(super) struct Shard {
    channel: Channel,
    reader: Reader,
    joins: mpsc::Receiver<Newcomer>,
    settings: watch::Receiver<Settings>,
    figures: Arc<StreamFigures>,
    viewers: Vec<Viewer>,
    rhythm: Rhythm,
    /// What came since the last write.
    batch: Batch,
    /// The number of the batch's first tag.
    first: u64,
    /// The number of the tag after the batch.
    next: u64,
    /// Where viewers that are behind gather what they need.
    scratch: Batch,
    look_after_at: Instant,
    over: bool,
}

impl Shard {
    pub(super) fn new(
        channel: Channel,
        joins: mpsc::Receiver<Newcomer>,
        settings: watch::Receiver<Settings>,
        figures: Arc<StreamFigures>,
    ) -> Shard {
        let reader = channel.reader(Start::Head);
        let first = reader.position();
        let (now, merge) = (clock::now(), settings.borrow().merge);
        Shard {
            channel,
            reader,
            joins,
            settings,
            figures,
            viewers: Vec::new(),
            rhythm: Rhythm::new(now, merge),
            batch: Batch::default(),
            first,
            next: first,
            scratch: Batch::default(),
            look_after_at: now + LOOK_AFTER_EVERY,
            over: false,
        }
    }

    /// Serves until the channel is over or nobody can join any more; then all viewers are ended.
    pub(super) async fn run(mut self) {
        let mut newcomers = Vec::with_capacity(JOINS_AT_ONCE);
        while !self.over {
            let wake_at = self.rhythm.wake_at().min(self.look_after_at);
            tokio::select! {
                biased;
                joined = self.joins.recv_many(&mut newcomers, JOINS_AT_ONCE) => {
                    if joined == 0 {
                        break;
                    }
                    newcomers.drain(..).for_each(|newcomer| self.join(newcomer));
                }
                () = self.reader.wait_for_beat() => {}
                () = writable(&mut self.viewers) => {}
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
            self.turn(clock::now());
            // A turn is long for a task: others on this worker come first now.
            tokio::task::yield_now().await;
        }
        self.figures.left(self.viewers.len());
    }

    fn join(&mut self, newcomer: Newcomer) {
        let Newcomer { stream, head, start, place, seat } = newcomer;
        let reader = self.channel.reader(start);
        if let Some(viewer) = Viewer::new(stream, reader, &head, (place, seat)) {
            self.viewers.push(viewer);
            self.figures.joined();
        }
    }

    fn turn(&mut self, now: Instant) {
        let Settings { merge, bounds } = *self.settings.borrow_and_update();
        self.rhythm.set_merge(merge);
        self.take_news(now);
        if self.rhythm.is_due(now) || !self.batch.has_room() || self.over {
            self.write_news(now);
        }
        let until = self.first;
        let scratch = &mut self.scratch;
        let mut done = Done::default();
        self.viewers.retain_mut(|viewer| {
            !viewer.wants_turn() || stays(viewer.serve(now, scratch, until, bounds), &mut done, &self.figures)
        });
        if now >= self.look_after_at {
            self.look_after_at = now + LOOK_AFTER_EVERY;
            self.viewers.retain_mut(|viewer| stays(viewer.look_after(now, bounds), &mut done, &self.figures));
        }
        self.figures.sent(done.bytes, done.jumps);
    }

    /// Takes what came from the channel into the batch, as far as there is room.
    fn take_news(&mut self, now: Instant) {
        while self.batch.has_room() {
            match self.reader.try_next() {
                Next::Tag(tag) => {
                    self.rhythm.handle(now, came(tag.kind, &self.reader));
                    if self.batch.is_empty() {
                        self.first = tag.seq;
                    }
                    self.next = tag.seq + 1;
                    self.batch.push(Item::Tag(tag));
                }
                // The shard itself was overrun: everybody finds their own way from here.
                Next::Jumped { .. } => {
                    self.batch.clear();
                    self.first = self.reader.position();
                    self.next = self.first;
                    self.rhythm.handle(now, Came::Written);
                    self.viewers.iter_mut().for_each(Viewer::fall_behind);
                }
                Next::Empty => {
                    self.rhythm.handle(now, Came::Looked);
                    break;
                }
                Next::Closed => {
                    self.over = true;
                    break;
                }
            }
        }
    }

    /// Writes the batch to all who are in step; the others take their turns up to its end.
    fn write_news(&mut self, now: Instant) {
        let (first, next) = (self.first, self.next);
        let batch = &mut self.batch;
        let mut done = Done::default();
        let figures = &self.figures;
        self.viewers.retain_mut(|viewer| {
            if viewer.is_in_step(first) {
                return stays(viewer.write_batch(now, batch, next), &mut done, figures);
            }
            viewer.fall_behind();
            true
        });
        figures.sent(done.bytes, done.jumps);
        self.batch.clear();
        self.first = next;
        self.rhythm.handle(now, Came::Written);
    }
}

fn came(kind: TagKind, reader: &Reader) -> Came {
    match kind {
        TagKind::Video { .. } => Came::Picture,
        _ if reader.has_picture() => Came::BesidePicture,
        _ => Came::Alone,
    }
}

/// Notes what became of a viewer; `false` if it goes.
fn stays((fate, did): (Fate, Done), done: &mut Done, figures: &StreamFigures) -> bool {
    done.bytes += did.bytes;
    done.jumps += did.jumps;
    match fate {
        Fate::CaughtUp | Fate::Blocked | Fate::More => true,
        Fate::Cut | Fate::Gone => {
            if fate == Fate::Cut {
                figures.cut();
            }
            figures.left(1);
            false
        }
    }
}

/// Returns once a viewer that is behind can be written to.
async fn writable(viewers: &mut [Viewer]) {
    std::future::poll_fn(|cx: &mut Context<'_>| {
        // All are asked, so that each socket knows whom to wake.
        let ready =
            viewers.iter_mut().filter_map(|viewer| viewer.poll_ready(cx).is_ready().then_some(())).count();
        if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
