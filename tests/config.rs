//! `footlight check` and `footlight run` on configurations that are wrong, one kind after the other: each is
//! refused with exit code 2 and told where, which key, what is wrong and what to do.

#[path = "config/orders.rs"]
mod orders;
mod support;

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::process::BINARY;
use support::tool::{Output, output_within};
use tempfile::TempDir;

/// How long reading a configuration may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// One kind of wrong configuration: its name, the file, where it is wrong, and pieces of what must be said.
type Kind = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Syntax.
const SYNTAX: &[Kind] = &[
    ("a string that does not end", "[box]\nname = \"main\n", "2:13", &["not TOML", "straight double quotes"]),
    ("a value without quotes", "[box]\nname = studio\n", "2:8", &["not TOML", "double quotes"]),
    ("no value", "[http]\nmax_viewers =\n", "2:14", &["not TOML"]),
    ("no equals sign", "[http]\nmax_viewers 5\n", "2:13", &["not TOML"]),
    ("a key twice", "[http]\nmax_viewers = 1\nmax_viewers = 2\n", "3:1", &["duplicate key", "keep one"]),
    ("a table that does not close", "[http\nmax_viewers = 5\n", "1:6", &["not TOML"]),
    ("a table twice", "[http]\n[box]\n[http]\n", "3:2", &["duplicate key"]),
    ("typographic quotes", "[box]\nname = “main”\n", "2:8", &["not TOML", "straight double quotes"]),
    ("YAML", "http:\n  listen: 0.0.0.0:8080\n", "1:5", &["not TOML", "key = value"]),
];

/// Names of keys and tables.
const NAMES: &[Kind] = &[
    ("a misspelt key", "[http]\nlistn = \"0.0.0.0:80\"\n", "2:1", &["http.listn", "did you mean listen?"]),
    ("an unknown key", "[http]\ncolour = 3\n", "2:1", &["http.colour", "known are listen, max_viewers"]),
    ("a misspelt table", "[htpp]\n", "1:2", &["htpp", "did you mean [http]?", "[[stream]]"]),
    ("a plural", "[[streams]]\nname = \"a\"\n", "1:3", &["streams", "did you mean [[stream]]?"]),
    ("an unknown table", "[lighting]\n", "1:2", &["lighting", "there are [box], [http], [[stream]]"]),
    ("a key above its table", "bitrate = \"4Mbit/s\"\n", "1:1", &["bitrate", "belongs under [[stream]]"]),
    (
        "a key in the wrong table",
        "[http]\nbitrate = \"4Mbit/s\"\n",
        "2:1",
        &["http.bitrate", "belongs into [[stream]]"],
    ),
    (
        "one stream as a table",
        "[stream]\nname = \"main\"\n",
        "1:2",
        &["stream", "write [[stream]] above each"],
    ),
    ("a list of what is one", "[[http]]\n", "1:1", &["http", "there is only one", "write [http]"]),
    ("a table as a value", "http = 8080\n", "1:8", &["http", "a table is wanted", "write [http]"]),
    ("streams as text", "stream = [\"main\"]\n", "1:11", &["stream[1]", "write [[stream]]"]),
];

