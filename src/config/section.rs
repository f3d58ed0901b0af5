//! One table being read: each key is taken by name, what is left over is unknown.

use super::document::{self, Value};
use super::keys::{self, Table};
use super::problems::{Notes, Origin, Wrong, listed, nearest};

/// A table of the file whose keys are being taken.
pub(super) struct Section<'n, 't> {
    table: Table,
    path: String,
    at: Origin,
    entries: Vec<document::Entry>,
    notes: &'n mut Notes<'t>,
}

impl<'n, 't> Section<'n, 't> {
    /// Begins to read `from`, which is called `path` in messages.
    pub(super) fn new(
        table: Table,
        path: String,
        from: document::Table,
        notes: &'n mut Notes<'t>,
    ) -> Section<'n, 't> {
        Section { table, path, at: from.at, entries: from.entries, notes }
    }

    /// Takes `key` and reads it; what is wrong is noted and reads as absent.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.take_with_place(key, read).map(|(value, _)| value)
    }

    /// As [`Section::take`], and where the value stood.
    pub(super) fn take_with_place<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<(T, Origin)> {
        let value = self.take_entry(key)?.value;
        match read(&value) {
            Ok(read) => Some((read, value.at)),
            Err(wrong) => {
                self.error(key, &value.at, wrong);
                None
            }
        }
    }

    /// Takes `key` as it was written.
    pub(super) fn take_entry(&mut self, key: &'static str) -> Option<document::Entry> {
        debug_assert!(self.table.keys.contains(&key), "{key} is missing in the list of keys");
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Where `key` was written, if it was and is not taken yet.
    pub(super) fn place_of(&self, key: &str) -> Option<Origin> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_at.clone())
    }

    /// Whether `key` was written, rightly or not, and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Notes that a key must be there and is not.
    pub(super) fn missing(&mut self, key: &'static str, advice: &str) {
        let (at, header) = (self.at.clone(), self.table.header());
        self.error(key, &at, Wrong::new(format!("this {header} has no {key}"), advice));
    }

    pub(super) fn error(&mut self, key: &str, at: &Origin, wrong: Wrong) {
        self.notes.error(at, &join(&self.path, key), wrong);
    }

    pub(super) fn warn(&mut self, key: &str, at: &Origin, wrong: Wrong) {
        self.notes.warn(at, &join(&self.path, key), wrong);
    }

    /// Where the table begins.
    pub(super) fn at(&self) -> Origin {
        self.at.clone()
    }

    /// Everything known was taken: what is left is a mistake.
    pub(super) fn finish(self) {
        for entry in self.entries {
            let path = join(&self.path, &entry.key);
            self.notes.error(&entry.key_at, &path, unknown_key(self.table, &entry.key));
        }
    }
}

/// The warning for what is accepted and ignored.
pub(super) fn not_yet(what: &str) -> Wrong {
    Wrong::new(
        format!("THIS VERSION DOES NOTHING WITH {}", what.to_uppercase()),
        "it may stay in the file for a version that does",
    )
}

fn join(path: &str, key: &str) -> String {
    if key.is_empty() { path.to_owned() } else { format!("{path}.{key}") }
}

/// An unknown key, and the nearest that is known: here first, then in other tables.
fn unknown_key(table: Table, key: &str) -> Wrong {
    let what = format!("there is no key {} in {}", super::problems::quote(key), table.place());
    if let Some(other) = keys::TABLES.iter().find(|other| other.keys.contains(&key)) {
        return Wrong::new(what, format!("{key} belongs into {}", other.header()));
    }
    if let Some((holder, inner)) = table.home_inside(key) {
        let advice = format!("{key} belongs into {}: {holder} = {{ ..., {key} = ... }}", inner.place());
        return Wrong::new(what, advice);
    }
    match nearest(key, table.keys.iter().copied()) {
        Some(near) => Wrong::new(what, format!("did you mean {near}? Known are {}", known(table))),
        None => Wrong::new(what, format!("known are {}", known(table))),
    }
}

fn known(table: Table) -> String {
    listed(table.keys.iter().copied())
}
