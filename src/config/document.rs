//! From bytes to a tree in which every key and value knows where it was written.
//!
//! `toml` reads the syntax and goes on after an error, so that one forgotten quote does not hide the next.
//! Its tree is copied into ours, because values may also come from the environment and then have no line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{Notes, Origin, Wrong};

/// Nothing in our schema is deeper; what is, is refused by its unknown key long before.
const DEPTH_MAX: usize = 6;

/// Keys and what they were given, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) at: Origin,
    pub(super) entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Origin,
    pub(super) value: Value,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) at: Origin,
    pub(super) given: Given,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    Text(String),
    /// Saturated at the ends of its range, which no key reaches.
    Integer(i128),
    /// As written: 29.97 is a rate, not the nearest binary fraction.
    Decimal(String),
    Boolean(bool),
    List(Vec<Value>),
    Table(Table),
    /// A date, or something nested deeper than any key of ours.
    Other(&'static str),
    /// The text of an environment variable: it has no type, so the key's own decides.
    Variable(String),
}

impl Given {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Given::Text(_) | Given::Variable(_) => "text",
            Given::Integer(_) => "a whole number",
            Given::Decimal(_) => "a decimal number",
            Given::Boolean(_) => "true or false",
            Given::List(_) => "a list",
            Given::Table(_) => "a table",
            Given::Other(kind) => kind,
        }
    }
}

impl Table {
    pub(super) fn empty() -> Table {
        Table { at: Origin::Default, entries: Vec::new() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Puts `value` at `key`, over what was there.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        let key_at = value.at.clone();
        match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => (entry.key_at, entry.value) = (key_at, value),
            None => self.entries.push(Entry { key: key.to_owned(), key_at, value }),
        }
    }
}

/// Reads the text's syntax. Everything wrong with it is noted; the tree is what could be understood, and the
/// line of the first syntax error, from which on it cannot be trusted.
pub(super) fn parse(text: &str, notes: &mut Notes<'_>) -> (Table, Option<usize>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    // What follows on the same line follows from it.
    errors.dedup_by_key(|(span, _)| notes.line_of(span.start));
    let first_line = errors.first().map(|(span, _)| notes.line_of(span.start));
    for (span, message) in errors {
        notes.error(&Origin::Bytes(span), "", explain(message));
    }
    (table(root.as_ref(), Origin::Bytes(0..0), 0), first_line)
}

/// TOML's own words, with what to do for the slips that people make.
fn explain(message: &str) -> Wrong {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    let advice = if message.contains("duplicate key") {
        "keep one of the two"
    } else if message.contains("key") {
        "write key = value, one to a line; tables begin with [name], lists of tables with [[name]]"
    } else if message.contains("string") || message.contains("quote") {
        "text stands in straight double quotes on one line: name = \"main\""
    } else {
        "text, times and bitrates stand in double quotes: \"2s\"; whole numbers and true or false stand bare"
    };
    Wrong::new(format!("this is not TOML: {message}"), advice)
}

fn table(from: &DeTable<'_>, at: Origin, depth: usize) -> Table {
    let mut entries: Vec<_> = from
        .iter()
        .map(|(key, given)| Entry {
            key: key.get_ref().to_string(),
            key_at: Origin::Bytes(key.span()),
            value: value(given, depth + 1),
        })
        .collect();
    // The parser sorts by name; people read by line.
    entries.sort_by_key(|entry| match &entry.key_at {
        Origin::Bytes(range) => range.start,
        _ => 0,
    });
    Table { at, entries }
}

fn value(from: &Spanned<DeValue<'_>>, depth: usize) -> Value {
    let at = Origin::Bytes(from.span());
    let given = match from.get_ref() {
        _ if depth > DEPTH_MAX => Given::Other("something deeply nested"),
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => {
            let negative = number.as_str().starts_with('-');
            let saturated = if negative { i128::MIN } else { i128::MAX };
            Given::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(saturated))
        }
        DeValue::Float(number) => Given::Decimal(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Given::Boolean(*truth),
        DeValue::Datetime(_) => Given::Other("a date or a time of day"),
        DeValue::Array(list) => Given::List(list.iter().map(|item| value(item, depth + 1)).collect()),
        DeValue::Table(inner) => Given::Table(table(inner, at.clone(), depth)),
    };
    Value { at, given }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(text: &str) -> Vec<String> {
        let mut notes = Notes::new("f", text);
        parse(text, &mut notes);
        notes.finish().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_broken_lines_are_both_reported() {
        let found = errors_of("[http]\nlisten = \"x\nmerge = 5 5\n[box]\nname = \"a\"\nname = \"b\"\n");
        for line in ["f:2:", "f:3:", "f:6:"] {
            assert!(found.iter().any(|error| error.starts_with(line)), "{line} in {found:#?}");
        }
    }

    #[test]
    fn a_value_keeps_its_place_and_a_decimal_its_digits() {
        let text = "[[stream]]\nfps = 29.97\n";
        let mut notes = Notes::new("f", text);
        let (root, broken) = parse(text, &mut notes);
        assert_eq!(broken, None);
        let Given::List(streams) = &root.get("stream").expect("stream").value.given else { panic!("a list") };
        let Given::Table(stream) = &streams[0].given else { panic!("a table") };
        assert_eq!(stream.at, Origin::Bytes(0..10));
        let fps = stream.get("fps").expect("fps");
        assert_eq!(fps.value.given, Given::Decimal("29.97".into()));
        assert_eq!(fps.value.at, Origin::Bytes(17..22));
    }

    #[test]
    fn a_file_nested_without_end_is_refused_and_harms_nothing() {
        for text in [
            "a = ".to_owned() + &"[".repeat(300_000),
            "a.".repeat(300_000) + "a = 1",
            "[".to_owned() + &"a.".repeat(300_000) + "a]",
            "a = ".to_owned() + &"{a=".repeat(200_000),
        ] {
            assert!(!errors_of(&text).is_empty());
        }
    }
}
