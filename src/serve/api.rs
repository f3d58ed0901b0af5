//! The API below `/api/v1`: JSON in, JSON out, errors as RFC 9457 tells them.
//!
//! Each part of the house has a file of its own. What is not for everybody begins with [`super::auth::allow`].

mod outputs;

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, StatusCode};

use super::answers::{Answer, empty, problem, with};
use super::house::House;

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
