//! Secrets that stand in a file of their own, so that the configuration can be shown and copied: a URL with
//! its key (`url_file`), a passphrase (`passphrase_file`), what the shop's system knows the box by (`token_file`,
//! `secret_file`).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::document::Given;
use super::load::OTHERS_READ;
use super::problems::{Notes, Origin, Wrong};
use super::section::Section;
use super::values;
use crate::base::secret::Secret;

/// The shortest passphrase that SRT takes (SRT draft-01 §6.1.4 leaves it to the application; libsrt: 10 to 79).
pub(super) const PASSPHRASE_BYTES_MIN: usize = 10;

/// The longest passphrase that SRT takes.
pub(super) const PASSPHRASE_BYTES_MAX: usize = 79;

/// A URL, a passphrase or a token and a line break; a longer file is the wrong file.
const SECRET_BYTES_MAX: u64 = 8 << 10;

/// A CA's certificates; the roots of a whole system have some 220 KB.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// How a certificate begins in PEM (RFC 7468 §5.1).
const PEM_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// A secret that stands in the configuration file itself.
pub(super) struct SecretInFile {
    pub(super) at: Origin,
    pub(super) path: String,
    /// `key`, `passphrase`, `token` or `secret`.
    pub(super) what: &'static str,
}

/// Takes a secret by its key, or from the file that the second key names, and where it stands if that is the
/// configuration file itself.
pub(super) fn take<T>(
    section: &mut Section<'_, '_>,
    [key, file_key]: [&'static str; 2],
    what: &str,
    folder: &Path,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> (Option<T>, Option<Origin>) {
    let mut in_file = false;
    let written = section.take_with_place(key, |value| {
        in_file = matches!(value.given, Given::Text(_));
        parse(values::text(value)?)
    });
    let filed = section.take_with_place(file_key, |value| {
        let path = values::path(value, folder)?;
        let (line, strange) = one_line(&path, what)?;
        let read = parse(&line);
        let read =
            read.map_err(|wrong| Wrong::new(format!("in {}, {}", path.display(), wrong.what), wrong.advice));
        Ok((read?, strange))
    });
    match (written, filed) {
        (Some((secret, at)), _) => (Some(secret), in_file.then_some(at)),
        (None, Some(((secret, strange), at))) => {
            if let Some(strange) = strange {
                section.warn(file_key, &at, strange);
            }
            (Some(secret), None)
        }
        (None, None) => (None, None),
    }
}

/// One warning for a file that everyone on this machine may read, at the first of its secrets.
pub(super) fn readable_by_all<'a>(
    secrets: impl IntoIterator<Item = &'a SecretInFile>,
    notes: &mut Notes<'_>,
) {
    let Some(first) = secrets.into_iter().next() else { return };
    let what = format!("a {} stands here, and everyone on this machine may read this file", first.what);
    let elsewhere = match first.what {
        "key" => "the URL in a file of its own: url_file = \"cloud.url\"",
        "token" => "it in a file of its own: token_file = \"shop.token\"",
        "secret" => "it in a file of its own: secret_file = \"shop.secret\"",
        _ => "it in a file of its own: passphrase_file = \"cloud.pass\"",
    };
    let advice = format!("keep it to its owner and group (chmod o-r), or {elsewhere}");
    notes.warn(&first.at, &first.path, Wrong::new(what, advice));
}

/// The one line of a secret's file, without what is blank around it, and what is strange about the file. `what` names
/// the secret: `URL`.
pub(super) fn one_line(path: &Path, what: &str) -> Result<(String, Option<Wrong>), Wrong> {
    let shown = path.display();
    let (bytes, others_read) =
        contents(path, SECRET_BYTES_MAX, &format!("name a file that holds the {what}"))?;
    let strange = others_read.then(|| {
        Wrong::new(
            format!("{shown} holds a secret and everyone on this machine may read it"),
            format!("keep it to its owner: chmod 600 {shown}"),
        )
    });
    let advice = format!("it must hold the {what} on one line and nothing else");
    let text = String::from_utf8(bytes).map_err(|_| Wrong::new(format!("{shown} is not text"), &*advice))?;
    let line = text.trim();
    if line.is_empty() {
        return Err(Wrong::new(format!("{shown} is empty"), advice));
    }
    if line.contains('\n') {
        return Err(Wrong::new(format!("{shown} has more than one line"), advice));
    }
    Ok((line.to_owned(), strange))
}

/// A passphrase as SRT takes it.
pub(super) fn passphrase(text: &str) -> Result<Secret, Wrong> {
    let advice = format!("SRT takes {PASSPHRASE_BYTES_MIN} to {PASSPHRASE_BYTES_MAX} bytes");
    if !(PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX).contains(&text.len()) {
        return Err(Wrong::new(format!("the passphrase has {} bytes", text.len()), advice));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("the passphrase holds a control character", advice));
    }
    Ok(Secret::new(text))
}

/// Looks whether `path` can be read and holds certificates; what they are worth, TLS finds out.
pub(super) fn look_at_certificates(path: &Path) -> Result<(), Wrong> {
    let (bytes, _) = contents(path, CERTIFICATES_BYTES_MAX, "name a file with certificates in PEM")?;
    if bytes.windows(PEM_CERTIFICATE.len()).any(|piece| piece == PEM_CERTIFICATE.as_bytes()) {
        return Ok(());
    }
    let shown = path.display();
    Err(Wrong::new(
        format!("{shown} holds no certificate in PEM ({PEM_CERTIFICATE})"),
        format!("convert it: openssl x509 -inform DER -in {shown} -out ca.pem"),
    ))
}

/// The bytes of a regular file, at most `most`, and whether everyone on this machine may read it.
fn contents(path: &Path, most: u64, advice: &str) -> Result<(Vec<u8>, bool), Wrong> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        Wrong::new(
            format!("{shown} cannot be read ({error})"),
            "make the file, or let the user that footlight runs as read it",
        )
    };
    // Looked at before it is opened: opening a pipe would wait for its writer for ever.
    let found = std::fs::metadata(path).map_err(cannot)?;
    if !found.is_file() {
        return Err(Wrong::new(format!("{shown} is not a regular file"), advice));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > most {
        return Err(Wrong::new(format!("{shown} is larger than {most} bytes"), advice));
    }
    Ok((bytes, found.mode() & OTHERS_READ != 0))
}
