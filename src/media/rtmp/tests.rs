//! Sessions against rml_rtmp's server, and against nobody's idea of a server.

use bytes::Bytes;
use proptest::prelude::*;
use rml_rtmp::chunk_io::ChunkSerializer;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult};
use rml_rtmp::time::RtmpTimestamp;

use crate::base::secret::Secret;
use crate::media::amf::{self, Value};
use crate::media::flv::{TagType, on_metadata};
use crate::media::packet::Layout;

use super::publisher::{Phase, Publisher, SessionError, Stage, Target};
use super::*;

const BOUNDS: Bounds = Bounds { message_bytes_max: 1 << 16, streams_max: 8, assembly_bytes_max: 1 << 17 };

fn target() -> Target {
    Target { tc_url: "rtmp://far/live".into(), app: "live".into(), key: "abcd?sign=wxyz".into() }
}

/// A far end made of rml_rtmp's server, which takes what it is asked unless told to refuse.
struct Far {
    handshake: Option<Handshake>,
    session: ServerSession,
    /// What the server says first; only after the handshake.
    greeting: Vec<ServerSessionResult>,
    to_publisher: Vec<u8>,
    events: Vec<ServerSessionEvent>,
    refuse_publish: bool,
    /// What `connect` is refused with.
    refuse_connect: Option<&'static str>,
}

