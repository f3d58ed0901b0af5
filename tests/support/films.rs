//! Films for cameras that show what they are fed: colour bars over a moving box, in the formats of real cameras.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::probe;
use super::tool::{output_within, require};

/// The pictures of every film.
pub const WIDTH: u32 = 320;
pub const HEIGHT: u32 = 180;
pub const FPS: u32 = 15;
const PICTURES: u32 = 30;

/// The seven bars from left to right, 75 %: grey, yellow, cyan, green, magenta, red, blue. Red, green, blue.
pub const BARS: [[u8; 3]; 7] =
    [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]];

/// Cuts what ffmpeg wrote into frames.
type Cut = fn(&[u8]) -> Vec<&[u8]>;

/// A film in the form that `feed` reads: each frame after its length.
///
/// `fourcc` is V4L2's name of the format.
#[track_caller]
pub fn film(fourcc: &str) -> Vec<u8> {
    let raw = |pixels| vec!["-c:v", "rawvideo", "-f", "rawvideo", "-pix_fmt", pixels];
    let (options, cut): (_, Cut) = match fourcc {
        "YUYV" => (raw("yuyv422"), |film| film.chunks((WIDTH * HEIGHT * 2) as usize).collect()),
        "UYVY" => (raw("uyvy422"), |film| film.chunks((WIDTH * HEIGHT * 2) as usize).collect()),
        "NV12" => (raw("nv12"), |film| film.chunks((WIDTH * HEIGHT * 3 / 2) as usize).collect()),
        "YU12" => (raw("yuv420p"), |film| film.chunks((WIDTH * HEIGHT * 3 / 2) as usize).collect()),
        "BGR3" => (raw("bgr24"), |film| film.chunks((WIDTH * HEIGHT * 3) as usize).collect()),
        // As USB cameras code: 4:2:2, full range.
        "MJPG" => (vec!["-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj422p", "-f", "mjpeg"], |film| {
            cut_before(film, &[0xff, 0xd8, 0xff])
        }),
        // As USB cameras code: no B-frames, parameter sets before each keyframe.
        "H264" => {
            let options = "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 15 \
                           -x264-params aud=1:repeat-headers=1 -f h264";
            (options.split_whitespace().collect(), |film| cut_before(film, &[0, 0, 0, 1, 9]))
        }
        other => panic!("no film in {other}"),
    };
    let ffmpeg = require("ffmpeg", "apt-get install ffmpeg");
    let bars = format!("smptebars=size={WIDTH}x{HEIGHT}:rate={FPS}[bars]");
    let moving =
        format!("color=white:size=24x24:rate={FPS}[box];[bars][box]overlay=x='mod(t*140,280)':y=150");
    let output = output_within(
        Duration::from_secs(30),
        Command::new(ffmpeg)
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &format!("{bars};{moving}")])
            .args(["-frames:v", &PICTURES.to_string()])
            .args(options)
            .arg("-"),
    );
    assert_eq!(output.stderr.trim(), "", "making a film in {fourcc}");
    let frames = cut(&output.stdout);
    assert_eq!(frames.len(), PICTURES as usize, "frames of the film in {fourcc}");
    let with_length = |frame: &&[u8]| [&(frame.len() as u32).to_be_bytes(), *frame].concat();
    frames.iter().flat_map(with_length).collect()
}

/// A clip that fills any bitrate: bars that move under noise, 640x360 at 25 pictures a second, ten seconds with sound.
/// Made once for each build.
#[track_caller]
pub fn busy_clip() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join("busy-1.mp4");
    if path.is_file() {
        return path;
    }
    // Tests that start at once may all make it; the last to be ready wins, and all are the same.
    let scratch = tempfile::tempdir_in(&folder).unwrap();
    let new = scratch.path().join("busy.mp4");
    let mut make = Command::new(require("ffmpeg", "apt-get install ffmpeg"));
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25,noise=alls=12:allf=t"]);
    make.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "10", "-c:v", "libx264"]);
    make.args(["-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac"]).arg(&new);
    let made = output_within(Duration::from_secs(120), &mut make);
    assert!(made.status.success(), "{}", made.stderr);
    std::fs::rename(new, &path).unwrap();
    path
}

/// Mean colours of seven patches in the middle of the bars, from the first picture of a URL or file.
#[track_caller]
pub fn bar_colours(url: &str) -> [[u8; 3]; 7] {
    let ffmpeg = require("ffmpeg", "apt-get install ffmpeg");
    let output = output_within(
        Duration::from_secs(60),
        Command::new(ffmpeg).args(["-nostdin", "-v", "error", "-i", url, "-frames:v", "1"]).args([
            "-vf",
            "crop=iw:ih/3:0:ih/4,scale=21:1:flags=area,format=rgb24",
            "-f",
            "rawvideo",
            "-",
        ]),
    );
    assert_eq!(output.stdout.len(), 63, "a picture of {url}: {}", output.stderr);
    // Of three patches in each bar the middle one is clear of its neighbours.
    std::array::from_fn(|bar| std::array::from_fn(|channel| output.stdout[(bar * 3 + 1) * 3 + channel]))
}

/// Holds that the bars have the colours they were made of: no swapped planes, no wrong range or matrix.
#[track_caller]
pub fn assert_bars(url: &str) {
    let seen = bar_colours(url);
    for (seen_bar, bar) in seen.iter().zip(BARS) {
        for (value, want) in seen_bar.iter().zip(bar) {
            assert!(value.abs_diff(want) <= 24, "bars of {url}:\n{seen:?} are not\n{BARS:?}");
        }
    }
}

fn cut_before<'a>(film: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let marks = film.windows(mark.len()).enumerate().filter(|(_, bytes)| *bytes == mark);
    let starts: Vec<usize> = marks.map(|(at, _)| at).collect();
    let ends = starts.iter().copied().skip(1).chain([film.len()]);
    starts.iter().zip(ends).map(|(start, end)| &film[*start..end]).collect()
}
