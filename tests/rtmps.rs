//! The box pushes through TLS: the built binary, nginx as the cloud, and certificates good and bad.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::fmt::Write as _;
use std::time::Duration;

use rcgen::date_time_ymd;
use support::judge::Source;
use support::net::{Net, Place, Shape};
use support::nginx_rtmp::NginxRtmp;
use support::tls_front::{Authority, Identity, TlsFront};
use support::{Footlight, assert_decodes, assert_monotonic, ffprobe, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

/// A small stream, and an output for each of `primaries`: a name, and what stands behind `primary = `.
fn config(primaries: &[(&str, String)]) -> String {
    let mut text = "[[stream]]\nname = \"main\"\nsize = \"320x180\"\nbitrate = \"400kbit/s\"\n".to_owned();
    for (name, primary) in primaries {
        let _ = write!(text, "\n[[output]]\nname = \"{name}\"\nstream = \"main\"\nprimary = {primary}\n");
    }
    text
}

fn live(footlight: &Footlight, output: &str) -> bool {
    footlight.metric("footlight_output_live", &format!("output=\"{output}\"")) == Some(1.0)
}

#[test]
fn a_cloud_behind_tls_gets_the_whole_stream_and_the_good_bye() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let nginx = NginxRtmp::start();
    let front = TlsFront::start(&authority.sign("localhost", |_| {}), nginx.port());
    let ca_file = authority.write(folder.path());
    let primary = format!("{{ url = \"{}\", ca_file = {ca_file:?} }}", front.url("s3cr3tk3y"));
    let mut footlight = Footlight::start(&config(&[("cloud", primary)]));
    let recording = nginx.wait_for_recording(DEADLINE, 0, 300_000);
    assert!(live(&footlight, "cloud"), "media was acknowledged");

    assert!(footlight.terminate(Duration::from_secs(5)).success());
    wait_until(DEADLINE, "nginx hears the good-bye", || nginx.log().contains("deleteStream"));
    assert!(!footlight.logs().contains("s3cr3tk3y"), "the key stands in the log:\n{}", footlight.logs());
    let path = recording.to_str().unwrap();
    let probe = ffprobe(path, 60);
    assert_eq!(probe.track("audio").codec, "aac");
    assert_monotonic(&probe);
    assert!(assert_decodes(path, 60).pictures.len() > 60);
}

#[test]
fn whom_to_trust_is_said_by_the_system_a_file_or_a_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let nginx = NginxRtmp::start();
    let signed = TlsFront::start(&authority.sign("localhost", |_| {}), nginx.port());
    let own = Identity::self_signed("somebody.example");
    let alone = TlsFront::start(&own, nginx.port());
    let own_file = own.write(folder.path());
    let ended = authority.sign("localhost", |params| params.not_after = date_time_ymd(2_024, 2, 29));
    let late = TlsFront::start(&ended, nginx.port());
    let outputs = [
        ("system", format!("\"{}\"", signed.url("k-system"))),
        ("file", format!("{{ url = \"{}\", ca_file = {own_file:?} }}", alone.url("k-file"))),
        (
            "fingerprint",
            format!(
                "{{ url = \"{}\", certificate_sha256 = \"{}\" }}",
                late.url("k-pin"),
                ended.fingerprint()
            ),
        ),
    ];
    let footlight = Footlight::with(&config(&outputs))
        .env("SSL_CERT_FILE", authority.write(folder.path()).to_str().unwrap())
        .start();
    for (output, _) in &outputs {
        wait_until(DEADLINE, &format!("{output} is live\n{}", footlight.logs()), || live(&footlight, output));
    }
}

