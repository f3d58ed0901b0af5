//! The tests' own lines, far ends and judge, held against what is known: a line that only seems narrow or silent, or
//! a judge that misses nothing because it sees nothing, would pass everything.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use footlight::base::{clock, threads};
use support::judge::Truth;
use support::net::dns::Dns;
use support::net::{Line, Net, Place, Shape, Tap};
use support::nginx_rtmp::NginxRtmp;
use support::{flv, output_within, rtmp, wait_until};

const MS: Duration = Duration::from_millis(1);

/// A far end that counts what it gets, and the near end of a connection to it.
fn connect(place: &Place) -> (TcpStream, TcpStream) {
    let address = place.address.clone();
    let listener = place.run(move || TcpListener::bind((address, 1_935)).unwrap());
    let near = TcpStream::connect((place.address.as_str(), 1_935)).unwrap();
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_nodelay(true).unwrap();
        end.set_read_timeout(Some(MS * 500)).unwrap();
    }
    (near, far)
}

/// Pushes for a while, and hands back the bits a second that arrived.
fn push(line: &Line, near: &TcpStream, far: &TcpStream, length: Duration) -> f64 {
    let mut far = far.try_clone().unwrap();
    let reader =
        threads::spawn(
            "test",
            "reader",
            move || {
                while far.read(&mut [0; 16 << 10]).is_ok_and(|bytes| bytes > 0) {}
            },
        );
    let (start, before) = (clock::now(), line.tap(Tap::delivered_bytes));
    let mut near = near;
    near.set_write_timeout(Some(MS * 100)).unwrap();
    while start.elapsed() < length {
        let _ = near.write(&[7; 16 << 10]);
    }
    let rate = (line.tap(Tap::delivered_bytes) - before) as f64 * 8.0 / start.elapsed().as_secs_f64();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    reader.unwrap().join().unwrap();
    rate
}

#[test]
fn a_line_has_the_round_trip_that_was_asked_for() {
    let mut net = Net::new();
    let (place, _line) = net.line("wire", Shape::default().rtt(MS * 50));
    let (mut near, mut far) = connect(&place);
    let trips = (0..10).map(|_| {
        let start = clock::now();
        near.write_all(&[1]).unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.write_all(&[2]).unwrap();
        near.read_exact(&mut [0]).unwrap();
        start.elapsed()
    });
    let shortest = trips.min().unwrap();
    println!("a round trip takes {shortest:?}");
    assert!(shortest >= MS * 50 && shortest < MS * 100, "{shortest:?}");
}

#[test]
fn a_narrow_line_lets_through_what_was_asked_for() {
    let mut net = Net::new();
    let (place, line) = net.line("wire", Shape::default().rtt(MS * 20).rate(2_000_000));
    let (near, far) = connect(&place);
    let rate = push(&line, &near, &far, MS * 2_000);
    println!("{:.2} Mbit/s of 2", rate / 1e6);
    assert!((1.2e6..2.0e6).contains(&rate), "{rate}");
}

#[test]
fn a_lossy_line_carries_on_and_repeats() {
    let mut net = Net::new();
    let (place, line) = net.line("wire", Shape::default().rtt(MS * 20).rate(20_000_000).loss(0.05));
    let (near, far) = connect(&place);
    let rate = push(&line, &near, &far, MS * 1_000);
    let info = footlight::base::tcp_info::TcpInfo::of(&near).unwrap();
    println!("{:.2} Mbit/s, {} segments repeated", rate / 1e6, info.retransmits);
    assert!(info.retransmits > 0);
}

#[test]
fn a_silent_line_tells_nobody_and_heals() {
    let mut net = Net::new();
    let (place, line) = net.line("wire", Shape::default());
    let (mut near, mut far) = connect(&place);
    line.fall_silent();
    near.write_all(&[1]).unwrap();
    let error = far.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "nothing came and nobody was told");
    assert_eq!(line.tap(|tap| (tap.flows[0].acked, tap.delivered_bytes())), (0, 0));
    line.heal();
    wait_until(Duration::from_secs(10), "the repeat arrives", || line.tap(|tap| tap.flows[0].acked == 1));
    far.read_exact(&mut [0]).unwrap();
}

