//! The box pushes by SRT: the built binary, and listeners of libsrt's own.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use footlight::base::clock;
use footlight::media::srt::{Caller, Dice, Phase, Settings};
use support::judge::Source;
use support::net::{Net, Shape};
use support::srt_listener::SrtListener;
use support::{Footlight, assert_decodes, assert_monotonic, ffprobe, output_within, require, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

/// A small stream of 30 pictures a second, and one output whose destinations are these.
fn config(destinations: &str) -> String {
    format!(
        "[[stream]]\nname = \"main\"\nsize = \"320x180\"\nbitrate = \"800kbit/s\"\n\n\
         [[output]]\nname = \"cloud\"\nstream = \"main\"\n{destinations}\n"
    )
}

fn primary(url: &str) -> String {
    config(&format!("primary = \"{url}\""))
}

fn pair(primary: &str, standby: &str) -> String {
    config(&format!("primary = \"{primary}\"\nstandby = [\"{standby}\"]"))
}

fn is_live(footlight: &Footlight) -> bool {
    footlight.metric("footlight_output_live", "output=\"cloud\"") == Some(1.0)
}

/// The times of all pictures in these recordings, in milliseconds of the stream's own time.
fn pictures(recordings: &[PathBuf]) -> BTreeSet<i64> {
    let times = |path: &PathBuf| {
        let probe = ffprobe(path.to_str().unwrap(), 600);
        probe
            .packets_of("video")
            .iter()
            .map(|packet| (packet.dts * 1_000.0).round() as i64)
            .collect::<Vec<_>>()
    };
    recordings.iter().filter(|path| path.metadata().unwrap().len() > 0).flat_map(times).collect()
}

/// Holds that of what the box made no picture is missing between the first and the last that arrived. A busy box
/// makes fewer: what it made is told by a viewer beside the listeners, whose own times begin at 0.
#[track_caller]
fn assert_whole(arrived: &BTreeSet<i64>, truth: Source) {
    let made: Vec<i64> =
        truth.truth().tags.iter().filter(|tag| tag.is_picture()).map(|tag| tag.millis.into()).collect();
    let has = |time: i64| arrived.range(time - 2..=time + 2).next().is_some();
    // The viewer's beginning on the stream's time is where most of what it saw is found.
    let found = |begin: &i64| made.iter().filter(|time| has(*time + begin)).count();
    let begin = arrived.iter().map(|time| time - made[0]).max_by_key(found).unwrap();
    let span = arrived.first().unwrap()..=arrived.last().unwrap();
    let made: Vec<i64> = made.iter().map(|time| time + begin).filter(|time| span.contains(&time)).collect();
    let missing: Vec<_> = made.iter().filter(|time| !has(**time)).collect();
    assert!(missing.is_empty(), "of {} pictures some are missing: {missing:?}", made.len());
    assert!(made.len() * 10 > arrived.len() * 9, "{} made, {} arrived", made.len(), arrived.len());
}

/// Holds that ffmpeg and ffprobe have nothing to say against a recording.
#[track_caller]
fn assert_clean(recording: &Path) -> usize {
    let url = recording.to_str().unwrap();
    let probe = ffprobe(url, 600);
    assert_eq!(probe.errors.trim(), "");
    assert_eq!((probe.track("video").codec.as_str(), probe.track("audio").codec.as_str()), ("h264", "aac"));
    assert_monotonic(&probe);
    assert!(probe.packets_of("video")[0].keyframe, "it begins with a keyframe");
    assert_decodes(url, 600).pictures.len()
}

#[test]
fn a_listener_gets_the_stream_whole_under_the_stream_id_until_the_good_bye() {
    let listener = SrtListener::start(&[]);
    let url = listener.url("?streamid=%23!::r=live/s3cr3t,m=publish");
    let mut footlight = Footlight::start(&primary(&url));
    let truth = Source::watch(footlight.http(), "main");
    let recording = listener.wait_for_recording(DEADLINE, 0, 500_000);
    assert!(is_live(&footlight));
    assert_eq!(listener.stream_id(0), "#!::r=live/s3cr3t,m=publish");
    assert!(footlight.terminate(Duration::from_secs(5)).success());
    listener.wait_for_end(Duration::from_secs(4), 0);
    assert!(!footlight.logs().contains("s3cr3t"), "the stream id stands in the log:\n{}", footlight.logs());
    assert!(assert_clean(&recording) > 100);
    assert_whole(&pictures(&[recording]), truth);
}

#[test]
fn h265_with_reordered_pictures_arrives_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    let mut make = Command::new(require("ffmpeg", "apt-get install ffmpeg"));
    make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30", "-f", "lavfi", "-i", "sine"]);
    make.args(["-t", "4", "-pix_fmt", "yuv420p", "-c:v", "libx265", "-preset", "ultrafast"]);
    make.args(["-x265-params", "log-level=none:keyint=30:bframes=2", "-tag:v", "hvc1", "-c:a", "aac"]);
    assert!(output_within(DEADLINE, make.arg(&clip)).status.success());
    let listener = SrtListener::start(&[]);
    let mut footlight = Footlight::start(&format!(
        "[[stream]]\nname = \"main\"\nvideo = \"file:{}\"\nencoder = \"copy\"\n\n\
         [[output]]\nname = \"cloud\"\nstream = \"main\"\nprimary = \"{}\"\n",
        clip.display(),
        listener.url("")
    ));
    let recording = listener.wait_for_recording(DEADLINE, 0, 400_000);
    footlight.terminate(Duration::from_secs(5));
    listener.wait_for_end(DEADLINE, 0);
    let url = recording.to_str().unwrap();
    let probe = ffprobe(url, 600);
    assert_eq!((probe.track("video").codec.as_str(), probe.errors.trim()), ("hevc", ""));
    assert!(probe.packets_of("video").iter().any(|packet| packet.pts > packet.dts));
    assert_monotonic(&probe);
    assert!(assert_decodes(url, 600).pictures.len() > 60);
}

