//! Real encodes: what comes out of this room is decoded again and looked at.

use std::time::Duration;

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};
use crate::config::schema::{AudioSource, EncoderChoice, Stream, VideoSource};
use crate::media::frame::{Frame, PixelFormat, Plane};
use crate::media::h26x::{avcc_units, is_keyframe};
use crate::media::packet::{Packet, VideoCodec as Codec, VideoConfig};

mod fallback;
mod sound;

use super::codec::Kind;
use super::ffi::codec::{PictureDecoder, jpeg_of};
use super::ffi::picture::Picture;
use super::join::Event;
use super::probe;
use super::video::VideoTrack;

const SIZE: PictureSize = PictureSize { width: 320, height: 180 };

fn stream() -> Stream {
    Stream {
        name: "test".to_owned(),
        video: VideoSource::File("clip.mp4".into()),
        audio: AudioSource::FromVideo,
        size: None,
        fps: Some(FrameRate::whole(30)),
        bitrate: Some(BitrateBps(2_000_000)),
        audio_bitrate: BitrateBps(128_000),
        gop: Duration::from_secs(2),
        encoder: EncoderChoice::Auto,
        gop_cache: ByteSize(1 << 20),
    }
}

/// Colours that a wrong plane, matrix or range would show: a gradient in Y, U and V, drifting with `number`. All
/// of them exist in RGB too.
fn yuv(x: u32, y: u32, size: PictureSize, number: u32) -> (u8, u8, u8) {
    let across = (x * 96 / size.width + number * 2) % 96;
    let down = y * 52 / size.height;
    ((64 + across) as u8, (102 + down) as u8, (154 - down) as u8)
}

fn i420(size: PictureSize, number: u32) -> Frame {
    let mut planes: [Vec<u8>; 3] = Default::default();
    for y in 0..size.height {
        for x in 0..size.width {
            let (luma, u, v) = yuv(x & !1, y & !1, size, number);
            planes[0].push(luma);
            if x % 2 + y % 2 == 0 {
                planes[1].push(u);
                planes[2].push(v);
            }
        }
    }
    let strides = [size.width, size.width / 2, size.width / 2];
    frame(PixelFormat::I420, size, number, planes.into_iter().zip(strides))
}

fn frame(
    format: PixelFormat,
    size: PictureSize,
    number: u32,
    planes: impl IntoIterator<Item = (Vec<u8>, u32)>,
) -> Frame {
    let planes = planes
        .into_iter()
        .map(|(data, stride)| Plane { data: Bytes::from(data), stride: stride as usize })
        .collect();
    Frame { at: Ticks(1_000_000 + i64::from(number) * 3_000), format, size, planes }
}

/// The same picture in another layout.
fn repacked(format: PixelFormat, size: PictureSize, number: u32) -> Frame {
    let planar = i420(size, number);
    let (width, height) = (size.width as usize, size.height as usize);
    let at = |plane: usize, x: usize, y: usize| {
        let (x, y, stride) = if plane == 0 { (x, y, width) } else { (x / 2, y / 2, width / 2) };
        planar.planes[plane].data[y * stride + x]
    };
    let pixels = |bytes: &dyn Fn(usize, usize) -> Vec<u8>| {
        (0..height).flat_map(|y| (0..width).step_by(2).flat_map(move |x| bytes(x, y))).collect::<Vec<u8>>()
    };
    match format {
        PixelFormat::I420 => planar,
        PixelFormat::Nv12 => {
            let chroma = (0..height / 2)
                .flat_map(|y| (0..width).map(move |x| (x, y)))
                .map(|(x, y)| at(1 + x % 2, x & !1, y * 2))
                .collect();
            let luma = planar.planes[0].data.to_vec();
            frame(format, size, number, [(luma, size.width), (chroma, size.width)])
        }
        PixelFormat::Yuyv => {
            let data = pixels(&|x, y| vec![at(0, x, y), at(1, x, y), at(0, x + 1, y), at(2, x, y)]);
            frame(format, size, number, [(data, size.width * 2)])
        }
        PixelFormat::Uyvy => {
            let data = pixels(&|x, y| vec![at(1, x, y), at(0, x, y), at(2, x, y), at(0, x + 1, y)]);
            frame(format, size, number, [(data, size.width * 2)])
        }
        PixelFormat::Bgr24 => {
            // BT.601, 16 to 235, as this size has it.
            let data = pixels(&|x, y| {
                let (luma, u, v) = (f64::from(at(0, x, y)), f64::from(at(1, x, y)), f64::from(at(2, x, y)));
                let (luma, u, v) = (1.164 * (luma - 16.0), u - 128.0, v - 128.0);
                let bgr = [luma + 2.017 * u, luma - 0.392 * u - 0.813 * v, luma + 1.596 * v];
                bgr.repeat(2).into_iter().map(|value| value.round().clamp(0.0, 255.0) as u8).collect()
            });
            frame(format, size, number, [(data, size.width * 3)])
        }
        PixelFormat::Mjpeg => {
            let mut full = planar;
            // JPEG's numbers: 0 to 255.
            for (index, plane) in full.planes.iter_mut().enumerate() {
                let (middle, gain) = if index == 0 { (16.0, 255.0 / 219.0) } else { (128.0, 255.0 / 224.0) };
                let back = if index == 0 { 0.0 } else { 128.0 };
                let data: Vec<u8> = plane
                    .data
                    .iter()
                    .map(|value| ((f64::from(*value) - middle) * gain + back).round().clamp(0.0, 255.0) as u8)
                    .collect();
                plane.data = Bytes::from(data);
            }
            let jpeg = jpeg_of(&Picture::copied(&full).expect("is a picture")).expect("is a JPEG");
            Frame { planes: [Plane { data: jpeg, stride: 0 }].into_iter().collect(), format, ..full }
        }
    }
}

