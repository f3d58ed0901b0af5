//! Tokens as the box knows them: by their hashes, in a book with a line for each.
//!
//! Pure: bytes go in and out; `file.rs` owns the file, `tokens.rs` keeps the book that is in force.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::secret::Secret;

/// What every token begins with: who finds one in a log or a repository sees what it is.
const PREFIX: &str = "flt_";

/// Random bytes in a token.
pub(super) const TOKEN_BYTES: usize = 32;

/// Characters after the prefix.
const TOKEN_CHARS: usize = (TOKEN_BYTES * 4).div_ceil(3);

/// Tokens at once. A fleet's installer that makes one a day and revokes none reaches this after three years, and is
/// told.
const TOKENS_MAX: usize = 1_000;

/// Characters of a name.
pub(super) const NAME_CHARS_MAX: usize = 64;

/// What this version writes. A file of a later one is refused: it may hold bounds that this one does not know.
const VERSION: u32 = 1;

/// Who may do what. Each may do what the ones before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what is not open to everybody.
    Viewer,
    /// Runs the show.
    Anchor,
    /// Sets up the box.
    Admin,
}

impl Role {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Anchor => "anchor",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// SHA-256 of a token.
///
/// A slow hash with a salt is for passwords, which people choose and others guess. These are 256 random bits: nobody
/// gets through a noticeable part of them however fast each try is, and no two are alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::serve) struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// The hash of what looks like a token; `None` for everything else.
    pub(in crate::serve) fn of(token: &str) -> Option<Digest> {
        let characters = token.strip_prefix(PREFIX)?;
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if characters.len() != TOKEN_CHARS || !characters.bytes().all(usual) {
            return None;
        }
        digest(&SHA256, token.as_bytes()).as_ref().try_into().ok().map(Digest)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<Digest> for String {
    fn from(Digest(bytes): Digest) -> String {
        hex(&bytes)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Digest, Self::Error> {
        let wrong = "sha256 is 64 hexadecimal digits";
        let digits = text.as_bytes();
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if digits.len() != 2 * bytes.len() {
            return Err(wrong);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(wrong)?;
        }
        Ok(Digest(bytes))
    }
}

/// The token that these random bytes make.
pub(super) fn token_of(random: &[u8; TOKEN_BYTES]) -> Secret {
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the box knows of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// By this it is told of and revoked; says nothing about the token.
    pub id: String,
    /// What its bearer may do.
    pub role: Role,
    /// What the person who made it calls it; may be empty.
    #[serde(default)]
    pub name: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// By this it is known again.
    pub(super) sha256: Digest,
}

/// Why a book cannot be used, or not written on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// It is not JSON, or not such JSON.
    #[error("it is not a list of tokens: {0}")]
    Garbled(String),
    /// A later version wrote it.
    #[error(
        "it has version {0}, and this footlight knows version {VERSION}: use the footlight that wrote it"
    )]
    Later(u32),
    /// An entry that no footlight writes.
    #[error("token {id:?}: {what}")]
    Entry {
        /// Whose entry.
        id: String,
        /// What is wrong in it.
        what: &'static str,
    },
    /// [`TOKENS_MAX`]
    #[error(
        "there are {TOKENS_MAX} tokens, as many as there can be: revoke some first (footlight token list)"
    )]
    Full,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    tokens: Vec<Record>,
}

/// All tokens, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::serve) struct Book {
    records: Vec<Record>,
    by_digest: HashMap<Digest, usize>,
}

impl FromStr for Book {
    type Err = BookError;

    /// Reads what [`Book::written`] wrote. Everything is checked: a book is right, or nobody is let in by it.
    fn from_str(text: &str) -> Result<Book, BookError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let garbled = |cause: serde_json::Error| BookError::Garbled(cause.to_string());
        let Version { version } = serde_json::from_str(text).map_err(garbled)?;
        if version != VERSION {
            return Err(BookError::Later(version));
        }
        let Written { tokens, .. } = serde_json::from_str(text).map_err(garbled)?;
        let mut book = Book::default();
        for record in tokens {
            book.add(record)?;
        }
        Ok(book)
    }
}

impl Book {
    /// As it is kept.
    pub(super) fn written(&self) -> String {
        let written = Written { version: VERSION, tokens: self.records.clone() };
        // Plain data of ours: it has no map with keys that JSON lacks, and nothing that can fail.
        let mut text = serde_json::to_string_pretty(&written).expect("tokens are plain data");
        text.push('\n');
        text
    }

    /// Who has the token with this hash.
    ///
    /// A look into a table takes no secret's time: how long it takes depends on the hash of what was sent, and nobody
    /// can choose a token by the first bytes of its hash and of one that is not known.
    pub(in crate::serve) fn find(&self, digest: &Digest) -> Option<&Record> {
        self.by_digest.get(digest).map(|&at| &self.records[at])
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Whether an id is in use.
    pub(super) fn has(&self, id: &str) -> bool {
        self.records.iter().any(|record| record.id == id)
    }

    /// Writes one more in.
    pub(super) fn add(&mut self, record: Record) -> Result<(), BookError> {
        let wrong = |what| Err(BookError::Entry { id: record.id.clone(), what });
        if self.records.len() >= TOKENS_MAX {
            return Err(BookError::Full);
        }
        if record.id.is_empty() || !record.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return wrong("an id is letters and digits");
        }
        if !is_name(&record.name) {
            return wrong("a name has at most 64 characters, all of them to be seen");
        }
        if OffsetDateTime::parse(&record.created_at, &Rfc3339).is_err() {
            return wrong("created_at is a time by RFC 3339, such as 2026-01-31T12:00:00Z");
        }
        if self.has(&record.id) {
            return wrong("it stands there twice");
        }
        if self.by_digest.contains_key(&record.sha256) {
            return wrong("another one has the same sha256");
        }
        self.by_digest.insert(record.sha256, self.records.len());
        self.records.push(record);
        Ok(())
    }

