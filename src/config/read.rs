//! From the tree of keys to a whole [`Config`]: takes every key, fills in defaults, and looks at what only
//! shows when keys are seen together (two streams of one name). `[[output]]` is read in `outputs`,
//! `[orders]` in `orders`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::document::{Entry, Given, Table, Value};
use super::keys::{self, BOX, HTTP, ORDERS, OUTPUT, STREAM, THINGS_MAX};
use super::later;
use super::orders;
use super::outputs;
use super::problems::{Notes, Origin, Wrong, listed, nearest, quote};
use super::schema::{Appliance, AudioSource, Config, EncoderChoice, Http, Stream, VideoSource};
use super::secrets;
use super::section::{Section, not_yet};
use super::values;

/// Video bitrates that make sense between a thumbnail and 8K.
pub(super) const BITRATE: std::ops::RangeInclusive<u64> = 50_000..=200_000_000;

/// What AAC-LC can be asked for.
const AUDIO_BITRATE: std::ops::RangeInclusive<u64> = 16_000..=512_000;

/// Below, every other picture would be a keyframe; above, a viewer joins blind for half a minute.
const GOP: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

/// Less holds no GOP at all; more is a small box's whole memory.
const GOP_CACHE: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// More viewers than a box has ports for.
const VIEWERS_MAX: u32 = 60_000;

/// What the reader needs to know of the world.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// Relative paths start here: the configuration file's folder.
    pub(super) folder: &'a Path,
    /// Everyone on this machine may read the configuration file.
    pub(super) readable_by_all: bool,
    /// The network interfaces of this machine, if it tells them.
    pub(super) interfaces: Option<&'a [String]>,
}

/// Reads a whole configuration over `defaults`. What is wrong is in `notes`; the value is then a guess and must
/// not be used. `whole` is false when the syntax was broken: then nothing is concluded from what is not there.
pub(super) fn config(
    mut root: Table,
    around: Around<'_>,
    defaults: Config,
    whole: bool,
    notes: &mut Notes<'_>,
) -> Config {
    let (streams_at, outputs_at) = (place_of(&root, STREAM), place_of(&root, OUTPUT));
    let appliance = appliance(one(&mut root, BOX, notes), around.folder, defaults.appliance, notes);
    let http = http(one(&mut root, HTTP, notes), &defaults.http, notes);
    let mut streams = Vec::new();
    let mut all_named = true;
    for (path, table) in many(&mut root, STREAM, streams_at.as_ref(), notes) {
        let read = stream(path, table, around.folder, notes);
        all_named &= read.is_some();
        streams.extend(read);
    }
    if streams.is_empty() && streams_at.is_none() {
        streams = defaults.streams.into_iter().map(|stream| (stream, Origin::Default)).collect();
    }
    let mut outputs = Vec::new();
    for (path, table) in many(&mut root, OUTPUT, outputs_at.as_ref(), notes) {
        outputs.push(outputs::output(path, table, &streams, around, notes));
    }
    let orders = one(&mut root, ORDERS, notes);
    let (orders, secret_of_orders) = orders::orders(orders, defaults.orders, around, notes);
    if around.readable_by_all {
        let secrets = outputs.iter().flat_map(outputs::PlacedOutput::secrets_in_file);
        secrets::readable_by_all(secrets.chain(&secret_of_orders), notes);
    }
    if whole {
        streams_together(&http, &streams, notes);
        outputs::together(&outputs, &streams, all_named, notes);
    }
    unknown_tables(root, notes);
    Config {
        appliance,
        http,
        streams: streams.into_iter().map(|(stream, _)| stream).collect(),
        outputs: outputs.into_iter().filter_map(outputs::PlacedOutput::config).collect(),
        orders,
    }
}

fn appliance(table: Table, folder: &Path, defaults: Appliance, notes: &mut Notes<'_>) -> Appliance {
    let mut section = Section::new(BOX, BOX.name.to_owned(), table, notes);
    let read = Appliance {
        name: section.take("name", values::name).unwrap_or(defaults.name),
        site: section.take("site", values::name).unwrap_or(defaults.site),
        data_dir: section.take("data_dir", |value| values::path(value, folder)).unwrap_or(defaults.data_dir),
    };
    section.finish();
    read
}

