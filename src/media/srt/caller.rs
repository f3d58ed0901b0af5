//! One connection, from the first handshake to the good-bye.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::crypto::{Keys, PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN, REFRESH_AFTER};
use super::handshake::{self, Answer, Dice, Own, STREAM_ID_BYTES_MAX};
use super::packet::{self, Control, PAYLOAD_BYTES_MAX, extension, kind};
use super::reason::Reason;
use super::sender::{Figures, Sender};

/// How often a handshake is said again.
const HANDSHAKE_EVERY_MICROS: u64 = 250_000;

/// A listener that gave a cookie and has not answered since is asked from the beginning, by another socket number: it
/// may have answered, and gosrt passes over repeats of a caller that it knows.
const CONCLUSION_MICROS: u64 = 3_000_000;

/// A connection on which we said nothing for so long says that it lives (§3.2.3).
const KEEP_ALIVE_AFTER_MICROS: u64 = 1_000_000;

/// A far end that is silent for so long is gone, as libsrt has it.
const SILENT_AFTER_MICROS: u64 = 5_000_000;

/// Acknowledgements to be answered that are kept; beyond, the oldest goes, and one round trip is not measured.
const ANSWERS_MAX: usize = 16;

/// Keys are 128 bits long unless the listener asks for others: libsrt's own choice, which all understand.
const KEY_BYTES: usize = 16;

/// What a connection is to be. Prints neither passphrase nor stream id.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who we are and what we want, for listeners that ask.
    pub stream_id: Option<String>,
    /// Encrypt with this; none: in clear.
    pub passphrase: Option<String>,
    /// How long the far end holds each packet before it plays it, at least: the time in which losses are made good.
    pub latency: Duration,
    /// Packets before the key is changed.
    pub refresh_after: u64,
}

impl Settings {
    /// A connection in clear with this latency.
    pub fn new(latency: Duration) -> Settings {
        Settings { stream_id: None, passphrase: None, latency, refresh_after: REFRESH_AFTER }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("latency", &self.latency).finish_non_exhaustive()
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nobody has answered yet.
    Induction,
    /// A listener is there, and asked for its leave.
    Conclusion,
    /// Payloads may be put.
    Live,
    /// We said good-bye.
    Over,
}

/// Why a connection cannot be, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtError {
    /// The passphrase's length is out of bounds.
    #[error("an SRT passphrase has {PASSPHRASE_BYTES_MIN} to {PASSPHRASE_BYTES_MAX} bytes")]
    Passphrase,
    /// The stream id is too long, or empty.
    #[error("an SRT stream id has 1 to {STREAM_ID_BYTES_MAX} bytes")]
    StreamId,
    /// The listener said no.
    #[error("it refused: {0}")]
    Refused(Reason),
    /// It knows us, but whatever it said last did not come: another try begins afresh.
    #[error("its leave to send was lost on the way")]
    Unanswered,
    /// Somebody answers, but is no listener for a live stream.
    #[error("{0}")]
    Unfit(&'static str),
    /// It said good-bye.
    #[error("it ended the connection")]
    Closed,
    /// It reported an error of its own.
    #[error("it reported an error of its own (code {0})")]
    Peer(u32),
    /// Nothing was heard for five seconds.
    #[error("nothing was heard of it for 5 s")]
    Silent,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one of these lives in each connection, nearly always the large one"
)]
enum State {
    Induction,
    Conclusion { cookie: u32, keys: Option<Keys>, since: u64, asked_micros: Option<u64> },
    Live(Sender),
    Over { good_bye: Option<Vec<u8>>, figures: Figures },
}

/// A caller that sends a live stream.
pub struct Caller {
    settings: Settings,
    dice: Dice,
    peer: heapless::Vec<u8, 16>,
    began: Instant,
    now: u64,
    /// Where the wire's time begins: when the listener gave its cookie. gosrt (MediaMTX, Restreamer) adds what our
    /// conclusion says of the time to its latency, for good.
    wire_from: u64,
    state: State,
    said_micros: Option<u64>,
    heard_micros: u64,
    answers: heapless::Deque<u32, ANSWERS_MAX>,
}

