//! Judges who asks, by the token that comes with a request and by where it comes from.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};
use serde_json::json;
use tracing::warn;

use crate::base::clock;
use crate::base::loggate::LogGate;
use crate::base::rate::Rate;
use crate::serve::answers::{Answer, problem, problem_of, problem_with, with};
use crate::serve::house::House;

use super::book::{Digest, Role};
use super::tokens::{Found, Tokens};

/// By these a proxy tells of who asks; nobody else sends them.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Wrong tokens that one address may show at once, and how soon it may show another one then: ten a minute. Nobody
/// guesses 256 bits, at whatever pace; this keeps a machine with an old token from keeping the box busy and the log
/// full.
const WRONG_BURST: u32 = 10;
const WRONG_EVERY: Duration = Duration::from_secs(6);

static WRONG_TOKEN: LogGate = LogGate::new(Duration::from_secs(10));

/// What the door remembers: the tokens, and who shows wrong ones.
pub(in crate::serve) struct Door {
    tokens: Tokens,
    wrong: Mutex<Rate>,
}

impl Door {
    pub(in crate::serve) fn new(tokens: Tokens) -> Door {
        Door { tokens, wrong: Mutex::new(Rate::one_in(WRONG_EVERY, WRONG_BURST)) }
    }

    fn wrong(&self) -> MutexGuard<'_, Rate> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks. Prints as the log tells of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) enum Caller {
    /// A program on the box itself, which needs no token unless `http.trust_local` says so: it may do all.
    Here,
    /// Who bears the token with this id.
    Bearer { id: String, role: Role },
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Here => f.write_str("the box itself"),
            Caller::Bearer { id, role } => write!(f, "token {id} ({role})"),
        }
    }
}

/// Lets in who may do what `wanted` may: by a token of that role or one above it, from anywhere; without a token from
/// the box itself, as long as that cannot be somebody else in disguise ([`refuse_without_token`]) and the owner
/// trusts what runs there (`http.trust_local`).
///
/// A token that is shown is judged, also where none would be needed.
///
/// # Errors
/// The answer that says why not and what to do.
pub(in crate::serve) async fn allow<B>(
    house: &House,
    peer: IpAddr,
    request: &Request<B>,
    wanted: Role,
) -> Result<Caller, Answer> {
    let caller = match shown(request.headers()) {
        Shown::Nothing if !house.http().trust_local => {
            return Err(needs_token("This box trusts nobody without a token (http.trust_local).", wanted));
        }
        Shown::Nothing => match refuse_without_token(peer, request, wanted) {
            Some(refused) => return Err(refused),
            None => return Ok(Caller::Here),
        },
        Shown::Unusable => {
            return Err(needs_token("The Authorization header is not of the kind Bearer.", wanted));
        }
        Shown::Token(token) => {
            // The request itself is not held while a file is looked at.
            let digest = Digest::of(token);
            bearer(&house.door, peer, digest).await?
        }
    };
    match caller {
        Caller::Bearer { role, .. } if role < wanted => Err(too_low(role, wanted)),
        caller => Ok(caller),
    }
}

/// What an `Authorization` header holds.
enum Shown<'a> {
    Nothing,
    /// Another scheme, several headers, or something that is not text.
    Unusable,
    Token(&'a str),
}

fn shown(headers: &HeaderMap) -> Shown<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value: &HeaderValue = match (values.next(), values.next()) {
        (None, _) => return Shown::Nothing,
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Shown::Unusable,
    };
    match value.to_str().ok().and_then(|value| value.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Shown::Token(token.trim()),
        _ => Shown::Unusable,
    }
}