/// What a track gave out.
#[derive(Default)]
struct Out {
    configs: Vec<VideoConfig>,
    packets: Vec<Packet>,
}

impl Out {
    fn push(&mut self, event: Event) {
        match event {
            Event::Video(config) => self.configs.push(config),
            Event::Packet(packet) => self.packets.push(packet),
            other => panic!("{other:?}"),
        }
    }
}

fn track(stream: &Stream) -> VideoTrack {
    // Called hardware, so that a machine busy with other tests does not make x264 go to a faster preset.
    let x264 = probe::known().into_iter().filter(|kind| !kind.hardware);
    VideoTrack::new(stream, x264.map(|kind| Kind { hardware: true, ..kind }).collect())
}

fn encode(track: &mut VideoTrack, frames: impl IntoIterator<Item = Frame>) -> Out {
    let mut out = Out::default();
    for frame in frames {
        track.frame(frame, &mut |event| out.push(event));
    }
    out
}

/// Peak signal to noise of the decoded picture against the original, in dB, for Y, U and V.
fn psnr(original: &Frame, decoded: &Picture) -> [f64; 3] {
    let (width, height) = (original.size.width as usize, original.size.height as usize);
    std::array::from_fn(|plane| {
        let (width, height) = if plane == 0 { (width, height) } else { (width / 2, height / 2) };
        let (bytes, stride) = decoded.plane(plane, height);
        let mut squares = 0.0;
        for y in 0..height {
            for x in 0..width {
                let difference = f64::from(bytes[y * stride + x])
                    - f64::from(original.planes[plane].data[y * original.planes[plane].stride + x]);
                squares += difference * difference;
            }
        }
        let mean = (squares / (width * height) as f64).max(1e-3);
        10.0 * (255.0 * 255.0 / mean).log10()
    })
}

#[test]
fn each_picture_comes_out_at_once_as_avcc_with_an_idr_each_two_seconds() {
    let mut track = track(&stream());
    let mut out = Out::default();
    for number in 0..300 {
        let frame = i420(SIZE, number);
        let at = frame.at;
        track.frame(frame, &mut |event| out.push(event));
        assert_eq!(out.packets.len() as u32, number + 1, "one in, one out");
        let packet = out.packets.last().expect("came");
        assert_eq!((packet.pts, packet.dts), (at, at));
        assert_eq!(packet.keyframe, number % 60 == 0, "picture {number}");
        assert_eq!(is_keyframe(Codec::H264, &packet.payload), packet.keyframe);
        for unit in avcc_units(&packet.payload, 4) {
            let kind = unit.expect("lengths add up")[0] & 31;
            assert!([1, 5, 6].contains(&kind), "no parameter sets, no B slices: {kind}");
        }
    }
    assert_eq!(out.configs.len(), 1);
    let config = &out.configs[0];
    assert_eq!(
        (config.size, config.fps, config.bitrate),
        (SIZE, Some(FrameRate::whole(30)), Some(BitrateBps(2_000_000)))
    );
    let record = crate::media::h26x::h264::parse_record(&config.record).expect("is a record");
    let sps = crate::media::h26x::h264::parse_sps(&record.sps[0]).expect("is an SPS");
    assert_eq!((sps.profile, sps.size, sps.may_reorder), (100, SIZE, false));
}

