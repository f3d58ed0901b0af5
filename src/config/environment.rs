//! Lays environment variables over the file: `FOOTLIGHT_HTTP__LISTEN`, `FOOTLIGHT_STREAM__MAIN__BITRATE`.
//!
//! Two underscores join the parts, so that keys may hold one. Letter case does not matter, and a `-` in a
//! stream's name is written `_`. Standbys are counted from 1: `FOOTLIGHT_OUTPUT__CLOUD__STANDBY__1__URL`; one
//! more than the file has is added. A variable for a part of a destination, or of the orders' cloud
//! (`FOOTLIGHT_ORDERS__CLOUD__URL_FILE`), leaves its other parts as they are. A variable that starts like ours,
//! has two underscores and fits no key is refused: a setting that silently does nothing is found out on air.

use super::document::{Given, Table, Value};
use super::keys::{self, OUTPUT, STREAM, TABLES, THINGS_MAX};
use super::later;
use super::problems::{Notes, Origin, Wrong, listed, nearest};
use super::schema::STANDBYS_MAX;
use super::section::not_yet;

/// What all our variables begin with.
const PREFIX: &str = "FOOTLIGHT_";

/// The key that holds a list of destinations.
const STANDBY: &str = "standby";

/// What joins the parts of a key's path.
const JOINT: &str = "__";

/// Lays every variable of `env` that is ours over `root`.
pub(super) fn lay_over(root: &mut Table, env: &[(String, String)], notes: &mut Notes<'_>) {
    let mut ours: Vec<_> = env.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // A whole comes before its parts, and the first standby before the second.
    ours.sort_by_key(|(name, _)| (name.to_ascii_uppercase(), name));
    // Matched against the names that the file gave, before any variable renames one.
    let known = Known::of(root);
    let mut seen: Vec<(Target, &str)> = Vec::new();
    for (name, text) in ours {
        let path = name[PREFIX.len()..].to_ascii_uppercase();
        let at = Origin::Variable(name.clone());
        if !path.contains(JOINT) {
            known.warn_of_a_single_underscore(&path, &at, notes);
            continue;
        }
        let target = match known.find(&path) {
            Ok(target) => target,
            Err(Refusal::NotYet) => {
                notes.warn(&at, "", not_yet("this variable"));
                continue;
            }
            Err(Refusal::Wrong(wrong)) => {
                notes.error(&at, "", wrong);
                continue;
            }
        };
        if let Some((_, other)) = seen.iter().find(|(other, _)| other.sets_the_same(&target)) {
            notes.error(
                &at,
                &target.path(),
                Wrong::new(format!("{other} sets the same key"), "keep one of the two"),
            );
            continue;
        }
        if let Err(wrong) = target.set(root, text, &at) {
            notes.error(&at, &target.path(), wrong);
        }
        seen.push((target, name.as_str()));
    }
}

/// The key that a variable sets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    table: keys::Table,
    /// Of the things that are told apart by name: which, counted from 0, and its name.
    thing: Option<(usize, String)>,
    key: &'static str,
    /// Of the standbys: which, counted from 0.
    place: Option<usize>,
    /// A key of the table inside: of a destination, or of the orders' cloud; none for the whole.
    inner: Option<&'static str>,
}

/// Why a variable sets nothing.
enum Refusal {
    NotYet,
    Wrong(Wrong),
}

/// What can be set: the fixed keys, and the things there are.
struct Known {
    streams: Vec<String>,
    outputs: Vec<String>,
}

impl Known {
    fn of(root: &Table) -> Known {
        Known { streams: names(root, STREAM.name), outputs: names(root, OUTPUT.name) }
    }

    fn things(&self, table: keys::Table) -> &[String] {
        if table == STREAM { &self.streams } else { &self.outputs }
    }

    /// `path` is in capitals and without the prefix.
    fn find(&self, path: &str) -> Result<Target, Refusal> {
        let (head, rest) = path.split_once(JOINT).unwrap_or((path, ""));
        if later::TABLES.iter().any(|table| table.eq_ignore_ascii_case(head)) {
            return Err(Refusal::NotYet);
        }
        let Some(table) = TABLES.iter().copied().find(|table| table.name.eq_ignore_ascii_case(head)) else {
            return Err(Refusal::Wrong(self.unknown(path)));
        };
        if !table.many {
            return self.key(table, None, rest, path);
        }
        // A name may itself hold two underscores, so names are tried, the longest first.
        let mut fitting: Vec<_> = self
            .things(table)
            .iter()
            .enumerate()
            .filter_map(|(at, name)| {
                Some((at, name, rest.strip_prefix(folded(name).as_str())?.strip_prefix(JOINT)?))
            })
            .collect();
        fitting.sort_by_key(|(_, name, _)| std::cmp::Reverse(name.len()));
        match fitting.as_slice() {
            [] => Err(Refusal::Wrong(self.no_such_thing(table, rest, path))),
            [(_, one, _), (_, other, _), ..] if folded(one) == folded(other) => {
                Err(Refusal::Wrong(Wrong::new(
                    format!("this could mean {} {one} or {other}", table.name),
                    "rename one of them: here letter case is one, and - and _ are one",
                )))
            }
            [(at, name, rest), ..] => self.key(table, Some((*at, (*name).clone())), rest, path),
        }
    }