#[test]
fn ffmpeg_listens_and_is_content() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("got.ts");
    let mut ffmpeg = Command::new(require("ffmpeg", "apt-get install ffmpeg"))
        .args([
            "-v",
            "warning",
            "-i",
            &format!("srt://127.0.0.1:{port}?mode=listener"),
            "-c",
            "copy",
            "-t",
            "5",
        ])
        .arg(&recording)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("said")).unwrap())
        .spawn()
        .unwrap();
    let footlight = Footlight::start(&primary(&format!("srt://127.0.0.1:{port}?mode=caller")));
    wait_until(DEADLINE, "ffmpeg has its five seconds", || ffmpeg.try_wait().unwrap().is_some());
    drop(footlight);
    let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(said.trim(), "", "what ffmpeg says of the stream");
    assert!(assert_clean(&recording) > 100);
}

#[test]
fn a_passphrase_encrypts_with_keys_of_the_length_that_the_listener_wants() {
    for options in
        [&["passphrase=correct horse battery"][..], &["passphrase=correct horse battery", "pbkeylen=32"]]
    {
        let listener = SrtListener::start(options);
        let url = listener.url("?streamid=x");
        let text =
            config(&format!("primary = {{ url = \"{url}\", passphrase = \"correct horse battery\" }}"));
        let footlight = Footlight::start(&text);
        let recording = listener.wait_for_recording(DEADLINE, 0, 300_000);
        assert!(!footlight.logs().contains("correct horse"));
        drop(footlight);
        assert!(assert_clean(&recording) > 30);
    }
}

