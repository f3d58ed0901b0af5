//! Reads `[orders]`: its bounds, and the cloud that orders are sent to: `cloud = "https://..."`,
//! `cloud = { url = "https://...", token_file = "shop.token" }` or `cloud = { url_file = "shop.url" }`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Given, Table, Value};
use super::https_url::HttpsUrlError;
use super::keys::{CLOUD, ORDERS};
use super::problems::{Notes, Origin, Wrong};
use super::read::Around;
use super::schema::{HttpsUrl, Orders, ShopCloud};
use super::secrets::{self, SecretInFile};
use super::section::Section;
use super::values;
use crate::base::secret::Secret;

/// From none to more than one address can send over a LAN.
const RATE: RangeInclusive<u32> = 0..=100_000;

/// Below, one commit could not gather a group; above, who waits would have given up before the disk answers.
const QUEUE: RangeInclusive<u32> = 64..=65_536;

/// Below, a buyer cannot fill in a form; above, what nobody bought is missing at the next show.
const HOLD: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(24 * 3_600);

/// Units that one show sells, and more.
const UNITS: RangeInclusive<u32> = 0..=1_000_000;

/// Orders in one request: the most makes some 500 KB, which commerce systems still take.
const BATCH: RangeInclusive<u32> = 1..=1_000;

/// Longest token: servers bound a header at 8 KiB, and signed tokens have some 2 KiB.
const TOKEN_BYTES_MAX: usize = 4_096;

/// A shorter secret can be found by trying; `openssl rand -hex 32` makes 64.
const SECRET_BYTES_MIN: usize = 16;

/// The longest secret that signs.
const SECRET_BYTES_MAX: usize = 1_024;

/// What `[orders]` says, and where a secret of it stands in the configuration file itself.
pub(super) fn orders(
    table: Table,
    defaults: Orders,
    around: Around<'_>,
    notes: &mut Notes<'_>,
) -> (Orders, Option<SecretInFile>) {
    let path = ORDERS.name.to_owned();
    let mut section = Section::new(ORDERS, path.clone(), table, notes);
    let mut count = |key, range: RangeInclusive<u32>, default| {
        section.take(key, |value| values::number(value, range)).unwrap_or(default)
    };
    let rate_per_address = count("rate_per_address", RATE, defaults.rate_per_address);
    let queue = count("queue", QUEUE, defaults.queue);
    let buyer_limit = count("buyer_limit", UNITS, defaults.buyer_limit);
    let low_stock = count("low_stock", UNITS, defaults.low_stock);
    let batch = count("batch", BATCH, defaults.batch);
    let enabled = section.take("enabled", values::boolean).unwrap_or(defaults.enabled);
    let hold = section.take("hold", |value| values::period(value, HOLD)).unwrap_or(defaults.hold);
    let cloud = section.take_entry("cloud");
    section.finish();
    let (cloud, secret_in_file) = match cloud {
        Some(entry) => cloud_in(entry.value, format!("{path}.cloud"), around, notes),
        None => (defaults.cloud, None),
    };
    let read = Orders { enabled, rate_per_address, queue, hold, buyer_limit, low_stock, cloud, batch };
    (read, secret_in_file)
}

/// Reads the cloud, which is called `path` in messages. What is wrong is noted; none without a usable URL.
fn cloud_in(
    value: Value,
    path: String,
    around: Around<'_>,
    notes: &mut Notes<'_>,
) -> (Option<ShopCloud>, Option<SecretInFile>) {
    let at = value.at.clone();
    match value.given {
        Given::Text(text) => {
            let url = url(&text).map_err(|wrong| notes.error(&at, &path, wrong)).ok();
            let secret_in_file = url.as_ref().and_then(|url| key_in(url, at, path));
            (url.map(ShopCloud::new), secret_in_file)
        }
        Given::Variable(text) => {
            let url = url(&text).map_err(|wrong| notes.error(&at, &path, wrong));
            (url.ok().map(ShopCloud::new), None)
        }
        Given::Table(table) => {
            let mut section = Section::new(CLOUD, path.clone(), table, notes);
            let read = in_table(&mut section, &at, &path, around);
            section.finish();
            read
        }
        other => {
            let wrong = Wrong::new(
                format!("a URL is wanted here, not {}", other.kind()),
                "write \"https://shop.example/footlight\", or a table that has it as url or url_file",
            );
            notes.error(&at, &path, wrong);
            (None, None)
        }
    }
}

