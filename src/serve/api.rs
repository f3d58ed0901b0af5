//! The API below `/api/v1`: JSON in, JSON out, errors as RFC 9457 tells them.
//!
//! ```text
//!   request ──places (pure): which place, which methods──> asked: head, query, bounded body, who asks
//!                                                            ├──> products, images, catalogue, orders, reservations
//!                                                            ├──> sale, events, cues
//!                                                            └──> outbox, outputs
//!   what a room says no with ──problems──> application/problem+json
//! ```
//! Each part of the house has a file of its own. What is not for everybody begins with [`Asked::allow`]. Pages of
//! other sites may use the places that are for buyers; they never act with the rights of who looks at them, since
//! those come by a token that the page must have, and the door takes no page of another site for the box itself.

mod asked;
mod catalogue;
mod cues;
mod events;
mod images;
mod orders;
mod outbox;
mod outputs;
mod places;
mod problems;
mod products;
mod reservations;
mod sale;

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::answers::{Answer, content, empty, problem, with};
use super::house::House;

use asked::Asked;
use places::{Place, What};

pub(super) use events::Pages;

/// The API as OpenAPI 3.1 describes it.
const DESCRIPTION: &str = include_str!("api/openapi.json");

/// Headers that a page of another site may send,
const HEADERS_IN: &str = "Content-Type, Idempotency-Key, Authorization, If-Match, Last-Event-ID";
/// and those that it may read.
const HEADERS_OUT: &str = "ETag, Location, Idempotency-Replayed, Retry-After, WWW-Authenticate";

/// Answers one request to the API. `path` is decoded.
pub(super) async fn answer(house: &House, peer: IpAddr, path: &str, request: Request<Incoming>) -> Answer {
    let found = path.strip_prefix("/api/v1/").and_then(places::find);
    let Some((place, name)) = found else {
        return Asked::new(house, peer, "", request).finish(nothing_here()).await;
    };
    let mut asked = Asked::new(house, peer, name, request);
    let answer = at(place, &mut asked).await.unwrap_or_else(|refused| refused);
    let answer = asked.finish(answer).await;
    if place.is_open { opened(answer) } else { answer }
}

/// Answers a request to the API whose address cannot be read. Pages of other sites may read why: which place was meant
/// is not known, and the answer says nothing about one.
pub(super) fn unreadable(status: StatusCode, words: &str) -> Answer {
    opened(problem(status, words))
}

async fn at(place: &Place, asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    if asked.method() == Method::OPTIONS {
        return Ok(options(place));
    }
    if !place.takes(asked.method().as_str()) {
        return Err(wrong_method(place.methods));
    }
    if place.needs_orders() && !asked.house.parts.orders.is_on() {
        return Err(problems::off());
    }
    let method = asked.method().clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    if let Some(known) = place.query.filter(|_| !(reads && place.is_read_by_everybody())) {
        asked.check_query(known)?;
    }
    match place.what {
        What::Orders if reads => orders::list(asked).await,
        What::Orders => orders::place(asked).await,
        What::Order => orders::one(asked).await,
        What::Cancel => orders::cancel(asked).await,
        What::State => orders::set_state(asked).await,
        What::Products => products::list(asked),
        What::Import => catalogue::import(asked).await,
        What::Export => catalogue::export(asked).await,
        What::Product if reads => products::one(asked),
        What::Product if method == Method::PUT => products::put(asked).await,
        What::Product => products::remove(asked).await,
        What::Stock => products::add_stock(asked).await,
        What::Image if reads => images::show(asked).await,
        What::Image if method == Method::PUT => images::put(asked).await,
        What::Image => images::remove(asked).await,
        What::Lease if method == Method::PUT => products::set_lease(asked).await,
        What::Lease => products::end_lease(asked).await,
        What::Reservations => reservations::place(asked).await,
        What::Reservation if reads => reservations::one(asked).await,
        What::Reservation => reservations::release(asked).await,
        What::Summary => sale::summary(asked).await,
        What::Show => sale::begin_show(asked).await,
        What::Events => events::follow(asked).await,
        What::Cues => cues::cue(asked).await,
        What::Outbox => outbox::show(asked).await,
        What::OutboxOrder => outbox::order(asked, place.verb()).await,
        What::OutboxNews => outbox::hear(asked).await,
        What::Description => Ok(description()),
        What::Outputs => Ok(outputs::all(asked.house)),
        What::Output => Ok(outputs::one(asked.house, asked.name)),
        What::OutputOrder => outputs::order(asked, place.verb()).await,
    }
}

/// `GET /openapi.json`: this API as programs read it.
fn description() -> Answer {
    let answer = content(StatusCode::OK, "application/json", DESCRIPTION);
    with(answer, header::CACHE_CONTROL, "no-cache")
}

/// What can be done at a place; to a browser also what pages of other sites may do there.
fn options(place: &Place) -> Answer {
    let answer = with(empty(StatusCode::NO_CONTENT), header::ALLOW, place.methods);
    if !place.is_open {
        return answer;
    }
    let answer = with(answer, header::ACCESS_CONTROL_ALLOW_METHODS, place.methods);
    let answer = with(answer, header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS_IN);
    with(answer, header::ACCESS_CONTROL_MAX_AGE, "86400")
}

/// Pages of other sites may read this answer.
fn opened(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(HEADERS_OUT));
    answer
}

fn nothing_here() -> Answer {
    problem(StatusCode::NOT_FOUND, "There is no such part of the API.")
}

fn wrong_method(allowed: &'static str) -> Answer {
    let words = format!("Only {allowed} can be done here.");
    with(problem(StatusCode::METHOD_NOT_ALLOWED, &words), header::ALLOW, allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_place_is_described_and_nothing_else_is() {
        let described: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let described: BTreeSet<(String, String)> = (described["paths"].as_object().unwrap().iter())
            .flat_map(|(path, all)| {
                let methods = all.as_object().unwrap().keys().filter(|name| *name != "parameters");
                methods.map(|method| (path[1..].to_owned(), method.to_uppercase()))
            })
            .collect();
        let served: BTreeSet<(String, String)> = (places::PLACES.iter())
            .flat_map(|place| {
                place.methods.split(", ").map(|method| (place.path.to_owned(), method.to_owned()))
            })
            .filter(|(_, method)| method != "HEAD" && method != "OPTIONS")
            .collect();
        assert_eq!(served, described);
    }
}
