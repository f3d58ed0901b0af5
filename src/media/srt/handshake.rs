//! Getting a listener's leave to send: induction, then conclusion (§4.3.1).

use std::fmt;

use super::crypto::Keys;
use super::packet::{self, SEQ_MASK, extension, kind, word};
use super::reason::Reason;

/// The longest stream id that the protocol takes.
pub const STREAM_ID_BYTES_MAX: usize = 512;

/// What we say we are: the version whose handshake this is.
const VERSION: u32 = 0x0001_0500;

/// Flags of the handshake extension (table 6): TSBPDSND, TSBPDRCV, CRYPT, TLPKTDROP, PERIODICNAK, REXMITFLG. Only
/// some say what a sender does, but gosrt (MediaMTX, Restreamer) refuses who does not say all of them.
const FLAGS: u32 = 0x3F;
const FLAG_STREAM: u32 = 0x40;

/// The biggest packet, IP and UDP headers included, and the packets that may be under way.
const MTU: u32 = 1_500;
pub(super) const FLIGHT_MAX: usize = 8_192;

const INDUCTION: u32 = 1;
const CONCLUSION: u32 = 0xFFFF_FFFF;
/// Codes of refusals are sent in the place of the handshake's type, from here on.
const REFUSALS_FROM: u32 = 1_000;
/// What a listener of version 5 says of itself in the place of extension flags.
const MAGIC: u16 = 0x4A17;

/// What stands alone in the place of a key material response, in whichever byte order: "I have no passphrase".
const KM_NO_SECRET: u8 = 3;
/// The same: "this goes in clear".
const KM_IN_CLEAR: [u8; 4] = [0; 4];

const HAS_HS: u16 = 1;
const HAS_KM: u16 = 2;
const HAS_CONFIG: u16 = 4;

/// Bytes of a handshake before its extensions.
const FIXED_BYTES: usize = 48;

/// What the shell drew at random for one connection. Prints nothing.
#[derive(Clone)]
pub struct Dice {
    /// Our socket's number.
    pub socket: u32,
    /// The first packet's number.
    pub first_seq: u32,
    /// The salt of the keys, known to who listens in.
    pub salt: [u8; 16],
    /// What the keys are drawn from.
    pub secret: [u8; 32],
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dice(***)")
    }
}

/// What a listener said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Come back with this cookie; encrypt with keys of so many bytes, if it says so.
    Cookie {
        cookie: u32,
        key_bytes: Option<usize>,
    },
    Accepted(Accepted),
    Refused(Reason),
    /// An answer without what it must say: libsrt up to 1.4.2 repeats itself so to who did not hear it the first time.
    Bare,
    /// It is not what we can send to, and why.
    Unfit(&'static str),
    /// Nothing that belongs here.
    Stray,
}

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) socket: u32,
    /// Packets that it takes at once.
    pub(super) window: usize,
    /// How long it holds a packet before it plays it.
    pub(super) latency_millis: u16,
}

/// What stands in our handshakes, whichever it is.
pub(super) struct Own<'a> {
    pub(super) dice: &'a Dice,
    pub(super) peer: &'a [u8],
    pub(super) at_micros: u64,
}

/// Asks for a cookie.
pub(super) fn induction(own: &Own<'_>) -> Vec<u8> {
    let body = fixed(own, 4, 0, 2, INDUCTION, 0);
    packet::control(kind::HANDSHAKE, 0, 0, own.at_micros, 0, &body)
}

/// Comes back with the cookie and with what we want.
pub(super) fn conclusion(
    own: &Own<'_>,
    cookie: u32,
    latency_millis: u16,
    keys: Option<&Keys>,
    stream_id: Option<&str>,
) -> Vec<u8> {
    let flags =
        HAS_HS | if keys.is_some() { HAS_KM } else { 0 } | if stream_id.is_some() { HAS_CONFIG } else { 0 };
    let key_length = keys.map_or(0, Keys::length_field);
    let mut body = fixed(own, 5, key_length, flags, CONCLUSION, cookie);
    let delay = u32::from(latency_millis) << 16 | u32::from(latency_millis);
    let hello: Vec<u8> = [VERSION, FLAGS, delay].into_iter().flat_map(u32::to_be_bytes).collect();
    push_extension(&mut body, extension::HS_REQUEST, &hello);
    if let Some(keys) = keys {
        push_extension(&mut body, extension::KM_REQUEST, &keys.message());
    }
    if let Some(stream_id) = stream_id {
        push_extension(&mut body, extension::STREAM_ID, &swapped(stream_id.as_bytes()));
    }
    packet::control(kind::HANDSHAKE, 0, 0, own.at_micros, 0, &body)
}

