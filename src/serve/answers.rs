//! Answers, ready to be sent.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// What every request is answered with; a viewer's stream is the exception, and not hyper's.
pub(super) type Answer = Response<Full<Bytes>>;

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of `content_type`.
pub(super) fn content(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let answer = with(answer, header::CONTENT_TYPE, content_type);
    // Nobody may guess another type from the bytes.
    with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// A few words for a person or a script; never stored.
pub(super) fn text(status: StatusCode, words: impl Into<String>) -> Answer {
    let mut words = words.into();
    words.push('\n');
    with(content(status, TEXT, words), header::CACHE_CONTROL, "no-store")
}

/// A JSON document; never stored.
pub(super) fn json(status: StatusCode, content_type: &'static str, document: &serde_json::Value) -> Answer {
    with(content(status, content_type, document.to_string()), header::CACHE_CONTROL, "no-store")
}

/// An error as RFC 9457 tells it.
pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    json(status, "application/problem+json", &document)
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// The same answer with one more header. A value that cannot stand in a header is left out.
pub(super) fn with(mut answer: Answer, name: HeaderName, value: impl TryInto<HeaderValue>) -> Answer {
    if let Ok(value) = value.try_into() {
        answer.headers_mut().insert(name, value);
    }
    answer
}
