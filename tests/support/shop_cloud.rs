//! A cloud commerce system for tests: a real HTTPS server that keeps books of the orders it is sent, and that can be
//! told to lose answers, answer twice, answer nonsense, hang, or be gone.
//!
//! It knows nothing of the box's own code: it reads HTTP by itself and checks signatures by the rule in the README.
//! Stands on its own, since the outbox's unit tests use it, too.
#![allow(dead_code, reason = "each user takes its own part")]
#![allow(unreachable_pub, reason = "this file is a module of several crates")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "this is test code")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// None: it is taken and answered.
    None,
    /// Taken; the connection closes before a word of the answer.
    LoseAnswer,
    /// Taken; the connection closes in the middle of the answer.
    HalfAnswer,
    /// Taken; the answer comes twice over the same connection.
    AnswerTwice,
    /// Taken, and answered 500 all the same.
    TakenThen500,
    /// Taken, and answered with this JSON-less page.
    NotJson,
    /// Taken; the answer comes in pieces over this time.
    Slow(Duration),
    /// Not taken; this status.
    Status(u16),
    /// Not taken; this status and `Retry-After` seconds.
    Busy(u16, u64),
    /// Not taken; never answered.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `Idempotency-Key`.
    pub key: String,
    /// The document.
    pub document: Value,
    /// Keys of its items.
    pub items: Vec<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Whether the signature is right; `None` without one.
    pub signature: Option<bool>,
    /// `Footlight-Last-News`.
    pub last_news: Option<String>,
    /// The request line's path.
    pub path: String,
    /// Counts connections: the same number came over the same one.
    pub connection: usize,
}

/// The server. Gone when dropped.
pub struct ShopCloud {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    authority: String,
    listening: Option<Listening>,
}

struct Listening {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    /// What it says of items whose key contains this.
    verdicts: Vec<(String, String)>,
    /// Requests with items whose key contains this get 422.
    refused: Vec<String>,
    items_max: Option<usize>,
    secret: Option<String>,
    token: Option<String>,
    /// Repeated until a request acknowledges an answer in which they stood.
    updates: Vec<News>,
    leases: Vec<News>,
    books: BTreeMap<String, Value>,
    /// Keys in the order in which they were first taken.
    taken: Vec<String>,
    requests: Vec<Seen>,
    sockets: Vec<TcpStream>,
    connections: usize,
}

/// An update or a lease, and the requests in whose answers it stood.
struct News {
    said: Value,
    told_in: Vec<String>,
}

impl ShopCloud {
    /// By HTTPS, with a certificate of an authority of its own for `localhost`.
    pub fn start() -> ShopCloud {
        let (config, authority) = identity("localhost");
        ShopCloud::new(Some(config), authority)
    }

    /// In the clear.
    pub fn start_plain() -> ShopCloud {
        ShopCloud::new(None, String::new())
    }