/// Who bears the token with this hash; `None` is something that cannot be a token.
///
/// An address that showed too many wrong ones is sent away before the file is looked at again, but never with a token
/// that is known: one tablet with an old token does not lock out the others behind the same address.
async fn bearer(door: &Door, peer: IpAddr, digest: Option<Digest>) -> Result<Caller, Answer> {
    let first = match &digest {
        Some(digest) => door.tokens.find(digest).await,
        None => Found::Unknown,
    };
    let found = match (first, &digest) {
        (Found::Unknown, digest) => {
            let refused = door.wrong().look(clock::now(), peer);
            refused.map_err(throttled)?;
            match digest {
                Some(digest) => door.tokens.find_anew(digest).await,
                None => Found::Unknown,
            }
        }
        (first, _) => first,
    };
    match found {
        Found::Known(record) => Ok(Caller::Bearer { id: record.id, role: record.role }),
        Found::Unreadable => Err(unreadable()),
        Found::Unknown => {
            let counted = door.wrong().take(clock::now(), peer);
            if let Some(held_back) = WRONG_TOKEN.pass(clock::now()) {
                warn!(%peer, held_back, "somebody shows a token that is not known here");
            }
            counted.map_err(throttled)?;
            Err(unknown())
        }
    }
}

/// Refuses who may not do something without a token: somebody on another machine, be it by way of a proxy on this one,
/// and a page of another site in a browser on this one. What such a page may read the answer of, or send other than a
/// form, names it in `Origin` (Fetch §3.2); a name that was pointed at this machine meanwhile shows in `Host`. A browser
/// that tells no origin with a form still cannot send one as JSON or CSV without asking first (Fetch §4.9), and we say
/// yes to none but by `Origin`. What only reads needs no such type.
///
/// A proxy that tells nothing of who asks, as nginx does unless it is told to, looks like a program on the box in all but
/// the version of HTTP that it speaks by default. One that speaks 1.1 cannot be told apart at all: that is what
/// `http.trust_local` is for.
fn refuse_without_token<B>(peer: IpAddr, request: &Request<B>, wanted: Role) -> Option<Answer> {
    let (method, headers) = (request.method(), request.headers());
    let holds = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if !peer.to_canonical().is_loopback() {
        return Some(needs_token("This needs a token when it is not asked for on the box itself.", wanted));
    }
    let is_old = request.version() < Version::HTTP_11;
    if is_old || FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        let words = if is_old {
            "HTTP/1.0 is what proxies speak, and who asks one may be on another machine: this needs a token."
        } else {
            "A proxy stands between, and who asks may be on another machine: this needs a token."
        };
        return Some(needs_token(words, wanted));
    }
    if !holds(header::HOST).is_some_and(is_this_machine) {
        let words = "Without a token, ask for localhost, 127.0.0.1 or [::1].";
        return Some(problem(StatusCode::FORBIDDEN, words));
    }
    if headers.get_all(header::ORIGIN).iter().any(|origin| !is_own_page(origin, holds(header::HOST))) {
        let words = "A page of another site asks, in a browser on the box: this needs a token.";
        return Some(needs_token(words, wanted));
    }
    let is_no_form = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ["application/json", "text/csv"].iter().any(|known| kind.eq_ignore_ascii_case(known))
    };
    if *method == Method::POST && !holds(header::CONTENT_TYPE).is_some_and(is_no_form) {
        let words = "Send it with Content-Type: application/json, even if there is nothing to say.";
        return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    None
}

/// Whether a page that a browser names in `Origin` came from here, as `Host` is written.
fn is_own_page(origin: &HeaderValue, host: Option<&str>) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    authority.zip(host).is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host))
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

fn needs_token(why: &str, wanted: Role) -> Answer {
    let words = format!(
        "{why} Send it with Authorization: Bearer TOKEN; a token is made on the box by: footlight token new --role \
         {wanted}"
    );
    let answer = problem_of(StatusCode::UNAUTHORIZED, "token-missing", "A token is needed", &words);
    with(answer, header::WWW_AUTHENTICATE, "Bearer")
}

