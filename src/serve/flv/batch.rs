//! Tags side by side, ready for one vectored write to any number of viewers.
//!
//! Pure. Viewers share the bodies and differ in nothing but their zero of time, so what differs (tag headers) and
//! what is small lies in one scratch that is stamped again for each zero; large bodies are written where they are.
//!
//! ```text
//!   scratch   [hdr│sound│size][hdr│sound│size][hdr]                  [hdr│sound│size]
//!   shared                                         [ picture │ size ]
//!   slices    └────────────── 1 ─────────────────┘ └────── 2 ───────┘└───── 3 ──────┘
//! ```

use std::io::IoSlice;

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::hub::Tag;
use crate::media::flv::TAG_HEADER_BYTES;

/// The most pieces side by side: beyond it another write follows.
pub(super) const ITEMS_MAX: usize = 64;

/// Slices for one write: at most two for each item.
pub(super) type Slices<'a> = heapless::Vec<IoSlice<'a>, { ITEMS_MAX * 2 }>;

/// Bodies up to this size are copied beside their headers: cheaper than two more slices for the kernel to walk.
const COPIED_MAX: usize = 1_024;

/// What can be written to a viewer.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// Bytes as they are: the answer's head.
    Raw(Bytes),
    /// A tag, whose time is counted from the viewer's zero.
    Tag(Tag),
}

impl Item {
    /// Its length on the wire.
    pub(super) fn len(&self) -> usize {
        match self {
            Item::Raw(bytes) => bytes.len(),
            Item::Tag(tag) => tag.bytes.len(),
        }
    }
}

/// Part of the batch, in order.
#[derive(Debug)]
enum Piece {
    /// The scratch up to here.
    ScratchTo(usize),
    /// A body in place.
    Shared(Bytes),
}

/// Where a write that did not take everything ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// The first item that was not written in full.
    pub(super) item: usize,
    /// Bytes of it that were.
    pub(super) sent: usize,
}

/// Items side by side.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    /// Where each item ends, in bytes from the start.
    ends: Vec<usize>,
    scratch: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where in the scratch tag headers lie, and their times.
    stamps: Vec<(usize, Ticks)>,
    stamped_for: Option<Ticks>,
    /// Bytes of the first item that its viewer has already.
    skip: usize,
}

