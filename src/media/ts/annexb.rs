//! From AVCC with its record apart to the byte stream that a transport stream wants.

use bytes::Bytes;

use crate::media::h26x::{H26xError, LENGTH_BYTES, UnitKind, avcc_units, h264, h265, unit_kind};
use crate::media::packet::VideoCodec;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Access unit delimiters that allow any kind of slice (H.264 §7.3.2.4, H.265 §7.3.2.5): each access unit begins
/// with one (§2.14.1, §2.17.1).
const AUD_H264: [u8; 2] = [0x09, 0xF0];
const AUD_H265: [u8; 3] = [0x46, 0x01, 0x50];

/// What a decoder must know before a keyframe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) codec: VideoCodec,
    length_bytes: usize,
    /// In the order in which they go out: VPS, SPS, PPS.
    units: Vec<Bytes>,
}

impl Sets {
    /// Reads `avcC` or `hvcC`.
    pub(super) fn read(codec: VideoCodec, record: &Bytes) -> Result<Sets, H26xError> {
        let (length_bytes, units) = match codec {
            VideoCodec::H264 => {
                let record = h264::parse_record(record)?;
                (record.length_bytes, [record.sps, record.pps].concat())
            }
            VideoCodec::H265 => {
                let record = h265::parse_record(record)?;
                (record.length_bytes, [record.vps, record.sps, record.pps].concat())
            }
        };
        Ok(Sets { codec, length_bytes, units })
    }

    /// Appends one picture. A length that leads nowhere ends it: what came before is what there is.
    pub(super) fn write_picture(&self, out: &mut Vec<u8>, keyframe: bool, payload: &[u8]) {
        let aud: &[u8] = match self.codec {
            VideoCodec::H264 => &AUD_H264,
            VideoCodec::H265 => &AUD_H265,
        };
        out.reserve(payload.len() + 64);
        write_unit(out, aud);
        if keyframe {
            for set in &self.units {
                write_unit(out, set);
            }
        }
        for unit in avcc_units(payload, self.length_bytes).map_while(Result::ok) {
            if !matches!(unit_kind(self.codec, unit), None | Some(UnitKind::Delimiter)) {
                write_unit(out, unit);
            }
        }
    }
}

fn write_unit(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(unit);
}

const _: () = assert!(START_CODE.len() >= LENGTH_BYTES, "a picture grows by its delimiter and sets only");
