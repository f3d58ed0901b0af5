//! One publishing session, from the first byte of the handshake to `deleteStream`.
//!
//! Pure: the shell moves [`Publisher::receive`]'s and [`Publisher::output`]'s bytes, watches the time, and
//! looks at [`Publisher::phase`] after each step.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use rml_rtmp::chunk_io::{ChunkSerializationError, ChunkSerializer};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;

use crate::base::secret::Secret;
use crate::media::amf::{self, AmfError, Value};
use crate::media::flv::TagType;

use super::chunks::{Bounds, ChunkError, ChunkReader, Message};
use super::commands::{self, Answer, Status, transaction};
use super::control::{FarAcks, OwnAcks};
use super::kind;
use super::login::Demand;

/// Our chunks: a picture of 60,000 bytes goes in one piece, and no known server refuses this size.
const CHUNK_BYTES: u32 = 60_000;

/// How often the far end shall acknowledge: twice a second at 1 Mbit/s, so that one whose program stands is noticed
/// soon. An acknowledgement is 16 bytes.
const WINDOW_BYTES: u32 = 64 << 10;

/// What a server may make us keep. Its messages are short commands; four times the longest status ever seen.
const FAR_BOUNDS: Bounds =
    Bounds { message_bytes_max: 64 << 10, streams_max: 64, assembly_bytes_max: 256 << 10 };

/// Text of the far end that is passed on to people, at most.
const FAR_TEXT_CHARS_MAX: usize = 200;

/// User control events (§7.1.7).
const PING_REQUEST: u16 = 6;
const PING_RESPONSE: u16 = 7;

/// Where to publish. Never prints the application or the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// `rtmp://host[:port]/app`.
    pub tc_url: String,
    /// The application.
    pub app: String,
    /// The stream key.
    pub key: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(***)")
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Exchanging the handshake.
    Handshake,
    /// Waiting for the answer to `connect`.
    Connect,
    /// Waiting for the answer to `createStream`.
    CreateStream,
    /// Waiting for `NetStream.Publish.Start`.
    Publish,
    /// Media may be sent.
    Live,
    /// We said good-bye; nothing may be sent any more.
    Finished,
}

/// The step that a far end refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The application: it does not exist, or wants a login.
    Connect,
    /// The stream, before its key was even named.
    CreateStream,
    /// The key.
    Publish,
}