fn in_table(
    section: &mut Section<'_, '_>,
    at: &Origin,
    path: &str,
    around: Around<'_>,
) -> (Option<ShopCloud>, Option<SecretInFile>) {
    if !section.has("url") && !section.has("url_file") {
        let advice = "write { url = \"https://shop.example/footlight\" } or { url_file = \"shop.url\" }";
        section.error("", at, Wrong::new("the cloud has neither url nor url_file", advice));
    }
    let folder = around.folder;
    for keys in [["url", "url_file"], ["token", "token_file"], ["secret", "secret_file"]] {
        given_once(section, keys);
    }
    let (url, url_at) = secrets::take(section, ["url", "url_file"], "URL", folder, url);
    let (token, token_at) = secrets::take(section, ["token", "token_file"], "token", folder, token);
    let (secret, secret_at) = secrets::take(section, ["secret", "secret_file"], "secret", folder, secret);
    if let Some(at) = section.place_of("ca_file")
        && url.as_ref().is_some_and(|url| !url.tls)
    {
        let what = "ca_file is for https://, and this URL begins with http://";
        section.error("ca_file", &at, Wrong::new(what, "leave it out, or write https://"));
    }
    let ca_file = section.take("ca_file", |value| {
        let path = values::path(value, folder)?;
        secrets::look_at_certificates(&path).map(|()| path)
    });

    let key = url.as_ref().zip(url_at).and_then(|(url, at)| key_in(url, at, format!("{path}.url")));
    let beside = [("token", token_at), ("secret", secret_at)]
        .into_iter()
        .find_map(|(what, at)| Some(SecretInFile { at: at?, path: format!("{path}.{what}"), what }));
    (url.map(|url| ShopCloud { url, token, secret, ca_file }), key.or(beside))
}

/// Refuses what is said by a key and by the file beside it.
fn given_once(section: &mut Section<'_, '_>, [key, file_key]: [&'static str; 2]) {
    if section.has(key)
        && let Some(at) = section.place_of(file_key)
    {
        let what = format!("the cloud has both {key} and {file_key}");
        section.error(file_key, &at, Wrong::new(what, "keep one of them"));
    }
}

/// What a URL that stands in the configuration file gives away there: shops hand out keys in its query.
fn key_in(url: &HttpsUrl, at: Origin, path: String) -> Option<SecretInFile> {
    url.target.reveal().contains('?').then_some(SecretInFile { at, path, what: "key" })
}

fn url(text: &str) -> Result<HttpsUrl, Wrong> {
    text.parse().map_err(|error: HttpsUrlError| Wrong::new(error.to_string(), error.advice()))
}

/// What stands after `Bearer` in a header.
fn token(text: &str) -> Result<Secret, Wrong> {
    let advice =
        "write the token alone, in one piece, as the shop's system shows it; \"Bearer\" is put before it";
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        let what = format!("the token has {} bytes, and a header takes 1 to {TOKEN_BYTES_MAX}", text.len());
        return Err(Wrong::new(what, advice));
    }
    if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Wrong::new("the token holds a character that no header carries", advice));
    }
    Ok(Secret::new(text))
}

/// What requests are signed with: the bytes of the text, whatever they are.
fn secret(text: &str) -> Result<Secret, Wrong> {
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len()) {
        let what = format!("the secret has {} bytes", text.len());
        let advice = format!(
            "it has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}, so that nobody finds it by trying; make one: \
             openssl rand -hex 32"
        );
        return Err(Wrong::new(what, advice));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("the secret holds a control character", "copy it again, in one piece"));
    }
    Ok(Secret::new(text))
}
