//! What stands in H.265 units: parameter sets and the decoder configuration record.

use bytes::Bytes;

use crate::base::units::PictureSize;

use super::bits::Bits;
use super::h264::{crop, pull_sets};
use super::{H26xError, LENGTH_BYTES, SIDE_MAX, UnitKind};

/// Unit types of the parameter sets (table 7-1).
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// A sequence parameter set, as far as it matters here (§7.3.2.2). The frame rate lies behind the reference
/// picture sets and is not read: cameras tell it another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// Profile space, tier, profile, compatibility and constraint flags, level: bytes 1 to 12 of `hvcC`.
    pub profile_tier_level: [u8; 12],
    /// Temporal layers.
    pub layers: u8,
    /// Each temporal layer can be dropped alone.
    pub nested: bool,
    /// Its number, 0 to 15.
    pub id: u8,
    /// 1 for 4:2:0.
    pub chroma_format: u8,
    /// Bits of a luma sample.
    pub luma_bits: u8,
    /// Bits of a chroma sample.
    pub chroma_bits: u8,
    /// The size of the picture that is shown.
    pub size: PictureSize,
}

/// An `HEVCDecoderConfigurationRecord` taken apart (ISO/IEC 14496-15 §8.3.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HvcRecord {
    /// Bytes of each unit's length in the payloads: 1, 2 or 4.
    pub length_bytes: usize,
    /// Video parameter sets.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

pub(super) fn unit_kind(first: u8) -> UnitKind {
    match first >> 1 & 0x3F {
        0..=15 => UnitKind::Slice,
        16..=23 => UnitKind::KeySlice,
        VPS => UnitKind::Vps,
        SPS => UnitKind::Sps,
        PPS => UnitKind::Pps,
        35..=38 => UnitKind::Delimiter,
        39 | 40 => UnitKind::Sei,
        _ => UnitKind::Other,
    }
}

/// Reads a sequence parameter set, unit header included.
///
/// # Errors
/// [`H26xError`]: cut short, or impossible.
pub fn parse_sps(unit: &[u8]) -> Result<Sps, H26xError> {
    let mut bits = Bits::new("H.265 SPS", unit.get(2..).unwrap_or_default());
    bits.skip(4)?; // sps_video_parameter_set_id
    let layers = bits.bits(3)? as u8 + 1;
    if layers > 7 {
        return Err(H26xError::Invalid("H.265 SPS"));
    }
    let nested = bits.flag()?;
    let profile_tier_level = bits.bytes()?;
    skip_layer_levels(&mut bits, layers - 1)?;
    let id = bits.ue(15)? as u8;
    let chroma_format = bits.ue(3)? as u8;
    let planes_apart = chroma_format == 3 && bits.flag()?;
    let mut size = PictureSize { width: bits.ue(SIDE_MAX)?, height: bits.ue(SIDE_MAX)? };
    if bits.flag()? {
        let subsampled = !planes_apart && chroma_format != 0;
        let across = if subsampled && chroma_format < 3 { 2 } else { 1 };
        let down = if subsampled && chroma_format == 1 { 2 } else { 1 };
        size = crop(&mut bits, size, across, down)?;
    }
    if size.width == 0 || size.height == 0 {
        return Err(H26xError::Invalid("H.265 SPS"));
    }
    let luma_bits = 8 + bits.ue(8)? as u8;
    let chroma_bits = 8 + bits.ue(8)? as u8;
    Ok(Sps { profile_tier_level, layers, nested, id, chroma_format, luma_bits, chroma_bits, size })
}

/// The number of a picture parameter set.
pub(super) fn pps_id(unit: &[u8]) -> Result<u32, H26xError> {
    Bits::new("H.265 PPS", unit.get(2..).unwrap_or_default()).ue(63)
}

/// The number of a video parameter set.
pub(super) fn vps_id(unit: &[u8]) -> Result<u32, H26xError> {
    Bits::new("H.265 VPS", unit.get(2..).unwrap_or_default()).bits(4)
}

