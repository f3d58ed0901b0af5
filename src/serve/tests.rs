//! The whole room over real sockets, with a publisher made by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::base::units::{FrameRate, PictureSize};
use crate::hub::{Hub, Limits, Publisher};
use crate::media::flv::{self, Item, TagType, VideoBody};
use crate::media::packet::{AudioConfig, Layout, Media, Packet, Track, VideoCodec, VideoConfig};
use crate::shop::Orders;
use crate::shop::outbox::Outbox;
use crate::uplink::Outputs;

/// Nothing here takes this long.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a port of its own, and one stream, `main`, that says what a test wants.
struct Stage {
    runtime: Runtime,
    server: Option<Server>,
    hub: Hub,
    publisher: Publisher,
    http: Http,
}

fn http() -> Http {
    Http {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        max_viewers: 100,
        max_viewers_per_address: 0,
        max_connections: 200,
        merge: Duration::ZERO,
        viewer_lag: Duration::from_secs(3),
        viewer_stall: Duration::from_secs(10),
        trust_local: true,
    }
}

/// As in a box that was just unpacked.
fn no_tokens() -> auth::Tokens {
    auth::Tokens::open(std::path::Path::new("there/is/no/such/folder"))
}

impl Stage {
    fn new() -> Stage {
        Stage::with(http())
    }

    fn with(http: Http) -> Stage {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        let ready = Box::new(|| Err(vec!["stream main has no picture".to_owned()]));
        let metrics = hub.clone();
        let describe: Vec<Describe> = vec![Box::new(move |page| metrics.describe_metrics(page))];
        let parts = Parts {
            hub: hub.clone(),
            outputs: Outputs::new(),
            orders: Orders::off(),
            outbox: Outbox::new(Orders::off(), "box", "site"),
            order_rate: 0,
            tokens: no_tokens(),
            describe,
            ready,
        };
        let server = {
            let _guard = runtime.enter();
            Server::start(&http, parts).expect("a server")
        };
        Stage { runtime, server: Some(server), hub, publisher, http }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("running")
    }

    fn begin(&self) {
        self.publisher.publish(layout(1, true));
    }

    fn picture(&self, millis: i64, keyframe: bool, bytes: usize) {
        self.publisher.publish(picture(millis, keyframe, bytes));
    }

    fn sound(&self, millis: i64) {
        self.publisher.publish(sound(millis));
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server().local_addr()).expect("connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream
    }

    /// Sends `request` and reads until the far end closes, or the whole of an answer with a length is there.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        answer(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\n\r\n"))
    }

    fn watch(&self, path: &str) -> Viewer {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
        Viewer::new(stream)
    }

    fn stop(&mut self) {
        let server = self.server.take().expect("running");
        self.runtime.block_on(server.shutdown(Duration::from_secs(3)));
    }

    fn metric(&self, line: &str) -> u64 {
        let page = self.get("/metrics");
        let found = page.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("no {line} in {page}"))
    }

    /// Publishes in real time until dropped: 25 pictures a second of `bytes`, a keyframe each second, sound beside.
    fn run(self, bytes: usize) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let stage = Arc::new(self);
        let thread = crate::base::threads::spawn("test", "publisher", {
            let (stage, stop) = (stage.clone(), stop.clone());
            move || {
                stage.begin();
                let start = clock::now();
                for number in 0i64.. {
                    while !stop.load(Ordering::Relaxed)
                        && clock::now() < start + Duration::from_millis(number as u64 * 40)
                    {
                        std::thread::park_timeout(Duration::from_millis(2));
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    stage.picture(number * 40, number % 25 == 0, bytes);
                    stage.sound(number * 40 + 1);
                    stage.sound(number * 40 + 21);
                }
            }
        });
        Running { stage, stop, thread: Some(thread.expect("a thread")) }
    }
}

