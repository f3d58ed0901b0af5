//! One viewer: its socket, its place in the channel, its own zero of time.
//!
//! Most of the time a viewer is *in step*: it has all that the shard has, and the shard's batch is written to it
//! as it is. Who joins, lags, or could not take all of a write is *behind*, and reads the ring by itself until
//! it stands where the shard stands.

use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::base::tcp_info::TcpInfo;
use crate::base::ticks::Ticks;
use crate::hub::{Next, Reader, Tag, TagKind};
use crate::media::flv;

use super::batch::{Batch, Cut, Item};
use super::policy::{Bounds, Outcome, Patience, Verdict};
use crate::serve::gate::Ticket;
use crate::serve::house::Seat;

/// The most that one viewer is written in its turn, so that a crowd that joins does not hold up the others.
const TURN_BYTES: usize = 256 << 10;

/// After this much media a viewer's zero is behind all that comes, with sound or without.
const SETTLED_AFTER: Ticks = Ticks(Ticks::PER_SECOND);

/// One item that was begun, and `onMetaData` with two sequence headers.
const OWED_MAX: usize = 4;

/// What became of a viewer in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has everything, or waits for a keyframe.
    CaughtUp,
    /// Its socket takes no more now.
    Blocked,
    /// It would take more: others first.
    More,
    /// It was too slow for the bound.
    Cut,
    /// It left.
    Gone,
}

/// What one turn did, for the figures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) bytes: u64,
    pub(super) jumps: u64,
}

/// What a viewer must get before it goes on in the ring.
#[derive(Debug, Default)]
struct Owed {
    /// An item that was begun, or the answer's head; then headers that stand in no ring.
    items: heapless::Vec<Item, OWED_MAX>,
    /// Bytes of the first that it has.
    sent: usize,
}

impl Owed {
    /// Forgets all but what was begun. Answers whether there was more.
    fn keep_begun(&mut self) -> bool {
        let begun = self.sent > 0 || matches!(self.items.first(), Some(Item::Raw(_)));
        let keep = usize::from(begun);
        let more = self.items.len() > keep;
        self.items.truncate(keep);
        more
    }
}

/// A viewer.
#[derive(Debug)]
pub(super) struct Viewer {
    stream: TcpStream,
    reader: Reader,
    /// The time of its first picture or sound, which is its zero.
    zero: Option<Ticks>,
    /// Sound from before its first picture can no longer come.
    settled: bool,
    /// It was moved in the channel: the headers in force there may be news to it.
    moved: bool,
    /// It does not stand where the shard stands.
    behind: bool,
    /// Its socket may take more.
    ready: bool,
    owed: Option<Box<Owed>>,
    patience: Patience,
    /// Bytes that its far end had acknowledged when it was looked after.
    acked: u64,
    /// Its place among the viewers, and its connection's.
    _places: (Ticket, Seat),
}

impl Viewer {
    /// A viewer that has got nothing yet, not even `head`, the answer's. `None` if its channel has no headers.
    pub(super) fn new(
        stream: TcpStream,
        reader: Reader,
        head: &[u8],
        places: (Ticket, Seat),
    ) -> Option<Viewer> {
        let headers = reader.headers()?;
        let layout = &headers.layout;
        let file_header = flv::file_header(layout.video.is_some(), layout.audio.is_some());
        let mut owed = Owed::default();
        owed.items.push(Item::Raw([head, &file_header].concat().into())).ok()?;
        Some(Viewer {
            stream,
            reader,
            zero: None,
            settled: layout.audio.is_none(),
            moved: true,
            behind: true,
            ready: true,
            owed: Some(Box::new(owed)),
            patience: Patience::new(),
            acked: 0,
            _places: places,
        })
    }

    /// Whether it is behind and its socket may take more.
    pub(super) fn wants_turn(&self) -> bool {
        self.behind && self.ready
    }

    /// Whether the batch that begins with the tag `first` is all that it needs next.
    pub(super) fn is_in_step(&self, first: u64) -> bool {
        !self.behind
            && self.settled
            && !self.moved
            && self.zero.is_some()
            && !self.reader.is_holding()
            && self.reader.position() == first
    }

