//! The catalogue as a file: CSV for spreadsheets, JSON for programs; read whole or not at all.
//!
//! Pure. What is exported reads back as the same products. Spreadsheets take a cell that begins with `=`, `+`, `-` or
//! `@` for a formula, and run it: such texts are written with an apostrophe before them, which reading takes away.

use std::collections::BTreeMap;
use std::fmt;

use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use super::fields::{Fault, Fields};
use super::product::{Card, PRODUCTS_MAX, Product, ProductEdit, Sku};

/// Bytes of a file, at most.
pub const BYTES_MAX: usize = 8 << 20;

/// Faults that are told, at most; the others are counted.
pub const FAULTS_MAX: usize = 100;

/// The columns, in the order in which they are exported. A file may have them in any order.
pub const COLUMNS: [&str; 12] = [
    "sku",
    "title",
    "product",
    "variant",
    "description",
    "amount",
    "currency",
    "stock",
    "buyer_limit",
    "low_stock",
    "on_sale",
    "position",
];

/// Columns that no file does without.
const NEEDED: [&str; 4] = ["sku", "title", "amount", "currency"];

/// Columns whose cells are numbers.
const NUMBERS: [&str; 5] = ["amount", "stock", "buyer_limit", "low_stock", "position"];

/// Columns whose cells are kept to the letter.
const TEXTS: [&str; 4] = ["title", "product", "variant", "description"];

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// In which line of the CSV file, or which product of the JSON file; both count from 1. None: the whole file.
    pub row: Option<u64>,
    /// Which column or field; empty for the whole row.
    pub field: String,
    /// What is wrong and what is wanted.
    pub detail: String,
}

/// Everything that is wrong in a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The first [`FAULTS_MAX`] of them.
    pub told: Vec<RowFault>,
    /// How many there are beyond these.
    pub more: usize,
    /// What rows are called: `line` or `product`.
    rows: &'static str,
}

impl Faults {
    fn new(rows: &'static str) -> Faults {
        Faults { told: Vec::new(), more: 0, rows }
    }

    fn of(rows: &'static str, row: Option<u64>, field: &str, detail: impl Into<String>) -> Faults {
        let mut faults = Faults::new(rows);
        faults.add(row, field, detail);
        faults
    }

    fn add(&mut self, row: Option<u64>, field: &str, detail: impl Into<String>) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(RowFault { row, field: field.to_owned(), detail: detail.into() });
        } else {
            self.more += 1;
        }
    }

    fn add_all(&mut self, row: u64, faults: Vec<Fault>) {
        for Fault { field, detail } in faults {
            self.add(Some(row), &field, detail);
        }
    }

    fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// As the API tells them: `[{"line": 3, "field": "amount", "detail": "..."}]`.
    pub fn to_json(&self) -> Value {
        let told = self.told.iter().map(|fault| {
            let mut one = json!({ "field": fault.field, "detail": fault.detail });
            if let Some(row) = fault.row {
                one[self.rows] = row.into();
            }
            one
        });
        Value::Array(told.collect())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for RowFault { row, field, detail } in &self.told {
            match (row, field.as_str()) {
                (Some(row), "") => writeln!(f, "{} {row}: {detail}", self.rows)?,
                (Some(row), field) => writeln!(f, "{} {row}, {field}: {detail}", self.rows)?,
                (None, "") => writeln!(f, "{detail}")?,
                (None, field) => writeln!(f, "{field}: {detail}")?,
            }
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        Ok(())
    }
}