/// Values of `[box]` and `[http]`.
const FIXED: &[Kind] = &[
    ("a number for a name", "[box]\nname = 3\n", "2:8", &["box.name", "not a whole number", "double quotes"]),
    ("a name with a space", "[box]\nname = \"my box\"\n", "2:8", &["box.name", "' '", "letters"]),
    ("an empty name", "[box]\nsite = \"\"\n", "2:8", &["box.site", "is empty", "letters"]),
    ("an empty folder", "[box]\ndata_dir = \"\"\n", "2:12", &["box.data_dir", "is empty", "write a path"]),
    (
        "a shell's folder",
        "[box]\ndata_dir = \"~/data\"\n",
        "2:12",
        &["box.data_dir", "write the path in full"],
    ),
    ("an address without a port", "[http]\nlisten = \"0.0.0.0\"\n", "2:10", &["http.listen", "has no port"]),
    ("a port alone", "[http]\nlisten = \":8080\"\n", "2:10", &["http.listen", "0.0.0.0:8080"]),
    ("a port out of range", "[http]\nlisten = \"0.0.0.0:99999\"\n", "2:10", &["http.listen", "0 to 65535"]),
    ("a bare port", "[http]\nlisten = 8080\n", "2:10", &["http.listen", "text is wanted", "0.0.0.0:8080"]),
    (
        "text for a number",
        "[http]\nmax_viewers = \"many\"\n",
        "2:15",
        &["http.max_viewers", "from 0 to 60000"],
    ),
    ("a negative number", "[http]\nmax_viewers = -1\n", "2:15", &["http.max_viewers", "-1 is out of range"]),
    (
        "a number beyond all",
        "[http]\nmax_connections = 99999999999999999999\n",
        "2:19",
        &["max_connections", "60000"],
    ),
    ("a decimal for a number", "[http]\nmax_viewers = 1.5\n", "2:15", &["http.max_viewers", "not a decimal"]),
    (
        "a time without a unit",
        "[http]\nmerge = 100\n",
        "2:9",
        &["http.merge", "100 has no unit", "\"500ms\""],
    ),
    ("a time in no unit of ours", "[http]\nmerge = \"2sec\"\n", "2:9", &["http.merge", "did you mean s?"]),
    ("a negative time", "[http]\nviewer_lag = \"-2s\"\n", "2:14", &["http.viewer_lag", "is negative"]),
    (
        "a time out of range",
        "[http]\nmerge = \"5s\"\n",
        "2:9",
        &["http.merge", "out of range", "from 0s to 1s"],
    ),
    (
        "a date for a time",
        "[http]\nviewer_stall = 2026-01-01\n",
        "2:16",
        &["http.viewer_stall", "not a date"],
    ),
];

/// Values of a `[[stream]]` that is otherwise right; the value stands on line 4.
const STREAM: &[Kind] = &[
    (
        "no unit of bitrate",
        "bitrate = \"750000\"",
        "4:11",
        &["stream.main.bitrate", "has no unit", "\"4Mbit/s\""],
    ),
    ("a bare bitrate", "bitrate = 4000000", "4:11", &["stream.main.bitrate", "4000000 has no unit"]),
    ("bytes or bits", "bitrate = \"4Mbps\"", "4:11", &["stream.main.bitrate", "did you mean Mbit/s?"]),
    ("too much", "bitrate = \"4Gbit/s\"", "4:11", &["stream.main.bitrate", "out of range", "200Mbit/s"]),
    ("an odd width", "size = \"1919x1080\"", "4:8", &["stream.main.size", "the width 1919 is odd", "even"]),
    ("a size by name", "size = \"1080p\"", "4:8", &["stream.main.size", "\"1920x1080\""]),
    ("a tiny size", "size = \"16x16\"", "4:8", &["stream.main.size", "not between 64 and 8192"]),
    ("no rate", "fps = 0", "4:7", &["stream.main.fps", "is nought", "29.97"]),
    ("a rate beyond cameras", "fps = 1000", "4:7", &["stream.main.fps", "out of range", "from 1 to 240"]),
    ("a rate in words", "fps = \"ntsc\"", "4:7", &["stream.main.fps", "30000/1001"]),
    ("a gop in frames", "gop = 60", "4:7", &["stream.main.gop", "60 has no unit", "\"2s\""]),
    (
        "memory without a unit",
        "gop_cache = \"64\"",
        "4:13",
        &["stream.main.gop_cache", "has no unit", "64MiB"],
    ),
    ("memory in another case", "gop_cache = \"64mib\"", "4:13", &["gop_cache", "did you mean MiB?"]),
    (
        "a sound not built yet",
        "audio = \"alsa:hw:1\"",
        "4:9",
        &["stream.main.audio", "not built", "\"tone\""],
    ),
    ("a sound there is not", "audio = \"tome\"", "4:9", &["stream.main.audio", "did you mean tone?"]),
    ("an encoder misspelt", "encoder = \"atuo\"", "4:11", &["stream.main.encoder", "did you mean auto?"]),
    (
        "an encoder that is no name",
        "encoder = \"x 264\"",
        "4:11",
        &["stream.main.encoder", "\"auto\", \"copy\" or one of h264_v4l2m2m"],
    ),
    ("an encoder by half its name", "encoder = \"x264\"", "4:11", &["encoder", "did you mean libx264?"]),
    ("a chip misspelt", "encoder = \"h264_vapi\"", "4:11", &["encoder", "did you mean h264_vaapi?"]),
    (
        "an encoder there is not",
        "encoder = \"mpeg2\"",
        "4:11",
        &["encoder", "is no encoder's name", "libx264"],
    ),
    ("a pattern to copy", "encoder = \"copy\"", "4:11", &["stream.main.encoder", "nothing to copy", "auto"]),
];