    /// Strikes one out.
    pub(super) fn remove(&mut self, id: &str) -> Option<Record> {
        let at = self.records.iter().position(|record| record.id == id)?;
        let gone = self.records.remove(at);
        self.by_digest = self.records.iter().map(|record| record.sha256).zip(0..).collect();
        Some(gone)
    }
}

/// Whether a token can be called so: in one line of a list, and in a log.
pub(super) fn is_name(name: &str) -> bool {
    name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u8) -> Record {
        let token = token_of(&[number; TOKEN_BYTES]);
        Record {
            id: format!("{number:08x}"),
            role: Role::Anchor,
            name: format!("tablet {number}"),
            created_at: "2026-01-31T12:00:00Z".to_owned(),
            sha256: Digest::of(token.reveal()).unwrap(),
        }
    }

    fn book(count: u8) -> Book {
        let mut book = Book::default();
        (0..count).for_each(|number| book.add(record(number)).unwrap());
        book
    }

    #[test]
    fn a_token_is_known_again_after_the_book_was_written_and_read() {
        let text = book(3).written();
        let read: Book = text.parse().unwrap();
        assert_eq!(read, book(3));
        let token = token_of(&[2; TOKEN_BYTES]);
        assert!(!text.contains(token.reveal()) && !text.contains(&token.reveal()[4..]));
        assert_eq!(read.find(&Digest::of(token.reveal()).unwrap()), Some(&record(2)));
        let stranger = Digest::of(token_of(&[9; TOKEN_BYTES]).reveal()).unwrap();
        assert_eq!(read.find(&stranger), None);
    }

    #[test]
    fn a_token_that_was_struck_out_is_known_no_more_and_the_others_are() {
        let mut book = book(4);
        assert_eq!(book.remove("00000001"), Some(record(1)));
        assert_eq!(book.remove("00000001"), None);
        assert_eq!(book.find(&record(1).sha256), None);
        for number in [0, 2, 3] {
            assert_eq!(book.find(&record(number).sha256), Some(&record(number)));
        }
    }

    #[test]
    fn only_what_looks_like_a_token_is_one() {
        let token = token_of(&[0xff; TOKEN_BYTES]);
        assert_eq!(token.reveal().len(), 47);
        assert!(Digest::of(token.reveal()).is_some());
        let (cut, long) = (&token.reveal()[..46], format!("{}a", token.reveal()));
        for wrong in ["", "flt_", cut, &long, &token.reveal().replace("flt_", "glt_"), &format!("{cut}+")] {
            assert!(Digest::of(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_book_that_is_not_right_in_everything_is_refused_and_says_where() {
        let good = book(2).written();
        for (from, to, says) in [
            ("\"version\": 1", "\"version\": 2", "version 2"),
            ("anchor", "owner", "unknown variant `owner`"),
            ("00000001", "00000000", "\"00000000\": it stands there twice"),
            ("00000001", "../x", "letters and digits"),
            ("tablet 1", "tablet\\n1", "a name"),
            ("12:00:00Z", "noon", "RFC 3339"),
            ("\"name\"", "\"nome\"", "unknown field `nome`"),
            ("\"sha256\": \"", "\"sha256\": \"+", "64 hexadecimal digits"),
            ("{", "", "invalid type"),
        ] {
            let text = good.replacen(from, to, 1);
            let trouble = text.parse::<Book>().unwrap_err().to_string();
            assert!(trouble.contains(says), "{from} {to}: {trouble}");
        }
        let twice = good.replace(&String::from(record(1).sha256), &String::from(record(0).sha256));
        assert!(twice.parse::<Book>().unwrap_err().to_string().contains("same sha256"));
        for text in ["", "null", "[]", "{}", "\0", &good[..good.len() / 2]] {
            assert!(matches!(text.parse::<Book>(), Err(BookError::Garbled(_))), "{text:?}");
        }
    }

    #[test]
    fn a_book_has_an_end() {
        let mut book = Book::default();
        for number in 0u32..1_000 {
            let mut random = [0; TOKEN_BYTES];
            random[..4].copy_from_slice(&number.to_be_bytes());
            let sha256 = Digest::of(token_of(&random).reveal()).unwrap();
            book.add(Record { id: format!("{number:08x}"), sha256, ..record(0) }).unwrap();
        }
        assert_eq!(book.add(record(7)), Err(BookError::Full));
        assert_eq!(book.written().parse::<Book>().unwrap().records().len(), 1_000);
    }

    #[test]
    fn who_may_more_may_also_what_others_may() {
        assert!(Role::Admin > Role::Anchor && Role::Anchor > Role::Viewer);
    }
}
