//! Identifiers that nobody can guess: who has an order's id may read the order and cancel it.

use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use crate::base::clock;

/// Crockford's base 32: no letter that is taken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of an id.
pub const ID_CHARS: usize = 26;

/// What tells one request's content from another's under the same idempotency key.
pub type Fingerprint = [u8; 16];

/// A new id: 48 bits of time, so that a table's newest rows lie together, and 80 random bits.
///
/// `None` when the system has no randomness to give.
pub fn new_id() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes[6..]).ok()?;
    bytes[..6].copy_from_slice(&clock::unix_millis().to_be_bytes()[2..]);
    Some(encode(u128::from_be_bytes(bytes)))
}

fn encode(number: u128) -> String {
    let digit = |place: usize| ALPHABET[(number >> (5 * (ID_CHARS - 1 - place)) & 31) as usize];
    (0..ID_CHARS).map(|place| char::from(digit(place))).collect()
}

/// Whether this can be an id at all.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// The first half of the SHA-256 of these parts, told apart by their lengths.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut half = Fingerprint::default();
    half.copy_from_slice(&context.finish().as_ref()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_known_as_ids() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| new_id().expect("randomness")).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| is_id(id)), "{ids:?}");
        assert!(!is_id("") && !is_id("../../../etc/passwd-------") && !is_id("0123456789ABCDEFGHJKMNPQRS"));
    }

    #[test]
    fn a_fingerprint_tells_where_one_part_ends_and_the_next_begins() {
        let of = |parts: &[&str]| fingerprint(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["cup", "1"]), of(&["cup", "1"]));
        assert_ne!(of(&["cup", "1"]), of(&["cup1", ""]));
        assert_ne!(of(&["cup", "1"]), of(&["cup", "1", ""]));
    }
}
