//! Signatures: who knows the secret made this body, and lately.
//!
//! Pure. `Footlight-Signature: t=1795276800,v1=5f2b…` is the HMAC-SHA-256, in hexadecimal, of the seconds as they are
//! written, a dot and the body's bytes. The box signs what it sends to the cloud, and checks what the cloud sends to
//! the box, by the same rule.

use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};

use crate::base::secret::Secret;

/// The header that carries the signature.
pub const HEADER: &str = "footlight-signature";

/// Seconds by which the clocks of the two ends may differ. Who records a request can send it again for this long.
pub const TOLERANCE_S: u64 = 300;

/// Longest header that is looked at, and most signatures in it: a cloud that changes its secret signs by both.
const HEADER_BYTES_MAX: usize = 1_024;
const SIGNATURES_MAX: usize = 4;

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not of the form `t=SECONDS,v1=HEX`.
    #[error("the signature is not of the form t=SECONDS,v1=HEX")]
    Malformed,
    /// Another secret, or another body.
    #[error("the signature is not by this secret over this body")]
    Wrong,
    /// Signed too long ago, or in the future.
    #[error("the signature's time is more than the allowed span away; check the clocks of both ends")]
    Stale,
}

/// The header's value for `body` at `now_s` Unix seconds.
pub fn sign(secret: &Secret, body: &[u8], now_s: u64) -> String {
    let tag = hmac::sign(&key(secret), &signed_bytes(&now_s.to_string(), body));
    format!("t={now_s},v1={}", hex(tag.as_ref()))
}

/// Checks a header's value. It takes as long for a signature that is nearly right as for one that is not at all.
///
/// # Errors
/// [`SignatureError`]; the body's sender is unknown then.
pub fn verify(
    secret: &Secret,
    header: &str,
    body: &[u8],
    now_s: u64,
    tolerance_s: u64,
) -> Result<(), SignatureError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(SignatureError::Malformed);
    }
    let (mut time, mut tags) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", seconds)) if time.is_none() => time = Some(seconds),
            Some(("v1", hex)) if tags.len() < SIGNATURES_MAX => {
                tags.push(bytes_of(hex).ok_or(SignatureError::Malformed)?);
            }
            // A later version's signature beside ours.
            Some((name, _)) if name != "t" && name != "v1" => {}
            _ => return Err(SignatureError::Malformed),
        }
    }
    let plain = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = time.filter(plain).ok_or(SignatureError::Malformed)?;
    let seconds: u64 = text.parse().map_err(|_| SignatureError::Malformed)?;
    if tags.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let (key, signed) = (key(secret), signed_bytes(text, body));
    if !tags.iter().any(|tag| hmac::verify(&key, &signed, tag).is_ok()) {
        return Err(SignatureError::Wrong);
    }
    if seconds.abs_diff(now_s) > tolerance_s { Err(SignatureError::Stale) } else { Ok(()) }
}

/// What was signed, whatever else stands in the header: the same for the same document said at the same second.
pub(super) fn document_of(header: &str, body: &[u8]) -> [u8; 32] {
    let time = header.split(',').find_map(|part| part.trim().strip_prefix("t=")).unwrap_or_default();
    let mut known = [0; 32];
    known.copy_from_slice(digest(&SHA256, &signed_bytes(time, body)).as_ref());
    known
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, secret.reveal().as_bytes())
}

fn signed_bytes(seconds: &str, body: &[u8]) -> Vec<u8> {
    [seconds.as_bytes(), b".", body].concat()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A String takes what is written.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> Secret {
        Secret::new("whsec")
    }

    #[test]
    fn a_signature_is_what_any_tool_computes() {
        // printf '1795276800.{"items":[]}' | openssl dgst -sha256 -hmac whsec
        let want = "t=1795276800,v1=48edf1622ded21c5960a8b089c14ed4dddc3f9f9c4ea66f228eecccb19e79c5c";
        assert_eq!(sign(&secret(), br#"{"items":[]}"#, 1_795_276_800), want);
    }

    #[test]
    fn another_secret_body_or_time_is_told_apart() {
        let header = sign(&secret(), b"body", 1_000);
        let check = |secret: &Secret, header: &str, body: &[u8], now| verify(secret, header, body, now, 300);
        assert_eq!(check(&secret(), &header, b"body", 1_300), Ok(()));
        assert_eq!(check(&secret(), &header, b"body", 700), Ok(()));
        assert_eq!(check(&secret(), &header, b"body", 1_301), Err(SignatureError::Stale));
        assert_eq!(check(&secret(), &header, b"bodY", 1_000), Err(SignatureError::Wrong));
        assert_eq!(check(&Secret::new("other"), &header, b"body", 1_000), Err(SignatureError::Wrong));
        let moved = header.replace("t=1000", "t=1001");
        assert_eq!(check(&secret(), &moved, b"body", 1_000), Err(SignatureError::Wrong));
    }

    #[test]
    fn a_cloud_that_changes_its_secret_signs_by_both() {
        let (old, new) = (sign(&Secret::new("old"), b"x", 5), sign(&secret(), b"x", 5));
        let both = format!("{old},{},v2=later", new.trim_start_matches("t=5,"));
        assert_eq!(verify(&secret(), &both, b"x", 5, 300), Ok(()));
    }

    #[test]
    fn what_is_no_signature_is_called_so() {
        let hex = "0".repeat(64);
        for header in [
            "",
            "t=5",
            &format!("v1={hex}"),
            "t=5,v1=00",
            &format!("t=+5,v1={hex}"),
            &format!("t=,v1={hex}"),
            &format!("t=5,t=5,v1={hex}"),
            &format!("t=99999999999999999999,v1={hex}"),
            &format!("t=5,v1={}", "é".repeat(64)),
            &format!("t=5{}", format!(",v1={hex}").repeat(5)),
            &"v1=,".repeat(10_000),
        ] {
            assert_eq!(
                verify(&secret(), header, b"", 5, 300),
                Err(SignatureError::Malformed),
                "{header:.80}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_pass(header in "[tv1=,0-9a-f ]{0,200}") {
            prop_assert!(verify(&secret(), &header, b"body", 1_000, 300).is_err());
        }
    }
}
