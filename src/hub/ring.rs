//! The newest GOPs of a stream, framed once, and the rules by which readers walk them.
//!
//! Pure: tags go in, cursors move over them; `channel.rs` owns the lock and the wake-ups.
//!
//! ```text
//!    first                       join (keyframe)              head
//!      │ V a V a V a V H │ K a V a V V a V │ K a V V a V V │    ·
//!      └── a cursor left of here has been overrun: it jumps     └── the next number
//! ```
//!
//! What goes at the bound: the oldest tag, always, one after the other. A GOP that lost its keyframe can start
//! nobody, but whoever stands in its midst can still finish it. A GOP that is bigger than the whole bound loses
//! its own keyframe that way: readers in it go on undisturbed, who joins waits for the next keyframe. The newest
//! tag always stays, whatever its size, since readers at the head have yet to take it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::media::flv::{TAG_HEADER_BYTES, TAG_TRAILER_BYTES};
use crate::media::packet::Layout;

/// What a channel may hold for those who join or fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of tags; the newest tag stays even if it alone is bigger.
    pub cache_bytes: usize,
    /// Tags.
    pub cache_packets: usize,
    /// Media time. The newest GOP stays whole even if it alone is longer: joining needs its keyframe.
    pub cache_span: Ticks,
}

impl Default for Limits {
    /// 16 MiB, 4,096 tags, 10 s: a GOP of 2 s at 50 Mbit/s fits, and at 4 Mbit/s the span keeps it to 5 MB.
    fn default() -> Limits {
        Limits { cache_bytes: 16 << 20, cache_packets: 4_096, cache_span: Ticks(10 * Ticks::PER_SECOND) }
    }
}

/// What a tag carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// `onMetaData` or another script tag.
    Script,
    /// The picture's sequence header.
    VideoHeader,
    /// The sound's sequence header.
    AudioHeader,
    /// A picture.
    Video {
        /// It decodes by itself.
        keyframe: bool,
    },
    /// A piece of sound.
    Audio,
}

/// One FLV tag, framed once and shared by everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its number: consecutive within a channel, headers included.
    pub seq: u64,
    /// What it carries.
    pub kind: TagKind,
    /// Decoding time on the stream's timeline, which starts at 0 and never runs backwards.
    pub dts: Ticks,
    /// The whole tag: header of 11 bytes, body, `PreviousTagSize`. The header's timestamp is `dts` in milliseconds.
    pub bytes: Bytes,
}

impl Tag {
    /// The body alone, which is also the payload of an RTMP message; shares the tag's memory.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(TAG_HEADER_BYTES..self.bytes.len() - TAG_TRAILER_BYTES)
    }

    /// `dts` as FLV and RTMP count it: milliseconds, wrapping after 49.7 days.
    pub fn millis(&self) -> u32 {
        self.dts.millis() as u32
    }
}

/// What a player must be told before the first picture or sound: in force from `from` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// The number from which on these hold; tells one set from another.
    pub from: u64,
    /// The tracks.
    pub layout: Layout,
    /// `onMetaData`, then the sequence headers of the tracks that exist.
    pub tags: heapless::Vec<Tag, 3>,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the newest keyframe: a picture at once, at most a GOP old.
    Gop,
    /// At the next keyframe: nothing old, at the price of waiting for it.
    Live,
    /// At the next tag, whatever it is: for who hands tags on to others that started well.
    Head,
}

/// What a cursor finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The next tag.
    Tag(Tag),
    /// The ring went over the cursor, which stands at the newest keyframe now, or waits for the next one.
    Jumped {
        /// Tags that it will not see.
        skipped: u64,
    },
    /// Nothing yet.
    Empty,
}

/// How far a cursor is behind the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Media time between the next tag and the newest one.
    pub span: Ticks,
    /// Bytes not taken yet.
    pub bytes: u64,
    /// Tags not taken yet.
    pub tags: u64,
}

/// A place in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The number of the tag that comes next.
    next: u64,
    /// Nothing is handed out before a tag at which a decoder can start.
    holding: bool,
}

impl Cursor {
    /// Right before the tag `next`, wherever that stands in its GOP.
    pub(super) fn at(next: u64) -> Cursor {
        Cursor { next, holding: false }
    }

