//! Round trips, bounds and rejection.

use bytes::Bytes;
use proptest::prelude::*;

use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};
use crate::media::amf::{self, Value};
use crate::media::packet::{AudioConfig, Layout, VideoCodec, VideoConfig};

use super::*;

fn video_config(codec: VideoCodec) -> VideoConfig {
    VideoConfig {
        codec,
        record: Bytes::from_static(&[1, 2, 3]),
        size: PictureSize { width: 1280, height: 720 },
        fps: Some(FrameRate::whole(30)),
        bitrate: Some(BitrateBps(2_500_000)),
    }
}

fn audio_config() -> AudioConfig {
    AudioConfig {
        record: Bytes::from_static(&[0x11, 0x90]),
        sample_rate: 48_000,
        channels: 2,
        bitrate: Some(BitrateBps(128_000)),
    }
}

fn read_one(tag: &[u8]) -> (TagType, u32, Bytes) {
    let mut parser = Parser::new(BODY_BYTES_MAX);
    parser.push(&file_header(true, true));
    parser.push(tag);
    assert_eq!(parser.pull(), Ok(Some(Item::Header { has_video: true, has_audio: true })));
    let Ok(Some(Item::Tag { kind, millis, body })) = parser.pull() else { panic!("no tag") };
    assert_eq!(parser.pull(), Ok(None));
    (kind, millis, body)
}

