//! The machine-readable time code of the pattern picture: when it was made, written into the picture itself.
//!
//! ```text
//!   0 ............ 8 ............................................ 52 .......... 64 cells
//!   | 10101100     | Unix time in milliseconds, 44 bits           | CRC, 12 bits |
//! ```
//!
//! A row of 64 cells at the very top, black or white, most significant bit first. Cells are wide and tall enough
//! to survive 4:2:0 and a starved encoder, and the sum tells a damaged strip from a true one, so the age of a
//! picture can be read off any screen, however many boxes it went through.

use crate::base::units::PictureSize;

/// Cells in the strip.
pub const CELLS: usize = 64;

/// What a strip starts with.
const SYNC: u8 = 0b1010_1100;
const TIME_BITS: u32 = 44;
const CRC_BITS: u32 = 12;
const _: () = assert!(8 + TIME_BITS as usize + CRC_BITS as usize == CELLS);

/// x^12 + x^11 + x^3 + x^2 + x + 1, as CRC-12/UMTS has it; here neither input nor output is reflected.
const CRC_POLY: u16 = 0x80F;

/// Luma of a cell that is 0, and of one that is 1 (the ends of the limited range, ITU-R BT.601 §2.5.3).
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// Rows that the strip takes in a picture `height` pixels high: its 45th part, even, and at least 16.
pub fn strip_height(height: u32) -> u32 {
    (height.saturating_add(45) / 90 * 2).max(16)
}

/// Pixels across one cell; 0 when the picture is too narrow to carry a strip.
pub fn cell_width(width: u32) -> u32 {
    width / CELLS as u32
}

/// Paints the strip for `unix_millis` into a luma plane. A plane too small for one is left as it is.
pub fn paint(luma: &mut [u8], stride: usize, size: PictureSize, unix_millis: u64) {
    let Some(geometry) = Geometry::of(luma.len(), stride, size) else { return };
    let code = encode(unix_millis);
    let (top, rest) = luma.split_at_mut(stride);
    for (cell, pixels) in top.chunks_exact_mut(geometry.cell).take(CELLS).enumerate() {
        pixels.fill(if code >> (CELLS - 1 - cell) & 1 == 1 { WHITE } else { BLACK });
    }
    let width = geometry.cell * CELLS;
    for row in rest.chunks_mut(stride).take(geometry.rows - 1) {
        row[..width].copy_from_slice(&top[..width]);
    }
}

/// Reads the strip off a luma plane: the Unix time in milliseconds, or `None` where there is no whole strip.
pub fn read(luma: &[u8], stride: usize, size: PictureSize) -> Option<u64> {
    let geometry = Geometry::of(luma.len(), stride, size)?;
    // The middle of each cell: its edges bleed into the neighbours and into the picture below.
    let (left, right) = (geometry.cell / 4, geometry.cell - geometry.cell / 4);
    let (above, below) = (geometry.rows / 4, geometry.rows - geometry.rows / 4);
    let code = (0..CELLS).fold(0u64, |code, cell| {
        let at = cell * geometry.cell;
        let sum: u64 = (above..below)
            .flat_map(|row| &luma[row * stride + at + left..row * stride + at + right])
            .map(|pixel| u64::from(*pixel))
            .sum();
        let pixels = ((right - left) * (below - above)) as u64;
        code << 1 | u64::from(sum * 2 > pixels * (u64::from(BLACK) + u64::from(WHITE)))
    });
    decode(code)
}

/// The 64 bits of the strip, first cell in the most significant bit.
fn encode(unix_millis: u64) -> u64 {
    let time = unix_millis & ((1 << TIME_BITS) - 1);
    let sum = crc((0..TIME_BITS).rev().map(|bit| time >> bit & 1 == 1));
    u64::from(SYNC) << (TIME_BITS + CRC_BITS) | time << CRC_BITS | u64::from(sum)
}

fn decode(code: u64) -> Option<u64> {
    let time = code >> CRC_BITS & ((1 << TIME_BITS) - 1);
    (encode(time) == code).then_some(time)
}

/// The checksum over `bits`, first bit first.
fn crc(bits: impl Iterator<Item = bool>) -> u16 {
    bits.fold(0, |crc, bit| {
        let feedback = (crc >> (CRC_BITS - 1) & 1 == 1) ^ bit;
        (crc << 1 & ((1 << CRC_BITS) - 1)) ^ if feedback { CRC_POLY } else { 0 }
    })
}