struct Running {
    stage: Arc<Stage>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn layout(record: u8, audio: bool) -> Media {
    Media::Layout(Layout {
        video: Some(VideoConfig {
            codec: VideoCodec::H264,
            record: Bytes::from(vec![record; 30]),
            size: PictureSize { width: 640, height: 360 },
            fps: Some(FrameRate::whole(25)),
            bitrate: None,
        }),
        audio: audio.then(|| AudioConfig {
            record: Bytes::from_static(&[0x11, 0x90]),
            sample_rate: 48_000,
            channels: 2,
            bitrate: None,
        }),
    })
}

fn picture(millis: i64, keyframe: bool, bytes: usize) -> Media {
    picture_of((millis / 40) as u8, millis, keyframe, bytes)
}

/// A picture made of `fill`.
fn picture_of(fill: u8, millis: i64, keyframe: bool, bytes: usize) -> Media {
    let at = Ticks::from_millis(1_000_000 + millis);
    // What a picture is made of lets a reader see that nothing was mixed up.
    let payload = Bytes::from(vec![fill; bytes]);
    Media::Packet(Packet { track: Track::Video, dts: at, pts: at, keyframe, payload })
}

fn sound(millis: i64) -> Media {
    let at = Ticks::from_millis(1_000_000 + millis);
    Media::Packet(Packet {
        track: Track::Audio,
        dts: at,
        pts: at,
        keyframe: true,
        payload: Bytes::from(vec![7; 200]),
    })
}

fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}

/// Reads a live answer.
struct Viewer {
    stream: TcpStream,
    head: String,
    parser: flv::Parser,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Script,
    VideoHeader(u8),
    AudioHeader,
    Key(u32),
    Picture(u32),
    Sound(u32),
}

impl Viewer {
    fn new(mut stream: TcpStream) -> Viewer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).expect("an answer"), 1, "{}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text");
        Viewer { stream, head, parser: flv::Parser::new(flv::BODY_BYTES_MAX) }
    }

    /// The next item; `None` at the end.
    fn item(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.parser.pull().expect("well-formed FLV") {
                return Some(item);
            }
            let mut piece = [0; 16_384];
            match self.stream.read(&mut piece).expect("in time") {
                0 => return None,
                read => self.parser.push(&piece[..read]),
            }
        }
    }

    fn tracks(&mut self) -> (bool, bool) {
        match self.item() {
            Some(Item::Header { has_video, has_audio }) => (has_video, has_audio),
            other => panic!("{other:?}"),
        }
    }

    fn seen(&mut self) -> Option<Seen> {
        let Item::Tag { kind, millis, body } = self.item()? else { panic!("a second header") };
        Some(match kind {
            TagType::Script => Seen::Script,
            TagType::Audio if body[1] == 0 => Seen::AudioHeader,
            TagType::Audio => Seen::Sound(millis),
            TagType::Video => match flv::parse_video(&body).expect("a video body") {
                VideoBody::Header { record, .. } => Seen::VideoHeader(record[0]),
                VideoBody::Frame { keyframe, payload, .. } => {
                    assert!(payload.iter().all(|byte| *byte == payload[0]), "one picture's bytes");
                    if keyframe { Seen::Key(millis) } else { Seen::Picture(millis) }
                }
                VideoBody::Nothing => panic!("nothing"),
            },
        })
    }

    fn take(&mut self, count: usize) -> Vec<Seen> {
        (0..count).map(|_| self.seen().expect("more")).collect()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = clock::now();
    while !holds() {
        assert!(clock::now() - start < DEADLINE, "{what} never came");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_viewer_starts_at_the_newest_keyframe_with_its_headers_and_at_time_zero() {
    let stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 5_000);
    stage.sound(5);
    stage.picture(40, true, 5_000);
    stage.sound(38);
    stage.sound(60);
    stage.picture(80, false, 300);
    let mut viewer = stage.watch("/live/main.flv");
    assert!(
        viewer.head.starts_with("HTTP/1.1 200 OK\r\n") && viewer.head.contains("video/x-flv"),
        "{}",
        viewer.head
    );
    assert!(viewer.head.contains("access-control-allow-origin: *"));
    assert_eq!(viewer.tracks(), (true, true));
    let start = [
        Seen::Script,
        Seen::VideoHeader(1),
        Seen::AudioHeader,
        Seen::Key(0),
        Seen::Sound(20),
        Seen::Picture(40),
    ];
    assert_eq!(viewer.take(6), start, "sound from before the picture is left out");
    stage.sound(82);
    stage.picture(120, false, 20_000);
    assert_eq!(viewer.take(2), [Seen::Sound(42), Seen::Picture(80)]);
    assert_eq!(stage.metric("footlight_viewers{stream=\"main\"}"), 1);
    drop(viewer);
    until("the viewer's place", || stage.server().viewers() == 0);
}

#[test]
fn who_wants_the_live_edge_gets_nothing_old() {
    let stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 500);
    let mut viewer = stage.watch("/live/main.live.flv?gop=0");
    assert_eq!(viewer.tracks(), (true, true));
    assert_eq!(viewer.take(3), [Seen::Script, Seen::VideoHeader(1), Seen::AudioHeader]);
    stage.picture(40, false, 500);
    stage.sound(41);
    stage.picture(80, true, 500);
    stage.sound(81);
    stage.picture(120, false, 500);
    assert_eq!(viewer.take(3), [Seen::Key(0), Seen::Sound(1), Seen::Picture(40)]);
}

