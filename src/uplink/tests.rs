//! Outputs against a far end made of rml_rtmp's server, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::base::ticks::Ticks;
use crate::base::units::PictureSize;
use crate::config::schema::{Destination, Output, PushUrl};
use crate::hub::{Hub, Limits, Publisher};
use crate::media::flv::{self, VideoBody};
use crate::media::packet::{Layout, Media, Packet, Track, VideoCodec, VideoConfig};

use super::*;

/// Longer than any step here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes everything.
    Willing,
    /// Refuses the key.
    RefusesKey,
    /// Hangs up when asked for the application, as nginx-rtmp does about one that it does not have.
    HangsUp,
    /// Takes five pictures, then hangs up.
    Breaks,
}

/// A far end; what it hears comes out of the channel.
struct Far {
    address: SocketAddr,
    heard: mpsc::Receiver<ServerSessionEvent>,
}

impl Far {
    async fn new(manners: &'static [Manner]) -> Far {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (events, heard) = mpsc::channel(1_000);
        tokio::spawn(async move {
            for manner in manners {
                let (socket, _) = listener.accept().await.expect("accepts");
                let _ = serve(socket, *manner, &events).await;
            }
        });
        Far { address, heard }
    }

    async fn hear(&mut self) -> ServerSessionEvent {
        timeout(DEADLINE, self.heard.recv()).await.expect("heard in time").expect("the far end lives")
    }

    /// The next picture or video header, with its time.
    async fn hear_video(&mut self) -> (u32, VideoBody) {
        loop {
            if let ServerSessionEvent::VideoDataReceived { data, timestamp, .. } = self.hear().await {
                return (timestamp.value, flv::parse_video(&data).expect("a video tag's body"));
            }
        }
    }

    fn output(&self) -> Output {
        let address = self.address;
        let url = PushUrl::rtmp(address.ip().to_string(), address.port(), "live", "s3cr3tk3y");
        Output::new("cloud", "main", Destination::new(url))
    }
}