#[test]
fn who_is_not_trusted_is_told_of_in_words_and_put_right_by_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let nginx = NginxRtmp::start();
    let good = authority.sign("localhost", |_| {});
    let front = TlsFront::start(&good, nginx.port());
    let ended = authority.sign("localhost", |params| params.not_after = date_time_ymd(2_024, 2, 29));
    let late = TlsFront::start(&ended, nginx.port());
    let other = TlsFront::start(&authority.sign("elsewhere.example", |_| {}), nginx.port());
    let ca_file = authority.write(folder.path());
    let with_file = |url: String| format!("{{ url = \"{url}\", ca_file = {ca_file:?} }}");
    let pinned = |fingerprint: &str| {
        format!("{{ url = \"{}\", certificate_sha256 = \"{fingerprint}\" }}", front.url("k-pin"))
    };
    let plain = format!("rtmps://localhost:{}/live/k-plain", nginx.port());
    let secure = front.url("k-secure").replace("rtmps:", "rtmp:");
    let outputs = [
        ("untrusted", format!("\"{}\"", front.url("k-untrusted"))),
        ("ended", with_file(late.url("k-ended"))),
        ("misnamed", with_file(other.url("k-misnamed"))),
        ("pinned", pinned(&ended.fingerprint())),
        ("plain", format!("\"{plain}\"")),
        ("secure", format!("\"{secure}\"")),
    ];
    let footlight = Footlight::start(&config(&outputs));
    let shown = good.fingerprint();
    for words in [
        &format!(
            "nobody this box trusts; if it is the right server, name its certificate or authority by `ca_file`, or its fingerprint: certificate_sha256 = \"{shown}\""
        ) as &str,
        "its certificate ended on 2024-02-29, and this box's clock says 2",
        "its certificate is for elsewhere.example, not for localhost",
        &format!("not the one that `certificate_sha256` names; the server shows {shown}"),
        "did not finish the TLS handshake within 4 s; check the port, and write rtmp:// if it takes plain RTMP",
        "closed the connection during the handshake; check host and port in `primary`, and whether it wants rtmps://",
    ] {
        footlight.wait_for_log(DEADLINE, words);
    }
    assert_eq!(nginx.recordings().len(), 0, "nothing was sent to anybody");

    footlight.rewrite(&config(&[("pinned", pinned(&shown))]));
    footlight.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until(DEADLINE, "the right fingerprint helps", || live(&footlight, "pinned"));
    for (name, _) in &outputs {
        assert!(!footlight.logs().contains(&format!("k-{name}")), "a key stands in the log");
    }
}

/// A destination behind TLS at the far end of a line, the certificate named by its fingerprint.
fn behind(line: Place) -> (NginxRtmp, TlsFront, String) {
    let identity = Identity::self_signed("cloud.example");
    let nginx = NginxRtmp::start_in(line);
    let front = TlsFront::start_in(&identity, nginx.place());
    let (address, fingerprint) = (&nginx.place().address, identity.fingerprint());
    let url = format!("rtmps://{address}:1936/live/k3y");
    let destination = format!("{{ url = \"{url}\", certificate_sha256 = \"{fingerprint}\" }}");
    (nginx, front, destination)
}

#[test]
fn a_line_behind_tls_that_falls_silent_loses_no_frame() {
    let mut net = Net::new();
    let (wired, wire) = net.line("wire", Shape::default().rtt(MS * 50));
    let (mobile, _air) = net.line("air", Shape::default().rtt(MS * 80));
    let (one, _first_front, primary) = behind(wired);
    let (two, _second_front, standby) = behind(mobile);
    let text = config(&[("cloud", format!("{primary}\nstandby = [{standby}]"))]);
    let mut footlight = Footlight::start(&text);
    let source = Source::watch(footlight.http(), "main");
    one.wait_for_recording(DEADLINE, 0, 200_000);
    wire.fall_silent();
    let again = two.wait_for_recording(DEADLINE, 0, 300_000);
    assert!(footlight.terminate(Duration::from_secs(5)).success());
    wait_until(DEADLINE, "the standby hears the good-bye", || two.log().contains("deleteStream"));

    let truth = source.truth();
    let mut recordings = one.recordings();
    recordings.push(again);
    let verdict = truth.judge(&recordings);
    let (first, last) = verdict.span.unwrap();
    println!("{} pictures and sounds, {} of them twice", last - first + 1, verdict.duplicates);
    assert!(verdict.missing.is_empty(), "{}", truth.tell(&verdict.missing));
    assert_eq!(
        (verdict.strangers.len(), verdict.moved.len(), verdict.runs_back.len()),
        (0, 0, 0),
        "{verdict:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(truth.decode_joined(&verdict, &folder.path().join("joined.flv")).complaints.trim(), "");
}
