//! From a request to its answer.

use std::fmt::Write;
use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use crate::hub::{Channel, Start};

use super::answers::{Answer, content, empty, json, text, with};
use super::api;
use super::flv;
use super::house::{Class, House};
use super::pages;
use super::paths::{Place, place, query_value};
use super::socket::Link;

const TOO_LONG: &str = "The address is too long.";
const GARBLED: &str = "The address has a percent sign that encodes nothing.";

/// Bytes of a request's target, beyond which the answer is 414. Ours have a few dozen.
const TARGET_BYTES_MAX: usize = 2_048;

/// What may be done with everything there is so far.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// Answers one request. A viewer that is let in gets no answer from here: its connection is given to `link`.
pub(super) async fn answer(house: &House, link: &Link, peer: IpAddr, request: Request<Incoming>) -> Answer {
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let (class, answer) = if target_bytes > TARGET_BYTES_MAX {
        let status = StatusCode::URI_TOO_LONG;
        let is_api = is_api(request.uri().path());
        (Class::Other, if is_api { api::unreadable(status, TOO_LONG) } else { text(status, TOO_LONG) })
    } else {
        let path = request.uri().path().to_owned();
        let place = place(&path);
        let class = class(&place);
        (
            class,
            match place {
                Place::Api(path) => api::answer(house, peer, &path, request).await,
                Place::Garbled if is_api(&path) => api::unreadable(StatusCode::BAD_REQUEST, GARBLED),
                place => answer_at(house, link, peer, &request, place).await,
            },
        )
    };
    house.requests.note(class, answer.status());
    answer
}

/// Whether a path that cannot be read was meant for the API, whose errors are documents.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

fn class(place: &Place<'_>) -> Class {
    match place {
        Place::Live(_) => Class::Live,
        Place::Front | Place::Watch(_) | Place::File(_) => Class::Page,
        Place::Health | Place::Ready | Place::Metrics => Class::Probe,
        Place::Api(_) => Class::Api,
        Place::Nowhere | Place::Garbled => Class::Other,
    }
}

