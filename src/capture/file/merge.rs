//! Brings the packets of two tracks into the order of their time.
//!
//! Pure. Muxers put half a second of sound before the pictures that belong to it, or the other way round; a source
//! that hands on packets in file order would send one of them late.

use std::collections::VecDeque;

use crate::base::ticks::Ticks;

/// Packets held at most: two seconds of pictures and sound. At the bound the earliest goes on though its
/// neighbour in the other track is not known yet, which costs order, never a packet.
const HELD_MAX: usize = 256;
/// Bytes held at most, for intra-only clips with huge pictures.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Packets of a picture track and, if it has one, a sound track.
#[derive(Debug)]
pub(super) struct Merge<T> {
    pictures: VecDeque<(Ticks, usize, T)>,
    sounds: VecDeque<(Ticks, usize, T)>,
    has_sound: bool,
    bytes: usize,
}

impl<T> Merge<T> {
    pub(super) fn new(has_sound: bool) -> Merge<T> {
        Merge { pictures: VecDeque::new(), sounds: VecDeque::new(), has_sound, bytes: 0 }
    }

    /// Puts a packet of `bytes` in. Packets of one track come out in the order in which they went in.
    pub(super) fn push(&mut self, is_picture: bool, at: Ticks, bytes: usize, packet: T) {
        let track = if is_picture { &mut self.pictures } else { &mut self.sounds };
        // A time that runs backwards within its track does not bring disorder into the other.
        let at = track.back().map_or(at, |(last, ..)| at.max(*last));
        track.push_back((at, bytes, packet));
        self.bytes += bytes;
    }

    /// The earliest packet, once no earlier one can follow; with `ended`, in any case.
    pub(super) fn pop(&mut self, ended: bool) -> Option<T> {
        let full = self.pictures.len() + self.sounds.len() >= HELD_MAX || self.bytes >= HELD_BYTES_MAX;
        let picture_first = match (self.pictures.front(), self.sounds.front()) {
            (Some((picture, ..)), Some((sound, ..))) => picture <= sound,
            (Some(_), None) if ended || full || !self.has_sound => true,
            (None, Some(_)) if ended || full => false,
            (Some(_) | None, None) | (None, Some(_)) => return None,
        };
        let track = if picture_first { &mut self.pictures } else { &mut self.sounds };
        let (_, bytes, packet) = track.pop_front()?;
        self.bytes -= bytes;
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(merge: &mut Merge<&'static str>, ended: bool) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.pop(ended)).collect()
    }

    #[test]
    fn sound_that_the_file_holds_late_comes_out_in_its_place() {
        let mut merge = Merge::new(true);
        for (at, name) in [(0, "p0"), (10, "p1"), (20, "p2")] {
            merge.push(true, Ticks(at), 1, name);
        }
        assert_eq!(drain(&mut merge, false), [""; 0]);
        merge.push(false, Ticks(5), 1, "s0");
        merge.push(false, Ticks(15), 1, "s1");
        assert_eq!(drain(&mut merge, false), ["p0", "s0", "p1", "s1"]);
        assert_eq!(drain(&mut merge, true), ["p2"]);
    }

    #[test]
    fn without_a_sound_track_pictures_wait_for_nothing() {
        let mut merge = Merge::new(false);
        merge.push(true, Ticks(0), 1, "p0");
        assert_eq!(drain(&mut merge, false), ["p0"]);
    }

    #[test]
    fn a_track_that_falls_silent_does_not_hold_the_other_for_ever() {
        let mut merge = Merge::new(true);
        for at in 0..1_000 {
            merge.push(true, Ticks(at), 1, at);
            if let Some(first) = merge.pop(false) {
                assert_eq!(first, at + 1 - HELD_MAX as i64);
            }
        }
        let mut merge = Merge::new(true);
        merge.push(true, Ticks(0), HELD_BYTES_MAX, "huge");
        assert_eq!(drain(&mut merge, false), ["huge"]);
    }
}
