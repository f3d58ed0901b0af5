//! Hot standby against real servers and real faults: the built binary, two clouds behind lines of their own, and a
//! judge who holds what both recorded against what the box made.
//!
//! Every fault has the same story: the primary carries, the fault strikes, the standby carries on, the fault is
//! healed, the stream comes home. At the end nothing may be missing that the primary's kernel had not acknowledged,
//! all connections must have one timeline, every GOP must be whole, and the joined stream must decode.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is test code, outside #[test] functions")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use footlight::base::clock;
use support::judge::{Source, Truth, Verdict, Wires};
use support::net::dns::Dns;
use support::net::{Line, Net, Place, Shape, Tap};
use support::nginx_rtmp::NginxRtmp;
use support::{Footlight, films, wait_for, wait_until};

const DEADLINE: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// RTMP's port, on which all clouds listen.
const PORT: u16 = 1_935;

/// A cloud at the far end of its line.
struct Cloud {
    nginx: NginxRtmp,
    line: Line,
}

/// A box with a primary and a standby. Fields are dropped in their order: the network goes last.
struct Studio {
    footlight: Footlight,
    source: Source,
    a: Cloud,
    b: Cloud,
    dns: Option<Dns>,
    _net: Net,
}

/// What a test asks of its studio.
struct Plan {
    mode: &'static str,
    gop_cache: &'static str,
    names: bool,
}

const WARM: Plan = Plan { mode: "warm", gop_cache: "32MiB", names: false };

