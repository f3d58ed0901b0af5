//! PES packet headers (§2.4.3.6).

use crate::base::ticks::Ticks;

pub(super) const VIDEO: u8 = 0xE0;
pub(super) const AUDIO: u8 = 0xC0;

/// Time stamps have 33 bits.
const WRAP: i64 = 1 << 33;

/// Puts the header before what `body` will append to `out`, and then its length, where it has one: a picture of
/// 64 KiB or more goes without (§2.4.3.7 allows that to pictures).
pub(super) fn write(out: &mut Vec<u8>, stream: u8, pts: Ticks, dts: Ticks, body: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    let both = pts != dts;
    out.extend_from_slice(&[0, 0, 1, stream, 0, 0]);
    // Aligned: an access unit begins right behind the header.
    out.extend_from_slice(&[0x84, if both { 0xC0 } else { 0x80 }, if both { 10 } else { 5 }]);
    out.extend_from_slice(&stamp(if both { 0b0011 } else { 0b0010 }, pts));
    if both {
        out.extend_from_slice(&stamp(0b0001, dts));
    }
    body(out);
    let length = u16::try_from(out.len() - 6).unwrap_or(0);
    out[4..6].copy_from_slice(&length.to_be_bytes());
}

/// A time stamp behind its four bits of prefix, each part closed by a marker bit.
fn stamp(prefix: u8, at: Ticks) -> [u8; 5] {
    let at = at.0.rem_euclid(WRAP) as u64;
    let [.., b3, b4] = ((at >> 15 & 0x7FFF) << 1 | 1).to_be_bytes();
    let [.., c3, c4] = ((at & 0x7FFF) << 1 | 1).to_be_bytes();
    [prefix << 4 | ((at >> 30) as u8 & 7) << 1 | 1, b3, b4, c3, c4]
}
