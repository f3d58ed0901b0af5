//! The LAN server from outside: what players make of the streams, and what strangers cannot do to it.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use footlight::base::{clock, threads};
use nix::sys::signal::Signal;
use socket2::SockRef;
use support::{
    Footlight, Request, Tag, Viewer, assert_decodes, assert_monotonic, ffprobe, require, wait_until,
};

/// Small and quick to encode; long enough between keyframes to see that joining does not wait for one.
const STREAM: &str =
    "[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nsize = \"640x360\"\nbitrate = \"1Mbit/s\"\n";

fn with_http(keys: &str) -> String {
    format!("[http]\n{keys}\n{STREAM}")
}

fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(server).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    socket
}

#[test]
fn players_decode_ten_seconds_without_a_complaint_and_time_only_rises() {
    let box_ = Footlight::start(STREAM);
    box_.wait_for_picture("main");
    for path in ["/live/main.flv", "/live/main.live.flv"] {
        let probe = ffprobe(&box_.url(path), 10);
        assert_eq!(probe.errors.trim(), "", "{path}");
        assert_eq!(
            (probe.track("video").codec.as_str(), probe.track("audio").codec.as_str()),
            ("h264", "aac")
        );
        assert_monotonic(&probe);
        let first = probe.packets_of("video")[0];
        assert!(first.keyframe && first.dts.abs() < 0.001, "{path} begins with {first:?}");
        assert!(probe.span("video") > 8.0, "{path}: {} s", probe.span("video"));
    }
    assert_decodes(&box_.url("/live/main.flv"), 10);
}

#[test]
fn a_picture_comes_at_once_or_if_so_asked_not_before_the_next_keyframe() {
    let box_ = Footlight::start(STREAM);
    box_.wait_for_picture("main");
    let start = clock::now();
    let mut viewer = Viewer::open(box_.http(), "/live/main.flv");
    assert!(viewer.announces_video && viewer.announces_audio);
    assert!(viewer.picture().is_keyframe());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // At the live edge the stream's time passes as the world's does: nothing old is waiting.
    let mut edge = Viewer::open(box_.http(), "/live/main.flv?gop=0");
    let first = edge.picture();
    let begun = clock::now();
    assert!(first.is_keyframe() && first.millis == 0);
    let later = edge.tag_where("a second of pictures", |tag| tag.is_picture() && tag.millis >= 1_000);
    let took = begun.elapsed().as_secs_f64();
    assert!((took - f64::from(later.millis) / 1_000.0).abs() < 0.4, "{} ms took {took} s", later.millis);
}

#[test]
fn a_slow_viewer_lands_on_a_keyframe_near_live_and_the_others_miss_nothing() {
    let box_ = Footlight::start(&with_http("viewer_lag = \"1s\"\nviewer_stall = \"60s\""));
    box_.wait_for_picture("main");
    let mut slow = Viewer::open(box_.http(), "/live/main.flv");
    SockRef::from(slow.response().socket()).set_recv_buffer_size(4_096).expect("a small buffer");
    let mut quick = Viewer::open(box_.http(), "/live/main.flv");
    let before = box_.rss_bytes();
    let mut last: Option<Tag> = None;
    wait_until(Duration::from_secs(60), "two jumps of the slow viewer", || {
        let tag = quick.picture();
        if let Some(last) = &last {
            assert_follows(last, &tag);
        }
        last = Some(tag);
        box_.metric("footlight_viewer_jumps_total", "main").unwrap_or(0.0) >= 2.0
    });
    let (mut last, mut gaps) = (slow.picture(), 0);
    while gaps == 0 {
        let tag = slow.picture();
        if tag.millis - last.millis > 100 {
            assert!(tag.is_keyframe(), "after {} came {} and no keyframe", last.millis, tag.millis);
            gaps += 1;
        }
        last = tag;
    }
    let grown = box_.rss_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
}

/// Fails where the server left something out for this viewer, which always ends at a keyframe. What a busy machine's
/// encoder left out for everybody ends anywhere, and is no fault of the server's.
#[track_caller]
fn assert_follows(last: &Tag, next: &Tag) {
    let most_millis = if next.is_keyframe() { 400 } else { 2_000 };
    assert!(next.millis - last.millis < most_millis, "this viewer missed {} to {}", last.millis, next.millis);
}

