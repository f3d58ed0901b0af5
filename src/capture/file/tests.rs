//! Real clips, made by the `ffmpeg` program while the tests run, played as a stream would play them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::base::queue::{self, Popped, Receiver};
use crate::base::units::{BitrateBps, ByteSize, PictureSize};
use crate::capture::{Camera, CameraState, Cameras};
use crate::config::schema::{AudioSource, VideoSource};
use crate::media::frame::PixelFormat;
use crate::media::h26x::is_keyframe;

const SOON: Duration = Duration::from_secs(20);
const PICTURE: &str = "testsrc2=size=320x240:rate=30";
const SOUND: &str = "sine=frequency=440:sample_rate=48000";

/// A folder with a clip in it.
struct Made {
    folder: TempDir,
    path: PathBuf,
}

/// Makes a clip with `ffmpeg`, whose last argument, the file, is added here.
fn make(name: &str, arguments: &str) -> Made {
    let folder = tempfile::tempdir().expect("a folder for clips");
    let path = folder.path().join(name);
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .arg(&path)
        .output()
        .expect("the program ffmpeg makes the clips of these tests; install it: apt-get install ffmpeg");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Made { folder, path }
}

/// A second and a bit, with B-frames, its sound a little longer than the picture.
fn h264_aac(name: &str) -> Made {
    make(
        name,
        &format!(
            "-f lavfi -i {PICTURE} -f lavfi -i {SOUND} -map 0:v -map 1:a -c:v libx264 -preset veryfast -bf 2 -g 15 \
             -pix_fmt yuv420p -c:a aac -ac 2 -t 1.1"
        ),
    )
}

fn stream(path: &Path) -> Stream {
    Stream {
        name: "clip".to_owned(),
        video: VideoSource::File(path.to_owned()),
        audio: AudioSource::FromVideo,
        size: None,
        fps: None,
        bitrate: None,
        audio_bitrate: BitrateBps(128_000),
        gop: Duration::from_secs(2),
        encoder: EncoderChoice::Auto,
        gop_cache: ByteSize(8 << 20),
    }
}

fn play(stream: &Stream) -> (Camera, Receiver<Captured>) {
    let (outlet, inlet) = queue::bounded();
    (Cameras::new().start(stream, outlet).expect("starts"), inlet)
}

fn next(from: &Receiver<Captured>) -> Captured {
    match from.pop(SOON) {
        Popped::Item(item) => item,
        other => panic!("the clip brought {other:?}"),
    }
}

/// What a clip brought in some seconds of playing.
#[derive(Default)]
struct Heard {
    begins: Vec<(TrackForm, TrackForm)>,
    packets: Vec<Packet>,
    frames: Vec<Frame>,
    sounds: Vec<Sound>,
    configs: usize,
}

impl Heard {
    fn for_seconds(seconds: f64, from: &Receiver<Captured>) -> Heard {
        let mut heard = Heard::default();
        let mut first = None;
        loop {
            let at = match next(from) {
                Captured::Begin { video, audio } => {
                    heard.begins.push((video, audio));
                    continue;
                }
                Captured::VideoConfig(_) | Captured::AudioConfig(_) => {
                    heard.configs += 1;
                    continue;
                }
                Captured::Packet(packet) => {
                    heard.packets.push(packet.clone());
                    packet.dts
                }
                Captured::Frame(frame) => {
                    let at = frame.at;
                    heard.frames.push(frame);
                    at
                }
                Captured::Sound(sound) => {
                    let at = sound.at;
                    heard.sounds.push(sound);
                    at
                }
            };
            let first = *first.get_or_insert(at);
            if (at - first).seconds() > seconds {
                return heard;
            }
        }
    }

    fn track(&self, track: Track) -> Vec<&Packet> {
        self.packets.iter().filter(|packet| packet.track == track).collect()
    }
}

