//! Units of real encoders, round trips, and rejection.

use bytes::Bytes;
use proptest::prelude::*;

use crate::base::units::{FrameRate, PictureSize};

use super::*;

/// x264 0.164, high profile, 322x182 at 30000/1001, `-bf 0`.
const SPS_HIGH: &str = "6764000dacb202a33c44d808800001f480007530078a1524";
const PPS_HIGH: &str = "68ebc3cb22c0";
/// x264 0.164, baseline, 1920x1080 at 30.
const SPS_BASELINE: &str = "6742c028d900780227e5c044000003000400000300f03c60c920";
const PPS_BASELINE: &str = "68cb83cb20";
/// x265 3.5, main, 1920x1080.
const VPS_265: &str = "40010c01ffff016000000300900000030000030078959809";
const SPS_265: &str = "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84";
const PPS_265: &str = "4401c172b46240";

fn hex(text: &str) -> Bytes {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn annexb(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
}

#[test]
fn x264s_parameter_sets_tell_size_rate_and_order() {
    let sps = h264::parse_sps(&hex(SPS_HIGH)).unwrap();
    assert_eq!((sps.profile, sps.level, sps.id), (100, 13, 0));
    assert_eq!(sps.size, PictureSize { width: 322, height: 182 });
    assert_eq!(sps.fps, Some(FrameRate { num: 30_000, den: 1_001 }));
    assert!(!sps.may_reorder, "encoded without B-frames");

    let sps = h264::parse_sps(&hex(SPS_BASELINE)).unwrap();
    assert_eq!((sps.profile, sps.level), (66, 40));
    assert_eq!(sps.size, PictureSize { width: 1920, height: 1080 });
    assert_eq!(sps.fps, Some(FrameRate::whole(30)));
    assert!(!sps.may_reorder);
}

#[test]
fn x265s_parameter_sets_make_a_configuration() {
    let mut sets = ParameterSets::new(VideoCodec::H265);
    assert_eq!(sets.config(), Err(H26xError::Missing("H.265 SPS")));
    for unit in [VPS_265, SPS_265, PPS_265] {
        assert!(sets.offer(&hex(unit)), "{unit}");
    }
    let config = sets.config().unwrap();
    assert_eq!(config.size, PictureSize { width: 1920, height: 1080 });
    // Main profile, level 4, and three arrays of one set each.
    assert_eq!(&config.record[..2], [1, 1]);
    assert_eq!(config.record[12], 120);
    assert_eq!(config.record[22], 3);
    assert_eq!(config.record.len(), 23 + 3 * 5 + (24 + 42 + 7));
}

#[test]
fn a_picture_is_repacked_and_its_parameter_sets_are_kept() {
    let (sps, pps) = (hex(SPS_BASELINE), hex(PPS_BASELINE));
    let mut sets = ParameterSets::new(VideoCodec::H264);
    let picture = annexb(&[&[9, 0xF0], &sps, &pps, &[6, 5, 1], &[0x65, 1, 2], &[0x65, 3]]);
    let unit = sets.take_annexb(&picture);
    assert!(unit.keyframe && unit.sets_changed);
    assert_eq!(&unit.payload[..], b"\0\0\0\x03\x06\x05\x01\0\0\0\x03\x65\x01\x02\0\0\0\x02\x65\x03");
    assert!(is_keyframe(VideoCodec::H264, &unit.payload));
    assert!(!sets.take_annexb(&picture).sets_changed, "the same sets again change nothing");

    let record = sets.config().unwrap().record;
    let parsed = h264::parse_record(&record).unwrap();
    assert_eq!((parsed.length_bytes, parsed.sps, parsed.pps), (4, vec![sps], vec![pps]));

    let next = sets.take_annexb(&annexb(&[&[0x41, 7]]));
    assert_eq!(&next.payload[..], b"\0\0\0\x02\x41\x07");
    assert!(!next.keyframe && !is_keyframe(VideoCodec::H264, &next.payload));
}

#[test]
fn a_set_with_the_same_number_replaces_the_old_one() {
    let mut sets = ParameterSets::new(VideoCodec::H264);
    sets.take_annexb(&annexb(&[&hex(SPS_BASELINE), &hex(PPS_BASELINE)]));
    assert!(sets.take_annexb(&annexb(&[&hex(SPS_HIGH), &hex(PPS_HIGH)])).sets_changed);
    let config = sets.config().unwrap();
    assert_eq!(config.size, PictureSize { width: 322, height: 182 });
    assert_eq!(h264::parse_record(&config.record).unwrap().sps.len(), 1);
    // A high profile's record ends in chroma format and bit depths.
    assert_eq!(config.record[config.record.len() - 4..], [0xFD, 0xF8, 0xF8, 0]);
}

#[test]
fn short_lengths_are_repacked_to_four_bytes() {
    let mut sets = ParameterSets::new(VideoCodec::H264);
    let unit = sets.take_avcc(b"\0\x02\x65\x01\0\x01\x06", 2).unwrap();
    assert_eq!(&unit.payload[..], b"\0\0\0\x02\x65\x01\0\0\0\x01\x06");
    assert_eq!(sets.take_avcc(b"\0\x09\x65", 2), Err(H26xError::Truncated("NAL unit")));
}

#[test]
fn start_codes_of_both_lengths_and_padding_are_understood() {
    let units: Vec<_> = annexb_units(b"junk\0\0\0\x01ab\0\0\x01c\0\0\0\0\0\x01\0\0\x01d\0\0").collect();
    assert_eq!(units, [&b"ab"[..], b"c", b"d"]);
    assert_eq!(annexb_units(b"no start code").count(), 0);
}

/// What x265 by FFmpeg writes into an MP4 of 320x240, its own name (in an SEI array) cut short.
const HVCC: &str = "01016000000090000000000\
    03cf000fcfdf8f800000f04\
    a00001001840010c01ffff016000000300900000030000030\
    03c959809\
    a10001002a420101016000000300900000030000030\
    03ca00a080f165959a4932bc05a020000030002000003003c10\
    a2000100074401c172b46240\
    27000100044e010580";

#[test]
fn an_h265_record_is_taken_apart_and_pictures_go_on_with_it() {
    let record = Bytes::copy_from_slice(&hex(HVCC));
    let (mut sets, length_bytes) = ParameterSets::from_record(VideoCodec::H265, &record).unwrap();
    assert_eq!(length_bytes, 4);
    let config = sets.config().unwrap();
    assert_eq!(config.size.to_string(), "320x240");
    let (told, built) = (h265::parse_record(&record).unwrap(), h265::parse_record(&config.record).unwrap());
    assert_eq!(told, built);

    // Sets that come again inside the stream are no news; an IDR is a keyframe, a trailing picture is none.
    let units = [&told.vps[0][..], &told.sps[0], &told.pps[0], &[0x26, 1, 0xAF, 9], &[0x02, 1, 7]];
    let picture: Vec<u8> =
        units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect();
    let unit = sets.take_avcc(&picture, 4).unwrap();
    assert!(unit.keyframe && !unit.sets_changed);
    assert_eq!(unit.payload, &b"\0\0\0\x04\x26\x01\xAF\x09\0\0\0\x03\x02\x01\x07"[..]);
    assert!(!sets.take_annexb(&annexb(&[&[0x02, 1, 7]])).keyframe);

    for cut in 0..record.len() {
        assert!(h265::parse_record(&record.slice(..cut)).is_err(), "{cut}");
    }
}

proptest! {
    #[test]
    fn a_mark_in_the_picture_survives_its_escaping(
        uuid: [u8; 16],
        data in prop::collection::vec(0u8..5, 0..600),
        h265: bool,
    ) {
        let (codec, header) = if h265 { (VideoCodec::H265, 2) } else { (VideoCodec::H264, 1) };
        let unit = sei_unregistered(codec, &uuid, &data);
        prop_assert_eq!(unit_kind(codec, &unit), Some(UnitKind::Sei));
        // No start code inside: the walker sees one unit, whole.
        let stream = annexb(&[&unit]);
        prop_assert_eq!(annexb_units(&stream).collect::<Vec<_>>(), [&unit[..]]);
        let plain = unescape(&unit[header..]);
        prop_assert_eq!(plain[0], 5);
        prop_assert!(plain.ends_with(&[&uuid[..], &data, &[0x80]].concat()));
    }

    #[test]
    fn units_come_out_of_either_packing_as_they_went_in(
        // No unit ends in a zero byte, or holds a start code.
        units in prop::collection::vec(prop::collection::vec(1u8..=255, 1..40), 0..6),
    ) {
        let refs: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
        let stream = annexb(&refs);
        prop_assert_eq!(annexb_units(&stream).collect::<Vec<_>>(), refs.clone());
        let avcc: Vec<u8> =
            units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect();
        let walked: Result<Vec<_>, _> = avcc_units(&avcc, LENGTH_BYTES).collect();
        prop_assert_eq!(walked.unwrap(), refs);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), high: bool) {
        let _ = h265::parse_sps(&bytes);
        let mut sps = bytes.clone();
        if high {
            sps.splice(0..0, [0x67, 100, 0, 40]);
        }
        let _ = h264::parse_sps(&sps);
        let record = Bytes::from(bytes);
        let _ = (h264::parse_record(&record), h265::parse_record(&record));
        for codec in [VideoCodec::H264, VideoCodec::H265] {
            let mut sets = ParameterSets::new(codec);
            sets.take_annexb(&annexb(&[&sps, &record]));
            let _ = (sets.take_avcc(&record, 4), sets.take_avcc(&record, 1), sets.config());
        }
    }

    /// A damaged set of a real encoder reaches deeper than arbitrary bytes do.
    #[test]
    fn damaged_parameter_sets_never_panic(
        which in 0usize..3,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut set = hex([SPS_HIGH, SPS_BASELINE, SPS_265][which]).to_vec();
        for (at, byte) in flips {
            let at = at.index(set.len());
            set[at] = byte;
        }
        let _ = (h264::parse_sps(&set), h265::parse_sps(&set));
    }
}