impl Caller {
    /// A caller whose first handshake is due now. `peer` is the IP address that its datagrams go to,
    /// of 4 or 16 bytes.
    ///
    /// # Errors
    /// [`SrtError::Passphrase`] and [`SrtError::StreamId`].
    pub fn new(now: Instant, settings: Settings, dice: Dice, peer: &[u8]) -> Result<Caller, SrtError> {
        let bounds = PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX;
        if settings.passphrase.as_ref().is_some_and(|passphrase| !bounds.contains(&passphrase.len())) {
            return Err(SrtError::Passphrase);
        }
        if settings.stream_id.as_ref().is_some_and(|id| !(1..=STREAM_ID_BYTES_MAX).contains(&id.len())) {
            return Err(SrtError::StreamId);
        }
        Ok(Caller {
            settings,
            dice,
            // Nobody decides anything on it: what is longer than an address is left out.
            peer: heapless::Vec::from_slice(peer).unwrap_or_default(),
            began: now,
            now: 0,
            wire_from: 0,
            state: State::Induction,
            said_micros: None,
            heard_micros: 0,
            answers: heapless::Deque::new(),
        })
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Induction => Phase::Induction,
            State::Conclusion { .. } => Phase::Conclusion,
            State::Live(_) => Phase::Live,
            State::Over { .. } => Phase::Over,
        }
    }

    /// What it has carried.
    pub fn figures(&self) -> Figures {
        match &self.state {
            State::Live(sender) => sender.figures(),
            State::Over { figures, .. } => *figures,
            _ => Figures::default(),
        }
    }

    /// Bytes of the stream that the far end's program has, as far as is known: acknowledged, and due. Never falls.
    pub fn played_bytes(&mut self, now: Instant) -> u64 {
        let now = self.advance(now);
        match &mut self.state {
            State::Live(sender) => sender.played_bytes(now),
            State::Over { .. } | State::Induction | State::Conclusion { .. } => 0,
        }
    }

    /// Bytes of the stream, as [`Caller::played_bytes`] counts, that the far end acknowledged and yet went on without,
    /// as far as one can tell: to be asked for until there is nothing, before [`Caller::played_bytes`] is.
    pub fn take_lost(&mut self) -> Option<Range<u64>> {
        match &mut self.state {
            State::Live(sender) => sender.take_lost(),
            State::Over { .. } | State::Induction | State::Conclusion { .. } => None,
        }
    }

    /// How long the far end holds each packet: ours or its own wish, whichever is longer.
    pub fn latency(&self) -> Duration {
        match &self.state {
            State::Live(sender) => sender.latency(),
            _ => self.settings.latency,
        }
    }

    /// How fast to send at most, headers and repeats included; bits per second.
    pub fn set_pace(&mut self, bits_per_second: u64) {
        if let State::Live(sender) = &mut self.state {
            sender.set_pace(bits_per_second);
        }
    }

    /// Whether another tag may be put: little waits, and the far end answers.
    pub fn has_room(&self, now: Instant) -> bool {
        let now = self.now.max(self.micros(now));
        matches!(&self.state, State::Live(sender) if sender.has_room(now))
    }

    /// Whether what waits here waits for room at the far end, and not just for its turn.
    pub fn is_held_up(&self) -> bool {
        matches!(&self.state, State::Live(sender) if !sender.may_send())
    }

    /// Whether all that was put is acknowledged.
    pub fn is_idle(&self) -> bool {
        !matches!(&self.state, State::Live(sender) if !sender.is_idle())
    }

    /// Takes bytes of the stream, in payloads of [`PAYLOAD_BYTES_MAX`] and a last one. What is put before or after the
    /// connection is live is lost.
    pub fn put(&mut self, now: Instant, bytes: &[u8]) {
        let now = self.advance(now);
        if let State::Live(sender) = &mut self.state {
            for payload in bytes.chunks(PAYLOAD_BYTES_MAX) {
                sender.put(now, payload);
            }
        }
    }

    /// Takes a datagram of the far end. What makes no sense is passed over: anybody can send a datagram.
    ///
    /// # Errors
    /// The connection is over.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<(), SrtError> {
        let now = self.advance(now);
        let Some(control) = packet::parse(datagram, self.dice.socket) else { return Ok(()) };
        self.heard_micros = now;
        match control {
            Control::Handshake(body) => self.shake(now, body)?,
            Control::Shutdown if self.phase() == Phase::Live => return Err(SrtError::Closed),
            Control::PeerError(code) if self.phase() == Phase::Live => return Err(SrtError::Peer(code)),
            _ => {}
        }
        let State::Live(sender) = &mut self.state else { return Ok(()) };
        match control {
            Control::Ack(ack) => {
                sender.on_ack(now, ack);
                if ack.number != 0 && ack.line.is_some() {
                    if self.answers.is_full() {
                        self.answers.pop_front();
                    }
                    let fits = self.answers.push_back(ack.number).is_ok();
                    debug_assert!(fits, "one was taken out");
                }
            }
            Control::Nak(body) => sender.on_nak(now, body),
            Control::KeyResponse(body) => {
                if let Some(keys) = sender.keys_mut() {
                    keys.confirm(body);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The next datagram to be sent, if one is due: to be asked until it gives nothing, at [`Caller::wake_at`] and
    /// after anything else. One that could not be sent counts as lost on the way.
    ///
    /// # Errors
    /// [`SrtError::Silent`], and [`SrtError::Unanswered`].
    pub fn transmit(&mut self, now: Instant) -> Result<Option<Vec<u8>>, SrtError> {
        let now = self.advance(now);
        if self.phase() == Phase::Live && now >= self.heard_micros + SILENT_AFTER_MICROS {
            return Err(SrtError::Silent);
        }
        if matches!(self.state, State::Conclusion { since, .. } if now >= since + CONCLUSION_MICROS) {
            return Err(SrtError::Unanswered);
        }
        let datagram = self.next_datagram(now);
        if datagram.is_some() {
            self.said_micros = Some(now);
        }
        Ok(datagram)
    }

    /// When [`Caller::transmit`] is to be asked, if nothing happens before.
    pub fn wake_at(&self) -> Option<Instant> {
        let said = self.said_micros.unwrap_or(0);
        let at = match &self.state {
            State::Over { good_bye: None, .. } => return None,
            State::Over { .. } => 0,
            _ if self.said_micros.is_none() => 0,
            State::Induction => said + HANDSHAKE_EVERY_MICROS,
            State::Conclusion { asked_micros, .. } => {
                asked_micros.map_or(0, |asked| asked + HANDSHAKE_EVERY_MICROS)
            }
            State::Live(_) if !self.answers.is_empty() => 0,
            State::Live(sender) => {
                let lives = (said + KEEP_ALIVE_AFTER_MICROS).min(self.heard_micros + SILENT_AFTER_MICROS);
                sender.wake_at().map_or(lives, |at| at.min(lives))
            }
        };
        self.began.checked_add(Duration::from_micros(at))
    }

    /// Says good-bye: with the next datagram it is over.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        let good_bye = match &self.state {
            State::Live(sender) => Some(sender.shutdown(now - self.wire_from)),
            _ => None,
        };
        self.state = State::Over { good_bye, figures: self.figures() };
    }

    fn advance(&mut self, now: Instant) -> u64 {
        self.now = self.now.max(self.micros(now));
        self.now
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_micros() as u64
    }

    fn shake(&mut self, now: u64, body: &[u8]) -> Result<(), SrtError> {
        let (concluding, keys, asked) = match &mut self.state {
            State::Induction => (false, None, None),
            State::Conclusion { keys, asked_micros, .. } => (true, keys.as_ref(), *asked_micros),
            State::Live(_) | State::Over { .. } => return Ok(()),
        };
        match handshake::read(body, concluding, keys) {
            Answer::Cookie { cookie, key_bytes } => {
                let (dice, refresh_after) = (&self.dice, self.settings.refresh_after);
                let keys = self.settings.passphrase.as_ref().map(|passphrase| {
                    let key_bytes = key_bytes.unwrap_or(KEY_BYTES);
                    Keys::new(passphrase, key_bytes, dice.salt, dice.secret, refresh_after)
                });
                self.wire_from = now;
                self.state = State::Conclusion { cookie, keys, since: now, asked_micros: None };
            }
            Answer::Accepted(accepted) => {
                let keys = match &mut self.state {
                    State::Conclusion { keys, .. } => keys.take(),
                    _ => None,
                };
                // The first measure of the round trip; an answer that took a repeat makes it too long, for a moment.
                let rtt = asked.map_or(0, |asked| now - asked);
                let (latency, first_seq) = (self.latency_millis(), self.dice.first_seq);
                self.state =
                    State::Live(Sender::new(now, self.wire_from, first_seq, accepted, latency, rtt, keys));
            }
            Answer::Refused(reason) => return Err(SrtError::Refused(reason)),
            Answer::Bare => return Err(SrtError::Unanswered),
            Answer::Unfit(why) => return Err(SrtError::Unfit(why)),
            Answer::Stray => {}
        }
        Ok(())
    }

    fn latency_millis(&self) -> u16 {
        u16::try_from(self.settings.latency.as_millis()).unwrap_or(u16::MAX)
    }

    fn next_datagram(&mut self, now: u64) -> Option<Vec<u8>> {
        let latency_millis = self.latency_millis();
        let at_micros = now - self.wire_from;
        let own = Own { dice: &self.dice, peer: &self.peer, at_micros };
        match &mut self.state {
            State::Induction => {
                let due = self.said_micros.is_none_or(|said| now >= said + HANDSHAKE_EVERY_MICROS);
                due.then(|| handshake::induction(&own))
            }
            State::Conclusion { cookie, keys, asked_micros, .. } => {
                if asked_micros.is_some_and(|asked| now < asked + HANDSHAKE_EVERY_MICROS) {
                    return None;
                }
                *asked_micros = Some(now);
                let stream_id = self.settings.stream_id.as_deref();
                Some(handshake::conclusion(&own, *cookie, latency_millis, keys.as_ref(), stream_id))
            }
            State::Live(sender) => {
                let to = sender.to();
                if let Some(number) = self.answers.pop_front() {
                    return Some(packet::control(kind::ACK_ACK, 0, number, at_micros, to, &[]));
                }
                if let Some(message) = sender.keys_mut().and_then(|keys| keys.announcement(now)) {
                    return Some(packet::control(
                        kind::USER,
                        extension::KM_REQUEST,
                        0,
                        at_micros,
                        to,
                        &message,
                    ));
                }
                let idle = self.said_micros.is_none_or(|said| now >= said + KEEP_ALIVE_AFTER_MICROS);
                sender
                    .transmit(now)
                    .or_else(|| idle.then(|| packet::control(kind::KEEP_ALIVE, 0, 0, at_micros, to, &[])))
            }
            State::Over { good_bye, .. } => good_bye.take(),
        }
    }
}
