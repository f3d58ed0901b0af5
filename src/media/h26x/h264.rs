//! What stands in H.264 units: parameter sets and the decoder configuration record.

use bytes::Bytes;

use crate::base::units::{FrameRate, PictureSize};

use super::bits::Bits;
use super::{H26xError, LENGTH_BYTES, SIDE_MAX, UnitKind};

/// Profiles whose SPS tells the chroma format (§7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

const PROFILE_BASELINE: u8 = 66;

/// A sequence parameter set, as far as it matters here (§7.3.2.1.1, annex E).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 baseline, 77 main, 100 high.
    pub profile: u8,
    /// `constraint_set` flags.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// Its number, 0 to 31.
    pub id: u8,
    /// 1 for 4:2:0.
    pub chroma_format: u8,
    /// Bits of a luma sample.
    pub luma_bits: u8,
    /// Bits of a chroma sample.
    pub chroma_bits: u8,
    /// The size of the picture that is shown, cropping applied.
    pub size: PictureSize,
    /// The nominal rate, if the timing is told.
    pub fps: Option<FrameRate>,
    /// Pictures may be shown in another order than they are decoded (B-frames).
    pub may_reorder: bool,
}

/// An `AVCDecoderConfigurationRecord` taken apart (ISO/IEC 14496-15 §5.3.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcRecord {
    /// Bytes of each unit's length in the payloads: 1, 2 or 4.
    pub length_bytes: usize,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

pub(super) fn unit_kind(first: u8) -> UnitKind {
    match first & 0x1F {
        1..=4 => UnitKind::Slice,
        5 => UnitKind::KeySlice,
        6 => UnitKind::Sei,
        7 => UnitKind::Sps,
        8 => UnitKind::Pps,
        9..=12 => UnitKind::Delimiter,
        _ => UnitKind::Other,
    }
}

