//! How long a picture takes from the camera's buffer to an encoded packet: `cargo bench --bench encode`.
//!
//! A street scene (target/test-media/bikes.mp4 from `tests/media/fetch.sh`, enlarged, with a sensor's noise) is fed
//! in real time, in each pixel format that cameras have, beside sound. The goal of the design: no more than one
//! frame time, plus the encoding itself, and never over 150 ms. CPU time is this process's own.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(clippy::disallowed_methods, reason = "a benchmark keeps its own time")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use footlight::base::clock;
use footlight::base::queue;
use footlight::base::ticks::Ticks;
use footlight::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};
use footlight::config::schema::{AudioSource, EncoderChoice, Stream, VideoSource};
use footlight::encode::Encoders;
use footlight::media::frame::{Captured, Frame, PixelFormat, Plane, Sound, TrackForm};
use footlight::media::packet::{Media, Track};

const CLIP: &str = "target/test-media/bikes.mp4";
const FPS: u32 = 30;
const SECONDS: u32 = 10;
const PICTURES: usize = 60;

struct Case {
    size: PictureSize,
    format: PixelFormat,
    ffmpeg_format: &'static str,
}

fn main() -> ExitCode {
    if !Path::new(CLIP).exists() {
        eprintln!("{CLIP} is missing; run tests/media/fetch.sh");
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    let encoders = Encoders::probe();
    println!("probing all encoders took {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    for verdict in encoders.verdicts() {
        println!("  {:14} {}", verdict.name, verdict.result.map_or_else(|why| why, |()| "works".to_owned()));
    }
    let (sd, hd) = (PictureSize { width: 1280, height: 720 }, PictureSize { width: 1920, height: 1080 });
    println!(
        "{:>10} {:>6} | {:>25} | {:>25} | {:>9} {:>9} {:>8}",
        "picture", "format", "buffer -> packet p50 / max", "encoding p50 / max", "CPU/frame", "Mbit/s", "RSS"
    );
    for (size, format, ffmpeg_format) in [
        (sd, PixelFormat::I420, "yuv420p"),
        (hd, PixelFormat::I420, "yuv420p"),
        (hd, PixelFormat::Nv12, "nv12"),
        (hd, PixelFormat::Yuyv, "yuyv422"),
        (hd, PixelFormat::Mjpeg, "mjpeg"),
    ] {
        run(&encoders, &Case { size, format, ffmpeg_format });
    }
    ExitCode::SUCCESS
}

fn run(encoders: &Encoders, case: &Case) {
    let pictures = pictures(case);
    let (inlet, input) = queue::bounded();
    let came = Arc::new(AtomicU64::new(0));
    let counter = came.clone();
    let stream = Stream {
        name: "bench".to_owned(),
        video: VideoSource::File(CLIP.into()),
        audio: AudioSource::Tone,
        size: None,
        fps: Some(FrameRate::whole(FPS)),
        bitrate: None,
        audio_bitrate: BitrateBps(128_000),
        gop: Duration::from_secs(2),
        encoder: EncoderChoice::Auto,
        gop_cache: ByteSize(1 << 20),
    };
    let encoder = encoders
        .start(&stream, input, move |media| {
            if matches!(&media, Media::Packet(packet) if packet.track == Track::Video) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        })
        .expect("the encoder starts");
    inlet.push(Captured::Begin { video: TrackForm::Raw, audio: TrackForm::Raw });
    let (cpu, started) = (cpu_time(), Instant::now());
    let frames = FPS * SECONDS;
    for number in 0..frames {
        let due = started + Duration::from_secs_f64(f64::from(number) / f64::from(FPS));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let at: Ticks = clock::monotonic_ticks();
        let planes = pictures[number as usize % PICTURES].clone();
        inlet.push(Captured::Frame(Frame { at, format: case.format, size: case.size, planes }));
        let samples = (0..3_200).map(|index| (index as f32 * 0.06).sin() * 0.3).collect();
        inlet.push(Captured::Sound(Sound { at, sample_rate: 48_000, channels: 2, samples }));
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while came.load(Ordering::Relaxed) < u64::from(frames) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(150));
        // The figures are told with whatever comes next.
        inlet.push(Captured::Sound(Sound { at: Ticks(0), sample_rate: 0, channels: 0, samples: Vec::new() }));
    }
    let status = encoder.status();
    let cpu = cpu_time().saturating_sub(cpu).as_secs_f64() / f64::from(frames) * 1e3;
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    println!(
        "{:>10} {:>6} | {:>13.1} / {:>6.1} ms | {:>13.1} / {:>6.1} ms | {:>6.1} ms {:>9.2} {:>5} MB  {} of {frames}",
        case.size.to_string(),
        case.ffmpeg_format,
        ms(status.delay_p50),
        ms(status.delay_max),
        ms(status.encode_p50),
        ms(status.encode_max),
        cpu,
        status.bitrate.map_or(0.0, |BitrateBps(bits)| bits as f64 / 1e6),
        resident_megabytes(),
        came.load(Ordering::Relaxed),
    );
}

type Planes = heapless::Vec<Plane, 3>;

/// The clip's first pictures, made by the ffmpeg command.
fn pictures(case: &Case) -> Vec<Planes> {
    let PictureSize { width, height } = case.size;
    let filter = format!("crop=483:272,scale={width}:{height}:flags=bicubic,noise=alls=5:allf=t");
    let jpeg = case.format == PixelFormat::Mjpeg;
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i", CLIP, "-vf", &filter, "-frames:v", &PICTURES.to_string()]);
    if jpeg {
        command.args(["-pix_fmt", "yuvj422p", "-c:v", "mjpeg", "-q:v", "3", "-f", "image2pipe", "-"]);
    } else {
        command.args(["-pix_fmt", case.ffmpeg_format, "-f", "rawvideo", "-"]);
    }
    let made = command.output().expect("ffmpeg runs (apt-get install ffmpeg)");
    assert!(made.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&made.stderr));
    let bytes = Bytes::from(made.stdout);
    if jpeg {
        let starts: Vec<usize> = bytes
            .windows(3)
            .enumerate()
            .filter(|(_, head)| *head == [0xff, 0xd8, 0xff])
            .map(|(at, _)| at)
            .collect();
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        return starts
            .iter()
            .zip(ends)
            .map(|(start, end)| planes(&bytes.slice(*start..end), &[(0, end - start)]))
            .collect();
    }
    let (w, h) = (width as usize, height as usize);
    let shape: &[(usize, usize)] = match case.format {
        PixelFormat::I420 => &[(w, w * h), (w / 2, w * h / 4), (w / 2, w * h / 4)],
        PixelFormat::Nv12 => &[(w, w * h), (w, w * h / 2)],
        _ => &[(w * 2, w * h * 2)],
    };
    let size: usize = shape.iter().map(|(_, bytes)| bytes).sum();
    (0..PICTURES).map(|number| planes(&bytes.slice(number * size..(number + 1) * size), shape)).collect()
}

fn planes(picture: &Bytes, shape: &[(usize, usize)]) -> Planes {
    let mut at = 0;
    shape
        .iter()
        .map(|(stride, bytes)| {
            let data = picture.slice(at..at + bytes);
            at += bytes;
            Plane { data, stride: *stride }
        })
        .collect()
}

fn cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_or(Duration::ZERO, Duration::from)
}

fn resident_megabytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
        / 1_000_000
}