/// Why a session is over. What the far end said is cut short and holds no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The far end speaks no RTMP.
    #[error("it does not answer as an RTMP server ({0})")]
    Handshake(String),
    /// The far end broke the protocol or our bounds.
    #[error("it broke the protocol: {0}")]
    Chunk(#[from] ChunkError),
    /// The far end's answer cannot be read.
    #[error("it sent an answer that cannot be read: {0}")]
    Amf(#[from] AmfError),
    /// The far end said no.
    #[error("it refused ({code}{}{description})", if description.is_empty() { "" } else { ": " })]
    Refused {
        /// Which step.
        stage: Stage,
        /// Its code, such as `NetStream.Publish.BadName`.
        code: String,
        /// Its words.
        description: String,
    },
    /// The far end refused the application until a login is proven; [`super::Login::answer`] says how to go on.
    #[error("it wants a login")]
    Login(Demand),
    /// The far end ended a session that was live.
    #[error("it ended the stream ({code}{}{description})", if description.is_empty() { "" } else { ": " })]
    Ended {
        /// Its code, or `close`.
        code: String,
        /// Its words.
        description: String,
    },
    /// A message cannot be framed.
    #[error("a message of {0} bytes is too long for RTMP")]
    TooLong(usize),
}

/// A publishing session.
pub struct Publisher {
    target: Target,
    /// What [`super::Login`] appends to the application; mostly empty.
    login: Secret,
    offers_h265: bool,
    far_takes_h265: bool,
    phase: Phase,
    handshake: Handshake,
    reader: ChunkReader,
    serializer: ChunkSerializer,
    output: BytesMut,
    stream: u32,
    own_acks: OwnAcks,
    far_acks: FarAcks,
}

impl Publisher {
    /// Begins: the first bytes for the far end are in [`Publisher::output`] right away.
    ///
    /// # Errors
    /// [`SessionError::Handshake`], if no random numbers can be had.
    pub fn new(target: Target) -> Result<Publisher, SessionError> {
        let mut handshake = Handshake::new(PeerType::Client);
        let hello = handshake.generate_outbound_p0_and_p1().map_err(handshake_error)?;
        Ok(Publisher {
            target,
            login: Secret::default(),
            offers_h265: false,
            far_takes_h265: false,
            phase: Phase::Handshake,
            handshake,
            reader: ChunkReader::new(FAR_BOUNDS),
            serializer: ChunkSerializer::new(),
            output: BytesMut::from(&hello[..]),
            stream: 0,
            own_acks: OwnAcks::default(),
            far_acks: FarAcks::default(),
        })
    }

    /// Has `query`, of [`super::Login::begin`], appended to the application's name; of use before anything is
    /// received.
    pub fn log_in(&mut self, query: Secret) {
        self.login = query;
    }

    /// Has the far end told that H.265 will come; of use before anything is received.
    pub fn offer_h265(&mut self) {
        self.offers_h265 = true;
    }

    /// Whether H.265 was offered to a far end that let us in without a word about it: it may take the stream and show
    /// nothing. Many that know it well say nothing either.
    pub fn may_lack_h265(&self) -> bool {
        self.offers_h265 && !self.far_takes_h265 && self.phase > Phase::Connect
    }

    /// Bytes for the far end; the shell takes from the front what it could write.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the far end acknowledged.
    pub fn far_acks(&self) -> &FarAcks {
        &self.far_acks
    }

    /// Takes bytes of the far end.
    ///
    /// # Errors
    /// [`SessionError`]; the session is over then.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if let Some(sequence) = self.own_acks.received(bytes.len())
            && self.phase > Phase::Handshake
        {
            self.control(kind::ACKNOWLEDGEMENT, &sequence.to_be_bytes())?;
        }
        if self.phase == Phase::Handshake {
            return self.shake_hands(bytes);
        }
        self.reader.push(bytes);
        self.take_messages()
    }

    /// Sends the body of an FLV tag; its time is in milliseconds on the stream's timeline, and goes out as it
    /// is. `onMetaData` is announced as servers want it (`@setDataFrame`), other scripts go as they are. Does
    /// nothing unless live.
    ///
    /// # Errors
    /// [`SessionError::TooLong`].
    pub fn send(&mut self, tag: TagType, millis: u32, body: &Bytes) -> Result<(), SessionError> {
        if self.phase != Phase::Live {
            return Ok(());
        }
        match tag {
            TagType::Audio => self.message(kind::AUDIO, self.stream, millis, body.clone()),
            TagType::Video => self.message(kind::VIDEO, self.stream, millis, body.clone()),
            TagType::Script => {
                let is_metadata =
                    matches!(amf::read(body), Ok((name, _)) if name == Value::text("onMetaData"));
                let mut data = Vec::with_capacity(body.len() + 16);
                if is_metadata {
                    amf::write(&mut data, &Value::text("@setDataFrame"))?;
                }
                data.extend_from_slice(body);
                self.message(kind::DATA, self.stream, millis, data.into())
            }
        }
    }

    /// Says good-bye, if there was a stream to end.
    ///
    /// # Errors
    /// Of the framing; there is nothing to do about them.
    pub fn finish(&mut self) -> Result<(), SessionError> {
        if matches!(self.phase, Phase::Publish | Phase::Live) {
            let key = &self.target.key;
            let unpublish = commands::about_key("FCUnpublish", transaction::FC_UNPUBLISH, key)?;
            self.command(0, unpublish)?;
            self.command(0, commands::delete_stream(self.stream)?)?;
        }
        self.phase = Phase::Finished;
        Ok(())
    }

    fn shake_hands(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let step = self.handshake.process_bytes(bytes).map_err(|error| match bytes {
            // A TLS alert: our first bytes were no TLS to it.
            [0x15, 0x03, ..] => handshake_error("it speaks TLS: write rtmps://"),
            _ => handshake_error(error),
        })?;
        match step {
            HandshakeProcessResult::InProgress { response_bytes } => {
                self.output.put_slice(&response_bytes);
                Ok(())
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                self.output.put_slice(&response_bytes);
                self.phase = Phase::Connect;
                let (app, tc_url) = (self.logged_in(&self.target.app), self.logged_in(&self.target.tc_url));
                let connect = commands::connect(&app, &tc_url, self.offers_h265)?;
                self.command(0, connect)?;
                self.reader.push(&remaining_bytes);
                self.take_messages()
            }
        }
    }

    fn logged_in(&self, name: &str) -> String {
        match self.login.reveal() {
            "" => name.to_owned(),
            login => format!("{name}{}{login}", if name.contains('?') { '&' } else { '?' }),
        }
    }

    fn take_messages(&mut self) -> Result<(), SessionError> {
        while let Some(message) = self.reader.pull()? {
            self.take_message(&message)?;
        }
        Ok(())
    }

    fn take_message(&mut self, message: &Message) -> Result<(), SessionError> {
        let number = message.payload.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        match (message.kind, number) {
            (kind::SET_CHUNK_SIZE, Some(bytes)) => self.reader.set_chunk_size(bytes)?,
            (kind::ABORT, Some(stream)) => self.reader.abort(stream),
            (kind::ACKNOWLEDGEMENT, Some(sequence)) => self.far_acks.acknowledge(sequence),
            (kind::WINDOW_ACKNOWLEDGEMENT, Some(bytes)) => self.own_acks.set_window(bytes),
            (kind::SET_PEER_BANDWIDTH, Some(_)) => {
                // The answer to a bandwidth is our own window (§5.4.5).
                self.control(kind::WINDOW_ACKNOWLEDGEMENT, &WINDOW_BYTES.to_be_bytes())?;
            }
            (kind::USER_CONTROL, _) => self.take_user_control(&message.payload)?,
            (kind::COMMAND, _) => self.take_command(&message.payload)?,
            // An AMF3 command has a zero before what is AMF0 all the same.
            (kind::COMMAND_AMF3, _) => self.take_command(message.payload.get(1..).unwrap_or_default())?,
            // Media and data are not for a publisher; unknown types are to be ignored.
            _ => {}
        }
        Ok(())
    }

    fn take_user_control(&mut self, payload: &[u8]) -> Result<(), SessionError> {
        let Some((event, rest)) = payload.split_first_chunk::<2>() else { return Ok(()) };
        if u16::from_be_bytes(*event) == PING_REQUEST {
            let pong = [&PING_RESPONSE.to_be_bytes(), &rest[..rest.len().min(4)]].concat();
            self.control(kind::USER_CONTROL, &pong)?;
        }
        Ok(())
    }

    fn take_command(&mut self, payload: &[u8]) -> Result<(), SessionError> {
        let answer = match commands::parse_answer(payload) {
            // Nothing is asked for any more, or not yet.
            Err(_) if !matches!(self.phase, Phase::CreateStream | Phase::Publish) => return Ok(()),
            answer => answer?,
        };
        match answer {
            Answer::Connected { takes_h265 } if self.phase == Phase::Connect => {
                self.far_takes_h265 = takes_h265;
                self.begin_stream()
            }
            Answer::Done { transaction: transaction::CREATE_STREAM, stream }
                if self.phase == Phase::CreateStream =>
            {
                // A server that names no stream means the first.
                self.stream = stream.unwrap_or(1);
                self.phase = Phase::Publish;
                let publish = commands::publish(&self.target.key)?;
                self.command(self.stream, publish)
            }
            Answer::Failed { transaction, status } => self.take_failure(transaction, &status),
            Answer::Status(status) => self.take_status(&status),
            Answer::Close if self.phase != Phase::Finished => {
                Err(self.over(&Status { code: "close".into(), ..Status::default() }))
            }
            Answer::Connected { .. } | Answer::Done { .. } | Answer::Close | Answer::Other => Ok(()),
        }
    }

    /// The application took us in: ask for a stream, in the words of a Flash encoder, which some clouds insist on.
    fn begin_stream(&mut self) -> Result<(), SessionError> {
        self.phase = Phase::CreateStream;
        self.control(kind::WINDOW_ACKNOWLEDGEMENT, &WINDOW_BYTES.to_be_bytes())?;
        let larger = self.serializer.set_max_chunk_size(CHUNK_BYTES, RtmpTimestamp::new(0));
        self.output.put_slice(&larger.map_err(|_| SessionError::TooLong(4))?.bytes);
        let key = &self.target.key;
        let release = commands::about_key("releaseStream", transaction::RELEASE_STREAM, key)?;
        let announce = commands::about_key("FCPublish", transaction::FC_PUBLISH, key)?;
        self.command(0, release)?;
        self.command(0, announce)?;
        self.command(0, commands::create_stream()?)
    }

    /// Many servers know no `releaseStream` and no `FCPublish` and say so by `_error`. Any other counts, whatever
    /// its transaction: rml_rtmp's server answers a refused `publish` under number 0.
    fn take_failure(&mut self, transaction: f64, status: &Status) -> Result<(), SessionError> {
        let courtesy = [transaction::RELEASE_STREAM, transaction::FC_PUBLISH].contains(&transaction);
        if courtesy || self.phase >= Phase::Live { Ok(()) } else { Err(self.over(status)) }
    }

    fn take_status(&mut self, status: &Status) -> Result<(), SessionError> {
        let says = |code: &str| status.code == code;
        if self.phase == Phase::Publish && says("NetStream.Publish.Start") {
            self.phase = Phase::Live;
            return Ok(());
        }
        // Some servers refuse with the level "status".
        let ends = status.is_error
            || says("NetStream.Publish.BadName")
            || says("NetStream.Publish.Denied")
            || says("NetStream.Unpublish.Success")
            || says("NetConnection.Connect.Closed")
            || says("NetConnection.Connect.Rejected");
        if ends && self.phase != Phase::Finished { Err(self.over(status)) } else { Ok(()) }
    }

    fn over(&self, status: &Status) -> SessionError {
        let code = if status.code.is_empty() { "no code" } else { &status.code };
        // A code is made of fixed words, in which a key could only stand by chance.
        let is_plain = code.starts_with("Net") && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        let code = if is_plain && code.len() < 80 { code.to_owned() } else { self.presentable(code) };
        let description = self.presentable(&status.description);
        let stage = match self.phase {
            Phase::Handshake | Phase::Connect => {
                if let Some(demand) = Demand::read(&status.description) {
                    return SessionError::Login(demand);
                }
                Stage::Connect
            }
            Phase::CreateStream => Stage::CreateStream,
            Phase::Publish => Stage::Publish,
            Phase::Live | Phase::Finished => return SessionError::Ended { code, description },
        };
        SessionError::Refused { stage, code, description }
    }

    /// The far end's words, fit for a log: servers echo keys, and may send anything.
    fn presentable(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let Target { key, app, .. } = &self.target;
        // The whole key first, then what it is made of: a server may echo any of it. An application is mostly a
        // plain word that the message needs; its long parts may be keys.
        let parts = |whole| str::split(whole, ['?', '&', '=', '/']);
        let of_key = std::iter::once(key.as_str()).chain(parts(key)).filter(|part| part.len() > 2);
        let of_app = parts(app).filter(|part| part.len() > 8);
        let common = ["authmod", "adobe", "llnw", "user"];
        let of_login = parts(self.login.reveal()).filter(|part| part.len() > 2 && !common.contains(part));
        for part in of_key.chain(of_app).chain(of_login) {
            text = text.replace(part, "***");
        }
        let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        clean.take(FAR_TEXT_CHARS_MAX).collect::<String>().trim().to_owned()
    }

    fn command(&mut self, stream: u32, payload: Vec<u8>) -> Result<(), SessionError> {
        self.message(kind::COMMAND, stream, 0, payload.into())
    }

    fn control(&mut self, kind: u8, payload: &[u8]) -> Result<(), SessionError> {
        self.message(kind, 0, 0, Bytes::copy_from_slice(payload))
    }

    fn message(&mut self, type_id: u8, stream: u32, millis: u32, data: Bytes) -> Result<(), SessionError> {
        let timestamp = RtmpTimestamp::new(millis);
        let payload = MessagePayload { timestamp, type_id, message_stream_id: stream, data };
        // Marking each message as one that might be dropped makes the serializer give the next a full header.
        match self.serializer.serialize(&payload, false, true) {
            Ok(packet) => self.output.put_slice(&packet.bytes),
            Err(ChunkSerializationError::MessageTooLong { size }) => {
                return Err(SessionError::TooLong(size as usize));
            }
            Err(_) => return Err(SessionError::TooLong(payload.data.len())),
        }
        Ok(())
    }
}

fn handshake_error(error: impl fmt::Display) -> SessionError {
    SessionError::Handshake(error.to_string())
}