#[test]
fn a_keyframe_comes_with_the_next_picture_after_it_was_asked_for() {
    let mut track = track(&stream());
    encode(&mut track, (0..10).map(|number| i420(SIZE, number)));
    track.request_keyframe();
    let out = encode(&mut track, (10..80).map(|number| i420(SIZE, number)));
    let keys: Vec<usize> = out
        .packets
        .iter()
        .enumerate()
        .filter(|(_, packet)| packet.keyframe)
        .map(|(index, _)| index)
        .collect();
    assert_eq!(keys, [0, 60], "at once, and the GOP counts from there");
}

#[test]
fn all_pixel_formats_come_out_with_the_right_colours() {
    for format in [
        PixelFormat::I420,
        PixelFormat::Nv12,
        PixelFormat::Yuyv,
        PixelFormat::Uyvy,
        PixelFormat::Bgr24,
        PixelFormat::Mjpeg,
    ] {
        let mut track = track(&Stream { bitrate: Some(BitrateBps(8_000_000)), ..stream() });
        let out = encode(&mut track, (0..20).map(|number| repacked(format, SIZE, number)));
        assert_eq!(out.packets.len(), 20, "{format:?}: {:?}", track.status.last_error);
        let mut decoder = PictureDecoder::h264(&out.configs[0].record).expect("opens");
        for (number, packet) in out.packets.iter().enumerate() {
            let decoded = decoder.decode(&packet.payload).expect("decodes");
            let quality = psnr(&i420(SIZE, number as u32), &decoded);
            assert!(quality.iter().all(|db| *db > 34.0), "{format:?} {number}: {quality:?}");
        }
    }
}

#[test]
fn a_picture_that_fits_is_not_copied_and_its_memory_goes_back() {
    let mut track = track(&stream());
    encode(&mut track, [i420(SIZE, 0)]);
    let frame = i420(SIZE, 1);
    let memory = frame.planes[0].data.clone();
    encode(&mut track, [frame]);
    assert!(memory.is_unique(), "the encoder still holds the camera's buffer");
}

#[test]
fn another_shape_is_framed_in_black_and_a_new_size_mid_stream_changes_nothing_outside() {
    let wanted = PictureSize { width: 320, height: 180 };
    let mut track = track(&Stream { size: Some(wanted), bitrate: Some(BitrateBps(8_000_000)), ..stream() });
    let portrait = PictureSize { width: 90, height: 180 };
    let mut out = encode(&mut track, (0..5).map(|number| i420(SIZE, number)));
    let rest = encode(&mut track, (5..10).map(|number| i420(portrait, number)));
    assert!(rest.configs.is_empty(), "the stream's size is fixed");
    out.packets.extend(rest.packets);
    let mut decoder = PictureDecoder::h264(&out.configs[0].record).expect("opens");
    let decoded = out.packets.iter().map(|packet| decoder.decode(&packet.payload).expect("decodes")).last();
    let decoded = decoded.expect("came");
    assert_eq!(decoded.size(), wanted);
    let (luma, stride) = decoded.plane(0, 180);
    let row = &luma[90 * stride..][..320];
    assert!(row[..110].iter().chain(&row[210..]).all(|value| *value < 24), "black beside the picture");
    assert!(row[118..202].iter().all(|value| *value > 26), "the picture in the middle: {row:?}");
}

#[test]
fn a_new_size_without_a_wanted_one_is_announced_and_begins_with_a_keyframe() {
    let mut track = track(&stream());
    encode(&mut track, (0..5).map(|number| i420(SIZE, number)));
    let smaller = PictureSize { width: 160, height: 90 };
    let out = encode(&mut track, (5..8).map(|number| i420(smaller, number)));
    assert_eq!(out.configs.len(), 1);
    assert_eq!(out.configs[0].size, smaller);
    assert!(out.packets[0].keyframe);
}

/// Noise that x264 cannot predict: it spends whatever it is given.
fn noise(size: PictureSize, number: u32) -> Frame {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64 ^ (u64::from(number) << 17);
    let mut bytes = |count: u32| -> Vec<u8> {
        (0..count)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                (64 + seed % 128) as u8
            })
            .collect()
    };
    let (luma, chroma) = (size.width * size.height, size.width * size.height / 4);
    let planes =
        [(bytes(luma), size.width), (bytes(chroma), size.width / 2), (bytes(chroma), size.width / 2)];
    frame(PixelFormat::I420, size, number, planes)
}

fn measured(packets: &[Packet]) -> f64 {
    packets.iter().map(|packet| packet.payload.len()).sum::<usize>() as f64 * 8.0 * 30.0
        / packets.len() as f64
}

