//! Bits of a parameter set.

use super::H26xError;

/// Parameter sets are tens of bytes; no field that matters lies behind this many.
const SET_BYTES_MAX: usize = 1_024;

/// Reads bits of a NAL unit's payload, most significant first, without its emulation prevention bytes.
pub(super) struct Bits {
    payload: Vec<u8>,
    at: usize,
    what: &'static str,
}

impl Bits {
    /// Reads what follows a unit's header. `what` names it in errors.
    pub(super) fn new(what: &'static str, payload: &[u8]) -> Bits {
        let cut = &payload[..payload.len().min(SET_BYTES_MAX)];
        Bits { payload: super::unescape(cut), at: 0, what }
    }

    pub(super) fn flag(&mut self) -> Result<bool, H26xError> {
        let byte = self.payload.get(self.at / 8).ok_or(H26xError::Truncated(self.what))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// `count` bits, at most 32.
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, H26xError> {
        debug_assert!(count <= 32);
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), H26xError> {
        self.at += count;
        if self.at > self.payload.len() * 8 { Err(H26xError::Truncated(self.what)) } else { Ok(()) }
    }

    /// An unsigned Exp-Golomb number (H.264 §9.1) up to `max`.
    pub(super) fn ue(&mut self, max: u32) -> Result<u32, H26xError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(H26xError::Invalid(self.what));
            }
        }
        // With 31 zeros the sum still fits: 2^31 - 1 + (2^31 - 1).
        let value = (1u32 << zeros) - 1 + self.bits(zeros)?;
        if value > max { Err(H26xError::Invalid(self.what)) } else { Ok(value) }
    }

    /// A signed Exp-Golomb number.
    pub(super) fn se(&mut self) -> Result<i64, H26xError> {
        let code = i64::from(self.ue(u32::MAX)?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }

    /// `N` whole bytes; only at a byte's edge.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], H26xError> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.bits(8)? as u8;
        }
        Ok(bytes)
    }
}