impl Far {
    fn new() -> Far {
        let mut config = ServerSessionConfig::new();
        config.window_ack_size = 2_000;
        let (session, greeting) = ServerSession::new(config).unwrap();
        Far {
            handshake: Some(Handshake::new(PeerType::Server)),
            session,
            greeting,
            to_publisher: Vec::new(),
            events: Vec::new(),
            refuse_publish: false,
            refuse_connect: None,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut rest = bytes.to_vec();
        if let Some(mut handshake) = self.handshake.take() {
            match handshake.process_bytes(bytes).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    self.to_publisher.extend(response_bytes);
                    self.handshake = Some(handshake);
                    return;
                }
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    self.to_publisher.extend(response_bytes);
                    let greeting = std::mem::take(&mut self.greeting);
                    self.take(greeting);
                    rest = remaining_bytes;
                }
            }
        }
        let results = self.session.handle_input(&rest).unwrap();
        self.take(results);
    }

    fn take(&mut self, results: Vec<ServerSessionResult>) {
        for result in results {
            match result {
                ServerSessionResult::OutboundResponse(packet) => self.to_publisher.extend(packet.bytes),
                ServerSessionResult::RaisedEvent(event) => {
                    let answer = match &event {
                        ServerSessionEvent::ConnectionRequested { request_id, .. }
                            if self.refuse_connect.is_some() =>
                        {
                            let (code, words) = ("NetConnection.Connect.Rejected", self.refuse_connect);
                            Some(self.session.reject_request(*request_id, code, words.unwrap_or_default()))
                        }
                        ServerSessionEvent::PublishStreamRequested { request_id, .. }
                            if self.refuse_publish =>
                        {
                            let words = "stream abcd?sign=wxyz is taken\r\n";
                            Some(self.session.reject_request(*request_id, "NetStream.Publish.BadName", words))
                        }
                        ServerSessionEvent::ConnectionRequested { request_id, .. }
                        | ServerSessionEvent::PublishStreamRequested { request_id, .. } => {
                            Some(self.session.accept_request(*request_id))
                        }
                        _ => None,
                    };
                    self.events.push(event);
                    if let Some(answer) = answer {
                        self.take(answer.unwrap());
                    }
                }
                ServerSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
    }
}

/// Carries bytes both ways until nobody has anything to say, in pieces of at most `piece`.
fn converse(publisher: &mut Publisher, far: &mut Far, piece: usize) -> Result<(), SessionError> {
    loop {
        let out = publisher.output().split();
        let back = std::mem::take(&mut far.to_publisher);
        if out.is_empty() && back.is_empty() {
            return Ok(());
        }
        out.chunks(piece).for_each(|piece| far.hear(piece));
        back.chunks(piece).try_for_each(|piece| publisher.receive(piece))?;
    }
}

#[test]
fn a_server_gets_metadata_and_media_with_their_times_untouched() {
    for piece in [1, 7, 100_000] {
        let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
        converse(&mut publisher, &mut far, piece).unwrap();
        assert_eq!(publisher.phase(), Phase::Live);

        let metadata = Bytes::from(on_metadata(&Layout::default()));
        let picture = Bytes::from(vec![7; 150_000]);
        publisher.send(TagType::Script, 0, &metadata).unwrap();
        // Across the extended timestamp and its wrap, and in three chunks.
        let times = [0, 40, 0x00FF_FFFE, 0x00FF_FFFF, 0x0100_0000, 0xFFFF_FFF0, 30];
        for millis in times {
            publisher.send(TagType::Video, millis, &picture).unwrap();
            publisher.send(TagType::Audio, millis, &Bytes::from_static(b"aac")).unwrap();
        }
        converse(&mut publisher, &mut far, piece).unwrap();
        let (mut video_times, mut audio_times, mut metadata) = (Vec::new(), Vec::new(), 0);
        for event in &far.events {
            match event {
                ServerSessionEvent::VideoDataReceived { data, timestamp, .. } => {
                    assert_eq!(data, &picture);
                    video_times.push(timestamp.value);
                }
                ServerSessionEvent::AudioDataReceived { timestamp, .. } => audio_times.push(timestamp.value),
                ServerSessionEvent::StreamMetadataChanged { .. } => metadata += 1,
                _ => {}
            }
        }
        assert_eq!((video_times, audio_times, metadata), (times.to_vec(), times.to_vec(), 1));

        publisher.finish().unwrap();
        converse(&mut publisher, &mut far, piece).unwrap();
        assert!(matches!(far.events.last(), Some(ServerSessionEvent::PublishStreamFinished { .. })));
    }
}

#[test]
fn both_ends_acknowledge_and_a_ping_is_answered() {
    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    converse(&mut publisher, &mut far, 100_000).unwrap();
    for _ in 0..60 {
        let (ping, _) = far.session.send_ping_request().unwrap();
        far.to_publisher.extend(ping.bytes);
    }
    publisher.send(TagType::Video, 0, &Bytes::from(vec![7; 600_000])).unwrap();
    converse(&mut publisher, &mut far, 1_000).unwrap();
    let count =
        |wanted: fn(&ServerSessionEvent) -> bool| far.events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, ServerSessionEvent::PingResponseReceived { .. })), 60);
    assert!(count(|event| matches!(event, ServerSessionEvent::AcknowledgementReceived { .. })) > 0);
    // rml_rtmp's server counts since its last message: that is noticed, and no total is believed.
    assert!(publisher.far_acks().counts_differently());
    assert_eq!(publisher.far_acks().total(), None);
}

#[test]
fn a_refused_key_is_told_in_the_servers_words_but_never_printed() {
    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    far.refuse_publish = true;
    let Err(SessionError::Refused { stage, code, description }) = converse(&mut publisher, &mut far, 50)
    else {
        panic!("not refused");
    };
    assert_eq!((stage, code.as_str()), (Stage::Publish, "NetStream.Publish.BadName"));
    assert_eq!(description, "stream *** is taken");
    assert_eq!(format!("{:?}", target()), "Target(***)");
}

