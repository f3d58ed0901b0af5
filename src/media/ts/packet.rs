//! Packets of 188 bytes (§2.4.3.2), their counters and their adaptation fields (§2.4.3.4).

use bytes::{BufMut, BytesMut};

/// Bytes of every packet.
pub const PACKET_BYTES: usize = 188;

const SYNC: u8 = 0x47;
const HEADER_BYTES: usize = 4;

/// Bytes of the adaptation field that holds a clock reference, its own length byte included.
const PCR_FIELD_BYTES: usize = 8;

const PCR_WRAP: i64 = 1 << 33;

/// What stands in the adaptation field of a unit's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks {
    /// A decoder can start here.
    pub(super) random_access: bool,
    /// The clock does not follow from what was said before.
    pub(super) discontinuity: bool,
    /// The clock reference, in units of 90 kHz.
    pub(super) pcr: Option<i64>,
}

/// One elementary stream's identifier, and its continuity counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pid {
    number: u16,
    counter: u8,
}

impl Pid {
    pub(super) const fn new(number: u16) -> Pid {
        Pid { number, counter: 0 }
    }

    pub(super) const fn number(self) -> u16 {
        self.number
    }

    /// Cuts one unit, a table or a PES packet, into packets; the last is filled up in its adaptation field.
    pub(super) fn write_unit(&mut self, out: &mut BytesMut, marks: Marks, unit: &[u8]) {
        let mut rest = unit;
        let mut marks = Some(marks).filter(|marks| *marks != Marks::default());
        let mut first = true;
        while !rest.is_empty() {
            let field = marks.take();
            let field_bytes = field.map_or(0, |marks| if marks.pcr.is_some() { PCR_FIELD_BYTES } else { 2 });
            let room = PACKET_BYTES - HEADER_BYTES - field_bytes;
            let (payload, after) = rest.split_at(room.min(rest.len()));
            let field_bytes = field_bytes + (room - payload.len());
            self.write_header(out, first, field_bytes > 0, true);
            write_field(out, field.unwrap_or_default(), field_bytes);
            out.put_slice(payload);
            (rest, first) = (after, false);
        }
    }

    /// A packet with nothing in it but the clock.
    pub(super) fn write_clock(&mut self, out: &mut BytesMut, pcr: i64) {
        self.write_header(out, false, true, false);
        write_field(out, Marks { pcr: Some(pcr), ..Marks::default() }, PACKET_BYTES - HEADER_BYTES);
    }

    fn write_header(&mut self, out: &mut BytesMut, starts: bool, has_field: bool, has_payload: bool) {
        out.put_u8(SYNC);
        out.put_u16(u16::from(starts) << 14 | self.number);
        // The counter moves with payload only.
        let counter = if has_payload { self.counter } else { self.counter.wrapping_sub(1) & 0x0F };
        out.put_u8(u8::from(has_field) << 5 | u8::from(has_payload) << 4 | counter);
        if has_payload {
            self.counter = (self.counter + 1) & 0x0F;
        }
    }
}

/// Writes an adaptation field of `bytes`, its own length byte included; nothing where that is 0.
fn write_field(out: &mut BytesMut, marks: Marks, bytes: usize) {
    if bytes == 0 {
        return;
    }
    out.put_u8((bytes - 1) as u8);
    if bytes == 1 {
        return;
    }
    let pcr_flag = u8::from(marks.pcr.is_some());
    out.put_u8(u8::from(marks.discontinuity) << 7 | u8::from(marks.random_access) << 6 | pcr_flag << 4);
    let mut written = 2;
    if let Some(pcr) = marks.pcr {
        // 33 bits of 90 kHz, six bits reserved, and nine bits of 27 MHz that are 0 here.
        let base = pcr.rem_euclid(PCR_WRAP) as u64;
        out.put_slice(&(base << 15 | 0x7E00).to_be_bytes()[2..]);
        written += 6;
    }
    out.put_bytes(0xFF, bytes - written);
}
