//! Real clips through the whole box: what went in with people in it comes out with people in it, at its own pace.
mod support;

use std::path::Path;

use support::{Footlight, assert_decodes, assert_monotonic, ffprobe, media};

/// A box that loops `clip`, with more keys for its stream.
#[track_caller]
fn box_with(clip: &Path, keys: &str) -> Footlight {
    let clip = clip.display();
    let footlight =
        Footlight::start(&format!("[[stream]]\nname = \"main\"\nvideo = \"file:{clip}\"\n{keys}"));
    footlight.wait_for_picture("main");
    footlight
}

#[test]
fn a_clip_that_is_h264_and_aac_passes_through_untouched_and_loops_without_a_seam() {
    let clip = media::clip("talk.mp4");
    let footlight = box_with(&clip, "");
    let url = footlight.url("/live/main.flv");
    // Longer than the clip: the seam is inside.
    let probe = ffprobe(&url, 14);
    let (video, audio) = (probe.track("video"), probe.track("audio"));
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 640, 272));
    assert_eq!((audio.codec.as_str(), audio.sample_rate, audio.channels), ("aac", 44_100, 2));
    assert_monotonic(&probe);
    let times: Vec<f64> = probe.packets_of("video").iter().map(|packet| packet.dts).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 0.06, "the clip has 25 pictures a second, and the seam tore a hole of {longest} s");
    let decoded = assert_decodes(&url, 5);
    assert!(decoded.pictures.len() >= 100, "{} pictures in 5 s", decoded.pictures.len());
    // Untouched: every picture that came out is one of those that went in.
    let source: std::collections::BTreeSet<String> =
        assert_decodes(clip.to_str().expect("the path is UTF-8"), 10)
            .pictures
            .into_iter()
            .map(|raw| raw.md5)
            .collect();
    let foreign = decoded.pictures.iter().filter(|picture| !source.contains(&picture.md5)).count();
    assert_eq!(foreign, 0, "of {} pictures", decoded.pictures.len());
}

#[test]
fn a_clip_is_encoded_anew_where_the_configuration_asks_for_another_size() {
    let footlight =
        box_with(&media::clip("talk.mp4"), "size = \"320x240\"\nfps = 25\nbitrate = \"500kbit/s\"\n");
    let url = footlight.url("/live/main.flv");
    let probe = ffprobe(&url, 6);
    let (video, audio) = (probe.track("video"), probe.track("audio"));
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 320, 240));
    assert_eq!(audio.codec, "aac");
    assert_monotonic(&probe);
    assert!(
        probe.packets_of("video").iter().all(|packet| (packet.pts - packet.dts).abs() < 1e-6),
        "B-frames add delay"
    );
    assert_decodes(&url, 5);
}

#[test]
fn a_clip_without_sound_is_announced_without_sound() {
    let footlight = box_with(&media::clip("bikes.mp4"), "");
    let probe = ffprobe(&footlight.url("/live/main.flv"), 4);
    assert_eq!(probe.tracks.iter().map(|track| track.kind.as_str()).collect::<Vec<_>>(), ["video"]);
}
