//! Reads `rtmp://host[:port]/app[/instance]/key`.
//!
//! Messages never repeat the URL: its key lets anyone publish in the shop's name. Nothing is decoded
//! (`%2F` stays as it is): servers compare keys as text, and platforms hand them out as such.

use std::net::Ipv6Addr;
use std::str::FromStr;

use super::later;
use super::problems::nearest;
use super::schema::PushUrl;

/// RTMP's own port.
const RTMP_PORT: u16 = 1935;

/// Longest URL. Platforms hand out some 300 characters; AMF's short string ends at 65,535.
const URL_BYTES_MAX: usize = 4_096;

/// Longest host name (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Why a text is not a URL that can be pushed to. Says nothing of its path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushUrlError {
    /// No text.
    #[error("the URL is empty")]
    Empty,
    /// Longer than any server accepts.
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A space, a line break or a control character.
    #[error("the URL holds a space or a control character")]
    Blank,
    /// No `scheme://`.
    #[error("the URL has no scheme")]
    NoScheme,
    /// In the contract, not in this version.
    #[error("{0}:// is not built into this version")]
    NotYet(&'static str),
    /// Anything else.
    #[error("\"{scheme}://\" cannot be pushed to{}", .near.map(|near| format!(" (did you mean {near}://?)")).unwrap_or_default())]
    Scheme {
        /// As written, cut.
        scheme: String,
        /// What was probably meant.
        near: Option<&'static str>,
    },
    /// `user:password@`.
    #[error("the URL holds a user name or password before an @")]
    UserInfo,
    /// Nothing between the slashes.
    #[error("the URL has no host")]
    NoHost,
    /// Not a name, an IPv4 address or an IPv6 address in brackets.
    #[error("the URL's host is neither a name nor an address")]
    Host,
    /// Not 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// Nothing, or only one part, after the host.
    #[error("the URL has no application: its path needs two parts")]
    NoApp,
    /// Nothing after the last slash.
    #[error("the URL has no stream key: nothing stands after its last /")]
    NoKey,
}

impl PushUrlError {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            PushUrlError::Blank => "copy it again in one piece; a space inside a key is written %20",
            PushUrlError::NotYet(_) | PushUrlError::Scheme { .. } => {
                "use the destination's rtmp:// address; only rtmp:// is spoken"
            }
            PushUrlError::UserInfo => "leave it out: the key at the end of the URL is what lets you publish",
            PushUrlError::Host => {
                "write a name of letters, digits, - and ., an IPv4 address, or an IPv6 address in [ ]"
            }
            PushUrlError::Port => "write host:1935, or leave the port out",
            PushUrlError::Empty
            | PushUrlError::TooLong
            | PushUrlError::NoScheme
            | PushUrlError::NoHost
            | PushUrlError::NoApp
            | PushUrlError::NoKey => "write it whole, as rtmp://host/app/key",
        }
    }
}

impl FromStr for PushUrl {
    type Err = PushUrlError;

    fn from_str(text: &str) -> Result<PushUrl, PushUrlError> {
        if text.is_empty() {
            return Err(PushUrlError::Empty);
        }
        if text.len() > URL_BYTES_MAX {
            return Err(PushUrlError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(PushUrlError::Blank);
        }
        let (scheme, rest) = text.split_once("://").ok_or(PushUrlError::NoScheme)?;
        check_scheme(scheme)?;
        let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(PushUrlError::UserInfo);
        }
        let (host, port) = split_authority(authority)?;
        let (app, key) = split_path(path.strip_prefix('/').ok_or(PushUrlError::NoApp)?)?;
        Ok(PushUrl::rtmp(host, port, app, key))
    }
}

fn check_scheme(scheme: &str) -> Result<(), PushUrlError> {
    if scheme.eq_ignore_ascii_case("rtmp") {
        return Ok(());
    }
    if let Some(known) = later::PUSH.iter().find(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(PushUrlError::NotYet(known));
    }
    let readable = scheme.chars().take(16).flat_map(char::escape_debug).collect();
    let near = if scheme.starts_with("http") { None } else { nearest(scheme, ["rtmp"]) };
    Err(PushUrlError::Scheme { scheme: readable, near })
}

fn split_authority(authority: &str) -> Result<(&str, u16), PushUrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(PushUrlError::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| PushUrlError::Host)?;
        return match port {
            "" => Ok((host, RTMP_PORT)),
            port => Ok((host, parse_port(port.strip_prefix(':').ok_or(PushUrlError::Host)?)?)),
        };
    }
    if authority.matches(':').count() > 1 {
        return Err(PushUrlError::Host);
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, RTMP_PORT),
    };
    if host.is_empty() {
        return Err(PushUrlError::NoHost);
    }
    if !is_host_name(host) {
        return Err(PushUrlError::Host);
    }
    Ok((host, port))
}

