//! Packets on the wire (§3): the header of 16 bytes, and the control packets that a sender hears and says.

/// Bytes of the header of any packet.
pub(super) const HEADER_BYTES: usize = 16;

/// The most payload of a datagram: seven packets of a transport stream, which fit any path of 1,400 bytes.
pub const PAYLOAD_BYTES_MAX: usize = 7 * 188;

/// Sequence numbers have 31 bits.
pub(super) const SEQ_MASK: u32 = 0x7FFF_FFFF;

/// Control types (table 1).
pub(super) mod kind {
    pub(in crate::media::srt) const HANDSHAKE: u16 = 0;
    pub(in crate::media::srt) const KEEP_ALIVE: u16 = 1;
    pub(in crate::media::srt) const ACK: u16 = 2;
    pub(in crate::media::srt) const NAK: u16 = 3;
    pub(in crate::media::srt) const SHUTDOWN: u16 = 5;
    pub(in crate::media::srt) const ACK_ACK: u16 = 6;
    pub(in crate::media::srt) const PEER_ERROR: u16 = 8;
    pub(in crate::media::srt) const USER: u16 = 0x7FFF;
}

/// Subtypes of user-defined control packets, and types of handshake extensions (table 5).
pub(super) mod extension {
    pub(in crate::media::srt) const HS_REQUEST: u16 = 1;
    pub(in crate::media::srt) const HS_RESPONSE: u16 = 2;
    pub(in crate::media::srt) const KM_REQUEST: u16 = 3;
    pub(in crate::media::srt) const KM_RESPONSE: u16 = 4;
    pub(in crate::media::srt) const STREAM_ID: u16 = 5;
}

/// A control packet, as far as a sender cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control<'a> {
    Handshake(&'a [u8]),
    KeepAlive,
    Ack(Ack),
    /// The losses as they stand on the wire; see [`losses`].
    Nak(&'a [u8]),
    Shutdown,
    KeyResponse(&'a [u8]),
    PeerError(u32),
    /// Nothing that concerns a sender.
    Other,
}

/// An acknowledgement (§3.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    /// To be answered, unless it is 0.
    pub(super) number: u32,
    /// All packets before this one have arrived, or were given up.
    pub(super) upto: u32,
    /// Round trip and its variance in microseconds, and how many packets the far end has room for; not in a light
    /// acknowledgement.
    pub(super) line: Option<(u32, u32, u32)>,
}

/// Reads a datagram that is a control packet for the socket `own`; nothing for any other, or one cut short.
pub(super) fn parse(datagram: &[u8], own: u32) -> Option<Control<'_>> {
    let first = word(datagram, 0)?;
    if first >> 31 == 0 || word(datagram, 3)? != own {
        return None;
    }
    let (kind, subtype) = ((first >> 16 & 0x7FFF) as u16, first as u16);
    let info = word(datagram, 1)?;
    let body = &datagram[HEADER_BYTES..];
    Some(match kind {
        kind::HANDSHAKE => Control::Handshake(body),
        kind::KEEP_ALIVE => Control::KeepAlive,
        kind::ACK => Control::Ack(Ack {
            number: info,
            upto: word(body, 0)? & SEQ_MASK,
            line: word(body, 1)
                .zip(word(body, 2))
                .zip(word(body, 3))
                .map(|((rtt, var), room)| (rtt, var, room)),
        }),
        kind::NAK => Control::Nak(body),
        kind::SHUTDOWN => Control::Shutdown,
        kind::PEER_ERROR => Control::PeerError(info),
        kind::USER if subtype == extension::KM_RESPONSE => Control::KeyResponse(body),
        _ => Control::Other,
    })
}

/// The losses of a NAK, first and last number of each range (appendix A); ends at the first that makes no sense.
pub(super) fn losses(body: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = word(body, at)?;
        at += 1;
        if first >> 31 == 0 {
            return Some((first, first));
        }
        let last = word(body, at).filter(|last| last >> 31 == 0)?;
        at += 1;
        Some((first & SEQ_MASK, last))
    })
}

/// A control packet. One without a body gets four bytes of it, since libsrt sends it so and Wireshark expects that.
pub(super) fn control(kind: u16, subtype: u16, info: u32, at_micros: u64, to: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len().max(4));
    out.extend_from_slice(&(0x8000 | kind).to_be_bytes());
    out.extend_from_slice(&subtype.to_be_bytes());
    for field in [info, at_micros as u32, to] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(body);
    if body.is_empty() {
        out.extend_from_slice(&[0; 4]);
    }
    out
}

/// What stands in the header of a data packet (§3.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct DataHeader {
    pub(super) seq: u32,
    pub(super) message: u32,
    /// 0 plain, 1 the even key, 2 the odd one.
    pub(super) key: u8,
    pub(super) again: bool,
    pub(super) born_micros: u64,
    pub(super) to: u32,
}

/// A data packet: one message, whole.
pub(super) fn data(header: DataHeader, payload: &[u8]) -> Vec<u8> {
    let flags = 0b11 << 30 | u32::from(header.key) << 27 | u32::from(header.again) << 26;
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    let fields =
        [header.seq & SEQ_MASK, flags | header.message & 0x03FF_FFFF, header.born_micros as u32, header.to];
    for field in fields {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(payload);
    out
}

/// The word number `at` of `bytes`.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at * 4..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}
