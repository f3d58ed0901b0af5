//! Wires against far ends that speak TLS by rustls, with certificates made on the spot.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::base::tcp_info::TcpInfo;
use crate::base::tls::{Fingerprint, Tls, Trust};

use super::*;

/// Longer than any step here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a far end got until the connection ended, and whether TLS's good-bye ended it.
type Heard = (Vec<u8>, bool);

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of the tests");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs")
}

fn signed(by: &Authority, name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    change(&mut params);
    let certificate = params.signed_by(&key, by).expect("signs");
    Identity { certificate: certificate.der().clone(), key: key.serialize_der() }
}

fn self_signed(name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    change(&mut params);
    let certificate = params.self_signed(&key).expect("signs");
    Identity { certificate: certificate.der().clone(), key: key.serialize_der() }
}

fn server_config(identity: &Identity) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(identity.key.clone()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], key);
    Arc::new(config.expect("a certificate with its key"))
}

/// A far end that says back what it hears, for so many connections.
fn echo(identity: &Identity, connections: usize) -> (SocketAddr, JoinHandle<Vec<Heard>>) {
    let config = server_config(identity);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let heard = tokio::task::spawn_blocking(move || {
        let one = |_| {
            let (socket, _) = listener.accept().expect("accepts");
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a session");
            say_back(StreamOwned::new(tls, socket))
        };
        (0..connections).map(one).collect()
    });
    (address, heard)
}