async fn serve(
    mut socket: TcpStream,
    manner: Manner,
    heard: &mpsc::Sender<ServerSessionEvent>,
) -> std::io::Result<()> {
    let mut handshake = Handshake::new(PeerType::Server);
    let mut buffer = vec![0; 1 << 16];
    let mut rest = loop {
        let bytes = socket.read(&mut buffer).await?;
        match handshake.process_bytes(&buffer[..bytes]).expect("a handshake") {
            HandshakeProcessResult::InProgress { response_bytes } => {
                socket.write_all(&response_bytes).await?;
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                socket.write_all(&response_bytes).await?;
                break remaining_bytes;
            }
        }
    };
    let (mut session, mut results) = ServerSession::new(ServerSessionConfig::new()).expect("a session");
    let mut pictures = 0;
    loop {
        results.extend(session.handle_input(&rest).expect("good RTMP"));
        while let Some(result) = (!results.is_empty()).then(|| results.remove(0)) {
            match result {
                ServerSessionResult::OutboundResponse(packet) => socket.write_all(&packet.bytes).await?,
                ServerSessionResult::RaisedEvent(event) => {
                    match &event {
                        ServerSessionEvent::ConnectionRequested { .. } if manner == Manner::HangsUp => {
                            return Ok(());
                        }
                        ServerSessionEvent::PublishStreamRequested { request_id, .. }
                            if manner == Manner::RefusesKey =>
                        {
                            let words = "no stream s3cr3tk3y here";
                            let code = "NetStream.Publish.BadName";
                            results
                                .extend(session.reject_request(*request_id, code, words).expect("pending"));
                        }
                        ServerSessionEvent::ConnectionRequested { request_id, .. }
                        | ServerSessionEvent::PublishStreamRequested { request_id, .. } => {
                            results.extend(session.accept_request(*request_id).expect("pending"));
                        }
                        ServerSessionEvent::VideoDataReceived { .. } => pictures += 1,
                        _ => {}
                    }
                    let _ = heard.send(event).await;
                    if manner == Manner::Breaks && pictures >= 6 {
                        return Ok(());
                    }
                }
                ServerSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        let bytes = socket.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        rest = buffer[..bytes].to_vec();
    }
}

/// A camera with 25 pictures a second and a keyframe each second, as fast as it is asked.
struct Camera {
    publisher: Publisher,
    frame: i64,
}

impl Camera {
    fn new(hub: &Hub) -> Camera {
        let camera = Camera { publisher: hub.open("main", Limits::default()), frame: 0 };
        camera.lay_out(1);
        camera
    }

    fn lay_out(&self, record: u8) {
        let video = VideoConfig {
            codec: VideoCodec::H264,
            record: Bytes::from(vec![record]),
            size: PictureSize { width: 64, height: 64 },
            fps: None,
            bitrate: None,
        };
        self.publisher.publish(Media::Layout(Layout { video: Some(video), audio: None }));
    }

    fn shoot(&mut self, frames: i64) {
        for _ in 0..frames {
            let at = Ticks::from_millis(71_000 + self.frame * 40);
            let keyframe = self.frame % 25 == 0;
            let payload = Bytes::from(vec![0; 500]);
            self.publisher.publish(Media::Packet(Packet {
                track: Track::Video,
                dts: at,
                pts: at,
                keyframe,
                payload,
            }));
            self.frame += 1;
        }
    }
}

async fn wait_for(outputs: &Outputs, what: impl Fn(&OutputStatus) -> bool) -> OutputStatus {
    let look = async {
        loop {
            let status = outputs.status().remove(0);
            if what(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, look).await.expect("the output comes to it in time")
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn a_far_end_gets_headers_before_media_and_the_streams_own_times() {
    run(async {
        let (hub, mut far, outputs) = (Hub::new(), Far::new(&[Manner::Willing]).await, Outputs::new());
        let mut camera = Camera::new(&hub);
        outputs.start(&far.output(), hub.channel("main").expect("open"));
        wait_for(&outputs, |status| status.state == State::WaitingForStream).await;
        // The second GOP is the newest one: it begins at 1,000 ms.
        camera.shoot(30);
        let (millis, header) = far.hear_video().await;
        assert_eq!(millis, 1_000, "a header has the time of what it is for");
        assert!(matches!(header, VideoBody::Header { .. }), "{header:?}");
        for frame in 25..30 {
            let (millis, body) = far.hear_video().await;
            assert_eq!(millis, frame * 40);
            assert!(matches!(body, VideoBody::Frame { keyframe, .. } if keyframe == (frame == 25)));
        }
        // Another layout in mid-stream.
        camera.lay_out(2);
        camera.shoot(21);
        let (millis, header) = far.hear_video().await;
        assert!(matches!(header, VideoBody::Header { .. }) && millis >= 1_160, "{millis} {header:?}");
        assert!(matches!(far.hear_video().await, (2_000, VideoBody::Frame { keyframe: true, .. })));

        let status = wait_for(&outputs, |status| status.state == State::Live).await;
        assert!(status.bytes_acked > 0 && status.rtt.is_some() && status.last_error.is_none());
        assert_eq!((status.left_out, status.reconnects), (0, 0));
        outputs.shutdown().await;
        while !matches!(far.hear().await, ServerSessionEvent::PublishStreamFinished { .. }) {}
    });
}

#[test]
fn a_refused_key_is_told_with_host_and_field_but_never_printed() {
    run(async {
        let (hub, far, outputs) = (Hub::new(), Far::new(&[Manner::RefusesKey]).await, Outputs::new());
        let mut camera = Camera::new(&hub);
        camera.shoot(5);
        outputs.start(&far.output(), hub.channel("main").expect("open"));
        let words = wait_for(&outputs, |status| status.last_error.is_some()).await.last_error.expect("told");
        assert_eq!(
            words,
            format!(
                "rtmp://{}: it refused (NetStream.Publish.BadName: no stream *** here); check the key at the end \
                 of `primary`, and that nobody else publishes with it",
                far.address
            )
        );
        outputs.shutdown().await;
    });
}

#[test]
fn a_far_end_that_hangs_up_is_taken_up_again_on_the_same_timeline() {
    run(async {
        static MANNERS: [Manner; 3] = [Manner::HangsUp, Manner::Breaks, Manner::Willing];
        let (hub, mut far, outputs) = (Hub::new(), Far::new(&MANNERS).await, Outputs::new());
        let mut camera = Camera::new(&hub);
        camera.shoot(10);
        outputs.start(&far.output(), hub.channel("main").expect("open"));
        let words = wait_for(&outputs, |status| status.last_error.is_some()).await.last_error.expect("told");
        assert!(
            words.ends_with("when asked for the application; check the path before the key in `primary`")
        );

        camera.shoot(1);
        for _ in 0..6 {
            far.hear_video().await;
        }
        wait_for(&outputs, |status| {
            status
                .last_error
                .as_ref()
                .is_some_and(|words| words.contains("closed") || words.contains("broke"))
        })
        .await;
        camera.shoot(30);
        let (millis, header) = loop {
            let (millis, body) = far.hear_video().await;
            if matches!(body, VideoBody::Header { .. }) {
                break (millis, body);
            }
        };
        assert!(matches!(header, VideoBody::Header { .. }));
        assert_eq!(millis, 0, "it goes on with the GOP that was cut off");
        for frame in 0..41 {
            assert_eq!(far.hear_video().await.0, frame * 40, "and nothing is missing");
        }
        assert_eq!(wait_for(&outputs, |status| status.reconnects > 0).await.reconnects, 1);
        outputs.shutdown().await;
    });
}

#[test]
fn an_output_ends_with_its_stream() {
    run(async {
        let (hub, mut far, outputs) = (Hub::new(), Far::new(&[Manner::Willing]).await, Outputs::new());
        let mut camera = Camera::new(&hub);
        camera.shoot(5);
        outputs.start(&far.output(), hub.channel("main").expect("open"));
        far.hear_video().await;
        drop(camera);
        while !matches!(far.hear().await, ServerSessionEvent::PublishStreamFinished { .. }) {}
        wait_for(&outputs, |status| status.state == State::Stopped).await;
    });
}

#[test]
fn outputs_are_stopped_at_once_and_started_again_with_a_good_bye_between() {
    run(async {
        static MANNERS: [Manner; 2] = [Manner::Willing; 2];
        let (hub, mut far, outputs) = (Hub::new(), Far::new(&MANNERS).await, Outputs::new());
        let mut camera = Camera::new(&hub);
        camera.shoot(5);
        let channel = hub.channel("main").expect("open");
        outputs.start(&far.output(), channel.clone());
        far.hear_video().await;
        assert!(outputs.is_running("cloud") && !outputs.is_running("nobody"));
        // Another start takes over where the first one says good-bye.
        outputs.start(&far.output(), channel.clone());
        while !matches!(far.hear().await, ServerSessionEvent::PublishStreamFinished { .. }) {}
        far.hear_video().await;
        let second = Output { name: "second".into(), ..Far::new(&[]).await.output() };
        outputs.start(&second, channel);
        assert_eq!(outputs.status().len(), 2);
        timeout(DEADLINE, outputs.stop_all(&["cloud", "second"])).await.expect("they end");
        assert!(outputs.status().is_empty() && !outputs.is_running("cloud"));
        while !matches!(far.hear().await, ServerSessionEvent::PublishStreamFinished { .. }) {}
    });
}

#[test]
fn who_gives_up_waiting_for_an_output_loses_no_good_bye() {
    run(async {
        let (hub, mut far, outputs) = (Hub::new(), Far::new(&[Manner::Willing]).await, Outputs::new());
        let mut camera = Camera::new(&hub);
        camera.shoot(5);
        outputs.start(&far.output(), hub.channel("main").expect("open"));
        far.hear_video().await;
        tokio::select! {
            biased;
            () = outputs.stop("cloud") => panic!("the output's task had no turn yet"),
            () = std::future::ready(()) => {}
        }
        assert!(!outputs.is_running("cloud"));
        outputs.shutdown().await;
        assert!(outputs.status().is_empty());
        while !matches!(far.hear().await, ServerSessionEvent::PublishStreamFinished { .. }) {}
    });
}

#[test]
fn an_output_whose_stream_is_gone_does_not_run() {
    run(async {
        let (hub, far, outputs) = (Hub::new(), Far::new(&[Manner::Willing]).await, Outputs::new());
        let camera = Camera::new(&hub);
        outputs.start(&far.output(), hub.channel("main").expect("open"));
        assert!(outputs.is_running("cloud"));
        drop(camera);
        assert!(!outputs.is_running("cloud"));
        let camera = Camera::new(&hub);
        outputs.start(&far.output(), hub.channel("main").expect("open again"));
        assert!(outputs.is_running("cloud"));
        drop(camera);
    });
}

#[test]
fn a_standby_takes_over_where_the_primary_was_cut_off_and_nothing_is_missing() {
    run(async {
        static PRIMARY: [Manner; 1] = [Manner::Breaks];
        let (hub, mut far, outputs) = (Hub::new(), Far::new(&PRIMARY).await, Outputs::new());
        let mut second = Far::new(&[Manner::Willing]).await;
        let mut camera = Camera::new(&hub);
        camera.shoot(3);
        let output = Output { standby: vec![second.output().primary], ..far.output() };
        outputs.start(&output, hub.channel("main").expect("open"));
        for _ in 0..4 {
            far.hear_video().await;
        }
        wait_for(&outputs, |status| status.lines[1].state == LineState::Standby).await;
        camera.shoot(5);
        let (_, header) = second.hear_video().await;
        assert!(matches!(header, VideoBody::Header { .. }), "{header:?}");
        for frame in 0..8 {
            assert_eq!(second.hear_video().await.0, frame * 40);
        }
        let status = wait_for(&outputs, |status| status.active == Some(1)).await;
        assert_eq!((status.switches, status.lost, status.lines[1].connections), (1, [0; 5], 1));
        assert_eq!(status.destination, format!("rtmp://{}", second.address));
        assert!(status.alerts().iter().any(|(key, _)| *key == "uplink-on-standby"), "{:?}", status.alerts());
        outputs.shutdown().await;
    });
}

#[test]
fn a_person_moves_the_stream_and_a_wrong_order_changes_nothing() {
    run(async {
        let (hub, far, outputs) = (Hub::new(), Far::new(&[Manner::Willing]).await, Outputs::new());
        let mut second = Far::new(&[Manner::Willing]).await;
        let mut camera = Camera::new(&hub);
        camera.shoot(3);
        let output = Output { standby: vec![second.output().primary], ..far.output() };
        outputs.start(&output, hub.channel("main").expect("open"));
        wait_for(&outputs, |status| status.lines.iter().all(|line| line.connections == 1)).await;
        assert_eq!(outputs.switch("nobody", 0), Err(OrderError::NoOutput));
        assert_eq!(outputs.switch("cloud", 2), Err(OrderError::NoLine));
        assert_eq!(outputs.status()[0].active, Some(0));
        outputs.switch("cloud", 1).expect("it runs");
        wait_for(&outputs, |status| status.active == Some(1) && status.home == 1).await;
        second.hear_video().await;
        outputs.reconnect("cloud", 0).expect("it runs");
        wait_for(&outputs, |status| status.lines[0].state != LineState::Standby).await;
        outputs.resume("cloud").expect("it runs");
        wait_for(&outputs, |status| status.home == 0).await;
        outputs.shutdown().await;
    });
}

#[test]
fn an_order_that_cannot_be_followed_now_is_refused_not_kept() {
    run(async {
        let (hub, far, outputs) = (Hub::new(), Far::new(&[Manner::Willing]).await, Outputs::new());
        let second = Far::new(&[Manner::Willing]).await;
        let mut camera = Camera::new(&hub);
        let mode = crate::config::schema::OutputMode::Mirror;
        let output = Output { standby: vec![second.output().primary], ..far.output() };
        outputs.start(&output, hub.channel("main").expect("open"));
        assert_eq!(outputs.switch("cloud", 1), Err(OrderError::Waits));
        assert_eq!(outputs.reconnect("cloud", 1), Err(OrderError::Waits));
        outputs.stop("cloud").await;
        outputs.start(&Output { mode, ..output }, hub.channel("main").expect("open"));
        camera.shoot(3);
        wait_for(&outputs, |status| status.lines.iter().all(|line| line.connections == 1)).await;
        for refused in [outputs.switch("cloud", 1), outputs.hold("cloud"), outputs.resume("cloud")] {
            assert_eq!(refused, Err(OrderError::Mirrors));
        }
        assert_eq!(outputs.reconnect("cloud", 1), Ok(()));
        outputs.shutdown().await;
    });
}
