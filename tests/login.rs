//! Logins of the cloud: the built binary against a mock, and the mock against ffmpeg.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::process::Command;
use std::time::Duration;

use support::mock_rtmp::{Gate, MockRtmp, PASSWORD, USER};
use support::{output_within, require};

const DEADLINE: Duration = Duration::from_secs(40);

/// ffmpeg pushes half a second; whether it was let in.
fn ffmpeg_pushes(url: &str) -> bool {
    let mut command = Command::new(require("ffmpeg", "apt-get install ffmpeg"));
    command.args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=1"]);
    command.args(["-c:v", "flv1", "-f", "flv", url]);
    output_within(DEADLINE, &mut command).status.success()
}

#[test]
fn the_mocks_gate_lets_ffmpeg_in_and_keeps_it_out_with_a_wrong_password() {
    for gate in [Gate::Adobe, Gate::AdobeWithoutOpaque, Gate::Limelight] {
        let mock = MockRtmp::start(gate);
        assert!(
            ffmpeg_pushes(&mock.url(&format!("{USER}:{PASSWORD}@"), "key")),
            "{gate:?}: {:?}",
            mock.apps()
        );
        assert_eq!(mock.apps().len(), 3, "{gate:?}");
        assert!(!ffmpeg_pushes(&mock.url(&format!("{USER}:wrong@"), "key")), "{gate:?}: {:?}", mock.apps());
    }
    let mock = MockRtmp::start(Gate::Open);
    assert!(ffmpeg_pushes(&mock.url("", "key")));
}
