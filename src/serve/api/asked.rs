//! One request to the API: its head, its query, its body within bounds, and who it comes from.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode};

use crate::serve::answers::{Answer, problem, with};
use crate::serve::auth::{Caller, Role, allow};
use crate::serve::house::House;
use crate::serve::paths::decoded_query;
use crate::shop::fields::{Fault, Fields};

use super::problems;

/// A document's bytes, at most; an order has two hundred.
const DOCUMENT_BYTES_MAX: usize = 16 << 10;

/// A body that is not whole within this is dropped: it holds a connection, and nobody types that slowly.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What of a body that nobody wanted is read away, so that the client hears why and may use the connection again;
const UNWANTED_BYTES_MAX: u64 = 1 << 20;
/// and for how long.
const UNWANTED_WITHIN: Duration = Duration::from_secs(2);

/// A request.
pub(super) struct Asked<'a> {
    pub(super) house: &'a House,
    pub(super) peer: IpAddr,
    /// The name in the path, if it has one.
    pub(super) name: &'a str,
    head: Request<()>,
    body: Incoming,
    /// Nothing more is wanted of the body, not even its end.
    body_is_lost: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        house: &'a House,
        peer: IpAddr,
        name: &'a str,
        request: Request<Incoming>,
    ) -> Asked<'a> {
        let (head, body) = request.into_parts();
        Asked { house, peer, name, head: Request::from_parts(head, ()), body, body_is_lost: false }
    }

    pub(super) fn method(&self) -> &Method {
        self.head.method()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// Lets in who may do what `wanted` may.
    pub(super) async fn allow(&mut self, wanted: Role) -> Result<Caller, Answer> {
        allow(self.house, self.peer, &self.head, wanted).await
    }

    /// Whether one of the shop's people asks: shows a token of the role anchor or above. A token that is not known is
    /// told so.
    pub(super) async fn is_by_shop(&mut self) -> Result<bool, Answer> {
        if !self.headers().contains_key(header::AUTHORIZATION) {
            return Ok(false);
        }
        let caller = self.allow(Role::Viewer).await?;
        Ok(matches!(caller, Caller::Bearer { role, .. } if role >= Role::Anchor))
    }

    /// A header that may be there once, as text; the fault names what is wrong with it.
    pub(super) fn header_once(&self, name: &HeaderName) -> Result<Option<&str>, Fault> {
        let mut values = self.headers().get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Fault::new(name.as_str(), "must be visible ASCII characters")),
            },
            (Some(_), Some(_)) => Err(Fault::new(name.as_str(), "must be sent once")),
        }
    }

    /// The media type of the body, without parameters and in lower case.
    pub(super) fn content_type(&self) -> Option<String> {
        let value = self.header_once(&header::CONTENT_TYPE).ok().flatten()?;
        Some(value.split(';').next()?.trim().to_ascii_lowercase())
    }

    /// Refuses a body that does not say that it is JSON.
    pub(super) fn must_be_json(&self) -> Result<(), Answer> {
        let value = self.header_once(&header::CONTENT_TYPE).ok().flatten().unwrap_or_default();
        let kind = value.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(problems::content_type("Send it with Content-Type: application/json."))
    }

    /// The values of a query whose names are among `known`, in their order. Others are left alone here: where they are
    /// a mistake, [`Asked::check_query`] has said so.
    pub(super) fn query<const N: usize>(&self, known: [&str; N]) -> Result<[Option<String>; N], Answer> {
        let mut found = [const { None }; N];
        let mut faults = Vec::new();
        for (name, value) in decoded_query(self.head.uri().query()) {
            match known.iter().position(|known| *known == name) {
                Some(place) if found[place].is_some() => faults.push(Fault::new(name, "must be given once")),
                Some(place) => found[place] = Some(value),
                None => {}
            }
        }
        faults.truncate(20);
        if faults.is_empty() { Ok(found) } else { Err(problems::invalid(&faults)) }
    }

    /// Refuses a query with names that are not known here.
    pub(super) fn check_query(&self, known: &[&str]) -> Result<(), Answer> {
        let Some(query) = self.head.uri().query() else { return Ok(()) };
        let unknown = decoded_query(Some(query)).filter(|(name, _)| !known.contains(&name.as_str())).take(20);
        let faults: Vec<Fault> = unknown
            .map(|(name, _)| {
                let short: String = name.chars().take(64).collect();
                Fault::new(short, "is no parameter of this address")
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(problems::invalid(&faults)) }
    }

    /// The body of a document.
    pub(super) async fn document(&mut self) -> Result<Bytes, Answer> {
        self.body(DOCUMENT_BYTES_MAX).await
    }

    /// The fields of a JSON object, which must be there.
    pub(super) async fn fields(&mut self) -> Result<Fields, Answer> {
        self.must_be_json()?;
        let document = self.document().await?;
        Fields::of(&document).map_err(|faults| problems::invalid(&faults))
    }

    /// The fields of a JSON object that may be left out.
    pub(super) async fn fields_if_any(&mut self) -> Result<Fields, Answer> {
        let document = self.document().await?;
        if document.trim_ascii().is_empty() {
            return Ok(Fields::of_object(serde_json::Map::new()));
        }
        self.must_be_json()?;
        Fields::of(&document).map_err(|faults| problems::invalid(&faults))
    }

    /// The body, of so many bytes at most.
    pub(super) async fn body(&mut self, bytes_max: usize) -> Result<Bytes, Answer> {
        self.body_within(bytes_max, BODY_WITHIN).await
    }

    /// The same for what may take its time.
    pub(super) async fn body_within(&mut self, bytes_max: usize, within: Duration) -> Result<Bytes, Answer> {
        let too_long = || {
            let words = format!("The body is longer than {bytes_max} bytes.");
            problem(StatusCode::PAYLOAD_TOO_LARGE, &words)
        };
        if self.body.size_hint().lower() > bytes_max as u64 {
            return Err(too_long());
        }
        let reading = Limited::new(&mut self.body, bytes_max).collect();
        match tokio::time::timeout(within, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
            Ok(Err(_)) => {
                self.body_is_lost = true;
                Err(problem(StatusCode::BAD_REQUEST, "The body broke off."))
            }
            Err(_) => {
                self.body_is_lost = true;
                let words = format!("The body was not whole within {} s.", within.as_secs());
                Err(problem(StatusCode::REQUEST_TIMEOUT, &words))
            }
        }
    }

    /// Reads away what is left of the body, if it is little: the client then gets `answer` whole, and may ask again
    /// over the same connection. Else the answer says that the connection ends.
    pub(super) async fn finish(mut self, answer: Answer) -> Answer {
        if self.body.is_end_stream() || self.read_away().await {
            return answer;
        }
        with(answer, header::CONNECTION, "close")
    }

    async fn read_away(&mut self) -> bool {
        // Who asks first whether to send a body has been answered.
        let is_asked_first = self.headers().contains_key(header::EXPECT);
        if self.body_is_lost || is_asked_first || self.body.size_hint().lower() > UNWANTED_BYTES_MAX {
            return false;
        }
        let reading = async {
            let mut left = UNWANTED_BYTES_MAX;
            while let Some(frame) = self.body.frame().await {
                let bytes = frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
                left = left.checked_sub(bytes)?;
            }
            Some(())
        };
        tokio::time::timeout(UNWANTED_WITHIN, reading).await.ok().flatten().is_some()
    }
}