#[test]
fn a_stream_without_sound_says_so_and_one_that_has_not_begun_says_when_to_try_again() {
    let stage = Stage::new();
    let waiting = stage.get("/live/main.flv");
    assert_eq!(status(&waiting), 503);
    assert!(waiting.contains("retry-after: 1"), "{waiting}");
    stage.publisher.publish(layout(1, false));
    stage.picture(0, true, 500);
    let mut viewer = stage.watch("/live/main.flv");
    assert_eq!(viewer.tracks(), (true, false));
    assert_eq!(viewer.take(3), [Seen::Script, Seen::VideoHeader(1), Seen::Key(0)]);
}

#[test]
fn a_viewer_who_comes_early_waits_for_the_camera() {
    let stage = Stage::new();
    let mut stream = stage.connect();
    write!(stream, "GET /live/main.flv HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
    until("the viewer", || stage.server().viewers() == 1);
    stage.begin();
    stage.picture(0, true, 500);
    let mut viewer = Viewer::new(stream);
    assert_eq!(viewer.tracks(), (true, true));
    assert_eq!(viewer.take(4)[3], Seen::Key(0));
}

#[test]
fn viewers_stay_while_the_source_restarts_and_go_on_at_a_keyframe_with_its_new_headers() {
    let stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 500);
    let mut viewer = stage.watch("/live/main.flv");
    viewer.tracks();
    assert_eq!(viewer.take(4)[3], Seen::Key(0));
    stage.publisher.publish(layout(2, true));
    stage.picture(2_000, false, 500);
    stage.picture(2_040, true, 500);
    stage.picture(2_080, false, 500);
    let after =
        [Seen::Script, Seen::VideoHeader(2), Seen::AudioHeader, Seen::Key(2_040), Seen::Picture(2_080)];
    assert_eq!(viewer.take(5), after);
}

#[test]
fn many_viewers_at_once_each_get_every_byte_in_order() {
    let running = Stage::new().run(30_000);
    let stage = &running.stage;
    until("a picture", || stage.hub.channel("main").is_some_and(|channel| channel.stats().keyframes > 0));
    let mut viewers: Vec<Viewer> = (0..30).map(|_| stage.watch("/live/main.flv")).collect();
    for viewer in &mut viewers {
        viewer.tracks();
        assert_eq!(viewer.take(4)[3], Seen::Key(0));
        let mut last = 0;
        for seen in viewer.take(150) {
            if let Seen::Key(millis) | Seen::Picture(millis) = seen {
                assert_eq!(millis, last + 40);
                last = millis;
            }
        }
    }
}

