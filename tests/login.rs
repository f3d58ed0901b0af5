//! Logins of the cloud: the built binary against a mock, and the mock against ffmpeg.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::process::Command;
use std::time::Duration;

use support::mock_rtmp::{Gate, MockRtmp, PASSWORD, USER};
use support::{Footlight, output_within, require};

const DEADLINE: Duration = Duration::from_secs(40);

/// ffmpeg pushes half a second; whether it was let in.
fn ffmpeg_pushes(url: &str) -> bool {
    let mut command = Command::new(require("ffmpeg", "apt-get install ffmpeg"));
    command.args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=1"]);
    command.args(["-c:v", "flv1", "-f", "flv", url]);
    output_within(DEADLINE, &mut command).status.success()
}

fn config(url: &str) -> String {
    format!(
        "[[stream]]\nname = \"main\"\nsize = \"320x180\"\nbitrate = \"400kbit/s\"\n\n\
         [[output]]\nname = \"cloud\"\nstream = \"main\"\nprimary = \"{url}\"\n"
    )
}

#[test]
fn a_cloud_that_asks_for_a_login_gets_it_at_once_and_takes_the_stream() {
    for gate in [Gate::Adobe, Gate::AdobeWithoutOpaque, Gate::Limelight] {
        let mock = MockRtmp::start(gate);
        let footlight = Footlight::start(&config(&mock.url(&format!("{USER}:{PASSWORD}@"), "s3cr3tk3y")));
        mock.wait_for_pictures(DEADLINE, 30);
        let apps = mock.apps();
        assert_eq!(apps.len(), 3, "{apps:?}");
        assert!(apps[0] == "live" && apps[2].contains("&response="), "{apps:?}");
        let logs = footlight.logs();
        assert!(!logs.contains(PASSWORD) && !logs.contains("s3cr3tk3y") && !logs.contains(USER), "{logs}");
        assert!(!logs.contains("WARN output") && !logs.contains("ERROR"), "no failure is told of: {logs}");
    }
}

#[test]
fn a_login_that_does_not_work_is_told_of_in_words() {
    for (gate, login, words) in [
        (
            Gate::Adobe,
            format!("{USER}:wr0ng@"),
            "does not take the login; check user and password in `primary`",
        ),
        (Gate::Limelight, format!("{USER}:wr0ng@"), "does not take the login; check user and password"),
        (
            Gate::Adobe,
            format!("nobody:{PASSWORD}@"),
            "does not know the user; check the name before the colon",
        ),
        (Gate::Adobe, String::new(), "wants a login; write user:password@ before the host in `primary`"),
        (Gate::Unheard, format!("{USER}:{PASSWORD}@"), "wants a login by the method \"quux\""),
    ] {
        let mock = MockRtmp::start(gate);
        let footlight = Footlight::start(&config(&mock.url(&login, "s3cr3tk3y")));
        let said = footlight.wait_for_log(DEADLINE, words);
        assert!(said.contains("ERROR"), "{said}");
        let logs = footlight.logs();
        assert!(!logs.contains(PASSWORD) && !logs.contains("wr0ng") && !logs.contains("s3cr3tk3y"), "{logs}");
    }
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
