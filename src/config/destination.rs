//! Reads a destination: `primary = "rtmp://..."`, `primary = { url = "rtmp://...", interface = "wwan0" }` or
//! `primary = { url_file = "cloud.url" }`, and each entry of `standby` alike.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::document::{Given, Value};
use super::keys::DESTINATION;
use super::problems::{Notes, Origin, Wrong, listed, nearest, quote};
use super::push_url::PushUrlError;
use super::read::Around;
use super::schema::{Destination, PushPath, Scheme};
use super::secrets::{self, SecretInFile};
use super::section::Section;
use super::values;
use crate::base::secret::Secret;

/// Longest name of a network interface (IFNAMSIZ less its end).
const INTERFACE_BYTES_MAX: usize = 15;

/// Below, nothing lost is ever resent in time; above, SRT's buffers outgrow a small box.
const LATENCY: std::ops::RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(30);

/// Keys that only `rtmps://` has a use for.
const OF_RTMPS: [&str; 2] = ["ca_file", "certificate_sha256"];

/// Keys that only `srt://` has a use for.
const OF_SRT: [&str; 3] = ["latency", "passphrase", "passphrase_file"];

/// A destination and where it was given.
pub(super) struct Placed {
    /// Its path in messages, as `output.cloud.standby[1]`.
    pub(super) path: String,
    pub(super) at: Origin,
    pub(super) destination: Destination,
    /// A secret of it that stands in the configuration file itself.
    pub(super) secret_in_file: Option<SecretInFile>,
}

/// Reads a destination that is called `path` in messages. What is wrong is noted; none without a usable URL.
pub(super) fn read(value: Value, path: String, around: Around<'_>, notes: &mut Notes<'_>) -> Option<Placed> {
    let at = value.at.clone();
    let in_file = matches!(value.given, Given::Text(_));
    match value.given {
        Given::Text(text) | Given::Variable(text) => {
            let read = parse(&text).map_err(|wrong| notes.error(&at, &path, wrong));
            let destination = read.ok()?;
            let secret_in_file = secret_of(&destination).filter(|_| in_file).map(|what| SecretInFile {
                at: at.clone(),
                path: path.clone(),
                what,
            });
            Some(Placed { path, at, destination, secret_in_file })
        }
        Given::Table(table) => {
            let mut section = Section::new(DESTINATION, path.clone(), table, notes);
            let (destination, secret_in_file) = in_table(&mut section, &at, &path, around);
            section.finish();
            Some(Placed { path, at, destination: destination?, secret_in_file })
        }
        other => {
            let wrong = Wrong::new(
                format!("a URL is wanted here, not {}", other.kind()),
                "write \"rtmp://host/app/key\", or { url_file = \"cloud.url\" } to keep the key elsewhere",
            );
            notes.error(&at, &path, wrong);
            None
        }
    }
}

fn parse(text: &str) -> Result<Destination, Wrong> {
    text.parse().map_err(|error: PushUrlError| Wrong::new(error.to_string(), error.advice()))
}

/// What a URL has to hide.
fn secret_of(destination: &Destination) -> Option<&'static str> {
    match &destination.url.path {
        PushPath::Rtmp { .. } | PushPath::Srt { stream_id: Some(_) } => Some("key"),
        PushPath::Srt { stream_id: None } => destination.passphrase.as_ref().map(|_| "passphrase"),
    }
}

fn in_table(
    section: &mut Section<'_, '_>,
    at: &Origin,
    path: &str,
    around: Around<'_>,
) -> (Option<Destination>, Option<SecretInFile>) {
    let advice = "write { url = \"rtmp://host/app/key\" } or { url_file = \"cloud.url\" }";
    match (section.has("url"), section.has("url_file")) {
        (false, false) => {
            section.error("", at, Wrong::new("the destination has neither url nor url_file", advice));
        }
        (true, true) => {
            section.error(
                "",
                at,
                Wrong::new("the destination has both url and url_file", "keep one of them"),
            );
        }
        _ => {}
    }
    let (url, url_at) = secrets::take(section, ["url", "url_file"], "URL", around.folder, parse);
    let scheme = url.as_ref().map(|destination| destination.url.scheme);
    only_for(section, scheme, Scheme::Rtmps, &OF_RTMPS);
    only_for(section, scheme, Scheme::Srt, &OF_SRT);
    let interface = section.take_with_place("interface", interface);
    if let Some((name, at)) = &interface {
        look_for_interface(section, name, at, around.interfaces);
    }
    let source = section.take_with_place("source_address", source_address);
    let host = url.as_ref().and_then(|destination| destination.url.host_address());
    if let (Some((source, at)), Some(host)) = (&source, host)
        && source.is_ipv4() != host.is_ipv4()
    {
        let family = |address: &IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let what = format!("{source} is {} and the URL's host is {}", family(source), family(&host));
        section.error("source_address", at, Wrong::new(what, "write an address of the same kind"));
    }
    let ca_file = section.take("ca_file", |value| {
        let path = values::path(value, around.folder)?;
        secrets::look_at_certificates(&path).map(|()| path)
    });
    let pin = section.take_with_place("certificate_sha256", fingerprint);
    if let (Some(_), Some((_, at))) = (&ca_file, &pin) {
        let what = "the server's certificate is known by this, so nothing comes of ca_file";
        section.warn("certificate_sha256", at, Wrong::new(what, "keep one of the two"));
    }
    let latency = section.take("latency", |value| values::period(value, LATENCY));
    let in_url = url.as_ref().is_some_and(|destination| destination.passphrase.is_some());
    let (passphrase, passphrase_at) = passphrase(section, in_url, around.folder);

    let found = |at, key, what| SecretInFile { at, path: format!("{path}.{key}"), what };
    let in_url = url.as_ref().and_then(secret_of).zip(url_at).map(|(what, at)| found(at, "url", what));
    let beside = passphrase_at.map(|at| found(at, "passphrase", "passphrase"));
    let secret_in_file = in_url.or(beside);
    let destination = url.map(|url| Destination {
        interface: interface.map(|(name, _)| name),
        source_address: source.map(|(address, _)| address),
        ca_file,
        certificate_sha256: pin.map(|(pin, _)| pin),
        latency,
        passphrase: passphrase.or(url.passphrase),
        url: url.url,
    });
    (destination, secret_in_file)
}