/// Every sample follows the one before, to the tick's rounding.
fn assert_sound_is_whole(sounds: &[Sound]) {
    for pair in sounds.windows(2) {
        let count = (pair[0].samples.len() / usize::from(pair[0].channels)) as i64;
        let end = pair[0].at + Ticks::from_units(count, pair[0].sample_rate);
        assert!((pair[1].at - end).0.abs() <= 1, "{:?} then {:?}", end, pair[1].at);
    }
}

#[test]
fn h264_and_aac_pass_through_and_go_on_over_the_seam() {
    for name in ["clip.mp4", "clip.mkv", "clip.ts", "clip.flv"] {
        let made = h264_aac(name);
        let (camera, inlet) = play(&stream(&made.path));
        let heard = Heard::for_seconds(3.0, &inlet);
        assert_eq!(heard.begins, [(TrackForm::Coded, TrackForm::Coded)], "{name}");
        assert_eq!(heard.configs, 2, "{name}");
        let pictures = heard.track(Track::Video);
        assert!(pictures[0].keyframe && pictures.len() > 85, "{name}: {}", pictures.len());
        for pair in pictures.windows(2) {
            let step = (pair[1].dts - pair[0].dts).millis();
            // Matroska keeps no decoding times, and FFmpeg's guess at the first two is off by the sound's lead.
            let usual = if name == "clip.mkv" { 10..=60 } else { 32..=35 };
            assert!(usual.contains(&step), "{name}: {step} ms from picture to picture");
        }
        assert!(pictures.iter().any(|picture| picture.pts > picture.dts), "{name}: B-frames are shown later");
        assert!(pictures.iter().all(|picture| picture.payload.len() > 4));
        for pair in heard.track(Track::Audio).windows(2) {
            assert_eq!((pair[1].dts - pair[0].dts).0, 1_920, "{name}: AAC frames without a gap");
        }
        assert!(camera.status().words.contains("passed through"), "{}", camera.status().words);
    }
}

#[test]
fn times_are_the_monotonic_clocks_and_nothing_comes_early_or_late() {
    let made = h264_aac("clip.mp4");
    let (_camera, inlet) = play(&stream(&made.path));
    let mut seen = 0;
    while seen < 100 {
        if let Captured::Packet(packet) = next(&inlet) {
            let late = (clock::monotonic_ticks() - packet.dts).millis();
            assert!((-1..1_000).contains(&late), "{late} ms late");
            seen += 1;
        }
    }
}

#[test]
fn vp9_and_opus_are_decoded_and_go_on_over_the_seam() {
    let made = make(
        "clip.mkv",
        &format!(
            "-f lavfi -i {PICTURE} -f lavfi -i {SOUND} -map 0:v -map 1:a -c:v libvpx-vp9 -deadline realtime \
             -cpu-used 8 -c:a libopus -ac 2 -t 1.1"
        ),
    );
    let (_camera, inlet) = play(&stream(&made.path));
    let heard = Heard::for_seconds(3.0, &inlet);
    assert_eq!(heard.begins, [(TrackForm::Raw, TrackForm::Raw)]);
    let size = PictureSize { width: 320, height: 240 };
    assert!(heard.frames.iter().all(|frame| (frame.size, frame.format) == (size, PixelFormat::I420)));
    assert!(heard.frames[0].planes.len() == 3 && heard.frames[0].planes[0].data.len() >= 320 * 240);
    for pair in heard.frames.windows(2) {
        let step = (pair[1].at - pair[0].at).millis();
        assert!((30..=70).contains(&step), "{step} ms from picture to picture");
    }
    assert!(heard.sounds.iter().all(|sound| (sound.sample_rate, sound.channels) == (48_000, 2)));
    assert_sound_is_whole(&heard.sounds);
    let loud =
        heard.sounds.iter().filter(|sound| sound.samples.iter().any(|level| level.abs() > 0.05)).count();
    assert!(loud * 10 > heard.sounds.len() * 9, "{loud} of {} pieces are heard", heard.sounds.len());
}

