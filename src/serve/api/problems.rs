//! What the API says when the answer is no.

use std::time::Duration;

use hyper::{StatusCode, header};
use serde_json::{Value, json};

use crate::serve::answers::{Answer, problem_of, problem_with, with};
use crate::shop::fields::Fault;
use crate::shop::order::OrderState;
use crate::shop::{No, OrderError};

/// Seconds after which a full queue has room again: it is worked off within a fraction of one.
pub(super) const BUSY_AGAIN_SECONDS: u64 = 1;

/// Seconds after which a store that cannot be used may be tried again; the box itself tries every two.
const STORE_AGAIN_SECONDS: u64 = 5;

/// What was asked for and is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Product,
    Image,
    Order,
    Reservation,
}

impl Missing {
    /// 404.
    pub(super) fn answer(self) -> Answer {
        let (name, title, words) = match self {
            Missing::Product => {
                ("no-such-product", "There is no such product", "The box sells no product of this SKU.")
            }
            Missing::Image => ("no-such-image", "There is no such image", "This product has no image."),
            Missing::Order => {
                ("no-such-order", "There is no such order", "The box has no order with this id.")
            }
            Missing::Reservation => (
                "no-such-reservation",
                "There is no such reservation",
                "The box has no reservation with this id.",
            ),
        };
        problem_of(StatusCode::NOT_FOUND, name, title, words)
    }
}

/// The answer to what this room says. `missing` is what was asked for, should it not be there.
pub(super) fn of(error: OrderError, missing: Missing) -> Answer {
    match error {
        OrderError::No(no) => of_no(no, missing),
        OrderError::Busy => {
            let words = "More want to order at this moment than can wait. Send it again with the same key.";
            let title = "Too many wait";
            let answer = problem_of(StatusCode::SERVICE_UNAVAILABLE, "busy", title, words);
            with(answer, header::RETRY_AFTER, BUSY_AGAIN_SECONDS)
        }
        OrderError::Unavailable(trouble) => unavailable(trouble.public(), trouble.name()),
        OrderError::Stopping => unavailable("the box stops", "stopping"),
        OrderError::Off => off(),
    }
}

fn of_no(no: No, missing: Missing) -> Answer {
    match no {
        No::Refused { name, detail } => refused(&name, &detail),
        No::KeyReused => {
            let words = "This Idempotency-Key was sent before with another content. Make one for each order, and send \
                         it again only with the same content.";
            let title = "The key was used for something else";
            problem_of(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", title, words)
        }
        No::Unknown => missing.answer(),
        No::TooLate(state) => wrong_state(state, "It can no longer be cancelled."),
        No::Version(version) => other_version(Some(version)),
        No::TooFew(available) => {
            let words = format!(
                "There are {available} units: none can be taken away that are not there, and no more than a \
                 billion are counted."
            );
            let title = "So many cannot be added or taken away";
            let members = json!({ "available": available });
            problem_with(StatusCode::CONFLICT, "too-few", title, &words, members)
        }
        No::TooMany => {
            let words = "The box keeps as many products as it can; those that were taken out count too.";
            problem_of(StatusCode::CONFLICT, "too-many-products", "There are too many products", words)
        }
    }
}

/// 409: the rules say no, and will say the same under the same key.
fn refused(name: &str, detail: &str) -> Answer {
    let title = match name {
        "sold-out" => "It is sold out",
        "buyer-limit" => "The buyer has as many as one may have",
        "product-changed" => "The product was changed",
        "not-on-sale" => "It is not sold now",
        "total-too-large" => "The total is too large",
        "no-such-reservation" => "There is no such reservation",
        "reservation-over" => "The reservation is over",
        _ => "It is refused",
    };
    problem_of(StatusCode::CONFLICT, name, title, detail)
}

/// 409: an order's state does not allow it.
pub(super) fn wrong_state(state: OrderState, words: &str) -> Answer {
    let words = format!("The order is {}. {words}", state.as_str());
    let members = json!({ "state": state.as_str() });
    let title = "The order's state does not allow this";
    problem_with(StatusCode::CONFLICT, "wrong-state", title, &words, members)
}

/// 409: the cloud has the order, and nothing that is set here tells it that there is none.
pub(super) fn cloud_decides() -> Answer {
    let words = "The cloud sells this order and would not hear that it is rejected here. Cancel it instead: that is \
                 sent to the cloud.";
    problem_of(StatusCode::CONFLICT, "cloud-decides", "The cloud decides this", words)
}

/// 412: the product is not the one that was seen. `None`: there is none.
pub(super) fn other_version(version: Option<i64>) -> Answer {
    let words = match version {
        Some(version) => format!("It is version {version} now: look at it again."),
        None => "There is no such product any more, or not yet.".to_owned(),
    };
    let members = version.map_or(Value::Null, |version| json!({ "version": version }));
    let title = "It was edited meanwhile";
    problem_with(StatusCode::PRECONDITION_FAILED, "version", title, &words, members)
}

/// 422 with everything that is wrong, by field.
pub(super) fn invalid(faults: &[Fault]) -> Answer {
    let mut words: Vec<String> = faults
        .iter()
        .take(3)
        .map(
            |Fault { field, detail }| {
                if field.is_empty() { detail.clone() } else { format!("{field} {detail}") }
            },
        )
        .collect();
    if faults.len() > 3 {
        words.push(format!("and {} more", faults.len() - 3));
    }
    let errors: Vec<Value> =
        faults.iter().map(|Fault { field, detail }| json!({ "field": field, "detail": detail })).collect();
    let title = "Something in it is wrong";
    let detail = format!("{}.", words.join("; "));
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    problem_with(status, "invalid", title, &detail, json!({ "errors": errors }))
}

/// 400: an order needs a name by which the client can ask for it again.
pub(super) fn key_missing() -> Answer {
    let words = "Send an Idempotency-Key: 1 to 128 visible ASCII characters, made by the client, one for each order, \
                 the same when it is sent again.";
    problem_of(StatusCode::BAD_REQUEST, "key-missing", "There is no Idempotency-Key", words)
}

/// 415.
pub(super) fn content_type(words: &str) -> Answer {
    let title = "This kind of content is not taken";
    problem_of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", title, words)
}

/// 429.
pub(super) fn too_many(wait: Duration) -> Answer {
    let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
    let words = format!(
        "More orders come from this address than may, reservations and what takes them back included. Send it again \
         in {seconds} s, with the same key if it has one."
    );
    let title = "Too many orders from one address";
    let answer = problem_of(StatusCode::TOO_MANY_REQUESTS, "too-many-orders", title, &words);
    with(answer, header::RETRY_AFTER, seconds)
}

/// 404: there is no shop here.
pub(super) fn off() -> Answer {
    let words = "This box takes no orders (orders.enabled).";
    problem_of(StatusCode::NOT_FOUND, "orders-off", "Orders are switched off", words)
}

fn unavailable(why: &str, reason: &str) -> Answer {
    // A commit that failed may stand all the same once the disk is back: only the key tells.
    let words = format!("It is not known to be accepted: {why}. Send it again later, with the same key.");
    let title = "The order store cannot be used";
    let members = json!({ "reason": reason });
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let answer = problem_with(status, "store-unavailable", title, &words, members);
    with(answer, header::RETRY_AFTER, STORE_AGAIN_SECONDS)
}