/// Reads a sequence parameter set, unit header included.
///
/// # Errors
/// [`H26xError`]: cut short, or impossible.
pub fn parse_sps(unit: &[u8]) -> Result<Sps, H26xError> {
    let mut bits = Bits::new("H.264 SPS", unit.get(1..).unwrap_or_default());
    let [profile, constraints, level] = bits.bytes()?;
    let id = bits.ue(31)? as u8;
    let (mut chroma_format, mut luma_bits, mut chroma_bits, mut planes_apart) = (1, 8, 8, false);
    if HIGH_PROFILES.contains(&profile) {
        chroma_format = bits.ue(3)? as u8;
        if chroma_format == 3 {
            planes_apart = bits.flag()?;
        }
        luma_bits = 8 + bits.ue(6)? as u8;
        chroma_bits = 8 + bits.ue(6)? as u8;
        bits.flag()?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            skip_scaling_lists(&mut bits, if chroma_format == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue(12)?; // log2_max_frame_num_minus4
    let order_type = bits.ue(2)?;
    match order_type {
        0 => {
            bits.ue(12)?;
        }
        1 => {
            bits.flag()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue(255)? {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue(16)?; // max_num_ref_frames
    bits.flag()?; // gaps_in_frame_num_value_allowed_flag
    let width = (bits.ue(SIDE_MAX / 16)? + 1) * 16;
    let height_units = bits.ue(SIDE_MAX / 16)? + 1;
    let frames_only = bits.flag()?;
    let height = height_units * 16 * if frames_only { 1 } else { 2 };
    if !frames_only {
        bits.flag()?; // mb_adaptive_frame_field_flag
    }
    bits.flag()?; // direct_8x8_inference_flag
    let mut size = PictureSize { width, height };
    if bits.flag()? {
        let subsampled = !planes_apart && chroma_format != 0;
        let across = if subsampled && chroma_format < 3 { 2 } else { 1 };
        let down = if subsampled && chroma_format == 1 { 2 } else { 1 } * if frames_only { 1 } else { 2 };
        size = crop(&mut bits, size, across, down)?;
    }
    let mut sps = Sps {
        profile,
        constraints,
        level,
        id,
        chroma_format,
        luma_bits,
        chroma_bits,
        size,
        fps: None,
        may_reorder: profile != PROFILE_BASELINE && order_type != 2,
    };
    // A torn VUI costs the frame rate, not the stream.
    if bits.flag()?
        && let Ok((fps, reorder_frames)) = parse_vui(&mut bits)
    {
        sps.fps = fps;
        sps.may_reorder &= reorder_frames.is_none_or(|frames| frames > 0);
    }
    Ok(sps)
}

/// The number of a picture parameter set.
pub(super) fn pps_id(unit: &[u8]) -> Result<u32, H26xError> {
    Bits::new("H.264 PPS", unit.get(1..).unwrap_or_default()).ue(255)
}

/// Builds the `AVCDecoderConfigurationRecord` for four-byte lengths; the last of `sps` is read for profile and level.
///
/// # Errors
/// Of [`parse_sps`]; [`H26xError::Missing`] and [`H26xError::Invalid`] for lists that do not fit the record.
pub fn build_record(sps: &[Bytes], pps: &[Bytes]) -> Result<Bytes, H26xError> {
    let newest = parse_sps(sps.last().ok_or(H26xError::Missing("H.264 SPS"))?)?;
    if pps.is_empty() {
        return Err(H26xError::Missing("H.264 PPS"));
    }
    if sps.len() > 31 || pps.len() > 255 {
        return Err(H26xError::Invalid("list of H.264 parameter sets"));
    }
    let mut record = vec![1, newest.profile, newest.constraints, newest.level];
    record.push(0xFC | (LENGTH_BYTES - 1) as u8);
    record.push(0xE0 | sps.len() as u8);
    push_sets(&mut record, sps)?;
    record.push(pps.len() as u8);
    push_sets(&mut record, pps)?;
    if HIGH_PROFILES[..4].contains(&newest.profile) {
        record.push(0xFC | newest.chroma_format);
        record.push(0xF8 | (newest.luma_bits - 8));
        record.push(0xF8 | (newest.chroma_bits - 8));
        record.push(0); // No SPS extensions.
    }
    Ok(Bytes::from(record))
}

/// Takes an `AVCDecoderConfigurationRecord` apart; shares its memory.
///
/// # Errors
/// [`H26xError`]: no version 1 record, or cut short.
pub fn parse_record(record: &Bytes) -> Result<AvcRecord, H26xError> {
    const WHAT: H26xError = H26xError::Truncated("avcC record");
    let &[version, _, _, _, lengths, sps_count] = record.first_chunk::<6>().ok_or(WHAT)?;
    let length_bytes = usize::from(lengths & 3) + 1;
    if version != 1 || length_bytes == 3 {
        return Err(H26xError::Invalid("avcC record"));
    }
    let mut at = 6;
    let sps = pull_sets(record, &mut at, usize::from(sps_count & 0x1F), WHAT)?;
    let pps_count = usize::from(*record.get(at).ok_or(WHAT)?);
    at += 1;
    let pps = pull_sets(record, &mut at, pps_count, WHAT)?;
    Ok(AvcRecord { length_bytes, sps, pps })
}

fn push_sets(record: &mut Vec<u8>, sets: &[Bytes]) -> Result<(), H26xError> {
    for set in sets {
        let length = u16::try_from(set.len()).map_err(|_| H26xError::Invalid("H.264 parameter set"))?;
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(set);
    }
    Ok(())
}

/// Takes `count` sets behind two-byte lengths out of a record, from `at` on.
pub(super) fn pull_sets(
    record: &Bytes,
    at: &mut usize,
    count: usize,
    truncated: H26xError,
) -> Result<Vec<Bytes>, H26xError> {
    let mut sets = Vec::new();
    for _ in 0..count {
        let length = record.get(*at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(truncated)?;
        let begin = *at + 2;
        let end = begin + usize::from(u16::from_be_bytes(*length));
        if end > record.len() {
            return Err(truncated);
        }
        sets.push(record.slice(begin..end));
        *at = end;
    }
    Ok(sets)
}

fn skip_scaling_lists(bits: &mut Bits, lists: usize) -> Result<(), H26xError> {
    for list in 0..lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Ok(())
}

/// Reads a cropping rectangle whose units are `across` and `down` pixels.
pub(super) fn crop(
    bits: &mut Bits,
    size: PictureSize,
    across: u32,
    down: u32,
) -> Result<PictureSize, H26xError> {
    let [left, right, top, bottom] =
        [bits.ue(SIDE_MAX)?, bits.ue(SIDE_MAX)?, bits.ue(SIDE_MAX)?, bits.ue(SIDE_MAX)?];
    let width = size.width.checked_sub((left + right) * across).filter(|side| *side > 0);
    let height = size.height.checked_sub((top + bottom) * down).filter(|side| *side > 0);
    let (width, height) = width.zip(height).ok_or(H26xError::Invalid("cropping rectangle"))?;
    Ok(PictureSize { width, height })
}

/// Frame rate, and how many pictures may be reordered where that is told (§E.1.1).
fn parse_vui(bits: &mut Bits) -> Result<(Option<FrameRate>, Option<u32>), H26xError> {
    if bits.flag()? && bits.bits(8)? == 255 {
        bits.skip(32)?; // An aspect ratio in numbers.
    }
    if bits.flag()? {
        bits.flag()?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.skip(24)?; // colours
        }
    }
    if bits.flag()? {
        bits.ue(5)?; // chroma_sample_loc_type
        bits.ue(5)?;
    }
    let mut fps = None;
    if bits.flag()? {
        let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
        bits.flag()?; // fixed_frame_rate_flag
        fps = rate(u64::from(scale), u64::from(units) * 2);
    }
    let nal_hrd = bits.flag()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.flag()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        bits.flag()?; // low_delay_hrd_flag
    }
    bits.flag()?; // pic_struct_present_flag
    if !bits.flag()? {
        return Ok((fps, None));
    }
    bits.flag()?; // motion_vectors_over_pic_boundaries_flag
    for _ in 0..4 {
        bits.ue(u32::MAX)?; // sizes and vector lengths
    }
    Ok((fps, Some(bits.ue(16)?)))
}

fn skip_hrd(bits: &mut Bits) -> Result<(), H26xError> {
    let count = bits.ue(31)? + 1;
    bits.skip(8)?;
    for _ in 0..count {
        bits.ue(u32::MAX)?;
        bits.ue(u32::MAX)?;
        bits.flag()?;
    }
    bits.skip(20)
}

/// A believable rate, reduced; cameras write nonsense here.
fn rate(num: u64, den: u64) -> Option<FrameRate> {
    if num == 0 || den == 0 || num > den.saturating_mul(1_000) {
        return None;
    }
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some(FrameRate { num: u32::try_from(num / a).ok()?, den: u32::try_from(den / a).ok()? })
}