#[test]
fn connections_are_reset_and_ports_closed_as_asked() {
    let mut net = Net::new();
    let (place, line) = net.line("wire", Shape::default());
    let (mut near, far) = connect(&place);
    place.reset_connections(1_935);
    let error = near.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(line.tap(|tap| tap.flows[0].ended.is_some()));
    drop(far);
    let address = place.address.clone();
    let _listener = place.run(move || TcpListener::bind((address, 1_936)).unwrap());
    let knock = || TcpStream::connect((place.address.as_str(), 1_936));
    knock().unwrap();
    place.close_port(1_936);
    assert_eq!(knock().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    place.open_port(1_936);
    knock().unwrap();
}

#[test]
fn names_are_resolved_by_the_tests_own_server_until_it_is_cut() {
    let mut net = Net::new();
    // getent asks for nothing where there is no address but 127.0.0.1.
    let _line = net.line("wire", Shape::default());
    let dns = Dns::start(&[("a.cloud.test", "10.77.1.2")]);
    let folder = tempfile::tempdir().unwrap();
    let ask = |name: &str| {
        let words = Dns::words(folder.path(), "getent");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["ahostsv4", name]);
        String::from_utf8(output_within(Duration::from_secs(20), &mut command).stdout).unwrap()
    };
    assert!(ask("a.cloud.test").contains("10.77.1.2"));
    assert_eq!(ask("b.cloud.test"), "");
    dns.cut();
    assert_eq!(ask("a.cloud.test"), "");
    assert!(dns.ignored() > 0);
}

/// Three seconds of ffmpeg's test picture, pushed by ffmpeg to a server behind a line.
fn pushed_by_ffmpeg() -> (Net, NginxRtmp, Line, PathBuf) {
    let mut net = Net::new();
    let (place, line) = net.line("wire", Shape::default().rtt(MS * 20));
    let nginx = NginxRtmp::start_in(place);
    let mut ffmpeg = Command::new(support::require("ffmpeg", "apt-get install ffmpeg"));
    ffmpeg.args([
        "-v",
        "error",
        "-re",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=25,noise=alls=20:allf=t",
    ]);
    ffmpeg.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "3", "-c:v", "libx264"]);
    ffmpeg.args(["-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-pix_fmt", "yuv420p"]);
    ffmpeg.args(["-c:a", "aac", "-f", "flv", &nginx.url("k3y")]);
    let pushed = output_within(Duration::from_secs(60), &mut ffmpeg);
    assert!(pushed.status.success(), "{}", pushed.stderr);
    wait_until(Duration::from_secs(10), "nginx hears the end", || nginx.log().contains("disconnect"));
    wait_until(Duration::from_secs(10), "the last acknowledgement comes back", || {
        line.tap(|tap| tap.flows[0].acked == tap.flows[0].bytes.len())
    });
    let recording = nginx.recordings().remove(0);
    (net, nginx, line, recording)
}

#[test]
fn the_judge_finds_everything_where_everything_is_and_what_was_taken_out() {
    let (_net, _nginx, line, recording) = pushed_by_ffmpeg();
    let sent = line.tap(|tap| rtmp::messages(&tap.flows[0].bytes));
    let sent: Vec<_> = sent.into_iter().map(|message| message.tag).collect();
    let truth = Truth::new(sent);
    assert!(truth.tags.len() > 200, "{}", truth.tags.len());

    let whole = truth.judge(std::slice::from_ref(&recording));
    assert_eq!(whole.span, Some((0, truth.tags.len() - 1)));
    assert!(whole.missing.is_empty(), "{}", truth.tell(&whole.missing));
    assert_eq!(
        (whole.strangers.len(), whole.duplicates, whole.moved.len(), whole.runs_back.len()),
        (0, 0, 0, 0)
    );
    let wires = line.tap(|tap| truth.wires([tap]));
    assert_eq!((wires.acked.len(), wires.delivered.len()), (truth.tags.len(), truth.tags.len()));
    assert_eq!(wires.offsets, [0]);
    let folder = tempfile::tempdir().unwrap();
    let decoded = truth.decode_joined(&whole, &folder.path().join("joined.flv"));
    let pictures = truth.tags.iter().filter(|tag| tag.is_picture()).count();
    assert_eq!((decoded.complaints.trim(), decoded.pictures.len()), ("", pictures));

    // A copy without a picture, with one moved and one that nobody sent.
    let mut tags = flv::read_file(&recording);
    let places: Vec<usize> = (0..tags.len()).filter(|&at| tags[at].is_picture()).collect();
    tags[places[20]].millis += 7;
    tags[places[30]].body[40] ^= 1;
    tags.remove(places[40]);
    let copy = folder.path().join("copy.flv");
    flv::write_file(&copy, &tags);
    let verdict = truth.judge(std::slice::from_ref(&copy));
    assert_eq!((verdict.moved.len(), verdict.strangers.len(), verdict.missing.len()), (1, 1, 3));
    assert!(verdict.moved[0].contains("by 7 ms"), "{:?}", verdict.moved);
    assert_eq!(truth.broken_gops(&verdict), 2);
    assert!(verdict.lost(&wires).is_empty(), "the far end had acknowledged them");
    assert!(truth.decode_joined(&verdict, &folder.path().join("torn.flv")).pictures.len() < pictures);

    // Together with the whole recording nothing is missing.
    let both = truth.judge(&[copy, recording]);
    assert!(both.missing.is_empty());
    assert!(both.duplicates > 200);
}