/// Reads a CSV file: commas or semicolons between the cells, UTF-8 with or without its mark, a header line first.
///
/// An empty cell says nothing: its field is as for a product that is made without it, and an empty `stock` leaves the
/// units as they are.
///
/// # Errors
/// Everything that is wrong, by line and column.
pub fn read_csv(document: &[u8]) -> Result<Vec<ProductEdit>, Faults> {
    let whole = |detail: String| Faults::of("line", None, "", detail);
    let text = text_of(document)?;
    let header_line = text.lines().next().unwrap_or_default();
    let separator = if header_line.contains(';') { b';' } else { b',' };
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| {
        reader.read_record(record).map_err(|cause| whole(format!("the file is no CSV: {cause}")))
    };
    if !next(&mut record)? {
        return Err(whole(format!(
            "the file is empty; its first line names the columns: {}",
            COLUMNS.join(",")
        )));
    }
    let columns = columns(&record)?;
    let mut gathered = Gathered::new("line");
    while next(&mut record)? {
        if record.iter().all(|cell| cell.trim().is_empty()) {
            // Spreadsheets write rows that somebody emptied.
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        let is_cut = record.len() < columns.len();
        if is_cut || record.iter().skip(columns.len()).any(|cell| !cell.trim().is_empty()) {
            let detail = format!("has {} cells and the first line {}", record.len(), columns.len());
            gathered.faults.add(Some(line), "", detail);
            continue;
        }
        let row = columns.iter().copied().zip(record.iter());
        if !gathered.take(line, ProductEdit::read(None, Fields::of_object(object(row))).map_err(by_column)) {
            break;
        }
    }
    gathered.finish()
}

/// The file's text, without its mark.
fn text_of(document: &[u8]) -> Result<&str, Faults> {
    if document.len() > BYTES_MAX {
        let detail = format!("the file has more than {} MiB: import it in parts", BYTES_MAX >> 20);
        return Err(Faults::of("line", None, "", detail));
    }
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    std::str::from_utf8(document).map_err(|cause| {
        let line = document[..cause.valid_up_to()].split(|byte| *byte == b'\n').count() as u64;
        Faults::of("line", Some(line), "", "is not UTF-8: save the file as \"CSV UTF-8\"")
    })
}

/// What the header line calls the columns.
fn columns(header: &StringRecord) -> Result<Vec<&'static str>, Faults> {
    let mut faults = Faults::new("line");
    let mut columns = Vec::with_capacity(header.len());
    for cell in header {
        let name = cell.trim().to_ascii_lowercase();
        match COLUMNS.iter().find(|known| **known == name) {
            Some(known) if columns.contains(known) => faults.add(Some(1), known, "names this column twice"),
            Some(known) => columns.push(*known),
            None => {
                let short: String = cell.trim().chars().take(64).collect();
                let detail = format!("is no column; there are {}", COLUMNS.join(", "));
                faults.add(Some(1), &short, detail);
            }
        }
    }
    for needed in NEEDED.iter().filter(|needed| !columns.contains(needed)) {
        faults.add(Some(1), needed, "is missing among the columns");
    }
    if faults.is_empty() { Ok(columns) } else { Err(faults) }
}

/// A row as the API would have it.
fn object<'r>(row: impl Iterator<Item = (&'static str, &'r str)>) -> Map<String, Value> {
    let mut object = Map::new();
    let mut price = Map::new();
    for (column, cell) in row {
        let value = if TEXTS.contains(&column) {
            // Lines inside of a cell may end as the spreadsheet's system ends them.
            Value::from(bare(cell).replace("\r\n", "\n"))
        } else {
            let cell = cell.trim();
            let cell = cell.strip_prefix('\'').unwrap_or(cell);
            match (column, cell.to_ascii_lowercase().as_str()) {
                ("on_sale", "true" | "yes" | "1") => true.into(),
                ("on_sale", "false" | "no" | "0") => false.into(),
                _ if NUMBERS.contains(&column) => {
                    cell.parse::<i64>().map_or_else(|_| Value::from(cell), Value::from)
                }
                _ => cell.into(),
            }
        };
        if value.as_str() == Some("") {
            continue;
        }
        let into = if matches!(column, "amount" | "currency") { &mut price } else { &mut object };
        into.insert(column.to_owned(), value);
    }
    object.insert("price".to_owned(), Value::Object(price));
    object
}

/// A price stands in two columns.
fn by_column(faults: Vec<Fault>) -> Vec<Fault> {
    let named = |fault: Fault| match fault.field.strip_prefix("price.") {
        Some(column) => Fault::new(column, fault.detail),
        None => fault,
    };
    faults.into_iter().map(named).collect()
}

/// Reads `{"products": [...]}`, each as the API writes and takes it.
///
/// # Errors
/// Everything that is wrong, by product and field.
pub fn read_json(document: &[u8]) -> Result<Vec<ProductEdit>, Faults> {
    let whole = |detail: String| Faults::of("product", None, "", detail);
    if document.len() > BYTES_MAX {
        return Err(whole(format!("the file has more than {} MiB: import it in parts", BYTES_MAX >> 20)));
    }
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    match serde_json::from_slice::<JsonFile>(document) {
        Ok(JsonFile(gathered)) => gathered.finish(),
        Err(cause) => Err(whole(format!("the file is no JSON of the form {{\"products\": [...]}}: {cause}"))),
    }
}

/// Reads one product after the other, so that a long list of anything is never all in memory.
struct JsonFile(Gathered);

impl<'de> Deserialize<'de> for JsonFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonFile, D::Error> {
        deserializer.deserialize_map(FileVisitor).map(JsonFile)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = Gathered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of products")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Gathered, A::Error> {
        let mut gathered: Option<Gathered> = None;
        let mut unknown = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "products" {
                if gathered.is_some() {
                    return Err(serde::de::Error::duplicate_field("products"));
                }
                gathered = Some(map.next_value::<Products>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
                unknown.push(key.chars().take(64).collect::<String>());
            }
            if unknown.len() > FAULTS_MAX {
                break;
            }
        }
        let mut gathered = gathered.ok_or_else(|| serde::de::Error::missing_field("products"))?;
        for key in unknown {
            gathered.faults.add(None, &key, "is not known here");
        }
        Ok(gathered)
    }
}