    /// There is news that does not fit a viewer out of step: it takes a turn.
    pub(super) fn fall_behind(&mut self) {
        if !self.behind {
            self.behind = true;
            self.ready = true;
        }
    }

    /// Writes the shard's batch to a viewer in step; `next` is the number of the tag after it.
    pub(super) fn write_batch(&mut self, now: Instant, batch: &mut Batch, next: u64) -> (Fate, Done) {
        batch.stamp(self.zero.unwrap_or_default());
        let (written, ready) = match self.stream.try_write_vectored(&batch.slices()) {
            Ok(written) => (written, true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
            Err(_) => return (Fate::Gone, Done::default()),
        };
        let Some(cut) = batch.cut_at(written) else {
            self.reader.seek(next);
            return (Fate::CaughtUp, Done { bytes: written as u64, jumps: 0 });
        };
        self.owe(batch, 0, cut);
        self.patience.handle(now, Outcome::Owed { bytes: written });
        self.behind = true;
        // Only a write that took nothing makes the socket tell when it takes more.
        self.ready = ready;
        (Fate::Blocked, Done { bytes: written as u64, jumps: 0 })
    }

    /// Gives a viewer that is behind its turn: up to the tag `until`, as far as its socket takes it.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        until: u64,
        bounds: Bounds,
    ) -> (Fate, Done) {
        let mut done = Done::default();
        loop {
            match self.judge(now, bounds, &mut done) {
                Fate::Cut => return (Fate::Cut, done),
                _ => self.gather(batch, until, &mut done),
            }
            if batch.is_empty() {
                self.behind = false;
                self.patience.handle(now, Outcome::CaughtUp);
                return (Fate::CaughtUp, done);
            }
            batch.stamp(self.zero.unwrap_or_default());
            let written = match self.stream.try_write_vectored(&batch.slices()) {
                Ok(0) => return (Fate::Gone, done),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return (Fate::Gone, done),
            };
            let own = self.owed.take().map_or(0, |owed| owed.items.len());
            if let Some(cut) = batch.cut_at(written) {
                self.owe(batch, own, cut);
            }
            done.bytes += written as u64;
            self.patience.handle(now, Outcome::Owed { bytes: written });
            if written == 0 {
                self.ready = false;
                return (Fate::Blocked, done);
            }
            if done.bytes >= TURN_BYTES as u64 {
                return (Fate::More, done);
            }
        }
    }

    /// Looks after a viewer whether its socket moves or not: it may have left, lag, or stall.
    pub(super) fn look_after(&mut self, now: Instant, bounds: Bounds) -> (Fate, Done) {
        let mut done = Done::default();
        if self.has_left() {
            return (Fate::Gone, done);
        }
        if self.behind {
            self.note_acked(now);
        }
        (self.judge(now, bounds, &mut done), done)
    }

    /// A far end that reads slowly opens its window seldom, and our socket may take nothing for many seconds: what was
    /// acknowledged meanwhile shows that it lives.
    fn note_acked(&mut self, now: Instant) {
        let acked = TcpInfo::of(&self.stream).map_or(self.acked, |info| info.bytes_acked);
        if acked > self.acked {
            let bytes = (acked - self.acked) as usize;
            self.patience.handle(now, Outcome::Owed { bytes });
            self.acked = acked;
        }
    }

    fn judge(&mut self, now: Instant, bounds: Bounds, done: &mut Done) -> Fate {
        let lag = if self.behind { self.reader.lag().span.duration() } else { Duration::ZERO };
        match self.patience.judge(now, lag, bounds) {
            Verdict::Keep => Fate::Blocked,
            Verdict::Jump => {
                if self.reader.jump_to_newest_keyframe().is_some() {
                    self.moved = true;
                    done.jumps += 1;
                }
                Fate::Blocked
            }
            Verdict::Cut => {
                // What waits in the kernel for a dead viewer is thrown away with the connection.
                let _ = self.stream.set_zero_linger();
                Fate::Cut
            }
        }
    }

