//! What a demultiplexer of the tests' own finds in what the multiplexer wrote.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::base::ticks::Ticks;
use crate::media::aac;
use crate::media::h26x::annexb_units;
use crate::media::packet::VideoCodec;

use super::*;

const AVCC: &[u8] = &[1, 66, 0, 10, 0xFF, 0xE1, 0, 3, 0x67, 66, 0, 1, 0, 2, 0x68, 0xCE];
const ASC: &[u8] = &[0x11, 0x90];

/// One PES packet or table as it was found.
#[derive(Debug, Clone, PartialEq)]
struct Unit {
    pid: u16,
    payload: Vec<u8>,
    pcr: Option<i64>,
    random_access: bool,
    discontinuity: bool,
}

/// Takes a stream apart; panics where it breaks the standard.
fn demux(stream: &[u8]) -> Vec<Unit> {
    assert_eq!(stream.len() % PACKET_BYTES, 0);
    let mut units: Vec<Unit> = Vec::new();
    let mut counters = std::collections::HashMap::new();
    for packet in stream.chunks(PACKET_BYTES) {
        assert_eq!(packet[0], 0x47, "sync");
        let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
        let (starts, has_field, has_payload) =
            (packet[1] & 0x40 != 0, packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let counter = packet[3] & 0x0F;
        let want = counters.get(&pid).map(|last| (last + u8::from(has_payload)) & 0x0F);
        assert!(want.is_none_or(|want| want == counter), "continuity of {pid:#x}");
        counters.insert(pid, counter);
        let field = if has_field { usize::from(packet[4]) + 1 } else { 0 };
        let flags = if field > 1 { packet[5] } else { 0 };
        let pcr = (flags & 0x10 != 0).then(|| {
            let bytes = [0, 0, packet[6], packet[7], packet[8], packet[9], packet[10], packet[11]];
            (u64::from_be_bytes(bytes) >> 15) as i64
        });
        let payload = &packet[4 + field..];
        assert_eq!(payload.is_empty(), !has_payload);
        if starts || !has_payload {
            units.push(Unit {
                pid,
                payload: payload.to_vec(),
                pcr,
                random_access: flags & 0x40 != 0,
                discontinuity: flags & 0x80 != 0,
            });
        } else {
            let unit = units.iter_mut().rfind(|unit| unit.pid == pid).expect("a unit was begun");
            unit.payload.extend_from_slice(payload);
        }
    }
    units
}

/// PTS, DTS and what follows the header of a PES packet.
fn pes(unit: &Unit) -> (i64, i64, &[u8]) {
    let bytes = &unit.payload;
    assert_eq!(bytes[..3], [0, 0, 1]);
    let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    assert!(length == 0 || length == bytes.len() - 6, "{length} of {}", bytes.len());
    let stamp = |at: usize| {
        let b: Vec<i64> = bytes[at..at + 5].iter().map(|byte| i64::from(*byte)).collect();
        (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
    };
    let pts = stamp(9);
    let dts = if bytes[7] & 0x40 != 0 { stamp(14) } else { pts };
    (pts, dts, &bytes[9 + usize::from(bytes[8])..])
}

fn picture(bytes: usize, key: bool) -> Vec<u8> {
    let mut unit = vec![0xAA; bytes.max(1)];
    unit[0] = if key { 0x65 } else { 0x41 };
    [&(unit.len() as u32).to_be_bytes()[..], &unit].concat()
}

fn ready() -> Mux {
    let mut mux = Mux::new();
    mux.video_header(VideoCodec::H264, &Bytes::from_static(AVCC)).unwrap();
    mux.audio_header(ASC).unwrap();
    mux
}

#[test]
fn a_keyframe_comes_with_tables_delimiter_and_parameter_sets_and_can_be_joined_at() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    let at = Ticks::from_millis(5_000);
    mux.video(&mut out, at, at + Ticks(3_000), true, &picture(3_000, true)).unwrap();
    let units = demux(&out);
    let [pat, pmt, video] = &units[..] else { panic!("{units:?}") };
    assert_eq!(pat.payload[..14], [0, 0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0, 0x2A][..14]);
    assert_eq!(psi::crc(&pat.payload[1..17]), 0, "a section with its checksum sums to nothing");
    assert_eq!(
        (pmt.pid, &pmt.payload[13..23]),
        (0x1000, &[0x1B, 0xE1, 0, 0xF0, 0, 0x0F, 0xE1, 1, 0xF0, 0][..])
    );
    assert_eq!(psi::crc(&pmt.payload[1..27]), 0);
    assert!(video.random_access && !video.discontinuity);
    assert_eq!(video.pcr, Some((at - LEAD).0));
    let (pts, dts, body) = pes(video);
    assert_eq!((pts, dts), (at.0 + 3_000, at.0));
    let kinds: Vec<u8> = annexb_units(body).map(|unit| unit[0]).collect();
    assert_eq!(kinds, [0x09, 0x67, 0x68, 0x65]);

    out.clear();
    mux.video(&mut out, at + Ticks(3_000), at + Ticks(3_000), false, &picture(500, false)).unwrap();
    let units = demux(&out);
    assert_eq!(units.len(), 1, "no tables so soon");
    assert!(!units[0].random_access);
}

#[test]
fn sound_is_framed_as_adts() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    mux.audio(&mut out, Ticks(1_920), &[7; 300]).unwrap();
    let units = demux(&out);
    let sound = units.iter().find(|unit| unit.pid == 0x101).unwrap();
    let (pts, _, body) = pes(sound);
    let (header, frame, rest) = aac::split_adts(body).unwrap();
    assert_eq!((pts, header.frame_bytes, frame, rest.len()), (1_920, 307, &[7; 300][..], 0));
}

