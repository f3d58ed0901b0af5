//! Why there is no TLS with a far end, in words that say what to do.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use time::OffsetDateTime;

/// Names in a certificate that are told to people; a large provider's has a hundred.
const NAMES_TOLD_MAX: usize = 3;

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` and browsers show it, without colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Why TLS with a far end failed. The words follow the far end's name and a colon. A room whose users have other
/// keys to set than `ca_file` says it in its own words where they matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// `ca_file` cannot be used.
    #[error("`ca_file` {} {why}", path.display())]
    CaFile {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No certificate can be for a host of this name.
    #[error("{0:?} is no name that a certificate can be for; write the server's name in the URL")]
    Name(String),
    /// The far end answered in another language.
    #[error("it does not speak TLS on this port; check the port and the scheme in the URL")]
    NotTls,
    /// The far end knows only what is broken since long.
    #[error("it speaks only a TLS older than 1.2, which is not safe any more; its software must be renewed")]
    TooOld,
    /// Nobody whom we trust vouches for the certificate.
    #[error(
        "its certificate is vouched for by nobody this box trusts; if it is the right server, name its \
         certificate or authority by `ca_file` (its SHA-256 is {0})"
    )]
    Untrusted(Fingerprint),
    /// Another certificate than the pinned one.
    #[error(
        "its certificate is not the one whose fingerprint was written down; the server shows {0}: if it was \
         renewed on purpose, write that fingerprint down, else somebody stands between"
    )]
    OtherPin(Fingerprint),
    /// The certificate's time is over, by this box's clock.
    #[error(
        "its certificate ended on {until}, and this box's clock says {now}; the server needs a new certificate, \
         or this box the right time"
    )]
    Expired {
        /// The last day.
        until: String,
        /// Today.
        now: String,
    },
    /// The certificate's time is yet to come, by this box's clock.
    #[error(
        "its certificate begins on {from}, and this box's clock says {now}: this box's clock is wrong, most likely"
    )]
    NotYetValid {
        /// The first day.
        from: String,
        /// Today.
        now: String,
    },
    /// The certificate is for somebody else.
    #[error(
        "its certificate is for {presented}, not for {wanted}; write the name it is for in the URL, or name the \
         certificate by `ca_file`"
    )]
    OtherName {
        /// The host of the URL.
        wanted: String,
        /// Whom it is for.
        presented: String,
    },
    /// The far end refused us.
    #[error("it broke TLS off ({0})")]
    Alert(String),
    /// Anything else.
    #[error("TLS with it failed ({0})")]
    Other(String),
    /// The box stops.
    #[error("its certificates were not read: the box stops")]
    Interrupted,
}

/// What the verifier found against a certificate, besides what rustls has names for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTrusted {
    #[error("nobody trusted vouches for the certificate {0}")]
    Unknown(Fingerprint),
    #[error("the certificate is not the pinned one but {0}")]
    OtherPin(Fingerprint),
}

impl TlsError {
    /// Whether it takes a person: trying again changes nothing by itself.
    pub fn wants_a_person(&self) -> bool {
        !matches!(self, TlsError::Alert(_) | TlsError::Other(_) | TlsError::Interrupted)
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> TlsError {
        match error {
            Error::InvalidCertificate(error) => of_certificate(&error),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            )
            | Error::InappropriateMessage { .. } => TlsError::NotTls,
            Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
            | Error::AlertReceived(AlertDescription::ProtocolVersion) => TlsError::TooOld,
            Error::AlertReceived(alert) => TlsError::Alert(format!("{alert:?}")),
            other => TlsError::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn of_certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            TlsError::Expired { until: day(*not_after), now: day(*time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            TlsError::NotYetValid { from: day(*not_before), now: day(*time) }
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            TlsError::OtherName { wanted: expected.to_str().into_owned(), presented: names(presented) }
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<NotTrusted>() {
            Some(NotTrusted::Unknown(found)) => TlsError::Untrusted(*found),
            Some(NotTrusted::OtherPin(found)) => TlsError::OtherPin(*found),
            None => TlsError::Other(error.to_string()),
        },
        _ => TlsError::Other(error.to_string()),
    }
}

/// rustls tells names as `DnsName("a.example")` and `IpAddress(1.2.3.4)`: the name alone is for people.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    match presented {
        [] => "no name at all".to_owned(),
        few if few.len() <= NAMES_TOLD_MAX => few.iter().map(bare).collect::<Vec<_>>().join(", "),
        many => {
            let told = many.iter().take(NAMES_TOLD_MAX).map(bare).collect::<Vec<_>>().join(", ");
            format!("{told} and {} more", many.len() - NAMES_TOLD_MAX)
        }
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "a day beyond all calendars".to_owned(), |time| time.date().to_string())
}
