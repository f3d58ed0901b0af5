//! Outputs against a real RTMP server, over lines that are well, narrow and dead.
//!
//! The stream is a real clip, read from FLV and played into a hub in real time; the far end's recording is then
//! judged by ffmpeg.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use footlight::base::ticks::Ticks;
use footlight::base::units::PictureSize;
use footlight::base::{clock, threads};
use footlight::config::schema::{Destination, Output, PushUrl};
use footlight::hub::{Hub, Limits};
use footlight::media::aac;
use footlight::media::flv::{AudioBody, Item, Parser, TagType, VideoBody, parse_audio, parse_video};
use footlight::media::packet::{AudioConfig, Layout, Media, Packet, Track, VideoConfig};
use footlight::uplink::{OutputStatus, Outputs, State};
use support::nginx_rtmp::NginxRtmp;
use support::{assert_monotonic, decode, ffprobe, output_within, wait_for, wait_until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_secs(30);

/// The clip's picture.
const SIZE: PictureSize = PictureSize { width: 640, height: 360 };

#[test]
fn what_a_real_server_receives_decodes_without_a_complaint() {
    let nginx = NginxRtmp::start();
    let show = Show::start(&Clip::make(500));
    let uplink = Uplink::start(&show, nginx.port(), "live", "k3y");
    let recording = nginx.wait_for_recording(DEADLINE, 0, 300_000);
    let status = uplink.wait("media is acknowledged", |status| status.state == State::Live);
    assert!(status.bytes_acked > 0 && status.bytes_acked <= status.bytes_sent);
    assert!(status.rtt.is_some_and(|rtt| rtt < Duration::from_secs(1)));
    uplink.shutdown();
    wait_until(DEADLINE, "nginx hears the good-bye", || nginx.log().contains("deleteStream"));
    let decoded = judge(&recording);
    assert!(decoded.pictures.len() > 60 && decoded.sounds.len() > 90, "{decoded:?}");
    assert_eq!(decoded.complaints.trim(), "");
}

#[test]
fn a_server_that_was_killed_and_came_back_gets_the_stream_again() {
    let mut nginx = NginxRtmp::start();
    let show = Show::start(&Clip::make(500));
    let uplink = Uplink::start(&show, nginx.port(), "live", "k3y");
    nginx.wait_for_recording(DEADLINE, 0, 50_000);
    nginx.kill();
    let status = uplink.wait("the loss is noticed", |status| status.last_error.is_some());
    assert!(!format!("{status:?}").contains("k3y"));
    uplink.wait("it cannot be reached", |status| {
        status.last_error.as_ref().is_some_and(|words| words.contains("cannot be reached"))
    });
    nginx.start_again();
    let recording = nginx.wait_for_recording(DEADLINE, 1, 200_000);
    let status = uplink.wait("it is live again", |status| status.state == State::Live);
    assert_eq!(status.reconnects, 1);
    uplink.shutdown();
    assert_eq!(judge(&recording).complaints.trim(), "");
}

#[test]
fn an_application_that_does_not_exist_is_told_in_clear_words() {
    let nginx = NginxRtmp::start();
    let show = Show::start(&Clip::make(500));
    let uplink = Uplink::start(&show, nginx.port(), "life", "k3y");
    let words = uplink.wait("it is refused", |status| status.last_error.is_some()).last_error.unwrap();
    let host = format!("rtmp://127.0.0.1:{}", nginx.port());
    assert!(words.starts_with(&host), "{words}");
    assert!(words.contains("application") && words.contains("`primary`"), "{words}");
    assert!(!words.contains("k3y") && !words.contains("life"), "{words}");
}

#[test]
fn a_key_that_somebody_else_uses_is_told_in_clear_words() {
    let nginx = NginxRtmp::start();
    let show = Show::start(&Clip::make(500));
    let first = Uplink::start(&show, nginx.port(), "live", "k3y");
    first.wait("the first is live", |status| status.state == State::Live);
    let second = Uplink::start(&show, nginx.port(), "live", "k3y");
    let words = second.wait("it is refused", |status| status.last_error.is_some()).last_error.unwrap();
    assert!(words.contains("NetStream.Publish.BadName") && words.contains("`primary`"), "{words}");
    assert!(!words.contains("k3y"), "{words}");
}

#[test]
fn a_server_that_hangs_is_left_within_a_bounded_time_and_taken_up_again() {
    let nginx = NginxRtmp::start();
    let show = Show::start(&Clip::make(2_000));
    let uplink = Uplink::start(&show, nginx.port(), "live", "k3y");
    uplink.wait("it is live", |status| status.state == State::Live);
    nginx.freeze();
    let frozen = clock::now();
    let status = uplink.wait("the silence is noticed", |status| status.last_error.is_some());
    let noticed = clock::now() - frozen;
    let words = status.last_error.unwrap();
    assert!(words.contains("dialled afresh"), "{words}");
    // Five seconds of patience, after what the kernels' buffers hold.
    assert!(noticed < Duration::from_secs(20), "{noticed:?}");
    println!("a hanging server was left after {noticed:?}");
    nginx.thaw();
    uplink.wait("it is live again", |status| status.state == State::Live && status.reconnects > 0);
}

#[test]
fn a_narrow_line_loses_ends_of_gops_and_no_sound() {
    let nginx = NginxRtmp::start();
    let show = Show::start(&Clip::make(2_000));
    // Sound at 64 kbit/s fits, a picture of 2 Mbit/s does not.
    let line = NarrowLine::open(nginx.port(), 80_000);
    let uplink = Uplink::start(&show, line.port, "live", "k3y");
    uplink.wait("pictures are left out", |status| status.left_out > 50);
    let recording = nginx.wait_for_recording(DEADLINE, 0, 1_500_000);
    let status = uplink.status();
    assert!(status.behind < Ticks(8 * Ticks::PER_SECOND), "{status:?}");
    assert_eq!(status.reconnects, 0, "{status:?}");
    uplink.shutdown();
    drop(line);
    let probe = ffprobe(recording.to_str().unwrap(), 60);
    assert_monotonic(&probe);
    // Whole ends of GOPs went: what came decodes.
    assert_eq!(decode(recording.to_str().unwrap(), 60).complaints.trim(), "");
    let sound = probe.packets_of("audio");
    let gap = sound.windows(2).map(|pair| pair[1].dts - pair[0].dts).fold(0.0, f64::max);
    assert!(gap < 0.1, "a gap of {gap} s in the sound");
}

fn judge(recording: &Path) -> support::Decoded {
    let path = recording.to_str().unwrap();
    let probe = ffprobe(path, 60);
    assert_eq!(probe.track("video").codec, "h264");
    assert_eq!(probe.track("audio").codec, "aac");
    assert_monotonic(&probe);
    let pictures = probe.packets_of("video");
    assert!(pictures[0].keyframe, "the recording begins with a keyframe");
    decode(path, 60)
}

/// A real clip as FLV: ten seconds, a keyframe each second.
struct Clip {
    _folder: TempDir,
    layout: Layout,
    packets: Vec<Packet>,
}

impl Clip {
    #[track_caller]
    fn make(kilobits: u32) -> Clip {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.flv");
        let ffmpeg = support::require("ffmpeg", "apt-get install ffmpeg");
        let rate = format!("{kilobits}k");
        let picture = format!("testsrc2=size={SIZE}:rate=25,noise=alls=20:allf=t");
        let mut make = Command::new(ffmpeg);
        make.args(["-v", "error", "-f", "lavfi", "-i", &picture]);
        make.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
        make.args(["-t", "10", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]);
        make.args(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate, "-g", "25", "-pix_fmt", "yuv420p"]);
        make.args(["-c:a", "aac", "-b:a", "64k", "-f", "flv"]).arg(&path);
        let made = output_within(Duration::from_secs(60), &mut make);
        assert!(made.status.success(), "{}", made.stderr);
        let (layout, packets) = read_clip(&std::fs::read(&path).unwrap());
        Clip { _folder: folder, layout, packets }
    }
}