/// The passphrase, wherever it stands, and where if that is the configuration file itself. `in_url`: the URL
/// brought one along.
fn passphrase(
    section: &mut Section<'_, '_>,
    in_url: bool,
    folder: &Path,
) -> (Option<Secret>, Option<Origin>) {
    let keys = ["passphrase", "passphrase_file"];
    let written: Vec<_> = keys.into_iter().filter_map(|key| Some((key, section.place_of(key)?))).collect();
    if let [.., (key, at)] = written.as_slice()
        && written.len() + usize::from(in_url) > 1
    {
        let advice = "keep it in one place, best in a file of its own: passphrase_file";
        section.error(key, at, Wrong::new("the passphrase is given twice", advice));
    }
    secrets::take(section, keys, "passphrase", folder, secrets::passphrase)
}

/// Refuses `keys`, which only `wanted` has a use for, where the URL is of another scheme.
fn only_for(section: &mut Section<'_, '_>, scheme: Option<Scheme>, wanted: Scheme, keys: &[&'static str]) {
    let Some(scheme) = scheme.filter(|scheme| *scheme != wanted) else { return };
    for key in keys {
        let Some(entry) = section.take_entry(key) else { continue };
        let advice = match (wanted, scheme) {
            (Scheme::Rtmps, Scheme::Rtmp) => "leave it out, or write rtmps:// if the server speaks TLS",
            (_, Scheme::Srt) => "leave it out: SRT is encrypted by a passphrase",
            _ => "leave it out",
        };
        let what = format!("{key} is for {wanted}://, and this URL begins with {scheme}://");
        section.error(key, &entry.key_at, Wrong::new(what, advice));
    }
}

/// The name of a network interface: what the kernel takes as one.
fn interface(value: &Value) -> Result<String, Wrong> {
    let text = values::text(value)?;
    let advice = "write its name as `ip link` shows it, such as \"eth0\" or \"wwan0\"";
    if text.parse::<IpAddr>().is_ok() {
        let what = format!("{} is an address, not an interface", quote(text));
        return Err(Wrong::new(what, "write source_address = ..., or the interface's name"));
    }
    if text.is_empty() || text.len() > INTERFACE_BYTES_MAX {
        let what = format!("the interface's name has {} bytes", text.len());
        return Err(Wrong::new(what, format!("{advice}: 1 to {INTERFACE_BYTES_MAX} bytes")));
    }
    let odd = |c: &char| !c.is_ascii_graphic() || matches!(c, '/' | ':');
    match text.chars().find(odd) {
        Some(odd) => Err(Wrong::new(format!("the interface's name {} holds {odd:?}", quote(text)), advice)),
        None if matches!(text, "." | "..") => {
            Err(Wrong::new(format!("{} is no interface's name", quote(text)), advice))
        }
        None => Ok(text.to_owned()),
    }
}

/// A modem may be plugged in later, so an interface that is not there is worth a warning only.
fn look_for_interface(section: &mut Section<'_, '_>, name: &str, at: &Origin, there: Option<&[String]>) {
    let Some(there) = there.filter(|there| !there.iter().any(|one| one == name)) else { return };
    let known = || there.iter().map(String::as_str);
    let what = format!("there is no interface {} now", quote(name));
    let advice = match nearest(name, known()) {
        Some(near) => format!("did you mean {near}? There is {}", listed(known())),
        None => format!("this line waits until it is there; there is {}", listed(known())),
    };
    section.warn("interface", at, Wrong::new(what, advice));
}

/// An address of this box to go out from.
fn source_address(value: &Value) -> Result<IpAddr, Wrong> {
    let text = values::text(value)?;
    let advice = "write an IP address of this box, without a port, such as \"192.168.1.20\"; leave it out to \
                  let the routes decide";
    let address: IpAddr =
        text.parse().map_err(|_| Wrong::new(format!("{} is not an IP address", quote(text)), advice))?;
    let broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(Wrong::new(format!("{address} is no single address to go out from"), advice));
    }
    Ok(address)
}

/// The SHA-256 of a certificate, in hexadecimal digits, with or without colons.
fn fingerprint(value: &Value) -> Result<[u8; 32], Wrong> {
    let text = values::text(value)?;
    let advice = "write 64 hexadecimal digits, with or without colons, as this tells them: \
                  openssl s_client -connect HOST:443 </dev/null | openssl x509 -noout -fingerprint -sha256";
    let odd = |c: &char| !c.is_ascii_hexdigit() && *c != ':';
    if let Some(odd) = text.chars().find(odd) {
        return Err(Wrong::new(format!("the fingerprint holds {odd:?}"), advice));
    }
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let mut pin = [0; 32];
    if digits.len() != pin.len() * 2 {
        let what = match digits.len() {
            40 => "the fingerprint has 40 digits: it is SHA-1's".to_owned(),
            count => format!("the fingerprint has {count} digits"),
        };
        return Err(Wrong::new(what, advice));
    }
    for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] * 16 + pair[1]) as u8;
    }
    Ok(pin)
}
