use proptest::prelude::*;

use super::*;

/// What a URL says: scheme, host, port, and what is secret in it.
fn told(text: &str) -> (Scheme, String, u16, Vec<String>) {
    let destination: Destination = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let url = destination.url;
    let mut secrets = Vec::new();
    if let Some(login) = &url.login {
        secrets.extend([login.user.reveal().to_owned(), login.password.reveal().to_owned()]);
    }
    match &url.path {
        PushPath::Rtmp { app, key } => secrets.extend([app.reveal().to_owned(), key.reveal().to_owned()]),
        PushPath::Srt { stream_id } => secrets.extend(stream_id.iter().map(|id| id.reveal().to_owned())),
    }
    secrets.extend(destination.passphrase.iter().map(|secret| secret.reveal().to_owned()));
    (url.scheme, url.host, url.port, secrets)
}

#[test]
fn a_platforms_url_is_parted_into_what_is_sent() {
    use Scheme::{Rtmp, Rtmps, Srt};
    for (text, scheme, host, port, secrets) in [
        ("rtmp://a.example/live/KEY", Rtmp, "a.example", 1935, ["live", "KEY"].as_slice()),
        ("RTMP://a.example:19350/live/KEY", Rtmp, "a.example", 19350, &["live", "KEY"]),
        ("rtmp://a.example/app/instance/KEY", Rtmp, "a.example", 1935, &["app/instance", "KEY"]),
        ("rtmp://a.example/live/key?token=a/b&t=1", Rtmp, "a.example", 1935, &["live", "key?token=a/b&t=1"]),
        ("rtmp://a.example/live?vhost=shop/key", Rtmp, "a.example", 1935, &["live?vhost=shop", "key"]),
        ("rtmp://127.0.0.1:1/l/k", Rtmp, "127.0.0.1", 1, &["l", "k"]),
        ("rtmp://[2001:db8::1]:1936/l/k", Rtmp, "2001:db8::1", 1936, &["l", "k"]),
        ("rtmp://[::1]/l/k", Rtmp, "::1", 1935, &["l", "k"]),
        ("rtmp://h/l/k%2Fx#y", Rtmp, "h", 1935, &["l", "k%2Fx#y"]),
        ("rtmp://h/l/k@x", Rtmp, "h", 1935, &["l", "k@x"]),
        ("rtmps://a.example/live/KEY", Rtmps, "a.example", 443, &["live", "KEY"]),
        ("rtmps://a.example:1936/live/KEY", Rtmps, "a.example", 1936, &["live", "KEY"]),
        ("rtmp://u:p@h/l/k", Rtmp, "h", 1935, &["u", "p", "l", "k"]),
        ("rtmps://u%40x:p:%2F%25+%C3%A9@[::1]:1/l/k", Rtmps, "::1", 1, &["u@x", "p:/%+é", "l", "k"]),
        ("rtmp://u:p@ss@h/l/k", Rtmp, "h", 1935, &["u", "p@ss", "l", "k"]),
        ("srt://a.example:9000", Srt, "a.example", 9000, &[]),
        ("srt://a.example:9000/?mode=caller", Srt, "a.example", 9000, &[]),
        (
            "srt://[::1]:9000?streamid=#!::r=live/KEY,m=publish&passphrase=0123456789",
            Srt,
            "::1",
            9000,
            &["#!::r=live/KEY,m=publish", "0123456789"],
        ),
        ("srt://h:1?streamid=a%26b%3Dc+d&", Srt, "h", 1, &["a&b=c+d"]),
    ] {
        let want = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        assert_eq!(told(text), (scheme, host.to_owned(), port, want), "{text}");
    }
}