#[test]
fn a_wish_for_another_size_or_a_named_encoder_means_decoding() {
    let made = h264_aac("clip.mp4");
    let plain = stream(&made.path);
    let size = Some(PictureSize { width: 160, height: 120 });
    let named = EncoderChoice::Named("libx264".to_owned());
    for (wish, form) in [
        (Stream { size, ..plain.clone() }, TrackForm::Raw),
        (Stream { bitrate: Some(BitrateBps(500_000)), ..plain.clone() }, TrackForm::Raw),
        (Stream { encoder: named, ..plain.clone() }, TrackForm::Raw),
        (Stream { size, encoder: EncoderChoice::Copy, ..plain.clone() }, TrackForm::Coded),
    ] {
        let player = Player::open(&wish, &made.path, true).expect("opens");
        assert_eq!((player.picture_form(), player.sound_form()), (form, form), "{wish:?}");
    }
}

#[test]
fn h265_goes_on_untouched_where_it_is_asked_for_and_is_decoded_otherwise() {
    let made = make(
        "clip.mp4",
        &format!(
            "-f lavfi -i {PICTURE} -c:v libx265 -x265-params log-level=none:keyint=15 -tag:v hvc1 -t 1.1"
        ),
    );
    let (camera, inlet) = play(&Stream { encoder: EncoderChoice::Copy, ..stream(&made.path) });
    let heard = Heard::for_seconds(2.5, &inlet);
    assert_eq!(heard.begins, [(TrackForm::Coded, TrackForm::Absent)]);
    assert!(camera.status().words.contains("hevc passed through"), "{}", camera.status().words);
    let pictures = heard.track(Track::Video);
    assert!(pictures.len() > 60 && pictures[0].keyframe, "{}", pictures.len());
    let keyframe = |packet: &Packet| is_keyframe(VideoCodec::H265, &packet.payload);
    assert!(pictures.iter().all(|packet| keyframe(packet) == packet.keyframe));
    assert!(pictures.iter().any(|packet| packet.pts > packet.dts), "its B-frames keep their places");
    assert!(pictures.windows(2).all(|pair| (pair[1].dts - pair[0].dts).millis() < 40));

    for wish in [stream(&made.path), Stream { bitrate: Some(BitrateBps(500_000)), ..stream(&made.path) }] {
        let player = Player::open(&wish, &made.path, true).expect("opens");
        assert_eq!(player.picture_form(), TrackForm::Raw);
    }
}

#[test]
fn sound_comes_from_the_clip_from_the_house_or_not_at_all() {
    let made = h264_aac("clip.mp4");
    for (audio, form) in [(AudioSource::Tone, TrackForm::Raw), (AudioSource::None, TrackForm::Absent)] {
        let (_camera, inlet) = play(&Stream { audio, ..stream(&made.path) });
        let heard = Heard::for_seconds(1.5, &inlet);
        assert_eq!(heard.begins, [(TrackForm::Coded, form)]);
        assert_eq!(heard.track(Track::Audio).len(), 0);
        assert_eq!(heard.sounds.is_empty(), form == TrackForm::Absent);
        assert_sound_is_whole(&heard.sounds);
    }
    let mute = make("mute.mp4", &format!("-f lavfi -i {PICTURE} -c:v libx264 -pix_fmt yuv420p -t 0.5"));
    let (camera, inlet) = play(&stream(&mute.path));
    assert_eq!(Heard::for_seconds(1.0, &inlet).begins, [(TrackForm::Coded, TrackForm::Absent)]);
    assert!(camera.status().words.ends_with("no sound"), "{}", camera.status().words);
}

