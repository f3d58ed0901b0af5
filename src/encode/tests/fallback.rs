//! The whole room: a stream's thread, and hardware that dies in all the ways that hardware dies.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::queue::{self, Sender};
use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::config::schema::{EncoderChoice, Stream};
use crate::encode::codec::{Kind, Open, Sink, VideoCodec, Wish, X264Codec};
use crate::encode::ffi::CodecError;
use crate::encode::ffi::picture::{Layout as Planar, Picture};
use crate::encode::guard::Guarded;
use crate::encode::video::VideoTrack;
use crate::encode::{Encoder, Encoders, probe};
use crate::media::frame::{Captured, Frame, Sound, TrackForm};
use crate::media::packet::{AudioConfig, Layout, Media, Packet, Track, VideoCodec as Codec, VideoConfig};

use super::{SIZE, encode, i420, stream};

/// How the mock chip ends, after some good pictures.
#[derive(Debug, Clone, Copy)]
enum End {
    Error,
    Silence,
    Hang,
}

/// A chip that encodes (by x264) until it dies.
struct MockChip {
    inner: X264Codec,
    left: u32,
    end: End,
}

impl VideoCodec for MockChip {
    fn layout(&self) -> Planar {
        self.inner.layout()
    }

    fn encode(&mut self, picture: &mut Picture, keyframe: bool, sink: Sink<'_>) -> Result<(), CodecError> {
        if self.left > 0 {
            self.left -= 1;
            return self.inner.encode(picture, keyframe, sink);
        }
        match self.end {
            End::Error => Err(CodecError::new("encode", "the mock chip burned out")),
            End::Silence => Ok(()),
            End::Hang => loop {
                std::thread::park();
            },
        }
    }

    fn poll(&mut self, _sink: Sink<'_>) -> Result<(), CodecError> {
        Ok(())
    }

    fn set_bitrate(&mut self, _bitrate: BitrateBps, _buffer_bits: u64) -> bool {
        false
    }
}

fn mock(good_pictures: u32, end: End) -> Kind {
    let direct: Open = Arc::new(move |wish: &Wish| {
        Ok(Box::new(MockChip { inner: X264Codec::open(wish, Planar::Nv12)?, left: good_pictures, end }))
    });
    let open: Open = Arc::new(move |wish: &Wish| Ok(Box::new(Guarded::open("mock", &direct, false, wish)?)));
    Kind { name: "mock", hardware: true, open }
}

fn software() -> Kind {
    probe::known().pop().expect("x264 is known")
}

/// A running encoder with its two ends.
struct Bench {
    encoder: Encoder,
    inlet: Sender<Captured>,
    outlet: Receiver<Media>,
    started: Ticks,
    number: u32,
}

impl Bench {
    fn new(stream: &Stream, kinds: Vec<Kind>) -> Bench {
        let (inlet, input) = queue::bounded();
        let (output, outlet) = sync_channel(4_096);
        let encoder = Encoder::start(stream, kinds, input, move |media| {
            let _ = output.send(media);
        });
        Bench {
            encoder: encoder.expect("starts"),
            inlet,
            outlet,
            started: clock::monotonic_ticks(),
            number: 0,
        }
    }

    fn begin(&self, video: TrackForm, audio: TrackForm) {
        self.inlet.push(Captured::Begin { video, audio });
    }

    fn picture(&mut self) {
        let frame = i420(SIZE, self.number);
        let at = self.started + Ticks::from_units(i64::from(self.number), 30);
        self.number += 1;
        self.inlet.push(Captured::Frame(Frame { at, ..frame }));
    }

    fn sound(&self) {
        let samples = vec![0.1; 1_920];
        let at = clock::monotonic_ticks();
        self.inlet.push(Captured::Sound(Sound { at, sample_rate: 48_000, channels: 2, samples }));
    }

    fn next(&self) -> Option<Media> {
        self.outlet.recv_timeout(Duration::from_secs(5)).ok()
    }

