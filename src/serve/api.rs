//! The API below `/api/v1`: JSON in, JSON out, errors as RFC 9457 tells them.
//!
//! Each part of the house has a file of its own. What changes something is for this machine only, until there are
//! tokens by which the box knows who asks.

mod outputs;

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, StatusCode};

use super::answers::{Answer, empty, problem, with};
use super::house::House;

/// By these a proxy tells of who asks; nobody else sends them.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// A request's body, at most. Ours are a few dozen bytes.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Answers one request to the API. `path` is decoded.
pub(super) async fn answer(house: &House, peer: IpAddr, path: &str, request: Request<Incoming>) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts[..] {
        ["api", "v1", "outputs", ref rest @ ..] if request.method() == Method::OPTIONS => {
            match outputs::methods(rest) {
                "" => nothing_here(),
                methods => with(empty(StatusCode::NO_CONTENT), header::ALLOW, methods),
            }
        }
        ["api", "v1", "outputs", ref rest @ ..] => outputs::answer(house, peer, rest, request).await,
        _ => nothing_here(),
    }
}

fn nothing_here() -> Answer {
    problem(StatusCode::NOT_FOUND, "There is no such part of the API.")
}

fn wrong_method(allowed: &'static str) -> Answer {
    let words = format!("Only {allowed} can be done here.");
    with(problem(StatusCode::METHOD_NOT_ALLOWED, &words), header::ALLOW, allowed)
}

fn is_reading(method: &Method) -> bool {
    matches!(method, &Method::GET | &Method::HEAD)
}

/// Refuses who may not change anything: somebody on another machine, be it by way of a proxy on this one, and a page
/// of another site in a browser on this one. Such a page cannot ask for JSON to be taken without being asked back
/// first (Fetch §4.9), and a name that was pointed at this machine meanwhile shows in `Host`.
fn refuse_change(peer: IpAddr, request: &Request<Incoming>) -> Option<Answer> {
    if !peer.to_canonical().is_loopback() {
        let words = "This can be done on the box itself only, for example by: ssh BOX curl ...";
        return Some(problem(StatusCode::FORBIDDEN, words));
    }
    if FORWARDED.iter().any(|name| request.headers().contains_key(*name)) {
        let words = "A proxy stands between: who asks may be on another machine. Ask the box itself, for example by: \
                     ssh BOX curl ...";
        return Some(problem(StatusCode::FORBIDDEN, words));
    }
    let header =
        |name| request.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if !header(header::HOST).is_some_and(is_this_machine) {
        return Some(problem(StatusCode::FORBIDDEN, "Ask for localhost, 127.0.0.1 or [::1]."));
    }
    let json = |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    if !header(header::CONTENT_TYPE).is_some_and(json) {
        let words = "Send it with Content-Type: application/json, even if there is nothing to say.";
        return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    None
}

/// Whether a `Host` header names this machine by a name that nobody else can hand out.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads a bounded body.
async fn body(request: Request<Incoming>) -> Result<Bytes, Answer> {
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let words = format!("The body is longer than {BODY_BYTES_MAX} bytes.");
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &words))
        }
        Err(_) => Err(problem(StatusCode::BAD_REQUEST, "The body broke off.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_hand_out_are_this_machine() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "192.168.1.2:8080", "[::2]:8080", "[::1"] {
            assert!(!is_this_machine(host) || host == "[::1", "{host}");
        }
    }
}
