//! `/api/v1/orders`: buyers order, see what became of it and take it back; the shop's people see all of them.

use hyper::{StatusCode, header};
use serde_json::{Value, json};
use tracing::info;

use crate::base::clock;
use crate::serve::answers::{Answer, json as json_answer, with};
use crate::serve::auth::Role;
use crate::shop::fields::Fault;
use crate::shop::ids::is_id;
use crate::shop::order::{Key, Order, OrderState, Purpose, Wish};
use crate::shop::{By, News, OrderError};

use super::asked::Asked;
use super::problems::{self, Missing};

/// Orders in one answer, unless it is asked for another number of them.
const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 500;

const JSON: &str = "application/json";

/// `POST /orders`
pub(super) async fn place(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let (wish, key) = wish(asked, Purpose::Order).await?;
    let placed = asked.house.parts.orders.place(wish, key).await;
    let placed = placed.map_err(|error| problems::of(error, Missing::Product))?;
    let at = format!("/api/v1/orders/{}", placed.it.id);
    Ok(made(&placed.it.accepted_json(), at, placed.again))
}

/// Counts one more wish of a buyer's from this address: each waits for the disk, also one that names nothing.
///
/// # Errors
/// 429.
pub(super) fn count(asked: &Asked<'_>) -> Result<(), Answer> {
    asked.house.take_order_from(clock::now(), asked.peer).map_err(problems::too_many)
}

/// What somebody wishes, and the key it comes under: the way into orders and reservations.
///
/// Whatever type the body says it has, it is read as JSON: nobody's rights come by a cookie, so that a form of another
/// site can do no more than a stranger, and a buyer whose page forgot the header gets what they want.
pub(super) async fn wish(asked: &mut Asked<'_>, purpose: Purpose) -> Result<(Wish, Key), Answer> {
    count(asked)?;
    if !asked.headers().contains_key("idempotency-key") {
        return Err(problems::key_missing());
    }
    let document = asked.document().await?;
    let wish = Wish::read(&document, purpose).map_err(|faults| problems::invalid(&faults))?;
    let mut given = asked.headers().get_all("idempotency-key").iter();
    // Two keys are none: a list of both is what one of them would be taken for by others.
    let text = match (given.next().map(|value| value.to_str()), given.next()) {
        (Some(Ok(text)), None) => text,
        _ => "",
    };
    let key = wish.key(text, purpose).map_err(|fault| problems::invalid(&[fault]))?;
    Ok((wish, key))
}

/// 201, the first time and every other.
pub(super) fn made(document: &Value, at: String, again: bool) -> Answer {
    let answer = with(json_answer(StatusCode::CREATED, JSON, document), header::LOCATION, at);
    if again { with(answer, header::HeaderName::from_static("idempotency-replayed"), "true") } else { answer }
}

/// `GET /orders/{id}`
pub(super) async fn one(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let by_shop = asked.is_by_shop().await?;
    let order = find(asked).await?;
    Ok(told(&order, by_shop))
}

async fn find(asked: &mut Asked<'_>) -> Result<Order, Answer> {
    if !is_id(asked.name) {
        return Err(Missing::Order.answer());
    }
    let found = asked.house.parts.orders.order(asked.name.to_owned()).await;
    found.map_err(|error| problems::of(error, Missing::Order))?.ok_or_else(|| Missing::Order.answer())
}

fn told(order: &Order, by_shop: bool) -> Answer {
    let document = if by_shop { order.to_full_json() } else { order.to_json() };
    json_answer(StatusCode::OK, JSON, &document)
}

/// `GET /orders`
pub(super) async fn list(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Anchor).await?;
    let [before, limit] = asked.query(["before", "limit"])?;
    let mut faults = Vec::new();
    let mut number = |field, given: Option<String>, max: i64, default| match given.map(|text| text.parse()) {
        None => default,
        Some(Ok(number)) if (1..=max).contains(&number) => number,
        Some(_) => {
            faults.push(Fault::new(field, format!("must be a whole number from 1 to {max}")));
            default
        }
    };
    let before = number("before", before, i64::MAX, i64::MAX);
    let limit = number("limit", limit, LIMIT_MAX, LIMIT) as usize;
    if !faults.is_empty() {
        return Err(problems::invalid(&faults));
    }
    // One more than wanted tells whether there are more.
    let found = asked.house.parts.orders.orders_before(before, limit + 1).await;
    let mut orders = found.map_err(|error| problems::of(error, Missing::Order))?;
    let is_more = orders.len() > limit;
    orders.truncate(limit);
    let next = orders.last().filter(|_| is_more).map(|order| order.number);
    let orders: Vec<Value> = orders.iter().map(Order::to_full_json).collect();
    Ok(json_answer(StatusCode::OK, JSON, &json!({ "orders": orders, "next": next })))
}

/// `POST /orders/{id}/cancel`
pub(super) async fn cancel(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let by_shop = asked.is_by_shop().await?;
    if !by_shop {
        count(asked)?;
    }
    let mut fields = asked.fields_if_any().await?;
    let reason = fields.text("reason", 0..=200).filter(|reason| !reason.is_empty());
    fields.finish().map_err(|faults| problems::invalid(&faults))?;
    if !is_id(asked.name) {
        return Err(Missing::Order.answer());
    }
    let by = if by_shop { By::Shop } else { By::Buyer };
    let done = asked.house.parts.orders.cancel(asked.name.to_owned(), by, reason).await;
    let placed = done.map_err(|error| problems::of(error, Missing::Order))?;
    Ok(told(&placed.it, by_shop))
}

/// `POST /orders/{id}/state`
pub(super) async fn set_state(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Admin).await?;
    let mut fields = asked.fields().await?;
    let name = fields.needed_text("state", 1..=20);
    let state = OrderState::parse(&name)
        .filter(|state| matches!(state, OrderState::Confirmed | OrderState::Paid | OrderState::Rejected));
    if state.is_none() && !name.is_empty() {
        fields.fault("state", "must be confirmed, paid or rejected");
    }
    let reason = fields.text("reason", 0..=200).filter(|reason| !reason.is_empty());
    fields.finish().map_err(|faults| problems::invalid(&faults))?;
    let Some(state) = state else {
        return Err(problems::invalid(&[Fault::new("state", "is missing")]));
    };
    let order = find(asked).await?;
    // Its units would be sold again here while the cloud ships them.
    if state == OrderState::Rejected && asked.house.parts.outbox.status().cloud.is_some() {
        return Err(problems::cloud_decides());
    }
    if !order.state.may_become(state) {
        return Err(cannot_become(order.state, state));
    }
    let news = News { orders: vec![(order.id, state, reason)], ..News::default() };
    let changed = asked.house.parts.orders.take_news(news).await;
    let changed = changed.map_err(|error: OrderError| problems::of(error, Missing::Order))?;
    let order = find(asked).await?;
    if changed == 0 {
        return Err(cannot_become(order.state, state));
    }
    // By its number: who reads an id in a log could cancel the order.
    info!(number = order.number, state = state.as_str(), by = %caller, "an order's state was set by hand");
    Ok(told(&order, true))
}

fn cannot_become(from: OrderState, to: OrderState) -> Answer {
    problems::wrong_state(from, &format!("It cannot become {}: states move only forward.", to.as_str()))
}