    fn key(
        &self,
        table: keys::Table,
        thing: Option<(usize, String)>,
        rest: &str,
        path: &str,
    ) -> Result<Target, Refusal> {
        let (key, inner) = rest.split_once(JOINT).map_or((rest, None), |(key, inner)| (key, Some(inner)));
        let unknown = || Refusal::Wrong(self.unknown(path));
        let found = table.keys.iter().copied().find(|known| known.eq_ignore_ascii_case(key));
        let key = found.ok_or_else(unknown)?;
        let (place, inner) = match inner {
            Some(inner) if table == OUTPUT && key == STANDBY => {
                let (place, inner) =
                    inner.split_once(JOINT).map_or((inner, None), |(place, inner)| (place, Some(inner)));
                (Some(standby(place)?), inner)
            }
            inner => (None, inner),
        };
        let inner = match inner {
            None => None,
            Some(inner) => {
                let keys = table.inner(key).map_or([].as_slice(), |inner| inner.keys);
                let known = keys.iter().copied().find(|known| known.eq_ignore_ascii_case(inner));
                Some(known.ok_or_else(unknown)?)
            }
        };
        Ok(Target { table, thing, key, place, inner })
    }

    fn no_such_thing(&self, table: keys::Table, rest: &str, path: &str) -> Wrong {
        let wanted = rest.split(JOINT).next().unwrap_or(rest).to_ascii_lowercase();
        let there = self.things(table);
        let what = format!("there is no {} named {}", table.name, super::problems::quote(&wanted));
        if there.is_empty() {
            return Wrong::new(what, format!("write a {} in the file first", table.header()));
        }
        let advice = match self.nearest_variable(path) {
            Some(near) => format!("did you mean {near}? There are {}", listed_names(there)),
            None => format!("there are {}", listed_names(there)),
        };
        Wrong::new(what, advice)
    }

    fn unknown(&self, path: &str) -> Wrong {
        let advice = match self.nearest_variable(path) {
            Some(near) => format!("did you mean {near}? Otherwise unset it"),
            None => "unset it, or write it as a key's path: FOOTLIGHT_HTTP__LISTEN, \
                     FOOTLIGHT_STREAM__MAIN__BITRATE"
                .to_owned(),
        };
        Wrong::new("this variable sets no key", advice)
    }

    fn nearest_variable(&self, path: &str) -> Option<String> {
        let all = self.all();
        nearest(path, all.iter().map(String::as_str)).map(|near| format!("{PREFIX}{near}"))
    }

    /// Every variable that would be accepted, without the prefix.
    fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in TABLES {
            let head = table.name.to_ascii_uppercase();
            let heads = if table.many {
                self.things(*table).iter().map(|name| format!("{head}{JOINT}{}", folded(name))).collect()
            } else {
                vec![head]
            };
            for head in heads {
                for key in table.keys {
                    let path = format!("{head}{JOINT}{}", key.to_ascii_uppercase());
                    let inner = table.inner(key).map_or([].as_slice(), |inner| inner.keys);
                    let listed = *table == OUTPUT && *key == STANDBY;
                    let places = if listed { 1..=STANDBYS_MAX } else { 0..=0 };
                    for place in places {
                        let whole = if listed { format!("{path}{JOINT}{place}") } else { path.clone() };
                        let part = |inner: &&str| format!("{whole}{JOINT}{}", inner.to_ascii_uppercase());
                        all.extend(inner.iter().map(part));
                        all.push(whole);
                    }
                    if listed {
                        all.push(path);
                    }
                }
            }
        }
        all
    }

    /// `FOOTLIGHT_HTTP_LISTEN` is not ours to refuse (other variables begin like ours), but worth a word.
    fn warn_of_a_single_underscore(&self, path: &str, at: &Origin, notes: &mut Notes<'_>) {
        if let Some(meant) = self.all().into_iter().find(|known| known.replace(JOINT, "_") == path) {
            notes.warn(
                at,
                "",
                Wrong::new("this variable sets no key", format!("did you mean {PREFIX}{meant}?")),
            );
        }
    }
}

impl Target {
    fn path(&self) -> String {
        let table = self.table.name;
        let head = self.thing.as_ref().map_or(table.to_owned(), |(_, name)| format!("{table}.{name}"));
        let place = self.place.map_or(String::new(), |place| format!("[{}]", place + 1));
        let inner = self.inner.map_or(String::new(), |inner| format!(".{inner}"));
        format!("{head}.{}{place}{inner}", self.key)
    }

    /// Whether two variables would set one value. A destination or a cloud as a whole is its URL; the parts beside it
    /// have variables of their own.
    fn sets_the_same(&self, other: &Target) -> bool {
        let part = |target: &Target| target.inner.map_or("url", |inner| inner.trim_end_matches("_file"));
        let same_place = match (self.place, other.place) {
            (Some(_), None) | (None, Some(_)) => true, // The list as a whole, and one of it.
            (one, other_place) => one == other_place && part(self) == part(other),
        };
        (self.table, &self.thing, self.key) == (other.table, &other.thing, other.key) && same_place
    }

