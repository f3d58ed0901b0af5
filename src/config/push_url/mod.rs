//! Reads `rtmp://[user:password@]host[:port]/app[/instance]/key`, `rtmps://` alike, and
//! `srt://host:port[?streamid=...&passphrase=...]`.
//!
//! Messages never repeat the URL: its key lets anyone publish in the shop's name. Of RTMP's path nothing is
//! decoded (`%2F` stays as it is): servers compare keys as text, and platforms hand them out as such. A login
//! and SRT's parameters are percent-decoded, since an `@` or an `&` could not stand in them otherwise; a `+`
//! stays a `+`.

mod error;
#[cfg(test)]
mod tests;

use std::net::Ipv6Addr;
use std::str::FromStr;

pub use error::PushUrlError;

use super::problems::nearest;
use super::schema::{Destination, Login, PushPath, PushUrl, Scheme};
use super::secrets::{PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN};
use crate::base::secret::Secret;

/// Longest URL. Platforms hand out some 300 characters; AMF's short string ends at 65,535.
const URL_BYTES_MAX: usize = 4_096;

/// Longest host name (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Longest stream id (SRT draft-01 §3.2.1.3).
const STREAM_ID_BYTES_MAX: usize = 512;

const SCHEMES: [(&str, Scheme); 3] = [("rtmp", Scheme::Rtmp), ("rtmps", Scheme::Rtmps), ("srt", Scheme::Srt)];

/// What may stand in an SRT URL's query.
const PARAMETERS: [&str; 3] = ["streamid", "passphrase", "mode"];

/// Latencies: milliseconds to libsrt's own tools, microseconds to FFmpeg.
const LATENCIES: [&str; 3] = ["latency", "rcvlatency", "peerlatency"];

/// What other tools take in the query. Only these are repeated in messages: what is unknown may be a key that
/// was pasted in the wrong place.
const ELSEWHERE: [&str; 8] =
    ["pbkeylen", "transtype", "pkt_size", "maxbw", "timeout", "connect_timeout", "linger", "tlpktdrop"];

impl FromStr for Destination {
    type Err = PushUrlError;

    /// Reads a URL, and the passphrase that an SRT URL may bring along.
    fn from_str(text: &str) -> Result<Destination, PushUrlError> {
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
        let scheme = scheme_of(scheme)?;
        let (authority, rest) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        // The last @: one in a password is common, one in a host is impossible.
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (host, port) = split_place(place).map_err(|error| match error {
            PushUrlError::Port if login.is_none() && rest.contains('@') => PushUrlError::LoginCut,
            error => error,
        })?;
        let url = |port, login, path| PushUrl { scheme, host: host.to_owned(), port, login, path };
        if scheme == Scheme::Srt {
            if login.is_some() {
                return Err(PushUrlError::LoginOfSrt);
            }
            let query = Query::read(rest)?;
            let path = PushPath::Srt { stream_id: query.stream_id.map(Secret::new) };
            let url = url(port.ok_or(PushUrlError::NoPort)?, None, path);
            return Ok(Destination {
                passphrase: query.passphrase.map(Secret::new),
                ..Destination::new(url)
            });
        }
        let port = port.or(scheme.default_port()).ok_or(PushUrlError::NoPort)?;
        let (app, key) = split_path(rest.strip_prefix('/').ok_or(PushUrlError::NoApp)?)?;
        let path = PushPath::Rtmp { app: Secret::new(app), key: Secret::new(key) };
        Ok(Destination::new(url(port, login.map(read_login).transpose()?, path)))
    }
}

fn scheme_of(written: &str) -> Result<Scheme, PushUrlError> {
    if let Some((_, scheme)) = SCHEMES.iter().find(|(name, _)| written.eq_ignore_ascii_case(name)) {
        return Ok(*scheme);
    }
    let scheme = written.chars().take(16).flat_map(char::escape_debug).collect();
    let known = SCHEMES.iter().map(|(name, _)| *name);
    let near = if written.starts_with("http") { None } else { nearest(written, known) };
    Err(PushUrlError::Scheme { scheme, near })
}

/// Host and port, if one is written.
pub(super) fn split_place(place: &str) -> Result<(&str, Option<u16>), PushUrlError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(PushUrlError::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| PushUrlError::Host)?;
        return match port {
            "" => Ok((host, None)),
            port => Ok((host, Some(parse_port(port.strip_prefix(':').ok_or(PushUrlError::Host)?)?))),
        };
    }
    if place.matches(':').count() > 1 {
        return Err(PushUrlError::Host);
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (place, None),
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

fn read_login(login: &str) -> Result<Login, PushUrlError> {
    let (user, password) = login.split_once(':').ok_or(PushUrlError::Login)?;
    if user.is_empty() || password.is_empty() {
        return Err(PushUrlError::Login);
    }
    let decoded = |text| decode(text).ok_or(PushUrlError::Percent("user:password@")).map(Secret::new);
    Ok(Login { user: decoded(user)?, password: decoded(password)? })
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

/// What an SRT URL says after its port.
#[derive(Default)]
struct Query {
    stream_id: Option<String>,
    passphrase: Option<String>,
    caller: Option<String>,
}

impl Query {
    /// `[/]?name=value&...`; a `#` is part of a value (`streamid=#!::r=live/key,m=publish`).
    fn read(rest: &str) -> Result<Query, PushUrlError> {
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let mut query = Query::default();
        if rest.is_empty() {
            return Ok(query);
        }
        let parameters = rest.strip_prefix('?').ok_or(PushUrlError::PathOfSrt)?;
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            query.take(name, value)?;
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), PushUrlError> {
        let Some(known) = PARAMETERS.into_iter().find(|known| *known == name) else {
            return Err(unknown_parameter(name));
        };
        let value = decode(value).ok_or(PushUrlError::Percent(known))?;
        let slot = match known {
            "streamid" if value.is_empty() || value.len() > STREAM_ID_BYTES_MAX => {
                return Err(PushUrlError::StreamId(value.len()));
            }
            "streamid" => &mut self.stream_id,
            "passphrase" if !(PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX).contains(&value.len()) => {
                return Err(PushUrlError::Passphrase(value.len()));
            }
            "passphrase" => &mut self.passphrase,
            _ if value != "caller" => return Err(PushUrlError::NotCaller),
            _ => &mut self.caller,
        };
        if slot.replace(value).is_some() { Err(PushUrlError::Twice(known)) } else { Ok(()) }
    }
}

fn unknown_parameter(name: &str) -> PushUrlError {
    if let Some(latency) = LATENCIES.into_iter().find(|known| *known == name) {
        return PushUrlError::Latency(latency);
    }
    match ELSEWHERE.into_iter().find(|known| *known == name) {
        Some(known) => PushUrlError::Parameter(known),
        None => PushUrlError::UnknownParameter(nearest(name, PARAMETERS)),
    }
}

/// Percent-decoded text (RFC 3986 §2.1); none where a `%` lacks its digits, or where what comes out is not
/// text or holds control characters, which no server takes in a name or a password.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            (b'%', _) => return None,
            _ => *first,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}