    fn new(tls: Option<Arc<ServerConfig>>, authority: String) -> ShopCloud {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default() });
        let mut cloud = ShopCloud { shared, address, tls, authority, listening: None };
        cloud.listen(listener);
        cloud
    }

    /// Where orders are posted to; its path is a secret of its own.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}/hooks/path-secret?shop=7", self.address.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Writes its authority down as PEM.
    pub fn write_authority(&self, folder: &Path) -> PathBuf {
        let path = folder.join("shop-authority.pem");
        std::fs::write(&path, &self.authority).unwrap();
        path
    }

    /// Asks for this secret's signature, and for this token: else 401.
    pub fn demand(&self, secret: Option<&str>, token: Option<&str>) {
        let mut state = self.state();
        state.secret = secret.map(str::to_owned);
        state.token = token.map(str::to_owned);
    }

    /// What happens to the next requests, one each.
    pub fn next(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// Faults that were not used are not to happen any more.
    pub fn forget_faults(&self) {
        self.state().faults.clear();
    }

    /// What happens to all requests for which nothing else was said.
    pub fn always(&self, fault: Option<Fault>) {
        self.state().always = fault;
    }

    /// Says this of each item whose key contains `part`.
    pub fn verdict(&self, part: &str, state: &str) {
        self.state().verdicts.insert(0, (part.to_owned(), state.to_owned()));
    }

    /// Answers 422 to requests with an item whose key contains `part`.
    pub fn refuse(&self, part: &str) {
        self.state().refused.push(part.to_owned());
    }

    /// Refuses nothing any more.
    pub fn refuse_nothing(&self) {
        self.state().refused.clear();
    }

    /// Answers 413 to more items.
    pub fn take_at_most(&self, items: usize) {
        self.state().items_max = Some(items);
    }

    /// Tells this of an order with each answer until the box has it.
    pub fn update(&self, id: &str, state: &str, reason: Option<&str>) {
        let said = json!({ "id": id, "state": state, "reason": reason });
        self.state().updates.push(News { said, told_in: Vec::new() });
    }

    /// Grants units with each answer until the box has it.
    pub fn grant(&self, sku: &str, show: &str, units: i64, until: Option<&str>) {
        let said = json!({ "sku": sku, "id": show, "units": units, "until": until });
        self.state().leases.push(News { said, told_in: Vec::new() });
    }

    /// Updates and leases that the box did not acknowledge yet.
    pub fn unacknowledged(&self) -> usize {
        let state = self.state();
        state.updates.len() + state.leases.len()
    }

    /// Its books, by item key.
    pub fn books(&self) -> BTreeMap<String, Value> {
        self.state().books.clone()
    }

    /// Keys in the order in which they were first taken.
    pub fn taken(&self) -> Vec<String> {
        self.state().taken.clone()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// Panics if an order was heard of as cancelled before it was heard of as accepted.
    pub fn assert_in_order(&self) {
        let taken = self.taken();
        for (at, key) in taken.iter().enumerate() {
            if let Some(id) = key.strip_suffix(":cancelled") {
                let accepted = format!("{id}:accepted");
                assert!(taken[..at].contains(&accepted), "{key} came without {accepted} before");
            }
        }
    }

    /// Is gone: connections are cut, new ones refused. Its books stay.
    pub fn go(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.stop.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            let _ = listening.thread.join();
        }
        self.cut();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for socket in self.state().sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Is back, where it was.
    pub fn come_back(&mut self) {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&self.address.into()).unwrap();
        listener.listen(64).unwrap();
        self.listen(listener.into());
    }

    fn listen(&mut self, listener: TcpListener) {
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, tls, stopped) = (Arc::clone(&self.shared), self.tls.clone(), Arc::clone(&stop));
        let accept = move || {
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(socket) = socket else { continue };
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                let serve = move || drop(shared.serve(socket, tls));
                thread::Builder::new().name("shop-cloud".into()).spawn(serve).unwrap();
            }
        };
        let thread = thread::Builder::new().name("shop-accept".into()).spawn(accept).unwrap();
        self.listening = Some(Listening { stop, thread });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for ShopCloud {
    fn drop(&mut self) {
        self.go();
    }
}

/// What is to be written, and what becomes of the connection then.
struct Reply {
    bytes: Vec<u8>,
    pieces: usize,
    over: Duration,
    then: Then,
}

#[derive(PartialEq)]
enum Then {
    Next,
    Close,
    Hang,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        let mut state = self.state();
        state.connections += 1;
        let connection = state.connections;
        state.sockets.push(socket.try_clone()?);
        drop(state);
        let held = socket.try_clone()?;
        match tls {
            Some(config) => {
                let session = ServerConnection::new(config).map_err(io::Error::other)?;
                self.converse(BufReader::new(StreamOwned::new(session, socket)), connection, &held)
            }
            None => self.converse(BufReader::new(socket), connection, &held),
        }
    }

    fn converse(
        &self,
        mut stream: BufReader<impl Read + Write>,
        connection: usize,
        socket: &TcpStream,
    ) -> io::Result<()> {
        loop {
            let (path, headers, body) = match read_request(&mut stream) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    stream.get_mut().write_all(&reply(400, "", "no HTTP").bytes)?;
                    break;
                }
                Err(error) => return Err(error),
            };
            let reply = self.state().answer(path, &headers, &body, connection);
            let piece = reply.bytes.len().div_ceil(reply.pieces).max(1);
            for bytes in reply.bytes.chunks(piece) {
                stream.get_mut().write_all(bytes)?;
                stream.get_mut().flush()?;
                pause(reply.over / reply.pieces as u32);
            }
            match reply.then {
                Then::Next => {}
                Then::Close => return socket.shutdown(Shutdown::Both),
                // Until the other end gives up.
                Then::Hang => drop(stream.read(&mut [0; 64])?),
            }
        }
        Ok(())
    }
}