/// Builds the `HEVCDecoderConfigurationRecord` for four-byte lengths (ISO/IEC 14496-15 §8.3.3.1).
///
/// # Errors
/// Of [`parse_sps`]; [`H26xError::Missing`] without a VPS or PPS; [`H26xError::Invalid`] for lists that do not
/// fit the record.
pub fn build_record(vps: &[Bytes], sps: &[Bytes], pps: &[Bytes]) -> Result<Bytes, H26xError> {
    let newest = parse_sps(sps.last().ok_or(H26xError::Missing("H.265 SPS"))?)?;
    if vps.is_empty() || pps.is_empty() {
        return Err(H26xError::Missing(if vps.is_empty() { "H.265 VPS" } else { "H.265 PPS" }));
    }
    let mut record = vec![1];
    record.extend_from_slice(&newest.profile_tier_level);
    record.extend_from_slice(&[0xF0, 0]); // min_spatial_segmentation_idc: unknown
    record.push(0xFC); // parallelismType: unknown
    record.push(0xFC | newest.chroma_format);
    record.push(0xF8 | (newest.luma_bits - 8));
    record.push(0xF8 | (newest.chroma_bits - 8));
    record.extend_from_slice(&[0, 0]); // avgFrameRate: unknown
    record.push(newest.layers << 3 | u8::from(newest.nested) << 2 | (LENGTH_BYTES - 1) as u8);
    record.push(3);
    for (kind, sets) in [(VPS, vps), (SPS, sps), (PPS, pps)] {
        record.push(0x80 | kind); // array_completeness: no others come inside the stream
        let count = u16::try_from(sets.len()).map_err(|_| H26xError::Invalid("list of parameter sets"))?;
        record.extend_from_slice(&count.to_be_bytes());
        for set in sets {
            let length = u16::try_from(set.len()).map_err(|_| H26xError::Invalid("H.265 parameter set"))?;
            record.extend_from_slice(&length.to_be_bytes());
            record.extend_from_slice(set);
        }
    }
    Ok(Bytes::from(record))
}

/// Takes an `HEVCDecoderConfigurationRecord` apart. Units of other kinds in it (some encoders leave their name
/// there) are passed over.
///
/// # Errors
/// [`H26xError`]: cut short, or of another version.
pub fn parse_record(record: &Bytes) -> Result<HvcRecord, H26xError> {
    const WHAT: H26xError = H26xError::Truncated("hvcC record");
    let &[version, .., lengths, arrays] = record.first_chunk::<23>().ok_or(WHAT)?;
    let length_bytes = usize::from(lengths & 3) + 1;
    if version != 1 || length_bytes == 3 {
        return Err(H26xError::Invalid("hvcC record"));
    }
    let mut found = HvcRecord { length_bytes, vps: Vec::new(), sps: Vec::new(), pps: Vec::new() };
    let mut at = 23;
    for _ in 0..arrays {
        let &[kind, high, low] = record.get(at..).and_then(|rest| rest.first_chunk::<3>()).ok_or(WHAT)?;
        at += 3;
        let sets = pull_sets(record, &mut at, usize::from(u16::from_be_bytes([high, low])), WHAT)?;
        match kind & 0x3F {
            VPS => found.vps.extend(sets),
            SPS => found.sps.extend(sets),
            PPS => found.pps.extend(sets),
            _ => {}
        }
    }
    Ok(found)
}

fn skip_layer_levels(bits: &mut Bits, upper_layers: u8) -> Result<(), H26xError> {
    if upper_layers == 0 {
        return Ok(());
    }
    let mut present = [(false, false); 8];
    for (layer, present) in present.iter_mut().enumerate() {
        let told = (bits.flag()?, bits.flag()?);
        if layer < usize::from(upper_layers) {
            *present = told; // The rest is reserved, to a multiple of a byte.
        }
    }
    for (profile, level) in present {
        bits.skip(usize::from(profile) * 88 + usize::from(level) * 8)?;
    }
    Ok(())
}