#[test]
fn a_wrong_url_is_told_what_is_wrong_with_it() {
    let scheme = |scheme: &str, near| PushUrlError::Scheme { scheme: scheme.into(), near };
    for (text, want) in [
        ("", PushUrlError::Empty),
        ("a.example/live/key", PushUrlError::NoScheme),
        ("rtmp:/a.example/live/key", PushUrlError::NoScheme),
        ("rtpm://a/l/k", scheme("rtpm", Some("rtmp"))),
        ("rtpms://a/l/k", scheme("rtpms", Some("rtmps"))),
        ("str://a:9000", scheme("str", Some("srt"))),
        ("https://a/l/k", scheme("https", None)),
        ("rtmp:///live/key", PushUrlError::NoHost),
        ("rtmp://:1935/live/key", PushUrlError::NoHost),
        ("rtmp://u:p@/live/key", PushUrlError::NoHost),
        ("rtmp://user@a/live/key", PushUrlError::Login),
        ("rtmp://user:@a/live/key", PushUrlError::Login),
        ("rtmp://:pass@a/live/key", PushUrlError::Login),
        ("rtmp://@a/live/key", PushUrlError::Login),
        ("rtmp://user:pa/ss@a/live/key", PushUrlError::LoginCut),
        ("rtmp://user:pa#ss@a/live/key", PushUrlError::LoginCut),
        ("rtmp://user:100%@a/live/key", PushUrlError::Percent("user:password@")),
        ("rtmp://user:%zz@a/live/key", PushUrlError::Percent("user:password@")),
        ("rtmp://user:%ff@a/live/key", PushUrlError::Percent("user:password@")),
        ("rtmp://user:%0a@a/live/key", PushUrlError::Percent("user:password@")),
        ("rtmp://a b/live/key", PushUrlError::Blank),
        ("rtmp://a..b/live/key", PushUrlError::Host),
        ("rtmp://1.2.3/live/key", PushUrlError::Host),
        ("rtmp://::1/live/key", PushUrlError::Host),
        ("rtmp://[zz]/live/key", PushUrlError::Host),
        ("rtmp://直播/live/key", PushUrlError::Host),
        ("rtmp://a:0/live/key", PushUrlError::Port),
        ("rtmp://a:+80/live/key", PushUrlError::Port),
        ("rtmp://a:99999/live/key", PushUrlError::Port),
        ("rtmp://a:/live/key", PushUrlError::Port),
        ("rtmp://a", PushUrlError::NoApp),
        ("rtmp://a/", PushUrlError::NoApp),
        ("rtmp://a/key", PushUrlError::NoApp),
        ("rtmp://a//key", PushUrlError::NoApp),
        ("rtmp://a/live/", PushUrlError::NoKey),
        ("rtmps://a/live/?token=x", PushUrlError::NoKey),
        ("srt://a", PushUrlError::NoPort),
        ("srt://[::1]?streamid=x", PushUrlError::NoPort),
        ("srt://u:p@a:1", PushUrlError::LoginOfSrt),
        ("srt://a:1/live/key", PushUrlError::PathOfSrt),
        ("srt://a:1#key", PushUrlError::PathOfSrt),
        ("srt://a:1?latency=120", PushUrlError::Latency("latency")),
        ("srt://a:1?mode=listener", PushUrlError::NotCaller),
        ("srt://a:1?mode", PushUrlError::NotCaller),
        ("srt://a:1?pkt_size=1316", PushUrlError::Parameter("pkt_size")),
        ("srt://a:1?stream_id=x", PushUrlError::UnknownParameter(Some("streamid"))),
        ("srt://a:1?colour=x", PushUrlError::UnknownParameter(None)),
        ("srt://a:1?streamid=", PushUrlError::StreamId(0)),
        ("srt://a:1?streamid=%", PushUrlError::Percent("streamid")),
        ("srt://a:1?streamid=x&streamid=y", PushUrlError::Twice("streamid")),
        ("srt://a:1?mode=caller&mode=caller", PushUrlError::Twice("mode")),
        ("srt://a:1?passphrase=short", PushUrlError::Passphrase(5)),
    ] {
        assert_eq!(text.parse::<Destination>(), Err(want), "{text}");
    }
    assert_eq!("rtmp://a/l/k".repeat(1_000).parse::<Destination>(), Err(PushUrlError::TooLong));
    let long = format!("srt://a:1?streamid={}", "x".repeat(513));
    assert_eq!(long.parse::<Destination>(), Err(PushUrlError::StreamId(513)));
}

#[test]
fn a_url_prints_its_scheme_its_host_and_an_unusual_port() {
    for (text, want) in [
        ("rtmp://u:TOPSECRET@a.example/live/TOPSECRET", "rtmp://a.example"),
        ("rtmp://a.example:443/live/TOPSECRET", "rtmp://a.example:443"),
        ("rtmps://a.example:443/live/TOPSECRET", "rtmps://a.example"),
        ("rtmps://[::1]:1935/live/TOPSECRET", "rtmps://[::1]:1935"),
        ("srt://a.example:1935?streamid=TOPSECRET&passphrase=TOPSECRET0", "srt://a.example:1935"),
    ] {
        let destination: Destination = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(destination.url.to_string(), want);
        assert!(!format!("{destination:?}").contains("TOPSECRET"), "{destination:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_nothing_shows_what_is_secret(
        text in "\\PC{0,60}|(rtmps?|srt)://[a-z0-9.:@%\\[\\]/?#&=]{0,40}",
        tail in "/live/TOPSECRET|\\?TOPSECRET|:TOPSECRET@h:1/l/TOPSECRET|\\?streamid=TOPSECRET&mode=TOPSECRET",
    ) {
        for text in [text.clone(), text + &tail] {
            match text.parse::<Destination>() {
                Ok(destination) => {
                    let shown = destination.url.to_string();
                    prop_assert!(!shown.split_once("://").is_none_or(|(_, rest)| rest.contains(['/', '?', '@'])));
                    let debugged = format!("{destination:?}");
                    prop_assert!(!debugged.contains("TOPSECRET"));
                    if let PushPath::Rtmp { app, key } = &destination.url.path {
                        prop_assert!(!app.reveal().is_empty() && !key.reveal().is_empty());
                    }
                }
                Err(error) => {
                    let told = format!("{error}{}", error.advice());
                    prop_assert!(!told.contains("TOPSECRET"));
                }
            }
        }
    }

    #[test]
    fn whatever_is_encoded_into_a_login_comes_out_as_it_was(
        user in "[^\\pC]{1,12}", password in "[^\\pC]{1,12}",
    ) {
        let encoded = |text: &str| {
            let bytes: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            bytes.concat()
        };
        let text = format!("rtmps://{}:{}@h/l/k", encoded(&user), encoded(&password));
        let destination: Destination = text.parse().map_err(|_| TestCaseError::fail(text))?;
        let login = destination.url.login.ok_or_else(|| TestCaseError::fail("a login"))?;
        prop_assert_eq!((login.user.reveal(), login.password.reveal()), (user.as_str(), password.as_str()));
    }
}