fn http(table: Table, defaults: &Http, notes: &mut Notes<'_>) -> Http {
    let mut section = Section::new(HTTP, HTTP.name.to_owned(), table, notes);
    let second = Duration::from_secs(1);
    let viewers = |value: &Value| values::number(value, 0..=VIEWERS_MAX);
    let read = Http {
        listen: section.take("listen", values::listen).unwrap_or(defaults.listen),
        max_viewers: section.take("max_viewers", viewers).unwrap_or(defaults.max_viewers),
        max_viewers_per_address: section
            .take("max_viewers_per_address", viewers)
            .unwrap_or(defaults.max_viewers_per_address),
        max_connections: section
            .take("max_connections", |value| values::number(value, 8..=VIEWERS_MAX))
            .unwrap_or(defaults.max_connections),
        merge: section
            .take("merge", |value| values::period(value, Duration::ZERO..=second))
            .unwrap_or(defaults.merge),
        viewer_lag: section
            .take("viewer_lag", |value| values::period(value, second / 2..=second * 60))
            .unwrap_or(defaults.viewer_lag),
        viewer_stall: section
            .take("viewer_stall", |value| values::period(value, second..=second * 600))
            .unwrap_or(defaults.viewer_stall),
        trust_local: section.take("trust_local", values::boolean).unwrap_or(defaults.trust_local),
    };
    if read.max_viewers > read.max_connections {
        let what = format!("{} connections cannot hold {} viewers", read.max_connections, read.max_viewers);
        let at = section.at();
        section.warn("max_connections", &at, Wrong::new(what, "keep max_connections above max_viewers"));
    }
    section.finish();
    read
}

/// A stream and where its name stands; none if it has no usable name or source.
fn stream(path: String, table: Table, folder: &Path, notes: &mut Notes<'_>) -> Option<(Stream, Origin)> {
    let mut section = Section::new(STREAM, path, table, notes);
    let name = name_of(&mut section, "give it one: it stands in addresses such as /live/main.flv");
    let video_written = section.has("video");
    let video = section.take_with_place("video", |value| values::video(value, folder));
    if !video_written {
        let wrong = Wrong::new("no video is given, so this stream shows the test pattern", "");
        let at = section.at();
        section.warn("video", &at, wrong);
    }
    if let Some((VideoSource::File(clip), at)) = &video {
        look_at_clip(&mut section, clip, at);
    }
    let usable = video.is_some() || !video_written;
    let defaults = Stream::new("", video.map_or(VideoSource::Pattern, |(video, _)| video));
    let size = section.take_with_place("size", values::picture_size);
    let fps = section.take_with_place("fps", values::frame_rate);
    let bitrate = section.take_with_place("bitrate", |value| values::bitrate(value, BITRATE));
    let encoder = section.take_with_place("encoder", values::encoder);
    if let Some((EncoderChoice::Copy, at)) = &encoder {
        let asked = [("size", size.is_some()), ("fps", fps.is_some()), ("bitrate", bitrate.is_some())];
        refuse_copy(&mut section, at, usable && defaults.video == VideoSource::Pattern, &asked);
    }
    let read = Stream {
        name: String::new(),
        audio: section.take("audio", values::audio).unwrap_or(AudioSource::FromVideo),
        size: size.map(|(size, _)| size),
        fps: fps.map(|(fps, _)| fps),
        bitrate: bitrate.map(|(bitrate, _)| bitrate),
        audio_bitrate: section
            .take("audio_bitrate", |value| values::bitrate(value, AUDIO_BITRATE))
            .unwrap_or(defaults.audio_bitrate),
        gop: section.take("gop", |value| values::period(value, GOP)).unwrap_or(defaults.gop),
        encoder: encoder.map_or(defaults.encoder, |(encoder, _)| encoder),
        gop_cache: section
            .take("gop_cache", |value| values::bytes(value, GOP_CACHE))
            .unwrap_or(defaults.gop_cache),
        video: defaults.video,
    };
    section.finish();
    name.map(|(name, at)| (Stream { name, ..read }, at))
}

/// A clip may come later (on a stick, say), so one that is not there is worth a warning only.
fn look_at_clip(section: &mut Section<'_, '_>, clip: &Path, at: &Origin) {
    match std::fs::metadata(clip) {
        Ok(found) if found.is_dir() => {
            let wrong = Wrong::new(format!("{} is a folder", clip.display()), "name a clip inside it");
            section.error("video", at, wrong);
        }
        Ok(_) => {}
        Err(error) => {
            let what = format!("{} cannot be opened now ({error})", clip.display());
            section.warn("video", at, Wrong::new(what, "the stream waits until it can"));
        }
    }
}

fn refuse_copy(section: &mut Section<'_, '_>, at: &Origin, pattern: bool, asked: &[(&str, bool)]) {
    if pattern {
        let wrong =
            Wrong::new("the pattern is made here, so there is nothing to copy", "write encoder = \"auto\"");
        section.error("encoder", at, wrong);
    }
    let asked: Vec<_> = asked.iter().filter(|(_, asked)| *asked).map(|(key, _)| *key).collect();
    if !asked.is_empty() {
        let asked = listed(asked);
        let wrong = Wrong::new(
            format!("\"copy\" passes the source on untouched, and {asked} would change it"),
            format!("leave out {asked}, or write encoder = \"auto\""),
        );
        section.error("encoder", at, wrong);
    }
}

/// A stream's or an output's name, which must be there; `advice` says what for.
pub(super) fn name_of(section: &mut Section<'_, '_>, advice: &str) -> Option<(String, Origin)> {
    if !section.has("name") {
        section.missing("name", advice);
    }
    section.take_with_place("name", values::name)
}