impl Batch {
    /// Forgets everything but its memory.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.ends.clear();
        self.scratch.clear();
        self.pieces.clear();
        self.stamps.clear();
        self.stamped_for = None;
        self.skip = 0;
    }

    /// Puts one item at the end. The caller sees to it that there [is room](Batch::has_room).
    pub(super) fn push(&mut self, item: Item) {
        debug_assert!(self.has_room());
        match &item {
            Item::Raw(bytes) => {
                self.scratch.extend_from_slice(bytes);
                self.scratch_ends();
            }
            Item::Tag(tag) => {
                self.stamps.push((self.scratch.len(), tag.dts));
                self.stamped_for = None;
                if tag.bytes.len() <= COPIED_MAX {
                    self.scratch.extend_from_slice(&tag.bytes);
                    self.scratch_ends();
                } else {
                    self.scratch.extend_from_slice(&tag.bytes[..TAG_HEADER_BYTES]);
                    self.scratch_ends();
                    self.pieces.push(Piece::Shared(tag.bytes.slice(TAG_HEADER_BYTES..)));
                }
            }
        }
        self.ends.push(self.len_bytes() + item.len());
        self.items.push(item);
    }

    fn scratch_ends(&mut self) {
        let end = self.scratch.len();
        match self.pieces.last_mut() {
            Some(Piece::ScratchTo(to)) => *to = end,
            _ => self.pieces.push(Piece::ScratchTo(end)),
        }
    }

    /// The first `bytes` of the first item are not to be written again.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.skip = bytes;
    }

    /// Whether another item fits.
    pub(super) fn has_room(&self) -> bool {
        self.items.len() < ITEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items in it.
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Bytes in it, skipped ones included.
    pub(super) fn len_bytes(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Counts all times from `zero`. What was before it is at 0.
    pub(super) fn stamp(&mut self, zero: Ticks) {
        if self.stamped_for == Some(zero) {
            return;
        }
        self.stamped_for = Some(zero);
        let zero = zero.millis();
        for (at, dts) in &self.stamps {
            // Rounded apart and then subtracted, so that all viewers see the same steps.
            let [b3, b2, b1, b0] = ((dts.millis() - zero).max(0) as u32).to_be_bytes();
            // FLV 10.1 §E.4.1: the lower 24 bits, then the upper 8.
            self.scratch[at + 4..at + 8].copy_from_slice(&[b2, b1, b0, b3]);
        }
    }

    /// What to write, for the zero that was stamped last.
    pub(super) fn slices(&self) -> Slices<'_> {
        let mut slices = Slices::new();
        let (mut from, mut skip) = (0, self.skip);
        for piece in &self.pieces {
            let mut bytes = match piece {
                Piece::ScratchTo(to) => &self.scratch[std::mem::replace(&mut from, *to)..*to],
                Piece::Shared(bytes) => bytes,
            };
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            bytes = &bytes[skipped..];
            if !bytes.is_empty() {
                // As many slices as pieces, which are at most two for each item.
                let _ = slices.push(IoSlice::new(bytes));
            }
        }
        slices
    }

    /// Where a write of `written` bytes ended; `None` if that was all.
    pub(super) fn cut_at(&self, written: usize) -> Option<Cut> {
        let taken = self.skip + written;
        let item = self.ends.partition_point(|end| *end <= taken);
        let before = if item == 0 { 0 } else { self.ends[item - 1] };
        (item < self.items.len()).then_some(Cut { item, sent: taken - before })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::TagKind;
    use crate::media::flv;

    fn tag(seq: u64, millis: i64, payload: usize) -> Item {
        let dts = Ticks::from_millis(millis);
        let bytes = flv::audio_tag(dts, &vec![seq as u8; payload]).expect("small enough");
        Item::Tag(Tag { seq, kind: TagKind::Audio, dts, bytes })
    }

    fn written(batch: &Batch) -> Vec<u8> {
        batch.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// What a viewer with this zero should get.
    fn expected(items: &[Item], zero: i64) -> Vec<u8> {
        let mut all = Vec::new();
        for item in items {
            match item {
                Item::Raw(bytes) => all.extend_from_slice(bytes),
                Item::Tag(tag) => {
                    let payload = &tag.body()[2..];
                    let at = Ticks::from_millis((tag.dts.millis() - zero).max(0));
                    all.extend_from_slice(&flv::audio_tag(at, payload).expect("small enough"));
                }
            }
        }
        all
    }

    #[test]
    fn small_tags_share_one_slice_and_pictures_stay_where_they_are() {
        let mut batch = Batch::default();
        for item in [tag(0, 10, 300), tag(1, 31, 300), tag(2, 33, 20_000), tag(3, 52, 300)] {
            batch.push(item);
        }
        batch.stamp(Ticks::from_millis(10));
        let slices = batch.slices();
        assert_eq!(slices.len(), 3);
        let Item::Tag(picture) = &batch.items()[2] else { panic!("a tag") };
        assert_eq!(slices[1].as_ptr(), picture.bytes[TAG_HEADER_BYTES..].as_ptr());
    }

    #[test]
    fn times_beyond_24_bits_keep_their_upper_ones() {
        let mut batch = Batch::default();
        batch.push(tag(0, 0x1234_5678, 10));
        batch.stamp(Ticks::ZERO);
        assert_eq!(written(&batch)[4..8], [0x34, 0x56, 0x78, 0x12]);
    }

    proptest! {
        #[test]
        fn each_viewer_gets_the_same_bytes_with_its_own_times_however_the_writes_are_cut(
            sizes in prop::collection::vec((0usize..3_000, 0i64..60), 1..20),
            zeros in prop::collection::vec(0i64..500, 1..4),
            cuts in prop::collection::vec(1usize..5_000, 0..30),
        ) {
            let mut items = vec![Item::Raw(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"))];
            let mut millis = 0;
            for (seq, (size, step)) in sizes.into_iter().enumerate() {
                millis += step;
                items.push(tag(seq as u64, millis, size));
            }
            let mut batch = Batch::default();
            for item in &items {
                batch.push(item.clone());
            }
            for zero in zeros {
                batch.stamp(Ticks::from_millis(zero));
                prop_assert_eq!(written(&batch), expected(&items, zero));
                // The same once more in pieces, each begun where the last was cut.
                let (mut got, mut rest, mut sent) = (Vec::new(), items.clone(), 0);
                let mut again = Batch::default();
                for cut in cuts.iter().copied().chain([usize::MAX]) {
                    again.clear();
                    for item in &rest {
                        again.push(item.clone());
                    }
                    again.skip(sent);
                    again.stamp(Ticks::from_millis(zero));
                    let taken = cut.min(again.len_bytes() - sent);
                    got.extend_from_slice(&written(&again)[..taken]);
                    match again.cut_at(taken) {
                        Some(cut) => {
                            rest.drain(..cut.item);
                            sent = cut.sent;
                        }
                        None => break,
                    }
                }
                prop_assert_eq!(got, expected(&items, zero));
            }
        }
    }
}
