//! `/api/v1/products/import` and `/export`: the whole catalogue as a file, for spreadsheets and programs.

use std::time::Duration;

use hyper::{StatusCode, header};
use serde_json::json;
use tracing::info;

use crate::base::clock;
use crate::serve::answers::{Answer, content, json as json_answer, problem_of, problem_with, with};
use crate::serve::auth::Role;
use crate::shop::fields::Fault;
use crate::shop::transfer;

use super::asked::Asked;
use super::problems;
use super::products::done;

const CSV: &str = "text/csv; charset=utf-8";

/// How long a file may take to come, over whatever Wi-Fi a studio has.
const FILE_WITHIN: Duration = Duration::from_secs(60);

/// `POST /products/import`
pub(super) async fn import(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Admin).await?;
    let read = match asked.content_type().as_deref() {
        Some("application/json") => transfer::read_json,
        Some("text/csv") => transfer::read_csv,
        _ => {
            let words = "Send a file of products with its Content-Type: application/json or text/csv.";
            return Err(problems::content_type(words));
        }
    };
    let file = asked.body_within(transfer::BYTES_MAX, FILE_WITHIN).await?;
    // Thousands of rows: not on a thread that others wait for.
    let read = tokio::task::spawn_blocking(move || read(&file)).await;
    let edits = match read {
        Ok(Ok(edits)) => edits,
        Ok(Err(faults)) => {
            let members = json!({ "errors": faults.to_json(), "more": faults.more });
            let title = "Something in it is wrong";
            let first: Vec<String> = faults.to_string().lines().take(3).map(str::to_owned).collect();
            let words = format!("Nothing was taken over; see errors. {}", first.join("; "));
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(problem_with(status, "invalid", title, &words, members));
        }
        Err(_) => {
            let words = "The file could not be read, by a bug of ours; nothing was taken over.";
            let title = "The file could not be read";
            return Err(problem_of(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", title, words));
        }
    };
    let put = done(asked.house.parts.orders.put(edits, None).await)?;
    let new = put.iter().filter(|(_, is_new)| *is_new).count();
    info!(products = put.len(), new, by = %caller, "a catalogue was imported");
    let told = json!({ "products": put.len(), "new": new, "changed": put.len() - new });
    Ok(json_answer(StatusCode::OK, "application/json", &told))
}

/// `GET /products/export`
pub(super) async fn export(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Anchor).await?;
    let [format] = asked.query(["format"])?;
    let listed = asked.house.parts.orders.products();
    let products = listed.iter().map(|product| &**product);
    let (kind, file, name) = match format.as_deref() {
        None | Some("csv") => (CSV, transfer::write_csv(products), "products.csv"),
        Some("json") => {
            ("application/json", transfer::write_json(products, clock::unix_millis() as i64), "products.json")
        }
        Some(_) => return Err(problems::invalid(&[Fault::new("format", "must be csv or json")])),
    };
    let answer = with(content(StatusCode::OK, kind, file), header::CACHE_CONTROL, "no-store");
    Ok(with(answer, header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
}
