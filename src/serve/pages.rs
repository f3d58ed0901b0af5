//! The web pages, embedded in the binary when it was built (`build.rs`).

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::answers::{Answer, content, empty, text, with};

/// A file of the web build.
struct File {
    /// Below the web build's folder.
    path: &'static str,
    content_type: &'static str,
    /// A hash of its bytes, in quotes.
    etag: &'static str,
    bytes: &'static [u8],
}

// Defines `FILES`, in the order of their paths.
include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What a page may do: speak with the box it came from, play what it was sent, and nothing else. `blob:` is how Media
/// Source Extensions are handed to a video element.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; \
     form-action 'self'";

/// Names under `assets/` carry a hash of their content: what was fetched once is good for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Everything else may be other after the next update: ask each time, which costs a 304.
const ASK_AGAIN: &str = "no-cache";

/// The page at `path`, or what to do about a binary without it.
pub(super) fn page(path: &str, request: &HeaderMap) -> Answer {
    let answer = file(path, request).unwrap_or_else(|| {
        text(
            StatusCode::NOT_IMPLEMENTED,
            "This binary was built without its web pages: run `make web`, then build again.",
        )
    });
    guarded(answer)
}

/// The same under another status, which no copy that the client has may stand for.
pub(super) fn page_as(status: StatusCode, path: &str, request: &HeaderMap) -> Answer {
    let mut request = request.clone();
    request.remove(header::IF_NONE_MATCH);
    let mut answer = page(path, &request);
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = status;
        answer.headers_mut().remove(header::ETAG);
        answer = with(answer, header::CACHE_CONTROL, "no-store");
    }
    with(answer, header::VARY, "accept")
}

/// HTML may do no more than its policy says.
pub(super) fn guarded(answer: Answer) -> Answer {
    let answer = with(answer, header::CONTENT_SECURITY_POLICY, POLICY);
    with(answer, header::REFERRER_POLICY, "same-origin")
}

/// A file of the web build, or 304 if the client has it; `None` if there is no such file.
pub(super) fn file(path: &str, request: &HeaderMap) -> Option<Answer> {
    let found = FILES.binary_search_by(|file| file.path.cmp(path)).ok()?;
    let File { content_type, etag, bytes, .. } = FILES[found];
    let answer = if request.get_all(header::IF_NONE_MATCH).iter().any(|tags| names(tags, etag)) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        content(StatusCode::OK, content_type, bytes)
    };
    let lasts = if path.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN };
    Some(with(with(answer, header::ETAG, etag), header::CACHE_CONTROL, lasts))
}

/// Whether `If-None-Match` names this tag (RFC 9110 §13.1.2: compared weakly).
pub(super) fn names(tags: &HeaderValue, etag: &str) -> bool {
    let Ok(tags) = tags.to_str() else { return false };
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_a_file_is_not_sent_it_again() {
        let tag = "\"1a2b\"";
        for (header, hit) in [
            ("\"1a2b\"", true),
            ("W/\"1a2b\"", true),
            ("\"x\", \"1a2b\"", true),
            ("*", true),
            ("\"1a2\"", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(header), tag), hit, "{header}");
        }
    }

    #[test]
    fn files_can_be_found_by_their_path() {
        assert!(FILES.windows(2).all(|pair| pair[0].path < pair[1].path));
        for wanted in FILES {
            assert!(
                file(wanted.path, &HeaderMap::new()).is_some_and(|answer| answer.status() == StatusCode::OK)
            );
        }
        assert!(file("assets/none.js", &HeaderMap::new()).is_none());
    }
}
