//! A small blocking HTTP/1.1 client over a bare socket, so that tests see every byte and can misbehave.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer: its head is read, its body is a [`Read`], chunks already undone.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    body: Body,
}

/// What to ask for.
pub struct Request {
    method: String,
    path: String,
    headers: String,
    body: Vec<u8>,
    patience: Duration,
}

enum Body {
    Length(BufReader<TcpStream>, u64),
    Chunked { socket: BufReader<TcpStream>, left: u64, first: bool, ended: bool },
    UntilClose(BufReader<TcpStream>),
}

/// `GET path`, body not read yet.
#[track_caller]
pub fn get(server: SocketAddr, path: &str) -> Response {
    Request::new("GET", path).send(server).unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// `HEAD path`.
#[track_caller]
pub fn head(server: SocketAddr, path: &str) -> Response {
    Request::new("HEAD", path).send(server).unwrap_or_else(|error| panic!("HEAD {path}: {error}"))
}

/// The sum of a metric's samples whose labels contain `labels`; `None` while there are none.
#[track_caller]
pub fn metric(server: SocketAddr, name: &str, labels: &str) -> Option<f64> {
    let page = get(server, "/metrics").text();
    let values: Vec<f64> = page
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter(|line| line.contains(labels))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

impl Request {
    pub fn new(method: &str, path: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            headers: String::new(),
            body: Vec::new(),
            patience: PATIENCE,
        }
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// With this JSON as its body.
    pub fn json(self, body: &str) -> Request {
        self.body("application/json", body.as_bytes())
    }

    /// With a body of any type.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Request {
        body.clone_into(&mut self.body);
        let length = body.len().to_string();
        self.header("Content-Type", content_type).header("Content-Length", &length)
    }

    /// The longest that one read may take.
    pub fn patience(mut self, patience: Duration) -> Request {
        self.patience = patience;
        self
    }

    /// Sends it over a connection of its own and reads the answer's head.
    ///
    /// # Errors
    /// When the connection is refused, or ends or falls silent before the head is complete.
    pub fn send(&self, server: SocketAddr) -> io::Result<Response> {
        let mut socket = TcpStream::connect_timeout(&server, self.patience)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_nodelay(true)?;
        let Request { method, path, headers, body, .. } = self;
        write!(socket, "{method} {path} HTTP/1.1\r\nHost: {server}\r\n{headers}\r\n")?;
        // A server that has heard enough may answer and close before it has all.
        let sent = socket.write_all(body);
        Response::read(socket, method == "HEAD").or_else(|error| sent.and(Err(error)))
    }
}

impl Response {
    /// Reads an answer's head from a socket that a request was written to.
    ///
    /// # Errors
    /// When the connection ends or falls silent before the head is complete, or it is no HTTP.
    pub fn read(socket: TcpStream, to_head: bool) -> io::Result<Response> {
        let mut socket = BufReader::new(socket);
        let first = line(&mut socket)?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut socket)?;
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let find = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let body = if to_head || status == 204 || status == 304 {
            Body::Length(socket, 0)
        } else if find("transfer-encoding") == Some("chunked") {
            Body::Chunked { socket, left: 0, first: true, ended: false }
        } else if let Some(length) = find("content-length").and_then(|length| length.parse().ok()) {
            Body::Length(socket, length)
        } else {
            Body::UntilClose(socket)
        };
        Ok(Response { status, headers, body })
    }

    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The whole body.
    #[track_caller]
    pub fn bytes(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.read_to_end(&mut all).expect("the body arrives whole");
        all
    }

    /// The whole body as text.
    #[track_caller]
    pub fn text(self) -> String {
        String::from_utf8(self.bytes()).expect("the body is UTF-8")
    }

    /// The socket below, to stop reading on purpose, shrink buffers or close.
    pub fn socket(&self) -> &TcpStream {
        match &self.body {
            Body::Length(socket, _) | Body::Chunked { socket, .. } | Body::UntilClose(socket) => {
                socket.get_ref()
            }
        }
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.body {
            Body::UntilClose(socket) => socket.read(buffer),
            Body::Length(_, 0) | Body::Chunked { ended: true, .. } => Ok(0),
            Body::Length(socket, left) => {
                let count = socket.take(*left).read(buffer)?;
                if count == 0 && !buffer.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
                Ok(count)
            }
            Body::Chunked { socket, left, first, ended } => {
                if *left == 0 {
                    if !std::mem::take(first) {
                        line(socket)?;
                    }
                    let size = line(socket)?;
                    let digits = size.split(';').next().unwrap_or_default().trim();
                    *left = u64::from_str_radix(digits, 16).map_err(|_| {
                        io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {size:?}"))
                    })?;
                    if *left == 0 {
                        *ended = true;
                        return Ok(0);
                    }
                }
                let count = socket.take(*left).read(buffer)?;
                if count == 0 && !buffer.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// One line without its end; an end of the connection is an error.
fn line(socket: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if socket.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}
