//! From what cameras and encoders give out to what FLV and RTMP carry.

use bytes::Bytes;

use crate::media::packet::{VideoCodec, VideoConfig};

use super::{H26xError, LENGTH_BYTES, UnitKind, annexb_units, avcc_units, h264, h265, unit_kind};

/// Sets of one kind that are kept; beyond it the oldest goes. Encoders use one, cameras up to three.
const SETS_MAX: usize = 16;

/// A set longer than this is refused: real ones have tens of bytes.
const SET_BYTES_MAX: usize = 4_096;

/// Reads the number of a parameter set.
type NumberOf = fn(&[u8]) -> Result<u32, H26xError>;

/// Collects a stream's parameter sets, and takes them out of the pictures.
#[derive(Debug, Clone)]
pub struct ParameterSets {
    codec: VideoCodec,
    vps: Vec<Bytes>,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

/// One picture, repacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Units behind four-byte lengths, without parameter sets and delimiters; empty if there was nothing else.
    pub payload: Bytes,
    /// It decodes by itself.
    pub keyframe: bool,
    /// The parameter sets are not what they were: take [`ParameterSets::config`] anew before this picture.
    pub sets_changed: bool,
}

impl ParameterSets {
    /// None yet.
    pub fn new(codec: VideoCodec) -> ParameterSets {
        ParameterSets { codec, vps: Vec::new(), sps: Vec::new(), pps: Vec::new() }
    }

    /// Starts with those of a decoder configuration record, `avcC` or `hvcC`, and tells its units' length bytes.
    ///
    /// # Errors
    /// Of [`h264::parse_record`] and [`h265::parse_record`].
    pub fn from_record(codec: VideoCodec, record: &Bytes) -> Result<(ParameterSets, usize), H26xError> {
        Ok(match codec {
            VideoCodec::H264 => {
                let h264::AvcRecord { length_bytes, sps, pps } = h264::parse_record(record)?;
                (ParameterSets { codec, vps: Vec::new(), sps, pps }, length_bytes)
            }
            VideoCodec::H265 => {
                let h265::HvcRecord { length_bytes, vps, sps, pps } = h265::parse_record(record)?;
                (ParameterSets { codec, vps, sps, pps }, length_bytes)
            }
        })
    }

    /// Repacks one picture in Annex B, in one pass; parameter sets in it are kept here instead.
    pub fn take_annexb(&mut self, picture: &[u8]) -> AccessUnit {
        self.take(annexb_units(picture), picture.len())
    }

    /// Repacks one picture whose units stand behind lengths of `length_bytes`.
    ///
    /// # Errors
    /// [`H26xError::Truncated`] for a picture whose lengths do not add up.
    pub fn take_avcc(&mut self, picture: &[u8], length_bytes: usize) -> Result<AccessUnit, H26xError> {
        if let Some(Err(error)) = avcc_units(picture, length_bytes).find(Result::is_err) {
            return Err(error);
        }
        Ok(self.take(avcc_units(picture, length_bytes).flatten(), picture.len()))
    }

    /// Keeps `unit` if it is a parameter set; whether it changed anything.
    pub fn offer(&mut self, unit: &[u8]) -> bool {
        let codec = self.codec;
        let (list, id): (_, NumberOf) = match (unit_kind(codec, unit), codec) {
            (Some(UnitKind::Vps), _) => (&mut self.vps, h265::vps_id),
            (Some(UnitKind::Sps), VideoCodec::H264) => {
                (&mut self.sps, |unit| h264::parse_sps(unit).map(|sps| u32::from(sps.id)))
            }
            (Some(UnitKind::Sps), VideoCodec::H265) => {
                (&mut self.sps, |unit| h265::parse_sps(unit).map(|sps| u32::from(sps.id)))
            }
            (Some(UnitKind::Pps), VideoCodec::H264) => (&mut self.pps, h264::pps_id),
            (Some(UnitKind::Pps), VideoCodec::H265) => (&mut self.pps, h265::pps_id),
            _ => return false,
        };
        if unit.len() > SET_BYTES_MAX || list.iter().any(|set| set == unit) {
            return false;
        }
        // A set that cannot be read is not taken: the stream goes on with the ones it has.
        let Ok(number) = id(unit) else { return false };
        list.retain(|set| id(set) != Ok(number));
        if list.len() == SETS_MAX {
            list.remove(0);
        }
        list.push(Bytes::copy_from_slice(unit));
        true
    }

    /// The configuration that the sets make; its bitrate is unknown.
    ///
    /// # Errors
    /// [`H26xError::Missing`] until all kinds of sets have come.
    pub fn config(&self) -> Result<VideoConfig, H26xError> {
        let (record, size, fps) = match self.codec {
            VideoCodec::H264 => {
                let record = h264::build_record(&self.sps, &self.pps)?;
                let sps = h264::parse_sps(self.sps.last().ok_or(H26xError::Missing("H.264 SPS"))?)?;
                (record, sps.size, sps.fps)
            }
            VideoCodec::H265 => {
                let record = h265::build_record(&self.vps, &self.sps, &self.pps)?;
                let sps = self.sps.last().ok_or(H26xError::Missing("H.265 SPS"))?;
                (record, h265::parse_sps(sps)?.size, None)
            }
        };
        Ok(VideoConfig { codec: self.codec, record, size, fps, bitrate: None })
    }

    fn take<'a>(&mut self, units: impl Iterator<Item = &'a [u8]>, bytes: usize) -> AccessUnit {
        // A start code has three or four bytes, a length four: some room for streams that mostly use three.
        let mut payload = Vec::with_capacity(bytes + 16);
        let (mut keyframe, mut sets_changed) = (false, false);
        for unit in units {
            match unit_kind(self.codec, unit) {
                None | Some(UnitKind::Delimiter) => continue,
                Some(UnitKind::Vps | UnitKind::Sps | UnitKind::Pps) => {
                    sets_changed |= self.offer(unit);
                    continue;
                }
                Some(UnitKind::KeySlice) => keyframe = true,
                Some(UnitKind::Sei | UnitKind::Slice | UnitKind::Other) => {}
            }
            payload.extend_from_slice(&(unit.len() as u32).to_be_bytes()[4 - LENGTH_BYTES..]);
            payload.extend_from_slice(unit);
        }
        AccessUnit { payload: Bytes::from(payload), keyframe, sets_changed }
    }
}