/// Reads the body of a handshake. `concluding`: the conclusion was sent, with these keys.
pub(super) fn read(body: &[u8], concluding: bool, keys: Option<&Keys>) -> Answer {
    let fields = || Some((word(body, 0)?, word(body, 1)?, word(body, 4)?, word(body, 5)?));
    let Some((version, flags, window, what)) = fields() else { return Answer::Stray };
    let (Some(socket), Some(cookie)) = (word(body, 6), word(body, 7)) else { return Answer::Stray };
    if body.len() < FIXED_BYTES {
        return Answer::Stray;
    }
    match what {
        INDUCTION if !concluding => induced(version, flags, cookie),
        CONCLUSION if concluding => concluded(version, window, socket, &body[FIXED_BYTES..], keys),
        // What is above all codes is one of the handshake's own types.
        code if (REFUSALS_FROM..0xFFFF_0000).contains(&code) => Answer::Refused(Reason::from_wire(code)),
        _ => Answer::Stray,
    }
}

fn induced(version: u32, flags: u32, cookie: u32) -> Answer {
    if version < 5 || flags as u16 != MAGIC {
        return Answer::Unfit("it speaks an SRT older than 1.3");
    }
    let key_bytes = match flags >> 16 {
        length @ 2..=4 => Some(length as usize * 8),
        _ => None,
    };
    Answer::Cookie { cookie, key_bytes }
}

fn concluded(version: u32, window: u32, socket: u32, extensions: &[u8], keys: Option<&Keys>) -> Answer {
    let mut hello = None;
    let mut key_answer = None;
    let mut rest = extensions;
    while let Some(head) = word(rest, 0) {
        let bytes = (head & 0xFFFF) as usize * 4;
        let Some(content) = rest.get(4..4 + bytes) else { break };
        match (head >> 16) as u16 {
            extension::HS_RESPONSE => hello = Some(content),
            extension::KM_RESPONSE => key_answer = Some(content),
            _ => {}
        }
        rest = &rest[4 + bytes..];
    }
    let Some((flags, delay)) = hello.and_then(|hello| Some((word(hello, 1)?, word(hello, 2)?))) else {
        return Answer::Bare;
    };
    if version != 5 || flags & FLAG_STREAM != 0 {
        return Answer::Unfit("it is not set to live mode");
    }
    match (keys, key_answer) {
        (None, None) => {}
        (None, Some(status)) if *status == KM_IN_CLEAR => {}
        (Some(keys), Some(answer)) if *answer == keys.message() => {}
        // It lets us in all the same, and would make nothing of what we send: it has no passphrase.
        (Some(_), Some(status))
            if *status == KM_IN_CLEAR || (status.len() == 4 && status.contains(&KM_NO_SECRET)) =>
        {
            return Answer::Refused(Reason::UNSECURE);
        }
        (Some(_), None) => return Answer::Refused(Reason::UNSECURE),
        (Some(_) | None, Some(_)) => return Answer::Refused(Reason::BAD_SECRET),
    }
    Answer::Accepted(Accepted {
        socket,
        window: (window as usize).clamp(32, FLIGHT_MAX),
        latency_millis: (delay >> 16) as u16,
    })
}

fn fixed(own: &Own<'_>, version: u32, key_length: u16, flags: u16, what: u32, cookie: u32) -> Vec<u8> {
    let fields = [
        version,
        u32::from(key_length) << 16 | u32::from(flags),
        own.dice.first_seq & SEQ_MASK,
        MTU,
        FLIGHT_MAX as u32,
        what,
        own.dice.socket,
        cookie,
    ];
    let mut body: Vec<u8> = fields.into_iter().flat_map(u32::to_be_bytes).collect();
    // Addresses stand in words of the other byte order; a short one is filled up.
    body.extend_from_slice(&swapped(own.peer));
    body.resize(FIXED_BYTES, 0);
    body
}

fn push_extension(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    body.extend_from_slice(&kind.to_be_bytes());
    body.extend_from_slice(&((content.len() / 4) as u16).to_be_bytes());
    body.extend_from_slice(content);
}

/// Text and addresses go out as words of the other byte order, the last filled up with zeros (§3.2.1.3).
fn swapped(bytes: &[u8]) -> Vec<u8> {
    let word = |chunk: &[u8]| std::array::from_fn::<u8, 4, _>(|at| chunk.get(3 - at).copied().unwrap_or(0));
    bytes.chunks(4).flat_map(word).collect()
}