#[test]
fn sound_much_shorter_or_longer_than_the_picture_is_filled_or_cut() {
    for (sound_seconds, codec) in [("0.4", "aac"), ("3.5", "aac"), ("0.4", "libopus"), ("3.5", "libopus")] {
        let made = make(
            "clip.mkv",
            &format!(
                "-f lavfi -t 1.0 -i {PICTURE} -f lavfi -t {sound_seconds} -i {SOUND} -map 0:v -map 1:a \
                 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a {codec} -ac 1"
            ),
        );
        let (_camera, inlet) = play(&stream(&made.path));
        let heard = Heard::for_seconds(2.6, &inlet);
        assert_sound_is_whole(&heard.sounds);
        let sounds = heard.track(Track::Audio);
        for pair in sounds.windows(2) {
            assert_eq!((pair[1].dts - pair[0].dts).0, 1_920, "{sound_seconds} s of {codec}");
        }
        assert!(sounds.len() > 100 || heard.sounds.len() > 100, "{sound_seconds} s of {codec}");
        let pictures = heard.track(Track::Video);
        assert!(pictures.windows(2).all(|pair| (pair[1].dts - pair[0].dts).millis() < 40));
    }
}

#[test]
fn what_cannot_be_played_is_told_in_words() {
    let good = h264_aac("good.mp4");
    let folder = good.folder.path();
    let at = |name: &str| folder.join(name);
    std::fs::write(at("empty.mp4"), b"").expect("writes");
    std::fs::write(at("noise.mp4"), vec![0x5A; 100_000]).expect("writes");
    let whole = std::fs::read(&good.path).expect("reads");
    std::fs::write(at("cut.mp4"), &whole[..whole.len() / 2]).expect("writes");
    let song = make("song.mp3", &format!("-f lavfi -i {SOUND} -t 0.5"));
    for (path, words) in [
        (at("absent.mp4"), "there is no file"),
        (at("empty.mp4"), "is empty"),
        (at("noise.mp4"), "is no clip that can be read"),
        (at("cut.mp4"), "cut short or damaged"),
        (folder.to_owned(), "is a folder"),
        (song.path.clone(), "has sound only"),
    ] {
        let Err(told) = Player::open(&stream(&path), &path, true) else { panic!("{} plays", path.display()) };
        assert!(told.contains(words), "{told}");
        assert!(told.contains(&*path.to_string_lossy()), "{told}");
    }
    let vp9 = make("clip.webm", &format!("-f lavfi -i {PICTURE} -c:v libvpx-vp9 -deadline realtime -t 0.2"));
    let copied = Stream { encoder: EncoderChoice::Copy, ..stream(&vp9.path) };
    let told = Player::open(&copied, &vp9.path, true).err().expect("VP9 cannot be copied");
    assert!(told.contains("needs H.264 or H.265") && told.contains("vp9"), "{told}");
}

#[test]
fn a_clip_cut_off_in_the_middle_plays_as_far_as_it_goes_for_ever() {
    let made = h264_aac("clip.mkv");
    let whole = std::fs::read(&made.path).expect("reads");
    std::fs::write(&made.path, &whole[..whole.len() * 2 / 3]).expect("writes");
    for encoder in [EncoderChoice::Auto, EncoderChoice::Named("libx264".to_owned())] {
        let (camera, inlet) = play(&Stream { encoder, ..stream(&made.path) });
        let heard = Heard::for_seconds(2.5, &inlet);
        assert_eq!(heard.begins.len(), 1);
        let times: Vec<Ticks> = match heard.frames.as_slice() {
            [] => heard.track(Track::Video).iter().map(|packet| packet.dts).collect(),
            frames => frames.iter().map(|frame| frame.at).collect(),
        };
        assert!(times.len() > 60 && times.windows(2).all(|pair| pair[1] > pair[0]));
        assert_eq!(camera.status().restarts, 0);
    }
}

#[test]
fn a_clip_with_rubbish_in_it_neither_panics_nor_stops_the_stream() {
    let made = h264_aac("clip.ts");
    let mut bytes = std::fs::read(&made.path).expect("reads");
    let (from, to) = (bytes.len() / 3, bytes.len() / 2);
    for (number, byte) in bytes[from..to].iter_mut().enumerate() {
        *byte = (number * 7_919 % 251) as u8;
    }
    std::fs::write(&made.path, &bytes).expect("writes");
    for encoder in [EncoderChoice::Auto, EncoderChoice::Named("libx264".to_owned())] {
        let (_camera, inlet) = play(&Stream { encoder, ..stream(&made.path) });
        let heard = Heard::for_seconds(2.5, &inlet);
        assert!(heard.packets.len() + heard.frames.len() > 30);
        assert_sound_is_whole(&heard.sounds);
    }
}

