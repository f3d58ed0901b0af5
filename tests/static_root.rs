//! The static binary alone: in a root with nothing else, on any x86-64 Linux. By `make test-machine`.
mod support;

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use footlight::base::clock;
use support::machine::static_binary;
use support::nginx_rtmp::NginxRtmp;
use support::tls_front::{Identity, TlsFront};
use support::{
    Builder, Footlight, Viewer, assert_decodes, assert_monotonic, ffprobe, output_within, require, wait_until,
};

/// The design's bound for the stripped binary with everything inside.
const BINARY_BYTES_MAX: u64 = 20_000_000;
/// The design's bound from exec to the first byte of FLV.
const FIRST_BYTE_MAX: Duration = Duration::from_millis(500);

/// A footlight whose root holds the binary and its configuration, not even `/dev`.
fn in_an_empty_root(config: &str) -> Builder {
    let builder = Footlight::with(config);
    let root = builder.folder().to_str().expect("temporary folders have plain names").to_owned();
    std::fs::copy(static_binary(), builder.folder().join("footlight")).expect("the binary can be copied");
    let chroot = require("chroot", "apt-get install coreutils");
    let chroot = chroot.to_str().expect("a plain name").to_owned();
    let me = std::fs::metadata("/proc/self").expect("/proc is mounted");
    if me.uid() == 0 {
        builder.program(&[&chroot, &root, "/footlight"])
    } else {
        builder.program(&["unshare", "--user", "--map-root-user", &chroot, &root, "/footlight"])
    }
}

#[test]
#[ignore = "needs the static binary: make test-machine"]
fn it_needs_no_interpreter_and_no_library() {
    let binary = static_binary();
    let readelf = require("readelf", "apt-get install binutils");
    let said = output_within(Duration::from_secs(20), Command::new(readelf).arg("-lWd").arg(&binary));
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(!text.contains("INTERP") && !text.contains("(NEEDED)"), "it names others:\n{text}");
    assert!(text.contains("DYN"), "it is position-independent:\n{text}");
    let file = require("file", "apt-get install file");
    let said = output_within(Duration::from_secs(20), Command::new(file).arg(&binary));
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("static-pie linked"), "{text}");
}

#[test]
#[ignore = "needs the static binary: make test-machine"]
fn it_is_small_enough_to_send_to_a_thousand_boxes() {
    let bytes = std::fs::metadata(static_binary()).expect("it is there").len();
    println!("{bytes} bytes");
    assert!(bytes <= BINARY_BYTES_MAX, "{bytes} bytes");
}

#[test]
#[ignore = "needs the static binary: make test-machine"]
fn it_streams_in_an_empty_root_and_finds_localhost() {
    let cloud = TcpListener::bind("127.0.0.1:0").expect("a free port");
    cloud.set_nonblocking(true).expect("a socket");
    let port = cloud.local_addr().expect("it is bound").port();
    let footlight = in_an_empty_root(&format!(
        "[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nsize = \"320x180\"\n\n[[output]]\nname = \"cloud\"\n\
         stream = \"main\"\nprimary = \"rtmp://localhost:{port}/live/key\"\n"
    ))
    .start();
    wait_until(Duration::from_secs(10), "a connection to localhost from the empty root", || {
        cloud.accept().is_ok()
    });
    footlight.wait_for_picture("main");
    let url = footlight.url("/live/main.flv");
    assert_eq!(assert_decodes(&url, 3).size, (320, 180));
    let probe = ffprobe(&url, 2);
    assert_monotonic(&probe);
    assert_eq!((probe.track("video").codec.as_str(), probe.track("audio").codec.as_str()), ("h264", "aac"));
    let page = footlight.get("/watch/main");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<script"), "the page is carried in the binary");
}

#[test]
#[ignore = "needs the static binary: make test-machine"]
fn in_an_empty_root_it_trusts_the_authorities_built_in_and_nobody_else() {
    let nginx = NginxRtmp::start();
    let identity = Identity::self_signed("localhost");
    let front = TlsFront::start(&identity, nginx.port());
    let outputs = [
        ("stranger", format!("\"{}\"", front.url("k3y"))),
        (
            "pinned",
            format!(
                "{{ url = \"{}\", certificate_sha256 = \"{}\" }}",
                front.url("k3y"),
                identity.fingerprint()
            ),
        ),
    ];
    let text: String = (outputs.iter())
        .map(|(name, primary)| {
            format!("\n[[output]]\nname = \"{name}\"\nstream = \"main\"\nprimary = {primary}\n")
        })
        .collect::<Vec<_>>()
        .concat();
    let footlight = in_an_empty_root(&format!(
        "[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nsize = \"320x180\"\n{text}"
    ))
    .start();
    footlight.wait_for_log(Duration::from_secs(20), "those built in are trusted");
    footlight.wait_for_log(Duration::from_secs(20), "nobody this box trusts");
    nginx.wait_for_recording(Duration::from_secs(20), 0, 100_000);
}

#[test]
#[ignore = "needs the static binary: make test-machine"]
fn the_first_byte_comes_within_half_a_second_of_the_start() {
    // The best of three: what is measured is the start, not what else this machine does meanwhile.
    let best = (0..3)
        .map(|_| {
            let builder = in_an_empty_root("[[stream]]\nname = \"main\"\nvideo = \"pattern\"\n");
            let address =
                TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
            let builder = builder.env("FOOTLIGHT_HTTP__LISTEN", &address.to_string());
            let mut command = builder.command(&["run", "--config", "footlight.toml"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            let start = clock::now();
            let mut child = command.spawn().expect("it starts");
            wait_until(Duration::from_secs(20), "the first tag", || {
                Viewer::try_open(address, "/live/main.flv", Duration::from_secs(10))
                    .is_ok_and(|mut viewer| viewer.next_tag().is_ok())
            });
            let took = start.elapsed();
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            took
        })
        .min()
        .expect("three tries");
    println!("{best:?} from exec to the first tag");
    assert!(best <= FIRST_BYTE_MAX, "{best:?}");
}