    /// A viewer has nothing more to say: a byte is dropped, an end means that it left.
    fn has_left(&self) -> bool {
        let mut unwanted = [0; 512];
        match self.stream.try_read(&mut unwanted) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Puts what comes next into `batch`: what is owed, then tags from the ring up to `until`.
    fn gather(&mut self, batch: &mut Batch, until: u64, done: &mut Done) {
        'again: loop {
            if self.moved && (self.zero.is_none() || !self.reader.is_holding()) {
                self.moved = false;
                self.arrive();
            }
            batch.clear();
            if let Some(owed) = &self.owed {
                owed.items.iter().for_each(|item| batch.push(item.clone()));
                batch.skip(owed.sent);
            }
            let own = batch.items().len();
            while batch.has_room() && batch.len_bytes() < TURN_BYTES && self.reader.position() < until {
                match self.reader.try_next() {
                    Next::Tag(tag) => {
                        self.moved = false;
                        if self.accepts(&tag) {
                            batch.push(Item::Tag(tag));
                        }
                    }
                    Next::Jumped { skipped } => {
                        done.jumps += u64::from(skipped > 0);
                        self.moved = true;
                        if batch.items().len() == own && !self.reader.is_holding() {
                            continue 'again;
                        }
                        // What was gathered stands before the jump, and so goes out before its headers.
                        break;
                    }
                    Next::Empty | Next::Closed => break,
                }
            }
            return;
        }
    }

    /// After a move: what is owed is what was begun, then the headers in force here if they are news.
    fn arrive(&mut self) {
        let fresh = self.reader.fresh_headers();
        let unsent = self.owed.as_mut().is_some_and(|owed| owed.keep_begun());
        let Some(headers) = fresh.or_else(|| self.reader.headers().filter(|_| unsent)) else { return };
        let at = self.reader.next_time().or(self.zero).unwrap_or_default();
        let owed = self.owed.get_or_insert_default();
        for tag in &headers.tags {
            // One begun and three headers at most.
            let _ = owed.items.push(Item::Tag(Tag { dts: at, ..tag.clone() }));
        }
    }

    /// Whether a tag is for this viewer; finds its zero by the first picture or sound.
    fn accepts(&mut self, tag: &Tag) -> bool {
        if !matches!(tag.kind, TagKind::Video { .. } | TagKind::Audio) {
            return true;
        }
        let zero = *self.zero.get_or_insert(tag.dts);
        // Sound that belongs before the first picture has no time on this viewer's clock.
        let before = tag.dts < zero;
        self.settled |= (tag.kind == TagKind::Audio && !before) || tag.dts - zero > SETTLED_AFTER;
        !before
    }

    /// After a write that was cut: keeps what stands in no ring, of which `own` items began the batch, and steps
    /// back in the ring.
    fn owe(&mut self, batch: &Batch, own: usize, cut: Cut) {
        let items = batch.items();
        let back_to = items[own.max(cut.item)..].iter().find_map(|item| match item {
            Item::Tag(tag) => Some(tag.seq),
            Item::Raw(_) => None,
        });
        let begun = cut.item + usize::from(cut.sent > 0);
        let mut owed = Owed { items: heapless::Vec::new(), sent: cut.sent };
        for item in &items[cut.item..own.max(begun)] {
            // What was owed before, or one tag of the ring that was begun.
            let _ = owed.items.push(item.clone());
        }
        if let Some(seq) = back_to {
            self.reader.seek(seq + u64::from(cut.item >= own && cut.sent > 0));
        }
        if !owed.items.is_empty() {
            self.owed = Some(Box::new(owed));
        }
    }

    /// Whether the socket of a viewer that is behind takes more now; if not, the task of `cx` is woken when it does.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.behind {
            return Poll::Pending;
        }
        // An error is found by the write that follows.
        if !self.ready && self.stream.poll_write_ready(cx).is_ready() {
            self.ready = true;
        }
        if self.ready { Poll::Ready(()) } else { Poll::Pending }
    }
}
