//! The stream's keys (§6): made here, wrapped under the passphrase, told to the far end, and changed in time.

use aes_kw::{KeyInit, KwAes128, KwAes192, KwAes256};
use ctr::cipher::{KeyIvInit, StreamCipher};
use sha1::Sha1;

/// Bounds of a passphrase, as libsrt has them.
pub const PASSPHRASE_BYTES_MIN: usize = 10;
/// See [`PASSPHRASE_BYTES_MIN`].
pub const PASSPHRASE_BYTES_MAX: usize = 79;

/// Rounds of PBKDF2 (§6.2.1).
const ROUNDS: u32 = 2_048;

const SALT_BYTES: usize = 16;

/// Packets under one key, as libsrt has it: half a day at 4 Mbit/s. The draft's bound is twice that.
pub(super) const REFRESH_AFTER: u64 = 1 << 24;

/// Packets before the change in which the next key is told, and how often it is said again until it is confirmed.
const ANNOUNCE_BEFORE: u64 = 4_000;
const ANNOUNCE_EVERY_MICROS: u64 = 300_000;

/// The key that encrypts the even ones, or the odd ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parity {
    Even = 1,
    Odd = 2,
}

/// Both keys, the even one first.
const BOTH: u8 = 3;

impl Parity {
    fn other(self) -> Parity {
        if self == Parity::Even { Parity::Odd } else { Parity::Even }
    }
}

/// A key to come, and its announcement: of both keys, as libsrt has it. gosrt (MediaMTX, Restreamer) passes over a
/// repeat that tells of one.
struct Next {
    key: Vec<u8>,
    message: Vec<u8>,
    confirmed: bool,
    said_at: Option<u64>,
}

/// The keys of one connection. Prints nothing of them.
pub(super) struct Keys {
    kek: Vec<u8>,
    salt: [u8; SALT_BYTES],
    secret: [u8; 32],
    parity: Parity,
    key: Vec<u8>,
    /// How many keys were made.
    made: u32,
    /// Packets under this key.
    used: u64,
    refresh_after: u64,
    next: Option<Next>,
}

impl Keys {
    /// Keys of `key_bytes` (16, 24 or 32). `secret` is what they are drawn from; nobody else has it.
    pub(super) fn new(
        passphrase: &str,
        key_bytes: usize,
        salt: [u8; SALT_BYTES],
        secret: [u8; 32],
        refresh_after: u64,
    ) -> Keys {
        let mut kek = vec![0; key_bytes];
        pbkdf2::pbkdf2_hmac::<Sha1>(passphrase.as_bytes(), &salt[8..], ROUNDS, &mut kek);
        let key = draw(&secret, 0, key_bytes);
        Keys { kek, salt, secret, parity: Parity::Even, key, made: 1, used: 0, refresh_after, next: None }
    }

    /// The key length as a handshake names it: in eighths of a byte's bits, 2, 3 or 4.
    pub(super) fn length_field(&self) -> u16 {
        (self.key.len() / 8) as u16
    }

    /// The key material message that tells the key in use (§3.2.2).
    pub(super) fn message(&self) -> Vec<u8> {
        self.wrapped(self.parity as u8, &self.key)
    }

    /// Encrypts the payload of the packet `seq`; says which key was used.
    pub(super) fn encrypt(&mut self, seq: u32, payload: &mut [u8]) -> u8 {
        self.step();
        let mut iv = [0; 16];
        iv[10..14].copy_from_slice(&seq.to_be_bytes());
        for (byte, salt) in iv.iter_mut().zip(&self.salt[..14]) {
            *byte ^= salt;
        }
        // The key has one of three lengths by construction.
        match self.key.len() {
            16 => apply::<ctr::Ctr128BE<aes::Aes128>>(&self.key, &iv, payload),
            24 => apply::<ctr::Ctr128BE<aes::Aes192>>(&self.key, &iv, payload),
            _ => apply::<ctr::Ctr128BE<aes::Aes256>>(&self.key, &iv, payload),
        }
        self.parity as u8
    }

    /// The next key's announcement, when it is due.
    pub(super) fn announcement(&mut self, now_micros: u64) -> Option<Vec<u8>> {
        let next = self.next.as_mut().filter(|next| !next.confirmed)?;
        if next.said_at.is_some_and(|said| now_micros < said + ANNOUNCE_EVERY_MICROS) {
            return None;
        }
        next.said_at = Some(now_micros);
        Some(next.message.clone())
    }

