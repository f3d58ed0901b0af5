//! The connection to the cloud: one request at a time, over one connection that is kept while both ends like it.
//!
//! Bounded: connecting takes [`CONNECT_WITHIN`] at most, the whole exchange [`ANSWER_WITHIN`], an answer has
//! [`ANSWER_BYTES_MAX`]. Follows no redirect: orders go where the configuration says and nowhere else. Decides nothing:
//! what an answer means says `wire`, when to try again `core`.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::base::clock;
use crate::base::dial::{self, Lookup};
use crate::base::tls::{Tls, TlsError, Trust};
use crate::config::schema::{HttpsUrl, ShopCloud};

use super::sign;
use super::wire::Document;

/// From the name to the end of TLS's handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// From the request to the answer's last byte; connecting is not in it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of an answer: 10,000 verdicts with short reasons fit.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The header that tells which answer is on the box's disk.
const LAST_NEWS: &str = "footlight-last-news";

/// Seconds by which the cloud's clock may differ from ours before we say so when it lets us not in.
const CLOCKS_APART_S: i64 = 60;

/// What the cloud answered.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// `Retry-After`, in whichever form.
    pub retry_after: Option<Duration>,
    /// How many seconds the cloud's clock is ahead of ours, where it is far.
    pub clock_ahead_s: Option<i64>,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer, in words that say what to do. None holds more of the URL than scheme, host and port.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name service knows no such name, or does not answer.
    #[error("the name in {0} cannot be resolved ({1}); check the URL and the box's network")]
    Resolve(String, String),
    /// Nobody takes the connection.
    #[error("{0} cannot be reached ({1}); check the box's network, and host and port in the URL")]
    Connect(String, String),
    /// Not in time.
    #[error("{0} did not {1} within {2} s; the line or the far end is slow or gone")]
    TimedOut(String, &'static str, u64),
    /// TLS's own trouble.
    #[error("{0}: {1}")]
    Tls(String, String),
    /// A name in the clear leads out of the site.
    #[error("{0} is at {1}, which is not in this site: orders hold buyers' addresses, so write https://")]
    InTheClear(String, String),
    /// The connection ended before the answer did.
    #[error("{0} broke off before its answer was whole ({1})")]
    Broken(String, String),
    /// An answer without end.
    #[error("{0} answered more than {max} bytes; check that the URL is the one for orders", max = ANSWER_BYTES_MAX)]
    TooLong(String),
    /// What is configured cannot be sent.
    #[error("{0} cannot be asked: {1}")]
    Unsendable(String, &'static str),
}

/// Where orders go, and the connection there.
pub struct Client {
    cloud: ShopCloud,
    tls: Option<Tls>,
    /// A name service that hangs holds a thread: its answer is awaited again instead of asked for anew.
    lookup: Option<Lookup>,
    kept: Option<Connection>,
    connect_within: Duration,
    answer_within: Duration,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why an exchange over an open connection failed.
enum Exchange {
    /// Not a word of an answer came. Over a connection that was kept: it was closed while nobody used it, most likely.
    Unheard(CallError),
    Failed(CallError),
}

impl Client {
    /// Nothing is connected before the first [`Client::post`].
    pub fn new(cloud: ShopCloud) -> Client {
        let trust = cloud.ca_file.clone().map_or(Trust::System, Trust::File);
        let tls = cloud.url.tls.then(|| Tls::new(&cloud.url.host, trust));
        Client {
            cloud,
            tls,
            lookup: None,
            kept: None,
            connect_within: CONNECT_WITHIN,
            answer_within: ANSWER_WITHIN,
        }
    }

    /// Sends a document, and hands the answer back whatever its status. May be dropped half-way: then the connection
    /// is gone, and whether the cloud has the document is unknown.
    ///
    /// # Errors
    /// [`CallError`]; whether the cloud has the document is unknown then, too.
    pub async fn post(&mut self, document: &Document) -> Result<Answered, CallError> {
        // Taken out, so that a call that is dropped half-way leaves no connection with half an answer in it.
        if let Some(connection) = self.kept.take() {
            match self.exchange(connection, document).await {
                Ok(answered) => return Ok(answered),
                Err(Exchange::Failed(error)) => return Err(error),
                // The document carries its name, so that a cloud which has it after all can tell.
                Err(Exchange::Unheard(_)) => {}
            }
        }
        let connecting = timeout(self.connect_within, self.connect()).await;
        let connection =
            connecting.map_err(|_| self.timed_out("take a connection", self.connect_within))??;
        match self.exchange(connection, document).await {
            Ok(answered) => Ok(answered),
            Err(Exchange::Unheard(error) | Exchange::Failed(error)) => Err(error),
        }
    }

    async fn exchange(&mut self, connection: Connection, document: &Document) -> Result<Answered, Exchange> {
        match timeout(self.answer_within, self.exchange_within(connection, document)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Exchange::Failed(self.timed_out("answer", self.answer_within))),
        }
    }

    async fn exchange_within(
        &mut self,
        mut connection: Connection,
        document: &Document,
    ) -> Result<Answered, Exchange> {
        let request = self.request(document).map_err(Exchange::Failed)?;
        let unheard = |error: hyper::Error| Exchange::Unheard(self.broken(&error));
        connection.sender.ready().await.map_err(unheard)?;
        let response = connection.sender.send_request(request).await.map_err(unheard)?;
        let answered = self.read(response).await.map_err(Exchange::Failed)?;
        self.kept = Some(connection);
        Ok(answered)
    }

    fn request(&self, document: &Document) -> Result<Request<Full<Bytes>>, CallError> {
        let unsendable = |what| CallError::Unsendable(self.host(), what);
        let url = &self.cloud.url;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.target.reveal())
            .header(header::HOST, url.authority())
            .header(header::USER_AGENT, concat!("footlight/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header("idempotency-key", &document.id);
        if let Some(last_news) = &document.last_news {
            request = request.header(LAST_NEWS, last_news);
        }
        if let Some(token) = &self.cloud.token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
            let mut value = value.map_err(|_| unsendable("`token` holds what no header can carry"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(secret) = &self.cloud.secret {
            let now_s = clock::unix_millis() / 1_000;
            request = request.header(sign::HEADER, sign::sign(secret, &document.body, now_s));
        }
        let body = Full::new(Bytes::copy_from_slice(&document.body));
        request.body(body).map_err(|_| unsendable("its URL holds what no request can carry"))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answered, CallError> {
        let (head, mut rest) = response.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = rest.frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(CallError::TooLong(self.host()));
            }
            body.extend_from_slice(&data);
        }
        let now_s = (clock::unix_millis() / 1_000) as i64;
        Ok(Answered {
            status: head.status,
            retry_after: retry_after(&head.headers, now_s),
            clock_ahead_s: date(&head.headers, &header::DATE)
                .map(|at| at - now_s)
                .filter(|ahead| ahead.abs() > CLOCKS_APART_S),
            body: body.freeze(),
        })
    }

    async fn connect(&mut self) -> Result<Connection, CallError> {
        let socket = self.dial().await?;
        let Some(tls) = &self.tls else { return self.speak(socket).await };
        let failed = |error: TlsError| CallError::Tls(self.host(), words(&error));
        let (config, name) = tls.config().await.map_err(failed)?;
        let stream = TlsConnector::from(config).connect(name, socket).await.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            match cause {
                Some(cause) => failed(cause.clone().into()),
                None => CallError::Broken(self.host(), error.to_string()),
            }
        })?;
        self.speak(stream).await
    }

    async fn dial(&mut self) -> Result<TcpStream, CallError> {
        let HttpsUrl { tls, host, port, .. } = &self.cloud.url;
        let lookup = self.lookup.get_or_insert_with(|| dial::resolve(host, *port));
        let found = lookup.await.unwrap_or_else(|bug| Err(io::Error::other(bug)));
        self.lookup = None;
        let found = found.map_err(|error| CallError::Resolve(self.host(), error.to_string()))?;
        let outside = found.iter().find(|address| !tls && !HttpsUrl::may_be_plain(address.ip()));
        if let Some(outside) = outside {
            return Err(CallError::InTheClear(self.host(), outside.ip().to_string()));
        }
        let socket = dial::race(dial::in_turns(found), TcpStream::connect).await;
        let socket = socket.map_err(|error| CallError::Connect(self.host(), reason(&error)))?;
        socket.set_nodelay(true).map_err(|error| CallError::Connect(self.host(), error.to_string()))?;
        Ok(socket)
    }

    async fn speak<Stream>(&self, stream: Stream) -> Result<Connection, CallError>
    where
        Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // Its end shows at the sender; why it ended is told with the request that it broke.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, driver })
    }

    fn host(&self) -> String {
        self.cloud.url.to_string()
    }

    fn timed_out(&self, what: &'static str, limit: Duration) -> CallError {
        CallError::TimedOut(self.host(), what, limit.as_secs())
    }

    fn broken(&self, error: &hyper::Error) -> CallError {
        if error.is_parse() {
            return CallError::Broken(self.host(), "what it says is no HTTP".to_owned());
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let closed = error.is_incomplete_message()
            || error.is_canceled()
            || error.is_closed()
            || cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof);
        let why = if closed { "it closed the connection".to_owned() } else { cause.to_string() };
        CallError::Broken(self.host(), why)
    }
}

/// TLS's trouble with the keys that may put it right here.
fn words(error: &TlsError) -> String {
    match error {
        TlsError::NotTls => "it does not speak TLS on this port; check the port in the URL".to_owned(),
        other => other.to_string(),
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}

/// Seconds or a date (RFC 9110 §10.2.3). A date that is over is no wait at all.
fn retry_after(headers: &HeaderMap, now_s: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = match text.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => u64::try_from(date(headers, &header::RETRY_AFTER)? - now_s).unwrap_or(0),
    };
    Some(Duration::from_secs(seconds))
}

/// A header that is a date, as Unix seconds.
fn date(headers: &HeaderMap, name: &header::HeaderName) -> Option<i64> {
    let text = headers.get(name)?.to_str().ok()?;
    OffsetDateTime::parse(text.trim(), &Rfc2822).ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests;