async fn answer_at(
    house: &House,
    link: &Link,
    peer: IpAddr,
    request: &Request<Incoming>,
    place: Place<'_>,
) -> Answer {
    let answer = match (&place, request.method()) {
        (_, &Method::OPTIONS) => options(&place),
        (_, &Method::GET | &Method::HEAD) => match &place {
            Place::Live(stream) => live(house, link, peer, request, stream).await,
            Place::Watch(stream) => match house.parts.hub.channel(stream) {
                Some(_) => pages::page("watch.html", request.headers()),
                // A browser gets the page all the same: it names the other streams, and plays this one
                // as soon as there is one.
                None if accepts(request, "text/html") => {
                    pages::page_as(StatusCode::NOT_FOUND, "watch.html", request.headers())
                }
                None => no_such_stream(house, request, stream),
            },
            Place::File(path) => pages::file(path, request.headers()).unwrap_or_else(nothing_here),
            Place::Front => front(house),
            Place::Health => text(StatusCode::OK, "ok"),
            Place::Ready => ready(house),
            Place::Metrics => {
                content(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", house.describe())
            }
            Place::Api(_) | Place::Nowhere => nothing_here(),
            Place::Garbled => text(StatusCode::BAD_REQUEST, GARBLED),
        },
        _ => with(
            text(StatusCode::METHOD_NOT_ALLOWED, format!("Only {METHODS} can be done here.")),
            header::ALLOW,
            METHODS,
        ),
    };
    match place {
        // Players on other pages may watch, and may read why not.
        Place::Live(_) => with(answer, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        _ => answer,
    }
}

fn options(place: &Place<'_>) -> Answer {
    let answer = with(empty(StatusCode::NO_CONTENT), header::ALLOW, METHODS);
    if !matches!(place, Place::Live(_)) {
        return answer;
    }
    let answer = with(answer, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    let answer = with(answer, header::ACCESS_CONTROL_ALLOW_HEADERS, "*");
    with(answer, header::ACCESS_CONTROL_MAX_AGE, "86400")
}

async fn live(house: &House, link: &Link, peer: IpAddr, request: &Request<Incoming>, stream: &str) -> Answer {
    let Some(channel) = house.parts.hub.channel(stream) else {
        return no_such_stream(house, request, stream);
    };
    let start = match query_value(request.uri().query(), "gop") {
        None | Some("1") => Start::Gop,
        Some("0") => Start::Live,
        Some(_) => {
            return text(
                StatusCode::BAD_REQUEST,
                "gop is 1 (from the newest keyframe) or 0 (from the next).",
            );
        }
    };
    if request.method() == Method::HEAD {
        let answer = content(StatusCode::OK, flv::CONTENT_TYPE, "");
        return with(answer, header::CACHE_CONTROL, "no-store");
    }
    watch(house, link, peer, request, channel, start).await
}

async fn watch(
    house: &House,
    link: &Link,
    peer: IpAddr,
    request: &Request<Incoming>,
    channel: Channel,
    start: Start,
) -> Answer {
    let http = house.http();
    match house.viewing.admit(&http, channel, peer, start, request.version()).await {
        Ok(taken) => {
            house.requests.note(Class::Live, StatusCode::OK);
            link.give(taken);
            // The connection's task drops this future with all of hyper's part.
            std::future::pending().await
        }
        Err(refused) => {
            let answer = text(refused.status, format!("Not now: {}.", refused.detail));
            match refused.retry_after {
                Some(seconds) => with(answer, header::RETRY_AFTER, seconds),
                None => answer,
            }
        }
    }
}

/// 404 with the streams there are: as RFC 9457 tells it, with a list `streams`, for whoever asks for JSON; in words for
/// everybody else.
fn no_such_stream(house: &House, request: &Request<Incoming>, stream: &str) -> Answer {
    let names = house.parts.hub.names();
    if accepts(request, "json") {
        let document = json!({
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": format!("There is no stream {stream:?} here."),
            "streams": names,
        });
        let answer = json(StatusCode::NOT_FOUND, "application/problem+json", &document);
        return with(answer, header::VARY, "accept");
    }
    let mut words = format!("There is no stream {stream:?} here.");
    if names.is_empty() {
        words.push_str(" There is none at all now.");
    } else {
        let _ = write!(words, " There is: {}.", names.join(", "));
    }
    with(text(StatusCode::NOT_FOUND, words), header::VARY, "accept")
}

/// Whether the client names a kind of content that contains this; one that takes just anything does not.
fn accepts(request: &Request<Incoming>, kind: &str) -> bool {
    let mut accepted = request.headers().get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|value| value.contains(kind)))
}

fn nothing_here() -> Answer {
    text(StatusCode::NOT_FOUND, "There is nothing here. Try / for what there is.")
}

/// The way in: to the only stream, or a list.
fn front(house: &House) -> Answer {
    let names = house.parts.hub.names();
    if let [only] = &names[..] {
        let answer = text(StatusCode::FOUND, format!("/watch/{only}"));
        return with(answer, header::LOCATION, format!("/watch/{only}"));
    }
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Live</title><h1>Live</h1><ul>",
    );
    for name in &names {
        let _ = write!(page, "<li><a href=\"/watch/{0}\">{0}</a></li>", escaped(name));
    }
    page.push_str(if names.is_empty() {
        "</ul><p>No stream is configured.</p></html>"
    } else {
        "</ul></html>"
    });
    let answer = content(StatusCode::OK, "text/html; charset=utf-8", page);
    pages::guarded(with(answer, header::CACHE_CONTROL, "no-store"))
}

/// Text that stands in HTML as itself.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn ready(house: &House) -> Answer {
    match (house.parts.ready)() {
        Ok(()) => json(StatusCode::OK, "application/json", &json!({ "ready": true, "reasons": [] })),
        Err(reasons) => {
            let document = json!({ "ready": false, "reasons": reasons });
            json(StatusCode::SERVICE_UNAVAILABLE, "application/json", &document)
        }
    }
}