#[test]
fn a_picture_that_stands_still_keeps_its_clock_while_sound_goes_on() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    mux.video(&mut out, Ticks(0), Ticks(0), true, &picture(10, true)).unwrap();
    for frame in 1..=100 {
        mux.audio(&mut out, Ticks(1_920 * frame), &[0; 100]).unwrap();
    }
    let units = demux(&out);
    let clock: Vec<i64> =
        units.iter().filter_map(|unit| unit.pcr).map(|pcr| (pcr + LEAD.0) & ((1 << 33) - 1)).collect();
    assert!(clock.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] <= 9_000), "{clock:?}");
    assert!(*clock.last().unwrap() > 1_920 * 90);
    assert!(units.iter().filter(|unit| unit.pid == 0).count() >= 4, "tables twice a second");
}

#[test]
fn without_pictures_the_sound_carries_the_clock() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    assert_eq!(mux.audio(&mut out, Ticks(0), &[0; 10]), Err(TsError::NoHeader));
    mux.tables(&mut out);
    assert!(out.is_empty(), "nothing is known yet");
    mux.audio_header(ASC).unwrap();
    mux.audio(&mut out, Ticks(1_920), &[0; 10]).unwrap();
    let units = demux(&out);
    assert_eq!(units[1].payload[9..11], [0xE1, 0x01], "the PMT names the sound's PID for the clock");
    assert_eq!(units[2].pcr, Some((1_920 - LEAD.0) & ((1 << 33) - 1)));
}

#[test]
fn other_tracks_are_announced_by_a_new_version_of_the_table() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    mux.audio(&mut out, Ticks(0), &[0; 10]).unwrap();
    mux.forget_tracks();
    mux.audio_header(ASC).unwrap();
    mux.audio(&mut out, Ticks(1_920), &[0; 10]).unwrap();
    let units = demux(&out);
    let versions: Vec<u8> =
        units.iter().filter(|unit| unit.pid == 0x1000).map(|unit| unit.payload[6] >> 1 & 0x1F).collect();
    assert_eq!(versions, [0, 1]);
}

#[test]
fn a_stream_that_is_sent_again_says_that_its_clock_jumps() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    mux.video(&mut out, Ticks(900_000), Ticks(900_000), true, &picture(10, true)).unwrap();
    mux.video(&mut out, Ticks(720_000), Ticks(720_000), true, &picture(10, true)).unwrap();
    let pictures: Vec<Unit> = demux(&out).into_iter().filter(|unit| unit.pid == 0x100).collect();
    assert_eq!(pictures.iter().map(|unit| unit.discontinuity).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn sound_far_ahead_of_the_picture_leaves_the_clock_to_the_picture() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    let ahead = 900 * 90;
    let mut sounds = (0..).map(|frame| Ticks(ahead + frame * 1_920)).peekable();
    for number in 0..100 {
        let at = Ticks(number * 3_000);
        mux.video(&mut out, at, at, number % 30 == 0, &picture(10, false)).unwrap();
        while let Some(sound) = sounds.next_if(|sound| sound.0 < at.0 + 3_000 + ahead) {
            mux.audio(&mut out, sound, &[0; 100]).unwrap();
        }
    }
    let units = demux(&out);
    assert!(units.iter().all(|unit| !unit.discontinuity), "nothing was sent again");
    let pictures = units.iter().filter(|unit| unit.pid == 0x100 && !unit.payload.is_empty());
    for unit in pictures {
        let (_, dts, _) = pes(unit);
        let pcr = unit.pcr.expect("every picture tells the clock");
        let lead = (dts - pcr).rem_euclid(1 << 33);
        assert!((LEAD.0 - 3_000..=LEAD.0).contains(&lead), "a picture comes {lead} ticks before its time");
    }
}

