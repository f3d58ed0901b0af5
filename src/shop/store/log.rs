//! The write-ahead log's frames, as SQLite's file format has them (section 4, "The Write-Ahead Log").
//!
//! Pure but for the reader that it is handed.
//!
//! Each frame's checksum goes on from the one before, so SQLite believes nothing behind a frame that is wrong: there,
//! it says, the power went. A torn end looks like that, with one transaction that was never answered. Behind a frame
//! that was damaged later there are more, and these were.

use std::io::{self, BufReader, ErrorKind, Read};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Ends of transactions behind a wrong frame that cannot come from a power cut: it can leave one.
const ENDS_TOO_MANY: usize = 2;

type Sums = (u32, u32);

/// A frame that is right by the one before it.
#[derive(Debug)]
pub(super) struct Frame {
    /// Which page of the database it holds.
    pub(super) page: u32,
    /// The database's pages after the transaction, where it ends one; else 0.
    pub(super) ends_at: u32,
    /// Whether its checksum is right.
    pub(super) is_right: bool,
    /// What stands in the page.
    pub(super) content: Vec<u8>,
}

/// Reads the frames of the log's newest generation, one after the other, past those that are wrong.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: BufReader<R>,
    page_bytes: usize,
    /// Of this generation; the first frame's where the header cannot be believed.
    salts: Option<[u8; 8]>,
    is_big_endian: bool,
    sums: Sums,
    /// Whether the log's own header is right.
    pub(super) is_right: bool,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl<R: Read> Frames<R> {
    /// Reads the header; nothing where there is no log to speak of.
    pub(super) fn of(from: R) -> io::Result<Option<Frames<R>>> {
        let mut from = BufReader::with_capacity(64 << 10, from);
        let mut header = [0; HEADER_BYTES];
        match from.read_exact(&mut header) {
            Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            done => done?,
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let page_bytes = word(&header, 8) as usize;
        let is_size = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        let is_big_endian = word(&header, 0) & 1 == 1;
        let sums = sums_of((0, 0), &header[..24], is_big_endian);
        let stored = (word(&header, 24), word(&header, 28));
        let is_right = word(&header, 0) & !1 == 0x377f_0682 && is_size && sums == stored;
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        Ok(Some(Frames {
            from,
            // Nobody makes pages of another size for this store.
            page_bytes: if is_right { page_bytes } else { 4_096 },
            salts: is_right.then_some(salts),
            is_big_endian,
            sums,
            is_right,
        }))
    }

    /// The next frame of this generation; nothing at its end.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; FRAME_HEADER_BYTES];
        let mut content = vec![0; self.page_bytes];
        for part in [&mut header[..], &mut content[..]] {
            match self.from.read_exact(part) {
                Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                done => done?,
            }
        }
        let sums = sums_of(self.sums, &header[..8], self.is_big_endian);
        let sums = sums_of(sums, &content, self.is_big_endian);
        let stored = (word(&header, 16), word(&header, 20));
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[8..16]);
        let is_ours = *self.salts.get_or_insert(salts) == salts;
        // The next one goes on from what was written here, whatever became of the page.
        self.sums = stored;
        Ok(Some(Frame {
            page: word(&header, 0),
            ends_at: if is_ours { word(&header, 4) } else { 0 },
            is_right: is_ours && sums == stored,
            content,
        }))
    }
}

/// The first frame that is damaged, counted from 1, if transactions come behind it; 0: the header is.
pub(super) fn damaged(log: impl Read) -> io::Result<Option<u64>> {
    let Some(mut frames) = Frames::of(log)? else { return Ok(None) };
    let mut wrong = (!frames.is_right).then_some(0);
    let (mut number, mut ends) = (0, 0);
    while let Some(frame) = frames.next()? {
        number += 1;
        if wrong.is_none() && !frame.is_right {
            wrong = Some(number);
        }
        if wrong.is_some() && frame.ends_at > 0 {
            ends += 1;
            if ends >= ENDS_TOO_MANY {
                return Ok(wrong);
            }
        }
    }
    Ok(None)
}

fn sums_of((mut first, mut second): Sums, bytes: &[u8], is_big_endian: bool) -> Sums {
    let read = |four: &[u8]| {
        let four = [four[0], four[1], four[2], four[3]];
        if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for eight in bytes.chunks_exact(8) {
        first = first.wrapping_add(read(&eight[..4])).wrapping_add(second);
        second = second.wrapping_add(read(&eight[4..])).wrapping_add(first);
    }
    (first, second)
}
