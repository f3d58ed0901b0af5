//! Whom a destination's TLS trusts, and what its configuration has to do with a failure.

use crate::base::tls::{TlsError, Trust};
use crate::config::schema::Destination;

/// As a destination is configured: a fingerprint says all there is to say.
pub(in crate::uplink) fn trust_of(destination: &Destination) -> Trust {
    match (&destination.certificate_sha256, &destination.ca_file) {
        (Some(fingerprint), _) => Trust::Pin(*fingerprint),
        (None, Some(file)) => Trust::File(file.clone()),
        (None, None) => Trust::System,
    }
}

/// Why TLS with a destination failed, with the keys of its configuration that may put it right.
pub(in crate::uplink) fn words(error: &TlsError) -> String {
    match error {
        TlsError::NotTls => {
            "it does not speak TLS on this port; check the port, or write rtmp:// if it takes \
                             plain RTMP"
                .to_owned()
        }
        TlsError::Untrusted(found) => format!(
            "its certificate is vouched for by nobody this box trusts; if it is the right server, name its \
             certificate or authority by `ca_file`, or its fingerprint: certificate_sha256 = \"{found}\""
        ),
        TlsError::OtherPin(found) => format!(
            "its certificate is not the one that `certificate_sha256` names; the server shows {found}: if it was \
             renewed on purpose, write that fingerprint down, else somebody stands between"
        ),
        TlsError::OtherName { wanted, presented } => format!(
            "its certificate is for {presented}, not for {wanted}; write the name it is for in the URL, or name \
             it by `ca_file` or `certificate_sha256`"
        ),
        other => other.to_string(),
    }
}
