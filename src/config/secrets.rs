//! Where an output pushes to, when the URL with its key may stand in a file of its own:
//! `primary = "rtmp://..."`, `primary = { url = "rtmp://..." }` or `primary = { url_file = "cloud.url" }`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::document::{Given, Table, Value};
use super::keys::DESTINATION;
use super::load::OTHERS_READ;
use super::problems::{Origin, Wrong, listed, nearest, quote};
use super::schema::PushUrl;
use super::values;

/// A URL and a line break; a longer file is the wrong file.
const SECRET_BYTES_MAX: u64 = 8 << 10;

/// Reads a destination; `warn` is told what is strange about a secret's file.
pub(super) fn destination(
    value: &Value,
    folder: &Path,
    warn: &mut dyn FnMut(Wrong, Origin),
) -> Result<PushUrl, Wrong> {
    match &value.given {
        Given::Text(text) | Given::Variable(text) => url(text),
        Given::Table(table) => in_table(table, folder, warn),
        other => Err(Wrong::new(
            format!("a URL is wanted here, not {}", other.kind()),
            "write \"rtmp://host/app/key\", or { url_file = \"cloud.url\" } to keep the key elsewhere",
        )),
    }
}

/// Whether the destination's key stands in the configuration file itself.
pub(super) fn stands_in_the_file(value: &Value) -> bool {
    match &value.given {
        Given::Text(_) => true,
        Given::Table(table) => {
            table.get("url").is_some_and(|entry| matches!(entry.value.given, Given::Text(_)))
        }
        _ => false,
    }
}

fn url(text: &str) -> Result<PushUrl, Wrong> {
    text.parse().map_err(|error: super::PushUrlError| Wrong::new(error.to_string(), error.advice()))
}

fn in_table(table: &Table, folder: &Path, warn: &mut dyn FnMut(Wrong, Origin)) -> Result<PushUrl, Wrong> {
    let advice = "write { url = \"rtmp://host/app/key\" } or { url_file = \"cloud.url\" }";
    if let Some(odd) = table.entries.iter().find(|entry| !DESTINATION.contains(&entry.key.as_str())) {
        let what = format!("there is no key {} in a destination", quote(&odd.key));
        return Err(match nearest(&odd.key, DESTINATION.iter().copied()) {
            Some(near) => Wrong::new(what, format!("did you mean {near}? Known are {}", known())),
            None => Wrong::new(what, format!("known are {}", known())),
        });
    }
    match (table.get("url"), table.get("url_file")) {
        (Some(entry), None) => url(values::text(&entry.value)?),
        (None, Some(entry)) => {
            let path = values::path(&entry.value, folder)?;
            let text = secret_file(&path, &mut |wrong| warn(wrong, entry.value.at.clone()))?;
            url(&text)
                .map_err(|wrong| Wrong::new(format!("in {}, {}", path.display(), wrong.what), wrong.advice))
        }
        (None, None) => Err(Wrong::new("the destination has neither url nor url_file", advice)),
        (Some(_), Some(_)) => {
            Err(Wrong::new("the destination has both url and url_file", "keep one of them"))
        }
    }
}

/// The one line of a secret's file, without its line break.
fn secret_file(path: &Path, warn: &mut dyn FnMut(Wrong)) -> Result<String, Wrong> {
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
        return Err(Wrong::new(format!("{shown} is not a regular file"), "name a file that holds the URL"));
    }
    if found.mode() & OTHERS_READ != 0 {
        let what = format!("{shown} holds a key and everyone on this machine may read it");
        warn(Wrong::new(what, format!("keep it to its owner: chmod 600 {shown}")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    let advice = "it must hold the URL on one line and nothing else";
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(Wrong::new(format!("{shown} is larger than {SECRET_BYTES_MAX} bytes"), advice));
    }
    let text = String::from_utf8(bytes).map_err(|_| Wrong::new(format!("{shown} is not text"), advice))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Wrong::new(format!("{shown} is empty"), advice));
    }
    if text.contains('\n') {
        return Err(Wrong::new(format!("{shown} has more than one line"), advice));
    }
    Ok(text.to_owned())
}

fn known() -> String {
    listed(DESTINATION.iter().copied())
}
