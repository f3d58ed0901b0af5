//! Reads `[[output]]`, and looks at what only shows when outputs, their lines and their streams are seen
//! together.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::destination::{self, Placed};
use super::document::{Given, Table, Value};
use super::keys::OUTPUT;
use super::problems::{Notes, Origin, Wrong, listed, nearest, quote};
use super::read::{Around, BITRATE, name_of, twice};
use super::schema::{Output, OutputMode, STANDBYS_MAX, Stream};
use super::secrets::SecretInFile;
use super::section::Section;
use super::values;
use crate::base::units::BitrateBps;

/// Below, a flapping line would carry every other second; above, nobody waits for it.
const FAILBACK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// What could be read of an output, and where its parts stand.
pub(super) struct PlacedOutput {
    path: String,
    name: Option<(String, Origin)>,
    stream: Option<(String, Origin)>,
    primary: Option<Placed>,
    standby: Vec<Placed>,
    mode: Option<(OutputMode, Origin)>,
    failback: Option<(Duration, Origin)>,
    adaptive: Option<bool>,
    bitrate_min: Option<(BitrateBps, Origin)>,
    bitrate_max: Option<(BitrateBps, Origin)>,
}

impl PlacedOutput {
    /// The output, if nothing that it needs is missing.
    pub(super) fn config(self) -> Option<Output> {
        let ((name, _), (stream, _)) = (self.name?, self.stream?);
        let defaults = Output::new(name, stream, self.primary?.destination);
        Some(Output {
            mode: self.mode.map_or(defaults.mode, |(mode, _)| mode),
            standby: self.standby.into_iter().map(|placed| placed.destination).collect(),
            failback: self.failback.map_or(defaults.failback, |(failback, _)| failback),
            adaptive: self.adaptive.unwrap_or(defaults.adaptive),
            bitrate_min: self.bitrate_min.map(|(bitrate, _)| bitrate),
            bitrate_max: self.bitrate_max.map(|(bitrate, _)| bitrate),
            ..defaults
        })
    }

    fn mode(&self) -> OutputMode {
        self.mode.as_ref().map_or(OutputMode::default(), |(mode, _)| *mode)
    }

    /// The primary, then the standbys.
    fn lines(&self) -> impl Iterator<Item = &Placed> {
        self.primary.iter().chain(&self.standby)
    }

    /// Its secrets that stand in the configuration file itself.
    pub(super) fn secrets_in_file(&self) -> impl Iterator<Item = &SecretInFile> {
        self.lines().filter_map(|line| line.secret_in_file.as_ref())
    }
}

/// Reads one output.
pub(super) fn output(
    path: String,
    table: Table,
    streams: &[(Stream, Origin)],
    around: Around<'_>,
    notes: &mut Notes<'_>,
) -> PlacedOutput {
    let mut section = Section::new(OUTPUT, path.clone(), table, notes);
    let name = name_of(&mut section, "give it one: logs and metrics tell outputs apart by it");
    let stream_written = section.has("stream");
    let mut stream = section.take_with_place("stream", values::name);
    if !stream_written {
        if let [(only, _)] = streams {
            stream = Some((only.name.clone(), section.at()));
        } else {
            section.missing("stream", "name the stream that it carries");
        }
    }
    let mode = section.take_with_place("mode", values::mode);
    let failback = section.take_with_place("failback", |value| values::period(value, FAILBACK));
    let adaptive = section.take("adaptive", values::boolean);
    let bitrate_min = section.take_with_place("bitrate_min", |value| values::bitrate(value, BITRATE));
    let bitrate_max = section.take_with_place("bitrate_max", |value| values::bitrate(value, BITRATE));
    check_bounds(&mut section, bitrate_min.as_ref(), bitrate_max.as_ref(), adaptive);
    let primary = section.take_entry("primary");
    let standby = section.take_entry("standby");
    if primary.is_none() {
        section.missing("primary", "write where it pushes to: primary = \"rtmp://host/app/key\"");
    }
    section.finish();
    let primary =
        primary.and_then(|entry| destination::read(entry.value, format!("{path}.primary"), around, notes));
    let standby = standby.map_or_else(Vec::new, |entry| standbys(entry.value, &path, around, notes));
    PlacedOutput { path, name, stream, primary, standby, mode, failback, adaptive, bitrate_min, bitrate_max }
}

fn check_bounds(
    section: &mut Section<'_, '_>,
    least: Option<&(BitrateBps, Origin)>,
    most: Option<&(BitrateBps, Origin)>,
    adaptive: Option<bool>,
) {
    if let (Some((least, at)), Some((most, _))) = (least, most)
        && least > most
    {
        let what = format!("{least} is more than bitrate_max, which is {most}");
        section.error("bitrate_min", at, Wrong::new(what, "make bitrate_min the smaller of the two"));
    }
    if adaptive == Some(false) {
        for (key, bound) in [("bitrate_min", least), ("bitrate_max", most)] {
            let Some((_, at)) = bound else { continue };
            let what =
                format!("adaptive is false, so the bitrate stays where it is and nothing comes of {key}");
            section.warn(key, at, Wrong::new(what, "leave one of the two out"));
        }
    }
}

