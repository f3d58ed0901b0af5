//! Cameras on a real kernel: the static binary in an emulated machine, by `make test-machine`.
//!
//! The machine is emulated instruction by instruction: pictures are small, rates low, deadlines long. What these
//! tests hold is that pictures come, are right and come back, never how fast. Left out, since no driver in the
//! kernel plays them: H.264 hardware encoders, and USB's own ways of failing below V4L2.
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use footlight::base::clock;
use serde_json::Value;
use support::films::assert_bars;
use support::http::metric;
use support::machine::Machine;
use support::nginx_rtmp::NginxRtmp;
use support::probe::{AT_ONCE, assert_decodes_with};
use support::{Viewer, assert_monotonic, decode, ffprobe, wait_until};

/// From a camera's return to its picture at a viewer that stayed: the restart policy's longest wait, and slack for
/// the emulation.
const COMES_BACK: Duration = Duration::from_secs(30);

/// One stream from a camera, small and slow enough for the emulation.
fn stream(name: &str, device: &str) -> String {
    format!(
        "[[stream]]\nname = \"{name}\"\nvideo = \"v4l2:{device}\"\nsize = \"320x180\"\nfps = 15\ngop = \"1s\"\n\n"
    )
}

/// A viewer with the emulation's patience.
#[track_caller]
fn viewer(machine: &Machine, stream: &str) -> Viewer {
    let path = format!("/live/{stream}.flv");
    Viewer::try_open(machine.http(), &path, Duration::from_secs(60)).expect("the stream is served")
}

/// Reads pictures for this long, holding that their time never runs backwards; hands back the last one's time.
#[track_caller]
fn watch(viewer: &mut Viewer, from_millis: u32, seconds: u64) -> u32 {
    let end = clock::now() + Duration::from_secs(seconds);
    let mut last = from_millis;
    while clock::now() < end {
        let picture = viewer.picture();
        assert!(picture.millis >= last, "time runs backwards: {last} ms, then {} ms", picture.millis);
        last = picture.millis;
    }
    last
}

