//! Answers, ready to be sent.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;

/// What every request is answered with; a viewer's stream is the exception, and not hyper's.
pub(super) type Answer = Response<Body>;

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of `content_type`.
pub(super) fn content(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(body.into()));
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

/// Where each kind of problem that a program may want to tell apart has its name.
const PROBLEMS: &str = "https://footlight.dev/problems/";

/// An error as RFC 9457 tells it, of which the status says all that a program wants to know.
pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    json(status, "application/problem+json", &document)
}

/// An error with a name of its own: `type` is `https://footlight.dev/problems/NAME`, by which programs tell it from
/// others of the same status. `title` is the same each time, `detail` is about this one.
pub(super) fn problem_of(status: StatusCode, name: &str, title: &str, detail: &str) -> Answer {
    problem_with(status, name, title, detail, serde_json::Value::Null)
}

/// The same with more members, an object: `{"errors": [{"field": "quantity", "detail": "..."}]}`. They stand beside the
/// usual ones and do not replace them.
pub(super) fn problem_with(
    status: StatusCode,
    name: &str,
    title: &str,
    detail: &str,
    members: serde_json::Value,
) -> Answer {
    let mut document = serde_json::json!({
        "type": format!("{PROBLEMS}{name}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    if let (Some(document), serde_json::Value::Object(members)) = (document.as_object_mut(), members) {
        for (name, value) in members {
            document.entry(name).or_insert(value);
        }
    }
    json(status, "application/problem+json", &document)
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::from(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// An answer of `content_type` that is told bit by bit.
pub(super) fn told(content_type: &'static str, body: Body) -> Answer {
    let answer = with(Response::new(body), header::CONTENT_TYPE, content_type);
    with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// The same answer with one more header. A value that cannot stand in a header is left out.
pub(super) fn with(mut answer: Answer, name: HeaderName, value: impl TryInto<HeaderValue>) -> Answer {
    if let Ok(value) = value.try_into() {
        answer.headers_mut().insert(name, value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_problem_has_its_name_and_what_more_there_is_to_say() {
        let errors = json!([{ "field": "quantity", "detail": "no less than 1" }]);
        let members = json!({ "errors": errors, "status": 200 });
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let answer = problem_with(status, "invalid", "Something is wrong", "See errors.", members);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let want = json!({
            "type": "https://footlight.dev/problems/invalid",
            "title": "Something is wrong",
            "status": 422,
            "detail": "See errors.",
            "errors": errors,
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), want);
    }
}