#[test]
fn a_slow_viewer_jumps_to_the_newest_keyframe_and_the_others_do_not_notice() {
    let bounds = Http { viewer_lag: Duration::from_millis(1_200), ..http() };
    let running = Stage::with(bounds).run(60_000);
    let stage = &running.stage;
    until("a picture", || stage.hub.channel("main").is_some_and(|channel| channel.stats().keyframes > 0));
    let slow = stage.connect();
    SockRef::from(&slow).set_recv_buffer_size(20_000).expect("a small buffer");
    (&slow).write_all(b"GET /live/main.flv HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
    let mut quick = stage.watch("/live/main.flv");
    quick.tracks();
    let mut last = None;
    while stage.metric("footlight_viewer_jumps_total{stream=\"main\"}") < 2 {
        if let Some(Seen::Key(millis) | Seen::Picture(millis)) = quick.seen() {
            assert!(last.is_none_or(|last| millis == last + 40), "{last:?} {millis}");
            last = Some(millis);
        }
    }
    // Now it reads again: what it has is whole, times rise, and after each gap comes a keyframe.
    let mut slow = Viewer::new(slow);
    slow.tracks();
    let (mut last, mut jumps) = (None, 0);
    while jumps == 0 {
        let (millis, is_key) = match slow.seen().expect("more") {
            Seen::Key(millis) => (millis, true),
            Seen::Picture(millis) => (millis, false),
            _ => continue,
        };
        if let Some(last) = last
            && millis != last + 40
        {
            assert!(is_key && millis > last, "{last} {millis}");
            jumps += 1;
        }
        last = Some(millis);
    }
    assert_eq!(stage.metric("footlight_viewer_cuts_total{stream=\"main\"}"), 0);
}

/// Sources change, sockets block in the midst of headers and pictures, readers are overrun: whatever a viewer gets is
/// whole, in order, and stands under its own headers.
#[test]
fn however_a_viewer_lags_each_picture_stands_under_its_own_headers() {
    let bounds = Http { viewer_lag: Duration::from_millis(300), ..http() };
    let stage = Stage::with(bounds);
    let small = Limits { cache_packets: 40, ..Limits::default() };
    let publisher = stage.hub.open("main", small);
    publisher.publish(layout(0, true));
    publisher.publish(picture_of(0, 0, true, 2_000));
    let readers: Vec<_> = (0..6u32)
        .map(|number| {
            let stream = stage.connect();
            SockRef::from(&stream).set_recv_buffer_size(8_192 << number).expect("a buffer");
            (&stream).write_all(b"GET /live/main.flv HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
            crate::base::threads::spawn("test", "reader", move || {
                let mut viewer = Viewer::new(stream);
                viewer.tracks();
                let (mut era, mut last, mut gaps, mut pictures) = (None, None, 0, 0u32);
                while let Some(item) = viewer.item() {
                    let Item::Tag { kind: TagType::Video, millis, body } = item else { continue };
                    match flv::parse_video(&body).expect("a video body") {
                        VideoBody::Header { record, .. } => era = Some(record[0]),
                        VideoBody::Frame { keyframe, payload, .. } => {
                            assert!(payload.iter().all(|byte| Some(*byte) == era), "under headers {era:?}");
                            if last.is_none_or(|last| millis != last + 40) {
                                assert!(
                                    keyframe && last.is_none_or(|last| millis > last),
                                    "{last:?} {millis}"
                                );
                                gaps += 1;
                            }
                            last = Some(millis);
                            pictures += 1;
                        }
                        VideoBody::Nothing => panic!("nothing"),
                    }
                    // Each at its own, uneven pace.
                    if pictures % (7 + number) == 0 {
                        std::thread::park_timeout(Duration::from_millis(u64::from(40 * (6 - number))));
                    }
                }
                (pictures, gaps)
            })
            .expect("a thread")
        })
        .collect();
    until("the viewers", || stage.server().viewers() == 6);
    let (mut seed, mut era) = (0x1234_5678u32, 0u8);
    for number in 1i64..=1_500 {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        let change = seed.is_multiple_of(23);
        if change {
            era = era.wrapping_add(1);
            publisher.publish(layout(era, true));
        }
        publisher.publish(picture_of(
            era,
            number * 40,
            change || number % 12 == 0,
            500 + (seed >> 8) as usize % 40_000,
        ));
        publisher.publish(sound(number * 40 + 1));
        if number % 3 == 0 {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
    drop(publisher);
    let seen: Vec<(u32, u32)> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    let (pictures, gaps) = seen.iter().fold((0, 0), |sum, seen| (sum.0 + seen.0, sum.1 + seen.1));
    assert!(pictures > 200 && gaps > 12, "nobody read, or nobody lagged: {seen:?}");
}

#[test]
fn a_viewer_that_takes_nothing_is_cut() {
    let bounds = Http { viewer_stall: Duration::from_millis(700), ..http() };
    let running = Stage::with(bounds).run(60_000);
    let stage = &running.stage;
    until("a picture", || stage.hub.channel("main").is_some_and(|channel| channel.stats().keyframes > 0));
    let dead = stage.connect();
    SockRef::from(&dead).set_recv_buffer_size(20_000).expect("a small buffer");
    (&dead).write_all(b"GET /live/main.flv HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
    until("the cut", || stage.metric("footlight_viewer_cuts_total{stream=\"main\"}") == 1);
    assert_eq!(stage.server().viewers(), 0);
}

#[test]
fn places_are_bounded_and_the_bounds_can_be_changed_while_it_runs() {
    let stage = Stage::with(Http { max_viewers: 2, ..http() });
    stage.begin();
    stage.picture(0, true, 500);
    let _viewers = [stage.watch("/live/main.flv"), stage.watch("/live/main.flv")];
    let refused = stage.get("/live/main.flv");
    assert_eq!(status(&refused), 503, "{refused}");
    assert!(refused.contains("max_viewers") && refused.contains("retry-after"), "{refused}");
    stage.server().reconfigure(&Http { max_viewers: 9, max_viewers_per_address: 2, ..stage.http.clone() });
    assert_eq!(status(&stage.get("/live/main.flv")), 429);
    stage.server().reconfigure(&stage.http);
    assert_eq!(status(&stage.get("/live/main.flv")), 503);
    stage.server().reconfigure(&Http { max_viewers: 0, ..stage.http.clone() });
    stage.watch("/live/main.flv");
    assert_eq!(stage.metric("footlight_viewers_refused_total{reason=\"max_viewers\"}"), 2);
}

#[test]
fn each_mistake_gets_its_answer() {
    let stage = Stage::new();
    let long = format!("/{}", "x".repeat(3_000));
    let request = |head: &str| format!("{head}\r\nhost: box\r\nconnection: close\r\n\r\n");
    let fat = format!("GET / HTTP/1.1\r\nhost: box\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nhost: box\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (request, code, words) in [
        (request("GET /live/other.flv HTTP/1.1"), 404, "There is: main."),
        (request("GET /live/%3Cb%3E.flv HTTP/1.1"), 404, "text/plain"),
        (request("GET /watch/other HTTP/1.1"), 404, "There is: main."),
        (request("GET /live/other.flv HTTP/1.1\r\naccept: application/json"), 404, "\"streams\":[\"main\"]"),
        (request("GET /nowhere HTTP/1.1"), 404, "nothing here"),
        (request("GET /api/v1/orders HTTP/1.1"), 404, "application/problem+json"),
        (request("GET /live/%zz.flv HTTP/1.1"), 400, "text/plain"),
        (request("GET /live/%zz.flv HTTP/1.1"), 400, "percent"),
        (request("GET /live/main.flv?gop=7 HTTP/1.1"), 400, "gop"),
        (request("DELETE /live/main.flv HTTP/1.1"), 405, "allow: GET, HEAD, OPTIONS"),
        (request(&format!("GET {long} HTTP/1.1")), 414, "too long"),
        (fat, 431, ""),
        (many, 431, ""),
        (request("GARBAGE"), 400, ""),
        (request("GET / HTTP/9.9"), 400, ""),
        (request("GET /healthz HTTP/1.1"), 200, "ok"),
        (request("GET /readyz HTTP/1.1"), 503, "stream main has no picture"),
        (request("GET / HTTP/1.1"), 302, "location: /watch/main"),
        (request("HEAD /live/main.flv HTTP/1.1"), 200, "video/x-flv"),
        (request("OPTIONS /live/main.flv HTTP/1.1"), 204, "access-control-allow-methods: GET, HEAD, OPTIONS"),
        (request("OPTIONS /healthz HTTP/1.1"), 204, "allow: GET, HEAD, OPTIONS"),
        (request("OPTIONS /api/v1/outputs/cloud/hold HTTP/1.1"), 204, "allow: POST, OPTIONS"),
        (request("OPTIONS /api/v1/outputs/cloud/dance HTTP/1.1"), 404, "no such part"),
    ] {
        let answer = stage.ask(&request);
        let line = request.lines().next().unwrap_or_default();
        assert_eq!(status(&answer), code, "{line:.80}: {answer}");
        assert!(answer.contains(words), "{line:.80}: {answer}");
    }
    assert_eq!(stage.server().viewers(), 0);
}

#[test]
fn a_connection_that_asked_for_a_page_can_become_a_viewer_also_when_it_asks_for_both_at_once() {
    let stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 500);
    let mut stream = stage.connect();
    let ask = "GET /healthz HTTP/1.1\r\nhost: box\r\n\r\n";
    write!(stream, "{ask}{ask}GET /live/main.flv HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
    for _ in 0..2 {
        let page = Viewer::new(stream);
        assert_eq!(status(&page.head), 200);
        stream = page.stream;
        let mut body = [0; 3];
        stream.read_exact(&mut body).expect("a body");
        assert_eq!(&body, b"ok\n");
    }
    let mut viewer = Viewer::new(stream);
    assert_eq!(viewer.tracks(), (true, true));
    assert_eq!(viewer.take(4)[3], Seen::Key(0));
}

#[test]
fn a_client_of_1996_can_watch() {
    let stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 500);
    let mut stream = stage.connect();
    write!(stream, "GET /live/main.flv HTTP/1.0\r\n\r\n").expect("sent");
    let mut viewer = Viewer::new(stream);
    assert!(viewer.head.starts_with("HTTP/1.0 200") && !viewer.head.contains("chunked"), "{}", viewer.head);
    assert_eq!(viewer.tracks(), (true, true));
}

#[test]
fn connections_are_bounded_and_who_comes_later_is_told() {
    let stage = Stage::with(Http { max_connections: 3, ..http() });
    let idle: Vec<TcpStream> = (0..3).map(|_| stage.connect()).collect();
    let mut refused = String::new();
    until("a refusal", || {
        refused = stage.get("/healthz");
        !refused.starts_with("HTTP/1.1 200")
    });
    assert_eq!(status(&refused), 503);
    assert!(refused.contains("max_connections"), "{refused}");
    drop(idle);
    until("a free connection", || stage.get("/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn stopping_ends_viewers_and_idle_connections_at_once() {
    let mut stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 500);
    let mut viewer = stage.watch("/live/main.flv");
    viewer.tracks();
    viewer.take(4);
    let mut idle = stage.connect();
    write!(idle, "GET /healthz HTTP/1.1\r\nhost: box\r\n\r\n").expect("sent");
    let mut first = [0; 15];
    idle.read_exact(&mut first).expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut half = stage.connect();
    write!(half, "GET /healthz HTTP/1.1\r\nhost:").expect("sent");
    until("all connections", || stage.metric("footlight_http_connections") == 4);
    let start: Instant = clock::now();
    stage.stop();
    assert!(clock::now() - start < Duration::from_secs(2));
    assert_eq!(viewer.seen(), None);
    assert!(answer(&mut idle).ends_with("ok\n"));
}

#[test]
fn a_stream_that_is_taken_off_ends_its_viewers_and_may_come_back() {
    let mut stage = Stage::new();
    stage.begin();
    stage.picture(0, true, 500);
    let mut viewer = stage.watch("/live/main.flv");
    viewer.tracks();
    viewer.take(4);
    let other = stage.hub.open("other", Limits::default());
    stage.publisher = other;
    assert_eq!(viewer.seen(), None);
    assert_eq!(status(&stage.get("/live/main.flv")), 404);
    stage.publisher = stage.hub.open("main", Limits::default());
    stage.begin();
    stage.picture(0, true, 500);
    let mut viewer = stage.watch("/live/main.flv");
    viewer.tracks();
    assert_eq!(viewer.take(4)[3], Seen::Key(0));
}