impl State {
    fn answer(
        &mut self,
        path: String,
        headers: &BTreeMap<String, String>,
        body: &[u8],
        connection: usize,
    ) -> Reply {
        let document: Value = serde_json::from_slice(body).expect("the box sends JSON");
        let items: Vec<Value> = document["items"].as_array().expect("items").clone();
        let keys: Vec<String> =
            items.iter().map(|item| item["key"].as_str().expect("a key").to_owned()).collect();
        let signature = self
            .secret
            .as_ref()
            .and_then(|secret| Some(is_signed(secret, headers.get("footlight-signature")?, body)));
        let authorization = headers.get("authorization").cloned();
        let key = headers.get("idempotency-key").cloned().unwrap_or_default();
        let last_news = headers.get("footlight-last-news").cloned();
        if let Some(id) = &last_news {
            let is_new = |news: &News| !news.told_in.contains(id);
            self.updates.retain(is_new);
            self.leases.retain(is_new);
        }
        let name = key.clone();
        let items_of = keys.clone();
        let seen =
            Seen { key, document, items: items_of, authorization, signature, last_news, path, connection };
        let let_in = (self.secret.is_none() || seen.signature == Some(true))
            && self.token.as_ref().is_none_or(|token| {
                seen.authorization.as_deref() == Some(format!("Bearer {token}").as_str())
            });
        self.requests.push(seen);
        if !let_in {
            return reply(401, "", r#"{"error":"who are you?"}"#);
        }
        let fault = self.faults.pop_front().or(self.always).unwrap_or(Fault::None);
        match fault {
            Fault::Status(status) => return reply(status, "", "<h1>no</h1>"),
            Fault::Busy(status, seconds) => {
                return reply(status, &format!("Retry-After: {seconds}\r\n"), "later");
            }
            Fault::Hang => return Reply { bytes: Vec::new(), then: Then::Hang, ..reply(200, "", "") },
            _ => {}
        }
        if self.items_max.is_some_and(|max| items.len() > max) {
            return reply(413, "", "too large");
        }
        if keys.iter().any(|key| self.refused.iter().any(|part| key.contains(part))) {
            return reply(422, "", r#"{"error":"an order is wrong"}"#);
        }
        let body = self.take(&name, &keys, items).to_string();
        let good = reply(200, "Content-Type: application/json\r\n", &body);
        match fault {
            Fault::LoseAnswer => Reply { bytes: Vec::new(), then: Then::Close, ..good },
            Fault::HalfAnswer => {
                let half = good.bytes.len() - body.len() / 2 - 1;
                Reply { bytes: good.bytes[..half].to_vec(), then: Then::Close, ..good }
            }
            Fault::AnswerTwice => Reply { bytes: good.bytes.repeat(2), ..good },
            Fault::TakenThen500 => reply(500, "", "oops"),
            Fault::NotJson => reply(200, "", "<html>Welcome to the hotel's wireless network</html>"),
            Fault::Slow(over) => Reply { pieces: 10, over, ..good },
            _ => good,
        }
    }

    fn take(&mut self, name: &str, keys: &[String], items: Vec<Value>) -> Value {
        let mut results = Vec::new();
        for (key, item) in keys.iter().zip(items) {
            let verdict =
                self.verdicts.iter().find(|(part, _)| key.contains(part)).map(|(_, state)| state.clone());
            if verdict.as_deref() != Some("retry") && self.books.insert(key.clone(), item).is_none() {
                self.taken.push(key.clone());
            }
            results
                .extend(verdict.map(|state| json!({ "key": key, "state": state, "more": [1, { "x": 2 }] })));
        }
        let tell = |news: &mut News| {
            news.told_in.push(name.to_owned());
            news.said.clone()
        };
        let updates: Vec<Value> = self.updates.iter_mut().map(tell).collect();
        let leases: Vec<Value> = self.leases.iter_mut().map(tell).collect();
        json!({ "results": results, "updates": updates, "leases": leases, "version": 3 })
    }
}

/// A request's path, headers by lower-case name, and body; `None` at the connection's end.
type Heard = Option<(String, BTreeMap<String, String>, Vec<u8>)>;

fn read_request(stream: &mut impl BufRead) -> io::Result<Heard> {
    let mut line = String::new();
    // A client that speaks TLS to the plain port sends no lines.
    if stream.fill_buf()?.first() == Some(&0x16) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(line.starts_with("POST "), "{line:?}");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some((path, headers, body)))
}

fn reply(status: u16, headers: &str, body: &str) -> Reply {
    let head = format!("HTTP/1.1 {status} So\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    Reply { bytes: (head + body).into_bytes(), pieces: 1, over: Duration::ZERO, then: Then::Next }
}

fn is_signed(secret: &str, header: &str, body: &[u8]) -> bool {
    let Some((time, tag)) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")) else {
        return false;
    };
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let want = ring::hmac::sign(&key, &[time.as_bytes(), b".", body].concat());
    let hex: Vec<String> = want.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let now = unix_seconds();
    hex.concat() == tag && time.parse::<u64>().is_ok_and(|time| time.abs_diff(now) < 60)
}

#[expect(clippy::disallowed_methods, reason = "this file knows nothing of the box's own clocks")]
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[expect(clippy::disallowed_methods, reason = "slowness is what is played here")]
fn pause(span: Duration) {
    thread::sleep(span);
}

/// A server's identity for `name`, and its authority as PEM.
fn identity(name: &str) -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = params.signed_by(&key, &authority).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    (Arc::new(config.unwrap()), authority.pem())
}
