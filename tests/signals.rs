//! Signals, shutdown and exit codes, as an init system or a person at a shell sees them.
mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::nginx_rtmp::NginxRtmp;
use support::{Footlight, Viewer, ffprobe, get, require, wait_until};

/// The promise of the README: a clean end takes no longer.
const CLEAN_END: Duration = Duration::from_secs(3);

const ONE_STREAM: &str = "[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nsize = \"320x180\"\n";

/// How long a real server may take to record something on a busy machine.
const RECORDED: Duration = Duration::from_secs(40);

fn pushing_to(url: &str) -> String {
    format!("{ONE_STREAM}{}", output("cloud", url))
}

fn output(name: &str, url: &str) -> String {
    format!("\n[[output]]\nname = \"{name}\"\nstream = \"main\"\nprimary = \"{url}\"\n")
}

/// A cloud that takes the connection and then says nothing, for ever.
fn silent_cloud() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, format!("rtmp://127.0.0.1:{port}/live/key"))
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound")
}

/// ffmpeg as the cloud: takes one publisher and writes what it receives.
struct RtmpServer {
    ffmpeg: Child,
    url: String,
    file: tempfile::TempPath,
}

impl RtmpServer {
    fn start() -> RtmpServer {
        let ffmpeg = require("ffmpeg", "apt-get install ffmpeg");
        let url = format!("rtmp://{}/live/key", free_address());
        let file = tempfile::Builder::new().suffix(".flv").tempfile().expect("a file").into_temp_path();
        let child = Command::new(ffmpeg)
            .args(["-nostdin", "-v", "error", "-y", "-listen", "1", "-i", &url, "-c", "copy"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ffmpeg starts");
        RtmpServer { ffmpeg: child, url, file }
    }
}

impl Drop for RtmpServer {
    fn drop(&mut self) {
        let _ = self.ffmpeg.kill();
        let _ = self.ffmpeg.wait();
    }
}

#[test]
fn sigterm_ends_cleanly_within_three_seconds_with_viewers_and_a_push_on() {
    let cloud = RtmpServer::start();
    let mut footlight = Footlight::start(&pushing_to(&cloud.url));
    footlight.wait_for_picture("main");
    let mut viewers: Vec<_> = (0..5).map(|_| Viewer::open(footlight.http(), "/live/main.flv")).collect();
    for viewer in &mut viewers {
        viewer.picture();
    }
    // One viewer that does not read: it must not hold the end up.
    let _idle = Viewer::open(footlight.http(), "/live/main.flv");
    wait_until(Duration::from_secs(15), "something at the cloud", || {
        std::fs::metadata(&cloud.file).is_ok_and(|file| file.len() > 50_000)
    });
    let status = footlight.terminate(CLEAN_END);
    assert_eq!(status.code(), Some(0), "{status}");
    for mut viewer in viewers {
        while viewer.next_tag().is_ok() {}
    }
    // The far end saw an end, not a broken line: what it wrote reads to its last packet.
    let mut cloud = cloud;
    wait_until(Duration::from_secs(10), "the cloud's end", || matches!(cloud.ffmpeg.try_wait(), Ok(Some(_))));
    let probe = ffprobe(cloud.file.to_str().expect("a plain name"), 60);
    assert_eq!(probe.errors.trim(), "");
    assert!(probe.packets_of("video").len() > 10, "{}", probe.packets.len());
}

#[test]
fn sigint_ends_the_same_way() {
    let mut footlight = Footlight::start(ONE_STREAM);
    footlight.wait_for_picture("main");
    let mut viewer = Viewer::open(footlight.http(), "/live/main.flv");
    viewer.picture();
    footlight.signal(Signal::SIGINT);
    let status = footlight.wait(CLEAN_END);
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_silent_cloud_does_not_hold_the_end_up() {
    let (silent, url) = silent_cloud();
    let nginx = NginxRtmp::start();
    let config = pushing_to(&nginx.url("key")) + &output("silent", &url);
    let mut footlight = Footlight::start(&config);
    let (_held, _) = silent.accept().expect("it connects");
    nginx.wait_for_recording(RECORDED, 0, 50_000);
    nginx.freeze();
    let status = footlight.terminate(CLEAN_END);
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let nginx = NginxRtmp::start();
    let mut footlight = Footlight::start(&pushing_to(&nginx.url("key")));
    footlight.wait_for_picture("main");
    let _idle = Viewer::open(footlight.http(), "/live/main.flv");
    nginx.wait_for_recording(RECORDED, 0, 50_000);
    // Who takes the good-bye and never hangs up holds a clean end up for two seconds.
    nginx.freeze();
    footlight.signal(Signal::SIGTERM);
    footlight.wait_for_log(Duration::from_secs(1), "stopping");
    // Two signals in one instant are one request: an impatient person presses on.
    wait_until(Duration::from_secs(1), "the end at once", || {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(footlight.pid()), Signal::SIGTERM);
        !footlight.is_running()
    });
    let status = footlight.wait(Duration::from_secs(1));
    assert_eq!(status.code(), Some(143), "{status}");
}

#[test]
fn a_sigterm_during_a_reload_is_obeyed() {
    let nginx = NginxRtmp::start();
    let names = ["one", "two", "three", "four"];
    let config = |key: &str| {
        let outputs = names.map(|name| output(name, &nginx.url(&format!("{name}-{key}"))));
        ONE_STREAM.to_owned() + &outputs.concat()
    };
    let mut footlight = Footlight::start(&config("old"));
    for at in 0..names.len() {
        nginx.wait_for_recording(RECORDED, at, 20_000);
    }
    nginx.freeze();
    footlight.rewrite(&config("new"));
    footlight.signal(Signal::SIGHUP);
    footlight.wait_for_log(Duration::from_secs(10), "the output starts again");
    let status = footlight.terminate(Duration::from_millis(3_500));
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn sighup_takes_what_it_can_and_says_what_it_could_not() {
    let footlight = Footlight::start(ONE_STREAM);
    footlight.wait_for_picture("main");
    let mut viewer = Viewer::open(footlight.http(), "/live/main.flv");
    viewer.picture();
    // A second stream and another bound for viewers come alive; another data folder needs a restart.
    let second = ONE_STREAM.replace("main", "second");
    footlight.rewrite(&format!(
        "[box]\ndata_dir = \"elsewhere\"\n\n[http]\nmax_viewers = 7\n\n{ONE_STREAM}\n{second}"
    ));
    footlight.signal(Signal::SIGHUP);
    footlight.wait_for_log(Duration::from_secs(10), "max_viewers");
    let could_not = footlight.wait_for_log(Duration::from_secs(10), "data_dir");
    assert!(could_not.contains("WARN") && could_not.contains("started again"), "{could_not}");
    footlight.wait_for_picture("second");
    viewer.picture();
    // A broken file changes nothing and is explained.
    footlight.rewrite("[http]\nmax_viewrs = 7\n");
    footlight.signal(Signal::SIGHUP);
    let line = footlight.wait_for_log(Duration::from_secs(10), "max_viewrs");
    assert!(!line.is_empty());
    viewer.picture();
    assert_eq!(footlight.get("/live/second.flv").status, 200);
}

#[test]
fn a_port_in_use_is_exit_code_3_with_the_address_and_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let builder = Footlight::with(ONE_STREAM).env("FOOTLIGHT_HTTP__LISTEN", &address);
    let exit = builder.run_to_end(Duration::from_secs(20), &["run", "--config", "footlight.toml"]);
    assert_eq!(exit.code, Some(3), "{exit:?}");
    let said = exit.stdout + &exit.stderr;
    assert!(said.contains(&address), "{said}");
    assert!(said.contains("listen") && said.contains("in use"), "it says what to do: {said}");
}

#[test]
fn a_bad_configuration_is_exit_code_2_with_file_and_line() {
    let builder = Footlight::with("[http]\nlisten = \"somewhere\"\n");
    for arguments in [&["run", "--config", "footlight.toml"][..], &["check", "footlight.toml"]] {
        let mut command = builder.command(arguments);
        command.env_remove("FOOTLIGHT_HTTP__LISTEN");
        let output = support::output_within(Duration::from_secs(20), &mut command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("footlight.toml:2"), "{arguments:?}: {said}");
    }
    let missing = builder.run_to_end(Duration::from_secs(20), &["run", "--config", "not-there.toml"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("not-there.toml"), "{missing:?}");
}

#[test]
fn closed_standard_output_and_error_do_not_kill_it() {
    let builder = Footlight::with(ONE_STREAM);
    let address = free_address();
    let mut command = builder.command(&["run", "--config", "footlight.toml"]);
    command.env("FOOTLIGHT_HTTP__LISTEN", address.to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Both pipes break as if the terminal or the log collector went away.
    drop((child.stdout.take(), child.stderr.take()));
    let answers =
        || support::Request::new("GET", "/healthz").send(address).is_ok_and(|answer| answer.status == 200);
    wait_until(Duration::from_secs(20), "200 from /healthz", answers);
    // Each of these is worth a line in the log.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGHUP).expect("it runs");
    wait_until(Duration::from_secs(10), "a picture", || {
        Viewer::try_open(address, "/live/main.flv", Duration::from_secs(10))
            .is_ok_and(|mut viewer| viewer.picture().is_picture())
    });
    let mut body = Vec::new();
    get(address, "/live/nobody.flv").read_to_end(&mut body).expect("an answer");
    wait_until(Duration::from_secs(5), "200 from /healthz", answers);
    assert!(matches!(child.try_wait(), Ok(None)), "it still runs");
    let _ = child.kill();
    let _ = child.wait();
}