    /// The number of the tag that comes next.
    pub(super) fn next(self) -> u64 {
        self.next
    }

    /// Whether it waits for a tag at which a decoder can start.
    pub(super) fn holding(self) -> bool {
        self.holding
    }
}

struct Slot {
    tag: Tag,
    /// Bytes ever pushed before this tag.
    offset: u64,
}

/// The ring.
pub(super) struct Ring {
    limits: Limits,
    slots: VecDeque<Slot>,
    /// The number of the next tag.
    head: u64,
    /// Bytes ever pushed.
    pushed_bytes: u64,
    /// Numbers of the tags in the ring at which a decoder can start: keyframes; all sound where there is no picture.
    joins: VecDeque<u64>,
    /// The number after the newest picture; after the newest tag where there is no picture.
    beat: u64,
    /// Header sets, oldest first: the one in force at the oldest tag, and all after it.
    eras: VecDeque<Arc<Headers>>,
}

impl Ring {
    pub(super) fn new(limits: Limits) -> Ring {
        Ring {
            limits,
            slots: VecDeque::new(),
            head: 0,
            pushed_bytes: 0,
            joins: VecDeque::new(),
            beat: 0,
            eras: VecDeque::new(),
        }
    }

    /// Other bounds from here on.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.trim();
    }

    /// New tracks: their headers stand in line and are in force from here on. `headers` are at most three.
    pub(super) fn begin_era(
        &mut self,
        layout: Layout,
        dts: Ticks,
        headers: impl IntoIterator<Item = (TagKind, Bytes)>,
    ) {
        let from = self.head;
        let mut tags = heapless::Vec::new();
        for (kind, bytes) in headers {
            let tag = Tag { seq: self.head, kind, dts, bytes };
            if tags.push(tag.clone()).is_ok() {
                self.append(tag);
            }
        }
        // A set that nothing followed is in force nowhere.
        if self.eras.back().is_some_and(|era| era.from == from) {
            self.eras.pop_back();
        }
        self.eras.push_back(Arc::new(Headers { from, layout, tags }));
        self.trim();
    }

    /// Puts one tag at the head.
    pub(super) fn push(&mut self, kind: TagKind, dts: Ticks, bytes: Bytes) {
        let has_picture = self.eras.back().is_some_and(|era| era.layout.video.is_some());
        if kind == (TagKind::Video { keyframe: true }) || (kind == TagKind::Audio && !has_picture) {
            self.joins.push_back(self.head);
        }
        self.append(Tag { seq: self.head, kind, dts, bytes });
        if matches!(kind, TagKind::Video { .. }) || !has_picture {
            self.beat = self.head;
        }
        self.trim();
    }

    fn append(&mut self, tag: Tag) {
        let offset = self.pushed_bytes;
        self.pushed_bytes += tag.bytes.len() as u64;
        self.head += 1;
        self.slots.push_back(Slot { tag, offset });
    }

    fn trim(&mut self) {
        while self.slots.len() > 1 && (self.over_size() || self.over_span()) {
            self.slots.pop_front();
        }
        let first = self.first();
        while self.joins.front().is_some_and(|join| *join < first) {
            self.joins.pop_front();
        }
        while self.eras.get(1).is_some_and(|next| next.from <= first) {
            self.eras.pop_front();
        }
    }

    fn over_size(&self) -> bool {
        self.bytes() > self.limits.cache_bytes as u64 || self.slots.len() > self.limits.cache_packets
    }

    fn over_span(&self) -> bool {
        let (Some(oldest), Some(newest)) = (self.slots.front(), self.slots.back()) else { return false };
        newest.tag.dts - oldest.tag.dts > self.limits.cache_span
            && self.joins.back().is_some_and(|join| oldest.tag.seq < *join)
    }

    /// The number of the oldest tag held; the head where there is none.
    fn first(&self) -> u64 {
        self.head - self.slots.len() as u64
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.pushed_bytes - self.slots.front().map_or(self.pushed_bytes, |slot| slot.offset)
    }

    /// Tags held.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The time of the newest tag.
    pub(super) fn newest_dts(&self) -> Ticks {
        self.slots.back().map_or(Ticks::ZERO, |slot| slot.tag.dts)
    }

    /// The newest headers.
    pub(super) fn newest_headers(&self) -> Option<&Arc<Headers>> {
        self.eras.back()
    }

    /// The number of the next tag.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The first tags of the oldest and of the newest whole GOP held.
    pub(super) fn gops(&self) -> Option<(u64, u64)> {
        Some((*self.joins.front()?, *self.joins.back()?))
    }

    /// A place for somebody new.
    pub(super) fn start(&self, start: Start) -> Cursor {
        match (start, self.joins.back()) {
            (Start::Gop, Some(join)) => Cursor::at(*join),
            (Start::Head, _) => Cursor::at(self.head),
            _ => Cursor { next: self.head, holding: true },
        }
    }

    /// What comes next at `cursor`, which moves on.
    pub(super) fn step(&self, cursor: &mut Cursor) -> Step {
        if cursor.next < self.first() {
            let was_holding = cursor.holding;
            let next = self.joins.back().copied().unwrap_or(self.head);
            let skipped = next - cursor.next;
            *cursor = Cursor { next, holding: next == self.head };
            // Who holds has been promised nothing yet, and so misses nothing.
            if !was_holding {
                return Step::Jumped { skipped };
            }
        }
        if cursor.holding {
            let at = self.joins.partition_point(|join| *join < cursor.next);
            let join = self.joins.get(at).copied();
            *cursor = Cursor { next: join.unwrap_or(self.head), holding: join.is_none() };
        }
        match self.slot(cursor.next) {
            Some(slot) => {
                cursor.next += 1;
                Step::Tag(slot.tag.clone())
            }
            None => Step::Empty,
        }
    }

    /// Whether [`Ring::step`] would find something.
    pub(super) fn has_news(&self, cursor: Cursor) -> bool {
        if cursor.holding {
            self.joins.back().is_some_and(|join| *join >= cursor.next)
        } else {
            cursor.next < self.head
        }
    }

    /// Whether a picture stands at `cursor` or after it; where there is no picture, anything.
    pub(super) fn has_beat(&self, cursor: Cursor) -> bool {
        self.beat > cursor.next
    }

    /// The number after the newest picture; it changes whenever [`Ring::has_beat`] may.
    pub(super) fn beat(&self) -> u64 {
        self.beat
    }

    /// Puts `cursor` at the newest keyframe if that is ahead of it: `Some` of the tags it will not see. `None`
    /// changes nothing: a reader in the newest GOP has nowhere better to go.
    pub(super) fn jump(&self, cursor: &mut Cursor) -> Option<u64> {
        let join = *self.joins.back()?;
        if join <= cursor.next || cursor.holding {
            return None;
        }
        let skipped = join - cursor.next;
        *cursor = Cursor { next: join, holding: false };
        Some(skipped)
    }

    /// The headers in force at `cursor`.
    pub(super) fn headers_at(&self, cursor: Cursor) -> Option<&Arc<Headers>> {
        let behind = self.eras.partition_point(|era| era.from <= cursor.next);
        self.eras.get(behind.saturating_sub(1))
    }

    /// The time of the tag at `cursor`, if it is there.
    pub(super) fn time_at(&self, cursor: Cursor) -> Option<Ticks> {
        self.slot(cursor.next).filter(|_| !cursor.holding).map(|slot| slot.tag.dts)
    }

    /// The newest header set of which all stands before the tag `next`.
    pub(super) fn headers_before(&self, next: u64) -> Option<&Arc<Headers>> {
        self.eras.iter().rev().find(|era| era.from + era.tags.len() as u64 <= next)
    }

    /// How far `cursor` is behind; who holds is not behind.
    pub(super) fn lag(&self, cursor: Cursor) -> Lag {
        if cursor.holding {
            return Lag::default();
        }
        let at = cursor.next.max(self.first());
        let Some(slot) = self.slot(at) else { return Lag::default() };
        Lag {
            span: self.newest_dts() - slot.tag.dts,
            bytes: self.pushed_bytes - slot.offset,
            tags: self.head - cursor.next,
        }
    }

    fn slot(&self, seq: u64) -> Option<&Slot> {
        self.slots.get(seq.checked_sub(self.first())? as usize)
    }
}

#[cfg(test)]
mod tests;