#[test]
fn sound_before_the_first_picture_brings_the_clock() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    for frame in 0..50 {
        mux.audio(&mut out, Ticks(90_000 + 1_920 * frame), &[0; 100]).unwrap();
    }
    let clock: Vec<i64> = demux(&out).iter().filter_map(|unit| unit.pcr).collect();
    assert!(clock.len() >= 10, "{clock:?}");
    assert_eq!(clock[0], 90_000 - LEAD.0);
}

#[test]
fn sound_that_is_gone_is_gone_from_the_tables() {
    let (mut mux, mut out) = (ready(), BytesMut::new());
    mux.video(&mut out, Ticks(0), Ticks(0), true, &picture(10, true)).unwrap();
    mux.forget_sound();
    assert_eq!(mux.audio(&mut out, Ticks(0), &[0; 10]), Err(TsError::NoHeader));
    mux.video(&mut out, Ticks(3_000), Ticks(3_000), false, &picture(10, false)).unwrap();
    let tables: Vec<u8> =
        demux(&out).iter().filter(|unit| unit.pid == 0x1000).map(|unit| unit.payload[3]).collect();
    assert_eq!(tables, [23, 18], "bytes of the table with two streams, and with one");
}

proptest! {
    #[test]
    fn whatever_goes_in_comes_out_whole_on_time_and_by_the_standard(
        start in prop_oneof![Just(0i64), Just((1 << 33) - 60_000), 0i64..1 << 34],
        tags in proptest::collection::vec((any::<bool>(), any::<bool>(), 0usize..5_000, 0i64..9_000), 1..60)
    ) {
        let (mut mux, mut out) = (ready(), BytesMut::new());
        let (mut at, mut want) = (start, Vec::new());
        for (is_video, key, bytes, step) in tags {
            at += step;
            let time = Ticks(at);
            if is_video {
                let payload = picture(bytes, key);
                mux.video(&mut out, time, time, key, &payload).unwrap();
                want.push((0x100, at.rem_euclid(1 << 33), payload[4..].to_vec()));
            } else {
                let frame = vec![0x21; bytes];
                mux.audio(&mut out, time, &frame).unwrap();
                want.push((0x101, at.rem_euclid(1 << 33), frame));
            }
        }
        let units = demux(&out);
        let found: Vec<_> = units
            .iter()
            .filter(|unit| unit.payload.first_chunk() == Some(&[0, 0, 1]))
            .map(|unit| {
                let (_, dts, body) = pes(unit);
                let body = if unit.pid == 0x100 {
                    annexb_units(body).last().unwrap_or_default().to_vec()
                } else {
                    body[aac::AdtsWriter::HEADER_BYTES..].to_vec()
                };
                (unit.pid, dts, body)
            })
            .collect();
        prop_assert_eq!(found, want);
        for unit in units.iter().filter(|unit| unit.pid < 0x100 || unit.pid == 0x1000) {
            let length = usize::from(u16::from_be_bytes([unit.payload[2] & 0x0F, unit.payload[3]]));
            prop_assert_eq!(psi::crc(&unit.payload[1..4 + length]), 0);
        }
    }

    #[test]
    fn headers_of_any_bytes_are_read_or_refused(record in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut mux = Mux::new();
        let record = Bytes::from(record);
        for codec in [VideoCodec::H264, VideoCodec::H265] {
            if mux.video_header(codec, &record).is_ok() {
                let mut out = BytesMut::new();
                mux.video(&mut out, Ticks(0), Ticks(0), true, &record).unwrap();
                demux(&out);
            }
        }
        let _ = mux.audio_header(&record);
    }
}
