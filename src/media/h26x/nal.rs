//! Walking over NAL units, in either packing.

use super::H26xError;

/// The units of an Annex B byte stream (H.264 and H.265, annex B), start codes and padding zeros left out.
/// Bytes before the first start code belong to no unit and are skipped.
pub fn annexb_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = find_start_code(stream).map(|at| &stream[at + 3..]);
    std::iter::from_fn(move || {
        let unit = rest?;
        let next = find_start_code(unit);
        rest = next.map(|at| &unit[at + 3..]);
        let unit = &unit[..next.unwrap_or(unit.len())];
        // A unit never ends in a zero byte: those belong to the next start code, or are padding.
        let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// The units of an AVCC payload, whose lengths take `length_bytes` (1, 2 or 4). Ends after the first error:
/// where one length is wrong, the next is nowhere.
pub fn avcc_units(payload: &[u8], length_bytes: usize) -> impl Iterator<Item = Result<&[u8], H26xError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = rest.split_at_checked(length_bytes.clamp(1, 4)).and_then(|(length, after)| {
            let length = length.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
            after.split_at_checked(length)
        });
        let Some((unit, after)) = split else {
            rest = &[];
            return Some(Err(H26xError::Truncated("NAL unit")));
        };
        rest = after;
        Some(Ok(unit))
    })
}

/// Where the next `00 00 01` begins.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Looks at every third byte: whatever stands there tells how far a start code is at least.
    while let Some(byte) = bytes.get(at + 2) {
        match byte {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}