struct Geometry {
    cell: usize,
    rows: usize,
}

impl Geometry {
    /// `None` when the plane cannot hold a strip that could be read again.
    fn of(luma_bytes: usize, stride: usize, size: PictureSize) -> Option<Geometry> {
        let cell = cell_width(size.width) as usize;
        let rows = strip_height(size.height) as usize;
        let fits = cell >= 2
            && stride >= size.width as usize
            && size.height as usize >= rows
            && rows.checked_mul(stride)? <= luma_bytes;
        fits.then_some(Geometry { cell, rows })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-21 in the early morning.
    const SOME_TIME: u64 = 1_795_222_000_123;

    fn painted(size: PictureSize, stride: usize, time: u64) -> Vec<u8> {
        let mut luma = vec![90; stride * size.height as usize];
        paint(&mut luma, stride, size, time);
        luma
    }

    #[test]
    fn the_checksum_is_the_published_one_read_forwards() {
        // The catalogued check value of CRC-12/UMTS over "123456789" is 0xDAF with its output reflected.
        let bits = b"123456789".iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        assert_eq!(crc(bits), 0xDAF_u16.reverse_bits() >> 4);
    }

    #[test]
    fn the_strip_says_the_same_in_every_usual_size() {
        for (width, height, rows) in
            [(320, 240, 16), (640, 480, 16), (854, 480, 16), (1280, 720, 16), (1920, 1080, 24)]
        {
            let size = PictureSize { width, height };
            assert_eq!(strip_height(height), rows, "{size}");
            let stride = width as usize + 32;
            assert_eq!(read(&painted(size, stride, SOME_TIME), stride, size), Some(SOME_TIME), "{size}");
        }
    }

    #[test]
    fn the_first_cells_are_the_sync_word_from_the_left() {
        let size = PictureSize { width: 1280, height: 720 };
        let luma = painted(size, 1280, SOME_TIME);
        let cells: Vec<u8> = (0..8).map(|cell| luma[cell * 20]).collect();
        assert_eq!(cells, [235, 16, 235, 16, 235, 235, 16, 16]);
        assert!(luma[16 * 1280..].iter().all(|pixel| *pixel == 90), "nothing below the strip is touched");
    }

    #[test]
    fn a_blurred_noisy_and_darkened_strip_is_still_read() {
        let size = PictureSize { width: 640, height: 360 };
        let sharp = painted(size, 640, SOME_TIME);
        let mut noise = 7u32;
        let worn: Vec<u8> = (0..sharp.len())
            .map(|at| {
                let around = &sharp[at.saturating_sub(2)..(at + 3).min(sharp.len())];
                let mean = around.iter().map(|pixel| u32::from(*pixel)).sum::<u32>() / around.len() as u32;
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (mean * 3 / 4 + 20 + (noise >> 27)) as u8
            })
            .collect();
        assert_eq!(read(&worn, 640, size), Some(SOME_TIME));
    }

    #[test]
    fn a_damaged_cell_or_a_picture_without_a_strip_gives_no_time() {
        let size = PictureSize { width: 640, height: 360 };
        for cell in 0..CELLS {
            let mut luma = painted(size, 640, SOME_TIME);
            for row in luma.chunks_mut(640).take(16) {
                for pixel in &mut row[cell * 10..cell * 10 + 10] {
                    *pixel = 251 - *pixel;
                }
            }
            assert_eq!(read(&luma, 640, size), None, "cell {cell}");
        }
        assert_eq!(read(&vec![16; 640 * 360], 640, size), None);
        assert_eq!(read(&vec![235; 640 * 360], 640, size), None);
    }

    proptest! {
        #[test]
        fn any_time_survives_and_any_bits_never_panic(
            time in 0u64..1 << 44, bits: u64, bytes in 0usize..4_000, stride in 0usize..2_000,
            width in 0u32..3_000, height in 0u32..3_000,
        ) {
            prop_assert_eq!(decode(encode(time)), Some(time));
            let _ = decode(bits);
            let size = PictureSize { width, height };
            let mut luma = vec![0; bytes];
            paint(&mut luma, stride, size, time);
            let _ = read(&luma, stride, size);
        }
    }
}
