//! Orders as a file for people and for other systems, page by page, beside a running box if need be.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use csv::WriterBuilder;

use super::order::Order;
use super::store::{NAME, Trouble, look_only, rows};
use super::times::rfc3339;
use super::transfer::harmless;

/// Orders that are in memory at once.
const PAGE: usize = 1_000;

/// How orders are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For spreadsheets, which run none of it.
    Csv,
    /// `{"orders": [...]}`, each as the API tells the shop's people.
    Json,
}

/// Why orders were not written.
#[derive(Debug)]
pub enum ExportError {
    /// The store cannot be read.
    Store(Trouble),
    /// Where they go takes no more.
    Out(io::Error),
}

impl From<io::Error> for ExportError {
    fn from(cause: io::Error) -> ExportError {
        ExportError::Out(cause)
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Store(trouble) => trouble.fmt(f),
            ExportError::Out(cause) => write!(f, "the orders could not be written: {cause}"),
        }
    }
}

const COLUMNS: [&str; 13] = [
    "number",
    "id",
    "state",
    "reason",
    "sku",
    "quantity",
    "unit_amount",
    "total",
    "currency",
    "buyer",
    "contact",
    "accepted_at",
    "changed_at",
];

/// Writes the orders with numbers above `after`, and says how many.
///
/// # Errors
/// When the store cannot be read, or `out` not be written; what was written is to be thrown away then.
pub fn orders(folder: &Path, after: i64, format: Format, out: &mut dyn Write) -> Result<u64, ExportError> {
    let from = look_only(folder).map_err(ExportError::Store)?;
    let (mut after, mut count) = (after, 0);
    match format {
        Format::Csv => out.write_all(&line(&COLUMNS.map(str::to_owned)))?,
        Format::Json => out.write_all(b"{\"orders\": [")?,
    }
    loop {
        let page = rows::orders_after(&from, after, PAGE)
            .map_err(|error| ExportError::Store(Trouble::of(&folder.join(NAME), &error)))?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for order in &page {
            match format {
                Format::Csv => out.write_all(&line(&cells(order)))?,
                Format::Json => {
                    let before = if count == 0 { "\n" } else { ",\n" };
                    write!(out, "{before}{}", order.to_full_json())?;
                }
            }
            count += 1;
        }
    }
    if format == Format::Json {
        out.write_all(b"\n]}\n")?;
    }
    out.flush()?;
    Ok(count)
}

fn cells(order: &Order) -> [String; COLUMNS.len()] {
    [
        order.number.to_string(),
        order.id.clone(),
        order.state.as_str().to_owned(),
        harmless(order.reason.as_deref().unwrap_or_default()),
        order.sku.as_str().to_owned(),
        order.quantity.to_string(),
        order.unit_price.amount.to_string(),
        order.total.amount.to_string(),
        order.total.currency.as_str().to_owned(),
        harmless(&order.buyer),
        harmless(&order.contact),
        rfc3339(order.at_ms),
        rfc3339(order.changed_ms),
    ]
}

fn line(cells: &[String; COLUMNS.len()]) -> Vec<u8> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    // Writing into memory does not fail.
    let _ = writer.write_record(cells);
    writer.into_inner().unwrap_or_default()
}