fn read_clip(bytes: &[u8]) -> (Layout, Vec<Packet>) {
    let mut parser = Parser::new(1 << 20);
    parser.push(bytes);
    let (mut layout, mut packets) = (Layout::default(), Vec::new());
    while let Some(item) = parser.pull().unwrap() {
        let Item::Tag { kind, millis, body } = item else { continue };
        let dts = Ticks::from_millis(i64::from(millis));
        let (track, pts, keyframe, payload) = match kind {
            TagType::Script => continue,
            TagType::Video => match parse_video(&body).unwrap() {
                VideoBody::Header { codec, record } => {
                    layout.video = Some(VideoConfig { codec, record, size: SIZE, fps: None, bitrate: None });
                    continue;
                }
                VideoBody::Frame { keyframe, cts_millis, payload, .. } => {
                    (Track::Video, dts + Ticks::from_millis(i64::from(cts_millis)), keyframe, payload)
                }
                VideoBody::Nothing => continue,
            },
            TagType::Audio => match parse_audio(&body).unwrap() {
                AudioBody::Header(record) => {
                    layout.audio = Some(AudioConfig { ..aac::config_of(record).unwrap() });
                    continue;
                }
                AudioBody::Frame(payload) => (Track::Audio, dts, true, payload),
            },
        };
        packets.push(Packet { track, dts, pts, keyframe, payload });
    }
    assert!(layout.video.is_some() && layout.audio.is_some() && packets.len() > 500);
    (layout, packets)
}