#[test]
fn a_login_is_asked_for_and_goes_behind_the_application() {
    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    far.refuse_connect = Some("[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ");
    let demand = Demand::Login(Method::Adobe);
    assert_eq!(converse(&mut publisher, &mut far, 50), Err(SessionError::Login(demand)));

    for (app, want) in [("live", "live?authmod=adobe&user=jo"), ("a?b=c", "a?b=c&authmod=adobe&user=jo")] {
        let (mut publisher, mut far) =
            (Publisher::new(Target { app: app.into(), ..target() }).unwrap(), Far::new());
        publisher.log_in(Secret::new("authmod=adobe&user=jo"));
        converse(&mut publisher, &mut far, 50).unwrap();
        let connects = |event: &ServerSessionEvent| matches!(event, ServerSessionEvent::ConnectionRequested { app_name, .. } if app_name == want);
        assert!(far.events.iter().any(connects), "{:?}", far.events);
        assert_eq!(publisher.phase(), Phase::Live);
    }

    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    publisher.log_in(Secret::new("authmod=adobe&user=josephine"));
    far.refuse_connect = Some("the user josephine has adobe no rights");
    let refused = converse(&mut publisher, &mut far, 50).unwrap_err().to_string();
    assert!(refused.contains("the user *** has adobe no rights"), "{refused}");
}

#[test]
fn h265_is_offered_and_a_silent_server_is_doubted() {
    for offers in [false, true] {
        let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
        if offers {
            publisher.offer_h265();
        }
        converse(&mut publisher, &mut far, 50).unwrap();
        assert_eq!((publisher.phase(), publisher.may_lack_h265()), (Phase::Live, offers));
    }

    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    publisher.offer_h265();
    let mut said = Vec::new();
    while publisher.phase() < Phase::Connect {
        said.extend(publisher.output().split());
        far.hear(&std::mem::take(&mut said));
        // The handshake alone; what the server says to `connect` is ours to say.
        let back = std::mem::take(&mut far.to_publisher);
        publisher.receive(&back).unwrap();
    }
    let info = Value::Object(vec![
        ("code".into(), Value::text("NetConnection.Connect.Success")),
        ("fourCcList".into(), Value::StrictArray(vec![Value::text("av01"), Value::text("hvc1")])),
    ]);
    let taken = amf::write_all(&[Value::text("_result"), Value::Number(1.0), Value::Null, info]).unwrap();
    let long = [&[3, 0, 0, 0, 0, 0, taken.len() as u8, 20, 0, 0, 0, 0][..], &taken].concat();
    assert!(taken.len() <= 128, "one chunk");
    publisher.receive(&long).unwrap();
    assert_eq!((publisher.phase(), publisher.may_lack_h265()), (Phase::CreateStream, false));
}

#[test]
fn a_server_that_speaks_something_else_is_told_apart() {
    for (said, want) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not answer as an RTMP server"),
        (b"\x15\x03\x01\0\x02\x02\x46", "speaks TLS: write rtmps://"),
    ] {
        let answer = Publisher::new(target()).unwrap().receive(said).unwrap_err();
        assert!(matches!(answer, SessionError::Handshake(_)), "{answer:?}");
        assert!(answer.to_string().contains(want), "{answer}");
    }
}

fn live_publisher() -> Publisher {
    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    converse(&mut publisher, &mut far, 100_000).unwrap();
    publisher
}

fn message(type_id: u8, data: Vec<u8>) -> MessagePayload {
    MessagePayload { timestamp: RtmpTimestamp::new(0), type_id, message_stream_id: 1, data: data.into() }
}

#[test]
fn a_session_that_the_server_ends_is_over_in_clear_words() {
    let info = Value::Object(vec![
        ("level".into(), Value::text("status")),
        ("code".into(), Value::text("NetStream.Unpublish.Success")),
    ]);
    let status = amf::write_all(&[Value::text("onStatus"), Value::Number(0.0), Value::Null, info]).unwrap();
    // On a fresh chunk stream, so that the server's chunk size does not matter.
    let bytes = [&[3, 0, 0, 0, 0, 0, status.len() as u8, 20, 1, 0, 0, 0][..], &status].concat();
    let over = live_publisher().receive(&bytes);
    assert_eq!(over.unwrap_err().to_string(), "it ended the stream (NetStream.Unpublish.Success)");
}