/// What only shows when streams are seen together.
fn streams_together(http: &Http, streams: &[(Stream, Origin)], notes: &mut Notes<'_>) {
    twice(STREAM, streams.iter().map(|(stream, at)| (stream.name.as_str(), at)), notes);
    for (stream, at) in streams {
        if http.viewer_lag < stream.gop {
            let path = format!("stream.{}.gop", stream.name);
            let what = "keyframes come less often than http.viewer_lag allows a viewer to lag, so a viewer \
                        that jumps may land outside and jump again";
            notes.warn(at, &path, Wrong::new(what, "make viewer_lag longer than gop"));
        }
    }
}

/// Refuses names that are given twice.
pub(super) fn twice<'a>(
    table: keys::Table,
    names: impl Iterator<Item = (&'a str, &'a Origin)>,
    notes: &mut Notes<'_>,
) {
    let mut first = BTreeMap::new();
    for (name, at) in names {
        if let Some(other) = first.get(name) {
            let what = match notes.place(other).line() {
                Some(line) => format!("the name {name} is taken by the {} on line {line}", table.name),
                None => format!("the name {name} is taken by another {}", table.name),
            };
            let path = format!("{}.{name}.name", table.name);
            notes.error(at, &path, Wrong::new(what, "give each its own name"));
        } else {
            first.insert(name, at.clone());
        }
    }
}

/// Takes the table that there is once; an empty one if it is not there or is something else.
fn one(root: &mut Table, table: keys::Table, notes: &mut Notes<'_>) -> Table {
    let Some(entry) = take(root, table) else { return Table::empty() };
    match entry.value.given {
        Given::Table(found) => found,
        Given::List(_) => {
            let what = format!("[[{}]] makes a list, and there is only one", table.name);
            notes.error(&entry.value.at, table.name, Wrong::new(what, format!("write {}", table.header())));
            Table::empty()
        }
        other => {
            let what = format!("a table is wanted here, not {}", other.kind());
            notes.error(&entry.value.at, table.name, Wrong::new(what, format!("write {}", table.header())));
            Table::empty()
        }
    }
}

/// Takes the tables of a list, each with what it is called in messages: its name, or its number from 1.
fn many(
    root: &mut Table,
    table: keys::Table,
    at: Option<&Origin>,
    notes: &mut Notes<'_>,
) -> Vec<(String, Table)> {
    let (Some(entry), Some(at)) = (take(root, table), at) else { return Vec::new() };
    let Given::List(things) = entry.value.given else {
        let what = format!("a list of tables is wanted here, not {}", entry.value.given.kind());
        let advice = format!("write {} above each {}", table.header(), table.name);
        notes.error(at, table.name, Wrong::new(what, advice));
        return Vec::new();
    };
    if things.len() > THINGS_MAX {
        let what = format!("{} of them are more than one box carries", things.len());
        notes.error(at, table.name, Wrong::new(what, format!("keep at most {THINGS_MAX}")));
    }
    let mut tables = Vec::new();
    for (index, thing) in things.into_iter().take(THINGS_MAX).enumerate() {
        let numbered = format!("{}[{}]", table.name, index + 1);
        match thing.given {
            Given::Table(found) => {
                let name = found.get("name").and_then(|entry| values::name(&entry.value).ok());
                let path = name.map_or(numbered, |name| format!("{}.{name}", table.name));
                tables.push((path, found));
            }
            other => {
                let what = format!("a table is wanted here, not {}", other.kind());
                let advice = format!("write {} above each {}", table.header(), table.name);
                notes.error(&thing.at, &numbered, Wrong::new(what, advice));
            }
        }
    }
    tables
}

fn place_of(root: &Table, table: keys::Table) -> Option<Origin> {
    root.get(table.name).map(|entry| entry.key_at.clone())
}

fn take(root: &mut Table, table: keys::Table) -> Option<Entry> {
    let at = root.entries.iter().position(|entry| entry.key == table.name)?;
    Some(root.entries.remove(at))
}

/// What is left at the top: a table of a later version, a table of another name, or a key without a table.
fn unknown_tables(root: Table, notes: &mut Notes<'_>) {
    for entry in root.entries {
        let key = entry.key.as_str();
        if later::TABLES.contains(&key) {
            notes.warn(&entry.key_at, key, not_yet("this table"));
            continue;
        }
        let headers: Vec<_> = keys::TABLES.iter().map(keys::Table::header).collect();
        let there = format!("there are {}", listed(headers.iter().map(String::as_str)));
        let home = keys::TABLES.iter().find(|table| table.keys.contains(&key));
        let near = nearest(key, keys::TABLES.iter().map(|table| table.name));
        let near = near.and_then(|near| keys::TABLES.iter().find(|table| table.name == near));
        let advice = match (home, near) {
            (Some(home), _) => format!("{key} belongs under {}", home.header()),
            (None, Some(near)) => format!("did you mean {}? T{}", near.header(), &there[1..]),
            (None, None) => there,
        };
        let wrong = Wrong::new(format!("there is no table or key {} here", quote(key)), advice);
        notes.error(&entry.key_at, key, wrong);
    }
}