#[test]
fn who_takes_nothing_is_cut_and_gives_its_place_back() {
    let box_ = Footlight::start(&with_http("viewer_stall = \"1s\"\nmax_viewers = 2"));
    box_.wait_for_picture("main");
    let dead = Viewer::open(box_.http(), "/live/main.flv");
    SockRef::from(dead.response().socket()).set_recv_buffer_size(4_096).expect("a small buffer");
    wait_until(Duration::from_secs(30), "the cut", || {
        box_.metric("footlight_viewer_cuts_total", "main") == Some(1.0)
    });
    wait_until(Duration::from_secs(5), "its place", || box_.metric("footlight_viewers", "main") == Some(0.0));
}

#[test]
fn viewers_beyond_the_bounds_are_told_in_words_and_others_may_come_when_they_leave() {
    let box_ = Footlight::start(&with_http("max_viewers_per_address = 2"));
    box_.wait_for_picture("main");
    wait_until(Duration::from_secs(5), "nobody", || box_.metric("footlight_viewers", "main") == Some(0.0));
    let viewers = [Viewer::open(box_.http(), "/live/main.flv"), Viewer::open(box_.http(), "/live/main.flv")];
    let refused = box_.get("/live/main.flv");
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (429, true));
    assert!(refused.text().contains("max_viewers_per_address"));
    drop(viewers);
    wait_until(Duration::from_secs(10), "a free place", || {
        Viewer::try_open(box_.http(), "/live/main.flv", Duration::from_secs(5)).is_ok()
    });
}

#[test]
fn garbage_half_requests_and_floods_neither_crash_it_nor_stay_in_it() {
    let mut box_ = Footlight::start(&with_http("max_connections = 300"));
    box_.wait_for_picture("main");
    let server = box_.http();
    let mut witness = Viewer::open(server, "/live/main.flv");
    witness.picture();
    // Once through everything, so that what is made once and kept is there before memory is compared.
    misbehave(server, 1);
    let (fds, rss) = (box_.open_fds(), box_.rss_bytes());
    misbehave(server, 10);
    let mut last = witness.picture();
    for _ in 0..60 {
        let next = witness.picture();
        assert_follows(&last, &next);
        last = next;
    }
    assert!(box_.is_running());
    wait_until(Duration::from_secs(40), "its files and sockets to be given back", || box_.open_fds() <= fds);
    assert_eq!(box_.get("/healthz").status, 200);
    let grown = box_.rss_bytes().saturating_sub(rss);
    assert!(grown < 12 << 20, "grew by {grown} bytes");
}

/// What strangers do, `times` over.
fn misbehave(server: SocketAddr, times: usize) {
    let mut seed = 0x5EED_u64;
    for _ in 0..times {
        // Noise, whole and broken off.
        for length in [1, 100, 5_000, 70_000] {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            })
            .take(length)
            .collect();
            let mut socket = connect(server);
            // It may close in the middle: that is its right.
            let _ = socket.write_all(&noise);
        }
        for text in [
            "GET /live/main.flv HTTP/1.1\r\nhost:",
            "GET /live/main.flv HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n\u{0}: \r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET /%00%ff HTTP/1.1\r\nhost: x\r\n\r\n",
            "\r\n\r\n\r\n",
        ] {
            let mut socket = connect(server);
            let _ = socket.write_all(text.as_bytes());
        }
        // A crowd that says nothing and leaves, more than there are seats.
        let crowd: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(server).ok()).collect();
        drop(crowd);
        // Viewers that leave in the middle of a picture.
        for _ in 0..20 {
            let mut socket = connect(server);
            let _ = socket.write_all(b"GET /live/main.flv HTTP/1.1\r\nhost: x\r\n\r\n");
            let _ = socket.read(&mut [0; 700]);
        }
    }
}

