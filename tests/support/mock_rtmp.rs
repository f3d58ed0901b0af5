//! A mock of an RTMP server that wants a login, where no real server with one can be installed: rml_rtmp's session
//! behind a gate of our own. `tests/login.rs` holds the gate against ffmpeg, which has known both methods for years.
//!
//! It also writes what it is sent as FLV, byte for byte, for codecs that real servers of this age do not know.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use footlight::base::threads;
use md5::{Digest as _, Md5};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult};
use tempfile::TempDir;

use super::wait;

pub const USER: &str = "anchor";
pub const PASSWORD: &str = "s3cr3tw0rd";

/// What the gate makes up; one would do for each connection, and one for all makes vectors.
const SALT: &str = "6MnrBnKW";
const CHALLENGE: &str = "7C5OrwQg";
const OPAQUE: &str = "vbi2V";
const NONCE: &str = "nonce42";

/// Whom it lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    Adobe,
    /// Adobe's way without an `opaque`.
    AdobeWithoutOpaque,
    Limelight,
    /// A method that nobody knows.
    Unheard,
}

/// A running mock on a port of 127.0.0.1.
pub struct MockRtmp {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    folder: TempDir,
}

#[derive(Default)]
struct Seen {
    /// The application of each `connect`, query included.
    apps: Vec<String>,
    publishes: usize,
    pictures: usize,
}

impl MockRtmp {
    pub fn start(gate: Gate) -> MockRtmp {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let folder = tempfile::Builder::new().prefix("footlight-mock-").tempdir().unwrap();
        let (kept, path) = (Arc::clone(&seen), folder.path().to_owned());
        let serve = move || {
            for (at, socket) in listener.incoming().flatten().enumerate() {
                let file = path.join(format!("{at}.flv"));
                let _ = Session::new(socket, gate, Arc::clone(&kept)).run(&file);
            }
        };
        threads::spawn("test", "mock-rtmp", serve).unwrap();
        MockRtmp { address, seen, folder }
    }

    /// `rtmp://USER:PASSWORD@127.0.0.1:PORT/live/KEY`.
    pub fn url(&self, login: &str, key: &str) -> String {
        format!("rtmp://{login}{}/live/{key}", self.address)
    }

    /// The application of each `connect`, query included.
    pub fn apps(&self) -> Vec<String> {
        self.seen.lock().unwrap().apps.clone()
    }

    /// Pictures and picture headers that were sent.
    pub fn pictures(&self) -> usize {
        self.seen.lock().unwrap().pictures
    }

    #[track_caller]
    pub fn wait_for_pictures(&self, deadline: Duration, pictures: usize) {
        wait::until(deadline, &format!("{pictures} pictures; connects: {:?}", self.apps()), || {
            self.pictures() >= pictures
        });
    }

    /// What connection number `at` sent, as FLV; may still grow.
    pub fn recording(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("{at}.flv"))
    }
}

struct Session {
    socket: TcpStream,
    gate: Gate,
    seen: Arc<Mutex<Seen>>,
}

impl Session {
    fn new(socket: TcpStream, gate: Gate, seen: Arc<Mutex<Seen>>) -> Session {
        Session { socket, gate, seen }
    }

    fn run(&mut self, file: &PathBuf) -> io::Result<()> {
        let mut rest = self.shake_hands()?;
        let (mut session, mut results) = ServerSession::new(ServerSessionConfig::new()).unwrap();
        let mut recording = Recording(None);
        let mut buffer = vec![0; 1 << 16];
        loop {
            results.extend(session.handle_input(&rest).map_err(|_| io::ErrorKind::InvalidData)?);
            while !results.is_empty() {
                match results.remove(0) {
                    ServerSessionResult::OutboundResponse(packet) => self.socket.write_all(&packet.bytes)?,
                    ServerSessionResult::RaisedEvent(event) => match event {
                        ServerSessionEvent::ConnectionRequested { request_id, app_name } => {
                            self.seen.lock().unwrap().apps.push(app_name.clone());
                            results.extend(match self.refusal(&app_name) {
                                None => session.accept_request(request_id).unwrap(),
                                Some(words) => {
                                    let code = "NetConnection.Connect.Rejected";
                                    session.reject_request(request_id, code, &words).unwrap()
                                }
                            });
                        }
                        ServerSessionEvent::PublishStreamRequested { request_id, .. } => {
                            self.seen.lock().unwrap().publishes += 1;
                            recording.begin(file)?;
                            results.extend(session.accept_request(request_id).unwrap());
                        }
                        ServerSessionEvent::VideoDataReceived { data, timestamp, .. } => {
                            recording.write(9, timestamp.value, &data)?;
                            self.seen.lock().unwrap().pictures += 1;
                        }
                        ServerSessionEvent::AudioDataReceived { data, timestamp, .. } => {
                            recording.write(8, timestamp.value, &data)?;
                        }
                        _ => {}
                    },
                    ServerSessionResult::UnhandleableMessageReceived(_) => {}
                }
            }
            let bytes = self.socket.read(&mut buffer)?;
            if bytes == 0 {
                return Ok(());
            }
            rest = buffer[..bytes].to_vec();
        }
    }