/// Sources; the value stands on line 3.
const SOURCE: &[Kind] = &[
    ("a device without its kind", "\"/dev/video0\"", "3:9", &["stream.main.video", "\"v4l2:/dev/video0\""]),
    ("a clip without its kind", "\"clip.mp4\"", "3:9", &["stream.main.video", "\"file:clip.mp4\""]),
    ("a camera without a name", "\"v4l2:\"", "3:9", &["stream.main.video", "names no camera"]),
    ("a source misspelt", "\"patern\"", "3:9", &["stream.main.video", "did you mean pattern?"]),
    (
        "a source not built yet",
        "\"rtsp://u:TOPSECRET@cam/1\"",
        "3:9",
        &["stream.main.video", "rtsp is not built into this version", "\"pattern\""],
    ),
    ("a publisher to wait for", "\"rtmp\"", "3:9", &["stream.main.video", "rtmp is not built"]),
    ("a folder as a clip", "\"file:.\"", "3:9", &["stream.main.video", "is a folder"]),
];

/// Where an output pushes to; the value stands on line 3.
const PRIMARY: &[Kind] = &[
    (
        "no scheme",
        "\"a.example/live/TOPSECRET\"",
        "3:11",
        &["output.cloud.primary", "no scheme", "rtmp://host/app/key"],
    ),
    ("a web address", "\"https://a/live/TOPSECRET\"", "3:11", &["\"https://\" cannot be pushed to"]),
    ("a scheme misspelt", "\"rtpm://a/live/TOPSECRET\"", "3:11", &["did you mean rtmp://?"]),
    ("no host", "\"rtmp:///live/TOPSECRET\"", "3:11", &["no host"]),
    ("an impossible host", "\"rtmp://a..b/live/TOPSECRET\"", "3:11", &["neither a name nor an address"]),
    ("a bad port", "\"rtmp://a:99999/live/TOPSECRET\"", "3:11", &["port is not a number from 1 to 65535"]),
    ("no key", "\"rtmp://a/TOPSECRET/\"", "3:11", &["no stream key"]),
    ("no application", "\"rtmp://a/TOPSECRET\"", "3:11", &["no application"]),
    ("half a login", "\"rtmp://TOPSECRET@a/live/k\"", "3:11", &["not user:password", "user:password@host"]),
    ("a bare slash in a login", "\"rtmp://u:TOP/SECRET@a/live/k\"", "3:11", &["ends the host", "/ is %2F"]),
    ("a bare % in a login", "\"rtmps://u:TOPSECRET%@a/live/k\"", "3:11", &["user:password@", "%25"]),
    ("SRT without a port", "\"srt://a?streamid=TOPSECRET\"", "3:11", &["no port", "srt://host:port"]),
    ("SRT with a path", "\"srt://a:9000/live/TOPSECRET\"", "3:11", &["no path", "?streamid=NAME"]),
    ("SRT with a login", "\"srt://u:TOPSECRET@a:9000\"", "3:11", &["no user:password@", "streamid"]),
    ("SRT with latency", "\"srt://a:9000?latency=120\"", "3:11", &["microseconds", "latency = \"120ms\""]),
    (
        "SRT that listens",
        "\"srt://a:9000?mode=listener\"",
        "3:11",
        &["another mode than caller", "leave mode"],
    ),
    ("SRT misspelt", "\"srt://a:9000?steamid=TOPSECRET\"", "3:11", &["not known", "did you mean streamid?"]),
    ("another tool's SRT", "\"srt://a:9000?pkt_size=1316\"", "3:11", &["pkt_size", "known are streamid"]),
    (
        "SRT with a short passphrase",
        "\"srt://a:9000?passphrase=short\"",
        "3:11",
        &["has 5 bytes", "10 to 79"],
    ),
    ("a space", "\"rtmp://a/live/TOP SECRET\"", "3:11", &["a space"]),
    ("nothing", "\"\"", "3:11", &["the URL is empty"]),
    ("a number", "5", "3:11", &["a URL is wanted here"]),
    ("an empty table", "{}", "3:11", &["neither url nor url_file", "url_file ="]),
    ("both", "{ url = \"rtmp://a/l/k\", url_file = \"x\" }", "3:11", &["both url and url_file"]),
    ("a key of the table misspelt", "{ ulr = \"rtmp://a/l/TOPSECRET\" }", "3:13", &["did you mean url?"]),
    (
        "a secret that is not there",
        "{ url_file = \"gone.url\" }",
        "3:24",
        &["gone.url cannot be read", "make the file"],
    ),
    ("a secret that is a folder", "{ url_file = \".\" }", "3:24", &["not a regular file"]),
    ("an empty secret", "{ url_file = \"empty.url\" }", "3:24", &["empty.url is empty", "on one line"]),
    ("two secrets", "{ url_file = \"two.url\" }", "3:24", &["more than one line"]),
    (
        "a secret that is wrong",
        "{ url_file = \"wrong.url\" }",
        "3:24",
        &["wrong.url, the URL has no stream key"],
    ),
];