#[test]
fn a_clip_that_appears_late_or_is_replaced_is_taken_up_by_itself() {
    let made = h264_aac("good.mp4");
    let path = made.folder.path().join("show.mp4");
    let (camera, inlet) = play(&stream(&path));
    let deadline = clock::now() + SOON;
    while camera.status().state != CameraState::Waiting {
        assert!(clock::now() < deadline);
        std::thread::yield_now();
    }
    assert!(camera.status().words.contains("there is no file"), "{}", camera.status().words);
    std::fs::copy(&made.path, made.folder.path().join("part")).expect("copies");
    std::fs::rename(made.folder.path().join("part"), &path).expect("renames");
    assert!(matches!(next(&inlet), Captured::Begin { video: TrackForm::Coded, audio: TrackForm::Coded }));
    let other = make("other.mp4", &format!("-f lavfi -i {PICTURE} -c:v libx264 -pix_fmt yuv420p -t 0.5"));
    std::fs::copy(&other.path, made.folder.path().join("part")).expect("copies");
    std::fs::rename(made.folder.path().join("part"), &path).expect("renames");
    loop {
        if let Captured::Begin { audio, .. } = next(&inlet) {
            assert_eq!(audio, TrackForm::Absent, "the other clip has no sound");
            return;
        }
    }
}

#[test]
fn unusual_pictures_become_ones_the_house_has_a_name_for() {
    for (format, codec, size) in [
        ("yuvj420p", "mjpeg", "322x242"),
        ("yuv422p", "libx264", "322x242"),
        ("yuv444p10le", "libx264", "322x242"),
        ("bgr24", "rawvideo", "321x241"),
    ] {
        let made = make(
            "clip.avi",
            &format!("-f lavfi -i testsrc2=size={size}:rate=10 -c:v {codec} -pix_fmt {format} -t 0.5"),
        );
        let named = EncoderChoice::Named("libx264".to_owned());
        let (_camera, inlet) = play(&Stream { encoder: named, ..stream(&made.path) });
        let heard = Heard::for_seconds(0.7, &inlet);
        let frame = &heard.frames[0];
        assert_eq!(frame.format, PixelFormat::I420, "{format}");
        assert!(frame.size.width.is_multiple_of(2) && frame.size.height.is_multiple_of(2), "{format}");
        let luma = &frame.planes[0];
        assert!(
            luma.data.len() >= luma.stride * (frame.size.height as usize - 1) + frame.size.width as usize
        );
    }
}

#[test]
fn the_frames_of_silence_decode_to_silence() {
    for channels in ["1", "2"] {
        let made = make(
            "clip.mp4",
            &format!("-f lavfi -i {SOUND} -f lavfi -i {PICTURE} -c:a aac -ac {channels} -t 0.3"),
        );
        let mut clip = Clip::open(&made.path, true).expect("opens");
        let track = clip.sound.take().expect("has sound");
        let (mut pass, mut decoder) = (
            pass::Sounds::new(&track.header),
            decode::Sounds::open(&track.parameters, track.time_base()).expect("decodes"),
        );
        let mut heard = Vec::new();
        for _ in 0..4 {
            let (_, frame) = pass.silence().expect("a frame for one or two channels");
            decoder.decode(Some(&ffmpeg_next::Packet::copy(&frame)), |piece| heard.push(piece));
        }
        assert!(heard.len() >= 3, "{channels} channels: {} frames decoded", heard.len());
        assert!(heard.iter().all(|piece| piece.samples.iter().all(|level| level.abs() < 1e-4)));
        assert!(heard.iter().all(|piece| piece.channels.to_string() == channels));
    }
}
