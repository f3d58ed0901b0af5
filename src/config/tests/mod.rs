//! The whole way from text and variables to a configuration.

mod orders;
mod outputs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::load::{sanitised, text_of, understand};
use super::problems::{Place, Problem, Problems};
use super::read::Around;
use super::schema::{AudioSource, Config, EncoderChoice, PushPath, VideoSource};
use super::{keys, later, summary};
use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};

fn defaults() -> Config {
    Config::defaults("footlight", PathBuf::from("footlight-data"))
}

fn read_with(text: &str, env: &[(&str, &str)]) -> Result<(Config, Vec<Problem>), Problems> {
    let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let around = Around { folder: Path::new(""), readable_by_all: false, interfaces: None };
    understand(text, "footlight.toml", around, defaults(), &env)
}

fn read(text: &str) -> Config {
    read_with(text, &[]).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn errors(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let problems = read_with(text, env).expect_err("this must be refused");
    problems.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_file_the_box_shows_the_pattern_on_the_lan() {
    let (config, warnings) = read_with("", &[]).expect("nothing is wrong with nothing");
    assert_eq!(config, defaults());
    assert_eq!(warnings, []);
}

#[test]
fn the_contracts_example_is_understood_and_says_what_this_version_ignores() {
    let text = r#"
[box]
name = "studio-3"
site = "hangzhou"
data_dir = "/var/lib/footlight"
[http]
listen = "127.0.0.1:8080"
max_viewers = 400
max_viewers_per_address = 0
[[stream]]
name = "main"
video = "v4l2:/dev/video0"
audio = "none"
size = "1920x1080"
fps = 29.97
bitrate = "4Mbit/s"
gop = "1s"
encoder = "h264_v4l2m2m"
[[output]]
name = "cloud"
stream = "main"
mode = "warm"
primary = "rtmp://a.example/live/KEY"
standby = [{ url = "rtmp://b.example/live/KEY", interface = "wwan0" }]
[orders]
enabled = true
rate_per_address = 21
[mqtt]
url = "mqtts://broker.example:8883"
"#;
    let (config, warnings) = read_with(text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let stream = &config.streams[0];
    assert_eq!(config.appliance.name, "studio-3");
    assert_eq!(config.http.max_viewers, 400);
    assert_eq!(stream.video, VideoSource::V4l2("/dev/video0".into()));
    assert_eq!(stream.audio, AudioSource::None);
    assert_eq!(stream.size, Some(PictureSize { width: 1920, height: 1080 }));
    assert_eq!(stream.fps, Some(FrameRate { num: 30_000, den: 1_001 }));
    assert_eq!(stream.bitrate, Some(BitrateBps(4_000_000)));
    assert_eq!(stream.gop, Duration::from_secs(1));
    assert_eq!(stream.encoder, EncoderChoice::Named("h264_v4l2m2m".into()));
    let PushPath::Rtmp { key, .. } = &config.outputs[0].primary.url.path else { panic!("not RTMP") };
    assert_eq!(key.reveal(), "KEY");
    let lines: Vec<_> = warnings.iter().map(|warning| (warning.place.line(), warning.key.as_str())).collect();
    assert_eq!(lines, [(Some(28), "mqtt")]);
    assert_eq!((config.orders.enabled, config.orders.rate_per_address), (true, 21));
    let standby = &config.outputs[0].standby[0];
    assert_eq!((standby.url.host.as_str(), standby.interface.as_deref()), ("b.example", Some("wwan0")));
}

#[test]
fn everything_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "[http]\nlisten = \"8080\"\nmax_viewrs = 3\n[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nbitrate = \"750000\"\nsize = \"1919x1080\"\n[[output]]\nname = \"cloud\"\nstream = \"mian\"\nprimary = \"rtpm://a/l/TOPSECRET\"\n";
    let found = errors(text, &[("FOOTLIGHT_HTTP__LISTN", "x")]);
    let starts = [
        "footlight.toml:2:10: http.listen: ",
        "footlight.toml:3:1: http.max_viewrs: ",
        "footlight.toml:7:11: stream.main.bitrate: ",
        "footlight.toml:8:8: stream.main.size: ",
        "footlight.toml:11:10: output.cloud.stream: ",
        "footlight.toml:12:11: output.cloud.primary: ",
        "FOOTLIGHT_HTTP__LISTN: ",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} should start with {start}");
    }
    assert!(!found.concat().contains("TOPSECRET"));
}

#[test]
fn broken_syntax_hides_neither_what_came_before_it_nor_invents_what_comes_after() {
    let text = "[http]\nmax_viewers = -1\nmerge = \"5ms\n[[stream\nname = \"main\"\n[[output]]\n";
    let found = errors(text, &[("FOOTLIGHT_STREAM__CAM__FPS", "3")]);
    assert!(found[0].starts_with("footlight.toml:2:15: http.max_viewers"), "{found:#?}");
    assert!(found[1].starts_with("footlight.toml:3:"), "{found:#?}");
    assert!(found.iter().any(|error| error.starts_with("footlight.toml:4:")), "{found:#?}");
    assert!(found[1..].iter().all(|error| error.contains("this is not TOML")), "{found:#?}");
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    let value = |table: &str, key: &str| match (table, key) {
        ("box", "data_dir") => "elsewhere",
        ("http", "listen") => "127.0.0.1:9",
        ("http", "merge") => "20ms",
        ("http", "viewer_lag" | "viewer_stall")
        | ("stream", "gop")
        | ("output", "failback")
        | ("orders", "hold") => "7s",
        ("stream", "video") => "v4l2:/dev/video9",
        ("stream", "audio") => "none",
        ("stream", "size") => "640x360",
        ("stream", "fps") => "25",
        ("stream", "bitrate" | "audio_bitrate") => "77kbit/s",
        ("stream", "encoder") => "libx264",
        ("stream", "gop_cache") => "3MiB",
        ("output", "primary" | "standby") => "rtmp://other/live/key",
        ("output", "mode") => "cold",
        ("output", "adaptive") | ("orders", "enabled") | ("http", "trust_local") => "false",
        ("output", "bitrate_min" | "bitrate_max") => "300kbit/s",
        ("output", "stream") => "second",
        ("orders", "cloud") => "https://shop.example/footlight",
        ("http" | "orders", _) => "77",
        (_, "name" | "site") => "renamed",
        other => panic!("{other:?} has no value in this walk"),
    };
    let text = "[[stream]]\nname = \"my-cam\"\nvideo = \"pattern\"\n[[stream]]\nname = \"second\"\nvideo = \"pattern\"\n\
                [[output]]\nname = \"cloud\"\nstream = \"my-cam\"\nprimary = \"rtmp://a/l/k\"\n";
    let old = read(text);
    for table in keys::TABLES {
        for key in table.keys {
            let thing = match table.name {
                "stream" => "MY_CAM__",
                "output" => "Cloud__",
                _ => "",
            };
            if (table.name, *key) == ("stream", "name") {
                continue; // The output would lose its stream.
            }
            let name = format!("FOOTLIGHT_{}__{thing}{}", table.name.to_uppercase(), key.to_uppercase());
            let read = read_with(text, &[(&name, value(table.name, key))]);
            let (new, _) = read.unwrap_or_else(|problems| panic!("{problems}"));
            assert!(old != new, "{name} changes nothing");
        }
    }
}

#[test]
fn programs_on_the_box_are_trusted_unless_the_owner_says_that_they_are_not() {
    assert!(read("").http.trust_local && !summary(&read("")).contains("token"));
    let careful = read("[http]\ntrust_local = false\n");
    assert!(!careful.http.trust_local);
    assert!(summary(&careful).contains("connections, a token on the box too\n"), "{}", summary(&careful));
    let found = errors("[http]\ntrust_local = \"no\"\n", &[]).concat();
    assert!(
        found.starts_with("footlight.toml:2:15: http.trust_local: ") && found.contains("true or false"),
        "{found}"
    );
}

#[test]
fn a_variable_that_sets_nothing_is_refused_with_the_nearest() {
    for (name, value, want) in [
        ("FOOTLIGHT_HTTP__LISTN", "x", "did you mean FOOTLIGHT_HTTP__LISTEN?"),
        ("FOOTLIGHT_STREAM__MIAN__FPS", "30", "did you mean FOOTLIGHT_STREAM__MAIN__FPS? There are main"),
        ("FOOTLIGHT_STREAM__MAIN__FSP", "30", "did you mean FOOTLIGHT_STREAM__MAIN__FPS?"),
        ("FOOTLIGHT_OUTPUT__CLOUD__PRIMARY", "x", "write a [[output]] in the file first"),
        ("FOOTLIGHT_HTPP__LISTEN", "x", "did you mean FOOTLIGHT_HTTP__LISTEN?"),
        ("FOOTLIGHT___", "x", "unset it"),
        ("FOOTLIGHT_STREAM__MAIN", "x", "there is no stream"),
        ("FOOTLIGHT_HTTP__LISTEN__PORT", "x", "did you mean FOOTLIGHT_HTTP__LISTEN?"),
    ] {
        let found = errors("", &[(name, value)]).concat();
        assert!(found.to_lowercase().contains(&want.to_lowercase()) && found.starts_with(name), "{found}");
    }
    let found = errors("", &[("FOOTLIGHT_HTTP__MERGE", "5")]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("FOOTLIGHT_HTTP__MERGE: http.merge: \"5\" has no unit"), "{found:?}");
    let found = errors("", &[("FOOTLIGHT_HTTP__MERGE", "5ms"), ("FOOTLIGHT_http__merge", "6ms")]);
    assert!(found[0].contains("sets the same key"), "{found:?}");
}

#[test]
fn variables_that_are_not_configuration_are_left_alone() {
    let env = [
        ("FOOTLIGHT_LOG", "debug"),
        ("FOOTLIGHT_SOURCES", "x"),
        ("HTTP__LISTEN", "x"),
        ("FOOTLIGHT_CONFIG", "x"),
    ];
    let (config, warnings) = read_with("", &env).expect("nothing is wrong");
    assert_eq!((config, warnings.len()), (defaults(), 0));
    let (_, warnings) = read_with("", &[("FOOTLIGHT_HTTP_LISTEN", "x")]).expect("only a warning");
    assert!(warnings[0].advice.contains("FOOTLIGHT_HTTP__LISTEN"), "{warnings:?}");
    let (_, warnings) = read_with("", &[("FOOTLIGHT_MQTT__URL", "x")]).expect("only a warning");
    assert!(warnings[0].what.contains("NOTHING"), "{warnings:?}");
}

#[test]
fn names_that_the_environment_cannot_tell_apart_are_only_refused_when_it_tries() {
    let text =
        "[[stream]]\nname = \"a-b\"\nvideo = \"pattern\"\n[[stream]]\nname = \"A_B\"\nvideo = \"pattern\"\n";
    assert_eq!(read(text).streams.len(), 2);
    assert!(errors(text, &[("FOOTLIGHT_STREAM__A_B__FPS", "30")])[0].contains("a-b or A_B"));
}

#[test]
fn what_is_for_later_is_not_known_as_a_key_too() {
    for table in keys::TABLES {
        assert!(!later::TABLES.contains(&table.name), "{} is served: take it out of later.rs", table.name);
    }
}

#[test]
fn a_host_name_becomes_a_box_name() {
    for (host, name) in [
        ("studio-3\n", "studio-3"),
        ("studio.example.org", "studio"),
        ("直播", "footlight"),
        ("", "footlight"),
        ("a b", "a-b"),
        ("-x-", "x"),
    ] {
        assert_eq!(sanitised(host), name, "{host:?}");
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_at_the_byte_where_it_stops_being_text() {
    let place = |bytes: &[u8]| text_of(bytes.to_vec(), "f").expect_err("no text").to_string();
    assert!(place(b"[box]\n\xFF").starts_with("f:2:1: the file is not UTF-8"));
    assert!(place(b"a\n\nbc\0d").starts_with("f:3:3: the file holds a NUL byte"));
    assert!(place(b"\xFF\xFE[\0").starts_with("f:1:1: the file is UTF-16"));
    assert_eq!(text_of(b"\xEF\xBB\xBFa = 1".to_vec(), "f").as_deref(), Ok("a = 1"));
}

#[test]
fn a_relative_path_starts_at_the_files_folder() {
    let around = Around { folder: Path::new("/etc/footlight"), readable_by_all: false, interfaces: None };
    let text = "[box]\ndata_dir = \"data\"\n[[stream]]\nname = \"a\"\nvideo = \"file:clip.mp4\"\n";
    let (config, warnings) = understand(text, "f", around, defaults(), &[]).expect("right");
    assert_eq!(config.appliance.data_dir, Path::new("/etc/footlight/data"));
    assert_eq!(config.streams[0].video, VideoSource::File("/etc/footlight/clip.mp4".into()));
    assert_eq!(warnings[0].place, Place::Line { file: "f".into(), line: 5, column: 9 });
}

/// The reference file in the repository's root.
fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("footlight.toml");
    std::fs::read_to_string(path).expect("footlight.toml stands in the repository's root")
}

#[test]
fn the_reference_file_documents_every_key_under_its_table() {
    let mut table = String::new();
    let mut documented = Vec::new();
    for line in reference().lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') {
            table = line.trim_start_matches('[').split(']').next().unwrap_or("").to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            documented.push((table.clone(), key.to_owned()));
        }
    }
    let served = keys::TABLES.iter().flat_map(|table| table.keys.iter().map(|key| (table.name, *key)));
    let destination = keys::DESTINATION.keys.iter().map(|key| ("output", *key));
    let cloud = keys::CLOUD.keys.iter().map(|key| ("orders", *key));
    for (table, key) in served.chain(destination).chain(cloud) {
        assert!(documented.contains(&(table.to_owned(), key.to_owned())), "{table}.{key} is not documented");
    }
    for table in later::TABLES {
        assert!(documented.iter().any(|(known, _)| known == table), "[{table}] is not documented");
    }
}