#[test]
fn who_is_refused_is_told_why_and_where_to_look() {
    let locked = SrtListener::start(&["passphrase=correct horse battery"]);
    let open = SrtListener::start(&["refuse=nobody:1403"]);
    let with = |url: String| primary(&url);
    let wrong = config(&format!(
        "primary = {{ url = \"{}\", passphrase = \"wrong horse battery\" }}",
        locked.url("")
    ));
    let too_much =
        config(&format!("primary = {{ url = \"{}\", passphrase = \"any horse battery\" }}", open.url("")));
    for (text, words) in [
        (wrong, &["the passphrase is not the one it has", "`passphrase` of `primary`"][..]),
        (with(locked.url("")), &["one side has a passphrase and the other has none", "`passphrase`"]),
        (too_much, &["one side has a passphrase and the other has none", "`passphrase`"]),
        (
            with(open.url("?streamid=nobody")),
            &["the stream id is not allowed to publish", "`streamid` in `primary`"],
        ),
    ] {
        let footlight = Footlight::start(&text);
        let line = footlight.wait_for_log(DEADLINE, "refused");
        for word in words {
            assert!(line.contains(word), "{word:?} in {line}");
        }
        assert!(line.contains("ERROR") && !line.contains("horse") && !line.contains("nobody"), "{line}");
    }
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let footlight = Footlight::start(&primary(&format!("srt://127.0.0.1:{port}")));
    footlight.wait_for_log(DEADLINE, "cannot be reached: Connection refused");
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    let footlight = Footlight::start(&primary(&format!("srt://{}", deaf.local_addr().unwrap())));
    footlight.wait_for_log(DEADLINE, "did not accept a connection within 3 s");
}

