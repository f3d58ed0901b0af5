//! `/api/v1/products`: what is for sale, for everybody to see and for the shop's people to edit.

use hyper::{StatusCode, header};
use serde_json::{Value, json};
use tracing::info;

use crate::base::clock;
use crate::serve::answers::{Answer, empty, json as json_answer, with};
use crate::serve::auth::Role;
use crate::shop::fields::Fault;
use crate::shop::product::{Product, ProductEdit, Sku, UNITS_MAX};
use crate::shop::times::from_rfc3339;
use crate::shop::{Grant, No, OrderError};

use super::asked::Asked;
use super::problems::{self, Missing};

const JSON: &str = "application/json";

/// `GET /products`
pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Answer> {
    let [code] = asked.query(["product"])?;
    let now_ms = clock::unix_millis() as i64;
    let listed = asked.house.parts.orders.products();
    let is_wanted = |product: &Product| code.is_none() || product.card.product == code;
    let told: Vec<Value> =
        listed.iter().filter(|product| is_wanted(product)).map(|product| product.to_json(now_ms)).collect();
    Ok(json_answer(StatusCode::OK, JSON, &json!({ "products": told })))
}

/// `GET /products/{sku}`
pub(super) fn one(asked: &Asked<'_>) -> Result<Answer, Answer> {
    let found = Sku::parse(asked.name).and_then(|sku| asked.house.parts.orders.product(&sku));
    found.map(|product| told(StatusCode::OK, &product)).ok_or_else(|| Missing::Product.answer())
}

fn told(status: StatusCode, product: &Product) -> Answer {
    let document = product.to_json(clock::unix_millis() as i64);
    with(json_answer(status, JSON, &document), header::ETAG, format!("\"{}\"", product.version))
}

/// `PUT /products/{sku}`
pub(super) async fn put(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Admin).await?;
    let fields = asked.fields().await?;
    let edit = ProductEdit::read(Some(asked.name), fields).map_err(|faults| problems::invalid(&faults))?;
    let if_version = if_version(asked)?;
    let put = asked.house.parts.orders.put(vec![edit], if_version).await;
    let mut put = put.map_err(|error| match error {
        OrderError::No(No::Unknown) => problems::other_version(None),
        error => problems::of(error, Missing::Product),
    })?;
    let Some((product, is_new)) = put.pop() else { return Err(problems::other_version(None)) };
    info!(sku = %product.sku, version = product.version, by = %caller, "a product was put");
    Ok(told(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &product))
}

/// `DELETE /products/{sku}`
pub(super) async fn remove(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Admin).await?;
    let (sku, if_version) = (sku(asked)?, if_version(asked)?);
    done(asked.house.parts.orders.remove(sku, if_version).await)?;
    info!(sku = asked.name, by = %caller, "a product was taken out of the catalogue");
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /products/{sku}/stock`
pub(super) async fn add_stock(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Anchor).await?;
    let mut fields = asked.fields().await?;
    let add = fields.needed_whole("add", -UNITS_MAX..=UNITS_MAX);
    let reason = fields.text("reason", 0..=200).filter(|reason| !reason.is_empty());
    fields.finish().map_err(|faults| problems::invalid(&faults))?;
    let sku = sku(asked)?;
    let product = done(asked.house.parts.orders.add_stock(sku, add, reason).await)?;
    info!(sku = asked.name, add, by = %caller, "units were added");
    Ok(told(StatusCode::OK, &product))
}

/// `PUT /products/{sku}/lease`
pub(super) async fn set_lease(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Admin).await?;
    let mut fields = asked.fields().await?;
    let id = fields.needed_text("id", 1..=64);
    let units = fields.needed_whole("units", 0..=UNITS_MAX);
    let until = fields.text("until", 1..=40);
    let until_ms = until.as_deref().and_then(from_rfc3339);
    if until.is_some() && until_ms.is_none() {
        fields.fault("until", "must be a time of RFC 3339, such as 2026-11-21T20:00:00Z");
    }
    fields.finish().map_err(|faults| problems::invalid(&faults))?;
    let grant = Grant { id, units, until_ms };
    let sku = sku(asked)?;
    let product = done(asked.house.parts.orders.set_lease(sku, Some(grant)).await)?;
    Ok(told(StatusCode::OK, &product))
}

/// `DELETE /products/{sku}/lease`
pub(super) async fn end_lease(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Admin).await?;
    let sku = sku(asked)?;
    done(asked.house.parts.orders.set_lease(sku, None).await)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The SKU in the address. What cannot be one names no product.
pub(super) fn sku(asked: &Asked<'_>) -> Result<Sku, Answer> {
    Sku::parse(asked.name).ok_or_else(|| Missing::Product.answer())
}

pub(super) fn done<T>(done: Result<T, OrderError>) -> Result<T, Answer> {
    done.map_err(|error| problems::of(error, Missing::Product))
}

/// The version that the product must have for this to be done (RFC 9110 §13.1.1); nothing: any.
fn if_version(asked: &Asked<'_>) -> Result<Option<i64>, Answer> {
    let given = asked.header_once(&header::IF_MATCH).map_err(|fault| problems::invalid(&[fault]))?;
    let Some(given) = given else { return Ok(None) };
    let now = Sku::parse(asked.name)
        .and_then(|sku| asked.house.parts.orders.product(&sku))
        .map(|product| product.version);
    let Some(tags) = tags(given) else {
        let detail = "must be a version in quotes, as ETag tells it: \"3\"";
        return Err(problems::invalid(&[Fault::new("If-Match", detail)]));
    };
    match (tags, now) {
        (Tags::Any, Some(_)) => Ok(None),
        (Tags::These(versions), now) => {
            let fits = versions.iter().copied().find(|version| Some(*version) == now);
            fits.or(versions.first().copied()).map(Some).ok_or_else(|| problems::other_version(now))
        }
        (Tags::Any, None) => Err(problems::other_version(None)),
    }
}

/// What `If-Match` names.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// Versions; those that can be none are left out, since they fit nothing.
    These(Vec<i64>),
}

fn tags(given: &str) -> Option<Tags> {
    if given.trim() == "*" {
        return Some(Tags::Any);
    }
    let mut versions = Vec::new();
    for tag in given.split(',').map(str::trim) {
        // A weak tag fits nothing (RFC 9110 §8.8.3.2).
        let (is_weak, quoted) = match tag.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, tag),
        };
        let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
        versions.extend(inner.parse::<i64>().ok().filter(|_| !is_weak));
    }
    Some(Tags::These(versions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_in_quotes() {
        for (given, want) in [
            ("\"3\"", Some(Tags::These(vec![3]))),
            ("\"3\", \"4\"", Some(Tags::These(vec![3, 4]))),
            ("W/\"3\"", Some(Tags::These(vec![]))),
            ("\"abc\"", Some(Tags::These(vec![]))),
            (" * ", Some(Tags::Any)),
            ("3", None),
            ("", None),
            ("\"3", None),
            ("\"3\",", None),
        ] {
            assert_eq!(tags(given), want, "{given}");
        }
    }
}