    fn next_layout(&self) -> Layout {
        match self.next() {
            Some(Media::Layout(layout)) => layout,
            other => panic!("a layout was expected, not {other:?}"),
        }
    }

    fn next_video(&self) -> Packet {
        loop {
            match self.next() {
                Some(Media::Packet(packet)) if packet.track == Track::Video => return packet,
                Some(Media::Packet(_)) => {}
                other => panic!("a picture was expected, not {other:?}"),
            }
        }
    }
}

#[test]
fn a_chip_that_dies_is_replaced_and_the_stream_goes_on() {
    for end in [End::Error, End::Silence, End::Hang] {
        let mut bench = Bench::new(&stream(), vec![mock(10, end), software()]);
        bench.begin(TrackForm::Raw, TrackForm::Absent);
        let started = clock::now();
        let (mut layouts, mut after) = (0, Vec::new());
        while after.len() < 10 {
            assert!(started.elapsed() < Duration::from_secs(10), "{end:?}: {:?}", bench.encoder.status());
            bench.picture();
            while let Ok(media) = bench.outlet.recv_timeout(Duration::from_millis(20)) {
                match media {
                    Media::Layout(_) => layouts += 1,
                    Media::Packet(packet) if layouts > 0 && bench.encoder.status().encoder == "libx264" => {
                        after.push(packet);
                    }
                    Media::Packet(_) => {}
                }
            }
        }
        let status = bench.encoder.status();
        assert_eq!(
            (status.encoder.as_str(), status.hardware, status.failures),
            ("libx264", false, 1),
            "{end:?}"
        );
        assert!(status.last_error.is_some());
        assert!(after.iter().all(|packet| !packet.payload.is_empty()));
    }
}

#[test]
fn one_layout_names_both_tracks_and_a_source_that_restarts_the_same_is_not_announced_again() {
    let mut bench = Bench::new(&stream(), vec![software()]);
    bench.begin(TrackForm::Raw, TrackForm::Raw);
    bench.sound();
    bench.picture();
    let layout = bench.next_layout();
    assert_eq!(layout.video.map(|video| video.size), Some(SIZE));
    assert_eq!(layout.audio.map(|audio| audio.channels), Some(2));
    assert!(bench.next_video().keyframe);
    bench.picture();
    assert!(!bench.next_video().keyframe);
    bench.begin(TrackForm::Raw, TrackForm::Raw);
    bench.picture();
    assert!(bench.next_video().keyframe, "no layout, but a keyframe");
    bench.begin(TrackForm::Raw, TrackForm::Absent);
    bench.picture();
    assert!(bench.next_layout().audio.is_none(), "the sound is gone");
    assert!(bench.next_video().keyframe);
}

#[test]
fn orders_reach_the_encoder_with_the_next_picture() {
    let mut bench = Bench::new(&stream(), vec![software()]);
    bench.begin(TrackForm::Raw, TrackForm::Absent);
    bench.picture();
    bench.next_layout();
    for _ in 0..8 {
        bench.next_video();
        bench.picture();
    }
    bench.next_video();
    bench.encoder.request_keyframe();
    bench.encoder.set_bitrate(BitrateBps(700_000));
    bench.picture();
    assert!(bench.next_video().keyframe);
    let deadline = clock::now() + Duration::from_secs(5);
    while bench.encoder.status().bitrate_target != Some(BitrateBps(700_000)) {
        assert!(clock::now() < deadline);
        bench.picture();
        bench.next_video();
    }
    let mut page = Exposition::default();
    bench.encoder.describe_metrics(&mut page);
    let page = page.render();
    assert!(
        page.contains("footlight_encoder_info{stream=\"test\",encoder=\"libx264\",hardware=\"false\"} 1"),
        "{page}"
    );
    assert!(page.contains("footlight_encoder_frames_out_total{stream=\"test\"}"), "{page}");
}