/// The clip, played into a hub's channel in real time, over and over, until dropped.
struct Show {
    hub: Hub,
    over: Arc<AtomicBool>,
    player: Option<JoinHandle<()>>,
}

impl Show {
    fn start(clip: &Clip) -> Show {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        publisher.publish(Media::Layout(clip.layout.clone()));
        let over = Arc::new(AtomicBool::new(false));
        let (packets, stop) = (clip.packets.clone(), over.clone());
        let player = threads::spawn("test", "player", move || {
            let length = Ticks(10 * Ticks::PER_SECOND);
            let (start, mut round) = (clock::now(), Ticks::ZERO);
            loop {
                for packet in &packets {
                    let (dts, pts) = (packet.dts + round, packet.pts + round);
                    while clock::now() < start + dts.duration() {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        support::wait::pause(Duration::from_millis(2));
                    }
                    publisher.publish(Media::Packet(Packet { dts, pts, ..packet.clone() }));
                }
                round += length;
            }
        });
        Show { hub, over, player: Some(player.unwrap()) }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(player) = self.player.take() {
            let _ = player.join();
        }
    }
}

/// One output, on a runtime of its own.
struct Uplink {
    runtime: Runtime,
    outputs: Outputs,
}

impl Uplink {
    fn start(show: &Show, port: u16, app: &str, key: &str) -> Uplink {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = PushUrl::rtmp("127.0.0.1", port, app, key);
        let output = Output::new("cloud", "main", Destination::new(url));
        let outputs = Outputs::new();
        let running = runtime.enter();
        outputs.start(&output, show.hub.channel("main").unwrap());
        drop(running);
        Uplink { runtime, outputs }
    }

    fn status(&self) -> OutputStatus {
        self.outputs.status().remove(0)
    }

    #[track_caller]
    fn wait(&self, what: &str, is_it: impl Fn(&OutputStatus) -> bool) -> OutputStatus {
        wait_for(DEADLINE, what, || Some(self.status()).filter(&is_it))
    }

    fn shutdown(&self) {
        self.runtime.block_on(self.outputs.shutdown());
    }
}

/// A relay that takes no more than so many bytes a second from whoever connects, in small sips.
struct NarrowLine {
    port: u16,
    over: Arc<AtomicBool>,
}

impl NarrowLine {
    fn open(to_port: u16, bytes_per_second: u64) -> NarrowLine {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // A small window, taken over by accepted sockets: else the kernel hides seconds of backlog in it.
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(4).unwrap();
        let listener = TcpListener::from(socket);
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        threads::spawn("test", "narrow", move || {
            let Ok((near, _)) = listener.accept() else { return };
            let far = TcpStream::connect(("127.0.0.1", to_port)).unwrap();
            let (mut back_from, mut back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            let back = threads::spawn("test", "narrow-back", move || {
                let _ = std::io::copy(&mut back_from, &mut back_to);
            });
            let _ = carry_slowly(near, &far, bytes_per_second, &stop);
            let _ = far.shutdown(Shutdown::Both);
            let _ = back.unwrap().join();
        })
        .unwrap();
        NarrowLine { port, over }
    }
}

impl Drop for NarrowLine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn carry_slowly(
    mut near: TcpStream,
    mut far: &TcpStream,
    bytes_per_second: u64,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let (start, mut carried) = (clock::now(), 0);
    let mut sip = [0; 1_024];
    while !stop.load(Ordering::Relaxed) {
        let bytes = near.read(&mut sip)?;
        if bytes == 0 {
            break;
        }
        far.write_all(&sip[..bytes])?;
        carried += bytes as u64;
        while carried * 1_000 / bytes_per_second > (clock::now() - start).as_millis() as u64 {
            support::wait::pause(Duration::from_millis(2));
        }
    }
    Ok(())
}