/// What else a destination says; the value stands on line 3.
const DESTINATION: &[Kind] = &[
    (
        "TLS's key without TLS",
        "{ url = \"rtmp://a/l/TOPSECRET\", ca_file = \"ca.pem\" }",
        "3:43",
        &["output.cloud.primary.ca_file", "for rtmps://", "begins with rtmp://", "write rtmps://"],
    ),
    (
        "TLS's key for SRT",
        "{ url = \"srt://a:1\", certificate_sha256 = \"00\" }",
        "3:32",
        &["for rtmps://", "begins with srt://", "passphrase"],
    ),
    (
        "SRT's key without SRT",
        "{ url = \"rtmps://a/l/k\", passphrase = \"TOPSECRET0\" }",
        "3:36",
        &["output.cloud.primary.passphrase", "for srt://", "leave it out"],
    ),
    (
        "a short passphrase",
        "{ url = \"srt://a:1\", passphrase = \"TOP\" }",
        "3:45",
        &["has 3 bytes", "10 to 79"],
    ),
    (
        "a passphrase twice",
        "{ url = \"srt://a:1?passphrase=TOPSECRET0\", passphrase = \"TOPSECRET1\" }",
        "3:54",
        &["given twice", "passphrase_file"],
    ),
    (
        "a passphrase that is not there",
        "{ url = \"srt://a:1\", passphrase_file = \"gone.pass\" }",
        "3:50",
        &["gone.pass cannot be read", "make the file"],
    ),
    (
        "a passphrase's file that is wrong",
        "{ url = \"srt://a:1\", passphrase_file = \"two.url\" }",
        "3:50",
        &["two.url has more than one line", "the passphrase on one line"],
    ),
    (
        "a passphrase's file that holds too much",
        "{ url = \"srt://a:1\", passphrase_file = \"long.pass\" }",
        "3:50",
        &["in long.pass, the passphrase has 80 bytes"],
    ),
    (
        "latency without a unit",
        "{ url = \"srt://a:1\", latency = 120 }",
        "3:42",
        &["120 has no unit", "from 20ms to 30s"],
    ),
    (
        "an address for an interface",
        "{ url = \"rtmp://a/l/k\", interface = \"10.0.0.1\" }",
        "3:47",
        &["is an address", "write source_address"],
    ),
    (
        "an interface of no kernel",
        "{ url = \"rtmp://a/l/k\", interface = \"wwan 0\" }",
        "3:47",
        &["holds ' '", "ip link"],
    ),
    (
        "an interface too long",
        "{ url = \"rtmp://a/l/k\", interface = \"0123456789abcdef\" }",
        "3:47",
        &["has 16 bytes", "1 to 15"],
    ),
    (
        "a source with a port",
        "{ url = \"rtmp://a/l/k\", source_address = \"10.0.0.1:80\" }",
        "3:52",
        &["not an IP address", "without a port"],
    ),
    (
        "every source",
        "{ url = \"rtmp://a/l/k\", source_address = \"0.0.0.0\" }",
        "3:52",
        &["no single address", "leave it out"],
    ),
    (
        "a source of another family",
        "{ url = \"rtmp://[::1]/l/k\", source_address = \"10.0.0.1\" }",
        "3:56",
        &["10.0.0.1 is IPv4", "host is IPv6"],
    ),
    (
        "a CA that is not there",
        "{ url = \"rtmps://a/l/k\", ca_file = \"gone.pem\" }",
        "3:46",
        &["gone.pem cannot be read"],
    ),
    (
        "a CA that is none",
        "{ url = \"rtmps://a/l/k\", ca_file = \"good.url\" }",
        "3:46",
        &["good.url holds no certificate in PEM", "openssl x509"],
    ),
    (
        "a fingerprint of another kind",
        "{ url = \"rtmps://a/l/k\", certificate_sha256 = \"00112233445566778899aabbccddeeff00112233\" }",
        "3:57",
        &["40 digits", "SHA-1", "openssl"],
    ),
    (
        "a fingerprint with letters",
        "{ url = \"rtmps://a/l/k\", certificate_sha256 = \"sha256/xyz\" }",
        "3:57",
        &["holds 's'", "64 hexadecimal digits"],
    ),
    (
        "an output's key",
        "{ url = \"rtmp://a/l/k\", mode = \"cold\" }",
        "3:35",
        &["no key \"mode\" in a destination", "belongs into [[output]]"],
    ),
];

