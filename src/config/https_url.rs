//! Reads `https://host[:port][/path][?query]`, and `http://` to an address that never leaves the site.
//!
//! Messages never repeat the URL: whoever knows its path or query may be able to speak in the shop's name.
//! Nothing is decoded: what follows the host goes into the request line as it is, so it must be what may stand
//! there (RFC 3986 §3.3, §3.4).

use std::str::FromStr;

use super::problems::nearest;
use super::push_url::{PushUrlError, split_place};
use super::schema::HttpsUrl;
use crate::base::secret::Secret;

/// Longest URL; the request line that carries it is bounded by most servers at 8 KiB.
const URL_BYTES_MAX: usize = 4_096;

/// What may stand in a path or a query beside letters and digits (RFC 3986: `pchar`, `/` and `?`).
const OF_TARGET: &str = "-._~!$&'()*+,;=:@/?%";

/// Why a text is not a URL that orders can be sent to. Says nothing of what may be secret in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpsUrlError {
    /// No text.
    #[error("the URL is empty")]
    Empty,
    /// Longer than servers accept.
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A space, a line break or a control character.
    #[error("the URL holds a space or a control character")]
    Blank,
    /// No `scheme://`.
    #[error("the URL has no scheme")]
    NoScheme,
    /// Another scheme than ours.
    #[error("the URL's scheme is not https{}", .0.map(|near| format!(" (did you mean {near}://?)")).unwrap_or_default())]
    Scheme(Option<&'static str>),
    /// `http://` to a name, or to an address that everybody can have.
    #[error("by http:// the orders would go out unencrypted, for all on the way to read")]
    Unencrypted,
    /// Something before an `@`.
    #[error("the URL has a login before an @, which is not sent")]
    Login,
    /// Nothing between the slashes.
    #[error("the URL has no host")]
    NoHost,
    /// Not a name, an IPv4 address or an IPv6 address in brackets.
    #[error("the URL's host is neither a name nor an address")]
    Host,
    /// Not 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// A `#`.
    #[error("the URL has a #, and what follows one is never sent")]
    Fragment,
    /// What cannot stand in a request line.
    #[error("the URL's path or query holds a character that must be percent-encoded")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("a % in the URL is not followed by two hexadecimal digits")]
    Percent,
}

impl HttpsUrlError {
    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            HttpsUrlError::Unencrypted => {
                "write https://; http:// is only for an address, not a name, of this machine or of the studio's \
                 own network, such as http://127.0.0.1:9000/orders or http://192.168.1.20/orders"
            }
            HttpsUrlError::Login => "leave it out and write what lets you in as token = \"...\"",
            HttpsUrlError::Host => {
                "write a name of letters, digits, - and ., an IPv4 address, or an IPv6 address in [ ]"
            }
            HttpsUrlError::Port => "write https://host:8443/path; the port may be left out, it is 443 then",
            HttpsUrlError::Blank => "copy it again in one piece; a space inside it is written %20",
            HttpsUrlError::Fragment => "leave it out; a # that belongs to a key is written %23",
            HttpsUrlError::Character => {
                "write it as % and two hexadecimal digits for each byte, such as %7C for |"
            }
            HttpsUrlError::Percent => "a % itself is written %25",
            HttpsUrlError::Empty
            | HttpsUrlError::TooLong
            | HttpsUrlError::NoScheme
            | HttpsUrlError::Scheme(_)
            | HttpsUrlError::NoHost => "write it whole, as https://shop.example/footlight",
        }
    }
}

impl FromStr for HttpsUrl {
    type Err = HttpsUrlError;

    fn from_str(text: &str) -> Result<HttpsUrl, HttpsUrlError> {
        if text.is_empty() {
            return Err(HttpsUrlError::Empty);
        }
        if text.len() > URL_BYTES_MAX {
            return Err(HttpsUrlError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(HttpsUrlError::Blank);
        }
        let (scheme, rest) = text.split_once("://").ok_or(HttpsUrlError::NoScheme)?;
        let tls = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ if scheme.eq_ignore_ascii_case("http") => false,
            other => return Err(HttpsUrlError::Scheme(nearest(other, ["https"]))),
        };
        let (place, target) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        if place.contains('@') {
            return Err(HttpsUrlError::Login);
        }
        let (host, port) = split_place(place).map_err(|error| match error {
            PushUrlError::NoHost => HttpsUrlError::NoHost,
            PushUrlError::Port => HttpsUrlError::Port,
            _ => HttpsUrlError::Host,
        })?;
        check_target(target)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        let url = HttpsUrl {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            target: Secret::new(format!("{slash}{target}")),
        };
        if !tls && !url.host_address().is_some_and(HttpsUrl::may_be_plain) {
            return Err(HttpsUrlError::Unencrypted);
        }
        Ok(url)
    }
}