impl Plan {
    /// Starts it and returns once the primary carries and, where it is not cold, the standby is published.
    #[track_caller]
    fn start(self) -> Studio {
        let mut net = Net::new();
        let mut cloud = |device| {
            let (place, line) = net.line(device, Shape::default().rtt(MS * 50));
            Cloud { nginx: NginxRtmp::start_in(place), line }
        };
        let (a, b) = (cloud("wire"), cloud("wwan0"));
        let hosts = if self.names { ["a.cloud.test", "b.cloud.test"] } else { ["10.77.1.2", "10.77.2.2"] };
        let mut builder = Footlight::with(&self.config(hosts));
        let mut dns = None;
        if self.names {
            dns = Some(Dns::start(&[(hosts[0], "10.77.1.2"), (hosts[1], "10.77.2.2")]));
            let words = Dns::words(builder.folder(), support::process::BINARY);
            builder = builder.program(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let footlight = builder.start();
        let source = Source::watch(footlight.http(), "main");
        let studio = Studio { footlight, source, a, b, dns, _net: net };
        studio.a.carries_after("the primary carries", clock::now());
        if self.mode != "cold" {
            wait_until(DEADLINE, "the standby is published", || studio.b.nginx.log().contains("publish:"));
        }
        studio.source.goes_on_for(SECOND);
        studio
    }

    /// With these hosts as the primary and the standby.
    fn config(&self, hosts: [&str; 2]) -> String {
        format!(
            "[[stream]]\nname = \"main\"\nvideo = \"file:{}\"\nsize = \"640x360\"\nfps = 25\nbitrate = \"1Mbit/s\"\n\
             gop = \"1s\"\ngop_cache = \"{}\"\n\n\
             [[output]]\nname = \"cloud\"\nstream = \"main\"\nmode = \"{}\"\nfailback = \"2s\"\nadaptive = false\n\
             primary = {{ url = \"rtmp://{}/live/k3y\", interface = \"wire\" }}\n\
             standby = [{{ url = \"rtmp://{}/live/k3y\", interface = \"wwan0\" }}]\n",
            films::busy_clip().display(),
            self.gop_cache,
            self.mode,
            hosts[0],
            hosts[1]
        )
    }
}

impl Cloud {
    /// Waits for the first media packet after `since`; tells how long that took.
    #[track_caller]
    fn carries_after(&self, what: &str, since: Instant) -> Duration {
        let first = wait_for(DEADLINE, what, || self.line.tap(|tap| tap.first_media_after(since)));
        println!("{what} after {:?}", first - since);
        first - since
    }

    /// Bytes that reached it so far.
    fn bytes(&self) -> usize {
        self.line.tap(Tap::delivered_bytes)
    }
}

impl Studio {
    /// From a fault to the end: the standby carries on, `heal` undoes the fault, the stream comes home.
    #[track_caller]
    fn survives(&mut self, since: Instant, heal: impl FnOnce(&mut Studio)) {
        self.b.carries_after("the standby carries", since);
        self.source.goes_on_for(2 * SECOND);
        heal(self);
        self.comes_home();
    }

    /// The primary carries again, and the standby rests.
    #[track_caller]
    fn comes_home(&self) {
        self.a.carries_after("the primary carries again", clock::now());
        wait_until(DEADLINE, "the standby rests", || {
            let before = self.b.bytes();
            self.source.goes_on_for(MS * 600);
            self.b.bytes() - before < 4_000
        });
        self.source.goes_on_for(SECOND);
    }

    /// Ends the box and holds everything against the truth.
    #[track_caller]
    fn end(mut self) -> Judged {
        assert!(self.footlight.terminate(5 * SECOND).success());
        let clouds = [&self.a, &self.b];
        for cloud in clouds {
            wait_until(DEADLINE, "the cloud has stored what it got", || cloud.nginx.is_idle());
        }
        println!("--- what the box said\n{}\n---", self.footlight.logs());
        let truth = self.source.truth();
        let recordings: Vec<_> = clouds.iter().flat_map(|cloud| cloud.nginx.recordings()).collect();
        let verdict = truth.judge(&recordings);
        let wires = self.a.line.tap(|a| self.b.line.tap(|b| truth.wires([a, b])));
        println!(
            "{} pictures and sounds, {} recordings, {} recorded twice, {} missing, {} GOPs broken",
            truth.tags.len(),
            recordings.len(),
            verdict.duplicates,
            verdict.missing.len(),
            truth.broken_gops(&verdict),
        );
        for (cloud, name) in clouds.iter().zip(["primary", "standby"]) {
            println!("{name}:\n{}", cloud.line.tap(Truth::tell_flows));
        }
        Judged { truth, verdict, wires }
    }
}

struct Judged {
    truth: Truth,
    verdict: Verdict,
    wires: Wires,
}

impl Judged {
    /// Nothing is missing that no server had acknowledged, and what is there is right.
    #[track_caller]
    fn assert_sound(&self) {
        let Judged { truth, verdict, wires } = self;
        let lost = verdict.lost(wires);
        assert!(lost.is_empty(), "no server had acknowledged these: {}", truth.tell(&lost));
        assert!(verdict.moved.is_empty(), "moved in time: {:#?}", verdict.moved);
        assert!(verdict.runs_back.is_empty(), "time runs back in a recording: {:?}", verdict.runs_back);
        assert!(verdict.strangers.is_empty(), "recorded, and never made: {:#?}", verdict.strangers);
        assert!(wires.one_timeline(), "{:?}, {} run back", wires.offsets, wires.runs_back);
        let (_, last) = verdict.span.expect("something was recorded");
        let behind = truth.tags[truth.tags.len() - 1].millis - truth.tags[last].millis;
        assert!(behind < 1_000, "the last {behind} ms are not recorded");
    }

    /// The same, and not one picture or sound is missing, so that the joined stream decodes without a complaint.
    #[track_caller]
    fn assert_whole(&self) {
        self.assert_sound();
        let Judged { truth, verdict, .. } = self;
        assert!(verdict.missing.is_empty(), "missing: {}", truth.tell(&verdict.missing));
        let folder = tempfile::tempdir().unwrap();
        let decoded = truth.decode_joined(verdict, &folder.path().join("joined.flv"));
        assert_eq!(decoded.complaints.trim(), "");
        assert!(decoded.pictures.len() > 100, "{}", decoded.pictures.len());
    }
}

#[test]
fn a_reset_costs_nothing() {
    let mut studio = WARM.start();
    let struck = clock::now();
    studio.a.nginx.place().reset_connections(PORT);
    studio.survives(struck, |_| {});
    studio.end().assert_whole();
}

#[test]
fn a_killed_server_costs_only_what_its_kernel_had_acknowledged() {
    let mut studio = WARM.start();
    let struck = clock::now();
    studio.a.nginx.kill();
    studio.survives(struck, |studio| studio.a.nginx.start_again());
    let judged = studio.end();
    println!("acknowledged and never stored: {}", judged.truth.tell(&judged.verdict.missing));
    judged.assert_sound();
}

#[test]
fn a_server_that_stops_listening_costs_nothing() {
    let mut studio = WARM.start();
    let struck = clock::now();
    studio.a.nginx.place().close_port(PORT);
    studio.a.nginx.place().reset_connections(PORT);
    studio.survives(struck, |studio| studio.a.nginx.place().open_port(PORT));
    studio.end().assert_whole();
}

#[test]
fn a_line_that_falls_silent_costs_nothing() {
    let mut studio = WARM.start();
    let struck = studio.a.line.fall_silent();
    studio.survives(struck, |studio| {
        studio.a.line.heal();
    });
    studio.end().assert_whole();
}

#[test]
fn a_server_that_freezes_costs_nothing_once_it_thaws() {
    let mut studio = WARM.start();
    let struck = clock::now();
    studio.a.nginx.freeze();
    studio.survives(struck, |studio| studio.a.nginx.thaw());
    studio.end().assert_whole();
}

#[test]
fn a_cold_standby_is_dialled_when_it_is_needed_and_misses_nothing() {
    let mut studio = Plan { mode: "cold", ..WARM }.start();
    assert_eq!(studio.b.bytes(), 0, "nobody dials a cold standby");
    let struck = studio.a.line.fall_silent();
    studio.survives(struck, |studio| {
        studio.a.line.heal();
    });
    studio.end().assert_whole();
}

#[test]
fn a_warm_standby_costs_next_to_nothing() {
    let studio = WARM.start();
    let (from, start) = (studio.b.bytes(), clock::now());
    studio.source.goes_on_for(6 * SECOND);
    let bits_per_second = (studio.b.bytes() - from) as f64 * 8.0 / start.elapsed().as_secs_f64();
    println!("a warm standby costs {bits_per_second:.0} bit/s");
    assert!(bits_per_second > 0.0 && bits_per_second < 8_000.0, "{bits_per_second}");
    studio.end().assert_whole();
}

#[test]
fn of_mirrored_clouds_each_goes_on_without_the_other() {
    let mut studio = Plan { mode: "mirror", ..WARM }.start();
    let since = clock::now();
    studio.b.carries_after("the backup carries too", since);
    let struck = clock::now();
    studio.a.nginx.place().reset_connections(PORT);
    studio.b.carries_after("the backup goes on", struck);
    studio.a.carries_after("the primary is back", struck + SECOND);
    studio.a.line.fall_silent();
    studio.source.goes_on_for(2 * SECOND);
    studio.a.line.heal();
    studio.a.carries_after("the primary is back again", clock::now());
    studio.source.goes_on_for(2 * SECOND);
    assert!(studio.footlight.is_running());
    studio.end().assert_whole();
}

#[test]
fn while_both_lines_are_dead_the_ring_keeps_the_stream() {
    let studio = WARM.start();
    studio.a.line.fall_silent();
    studio.b.line.fall_silent();
    studio.source.goes_on_for(5 * SECOND);
    let healed = studio.b.line.heal();
    studio.b.carries_after("the standby is back first", healed);
    studio.source.goes_on_for(SECOND);
    studio.a.line.heal();
    studio.comes_home();
    studio.end().assert_whole();
}

#[test]
fn what_the_ring_could_not_keep_is_told_and_goes_in_whole_gops() {
    let studio = Plan { gop_cache: "1MiB", ..WARM }.start();
    studio.a.line.fall_silent();
    studio.b.line.fall_silent();
    studio.source.goes_on_for(20 * SECOND);
    let healed = studio.a.line.heal();
    studio.a.carries_after("the primary is back", healed);
    studio.footlight.wait_for_log(DEADLINE, "packets reach no destination");
    studio.source.goes_on_for(2 * SECOND);
    studio.b.line.heal();
    let Judged { truth, verdict, wires } = studio.end();
    assert!(wires.one_timeline(), "{wires:?}");
    assert!(verdict.moved.is_empty() && verdict.runs_back.is_empty(), "{verdict:?}");
    assert!(!verdict.missing.is_empty(), "20 s do not fit into the ring");
    let after = verdict.missing[verdict.missing.len() - 1] + 1;
    let next = truth.tags[after..].iter().find(|tag| tag.is_video()).unwrap();
    assert!(next.is_keyframe(), "after a gap the stream begins with a keyframe");
}

#[test]
fn names_that_cannot_be_resolved_keep_nobody_off_the_air() {
    let mut studio = Plan { names: true, ..WARM }.start();
    let dns = studio.dns.take().unwrap();
    dns.cut();
    let struck = clock::now();
    studio.a.nginx.place().reset_connections(PORT);
    studio.survives(struck, |_| {
        wait_until(DEADLINE, "the box asks for the primary's address", || dns.ignored() > 1);
        dns.heal();
    });
    studio.end().assert_whole();
}

/// ffmpeg as a cloud: it takes one push and writes it to a file.
struct FfmpegCloud {
    child: Child,
    recording: PathBuf,
}

impl FfmpegCloud {
    #[track_caller]
    fn start_in(place: &Place, folder: &Path) -> FfmpegCloud {
        let recording = folder.join("ffmpeg.flv");
        let mut ffmpeg = Command::new(support::require("ffmpeg", "apt-get install ffmpeg"));
        let url = format!("rtmp://{}/live/k3y", place.address);
        ffmpeg.args(["-v", "error", "-listen", "1", "-i", &url, "-c", "copy", "-f", "flv"]).arg(&recording);
        ffmpeg.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        FfmpegCloud { child: place.run(move || ffmpeg.spawn().unwrap()), recording }
    }

    /// Waits until it has written all and ended, as it does after a good-bye.
    #[track_caller]
    fn wait(&mut self) {
        wait_until(DEADLINE, "ffmpeg ends after the good-bye", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for FfmpegCloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_standby_of_another_make_carries_on_alike() {
    let mut net = Net::new();
    let folder = tempfile::tempdir().unwrap();
    let (place, line) = net.line("wire", Shape::default().rtt(MS * 50));
    let a = Cloud { nginx: NginxRtmp::start_in(place), line };
    let (place, line) = net.line("wwan0", Shape::default().rtt(MS * 50));
    let mut b = FfmpegCloud::start_in(&place, folder.path());
    let mut footlight = Footlight::start(&WARM.config(["10.77.1.2", "10.77.2.2"]));
    let source = Source::watch(footlight.http(), "main");
    a.carries_after("the primary carries", clock::now());
    wait_until(DEADLINE, "ffmpeg gets the first trickle", || line.tap(Tap::delivered_bytes) > 3_600);
    source.goes_on_for(SECOND);
    let struck = clock::now();
    a.nginx.place().reset_connections(PORT);
    wait_until(DEADLINE, "the standby carries", || line.tap(|tap| tap.first_media_after(struck)).is_some());
    source.goes_on_for(2 * SECOND);
    a.carries_after("the primary carries again", clock::now());
    source.goes_on_for(2 * SECOND);
    assert!(footlight.terminate(5 * SECOND).success());
    b.wait();
    wait_until(DEADLINE, "nginx has stored what it got", || a.nginx.is_idle());
    let truth = source.truth();
    let recordings: Vec<_> = a.nginx.recordings().into_iter().chain([b.recording.clone()]).collect();
    let verdict = truth.judge(&recordings);
    let wires = a.line.tap(|a| line.tap(|b| truth.wires([a, b])));
    Judged { truth, verdict, wires }.assert_whole();
}

/// The primary's line is there and gone, a second each.
#[track_caller]
fn flap(seconds: u32) {
    let mut studio = WARM.start();
    for _ in 0..seconds / 2 {
        studio.a.line.fall_silent();
        studio.source.goes_on_for(SECOND);
        studio.a.line.heal();
        studio.source.goes_on_for(SECOND);
    }
    assert!(studio.footlight.is_running());
    studio.source.goes_on_for(3 * SECOND);
    let moves = studio.footlight.logs().matches("the stream moves").count();
    println!("the stream moved {moves} times in {seconds} s");
    studio.end().assert_sound();
}

#[test]
fn a_line_that_flaps_for_ten_seconds_costs_nothing() {
    flap(10);
}

#[test]
#[ignore = "takes a minute and a half: make test-slow"]
fn a_line_that_flaps_for_a_minute_costs_nothing() {
    flap(60);
}