#[test]
fn commands_that_cannot_be_read_end_nothing_in_any_phase() {
    let unreadable = |name| {
        let mut payload = amf::write_all(&[Value::text(name), Value::Number(0.0)]).unwrap();
        // A switch to AMF3, as some clouds write it.
        payload.extend([0x11, 0x0A, 0x0B, 0x01]);
        [&[3, 0, 0, 0, 0, 0, payload.len() as u8, 20, 0, 0, 0, 0][..], &payload].concat()
    };
    let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
    for _ in 0..20 {
        publisher.output().split().chunks(100_000).for_each(|piece| far.hear(piece));
        let back = std::mem::take(&mut far.to_publisher);
        back.chunks(100_000).for_each(|piece| publisher.receive(piece).unwrap());
        if publisher.phase() > Phase::Handshake {
            publisher.receive(&unreadable("onBWDone")).unwrap();
        }
    }
    assert_eq!(publisher.phase(), Phase::Live);
    publisher.receive(&unreadable("onStatus")).unwrap();
}

#[test]
fn messages_interleaved_on_two_chunk_streams_come_out_whole() {
    let mut reader = ChunkReader::new(BOUNDS);
    let video = [&[4, 0, 0, 1, 0, 0, 200, 9, 1, 0, 0, 0][..], &[b'v'; 128], &[0xC4], &[b'v'; 72]];
    let audio = [&[5, 0, 0, 2, 0, 0, 3, 8, 1, 0, 0, 0][..], b"aac"];
    for piece in [video[0], video[1], audio[0], audio[1], video[2], video[3]] {
        reader.push(piece);
    }
    let first = reader.pull().unwrap().unwrap();
    assert_eq!((first.kind, first.millis, &first.payload[..]), (8, 2, &b"aac"[..]));
    let second = reader.pull().unwrap().unwrap();
    assert_eq!((second.kind, second.millis, &second.payload[..]), (9, 1, &[b'v'; 200][..]));
    assert_eq!(reader.pull(), Ok(None));
}

#[test]
fn an_extended_timestamp_may_be_repeated_or_left_out() {
    let header = [4, 0xFF, 0xFF, 0xFF, 0, 0, 200, 9, 1, 0, 0, 0, 1, 2, 3, 4];
    for repeated in [&[1u8, 2, 3, 4][..], &[]] {
        let mut reader = ChunkReader::new(BOUNDS);
        reader.push(&[&header[..], &[b'v'; 128], &[0xC4], repeated, &[b'v'; 72]].concat());
        let message = reader.pull().unwrap().unwrap();
        assert_eq!((message.millis, &message.payload[..]), (0x0102_0304, &[b'v'; 200][..]));
    }
}