/// Whether `target` can stand in a request line as it is.
fn check_target(target: &str) -> Result<(), HttpsUrlError> {
    if target.contains('#') {
        return Err(HttpsUrlError::Fragment);
    }
    if target.chars().any(|c| !c.is_ascii_alphanumeric() && !OF_TARGET.contains(c)) {
        return Err(HttpsUrlError::Character);
    }
    let encoded = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if target.split('%').skip(1).all(encoded) { Ok(()) } else { Err(HttpsUrlError::Percent) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_parted_into_what_is_dialled_and_what_is_asked_for() {
        for (text, tls, host, port, target, shown) in [
            ("https://shop.example", true, "shop.example", 443, "/", "https://shop.example"),
            ("HTTPS://shop.example:443/f", true, "shop.example", 443, "/f", "https://shop.example"),
            ("https://a:8443/f/?k=TOP%20SECRET", true, "a", 8443, "/f/?k=TOP%20SECRET", "https://a:8443"),
            ("https://a?k=b@c", true, "a", 443, "/?k=b@c", "https://a"),
            ("https://[2001:db8::1]/x", true, "2001:db8::1", 443, "/x", "https://[2001:db8::1]"),
            ("https://8.8.8.8:80/x", true, "8.8.8.8", 80, "/x", "https://8.8.8.8:80"),
            ("http://127.0.0.1/x", false, "127.0.0.1", 80, "/x", "http://127.0.0.1"),
            ("http://192.168.1.20:9000", false, "192.168.1.20", 9000, "/", "http://192.168.1.20:9000"),
            ("http://[fd00::1]:81/x", false, "fd00::1", 81, "/x", "http://[fd00::1]:81"),
        ] {
            let url: HttpsUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.tls, url.host.as_str(), url.port), (tls, host, port), "{text}");
            assert_eq!((url.target.reveal(), url.to_string().as_str()), (target, shown), "{text}");
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn a_wrong_url_is_told_what_is_wrong_with_it() {
        use HttpsUrlError as E;
        for (text, want) in [
            ("", E::Empty),
            ("shop.example/x", E::NoScheme),
            ("htps://shop.example", E::Scheme(Some("https"))),
            ("rtmp://shop.example", E::Scheme(None)),
            ("https:///x", E::NoHost),
            ("https://u:TOPSECRET@a/x", E::Login),
            ("https://a..b/", E::Host),
            ("https://::1/", E::Host),
            ("https://a:0/", E::Port),
            ("https://a:/", E::Port),
            ("https://a/b c", E::Blank),
            ("https://a/x#TOPSECRET", E::Fragment),
            ("https://a#x", E::Fragment),
            ("https://a/x|y", E::Character),
            ("https://a/店", E::Character),
            ("https://a/100%", E::Percent),
            ("https://a/%2", E::Percent),
            ("https://a/%é0", E::Character),
        ] {
            assert_eq!(text.parse::<HttpsUrl>(), Err(want), "{text}");
        }
        assert_eq!(format!("https://a/{}", "x".repeat(5_000)).parse::<HttpsUrl>(), Err(E::TooLong));
    }

    #[test]
    fn orders_go_out_in_the_clear_only_to_where_no_stranger_reads_along() {
        for host in
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.1.1", "[::1]", "[fd12::1]"]
        {
            assert!(format!("http://{host}/x").parse::<HttpsUrl>().is_ok(), "{host}");
        }
        for host in
            ["shop.example", "localhost", "8.8.8.8", "172.32.0.1", "[2001:db8::1]", "[::ffff:8.8.8.8]"]
        {
            let refused = format!("http://{host}/x").parse::<HttpsUrl>();
            assert_eq!(refused, Err(HttpsUrlError::Unencrypted), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_nothing_shows_what_follows_the_host(
            text in "\\PC{0,40}|https?://[a-z0-9.:@%\\[\\]/?#&=|]{0,40}",
        ) {
            for text in [text.clone(), format!("{text}/TOPSECRET"), format!("{text}?TOPSECRET")] {
                match text.parse::<HttpsUrl>() {
                    Ok(url) => {
                        prop_assert!(url.target.reveal().starts_with('/'));
                        let shown = format!("{url}{url:?}");
                        prop_assert!(!shown.contains("TOPSECRET"));
                        prop_assert_eq!(url.to_string().parse::<HttpsUrl>().map(|back| back.authority()), Ok(url.authority()));
                    }
                    Err(error) => {
                        let told = format!("{error}{}", error.advice());
                        prop_assert!(!told.contains("TOPSECRET"));
                    }
                }
            }
        }
    }
}