/// Letters, digits, `-` and `_` (seen in the wild) between single dots; a name of digits only must be a
/// whole IPv4 address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        plain && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    host.len() <= HOST_BYTES_MAX && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

fn parse_port(text: &str) -> Result<u16, PushUrlError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port != 0).ok_or(PushUrlError::Port)
}

/// Parts the path into application and key.
///
/// A query belongs to the key (`live/key?token=a/b`), so slashes in it part nothing; unless the path before
/// it has one part only: some platforms put the query between the two (`live?vhost=shop/key`).
fn split_path(path: &str) -> Result<(&str, &str), PushUrlError> {
    let plain = path.split('?').next().unwrap_or(path);
    let at = plain.rfind('/').or_else(|| path.rfind('/')).ok_or(PushUrlError::NoApp)?;
    let (app, key) = (path[..at].trim_matches('/'), &path[at + 1..]);
    if app.is_empty() || app.starts_with('?') {
        return Err(PushUrlError::NoApp);
    }
    if key.is_empty() || key.starts_with('?') {
        return Err(PushUrlError::NoKey);
    }
    Ok((app, key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::schema::PushPath;

    fn app_and_key(url: &PushUrl) -> (&str, &str) {
        match &url.path {
            PushPath::Rtmp { app, key } => (app.reveal(), key.reveal()),
            PushPath::Srt { .. } => panic!("not RTMP"),
        }
    }

    #[test]
    fn a_platforms_url_is_parted_into_what_rtmp_sends() {
        for (text, host, port, app, key) in [
            ("rtmp://a.example/live/KEY", "a.example", 1935, "live", "KEY"),
            ("RTMP://a.example:19350/live/KEY", "a.example", 19350, "live", "KEY"),
            ("rtmp://a.example/app/instance/KEY", "a.example", 1935, "app/instance", "KEY"),
            ("rtmp://a.example/live/key?token=a/b&t=1", "a.example", 1935, "live", "key?token=a/b&t=1"),
            ("rtmp://a.example/live?vhost=shop/key", "a.example", 1935, "live?vhost=shop", "key"),
            ("rtmp://127.0.0.1:1/l/k", "127.0.0.1", 1, "l", "k"),
            ("rtmp://[2001:db8::1]:1936/l/k", "2001:db8::1", 1936, "l", "k"),
            ("rtmp://[::1]/l/k", "::1", 1935, "l", "k"),
            ("rtmp://h/l/k%2Fx#y", "h", 1935, "l", "k%2Fx#y"),
        ] {
            let url: PushUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(app_and_key(&url), (app, key), "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_told_what_is_wrong_with_it() {
        for (text, want) in [
            ("", PushUrlError::Empty),
            ("a.example/live/key", PushUrlError::NoScheme),
            ("rtmp:/a.example/live/key", PushUrlError::NoScheme),
            ("rtmps://a.example/live/key", PushUrlError::NotYet("rtmps")),
            ("srt://a.example:9000", PushUrlError::NotYet("srt")),
            ("rtpm://a/l/k", PushUrlError::Scheme { scheme: "rtpm".into(), near: Some("rtmp") }),
            ("https://a/l/k", PushUrlError::Scheme { scheme: "https".into(), near: None }),
            ("rtmp:///live/key", PushUrlError::NoHost),
            ("rtmp://:1935/live/key", PushUrlError::NoHost),
            ("rtmp://user:pass@a/live/key", PushUrlError::UserInfo),
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
            ("rtmp://a/live/?token=x", PushUrlError::NoKey),
        ] {
            assert_eq!(text.parse::<PushUrl>(), Err(want), "{text}");
        }
        assert_eq!("rtmp://a/l/k".repeat(1_000).parse::<PushUrl>(), Err(PushUrlError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_no_message_shows_a_key(
            text in "\\PC{0,60}|rtmp://[a-z0-9.:@\\[\\]/?#]{0,40}",
        ) {
            if let Ok(url) = text.parse::<PushUrl>() {
                let (app, key) = app_and_key(&url);
                prop_assert!(!app.is_empty() && !key.is_empty());
                let shown = url.to_string();
                prop_assert!(!shown.trim_start_matches("rtmp://").contains('/'));
            }
            if let Err(error) = format!("{text}/live/TOPSECRET").parse::<PushUrl>() {
                prop_assert!(!error.to_string().contains("TOPSECRET"));
            }
        }
    }
}