    fn shake_hands(&mut self) -> io::Result<Vec<u8>> {
        let mut handshake = Handshake::new(PeerType::Server);
        let mut buffer = [0; 4_096];
        loop {
            let bytes = self.socket.read(&mut buffer)?;
            if bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match handshake.process_bytes(&buffer[..bytes]).map_err(|_| io::ErrorKind::InvalidData)? {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    self.socket.write_all(&response_bytes)?;
                }
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    self.socket.write_all(&response_bytes)?;
                    return Ok(remaining_bytes);
                }
            }
        }
    }

    /// Why `app` is not let in.
    fn refusal(&self, app: &str) -> Option<String> {
        let value = |name: &str| {
            let query = app.split_once('?').map_or("", |(_, query)| query);
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .next()
                .unwrap_or_default()
        };
        let method = match self.gate {
            Gate::Open => return None,
            Gate::Adobe | Gate::AdobeWithoutOpaque => "adobe",
            Gate::Limelight => "llnw",
            Gate::Unheard => "quux",
        };
        let reject = |words: String| Some(format!("[ AccessManager.Reject ] : {words}"));
        if value("authmod") != method {
            return reject(format!("[ code=403 need auth; authmod={method} ] : "));
        }
        if value("user") != USER {
            return reject(format!("[ authmod={method} ] : ?reason=nosuchuser"));
        }
        let opaque = if self.gate == Gate::Adobe { OPAQUE } else { "" };
        if value("response").is_empty() {
            let theirs = match self.gate {
                Gate::Limelight => format!("nonce={NONCE}"),
                Gate::Adobe => format!("salt={SALT}&challenge={CHALLENGE}&opaque={OPAQUE}"),
                _ => format!("salt={SALT}&challenge={CHALLENGE}"),
            };
            return reject(format!("[ authmod={method} ] : ?reason=needauth&user={USER}&{theirs}"));
        }
        let want = if self.gate == Gate::Limelight {
            let who = hex(&format!("{USER}:live:{PASSWORD}"));
            let what = hex("publish:/live/_definst_");
            hex(&format!("{who}:{NONCE}:{}:{}:auth:{what}", value("nc"), value("cnonce")))
        } else {
            let password = STANDARD.encode(Md5::digest(format!("{USER}{SALT}{PASSWORD}")));
            let theirs = if opaque.is_empty() { CHALLENGE } else { opaque };
            STANDARD.encode(Md5::digest(format!("{password}{theirs}{}", value("challenge"))))
        };
        let said_back = value("opaque") == opaque;
        let fits = value("response") == want && said_back;
        if fits { None } else { reject(format!("[ authmod={method} ] : ?reason=authfailed")) }
    }
}

fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// What was sent, as an FLV file.
struct Recording(Option<File>);

impl Recording {
    fn begin(&mut self, path: &PathBuf) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(b"FLV\x01\x05\0\0\0\x09\0\0\0\0")?;
        self.0 = Some(file);
        Ok(())
    }

    fn write(&mut self, kind: u8, millis: u32, body: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        let length = (body.len() as u32).to_be_bytes();
        let time = millis.to_be_bytes();
        let trailer = (11 + body.len() as u32).to_be_bytes();
        file.write_all(&[&[kind], &length[1..], &time[1..], &time[..1], &[0; 3], body, &trailer].concat())
    }
}
