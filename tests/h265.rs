//! H.265 from a clip to viewers and clouds, untouched: the built binary, and an ffmpeg that knows Enhanced RTMP.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::media::ffmpeg_9;
use support::mock_rtmp::{Gate, MockRtmp};
use support::{Footlight, Viewer, output_within, require};

const DEADLINE: Duration = Duration::from_secs(60);

/// Pictures of the clip: two seconds, in which none is like another.
const PICTURES: usize = 60;

/// A clip in H.265 with B-frames, and AAC.
fn clip(folder: &Path) -> PathBuf {
    let path = folder.join("clip.mp4");
    let mut command = Command::new(require("ffmpeg", "apt-get install ffmpeg"));
    command.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30"]);
    command.args([
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-t",
        "2",
        "-pix_fmt",
        "yuv420p",
    ]);
    command.args([
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none:keyint=30:bframes=2",
    ]);
    command.args(["-tag:v", "hvc1", "-c:a", "aac", "-ac", "2"]).arg(&path);
    assert!(output_within(DEADLINE, &mut command).status.success());
    path
}

fn config(clip: &Path, output: &str) -> String {
    format!("[[stream]]\nname = \"main\"\nvideo = \"file:{}\"\nencoder = \"copy\"\n{output}", clip.display())
}

fn output(url: &str) -> String {
    format!("\n[[output]]\nname = \"cloud\"\nstream = \"main\"\nprimary = \"{url}\"\n")
}

/// What the newer ffmpeg decodes: the MD5 of each picture, and what it had to complain about.
fn decoded(input: &[&str], seconds: u32) -> (Vec<String>, String) {
    let mut command = Command::new(ffmpeg_9());
    command.args(["-hide_banner", "-v", "warning"]).args(input);
    command.args([
        "-t",
        &seconds.to_string(),
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ]);
    let output = output_within(DEADLINE, &mut command);
    let text = String::from_utf8(output.stdout).unwrap();
    let pictures = text.lines().filter(|line| !line.starts_with('#'));
    let hashes = pictures.filter_map(|line| line.rsplit(',').next()).map(|hash| hash.trim().to_owned());
    (hashes.collect(), output.stderr)
}

/// What arrived is the clip, over and over, from one of its keyframes on.
#[track_caller]
fn assert_is_clip(arrived: &[String], clip: &[String]) {
    assert_eq!(clip.len(), PICTURES);
    assert!(arrived.len() > PICTURES, "{} pictures", arrived.len());
    let first = clip.iter().position(|picture| *picture == arrived[0]).expect("a picture of the clip");
    assert_eq!(first % 30, 0, "it begins with a keyframe");
    let want = clip.iter().cycle().skip(first);
    let differs = arrived.iter().zip(want).position(|(arrived, want)| arrived != want);
    assert_eq!(differs, None, "the first picture that is not the clip's, of {}", arrived.len());
}

#[test]
fn a_cloud_that_knows_enhanced_rtmp_decodes_the_very_pictures_of_the_clip() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("rtmp://127.0.0.1:{port}/live/key");
    let footlight = Footlight::start(&config(&clip, &output(&url)));
    let (arrived, complaints) = decoded(&["-listen", "1", "-i", &url], 4);
    assert_eq!(complaints, "");
    assert_is_clip(&arrived, &decoded(&["-i", clip.to_str().unwrap()], 9).0);
    let logs = footlight.logs();
    assert_eq!(logs.matches("does not say that it takes H.265").count(), 1, "{logs}");
}

#[test]
fn a_viewer_gets_the_very_pictures_of_the_clip_and_is_told_their_codec() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let footlight = Footlight::start(&config(&clip, ""));
    let mut viewer = Viewer::open(footlight.http(), "/live/main.flv");
    let metadata = viewer.tag_where("metadata", support::Tag::is_script);
    // The FourCC as a number (Enhanced RTMP, "Enhanced onMetaData").
    let number = f64::from(u32::from_be_bytes(*b"hvc1")).to_be_bytes();
    let named = [&b"\0\x0Cvideocodecid\0"[..], &number].concat();
    assert!(metadata.body.windows(named.len()).any(|window| window == named), "{metadata:?}");
    let header = viewer.tag_where("a header", support::Tag::is_video);
    assert_eq!(&header.body[..6], b"\x90hvc1\x01", "SequenceStart and an hvcC of version 1");
    let picture = viewer.tag_where("a picture", support::Tag::is_video);
    assert!(matches!(picture.body[0], 0x91 | 0x93), "a keyframe comes first: {:02x}", picture.body[0]);

    let (arrived, complaints) = decoded(&["-i", &footlight.url("/live/main.flv")], 4);
    assert_eq!(complaints, "");
    assert_is_clip(&arrived, &decoded(&["-i", clip.to_str().unwrap()], 9).0);
}

#[test]
fn auto_makes_h264_of_it_which_everybody_can_take() {
    let folder = tempfile::tempdir().unwrap();
    let mock = MockRtmp::start(Gate::Open);
    let config = config(&clip(folder.path()), &output(&mock.url("", "key"))).replace("\"copy\"", "\"auto\"");
    let footlight = Footlight::start(&config);
    mock.wait_for_pictures(DEADLINE, 30);
    let logs = footlight.logs();
    assert!(logs.contains("hevc decoded") && !logs.contains("does not say that it takes"), "{logs}");
    assert_eq!(support::ffprobe(mock.recording(0).to_str().unwrap(), 10).track("video").codec, "h264");
}