#[test]
fn keys_that_change_in_mid_stream_are_followed_by_the_listener() {
    let passphrase = "correct horse battery";
    let listener = SrtListener::start(&[&format!("passphrase={passphrase}")]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(listener.url("").trim_start_matches("srt://")).unwrap();
    socket.set_read_timeout(Some(MS)).unwrap();
    let settings =
        Settings { passphrase: Some(passphrase.to_owned()), refresh_after: 300, ..Settings::new(MS * 200) };
    let dice = Dice { socket: 5, first_seq: 0x7FFF_FF00, salt: [1; 16], secret: [2; 32] };
    let mut caller = Caller::new(clock::now(), settings, dice, &[127, 0, 0, 1]).unwrap();
    let (mut put, end) = (Vec::new(), clock::now() + DEADLINE);
    while put.len() < 1_316 * 2_000 || !caller.is_idle() {
        assert!(clock::now() < end, "{:?}", caller.figures());
        while let Some(datagram) = caller.transmit(clock::now()).unwrap() {
            socket.send(&datagram).unwrap();
        }
        let mut heard = [0; 1_500];
        if let Ok(bytes) = socket.recv(&mut heard) {
            caller.receive(clock::now(), &heard[..bytes]).unwrap();
        }
        if put.len() < 1_316 * 2_000 && caller.phase() == Phase::Live && caller.has_room(clock::now()) {
            let payload: Vec<u8> = (0..1_316).map(|at| (put.len() / 1_316 + at) as u8).collect();
            caller.put(clock::now(), &payload);
            put.extend(payload);
        }
    }
    let recording = listener.wait_for_recording(DEADLINE, 0, put.len() as u64);
    assert!(std::fs::read(recording).unwrap() == put, "2,000 packets under seven keys");
}

#[test]
fn a_listener_that_was_killed_and_came_back_gets_the_stream_again() {
    let mut listener = SrtListener::start(&[]);
    let footlight = Footlight::start(&primary(&listener.url("")));
    listener.wait_for_recording(DEADLINE, 0, 200_000);
    listener.kill();
    footlight.wait_for_log(DEADLINE, "cannot be reached");
    listener.start_again();
    let again = listener.wait_for_recording(DEADLINE, 0, 300_000);
    drop(footlight);
    assert!(assert_clean(&again) > 30);
    // What the killed one held back to play it in time went with it.
    let times = pictures(&listener.recordings());
    assert!(times.last().unwrap() - times.first().unwrap() > 3_000);
}

#[test]
fn a_line_that_loses_packets_loses_no_picture() {
    for (device, loss) in [("two", 0.02), ("five", 0.05)] {
        let mut net = Net::new();
        let (place, _line) = net.line(device, Shape::default().rtt(MS * 60).loss(loss));
        let listener = SrtListener::start_in(place, &[]);
        let mut footlight = Footlight::start(&primary(&listener.url("")));
        let truth = Source::watch(footlight.http(), "main");
        let recording = listener.wait_for_recording(DEADLINE, 0, 600_000);
        let share = footlight.metric("footlight_output_retransmitted_ratio", "output=\"cloud\"");
        footlight.terminate(Duration::from_secs(5));
        listener.wait_for_end(Duration::from_secs(8), 0);
        assert!(assert_clean(&recording) > 200, "{loss} lost, {share:?} sent again");
        assert_whole(&pictures(&[recording]), truth);
    }
}

#[test]
fn a_primary_that_falls_silent_loses_the_stream_to_its_standby_and_no_picture() {
    let mut net = Net::new();
    let (place, line) = net.line("wire", Shape::default().rtt(MS * 40));
    let one = SrtListener::start_in(place, &[]);
    let (place, _other) = net.line("mobile", Shape::default().rtt(MS * 80));
    let two = SrtListener::start_in(place, &[]);
    let mut footlight = Footlight::start(&pair(&one.url("?streamid=a"), &two.url("?streamid=b")));
    let truth = Source::watch(footlight.http(), "main");
    one.wait_for_recording(DEADLINE, 0, 400_000);
    line.fall_silent();
    two.wait_for_recording(DEADLINE, 0, 400_000);
    // Home again when the line is back.
    line.heal();
    one.wait_for_recording(DEADLINE, 1, 200_000);
    footlight.terminate(Duration::from_secs(5));
    one.wait_for_end(DEADLINE, 1);
    two.wait_for_end(DEADLINE, 0);
    let all = [one.recordings(), two.recordings()].concat();
    assert_whole(&pictures(&all), truth);
    for recording in &all {
        assert_clean(recording);
    }
}

#[test]
fn a_killed_listener_takes_no_picture_with_it_where_there_is_a_standby() {
    // It acknowledges at once and hands out a second and a half later: many GOPs die with it.
    let (mut one, two) = (SrtListener::start(&[]), SrtListener::start(&[]));
    let text = format!(
        "[[stream]]\nname = \"main\"\nsize = \"320x180\"\nbitrate = \"800kbit/s\"\ngop = \"300ms\"\n\n\
         [[output]]\nname = \"cloud\"\nstream = \"main\"\n\
         primary = {{ url = \"{}\", latency = \"1500ms\" }}\nstandby = [\"{}\"]\n",
        one.url(""),
        two.url("")
    );
    let mut footlight = Footlight::start(&text);
    let truth = Source::watch(footlight.http(), "main");
    one.wait_for_recording(DEADLINE, 0, 300_000);
    one.kill();
    two.wait_for_recording(DEADLINE, 0, 400_000);
    footlight.terminate(Duration::from_secs(5));
    two.wait_for_end(DEADLINE, 0);
    let (before, after) = (pictures(&one.recordings()), pictures(&two.recordings()));
    assert!(before.len() > 30 && after.len() > 30, "{} pictures, then {}", before.len(), after.len());
    assert_whole(&before.union(&after).copied().collect(), truth);
}

#[test]
fn a_listener_that_is_killed_or_frozen_loses_the_stream_to_its_standby() {
    for frozen in [false, true] {
        let mut one = SrtListener::start(&[]);
        let two = SrtListener::start(&[]);
        let footlight = Footlight::start(&pair(&one.url(""), &two.url("")));
        one.wait_for_recording(DEADLINE, 0, 300_000);
        if frozen {
            one.freeze();
        } else {
            one.kill();
        }
        let recording = two.wait_for_recording(DEADLINE, 0, 300_000);
        drop(footlight);
        assert!(assert_clean(&recording) > 30);
    }
}