/// What an output says beside its destinations; the text begins on line 4.
const OUTPUT: &[Kind] = &[
    ("a mode there is not", "mode = \"hot\"", "4:8", &["output.cloud.mode", "mirror, warm and cold"]),
    ("a mode misspelt", "mode = \"wram\"", "4:8", &["output.cloud.mode", "did you mean warm?"]),
    ("text for a truth", "adaptive = \"yes\"", "4:12", &["output.cloud.adaptive", "true or false, bare"]),
    ("no time for failback", "failback = \"0s\"", "4:12", &["output.cloud.failback", "from 1s to 1h"]),
    (
        "bounds the wrong way round",
        "bitrate_min = \"3Mbit/s\"\nbitrate_max = \"2Mbit/s\"",
        "4:15",
        &["output.cloud.bitrate_min", "3Mbit/s is more than bitrate_max", "the smaller"],
    ),
    ("a bound without a unit", "bitrate_min = 500", "4:15", &["output.cloud.bitrate_min", "has no unit"]),
    (
        "a destination's key",
        "interface = \"wwan0\"",
        "4:1",
        &["output.cloud.interface", "primary = { ..., interface = ... }"],
    ),
    (
        "one standby that is no list",
        "standby = \"rtmp://b/l/TOPSECRET\"",
        "4:11",
        &["output.cloud.standby", "a list is wanted", "standby = [\"rtmp://host/app/key\"]"],
    ),
    (
        "a standby that is none",
        "standby = [\"rtmp://b/l/k\", \"b/l/TOPSECRET\"]",
        "4:28",
        &["output.cloud.standby[2]", "no scheme"],
    ),
    (
        "standbys without end",
        "standby = [\"rtmp://1/a/b\",\n \"rtmp://c/a/b\", \"rtmp://d/a/b\", \"rtmp://e/a/b\", \"rtmp://f/a/b\", \"rtmp://g/a/b\", \"rtmp://h/a/b\",\n \"rtmp://i/a/b\"]",
        "6:2",
        &["output.cloud.standby[8]", "8 standbys", "at most 7"],
    ),
    (
        "a standby's key misspelt",
        "[[output.standby]]\nurl = \"rtmp://b/l/k\"\nintreface = \"wwan0\"",
        "6:1",
        &["output.cloud.standby[1].intreface", "did you mean interface?"],
    ),
];