#[test]
fn the_reference_file_as_it_is_and_with_every_default_uncommented_gives_the_defaults() {
    let text = reference();
    assert_eq!(read(&text), defaults());
    let mut uncommented = 0;
    let lines: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                uncommented += 1;
                rest
            }
            _ => line,
        })
        .collect();
    assert!(uncommented >= 13, "only {uncommented} defaults are written out");
    let (config, warnings) =
        read_with(&lines.join("\n"), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config, warnings), (defaults(), Vec::new()));
}

#[test]
fn a_bound_of_memory_is_read_in_its_unit() {
    let config = read("[[stream]]\nname = \"a\"\nvideo = \"pattern\"\ngop_cache = \"2MB\"\n");
    assert_eq!(config.streams[0].gop_cache, ByteSize(2_000_000));
}

/// Pieces of configuration, so that random files reach deeper than the parser.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[http]\n",
        "[[stream]]\n",
        "[[output]]\n",
        "[stream]\n",
        "[[box]]\n",
        "name = ",
        "video = ",
        "primary = ",
        "standby = ",
        "[[output.standby]]\n",
        "[output.primary]\n",
        "url = ",
        "interface = ",
        "mode = ",
        "passphrase = ",
        "[\"srt://a:1?streamid=x\", { url = \"rtmps://a/b/c\", source_address = \"::1\" }]\n",
        "bitrate = ",
        "fps = ",
        "size = ",
        "\"main\"\n",
        "\"4Mbit/s\"\n",
        "{ url = \"rtmp://a/b/c\" }\n",
        "29.97\n",
        "-1\n",
        "[]\n",
        "[[]]\n",
        "true\n",
        "1979-05-27\n",
        "\"\\u0000\"\n",
        "stream.main.fps = 3\n",
        "http = 3\n",
        "99999999999999999999\n",
        "'''",
        "\"",
        "\n",
        "#",
        "listen = ",
        "é",
        "nan\n",
        "orders = 1\n",
        "[orders]\n",
        "cloud = ",
        "[orders.cloud]\n",
        "{ url = \"https://a/b?c\", secret = 5, token = \"x\" }\n",
        "stream = [1]\n",
    ];
    proptest::sample::select(words.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(text) = text_of(bytes, "f") {
            let _ = read_with(&text, &[]).map_err(|problems| problems.to_string());
        }
    }

    #[test]
    fn no_file_and_no_variable_make_the_reader_panic(
        pieces in proptest::collection::vec(piece(), 0..30),
        name in "FOOTLIGHT_(HTTP|STREAM|OUTPUT|BOX|ORDERS|X)?_{0,3}(MAIN|LISTEN|a)?_{0,3}[A-Z_]{0,8}",
        value in "\\PC{0,12}",
    ) {
        match read_with(&pieces.concat(), &[(&name, &value)]) {
            Ok((config, _)) => prop_assert!(!config.streams.is_empty() || pieces.concat().contains("stream = [")),
            Err(problems) => prop_assert!(!problems.errors.is_empty()),
        }
    }
}