fn say_back(mut stream: impl io::Read + io::Write) -> Heard {
    let (mut heard, mut piece) = (Vec::new(), [0; 10_000]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return (heard, true),
            Err(_) => return (heard, false),
            Ok(bytes) => {
                heard.extend_from_slice(&piece[..bytes]);
                if stream.write_all(&piece[..bytes]).and_then(|()| stream.flush()).is_err() {
                    return (heard, false);
                }
            }
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connects")
}

async fn dial(address: SocketAddr, tls: &Tls) -> Result<Wire, WireError> {
    let mut wire = Wire::tls(connect(address).await, tls.session().await?);
    let shake = async {
        while wire.is_handshaking() {
            turn(&mut wire).await?;
        }
        wire.flush()?;
        Ok(wire)
    };
    timeout(DEADLINE, shake).await.expect("agreed in time")
}

/// One turn as a link takes it; what was heard.
async fn turn(wire: &mut Wire) -> Result<Vec<u8>, WireError> {
    wire.flush()?;
    poll_fn(|cx| wire.poll_ready(cx)).await;
    let (mut heard, mut piece) = (Vec::new(), [0; 1_000]);
    loop {
        match wire.read(&mut piece)? {
            Read::Bytes(bytes) => heard.extend_from_slice(&piece[..bytes]),
            Read::Nothing => break,
            Read::End => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
    wire.flush()?;
    Ok(heard)
}

async fn hear(wire: &mut Wire, bytes: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    let listen = async {
        while heard.len() < bytes {
            heard.extend(turn(wire).await.expect("the line holds"));
        }
        heard
    };
    timeout(DEADLINE, listen).await.expect("said back in time")
}

fn pem_file(folder: &Path, name: &str, certificates: &[&CertificateDer<'_>]) -> Trust {
    use base64::Engine as _;
    let pem = |certificate: &&CertificateDer<'_>| {
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let text = "a line for people\n".to_owned() + &certificates.iter().map(pem).collect::<Vec<_>>().concat();
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    Trust::File(path)
}

fn pin(identity: &Identity) -> Trust {
    let digest = ring::digest::digest(&ring::digest::SHA256, &identity.certificate);
    Trust::Pin(digest.as_ref().try_into().expect("32 bytes"))
}

/// A megabyte that does not repeat itself soon.
fn cargo() -> Vec<u8> {
    (0..1_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn what_is_pushed_arrives_and_every_byte_is_counted_as_the_kernel_acknowledges_it() {
    let identity = self_signed("localhost", |_| {});
    let (address, heard) = echo(&identity, 1);
    let secure = dial(address, &Tls::new("localhost", pin(&identity))).await.expect("agreed");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain = Wire::plain(connect(listener.local_addr().expect("bound")).await);
    let plain_heard = tokio::task::spawn_blocking(move || say_back(listener.accept().expect("accepts").0));
    for (mut wire, heard_by_far) in [(plain, None), (secure, Some(heard))] {
        let mut cargo = cargo();
        for part in cargo.chunks(300_000) {
            let before = wire.end();
            wire.push(&mut BytesMut::from(part));
            let grown = (wire.end() - before) as usize;
            // A record of 16 KiB has a header, a type and a seal (RFC 8446 §5.2).
            let records = if heard_by_far.is_some() { part.len().div_ceil(16 << 10) } else { 0 };
            assert_eq!(grown, part.len() + records * (5 + 1 + 16));
        }
        assert_eq!(hear(&mut wire, cargo.len()).await, cargo);
        assert_eq!((wire.pending_bytes(), wire.written()), (0, wire.end()));
        let acked = async {
            while TcpInfo::of(wire.socket()).expect("a TCP socket").bytes_acked < wire.end() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, acked).await.expect("acknowledged in time");
        assert_eq!(TcpInfo::of(wire.socket()).expect("a TCP socket").bytes_acked, wire.end());

        // A second push behind one that waits goes behind it.
        wire.push(&mut BytesMut::from(&b"one "[..]));
        wire.push(&mut BytesMut::from(&b"after the other"[..]));
        assert_eq!(hear(&mut wire, 19).await, b"one after the other");
        cargo.extend_from_slice(b"one after the other");
        timeout(DEADLINE, wire.close()).await.expect("closed in time").expect("in order");
        if let Some(heard) = heard_by_far {
            let heard = timeout(DEADLINE, heard).await.expect("over in time").expect("no panic");
            assert!(heard == [(cargo, true)], "all of it, and TLS's good-bye");
        }
    }
    assert!(plain_heard.await.expect("no panic").1);
}

#[tokio::test]
async fn nothing_is_taken_until_tls_is_agreed_upon() {
    let identity = self_signed("localhost", |_| {});
    let (address, _) = echo(&identity, 1);
    let tls = Tls::new("localhost", pin(&identity));
    let mut wire = Wire::tls(connect(address).await, tls.session().await.expect("a session"));
    assert!(wire.is_handshaking() && wire.pending_bytes() > 0, "the first words are pending");
    let mut plain = BytesMut::from(&b"hello"[..]);
    wire.push(&mut plain);
    assert_eq!(plain, "hello");
    while wire.is_handshaking() {
        turn(&mut wire).await.expect("agreed");
    }
    wire.push(&mut plain);
    assert!(plain.is_empty());
    assert_eq!(hear(&mut wire, 5).await, b"hello");
}

#[tokio::test]
async fn a_quick_return_takes_up_the_session_of_before() {
    let identity = self_signed("localhost", |_| {});
    let (address, _) = echo(&identity, 2);
    let tls = Tls::new("localhost", pin(&identity));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut wire = dial(address, &tls.clone()).await.expect("agreed");
        // The tickets for a return come with the first words.
        wire.push(&mut BytesMut::from(&b"hello"[..]));
        hear(&mut wire, 5).await;
        kinds.push(wire.tls.as_ref().expect("TLS").connection.handshake_kind());
        timeout(DEADLINE, wire.close()).await.expect("closed in time").expect("in order");
    }
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[tokio::test]
async fn who_is_not_trusted_is_refused_in_words_that_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (authority(), authority());
    let good = signed(&ours, "localhost", |_| {});
    let expired = signed(&ours, "localhost", |params| params.not_after = date_time_ymd(2_024, 2, 29));
    let early = signed(&ours, "localhost", |params| params.not_before = date_time_ymd(2_995, 6, 1));
    let misnamed = signed(&ours, "cloud.example", |_| {});
    let lone = self_signed("localhost", |_| {});
    let calls_itself_authority =
        self_signed("localhost", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let old_and_misnamed = self_signed("old.example", |params| params.not_after = date_time_ymd(2_020, 1, 1));

    let by_ours = pem_file(folder.path(), "ours.pem", &[ours.der()]);
    let by_both = pem_file(folder.path(), "both.pem", &[other.der(), ours.der()]);
    let by_other = pem_file(folder.path(), "other.pem", &[other.der()]);
    let by_own = pem_file(folder.path(), "own.pem", &[&lone.certificate]);
    let by_own_authority = pem_file(folder.path(), "own2.pem", &[&calls_itself_authority.certificate]);
    let by_own_old = pem_file(folder.path(), "own3.pem", &[&old_and_misnamed.certificate]);
    let shown = |identity: &Identity| {
        let Trust::Pin(pin) = pin(identity) else { unreachable!() };
        Fingerprint(pin).to_string()
    };
    let cases: &[(&Trust, &Identity, &[&str])] = &[
        (&by_ours, &good, &[]),
        (&by_both, &good, &[]),
        (&pin(&good), &good, &[]),
        (&by_own, &lone, &[]),
        (&by_own_authority, &calls_itself_authority, &[]),
        (&by_own_old, &old_and_misnamed, &[]),
        (&pin(&old_and_misnamed), &old_and_misnamed, &[]),
        (&by_other, &good, &["nobody this box trusts", &shown(&good), "ca_file"]),
        (&Trust::System, &good, &["nobody this box trusts", &shown(&good)]),
        (&Trust::System, &lone, &["nobody this box trusts", &shown(&lone)]),
        (&Trust::System, &calls_itself_authority, &["nobody this box trusts", "certificate_sha256"]),
        (&by_own, &calls_itself_authority, &["nobody this box trusts"]),
        (&pin(&lone), &good, &["not the one that `certificate_sha256` names", &shown(&good)]),
        (&by_ours, &expired, &["ended on 2024-02-29", "clock says 20"]),
        (&by_ours, &early, &["begins on 2995-06-01", "this box's clock is wrong"]),
        (&by_ours, &misnamed, &["is for cloud.example, not for localhost"]),
    ];
    for (at, (trust, identity, words)) in cases.iter().enumerate() {
        let (address, _) = echo(identity, 1);
        let outcome = dial(address, &Tls::new("localhost", (*trust).clone())).await;
        match outcome {
            Ok(_) => assert!(words.is_empty(), "case {at} was trusted"),
            Err(WireError::Tls(error)) => {
                let said = super::words(&error);
                assert!(!words.is_empty(), "case {at}: {said}");
                assert!(words.iter().all(|words| said.contains(words)), "case {at}: {said}");
                assert!(error.wants_a_person());
            }
            Err(error) => panic!("case {at}: {error}"),
        }
    }
}

#[tokio::test]
async fn an_address_is_a_name_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = authority();
    let good = signed(&ours, "127.0.0.1", |_| {});
    let trust = pem_file(folder.path(), "ours.pem", &[ours.der()]);
    let (address, _) = echo(&good, 2);
    assert!(dial(address, &Tls::new("127.0.0.1", trust.clone())).await.is_ok());
    let other = dial(address, &Tls::new("[::1]", trust)).await.err().expect("another address");
    assert!(other.to_string().contains("is for 127.0.0.1, not for ::1"), "{other}");
}

#[tokio::test]
async fn a_far_end_that_speaks_no_tls_is_told_apart_from_one_that_hangs_up() {
    let identity = self_signed("localhost", |_| {});
    let tls = Tls::new("localhost", pin(&identity));
    for (answer, want) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Some(TlsError::NotTls)),
        (&[3; 1_537], Some(TlsError::NotTls)),
        (b"\x15\x03\x01\x00\x02\x02\x46", Some(TlsError::TooOld)),
        (b"", None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let far = tokio::task::spawn_blocking(move || {
            let (mut socket, _) = listener.accept().expect("accepts");
            let _ = socket.read(&mut [0; 1_000]);
            let _ = socket.write_all(answer);
        });
        match dial(address, &tls).await.err().expect("no TLS") {
            WireError::Tls(error) => assert_eq!(Some(error), want),
            WireError::Broken(_) => assert_eq!(want, None),
        }
        far.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_file_that_is_put_right_is_read_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = self_signed("localhost", |_| {});
    let path = folder.path().join("own.pem");
    let tls = Tls::new("localhost", Trust::File(path.clone()));
    for (text, words) in [(None, "cannot be read"), (Some("no certificate"), "holds no certificate")] {
        if let Some(text) = text {
            std::fs::write(&path, text).expect("written");
        }
        let said = tls.session().await.expect_err("no certificate").to_string();
        assert!(said.contains("own.pem") && said.contains(words), "{said}");
    }
    pem_file(folder.path(), "own.pem", &[&identity.certificate]);
    let (address, _) = echo(&identity, 1);
    assert!(dial(address, &tls).await.is_ok());
    let unnameable = Tls::new("not a name", Trust::Pin([0; 32])).session().await.expect_err("no name");
    assert_eq!(unnameable, TlsError::Name("not a name".into()));
}