/// What only shows when keys are seen together.
const TOGETHER: &[Kind] = &[
    (
        "a stream without a name",
        "[[stream]]\nvideo = \"pattern\"\n",
        "1:1",
        &["stream[1].name", "has no name"],
    ),
    (
        "two streams of one name",
        "[[stream]]\nname = \"a\"\nvideo = \"pattern\"\n[[stream]]\nname = \"a\"\nvideo = \"pattern\"\n",
        "5:8",
        &["stream.a.name", "line 2", "its own name"],
    ),
    (
        "two outputs of one name",
        "[[output]]\nname = \"c\"\nprimary = \"rtmp://a/l/1\"\n[[output]]\nname = \"c\"\nprimary = \"rtmp://a/l/2\"\n",
        "5:8",
        &["output.c.name", "line 2"],
    ),
    (
        "an output of no stream",
        "[[output]]\nname = \"c\"\nstream = \"mian\"\nprimary = \"rtmp://a/l/k\"\n",
        "3:10",
        &["output.c.stream", "no stream named \"mian\"", "did you mean main?"],
    ),
    (
        "an output to nowhere",
        "[[output]]\nname = \"c\"\n",
        "1:1",
        &["output.c.primary", "rtmp://host/app/key"],
    ),
    (
        "an output that could carry two",
        "[[stream]]\nname = \"a\"\nvideo = \"pattern\"\n[[stream]]\nname = \"b\"\nvideo = \"pattern\"\n\
         [[output]]\nname = \"c\"\nprimary = \"rtmp://a/l/k\"\n",
        "7:1",
        &["output.c.stream", "name the stream"],
    ),
    (
        "a copy that would change",
        "[[stream]]\nname = \"a\"\nvideo = \"v4l2:/dev/video0\"\nencoder = \"copy\"\nfps = 30\n",
        "4:11",
        &["stream.a.encoder", "fps would change it", "leave out fps"],
    ),
];

/// A folder with the files that the kinds name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [
        ("empty.url", "\n"),
        ("two.url", "rtmp://a/l/TOPSECRET\nrtmp://b/l/TOPSECRET\n"),
        ("wrong.url", "rtmp://a/TOPSECRET/\n"),
        ("good.url", "rtmp://a.example/live/TOPSECRET\n"),
        ("srt.url", "srt://b.example:9000?streamid=TOPSECRET\n"),
        ("long.pass", &"x".repeat(80)),
        ("shop.token", "TOPSECRET0123456789\n"),
        ("shop.url", "https://shop.example/footlight?TOPSECRET\n"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
    }
    folder
}

/// Runs the binary in `folder`, with nothing in its environment but `env`.
fn footlight(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env_clear().envs(env.iter().copied());
    output_within(DEADLINE, &mut command)
}

fn check(text: impl AsRef<[u8]>) -> Output {
    let folder = folder();
    std::fs::write(folder.path().join("footlight.toml"), text).expect("it can be written");
    footlight(folder.path(), &["check", "footlight.toml"], &[])
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), output.stderr)
}

#[test]
fn every_kind_of_wrong_configuration_is_refused_and_told_where_what_and_what_to_do() {
    let within = |head: &'static str, tail: &'static str| {
        move |&(name, value, at, want): &Kind| (name, format!("{head}{value}{tail}"), at, want)
    };
    let kinds: Vec<_> = [SYNTAX, NAMES, FIXED, TOGETHER]
        .concat()
        .iter()
        .map(within("", ""))
        .chain(STREAM.iter().map(within("[[stream]]\nname = \"main\"\nvideo = \"pattern\"\n", "\n")))
        .chain(SOURCE.iter().map(within("[[stream]]\nname = \"main\"\nvideo = ", "\n")))
        .chain(PRIMARY.iter().map(within("[[output]]\nname = \"cloud\"\nprimary = ", "\n")))
        .chain(DESTINATION.iter().map(within("[[output]]\nname = \"cloud\"\nprimary = ", "\n")))
        .chain(orders::ORDERS.iter().map(within("[orders]\n", "\n")))
        .chain(orders::CLOUD.iter().map(within("[orders]\ncloud = ", "\n")))
        .chain(OUTPUT.iter().map(within("[[output]]\nname = \"cloud\"\nprimary = \"rtmp://a/l/k\"\n", "\n")))
        .collect();
    assert!(kinds.len() >= 40, "{} kinds", kinds.len());
    let mut failed = String::new();
    for (name, text, at, want) in kinds {
        let output = check(&text);
        let said = said(&output);
        let place = format!("footlight.toml:{at}: error: ");
        // The place and the words must stand in one line: the one that is about it.
        let about = said.lines().find(|line| line.starts_with(&place)).unwrap_or("");
        let missing: Vec<_> =
            want.iter().filter(|want| !about.to_lowercase().contains(&want.to_lowercase())).collect();
        if output.status.code() != Some(2) || about.is_empty() || !missing.is_empty() {
            let code = output.status.code();
            let _ =
                writeln!(failed, "{name} (at {at}, exit {code:?}, missing {missing:?}):\n{text}---\n{said}");
        }
        assert!(!said.contains("TOPSECRET"), "{name} shows a key: {said}");
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn a_file_that_is_no_text_is_refused_where_it_stops_being_text() {
    let large = "#".repeat((1 << 20) + 1);
    for (bytes, want) in [
        (b"[box]\nname = \"\xFF\"\n".as_slice(), "footlight.toml:2:9: error: the file is not UTF-8"),
        (b"[box]\n\0\n", "footlight.toml:2:1: error: the file holds a NUL byte"),
        (b"\xFF\xFE[\0b\0", "footlight.toml:1:1: error: the file is UTF-16"),
        (large.as_bytes(), "footlight.toml: error: the file is larger than 1 MiB"),
    ] {
        let output = check(bytes);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).starts_with(want), "{want}: {}", said(&output));
    }
}