/// What a player makes of the stream: it decodes, moves, has this size and a time that only grows.
#[track_caller]
fn judge(machine: &Machine, stream: &str, size: (u32, u32)) {
    let decoded = assert_decodes_with(&machine.url(&format!("/live/{stream}.flv")), 2, AT_ONCE);
    assert_eq!(decoded.size, size);
    for pair in decoded.pictures.windows(2) {
        assert!(pair[1].pts > pair[0].pts, "shown times run back: {pair:?}");
    }
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn devices_lists_the_cameras_with_their_modes() {
    let mut machine = Machine::boot();
    machine.plug_vivid("n_devs=2 multiplanar=1,2");
    let text = machine.run("footlight devices --json 2>/dev/console");
    let devices: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let shown = devices.to_string();
    for wanted in ["/dev/video0", "/dev/video1", "vivid", "YUYV", "NV12", "320", "640", "x264"] {
        assert!(shown.contains(wanted), "no {wanted} in {text}");
    }
    let people = machine.run("footlight devices");
    assert!(people.contains("/dev/video0") && people.contains("320x180"), "{people}");
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn every_kind_of_camera_is_filmed_in_its_true_colours() {
    let mut machine = Machine::boot_with(&["YUYV", "NV12", "YU12", "BGR3", "MJPG", "H264"]);
    for fourcc in ["YUYV", "NV12", "YU12", "BGR3", "MJPG", "H264"] {
        let began = clock::now();
        machine.plug_fed_camera(fourcc);
        machine.start_footlight(&stream("main", "/dev/video8"));
        machine.wait_for_picture("main");
        judge(&machine, "main", (320, 180));
        assert_bars(&machine.url("/live/main.flv"));
        machine.stop_footlight();
        println!("{fourcc}: {:?}", began.elapsed());
    }
    // The last of them codes by itself: where nothing asks for a change, its pictures pass untouched.
    machine.start_footlight("[[stream]]\nname = \"main\"\nvideo = \"v4l2:/dev/video8\"\n");
    machine.wait_for_picture("main");
    judge(&machine, "main", (320, 180));
    assert_bars(&machine.url("/live/main.flv"));
    let log = machine.logs();
    let last_start = log.rfind("footlight starts").expect("it says that it starts");
    assert!(!log[last_start..].contains("encoder opened"), "nothing is encoded anew");
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn single_and_multi_planar_cameras_stream_side_by_side() {
    let mut machine = Machine::boot();
    machine.plug_vivid("n_devs=2 multiplanar=1,2");
    let other = stream("other", "/dev/video1").replace("320x180", "640x360").replace("fps = 15", "fps = 5");
    machine.start_footlight(&(stream("main", "/dev/video0") + &other));
    machine.wait_for_picture("main");
    machine.wait_for_picture("other");
    judge(&machine, "main", (320, 180));
    judge(&machine, "other", (640, 360));
    let probe = ffprobe(&machine.url("/live/main.flv"), 2);
    assert_eq!(probe.errors.trim(), "");
    assert_monotonic(&probe);
    let viewer = viewer(&machine, "main");
    assert!(viewer.announces_video && !viewer.announces_audio, "a camera without sound is announced without");
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn a_camera_pulled_and_plugged_again_comes_back_to_the_viewers_who_stayed() {
    let mut machine = Machine::boot_with(&["YUYV"]);
    machine.plug_vivid("");
    machine.plug_fed_camera("YUYV");
    machine.start_footlight(&(stream("main", "/dev/video0") + &stream("other", "/dev/video8")));
    machine.wait_for_picture("main");
    machine.wait_for_picture("other");
    let (mut main, mut other) = (viewer(&machine, "main"), viewer(&machine, "other"));
    let mut seen = watch(&mut main, 0, 1);
    let mut other_seen = watch(&mut other, 0, 1);

    machine.pull_vivid();
    // The other camera goes on meanwhile.
    other_seen = watch(&mut other, other_seen, 3);
    wait_until(COMES_BACK, "the box has let the camera go", || {
        !machine.run("ls -l /proc/$(cat /tmp/footlight.pid)/fd").contains("video0")
    });
    seen = read_away(&mut main, seen);
    machine.replug_vivid();
    let back = clock::now();
    let picture = drain_to_next(&mut main, seen);
    println!("a picture {:?} after the camera is back", back.elapsed());
    assert!(back.elapsed() < COMES_BACK);
    seen = watch(&mut main, picture, 2);

    // The driver's own short unplug: every call fails until the last user lets go.
    machine.set_control("/dev/video0", "disconnect", 1);
    let pulled = clock::now();
    seen = drain_to_next(&mut main, seen);
    println!("a picture {:?} after a short unplug", pulled.elapsed());
    watch(&mut main, seen, 2);
    watch(&mut other, other_seen, 1);
    judge(&machine, "main", (320, 180));
}

/// Reads what was sent before a camera went, until nothing comes any more; hands back the last picture's time.
#[track_caller]
fn read_away(viewer: &mut Viewer, mut last: u32) -> u32 {
    viewer.response().socket().set_read_timeout(Some(Duration::from_secs(2))).expect("a socket");
    let error = loop {
        match viewer.next_tag() {
            Ok(tag) => last = last.max(tag.millis),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the viewer was not sent away");
    viewer.response().socket().set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    last
}

/// Reads on to a picture whose time lies clearly after `last`: what was under way before the trouble is read away.
#[track_caller]
fn drain_to_next(viewer: &mut Viewer, last: u32) -> u32 {
    let mut millis = last;
    loop {
        let picture = viewer.picture();
        assert!(picture.millis >= millis, "time runs backwards: {millis} ms, then {} ms", picture.millis);
        millis = picture.millis;
        if millis >= last + 1_000 {
            return millis;
        }
    }
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn a_camera_called_by_its_name_is_found_under_whatever_number_it_comes_back() {
    let mut machine = Machine::boot();
    machine.plug_vivid("vid_cap_nr=3");
    let name = machine.run("cat /sys/class/video4linux/video3/name");
    println!("{name}");
    let card = machine.run("v4l2-ctl -d /dev/video3 --info | sed -n 's/.*Card type *: //p'");
    machine.start_footlight(&stream("main", card.trim()));
    machine.wait_for_picture("main");
    let mut main = viewer(&machine, "main");
    let seen = watch(&mut main, 0, 1);
    machine.pull_vivid();
    wait_until(COMES_BACK, "the box has let the camera go", || machine.try_run("rmmod vivid").code == 0);
    machine.plug_vivid("vid_cap_nr=5");
    drain_to_next(&mut main, seen);
    judge(&machine, "main", (320, 180));
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn errors_of_the_driver_cost_pictures_never_viewers() {
    let mut machine = Machine::boot();
    machine.plug_vivid("");
    machine.start_footlight(&stream("main", "/dev/video0"));
    machine.wait_for_picture("main");
    let mut main = viewer(&machine, "main");
    let mut seen = watch(&mut main, 0, 1);
    let http = machine.http();
    let restarts = || metric(http, "footlight_capture_restarts_total", "main").unwrap_or(0.0);
    for error in [
        "inject_v4l2_buf_flag_error",
        "inject_vidioc_qbuf_error",
        "inject_fatal_streaming_error",
        // These strike when the camera is started again, so the next one makes it start again.
        "inject_vidioc_streamon_error",
        "disconnect",
        "inject_vidioc_reqbufs_error",
        "disconnect",
    ] {
        let before = restarts();
        machine.set_control("/dev/video0", error, 1);
        let began = clock::now();
        if matches!(error, "inject_fatal_streaming_error" | "disconnect") {
            wait_until(COMES_BACK, "the camera starts again", || restarts() > before);
        }
        seen = drain_to_next(&mut main, seen);
        println!("{error}: a second of pictures later {:?}", began.elapsed());
        assert!(began.elapsed() < COMES_BACK, "{error}");
    }
    machine.set_control("/dev/video0", "percentage_of_dropped_buffers", 50);
    seen = watch(&mut main, seen, 3);
    machine.set_control("/dev/video0", "percentage_of_dropped_buffers", 0);
    watch(&mut main, seen, 1);
    judge(&machine, "main", (320, 180));
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn a_camera_that_keeps_its_own_rate_is_thinned_to_the_wanted_one() {
    let mut machine = Machine::boot();
    // An HDMI grabber: it takes what the cable brings, 60 pictures a second, and lets nobody set that.
    machine.plug_vivid("input_types=0x3,0x3");
    machine.start_footlight(&stream("main", "/dev/video0"));
    machine.wait_for_picture("main");
    judge(&machine, "main", (320, 180));
    let probe = ffprobe(&machine.url("/live/main.flv"), 4);
    let rate = (probe.packets_of("video").len() - 1) as f64 / probe.span("video");
    println!("{rate:.1} pictures a second");
    assert!(rate <= 16.0, "{rate}");
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn a_box_whose_power_is_cut_or_that_is_killed_films_again() {
    let mut machine = Machine::boot();
    machine.plug_vivid("");
    let config = format!("[box]\ndata_dir = \"/data/footlight\"\n\n{}", stream("main", "/dev/video0"));
    machine.start_footlight(&config);
    machine.wait_for_picture("main");
    assert!(machine.run("mount").contains("/data type ext4"), "the disk is there");
    machine.run("kill -KILL $(cat /tmp/footlight.pid)");
    wait_until(Duration::from_secs(20), "the end of a killed footlight", || {
        machine.try_run("kill -0 $(cat /tmp/footlight.pid)").code != 0
    });
    machine.start_footlight(&config);
    machine.wait_for_picture("main");

    let mut machine = machine.cut_the_power_and_boot();
    assert!(machine.run("mount").contains("/data type ext4"), "the disk is there");
    machine.plug_vivid("");
    machine.start_footlight(&config);
    machine.wait_for_picture("main");
    judge(&machine, "main", (320, 180));
    let threads: BTreeSet<String> =
        machine.run("cat /proc/$(cat /tmp/footlight.pid)/task/*/comm").lines().map(str::to_owned).collect();
    assert!(threads.iter().any(|name| name.starts_with("cap-")), "threads have names: {threads:?}");
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn a_push_over_the_kernels_own_bad_lines_stays_live_and_is_whole_again() {
    let nginx = NginxRtmp::start();
    let mut machine = Machine::boot();
    // The machine finds this one at 10.0.2.2; netem makes its way there bad, and leaves the way back alone.
    let output = format!(
        "[[output]]\nname = \"cloud\"\nstream = \"main\"\nprimary = \"{}\"\n",
        nginx.url("k3y").replace("127.0.0.1", "10.0.2.2")
    );
    let pattern = stream("main", "")
        .replace("v4l2:", "pattern\"\naudio = \"none")
        .replace("gop", "bitrate = \"400kbit/s\"\ngop");
    machine.start_footlight(&(pattern + &output));
    let http = machine.http();
    let figure = |name: &str| metric(http, name, "cloud").unwrap_or(0.0);
    let goes_on = |what: &str| {
        let from = figure("footlight_output_acknowledged_bytes_total");
        wait_until(Duration::from_secs(60), &format!("media is acknowledged: {what}"), || {
            figure("footlight_output_acknowledged_bytes_total") > from + 60_000.0
        });
        let behind = figure("footlight_output_behind_seconds");
        println!("{what}: {behind:.2} s behind, rtt {:.3} s", figure("footlight_output_rtt_seconds"));
    };
    goes_on("a good line");
    machine.run("modprobe sch_netem");
    for bad in
        ["delay 300ms", "loss 2%", "loss 5%", "loss 10%", "rate 1mbit", "delay 150ms loss 5% rate 1mbit"]
    {
        machine.run(&format!("/sbin/tc qdisc replace dev eth0 root netem {bad}"));
        goes_on(bad);
    }
    machine.run("/sbin/tc qdisc del dev eth0 root");
    goes_on("a good line again");
    wait_until(Duration::from_secs(60), "the push is near the live edge", || {
        figure("footlight_output_behind_seconds") < 1.0
    });
    assert!((figure("footlight_output_reconnects_total")).abs() < 0.5, "one connection carried it all");
    machine.stop_footlight();
    wait_until(Duration::from_secs(20), "nginx has stored what it got", || nginx.is_idle());
    let recording = nginx.recordings().remove(0);
    let probe = ffprobe(recording.to_str().expect("the path is UTF-8"), 600);
    assert_monotonic(&probe);
    let decoded = decode(recording.to_str().expect("the path is UTF-8"), 600);
    assert_eq!(decoded.complaints.trim(), "");
}