    /// When [`Keys::announcement`] has something to say.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let next = self.next.as_ref().filter(|next| !next.confirmed)?;
        Some(next.said_at.map_or(0, |said| said + ANNOUNCE_EVERY_MICROS))
    }

    /// The far end says that it has a key: it repeats the announcement.
    pub(super) fn confirm(&mut self, body: &[u8]) {
        if let Some(next) = self.next.as_mut().filter(|next| next.message == body) {
            next.confirmed = true;
        }
    }

    /// One more packet is encrypted: is it time for another key? One that was not confirmed is not used; the old
    /// one goes on, and the far end is asked again.
    fn step(&mut self) {
        self.used += 1;
        if self.next.is_none()
            && self.used + ANNOUNCE_BEFORE.min(self.refresh_after / 2) >= self.refresh_after
        {
            let key = draw(&self.secret, self.made, self.key.len());
            self.made += 1;
            let both = match self.parity {
                Parity::Even => [&self.key[..], &key].concat(),
                Parity::Odd => [&key[..], &self.key].concat(),
            };
            let message = self.wrapped(BOTH, &both);
            self.next = Some(Next { key, message, confirmed: false, said_at: None });
        }
        if self.used > self.refresh_after
            && let Some(next) = self.next.take_if(|next| next.confirmed)
        {
            (self.key, self.parity, self.used) = (next.key, self.parity.other(), 1);
        }
    }

    /// A message of one key, or of both.
    fn wrapped(&self, which: u8, key: &[u8]) -> Vec<u8> {
        let mut wrapped = vec![0; key.len() + 8];
        // Neither length can be wrong, by construction: what would not be wrapped stays zeros, which no far end takes.
        let _ = match self.kek.len() {
            16 => {
                wrap::<KwAes128>(&self.kek, key, &mut wrapped, |kw, key, out| kw.wrap_key(key, out).is_ok())
            }
            24 => {
                wrap::<KwAes192>(&self.kek, key, &mut wrapped, |kw, key, out| kw.wrap_key(key, out).is_ok())
            }
            _ => wrap::<KwAes256>(&self.kek, key, &mut wrapped, |kw, key, out| kw.wrap_key(key, out).is_ok()),
        };
        // Version 1, key material, "Haivision"; which key; AES-CTR, no authentication, SRT live; lengths in words.
        let key_words = (self.key.len() / 4) as u8;
        let mut out = vec![0x12, 0x20, 0x29, which, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, key_words];
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&wrapped);
        out
    }
}

/// The key number `number` that `secret` gives: one for whom the secret is unknown cannot tell it from noise.
fn draw(secret: &[u8; 32], number: u32, bytes: usize) -> Vec<u8> {
    let mut key = vec![0; bytes];
    pbkdf2::pbkdf2_hmac::<Sha1>(secret, &number.to_be_bytes(), 1, &mut key);
    key
}

fn apply<C: KeyIvInit + StreamCipher>(key: &[u8], iv: &[u8], payload: &mut [u8]) {
    if let Ok(mut cipher) = C::new_from_slices(key, iv) {
        cipher.apply_keystream(payload);
    }
}

fn wrap<K: KeyInit>(
    kek: &[u8],
    key: &[u8],
    out: &mut [u8],
    wrap_key: impl FnOnce(&K, &[u8], &mut [u8]) -> bool,
) -> bool {
    K::new_from_slice(kek).is_ok_and(|kw| wrap_key(&kw, key, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: usize, refresh_after: u64) -> Keys {
        Keys::new("a passphrase of some length", bytes, [7; 16], [9; 32], refresh_after)
    }

    #[test]
    fn who_has_the_passphrase_unwraps_the_key_that_encrypts() {
        for bytes in [16, 24, 32] {
            let mut keys = keys(bytes, REFRESH_AFTER);
            let message = keys.message();
            assert_eq!(message.len(), 16 + 16 + 8 + bytes);
            let mut kek = vec![0; bytes];
            pbkdf2::pbkdf2_hmac::<Sha1>(b"a passphrase of some length", &message[24..32], 2_048, &mut kek);
            let mut key = vec![0; bytes];
            let unwrapped = match bytes {
                16 => KwAes128::new_from_slice(&kek).unwrap().unwrap_key(&message[32..], &mut key).is_ok(),
                24 => KwAes192::new_from_slice(&kek).unwrap().unwrap_key(&message[32..], &mut key).is_ok(),
                _ => KwAes256::new_from_slice(&kek).unwrap().unwrap_key(&message[32..], &mut key).is_ok(),
            };
            assert!(unwrapped && key == keys.key, "{bytes}");
            let mut payload = *b"a picture";
            assert_eq!(keys.encrypt(5, &mut payload), 1);
            assert_ne!(&payload, b"a picture");
            keys.encrypt(5, &mut payload);
            assert_eq!(&payload, b"a picture", "the same stream of bits, once more");
        }
    }

    #[test]
    fn a_new_key_is_used_only_once_the_far_end_has_it() {
        let mut keys = keys(16, 100);
        let mut announced = None;
        for seq in 0..300 {
            assert_eq!(keys.encrypt(seq, &mut [0; 8]), 1);
            announced = keys.announcement(u64::from(seq) * 10_000).or(announced);
        }
        let announced = announced.expect("the next key was told");
        assert_eq!((announced[3], announced[15], announced.len()), (3, 4, 16 + 16 + 8 + 32));
        let mut both = [0; 32];
        let kek = KwAes128::new_from_slice(&keys.kek).unwrap();
        assert!(kek.unwrap_key(&announced[32..], &mut both).is_ok());
        assert_eq!(&both[..16], &keys.key[..], "the even key, which is in use");
        keys.confirm(b"something else");
        assert_eq!(keys.encrypt(300, &mut [0; 8]), 1);
        keys.confirm(&announced);
        assert_eq!(keys.announcement(1 << 40), None);
        assert_eq!(keys.encrypt(301, &mut [0; 8]), 2);
        assert_eq!(keys.message()[3], 2);
        assert_eq!(&both[16..], &keys.key[..]);
        // And back again.
        let announced = (0..100).find_map(|seq| {
            keys.encrypt(seq, &mut [0; 8]);
            keys.announcement(1 << 41)
        });
        let announced = announced.expect("the key after it was told");
        assert!(kek.unwrap_key(&announced[32..], &mut both).is_ok());
        assert_eq!(&both[16..], &keys.key[..], "the odd key, which is in use, stands behind the even one");
    }
}
