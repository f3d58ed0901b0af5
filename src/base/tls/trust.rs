//! Whom TLS trusts.
//!
//! All ways prove by the handshake's signature that the far end holds its certificate's key. They differ in who
//! vouches for the certificate: the system's authorities, those of a file, or nobody but the person who wrote its
//! fingerprint down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use tracing::{info, warn};

use super::refusal::{Fingerprint, NotTrusted, TlsError};

/// Certificates that one file may hold: the system's own file has some 150.
const CERTIFICATES_MAX: usize = 1_000;

/// Who vouches for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's certificate authorities; where the system has none, Mozilla's, as built in.
    System,
    /// The certificates in a PEM file: authorities, or the server's own.
    File(PathBuf),
    /// Nobody: the server's certificate has this SHA-256 fingerprint, and neither name nor dates are asked for.
    Pin([u8; 32]),
}

/// Checks a server's certificate as a [`Trust`] says.
#[derive(Debug)]
pub(super) struct Verifier {
    way: Way,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Way {
    Authorities {
        /// `None` where no certificate of the file can vouch for another.
        chain: Option<Arc<WebPkiServerVerifier>>,
        /// Certificates that a person named: a server that shows one of them, to the byte, is the right one.
        named: Vec<CertificateDer<'static>>,
    },
    Pin([u8; 32]),
}

impl Verifier {
    /// Reads what `trust` names from the disk.
    pub(super) fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
        let way = match trust {
            Trust::System => {
                let roots = system_roots();
                Way::Authorities { chain: chain_verifier(roots, provider), named: Vec::new() }
            }
            Trust::File(path) => {
                let named = read_certificates(path)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(named.iter().cloned());
                Way::Authorities { chain: chain_verifier(roots, provider), named }
            }
            Trust::Pin(pin) => Way::Pin(*pin),
        };
        Ok(Verifier { way, provider: Arc::clone(provider) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = fingerprint(end_entity);
        match &self.way {
            Way::Pin(pin) if *pin == found.0 => Ok(ServerCertVerified::assertion()),
            Way::Pin(_) => Err(not_trusted(NotTrusted::OtherPin(found))),
            Way::Authorities { named, .. } if named.contains(end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Way::Authorities { chain: Some(chain), .. } => chain
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| if is_about_trust(&error) { unknown(found) } else { error }),
            Way::Authorities { chain: None, .. } => Err(unknown(found)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    Fingerprint(bytes)
}

/// Errors by which nobody vouches for the certificate. A self-signed one that calls itself an authority, as
/// `openssl req -x509` makes them, is refused for that and under no name of its own.
fn is_about_trust(error: &Error) -> bool {
    use CertificateError as Of;
    let Error::InvalidCertificate(error) = error else { return false };
    matches!(error, Of::UnknownIssuer | Of::BadSignature | Of::Other(_))
}

fn unknown(found: Fingerprint) -> Error {
    not_trusted(NotTrusted::Unknown(found))
}

fn not_trusted(why: NotTrusted) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

fn chain_verifier(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok()
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors.iter().take(3) {
        warn!(%error, "certificates of this system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        info!("this system has no certificate authorities of its own: those built in are trusted");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |why: String| TlsError::CaFile { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text).take(CERTIFICATES_MAX) {
        let certificate = certificate.map_err(|error| unreadable(format!("is no readable PEM: {error}")))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(unreadable("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(certificates)
}
