//! `[[output]]`: its destinations, its mode, its bounds, and its variables.

use super::*;
use crate::base::secret::Secret;
use crate::config::schema::{Destination, Output, OutputMode, Scheme};

/// An output with more text under its name.
fn with(rest: &str) -> String {
    format!("[[output]]\nname = \"cloud\"\n{rest}\n")
}

/// The only output of a configuration that is right, and what is strange about it.
fn output_of(text: &str, env: &[(&str, &str)]) -> (Output, Vec<String>) {
    let (config, warnings) = read_with(text, env).unwrap_or_else(|problems| panic!("{problems}"));
    let output = config.outputs.into_iter().next().expect("an output");
    (output, warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn an_output_of_which_only_the_primary_is_written_has_its_defaults() {
    let (output, warnings) = output_of(&with("primary = \"rtmp://a.example/live/KEY\""), &[]);
    let url = "rtmp://a.example/live/KEY".parse::<Destination>().expect("a URL");
    assert_eq!(output, Output::new("cloud", "main", url));
    assert_eq!(output.mode, OutputMode::Warm);
    assert_eq!((output.failback, output.adaptive), (Duration::from_secs(10), true));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn everything_that_an_output_can_say_is_understood() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
    };
    file("ca.pem", "a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    file("cloud.pass", "correct horse battery\n");
    file("srt.url", "srt://c.example:9000?streamid=%23x\n");
    let text = with(
        r#"mode = "cold"
failback = "1m"
adaptive = true
bitrate_min = "500kbit/s"
bitrate_max = "3Mbit/s"
standby = [
    "rtmp://u:p%40@b.example/live/KEY",
    { url_file = "srt.url", latency = "200ms", passphrase_file = "cloud.pass", source_address = "10.0.0.2" },
]
[output.primary]
url = "rtmps://a.example/live/KEY"
interface = "eth0"
ca_file = "ca.pem"
"#,
    );
    let interfaces = ["eth0".to_owned(), "lo".to_owned()];
    let around = Around { folder: folder.path(), readable_by_all: false, interfaces: Some(&interfaces) };
    let (config, warnings) =
        understand(&text, "f", around, defaults(), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    let output = &config.outputs[0];
    assert_eq!((output.mode, output.failback), (OutputMode::Cold, Duration::from_secs(60)));
    assert_eq!(output.bitrate_min, Some(BitrateBps(500_000)));
    assert_eq!(output.bitrate_max, Some(BitrateBps(3_000_000)));
    let primary = &output.primary;
    assert_eq!((primary.url.scheme, primary.url.port), (Scheme::Rtmps, 443));
    assert_eq!(primary.interface.as_deref(), Some("eth0"));
    assert_eq!(primary.ca_file, Some(folder.path().join("ca.pem")));
    let login = output.standby[0].url.login.as_ref().expect("a login");
    assert_eq!((login.user.reveal(), login.password.reveal()), ("u", "p@"));
    let srt = &output.standby[1];
    assert_eq!((srt.url.scheme, srt.url.port), (Scheme::Srt, 9000));
    assert_eq!(srt.latency, Some(Duration::from_millis(200)));
    assert_eq!(srt.source_address, Some([10, 0, 0, 2].into()));
    assert_eq!(srt.passphrase.as_ref().map(Secret::reveal), Some("correct horse battery"));
    let PushPath::Srt { stream_id: Some(id) } = &srt.url.path else { panic!("a stream id") };
    assert_eq!(id.reveal(), "#x");
}

#[test]
fn a_fingerprint_is_read_as_openssl_prints_it_and_without_its_colons() {
    let colons: Vec<_> = (0..32).map(|byte| format!("{byte:02X}")).collect();
    for text in [colons.join(":"), colons.concat().to_lowercase()] {
        let primary = format!("primary = {{ url = \"rtmps://a/l/k\", certificate_sha256 = \"{text}\" }}");
        let pin = output_of(&with(&primary), &[]).0.primary.certificate_sha256.expect("a pin");
        assert!(pin.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at), "{pin:?}");
    }
}

#[test]
fn a_passphrase_in_the_url_is_a_passphrase() {
    let (output, _) = output_of(&with("primary = \"srt://a:1?passphrase=0123456789&streamid=x\""), &[]);
    assert_eq!(output.primary.passphrase.as_ref().map(Secret::reveal), Some("0123456789"));
}

#[test]
fn a_variable_sets_one_part_of_a_destination_and_leaves_the_others() {
    let text = with(
        "primary = \"rtmp://a/l/k\"\nstandby = [{ url_file = \"gone.url\", interface = \"wwan0\" }, \"rtmp://c/l/k\"]",
    );
    let env = [
        ("FOOTLIGHT_OUTPUT__CLOUD__PRIMARY__INTERFACE", "eth0"),
        ("FOOTLIGHT_OUTPUT__CLOUD__STANDBY__1__URL", "rtmp://b/l/k"),
        ("FOOTLIGHT_output__cloud__standby__3", "srt://d:9000"),
        ("FOOTLIGHT_OUTPUT__CLOUD__STANDBY__3__PASSPHRASE", "0123456789"),
        ("FOOTLIGHT_OUTPUT__CLOUD__STANDBY__4__URL", "rtmp://e/l/k"),
    ];
    let (output, warnings) = output_of(&text, &env);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(output.primary.url.host, "a");
    assert_eq!(output.primary.interface.as_deref(), Some("eth0"));
    let hosts: Vec<_> = output.standby.iter().map(|standby| standby.url.host.as_str()).collect();
    assert_eq!(hosts, ["b", "c", "d", "e"]);
    assert_eq!(output.standby[0].interface.as_deref(), Some("wwan0"));
    assert!(output.standby[2].passphrase.is_some());
}

#[test]
fn every_part_of_a_destination_has_its_variable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("it");
    let cases = [
        ("url", "rtmp://b/l/k", "rtmp"),
        ("url_file", "URL", "rtmp"),
        ("interface", "eth0", "rtmp"),
        ("source_address", "10.0.0.1", "rtmp"),
        ("ca_file", "-----BEGIN CERTIFICATE-----", "rtmps"),
        ("certificate_sha256", &"ab".repeat(32), "rtmps"),
        ("latency", "300ms", "srt"),
        ("passphrase", "0123456789", "srt"),
        ("passphrase_file", "0123456789", "srt"),
    ];
    assert_eq!(cases.map(|(key, ..)| key), *keys::DESTINATION.keys);
    for (key, value, scheme) in cases {
        let url = if scheme == "srt" { "srt://a:1".to_owned() } else { format!("{scheme}://a/l/k") };
        let text = with(&format!("primary = \"{url}\"\nstandby = [\"{url}\"]"));
        let (before, _) = output_of(&text, &[]);
        let value = if key.ends_with("_file") {
            std::fs::write(&path, value.replace("URL", "rtmp://b/l/k")).expect("it can be written");
            path.to_str().expect("text")
        } else {
            value
        };
        let capitals = key.to_uppercase();
        let name = format!("FOOTLIGHT_OUTPUT__CLOUD__PRIMARY__{capitals}");
        assert!(output_of(&text, &[(&name, value)]).0.primary != before.primary, "{name} changes nothing");
        let name = format!("FOOTLIGHT_OUTPUT__CLOUD__STANDBY__1__{capitals}");
        let after = output_of(&text, &[(&name, value)]).0;
        assert!(after.standby[0] != before.standby[0] && after.primary == before.primary, "{name}");
    }
}

#[test]
fn a_variable_that_names_no_standby_or_sets_one_twice_is_refused() {
    let text = with("primary = \"rtmp://a/l/k\"");
    for (env, want) in [
        ([("STANDBY__2__URL", "rtmp://b/l/k")].as_slice(), "there is no standby 1 before this one"),
        (&[("STANDBY__0__URL", "rtmp://b/l/k")], "count them from 1 to 7"),
        (&[("STANDBY__8", "rtmp://b/l/k")], "count them from 1 to 7"),
        (&[("STANDBY__URL", "rtmp://b/l/k")], "count them from 1 to 7"),
        (&[("STANDBY__1__ULR", "rtmp://b/l/k")], "did you mean FOOTLIGHT_OUTPUT__CLOUD__STANDBY__1__URL?"),
        (&[("PRIMARY__INTERFCE", "x")], "did you mean FOOTLIGHT_OUTPUT__CLOUD__PRIMARY__INTERFACE?"),
        (&[("MODE__URL", "x")], "sets no key"),
        (&[("STANDBY__1__INTERFACE", "eth0")], "standby[1]: the destination has neither url nor url_file"),
        (&[("PRIMARY", "rtmp://b/l/k"), ("PRIMARY__URL", "rtmp://c/l/k")], "PRIMARY sets the same key"),
        (&[("PRIMARY__URL", "rtmp://b/l/k"), ("PRIMARY__URL_FILE", "x")], "__URL sets the same key"),
        (&[("STANDBY", "rtmp://b/l/k"), ("STANDBY__1__INTERFACE", "x")], "STANDBY sets the same key"),
        (&[("ADAPTIVE", "yes")], "\"yes\" is neither true nor false"),
    ] {
        let env: Vec<_> =
            env.iter().map(|(key, value)| (format!("FOOTLIGHT_OUTPUT__CLOUD__{key}"), *value)).collect();
        let env: Vec<_> = env.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let found = errors(&text, &env).concat();
        assert!(found.to_lowercase().contains(&want.to_lowercase()), "{env:?}: {found}");
        assert!(found.starts_with("FOOTLIGHT_OUTPUT__CLOUD__"), "{found}");
    }
    let whole = output_of(&text, &[("FOOTLIGHT_OUTPUT__CLOUD__STANDBY", "rtmp://b/l/k")]).0;
    assert_eq!(whole.standby.len(), 1);
}

#[test]
fn what_does_nothing_or_gets_in_its_own_way_is_worth_a_warning() {
    let primary = "primary = \"rtmp://a/l/k\"\n";
    let standby = "standby = [\"rtmp://b/l/k\"]\n";
    for (text, at, want) in [
        (format!("{primary}mode = \"cold\""), "4:8: output.cloud.mode", "cold is here as good as any other"),
        (
            format!("{primary}failback = \"5s\""),
            "4:12: output.cloud.failback",
            "no standby to come back from",
        ),
        (
            format!("{primary}{standby}mode = \"mirror\"\nfailback = \"5s\""),
            "6:12: output.cloud.failback",
            "every line carries the stream all the time",
        ),
        (
            format!("{primary}adaptive = false\nbitrate_min = \"1Mbit/s\""),
            "5:15: output.cloud.bitrate_min",
            "nothing comes of bitrate_min",
        ),
        (
            format!("{primary}standby = [\"rtmp://b/l/k\", \"rtmp://a/l/k\"]"),
            "4:28: output.cloud.standby[2]",
            "the URL of output.cloud.primary by the same way, so the two fall together",
        ),
        (
            format!("{primary}standby = [{{ url = \"rtmp://a/l/k\", interface = \"wwan0\" }}]"),
            "4:12: output.cloud.standby[1]",
            "in mode warm both are published at once",
        ),
    ] {
        let (_, warnings) = output_of(&with(&text), &[]);
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        let start = format!("footlight.toml:{at}: ");
        assert!(
            warnings[0].starts_with(&start) && warnings[0].contains(want),
            "{start}{want}: {warnings:#?}"
        );
    }
    let cold = with(&format!(
        "{primary}mode = \"cold\"\nstandby = [{{ url = \"rtmp://a/l/k\", source_address = \"10.0.0.1\" }}]"
    ));
    assert_eq!(output_of(&cold, &[]).1, [""; 0], "one key by two ways, one at a time, is right");
}

#[test]
fn bounds_that_the_stream_makes_idle_are_worth_a_warning() {
    let stream = "[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nbitrate = \"2Mbit/s\"\n";
    for key in ["bitrate_min", "bitrate_max"] {
        let text = stream.to_owned() + &with(&format!("primary = \"rtmp://a/l/k\"\n{key} = \"3Mbit/s\""));
        let (_, warnings) = output_of(&text, &[]);
        assert!(warnings[0].contains("3Mbit/s is more than the 2Mbit/s of stream main"), "{warnings:?}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_worth_a_warning() {
    let interfaces = ["eth0".to_owned(), "lo".to_owned(), "wwan0".to_owned()];
    let around = Around { folder: Path::new(""), readable_by_all: false, interfaces: Some(&interfaces) };
    for (name, want) in [("wwn0", "did you mean wwan0?"), ("tether", "this line waits until it is there")] {
        let text = with(&format!("primary = {{ url = \"rtmp://a/l/k\", interface = \"{name}\" }}"));
        let (_, warnings) = understand(&text, "f", around, defaults(), &[]).expect("only a warning");
        assert!(warnings[0].line("").to_lowercase().contains(want), "{warnings:?}");
        assert!(warnings[0].advice.contains("eth0, lo and wwan0"), "{warnings:?}");
    }
}

#[test]
fn destinations_that_are_wrong_are_all_told_at_once_each_at_its_key() {
    let text = with(
        "mode = \"hot\"\nprimary = { url = \"rtmp://a/l/TOPSECRET\", ca_file = \"x\", interfce = \"eth0\" }\n\
         standby = [{ url = \"srt://a?streamid=TOPSECRET\", latency = 5 }, 7]",
    );
    let found = errors(&text, &[]);
    let starts = [
        "footlight.toml:3:8: output.cloud.mode: ",
        "footlight.toml:4:43: output.cloud.primary.ca_file: ",
        "footlight.toml:4:58: output.cloud.primary.interfce: ",
        "footlight.toml:5:20: output.cloud.standby[1].url: ",
        "footlight.toml:5:60: output.cloud.standby[1].latency: ",
        "footlight.toml:5:65: output.cloud.standby[2]: ",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} should start with {start}");
    }
    assert!(!found.concat().contains("TOPSECRET"));
}