fn unknown() -> Answer {
    let words =
        "The box does not know this token: it was revoked, belongs to another box, or was not copied whole.";
    let answer = problem_of(StatusCode::UNAUTHORIZED, "token-unknown", "The token is not known", words);
    with(answer, header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
}

fn throttled(wait: Duration) -> Answer {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let words =
        format!("Too many wrong tokens came from this address. Try again in {seconds} s, with another one.");
    let answer =
        problem_of(StatusCode::TOO_MANY_REQUESTS, "token-throttled", "Too many wrong tokens", &words);
    with(answer, header::RETRY_AFTER, seconds.to_string())
}

fn too_low(role: Role, wanted: Role) -> Answer {
    let words = format!("This token has the role {role}; this needs the role {wanted}.");
    let members = json!({ "role": role, "wanted": wanted });
    let title = "The token's role does not allow this";
    let answer = problem_with(StatusCode::FORBIDDEN, "role-too-low", title, &words, members);
    with(answer, header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\"")
}

fn unreadable() -> Answer {
    let words = "The box cannot read its tokens; its log says why. What needs none goes on.";
    let answer =
        problem_of(StatusCode::SERVICE_UNAVAILABLE, "tokens-unreadable", "Tokens cannot be checked", words);
    with(answer, header::RETRY_AFTER, "10")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &Method, version: Version, lines: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        request.method_mut().clone_from(method);
        *request.version_mut() = version;
        *request.headers_mut() = headers(lines);
        request
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_names_that_nobody_else_can_hand_out_are_this_machine() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "192.168.1.2:8080", "[::2]:8080", "[::1"] {
            assert!(!is_this_machine(host) || host == "[::1", "{host}");
        }
    }

    #[test]
    fn without_a_token_only_the_box_itself_is_let_in_and_no_page_of_another_site() {
        const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
        const HERE: (&str, &str) = ("host", "localhost:8080");
        for (peer, method, lines, want) in [
            ("127.0.0.1", Method::POST, vec![HERE, JSON], None),
            ("::ffff:127.0.0.1", Method::DELETE, vec![HERE, JSON], None),
            ("::1", Method::GET, vec![HERE], None),
            ("::1", Method::POST, vec![HERE], Some(415)),
            ("::1", Method::POST, vec![HERE, ("content-type", "text/plain")], Some(415)),
            ("127.0.0.1", Method::PUT, vec![HERE, ("content-type", "image/png")], None),
            ("127.0.0.1", Method::POST, vec![HERE, ("content-type", "text/csv")], None),
            ("127.0.0.1", Method::POST, vec![HERE, JSON, ("origin", "http://localhost:8080")], None),
            ("127.0.0.1", Method::GET, vec![HERE, ("origin", "https://shop.example")], Some(401)),
            ("127.0.0.1", Method::PUT, vec![HERE, JSON, ("origin", "http://localhost:3000")], Some(401)),
            ("127.0.0.1", Method::DELETE, vec![HERE, ("origin", "null")], Some(401)),
            ("127.0.0.1", Method::POST, vec![JSON], Some(403)),
            ("127.0.0.1", Method::GET, vec![("host", "evil.example")], Some(403)),
            ("127.0.0.1", Method::POST, vec![HERE, JSON, ("via", "1.1 proxy")], Some(401)),
            ("192.168.1.2", Method::GET, vec![HERE, JSON], Some(401)),
        ] {
            let judged = |version| {
                let request = request(&method, version, &lines);
                let told = refuse_without_token(peer.parse().unwrap(), &request, Role::Anchor);
                told.map(|answer| answer.status().as_u16())
            };
            assert_eq!(judged(Version::HTTP_11), want, "{peer} {method} {lines:?}");
            assert_eq!(judged(Version::HTTP_10), Some(401), "as an nginx asks: {peer} {method} {lines:?}");
        }
    }

    #[test]
    fn a_token_is_found_in_its_header_and_nowhere_else() {
        let found = |lines: &[(&'static str, &str)]| match shown(&headers(lines)) {
            Shown::Nothing => "nothing".to_owned(),
            Shown::Unusable => "unusable".to_owned(),
            Shown::Token(token) => token.to_owned(),
        };
        assert_eq!(found(&[("authorization", "Bearer flt_x")]), "flt_x");
        assert_eq!(found(&[("authorization", "bearer   flt_x")]), "flt_x");
        assert_eq!(found(&[("cookie", "flt_x")]), "nothing");
        for unusable in ["Basic dXNlcjpwYXNz", "flt_x", "", "Bearer"] {
            assert_eq!(found(&[("authorization", unusable)]), "unusable", "{unusable}");
        }
        assert_eq!(found(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), "unusable");
    }
}