#[test]
fn the_file_header_tells_which_tracks_there_are() {
    assert_eq!(file_header(true, false), *b"FLV\x01\x01\0\0\0\x09\0\0\0\0");
    assert_eq!(file_header(false, true), *b"FLV\x01\x04\0\0\0\x09\0\0\0\0");
    assert_eq!(file_header(true, true), *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
}

#[test]
fn a_keyframe_is_framed_byte_for_byte_as_the_specification_says() {
    let tag = video_tag(
        Ticks::from_millis(0x0123_4567),
        Ticks::from_millis(0x0123_4567 + 66),
        true,
        VideoCodec::H264,
        b"nal",
    );
    #[rustfmt::skip]
    let want = [
        9, 0, 0, 8, 0x23, 0x45, 0x67, 0x01, 0, 0, 0,
        0x17, 1, 0, 0, 66, b'n', b'a', b'l',
        0, 0, 0, 19,
    ];
    assert_eq!(tag.unwrap(), &want[..]);
    assert_eq!(&audio_tag(Ticks::ZERO, b"aac").unwrap()[11..16], b"\xAF\x01aac");
    assert_eq!(&video_header(Ticks::ZERO, &video_config(VideoCodec::H264)).unwrap()[11..16], b"\x17\0\0\0\0");
    assert_eq!(&audio_header(Ticks::ZERO, &audio_config()).unwrap()[11..15], b"\xAF\0\x11\x90");
}

#[test]
fn h265_is_framed_by_its_fourcc() {
    let at = Ticks::from_millis(40);
    let frame = video_tag(at, at, false, VideoCodec::H265, b"n").unwrap();
    assert_eq!(&frame[11..17], b"\xA3hvc1n");
    let shifted = video_tag(Ticks::ZERO, at, true, VideoCodec::H265, b"n").unwrap();
    assert_eq!(&shifted[11..20], b"\x91hvc1\0\0\x28n");
    let (_, _, body) = read_one(&video_header(at, &video_config(VideoCodec::H265)).unwrap());
    let header = VideoBody::Header { codec: VideoCodec::H265, record: Bytes::from_static(&[1, 2, 3]) };
    assert_eq!(parse_video(&body), Ok(header));
}

#[test]
fn what_does_not_fit_is_refused() {
    let long = vec![0; BODY_BYTES_MAX];
    assert_eq!(audio_tag(Ticks::ZERO, &long), Err(FlvError::TooLong(BODY_BYTES_MAX + 2)));
    for (cts, fits) in
        [(0x007F_FFFF, true), (0x0080_0000, false), (-0x0080_0000, true), (-0x0080_0001, false)]
    {
        let tag = video_tag(Ticks::ZERO, Ticks::from_millis(cts), false, VideoCodec::H264, b"");
        assert_eq!(tag.is_ok(), fits, "{cts}");
    }
}

#[test]
fn metadata_tells_the_truth_about_tracks_that_exist() {
    let whole = Layout { video: Some(video_config(VideoCodec::H264)), audio: Some(audio_config()) };
    let values = amf::read_all(&on_metadata(&whole)).unwrap();
    assert_eq!(values[0], Value::text("onMetaData"));
    for (name, want) in [
        ("width", 1280.0),
        ("height", 720.0),
        ("framerate", 30.0),
        ("videodatarate", 2_500.0),
        ("videocodecid", 7.0),
        ("audiosamplerate", 48_000.0),
        ("audiocodecid", 10.0),
        ("audiodatarate", 128.0),
    ] {
        assert_eq!(values[1].get(name).and_then(Value::as_number), Some(want), "{name}");
    }
    assert_eq!(values[1].get("stereo"), Some(&Value::Boolean(true)));
    assert!(values[1].get("encoder").and_then(Value::as_str).unwrap().starts_with("footlight/"));

    let silent = Layout { video: Some(video_config(VideoCodec::H265)), audio: None };
    let values = amf::read_all(&on_metadata(&silent)).unwrap();
    assert_eq!(values[1].get("videocodecid"), Some(&Value::Number(1_752_589_105.0)));
    assert!(values[1].get("audiocodecid").is_none() && values[1].get("stereo").is_none());
}

#[test]
fn a_tag_longer_than_the_readers_bound_is_refused_before_it_arrives() {
    let mut parser = Parser::new(100);
    parser.push(&file_header(true, false));
    parser.push(&[9, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0]);
    assert!(parser.pull().is_ok());
    assert_eq!(parser.pull(), Err(FlvError::TooLong(101)));
}

#[test]
fn a_torn_stream_is_noticed_at_the_next_length() {
    let mut parser = Parser::new(100);
    parser.push(&file_header(true, false));
    parser.push(&[9, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x17, 0, 0, 0, 13]);
    assert!(parser.pull().is_ok());
    assert_eq!(parser.pull(), Err(FlvError::Torn { tag: 12, trailer: 13 }));
}

proptest! {
    #[test]
    fn a_picture_reads_back_as_it_was_written(
        dts in 0i64..0xFFFF_FFFF,
        cts in -0x0080_0000i64..0x0080_0000,
        keyframe: bool,
        h265: bool,
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let codec = if h265 { VideoCodec::H265 } else { VideoCodec::H264 };
        let (dts_at, pts_at) = (Ticks::from_millis(dts), Ticks::from_millis(dts + cts));
        let (kind, millis, body) = read_one(&video_tag(dts_at, pts_at, keyframe, codec, &payload).unwrap());
        prop_assert_eq!((kind, millis), (TagType::Video, dts as u32));
        let want = VideoBody::Frame { codec, keyframe, cts_millis: cts as i32, payload: payload.into() };
        prop_assert_eq!(parse_video(&body), Ok(want));
    }

    #[test]
    fn sound_and_scripts_read_back_as_they_were_written(
        millis in 0i64..0xFFFF_FFFF,
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let at = Ticks::from_millis(millis);
        let (kind, read, body) = read_one(&audio_tag(at, &payload).unwrap());
        prop_assert_eq!((kind, read), (TagType::Audio, millis as u32));
        prop_assert_eq!(parse_audio(&body), Ok(AudioBody::Frame(payload.clone().into())));
        let (kind, read, body) = read_one(&script_tag(at, &payload).unwrap());
        prop_assert_eq!((kind, read, &body[..]), (TagType::Script, millis as u32, &payload[..]));
    }

    #[test]
    fn a_viewers_copy_of_a_header_differs_in_its_time_only(
        millis in any::<u32>(),
        payload in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let tag = audio_tag(Ticks::from_millis(77), &payload).unwrap();
        let header = rewrite_timestamp(tag.first_chunk().unwrap(), millis);
        let rewritten = [&header[..], &tag[TAG_HEADER_BYTES..]].concat();
        let want = audio_tag(Ticks::from_millis(i64::from(millis)), &payload).unwrap();
        prop_assert_eq!(rewritten, &want[..]);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_tags(cuts in prop::collection::vec(1usize..40, 1..40)) {
        let mut stream = file_header(true, true).to_vec();
        for at in 0..10 {
            let payload = vec![at as u8; at as usize * 7];
            stream.extend_from_slice(&audio_tag(Ticks::from_millis(at), &payload).unwrap());
        }
        let mut parser = Parser::new(1_000);
        let mut items = 0;
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            rest = left;
            parser.push(piece);
            while parser.pull().unwrap().is_some() {
                items += 1;
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(items, 11);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        begun: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![8u8, 9, 18]),
        len in 0u8..100,
    ) {
        let mut parser = Parser::new(200);
        if begun {
            parser.push(&file_header(true, true));
            parser.push(&[kind, 0, 0, len]);
        }
        parser.push(&bytes);
        while let Ok(Some(_)) = parser.pull() {}
        let body = Bytes::from(bytes);
        let _ = (parse_video(&body), parse_audio(&body));
    }
}
