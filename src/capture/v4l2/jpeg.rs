//! What a camera calls a JPEG, before anyone tries to decode it.
//!
//! Pure. Cameras pad their JPEGs with zeros, send empty ones while they wake up, and halves of them when the bus is
//! crowded; a decoder would turn half a picture into half a grey one.

use std::ops::Range;

/// Start of image (ITU-T T.81, table B.1).
const SOI: [u8; 2] = [0xFF, 0xD8];
/// End of image.
const EOI: [u8; 2] = [0xFF, 0xD9];
/// A picture of nothing has some hundred bytes of tables.
const BYTES_MIN: usize = 64;
/// Junk that some cameras put before the picture: a few bytes of the packet's header.
const JUNK_MAX: usize = 32;

/// What the bytes of a buffer hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Jpeg {
    /// A picture from its start to its end.
    Whole(Range<usize>),
    /// A picture that starts, and whose end is not marked: cut off, or from a camera that never marks it.
    Endless(Range<usize>),
    /// No picture.
    Nothing,
}

/// Finds the picture in a buffer.
pub(super) fn find(bytes: &[u8]) -> Jpeg {
    let head = &bytes[..bytes.len().min(JUNK_MAX + SOI.len())];
    let Some(start) = head.windows(SOI.len()).position(|pair| pair == SOI) else { return Jpeg::Nothing };
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end < start + BYTES_MIN {
        return Jpeg::Nothing;
    }
    // Only the last bytes: a thumbnail inside has an end of its own.
    let tail = end.saturating_sub(JUNK_MAX).max(start + SOI.len());
    match bytes[tail..end].windows(EOI.len()).rposition(|pair| pair == EOI) {
        Some(at) => Jpeg::Whole(start..tail + at + EOI.len()),
        None => Jpeg::Endless(start..end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(before: &[u8], body: usize, after: &[u8]) -> Vec<u8> {
        [before, &SOI, &vec![0x55; body], after].concat()
    }

    #[test]
    fn padding_and_junk_around_a_picture_fall_away() {
        let whole = picture(&[], 200, &EOI);
        assert_eq!(find(&whole), Jpeg::Whole(0..204));
        assert_eq!(find(&picture(&[], 200, &[0xFF, 0xD9, 0, 0, 0, 0, 0, 0])), Jpeg::Whole(0..204));
        assert_eq!(find(&picture(&[0, 1, 2], 200, &EOI)), Jpeg::Whole(3..207));
        assert_eq!(find(&picture(&[], 200, &[&EOI[..], &vec![0; 100_000]].concat())), Jpeg::Whole(0..204));
    }

    #[test]
    fn half_a_picture_is_known_by_its_missing_end() {
        assert_eq!(find(&picture(&[], 200, &[])), Jpeg::Endless(0..202));
        let with_thumbnail = picture(&[], 100, &[&EOI[..], &[0x55; 100]].concat());
        assert_eq!(find(&with_thumbnail), Jpeg::Endless(0..204));
    }

    #[test]
    fn what_is_no_picture_is_nothing() {
        for bytes in [&b""[..], &[0; 5_000], &SOI, &[0xFF; 300], &picture(&[7; 100], 200, &EOI)] {
            assert_eq!(find(bytes), Jpeg::Nothing);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_range_inside_them(bytes: Vec<u8>) {
            if let Jpeg::Whole(range) | Jpeg::Endless(range) = find(&bytes) {
                prop_assert!(range.start < range.end && range.end <= bytes.len());
            }
        }
    }
}