    /// Sets the value.
    ///
    /// # Errors
    /// A standby whose forerunner is not there.
    fn set(&self, root: &mut Table, text: &str, at: &Origin) -> Result<(), Wrong> {
        let value = Value { at: at.clone(), given: Given::Variable(text.to_owned()) };
        let Some(table) = self.table_of(root, at) else { return Ok(()) };
        if self.place.is_none() && self.inner.is_none() {
            // One URL in place of the list is a list of one.
            let list = |value| Value { at: at.clone(), given: Given::List(vec![value]) };
            table.set(self.key, if self.key == STANDBY { list(value) } else { value });
            return Ok(());
        }
        if table.get(self.key).is_none() {
            let given = if self.key == STANDBY { Given::List(Vec::new()) } else { nothing(at) };
            table.set(self.key, Value { at: at.clone(), given });
        }
        let Some(entry) = table.entries.iter_mut().find(|entry| entry.key == self.key) else { return Ok(()) };
        match (self.place, &mut entry.value.given) {
            (None, _) => lay(&mut entry.value, self.inner, value),
            (Some(place), Given::List(standbys)) if place < standbys.len() => {
                lay(&mut standbys[place], self.inner, value);
            }
            (Some(place), Given::List(standbys)) if place == standbys.len() => {
                let mut standby = Value { at: at.clone(), given: nothing(at) };
                lay(&mut standby, self.inner, value);
                standbys.push(standby);
            }
            (Some(_), Given::List(standbys)) => {
                let what = format!("there is no standby {} before this one", standbys.len() + 1);
                return Err(Wrong::new(what, "count standbys from 1, without a gap"));
            }
            // No list: who reads it says so.
            (Some(_), _) => {}
        }
        Ok(())
    }

    /// The table that holds the key; one that the file does not have is begun. What the file has in its
    /// place and is no table is reported by who reads it.
    fn table_of<'r>(&self, root: &'r mut Table, at: &Origin) -> Option<&'r mut Table> {
        if root.get(self.table.name).is_none() {
            let empty = Given::Table(Table { at: at.clone(), entries: Vec::new() });
            root.set(self.table.name, Value { at: at.clone(), given: empty });
        }
        let entry = root.entries.iter_mut().find(|entry| entry.key == self.table.name)?;
        match (&mut entry.value.given, &self.thing) {
            (Given::Table(table), None) => Some(table),
            (Given::List(things), Some((at, _))) => match &mut things.get_mut(*at)?.given {
                Given::Table(table) => Some(table),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Which standby `place` means, counted from 0.
fn standby(place: &str) -> Result<usize, Refusal> {
    let counted = place.parse().ok().filter(|place| (1..=STANDBYS_MAX).contains(place));
    counted.map(|place: usize| place - 1).ok_or_else(|| {
        let advice = format!("count them from 1 to {STANDBYS_MAX}: FOOTLIGHT_OUTPUT__CLOUD__STANDBY__1__URL");
        Refusal::Wrong(Wrong::new("this names no standby", advice))
    })
}

/// A table in which nothing stands yet.
fn nothing(at: &Origin) -> Given {
    Given::Table(Table { at: at.clone(), entries: Vec::new() })
}

/// Puts `value` in place of `into`, or of one part of it where that is a destination or a cloud: a URL alone is made a
/// table then, and where the same can be said by two keys, the other one goes.
fn lay(into: &mut Value, part: Option<&'static str>, value: Value) {
    let Some(part) = part else {
        *into = value;
        return;
    };
    if matches!(into.given, Given::Text(_) | Given::Variable(_)) {
        let mut table = Table { at: into.at.clone(), entries: Vec::new() };
        table.set("url", into.clone());
        into.given = Given::Table(table);
    }
    if let Given::Table(table) = &mut into.given {
        let plain = part.trim_end_matches("_file");
        let twin = if part == plain { format!("{plain}_file") } else { plain.to_owned() };
        table.entries.retain(|entry| entry.key != twin);
        table.set(part, value);
    }
}

/// The names of a list's tables; an empty one where there is none, so that places stay as they are.
fn names(root: &Table, list: &str) -> Vec<String> {
    let Some(Given::List(things)) = root.get(list).map(|entry| &entry.value.given) else {
        return Vec::new();
    };
    things
        .iter()
        .take(THINGS_MAX)
        .map(|thing| match &thing.given {
            Given::Table(table) => match table.get("name").map(|entry| &entry.value.given) {
                Some(Given::Text(name)) => name.clone(),
                _ => String::new(),
            },
            _ => String::new(),
        })
        .collect()
}

/// A name as it is written in a variable.
fn folded(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn listed_names(names: &[String]) -> String {
    listed(names.iter().map(String::as_str).filter(|name| !name.is_empty()))
}
