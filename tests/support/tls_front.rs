//! TLS before an RTMP server, as clouds have it: nginx's stream module, with certificates made on the spot.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::net::Place;
use super::{tool, wait};

const INSTALL: &str = "apt-get install nginx-light libnginx-mod-stream";

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const START: Duration = Duration::from_secs(10);

/// A certificate authority of a test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Identity {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

/// A running front. Killed when dropped.
pub struct TlsFront {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Signs a certificate for `name`, changed before by `change`.
    pub fn sign(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let signed = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().to_vec() }
    }

    /// Writes it down as PEM.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }
}

impl Identity {
    /// One that nobody signed, and that calls itself an authority, as `openssl req -x509` makes them.
    pub fn self_signed(name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signed = params.self_signed(&key).unwrap();
        Identity { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().to_vec() }
    }

    /// Its SHA-256, in 64 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.der);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    /// Writes the certificate down as PEM.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.pem", self.fingerprint()));
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }
}

impl TlsFront {
    /// Stands before port `behind` of 127.0.0.1.
    #[track_caller]
    pub fn start(identity: &Identity, behind: u16) -> TlsFront {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (config, folder) = configure(identity, "127.0.0.1", port, behind);
        TlsFront { child: launch(&config, "127.0.0.1", port), port, folder }
    }

    /// Stands before the RTMP server at the far end of a line, on port 1936.
    #[track_caller]
    pub fn start_in(identity: &Identity, place: &Place) -> TlsFront {
        let (config, folder) = configure(identity, &place.address, 1936, 1935);
        let address = place.address.clone();
        TlsFront { child: place.run(move || launch(&config, &address, 1936)), port: 1936, folder }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `rtmps://localhost:PORT/live/key`.
    pub fn url(&self, key: &str) -> String {
        format!("rtmps://localhost:{}/live/{key}", self.port)
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("--- nginx before port {}\n{}", self.port, self.log());
        }
    }
}

#[track_caller]
fn configure(identity: &Identity, address: &str, port: u16, behind: u16) -> (PathBuf, TempDir) {
    let folder = tempfile::Builder::new().prefix("footlight-tls-").tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("certificate.pem"), &identity.certificate).unwrap();
    std::fs::write(at("key.pem"), &identity.key).unwrap();
    let config = format!(
        "load_module {MODULE};
        daemon off;
        master_process off;
        pid {pid};
        error_log {log} info;
        events {{ worker_connections 64; }}
        stream {{
            server {{
                listen {address}:{port} ssl;
                ssl_certificate {certificate};
                ssl_certificate_key {key};
                ssl_session_cache none;
                proxy_pass {address}:{behind};
            }}
        }}",
        pid = at("pid").display(),
        log = at("log").display(),
        certificate = at("certificate.pem").display(),
        key = at("key.pem").display(),
    );
    std::fs::write(at("nginx.conf"), config).unwrap();
    (at("nginx.conf"), folder)
}

#[track_caller]
fn launch(config: &Path, address: &str, port: u16) -> Child {
    let nginx = tool::require("nginx", INSTALL);
    assert!(PathBuf::from(MODULE).is_file(), "{MODULE} is missing; bring it by: {INSTALL}");
    let mut command = Command::new(nginx);
    command.arg("-c").arg(config).arg("-p").arg(config.parent().unwrap());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait::until(START, "nginx takes connections", || TcpStream::connect((address, port)).is_ok());
    child
}