#[test]
fn what_is_coded_already_passes_untouched() {
    let bench = Bench::new(&stream(), vec![software()]);
    bench.begin(TrackForm::Coded, TrackForm::Coded);
    let video = VideoConfig {
        codec: Codec::H265,
        record: Bytes::from_static(b"hvcC"),
        size: SIZE,
        fps: None,
        bitrate: None,
    };
    let audio = AudioConfig {
        record: Bytes::from_static(b"\x12\x10"),
        sample_rate: 44_100,
        channels: 2,
        bitrate: None,
    };
    let packet = |track, at, keyframe, payload: &'static [u8]| Packet {
        track,
        dts: Ticks(at),
        pts: Ticks(at + 3_000),
        keyframe,
        payload: Bytes::from_static(payload),
    };
    let packets = [
        packet(Track::Video, 1_000, true, b"\0\0\0\x01\x26"),
        packet(Track::Audio, 1_100, true, b"\x21"),
        packet(Track::Video, 4_000, false, b"\0\0\0\x01\x02"),
    ];
    bench.inlet.push(Captured::VideoConfig(video.clone()));
    bench.inlet.push(Captured::Packet(packets[0].clone()));
    bench.inlet.push(Captured::AudioConfig(audio.clone()));
    bench.inlet.push(Captured::Packet(packets[1].clone()));
    bench.inlet.push(Captured::Packet(packets[2].clone()));
    assert_eq!(bench.next_layout(), Layout { video: Some(video), audio: Some(audio) });
    for packet in packets {
        assert_eq!(bench.next(), Some(Media::Packet(packet)));
    }
}

#[test]
fn stopping_takes_no_longer_than_a_moment_also_when_the_source_is_silent() {
    let bench = Bench::new(&stream(), vec![software()]);
    let started = clock::now();
    bench.encoder.stop();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn an_encoder_that_is_named_must_exist_and_work() {
    let encoders = Encoders::probe();
    let start = |name: &str| {
        let stream = Stream { encoder: EncoderChoice::Named(name.to_owned()), ..stream() };
        let (_inlet, input) = queue::bounded();
        encoders.start(&stream, input, |_| {}).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(start("libx264"), Ok(()));
    assert!(start("h264_nvenc").is_err_and(|why| why.contains("not in this build")));
    assert!(start("x265").is_err_and(|why| why.contains("there is no encoder") && why.contains("libx264")));
}

/// An encoder that needs most of a picture's time.
struct Slow(X264Codec);

impl VideoCodec for Slow {
    fn layout(&self) -> Planar {
        self.0.layout()
    }

    fn encode(&mut self, picture: &mut Picture, keyframe: bool, sink: Sink<'_>) -> Result<(), CodecError> {
        let started = clock::now();
        while started.elapsed() < Duration::from_millis(29) {
            std::thread::yield_now();
        }
        self.0.encode(picture, keyframe, sink)
    }

    fn poll(&mut self, sink: Sink<'_>) -> Result<(), CodecError> {
        self.0.poll(sink)
    }

    fn set_bitrate(&mut self, bitrate: BitrateBps, buffer_bits: u64) -> bool {
        self.0.set_bitrate(bitrate, buffer_bits)
    }
}

#[test]
fn a_box_that_is_too_slow_goes_to_a_faster_preset() {
    let open: Open = Arc::new(|wish: &Wish| {
        let codec = X264Codec::open(wish, Planar::I420)?;
        Ok(if wish.haste == 0 { Box::new(Slow(codec)) } else { Box::new(codec) })
    });
    let mut track = VideoTrack::new(&stream(), vec![Kind { name: "slow", hardware: false, open }]);
    let out = encode(&mut track, (0..200).map(|number| i420(SIZE, number)));
    assert_eq!(out.packets.len(), 200, "no picture is lost on the way");
    assert!(out.configs.len() >= 2, "opened again");
    let keys: Vec<_> =
        out.packets.iter().filter(|packet| packet.keyframe).map(|packet| packet.pts.0).collect();
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] == 180_000), "at a keyframe: {keys:?}");
}