#[test]
fn a_new_bitrate_takes_effect_within_a_second_without_a_restart() {
    let size = PictureSize { width: 640, height: 360 };
    let mut track = track(&Stream { bitrate: Some(BitrateBps(4_000_000)), ..stream() });
    let before = encode(&mut track, (0..120).map(|number| noise(size, number)));
    track.set_bitrate(BitrateBps(1_000_000));
    let after = encode(&mut track, (120..240).map(|number| noise(size, number)));
    track.set_bitrate(BitrateBps(3_000_000));
    let again = encode(&mut track, (240..360).map(|number| noise(size, number)));
    assert!(after.configs.is_empty() && again.configs.is_empty(), "no restart");
    for (out, want) in [(&before, 4e6), (&after, 1e6), (&again, 3e6)] {
        let got = measured(&out.packets[30..]);
        assert!((want * 0.85..want * 1.15).contains(&got), "{got} bit/s instead of {want}");
    }
}

#[test]
fn a_camera_that_slows_down_keeps_its_bitrate_and_its_gop() {
    let size = PictureSize { width: 320, height: 180 };
    let mut track = track(&Stream { bitrate: Some(BitrateBps(1_000_000)), ..stream() });
    let slow = |number: u32| Frame { at: Ticks(i64::from(number) * 6_000), ..noise(size, number) };
    let out = encode(&mut track, (0..300).map(slow));
    let late = &out.packets[150..];
    let got = late.iter().map(|packet| packet.payload.len()).sum::<usize>() as f64 * 8.0 * 15.0 / 150.0;
    assert!((850e3..1_150e3).contains(&got), "{got}");
    let keys: Vec<i64> =
        out.packets.iter().filter(|packet| packet.keyframe).map(|packet| packet.pts.0).collect();
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] == 180_000), "{keys:?}");
}

#[test]
fn the_rate_that_irregular_first_pictures_told_is_corrected_once() {
    let mut track = track(&Stream { fps: None, bitrate: None, ..stream() });
    // The second picture comes two frame times late, as cameras do; then 30 fps; later the light goes out.
    let at = |number: u32| match number {
        0 => 0,
        1..300 => i64::from(number + 2) * 3_000,
        _ => 302 * 3_000 + i64::from(number - 300) * 9_000,
    };
    let frames = (0..400).map(|number| Frame { at: Ticks(at(number)), ..i420(SIZE, number) });
    let out = encode(&mut track, frames);
    assert_eq!(out.packets.len(), 400);
    let rates: Vec<_> = out.configs.iter().map(|config| config.fps).collect();
    assert_eq!(rates, [Some(FrameRate::whole(10)), Some(FrameRate::whole(30))]);
    assert!(out.configs[1].bitrate > out.configs[0].bitrate, "the default bitrate follows");
}

#[test]
fn a_source_whose_clock_began_anew_begins_with_a_keyframe_and_goes_on() {
    let mut track = track(&stream());
    encode(&mut track, (100..110).map(|number| i420(SIZE, number)));
    track.begin(&mut |_| {});
    let out = encode(&mut track, (0..10).map(|number| i420(SIZE, number)));
    assert_eq!(out.packets.len(), 10);
    assert!(out.packets[0].keyframe && !out.packets[1].keyframe);
}

#[test]
fn damaged_pictures_are_dropped_and_counted_and_the_next_good_one_goes_on() {
    let mut track = track(&stream());
    let good = |number| repacked(PixelFormat::Mjpeg, SIZE, number);
    let with = |number, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good(number);
        let mut bytes = frame.planes[0].data.to_vec();
        change(&mut bytes);
        frame.planes[0].data = Bytes::from(bytes);
        frame
    };
    let bad = [
        with(1, &|bytes| bytes.truncate(bytes.len() / 2)),
        with(2, &|bytes| bytes.clear()),
        with(3, &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 400].fill(0x55);
        }),
        with(4, &|bytes| {
            // A size of 65,535 squared in the frame header.
            let at = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("has a frame header");
            bytes[at + 5..at + 9].fill(0xff);
        }),
        Frame { planes: heapless::Vec::new(), ..good(5) },
        frame(PixelFormat::I420, SIZE, 6, [(vec![0; 100], 320), (vec![0; 100], 160), (vec![0; 100], 160)]),
        frame(PixelFormat::Yuyv, SIZE, 7, [(vec![0; 320 * 180 * 2], 2)]),
        frame(PixelFormat::Bgr24, PictureSize { width: u32::MAX, height: u32::MAX }, 8, [(vec![0; 10], 2)]),
    ];
    let count = bad.len();
    let first = encode(&mut track, [good(0)]);
    assert_eq!(first.packets.len(), 1);
    for (number, frame) in bad.into_iter().enumerate() {
        assert!(encode(&mut track, [frame]).packets.is_empty(), "bad picture {number} got through");
    }
    assert_eq!(track.status.frames_dropped as usize, count);
    assert_eq!(encode(&mut track, [good(20)]).packets.len(), 1);
}