#[test]
fn what_a_far_end_announces_costs_nothing_and_its_bounds_hold() {
    let bounds = Bounds { message_bytes_max: 1_000, streams_max: 2, assembly_bytes_max: 300 };
    let begin = |id: u8, length: u16| {
        let [high, low] = length.to_be_bytes();
        [&[id, 0, 0, 0, 0, high, low, 9, 1, 0, 0, 0][..], &vec![0; usize::from(length.min(128))]].concat()
    };
    let refused = |pieces: &[Vec<u8>]| {
        let mut reader = ChunkReader::new(bounds);
        for piece in pieces {
            reader.push(piece);
        }
        loop {
            match reader.pull() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    };
    assert_eq!(refused(&[begin(4, 1_001)]), Some(ChunkError::MessageTooLong(1_001)));
    assert_eq!(refused(&[begin(4, 9), begin(5, 9), begin(6, 9)]), Some(ChunkError::TooManyStreams));
    let more = [&[0xC4][..], &[0; 128]].concat();
    let unfinished = [begin(4, 900), begin(5, 900), more];
    assert_eq!(refused(&unfinished), Some(ChunkError::TooMuchUnfinished));
    assert_eq!(refused(&[begin(4, 900), begin(4, 9)]), Some(ChunkError::Interrupted(4)));
    assert_eq!(refused(&[vec![0xC7]]), Some(ChunkError::NothingBefore(7)));
}

proptest! {
    #[test]
    fn what_rml_rtmp_writes_is_read_back(
        messages in prop::collection::vec(
            // Times that go on, in pieces that any sender may choose.
            (prop::sample::select(vec![8u8, 9, 18, 20]), 0u32..0x0200_0000, 1usize..400, any::<bool>()), 1..20,
        ),
        chunk in 1u32..200,
        piece in 1usize..300,
    ) {
        let mut serializer = ChunkSerializer::new();
        let mut reader = ChunkReader::new(BOUNDS);
        let mut wire = serializer.set_max_chunk_size(chunk, RtmpTimestamp::new(0)).unwrap().bytes;
        let mut millis = 0;
        let mut want = Vec::new();
        for (kind, step, bytes, droppable) in messages {
            millis += step;
            let mut message = message(kind, vec![kind; bytes]);
            message.timestamp = RtmpTimestamp::new(millis);
            wire.extend(serializer.serialize(&message, false, droppable).unwrap().bytes);
            want.push(Message { kind, stream: 1, millis, payload: message.data });
        }
        let mut got = Vec::new();
        for piece in wire.chunks(piece) {
            reader.push(piece);
            while let Some(message) = reader.pull().unwrap() {
                if message.kind == kind::SET_CHUNK_SIZE {
                    reader.set_chunk_size(chunk).unwrap();
                } else {
                    got.push(message);
                }
            }
        }
        prop_assert_eq!(got, want);
    }

    #[test]
    fn arbitrary_chunks_never_panic_and_stay_within_their_bounds(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..8, Just(0xC4), Just(0xFF)], 0..3_000),
        chunk in 1u32..5_000,
        piece in 1usize..3_000,
    ) {
        let bounds = Bounds { message_bytes_max: 500, streams_max: 8, assembly_bytes_max: 600 };
        let mut reader = ChunkReader::new(bounds);
        reader.set_chunk_size(chunk).unwrap();
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            loop {
                match reader.pull() {
                    Ok(Some(message)) => prop_assert!(message.payload.len() <= bounds.message_bytes_max),
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            // One chunk with the longest header, and the messages in assembly, with a buffer's room to grow.
            prop_assert!(reader.held_bytes() <= 18 + 500 + 2 * (600 + 500), "{}", reader.held_bytes());
        }
    }

    #[test]
    fn a_session_survives_arbitrary_bytes_at_any_moment(
        moment in 0usize..8_000,
        noise in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..8, Just(20u8)], 1..400),
    ) {
        let (mut publisher, mut far) = (Publisher::new(target()).unwrap(), Far::new());
        let mut heard = 0;
        for _ in 0..20 {
            far.hear(&publisher.output().split());
            let back = std::mem::take(&mut far.to_publisher);
            let before_noise = back.len().min(moment.saturating_sub(heard));
            heard += back.len();
            if publisher.receive(&back[..before_noise]).is_err() {
                break;
            }
            if before_noise < back.len() {
                let _ = publisher.receive(&noise);
                break;
            }
        }
        let _ = publisher.receive(&noise);
    }

    #[test]
    fn any_command_in_any_phase_is_survived(
        noise in prop::collection::vec(any::<u8>(), 0..60),
        name in prop::sample::select(vec!["_result", "_error", "onStatus", "close", "x"]),
        number in prop_oneof![Just(f64::NAN), Just(-1.0), Just(1e300), Just(4.0)],
    ) {
        let mut command = amf::write_all(&[Value::text(name), Value::Number(number)]).unwrap();
        command.extend(noise);
        let header = [3, 0, 0, 0, 0, 0, command.len() as u8, 20, 0, 0, 0, 0];
        let _ = live_publisher().receive(&[&header[..], &command].concat());
    }
}
