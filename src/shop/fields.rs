//! Reads a JSON object field by field and says of each that is wrong what is wrong with it.
//!
//! Pure. Everything wrong is told at once: who fills in a form wants to mend it once.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::ids::is_id;
use super::money::{AMOUNT_MAX, Currency, Money};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which field, as `price.amount`; empty for the whole document.
    pub field: String,
    /// What is wrong and what is wanted.
    pub detail: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Fault {
        Fault { field: field.into(), detail: detail.into() }
    }
}

/// The fields of one object that are not taken yet.
#[derive(Debug)]
pub struct Fields {
    prefix: &'static str,
    left: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Fields {
    /// The document's fields.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn of(document: &[u8]) -> Result<Fields, Vec<Fault>> {
        let wrong = |detail: String| vec![Fault::new("", detail)];
        match serde_json::from_slice(document) {
            Ok(Value::Object(left)) => Ok(Fields { prefix: "", left, faults: Vec::new() }),
            Ok(_) => Err(wrong("the body must be one JSON object: {...}".to_owned())),
            Err(cause) => Err(wrong(format!("the body is no JSON: {cause}"))),
        }
    }

    /// The fields of an object that was read already.
    pub fn of_object(left: Map<String, Value>) -> Fields {
        Fields { prefix: "", left, faults: Vec::new() }
    }

    /// Notes a fault of a field.
    pub fn fault(&mut self, field: &str, detail: impl Into<String>) {
        let fault = Fault::new(format!("{}{field}", self.prefix), detail);
        self.faults.push(fault);
    }

    /// Takes a field away; `null` counts as absent.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    /// Text of so many characters, without control characters other than what `lines` allows.
    fn read_text(&mut self, field: &str, chars: &RangeInclusive<usize>, lines: bool) -> Option<String> {
        let wanted = match (chars.start(), chars.end()) {
            (0, max) => format!("must be text of at most {max} characters"),
            (min, max) => format!("must be text of {min} to {max} characters"),
        };
        match self.take(field)? {
            Value::String(text) if !chars.contains(&text.chars().count()) => {
                self.fault(field, format!("{wanted}, not of {}", text.chars().count()));
            }
            Value::String(text) if text.chars().any(|c| c.is_control() && !(lines && c == '\n')) => {
                self.fault(field, "must not hold control characters");
            }
            Value::String(text) => return Some(text),
            _ => self.fault(field, wanted),
        }
        None
    }

    /// Text that may be absent.
    pub fn text(&mut self, field: &str, chars: RangeInclusive<usize>) -> Option<String> {
        self.read_text(field, &chars, false)
    }

    /// Text of several lines that may be absent.
    pub fn lines(&mut self, field: &str, chars: RangeInclusive<usize>) -> Option<String> {
        self.read_text(field, &chars, true)
    }

    /// Text that must be there; empty when it is not, and then noted.
    pub fn needed_text(&mut self, field: &str, chars: RangeInclusive<usize>) -> String {
        if !self.has(field) {
            self.fault(field, "is missing");
        }
        self.text(field, chars).unwrap_or_default()
    }

    /// A whole number that may be absent.
    pub fn whole(&mut self, field: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.take(field)?;
        let read = value.as_i64().filter(|number| range.contains(number));
        if read.is_none() {
            let (min, max) = (range.start(), range.end());
            self.fault(field, format!("must be a whole number from {min} to {max}, not {}", shown(&value)));
        }
        read
    }

    /// A whole number that must be there; 0 when it is not, and then noted.
    pub fn needed_whole(&mut self, field: &str, range: RangeInclusive<i64>) -> i64 {
        if !self.has(field) {
            self.fault(field, "is missing");
        }
        self.whole(field, range).unwrap_or_default()
    }

    /// `true` or `false`.
    pub fn truth(&mut self, field: &str) -> Option<bool> {
        let value = self.take(field)?;
        let read = value.as_bool();
        if read.is_none() {
            self.fault(field, "must be true or false");
        }
        read
    }

    /// An id that the box once gave out.
    pub fn id(&mut self, field: &str) -> Option<String> {
        let text = self.text(field, 1..=100)?;
        if is_id(&text) {
            return Some(text);
        }
        self.fault(field, "is no id that this box gives out");
        None
    }

    /// `{"amount": 1999, "currency": "CNY"}`, which must be there.
    pub fn needed_money(&mut self, field: &str) -> Option<Money> {
        let Some(value) = self.take(field) else {
            self.fault(field, "is missing");
            return None;
        };
        let Value::Object(left) = value else {
            self.fault(field, r#"must be an object: {"amount": 1999, "currency": "CNY"}"#);
            return None;
        };
        let mut inner = Fields { prefix: "", left, faults: Vec::new() };
        let amount = inner.needed_whole("amount", 0..=AMOUNT_MAX);
        let code = inner.needed_text("currency", 3..=3);
        let currency = Currency::parse(&code);
        if currency.is_none() && inner.faults.is_empty() {
            inner.fault("currency", "must be a code of ISO 4217 in capitals, such as CNY");
        }
        let faults = inner.finish().err().unwrap_or_default();
        let is_right = faults.is_empty();
        self.faults.extend(
            faults.into_iter().map(|fault| Fault::new(format!("{field}.{}", fault.field), fault.detail)),
        );
        currency.filter(|_| is_right).map(|currency| Money { amount, currency })
    }

    /// Whether the field is there and not taken yet.
    pub fn has(&self, field: &str) -> bool {
        self.left.get(field).is_some_and(|value| !value.is_null())
    }

    /// All was taken: what is left is unknown.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish(mut self) -> Result<(), Vec<Fault>> {
        let unknown: Vec<String> = self.left.keys().take(20).cloned().collect();
        for field in unknown {
            let short: String = field.chars().take(64).collect();
            self.fault(&short, "is not known here");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}

/// A value as a message shows it: short.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { text.chars().take(37).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told_at_once_each_by_its_field() {
        let document =
            br#"{"title": "", "price": {"amount": -1, "currency": "yuan", "vat": 1}, "stok": 5, "n": 1.5}"#;
        let mut fields = Fields::of(document).expect("an object");
        fields.needed_text("title", 1..=200);
        fields.needed_text("sku", 1..=64);
        assert_eq!(fields.needed_money("price"), None);
        assert_eq!(fields.whole("n", 0..=9), None);
        let faults = fields.finish().expect_err("much is wrong");
        let named: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            named,
            ["title", "sku", "price.amount", "price.currency", "price.vat", "n", "stok"],
            "{faults:?}"
        );
    }

    #[test]
    fn what_is_no_object_is_told_as_such() {
        for document in ["", "[]", "1", "{", "\"a\"", "{\"a\":1}x"] {
            assert_eq!(Fields::of(document.as_bytes()).expect_err(document)[0].field, "");
        }
    }

    #[test]
    fn control_characters_do_not_come_in_and_lines_only_where_they_may() {
        for (text, lines, right) in
            [("a\\nb", true, true), ("a\\nb", false, false), ("a\\u0000", true, false)]
        {
            let mut fields = Fields::of(format!("{{\"t\":\"{text}\"}}").as_bytes()).expect("an object");
            let read = if lines { fields.lines("t", 0..=9) } else { fields.text("t", 0..=9) };
            assert_eq!(read.is_some(), right, "{text}");
        }
    }
}