/// Reads the list of standbys.
fn standbys(value: Value, output: &str, around: Around<'_>, notes: &mut Notes<'_>) -> Vec<Placed> {
    let Given::List(entries) = value.given else {
        let what = format!("a list is wanted here, not {}", value.given.kind());
        let advice = "write standby = [\"rtmp://host/app/key\"], one entry for each standby";
        notes.error(&value.at, &format!("{output}.standby"), Wrong::new(what, advice));
        return Vec::new();
    };
    let path = |index: usize| format!("{output}.standby[{}]", index + 1);
    if let Some(beyond) = entries.get(STANDBYS_MAX) {
        let what = format!("{} standbys are more than an output has", entries.len());
        let advice = format!("keep at most {STANDBYS_MAX}");
        notes.error(&beyond.at, &path(STANDBYS_MAX), Wrong::new(what, advice));
    }
    let entries = entries.into_iter().take(STANDBYS_MAX).enumerate();
    entries.filter_map(|(index, entry)| destination::read(entry, path(index), around, notes)).collect()
}

/// What only shows when outputs are seen together, and beside the streams. With `all_named` false a stream
/// is there whose name could not be read, so none is called missing.
pub(super) fn together(
    outputs: &[PlacedOutput],
    streams: &[(Stream, Origin)],
    all_named: bool,
    notes: &mut Notes<'_>,
) {
    let names = outputs.iter().filter_map(|output| output.name.as_ref());
    twice(OUTPUT, names.map(|(name, at)| (name.as_str(), at)), notes);
    let known = || streams.iter().map(|(stream, _)| stream.name.as_str());
    for (index, output) in outputs.iter().enumerate() {
        if let Some((wanted, at)) = &output.stream {
            match streams.iter().find(|(stream, _)| stream.name == *wanted) {
                Some((stream, _)) => beside_stream(output, stream, notes),
                None if all_named => {
                    let advice = match nearest(wanted, known()) {
                        Some(near) => format!("did you mean {near}? There is {}", listed(known())),
                        None => format!("there is {}", listed(known())),
                    };
                    let what = format!("there is no stream named {}", quote(wanted));
                    notes.error(at, &format!("{}.stream", output.path), Wrong::new(what, advice));
                }
                None => {}
            }
        }
        without_standby(output, notes);
        lines_together(output, notes);
        for line in output.lines() {
            let url = &line.destination.url;
            let mut others = outputs[..index].iter().flat_map(PlacedOutput::lines);
            if let Some(same) = others.find(|other| other.destination.url == *url) {
                let what = format!("{} pushes to the same URL", same.path);
                let advice = "servers take one publisher for a key: give each output its own";
                notes.warn(&line.at, &line.path, Wrong::new(what, advice));
            }
        }
    }
}

/// Bounds that the stream's own bitrate makes idle.
fn beside_stream(output: &PlacedOutput, stream: &Stream, notes: &mut Notes<'_>) {
    let Some(bitrate) = stream.bitrate else { return };
    for (key, bound, then) in [
        ("bitrate_min", &output.bitrate_min, "so the bitrate never goes down"),
        ("bitrate_max", &output.bitrate_max, "so nothing comes of it"),
    ] {
        let Some((bound, at)) = bound.as_ref().filter(|(bound, _)| *bound > bitrate) else { continue };
        let what = format!("{bound} is more than the {bitrate} of stream {}, {then}", stream.name);
        let advice = format!("write less than {bitrate}, or leave it out");
        notes.warn(at, &format!("{}.{key}", output.path), Wrong::new(what, advice));
    }
}

/// Keys that say something about standbys, where there is none or none of that kind.
fn without_standby(output: &PlacedOutput, notes: &mut Notes<'_>) {
    let alone = output.standby.is_empty();
    if let Some((mode, at)) = output.mode.as_ref().filter(|_| alone) {
        let what =
            format!("mode says what standbys do, and there is none: {mode} is here as good as any other");
        let advice = "write a standby, or leave mode out";
        notes.warn(at, &format!("{}.mode", output.path), Wrong::new(what, advice));
    }
    if let Some((_, at)) = &output.failback
        && (alone || output.mode() == OutputMode::Mirror)
    {
        let what = if alone {
            "there is no standby to come back from, so nothing comes of failback"
        } else {
            "in mirror every line carries the stream all the time, so nothing comes of failback"
        };
        notes.warn(at, &format!("{}.failback", output.path), Wrong::new(what, "leave it out"));
    }
}

/// Lines of one output that would fall together, or get into each other's way.
fn lines_together(output: &PlacedOutput, notes: &mut Notes<'_>) {
    let lines: Vec<_> = output.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let one = &line.destination;
        let mut same = lines[..index].iter().filter(|other| other.destination.url == one.url);
        let Some(first) = same.next() else { continue };
        let way = |line: &Placed| (line.destination.interface.clone(), line.destination.source_address);
        let wrong = if way(first) == way(line) || same.any(|other| way(other) == way(line)) {
            Wrong::new(
                format!("this is the URL of {} by the same way, so the two fall together", first.path),
                "name another server, or another way out: interface or source_address",
            )
        } else if output.mode() == OutputMode::Cold {
            continue;
        } else {
            Wrong::new(
                format!(
                    "this is the URL of {} too, and in mode {} both are published at once, which most servers \
                     refuse",
                    first.path,
                    output.mode()
                ),
                "write mode = \"cold\", or the URL that the destination gives for a backup",
            )
        };
        notes.warn(&line.at, &line.path, wrong);
    }
}
