//! The tests' own eyes, held against files whose content is known: a blind judge would pass everything.
mod support;

use support::{assert_decodes, assert_monotonic, ffprobe, films, media};

#[test]
fn the_judges_see_every_picture_of_a_real_clip() {
    let clip = media::clip("talk.mp4");
    let url = clip.to_str().expect("the path is UTF-8");
    let probe = ffprobe(url, 3);
    let (video, audio) = (probe.track("video"), probe.track("audio"));
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 640, 272));
    assert_eq!((audio.codec.as_str(), audio.sample_rate, audio.channels), ("aac", 44_100, 2));
    assert_monotonic(&probe);
    let decoded = assert_decodes(url, 2);
    assert_eq!((decoded.size, decoded.pictures.len()), ((640, 272), 50));
    assert!(!decoded.sounds.is_empty());
}

#[test]
#[should_panic(expected = "stands still")]
fn a_picture_that_stands_still_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let still = folder.path().join("still.avi");
    let source = "color=c=red:size=64x64:rate=10:duration=1";
    let ffmpeg = support::require("ffmpeg", "apt-get install ffmpeg");
    let mut make = std::process::Command::new(ffmpeg);
    make.args(["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "rawvideo"]).arg(&still);
    support::output_within(std::time::Duration::from_secs(20), &mut make);
    assert_decodes(still.to_str().expect("the path is UTF-8"), 1);
}

#[test]
fn the_films_for_cameras_show_their_bars_and_move() {
    let folder = tempfile::tempdir().expect("a folder");
    for (fourcc, reader) in [("MJPG", "mjpeg"), ("H264", "h264")] {
        let mut frames = &films::film(fourcc)[..];
        let file = folder.path().join(fourcc);
        let mut bare = Vec::new();
        while let Some((length, rest)) = frames.split_first_chunk::<4>() {
            let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            bare.extend_from_slice(frame);
            frames = rest;
        }
        std::fs::write(&file, bare).expect("a file");
        let url = file.to_str().expect("the path is UTF-8");
        assert_eq!(support::probe::decode_with(url, 5, &["-f", reader]).pictures.len(), 30, "{fourcc}");
        films::assert_bars(url);
    }
}
