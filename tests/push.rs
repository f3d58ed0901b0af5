//! The box pushes to a cloud: the built binary, its configuration, and a real RTMP server.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::time::Duration;

use support::nginx_rtmp::NginxRtmp;
use support::{Footlight, assert_decodes, assert_monotonic, ffprobe, wait_until};

const DEADLINE: Duration = Duration::from_secs(40);

fn config(url: &str) -> String {
    format!(
        "[[stream]]\nname = \"main\"\nsize = \"640x360\"\nbitrate = \"800kbit/s\"\n\n\
         [[output]]\nname = \"cloud\"\nstream = \"main\"\nprimary = \"{url}\"\n"
    )
}

#[test]
fn what_the_cloud_receives_decodes_and_the_box_says_good_bye() {
    let nginx = NginxRtmp::start();
    let mut footlight = Footlight::start(&config(&nginx.url("s3cr3tk3y")));
    let recording = nginx.wait_for_recording(DEADLINE, 0, 600_000);
    let labels = "output=\"cloud\",stream=\"main\"";
    assert_eq!(footlight.metric("footlight_output_live", labels), Some(1.0));
    assert!(footlight.metric("footlight_output_acknowledged_bytes_total", labels).unwrap() > 100_000.0);

    assert!(footlight.terminate(Duration::from_secs(3)).success());
    wait_until(DEADLINE, "nginx hears the good-bye", || nginx.log().contains("deleteStream"));
    assert!(!footlight.logs().contains("s3cr3tk3y"), "the key stands in the log:\n{}", footlight.logs());

    let path = recording.to_str().unwrap();
    let probe = ffprobe(path, 60);
    let picture = probe.track("video");
    assert_eq!((picture.codec.as_str(), picture.width, picture.height), ("h264", 640, 360));
    assert_eq!(probe.track("audio").codec, "aac");
    assert_monotonic(&probe);
    assert!(probe.packets_of("video")[0].keyframe, "the recording begins with a keyframe");
    let decoded = assert_decodes(path, 60);
    assert!(decoded.pictures.len() > 100 && !decoded.sounds.is_empty());
}

#[test]
fn the_push_resumes_when_the_cloud_comes_back() {
    let mut nginx = NginxRtmp::start();
    let footlight = Footlight::start(&config(&nginx.url("s3cr3tk3y")));
    nginx.wait_for_recording(DEADLINE, 0, 100_000);
    nginx.kill();
    footlight.wait_for_log(DEADLINE, "cannot be reached");
    nginx.start_again();
    let recording = nginx.wait_for_recording(DEADLINE, 1, 300_000);
    drop(footlight);
    assert_decodes(recording.to_str().unwrap(), 60);
}

#[test]
fn a_wrong_application_is_told_once_in_clear_words() {
    let nginx = NginxRtmp::start();
    let url = nginx.url("s3cr3tk3y").replace("/live/", "/life/");
    let footlight = Footlight::start(&config(&url));
    let said = footlight.wait_for_log(DEADLINE, "application");
    assert!(
        said.contains(&format!("rtmp://127.0.0.1:{}", nginx.port())) && said.contains("primary"),
        "{said}"
    );
    wait_until(DEADLINE, "it has tried three times", || {
        nginx.log().matches("application not found").count() > 2
    });
    let logs = footlight.logs();
    assert_eq!(logs.matches("check the path before the key").count(), 1, "{logs}");
    assert!(!logs.contains("s3cr3tk3y"), "{logs}");
}

#[test]
fn a_cloud_that_hangs_is_left_and_taken_up_again() {
    let nginx = NginxRtmp::start();
    let footlight = Footlight::start(&config(&nginx.url("s3cr3tk3y")).replace("800k", "3000k"));
    nginx.wait_for_recording(DEADLINE, 0, 100_000);
    nginx.freeze();
    footlight.wait_for_log(DEADLINE, "dialled afresh");
    nginx.thaw();
    nginx.wait_for_recording(DEADLINE, 1, 300_000);
}

#[test]
fn a_new_destination_is_taken_up_by_a_reload_and_the_old_one_hears_a_good_bye() {
    let (old, new) = (NginxRtmp::start(), NginxRtmp::start());
    let footlight = Footlight::start(&config(&old.url("s3cr3tk3y")));
    old.wait_for_recording(DEADLINE, 0, 100_000);
    footlight.rewrite(&config(&new.url("s3cr3tk3y")));
    footlight.signal(nix::sys::signal::Signal::SIGHUP);
    let recording = new.wait_for_recording(DEADLINE, 0, 300_000);
    assert!(old.log().matches("deleteStream").count() > 1, "{}", old.log());
    assert_eq!(old.recordings().len(), 1);
    drop(footlight);
    assert_decodes(recording.to_str().unwrap(), 60);
}