struct Products(Gathered);

impl<'de> Deserialize<'de> for Products {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Products, D::Error> {
        deserializer.deserialize_seq(ProductsVisitor).map(Products)
    }
}

struct ProductsVisitor;

impl<'de> Visitor<'de> for ProductsVisitor {
    type Value = Gathered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of products")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Gathered, A::Error> {
        let mut gathered = Gathered::new("product");
        let mut row = 0;
        while let Some(value) = list.next_element::<Value>()? {
            row += 1;
            let read = match value {
                Value::Object(object) => ProductEdit::read(None, Fields::of_object(object)),
                _ => Err(vec![Fault::new("", "must be an object: {...}")]),
            };
            if !gathered.take(row, read) {
                // The rest is read past, and counts for nothing.
                while list.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(gathered)
    }
}

/// What was read so far, and what is wrong with it.
struct Gathered {
    edits: Vec<ProductEdit>,
    rows: BTreeMap<Sku, u64>,
    faults: Faults,
    read: usize,
}

impl Gathered {
    fn new(rows: &'static str) -> Gathered {
        Gathered { edits: Vec::new(), rows: BTreeMap::new(), faults: Faults::new(rows), read: 0 }
    }

    /// Takes a row; says whether there may be more.
    fn take(&mut self, row: u64, read: Result<ProductEdit, Vec<Fault>>) -> bool {
        self.read += 1;
        if self.read > PRODUCTS_MAX {
            self.faults.add(Some(row), "", format!("is one too many: one box keeps {PRODUCTS_MAX} products"));
            return false;
        }
        match read {
            Ok(edit) => {
                if let Some(first) = self.rows.get(&edit.sku) {
                    let detail = format!("{} stands in {} {first} already", edit.sku, self.faults.rows);
                    self.faults.add(Some(row), "sku", detail);
                } else {
                    self.rows.insert(edit.sku.clone(), row);
                    self.edits.push(edit);
                }
            }
            Err(faults) => self.faults.add_all(row, faults),
        }
        true
    }

    fn finish(self) -> Result<Vec<ProductEdit>, Faults> {
        if self.faults.is_empty() { Ok(self.edits) } else { Err(self.faults) }
    }
}

/// The catalogue as CSV. `stock` is what is available, as reading takes it, whatever a lease lets be sold of it.
pub fn write_csv<'p>(products: impl IntoIterator<Item = &'p Product>) -> Vec<u8> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    // Writing into memory does not fail.
    let _ = writer.write_record(COLUMNS);
    for Product { sku, card, stock, .. } in products {
        let Card { title, product, variant, description, price, buyer_limit, low_stock, on_sale, position } =
            card;
        let _ = writer.write_record([
            sku.as_str(),
            &harmless(title),
            &harmless(product.as_deref().unwrap_or_default()),
            &harmless(variant.as_deref().unwrap_or_default()),
            &harmless(description),
            &price.amount.to_string(),
            price.currency.as_str(),
            &stock.available.to_string(),
            &number(*buyer_limit),
            &number(*low_stock),
            if *on_sale { "true" } else { "false" },
            &position.to_string(),
        ]);
    }
    writer.into_inner().unwrap_or_default()
}

/// The catalogue as JSON, as the API takes it: `stock` is what is available, and what only the box can know is left out.
pub fn write_json<'p>(products: impl IntoIterator<Item = &'p Product>, now_ms: i64) -> Vec<u8> {
    let told = products.into_iter().map(|product| {
        let mut told = product.to_json(now_ms);
        told["stock"] = product.stock.available.into();
        if let Some(told) = told.as_object_mut() {
            for known_here in ["available", "held", "sold", "lease", "version", "image", "changed_at"] {
                told.remove(known_here);
            }
        }
        told
    });
    let mut file =
        serde_json::to_vec_pretty(&json!({ "products": told.collect::<Vec<_>>() })).unwrap_or_default();
    file.push(b'\n');
    file
}

/// Whether a spreadsheet could take a text for a formula, whatever blanks and apostrophes stand before it.
fn is_formula(text: &str) -> bool {
    let begins = text.trim_start_matches(|c: char| c == '\'' || c.is_whitespace() || c.is_control());
    begins.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

/// A text as a cell that no spreadsheet runs.
pub fn harmless(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// A cell's text as it was before [`harmless`].
fn bare(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if is_formula(text) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests;