#[test]
fn a_megabyte_of_nonsense_is_refused_in_bounded_time_and_words() {
    for piece in
        ["a\n", "a = 1\n", "[[stream]]\n", "[[stream]]\nx=1\n", "[a.", "\"", "= ", "[", "é", "x.y.z.a={}\n"]
    {
        let output = check(piece.repeat((1 << 20) / piece.len()));
        assert_eq!(output.status.code(), Some(2), "{piece:?}");
        assert!(said(&output).len() < 200_000, "{piece:?} is answered with {} bytes", said(&output).len());
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_its_name() {
    let folder = folder();
    for (file, want) in [("gone.toml", "gone.toml: error: "), (".", ".: error: ")] {
        for arguments in [["check", file].as_slice(), &["run", "--config", file]] {
            let output = footlight(folder.path(), arguments, &[]);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(said(&output).starts_with(want), "{}", said(&output));
        }
    }
    let output = footlight(folder.path(), &["check"], &[("FOOTLIGHT_CONFIG", "/nowhere/x.toml")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).starts_with("/nowhere/x.toml: error: the configuration cannot be read"));
}

#[test]
fn a_pipe_can_be_checked_and_is_refused_to_run_from() {
    let folder = folder();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("FOOTLIGHT", BINARY).current_dir(folder.path());
        output_within(DEADLINE, &mut command)
    };
    let good = shell("echo '[box]' | \"$FOOTLIGHT\" check /dev/stdin");
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let wrong = shell("printf '[box]\nnme = 1\n' | \"$FOOTLIGHT\" check /dev/stdin");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).starts_with("/dev/stdin:2:1: error: box.nme"), "{}", said(&wrong));
    // The second has no writer: opening it would wait for ever.
    for script in
        ["echo '[box]' | \"$FOOTLIGHT\" run --config /dev/stdin", "mkfifo f; \"$FOOTLIGHT\" run --config f"]
    {
        let refused = shell(script);
        assert_eq!(refused.status.code(), Some(2), "{script}");
        assert!(said(&refused).contains("error: this is no regular file"), "{}", said(&refused));
    }
}

#[test]
fn run_refuses_what_check_refuses() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.toml"), "[http]\nlistn = 1\n").expect("it can be written");
    let output = footlight(folder.path(), &["run", "--config", "bad.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("bad.toml:2:1: error: http.listn"), "{}", said(&output));
}

#[test]
fn a_wrong_variable_is_named_instead_of_a_line() {
    let folder = folder();
    for (name, value, want) in [
        ("FOOTLIGHT_HTTP__LISTN", "x", "did you mean FOOTLIGHT_HTTP__LISTEN?"),
        ("FOOTLIGHT_STREAM__MIAN__FPS", "30", "did you mean FOOTLIGHT_STREAM__MAIN__FPS?"),
        ("FOOTLIGHT_STREAM__MAIN__BITRATE", "750000", "stream.main.bitrate: \"750000\" has no unit"),
        ("FOOTLIGHT_OUTPUT__CLOUD__PRIMARY", "rtmp://a/live/TOPSECRET", "no output named \"cloud\""),
    ] {
        // A file of its own: the machine may have an installed one.
        let output = footlight(folder.path(), &["check", "/dev/null"], &[(name, value)]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("{name}: error: ")), "{said}");
        assert!(said.to_lowercase().contains(&want.to_lowercase()), "{want}: {said}");
        assert!(!said.contains("TOPSECRET"), "{said}");
    }
}