#[test]
fn a_box_without_a_file_left_takes_up_again_when_it_has_some() {
    let prlimit = require("prlimit", "apt-get install util-linux");
    let words = [prlimit.to_str().expect("a path"), "--nofile=64:64", support::process::BINARY];
    let mut box_ = Footlight::with(&with_http("max_connections = 300")).program(&words).start();
    box_.wait_for_picture("main");
    let mut viewer = Viewer::open(box_.http(), "/live/main.flv");
    box_.wait_for_log(
        Duration::from_secs(20),
        "safe room for 0 connections, not for http.max_connections (300)",
    );
    let crowd: Vec<TcpStream> = (0..150).map(|_| connect(box_.http())).collect();
    box_.wait_for_log(Duration::from_secs(20), "nothing left for another connection");
    for _ in 0..30 {
        viewer.picture();
    }
    drop(crowd);
    let asked = Request::new("GET", "/healthz").patience(Duration::from_secs(30)).send(box_.http());
    assert_eq!(asked.expect("answered").status, 200);
    assert!(box_.is_running());
}

#[test]
fn a_box_that_begins_with_few_files_asks_the_system_for_as_many_as_its_connections_need() {
    let prlimit = require("prlimit", "apt-get install util-linux");
    let words = [prlimit.to_str().expect("a path"), "--nofile=64:4096", support::process::BINARY];
    let box_ = Footlight::with(&with_http("max_connections = 300")).program(&words).start();
    let crowd: Vec<TcpStream> = (0..150).map(|_| connect(box_.http())).collect();
    assert_eq!(box_.get("/healthz").status, 200, "with {} others connected", crowd.len());
}

#[test]
fn who_sends_a_request_byte_by_byte_is_let_go_and_holds_nobody_up() {
    let box_ = Footlight::start(&with_http("max_connections = 120"));
    box_.wait_for_picture("main");
    let server = box_.http();
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut socket = connect(server);
            socket.write_all(b"GET /live/main.flv HTTP/1.1\r\nhost: x\r\n").expect("sent");
            socket
        })
        .collect();
    let start = clock::now();
    let dripping = threads::spawn("test", "drip", move || {
        let mut slow = slow;
        while !slow.is_empty() && start.elapsed() < Duration::from_secs(60) {
            slow.retain_mut(|socket| socket.write_all(b"x").is_ok());
            support::wait::pause(Duration::from_millis(500));
        }
        slow.len()
    })
    .expect("a thread");
    let mut viewer = Viewer::open(server, "/live/main.flv");
    while start.elapsed() < Duration::from_secs(5) {
        viewer.picture();
    }
    assert_eq!(Request::new("GET", "/healthz").send(server).expect("answered").status, 200);
    assert_eq!(dripping.join().expect("the thread"), 0, "all were let go within a minute");
    viewer.picture();
}

#[test]
fn viewers_stay_on_one_timeline_while_the_stream_gets_other_settings() {
    let box_ = Footlight::start(STREAM);
    box_.wait_for_picture("main");
    let mut viewer = Viewer::open(box_.http(), "/live/main.flv");
    let mut last = viewer.picture().millis;
    box_.rewrite(&STREAM.replace("640x360", "320x180"));
    box_.signal(Signal::SIGHUP);
    let mut new_headers = false;
    let start = clock::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(30), "no new headers came");
        let tag = viewer.next_tag().expect("the viewer stays");
        new_headers |= tag.is_video() && tag.is_header();
        if tag.is_picture() {
            assert!(tag.millis > last, "time ran from {last} to {}", tag.millis);
            last = tag.millis;
            if new_headers {
                assert!(tag.is_keyframe(), "the first picture under new headers");
                break;
            }
        }
    }
}

#[test]
fn the_page_is_inside_with_hashed_files_that_last_and_a_page_that_does_not() {
    let box_ = Footlight::start(STREAM);
    box_.wait_for_picture("main");
    let page = box_.get("/watch/main");
    assert_eq!(page.status, 200, "without the page: make web");
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    let tag = page.header("etag").expect("a tag").to_owned();
    let html = page.text();
    let again = Request::new("GET", "/watch/main").header("if-none-match", &tag).send(box_.http());
    assert_eq!(again.expect("answered").status, 304);
    let files: Vec<&str> = html.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(!files.is_empty(), "{html}");
    for file in files {
        let answer = box_.get(file);
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("cache-control").is_some_and(|value| value.contains("immutable")), "{file}");
    }
}