#[test]
fn a_right_configuration_is_told_in_a_few_lines_without_its_keys() {
    let folder = folder();
    let text = r#"[[output]]
name = "cloud"
mode = "cold"
failback = "5s"
bitrate_min = "500kbit/s"
primary = { url_file = "good.url", interface = "lo" }
standby = [
    "rtmps://u:TOPSECRET@[::1]/live/TOPSECRET",
    { url_file = "srt.url", source_address = "10.0.0.2", latency = "200ms", passphrase = "TOPSECRET0" },
    "srt://c.example:9000",
]
[orders]
cloud = { url_file = "shop.url", token_file = "shop.token" }
[mqtt]
url = "mqtts://broker.example:8883"
"#;
    let file = folder.path().join("good.toml");
    std::fs::write(&file, text).expect("it can be written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("ours");
    let env = [("FOOTLIGHT_STREAM__MAIN__BITRATE", "2Mbit/s"), ("FOOTLIGHT_SOURCES", "x")];
    let output = footlight(folder.path(), &["check", "good.toml"], &env);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for want in [
        "good.toml: all is well, with 1 warning",
        "good.toml:14:2: warning: mqtt: THIS VERSION DOES NOTHING WITH",
        "test pattern with tone",
        "2Mbit/s",
        "carries stream main to rtmp://a.example (key not shown), by lo\n",
        "rtmps://[::1] (key not shown)\n",
        "srt://b.example:9000 (key not shown), from 10.0.0.2, encrypted by passphrase, latency 200ms\n",
        "srt://c.example:9000\n",
        "cold: standbys are dialled when needed; back to the primary once it is well for 5s; the bitrate follows \
         the line, down to 500kbit/s\n",
        "https://shop.example (path not shown), by token, at most 100 orders at once\n",
    ] {
        assert!(said.contains(want), "{want}: {said}");
    }
    assert!(!said.contains("TOPSECRET"), "{said}");
}

#[test]
fn a_secret_that_everyone_may_read_is_worth_a_warning() {
    let folder = folder();
    let secret = folder.path().join("good.url");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).expect("ours");
    let text = "[[output]]\nname = \"cloud\"\nprimary = { url_file = \"good.url\" }\n";
    std::fs::write(folder.path().join("good.toml"), text).expect("it can be written");
    let output = footlight(folder.path(), &["check", "good.toml"], &[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("good.toml:3:24: warning: output.cloud.primary.url_file"), "{said}");
    assert!(said.contains("everyone on this machine may read it") && said.contains("chmod 600"), "{said}");
}

#[test]
fn a_key_in_a_configuration_that_everyone_may_read_is_worth_one_warning() {
    let folder = folder();
    let file = folder.path().join("footlight.toml");
    let outputs = |one: &str| {
        format!(
            "[[output]]\nname = \"a\"\nprimary = {one}\n[[output]]\nname = \"b\"\nprimary = {{ url = \"rtmp://a/l/2\" }}\n"
        )
    };
    let warning = "stands here, and everyone on this machine may read this file";
    for (mode, text, at) in [
        (0o644, outputs("\"rtmp://a/l/TOPSECRET\""), Some("footlight.toml:3:11")),
        (0o644, outputs("{ url_file = \"good.url\" }"), Some("footlight.toml:6:19")),
        (0o644, "[[output]]\nname = \"a\"\nprimary = { url_file = \"good.url\" }\n".to_owned(), None),
        (
            0o644,
            "[[output]]\nname = \"a\"\nprimary = \"srt://a:1\"\n\
             standby = [{ url = \"srt://b:1\", passphrase = \"TOPSECRET0\" }]\n"
                .to_owned(),
            Some("footlight.toml:4:46"),
        ),
        (0o640, outputs("\"rtmp://a/l/TOPSECRET\""), None),
    ] {
        std::fs::write(&file, text).expect("it can be written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("ours");
        let output = footlight(folder.path(), &["check", "footlight.toml"], &[]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let about: Vec<_> = said.lines().filter(|line| line.contains(warning)).collect();
        assert_eq!(about.len(), usize::from(at.is_some()), "{said}");
        assert!(at.is_none_or(|at| about[0].starts_with(at)), "{said}");
        assert!(!said.contains("TOPSECRET"), "{said}");
    }
}

#[test]
fn a_wrong_command_line_is_a_wrong_configuration_too() {
    let folder = folder();
    for arguments in [["chekc"].as_slice(), &["run", "--confg", "x"], &["check", "a", "b"], &[]] {
        assert_eq!(footlight(folder.path(), arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}
