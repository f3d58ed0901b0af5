//! One connection: a socket, and the RTMP session on it.
//!
//! Decides nothing: `shed.rs` says what is left out, `stall.rs` when to hang up, the session what the bytes are.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Buf;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::base::clock;
use crate::base::loggate::LogGate;
use crate::base::tcp_info::TcpInfo;
use crate::base::ticks::Ticks;
use crate::config::schema::{PushPath, PushUrl};
use crate::hub::{Headers, Next, Reader, Tag, TagKind};
use crate::media::flv::TagType;
use crate::media::rtmp::{Phase, Publisher, SessionError, Target};

use super::error::{LinkError, Step};
use super::shed::{Shed, Shedding};
use super::stall::{self, Stall};
use super::status::{Figures, State, Tally};

/// Time limits of each step. A mobile line that wakes up takes two seconds for its first packet.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const PUBLISH_MAX: Duration = Duration::from_secs(8);

/// Addresses of one name that are tried in one go.
const ADDRESSES_MAX: usize = 4;

/// How long a far end may take nothing of what it is owed: longer than a mobile line's handover.
const STALL_PATIENCE: Duration = Duration::from_secs(5);

/// How often the kernel is asked what arrived.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Bytes that may wait in the kernel unsent. What waits there can no longer be left out, so little should: an
/// eighth of a second at 4 Mbit/s.
const NOT_SENT_BYTES_MAX: u32 = 64 << 10;

/// The session's own buffer is filled up to here, by one tag more at most.
const OUTPUT_BYTES_FULL: usize = 16 << 10;

/// Bytes read from the far end in one go; it has little to say.
const READ_BYTES: usize = 4 << 10;

/// How long a good-bye may take.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// How often a line that is too slow is told about.
const SHED_LOG_EVERY: Duration = Duration::from_secs(10);

/// Why a line ended without anything being wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The box stops, or the output is taken away.
    Asked,
    /// The stream is gone.
    StreamOver,
}

/// An open connection on which the far end takes our stream.
pub(super) struct Link {
    socket: TcpStream,
    session: Publisher,
    host: String,
    field: &'static str,
    written: u64,
}

impl Link {
    /// Reaches the far end and gets its leave to publish. `field` is where the URL stands in the configuration.
    pub(super) async fn dial(url: &PushUrl, field: &'static str) -> Result<Link, LinkError> {
        let host = url.to_string();
        let PushPath::Rtmp { app, key } = &url.path else {
            return Err(LinkError::Connect { host, cause: io::ErrorKind::Unsupported.into() });
        };
        let target = Target {
            tc_url: format!("{url}/{}", app.reveal()),
            app: app.reveal().to_owned(),
            key: key.reveal().to_owned(),
        };
        let session = Publisher::new(target).map_err(|cause| LinkError::Session {
            host: host.clone(),
            field,
            cause,
        })?;
        let addresses = resolve(url, &host, field).await?;
        let socket = connect(&addresses, &host).await?;
        tune(&socket).map_err(|cause| LinkError::Connect { host: host.clone(), cause })?;
        let mut link = Link { socket, session, host, field, written: 0 };
        link.advance_past(Phase::Handshake, Step::Handshake, HANDSHAKE_MAX).await?;
        link.advance_past(Phase::Publish, Step::Publish, PUBLISH_MAX).await?;
        Ok(link)
    }

    /// Carries the stream until the line ends, one way or another. `reader` stands at a keyframe.
    pub(super) async fn carry(
        &mut self,
        reader: &mut Reader,
        figures: &Figures,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ended, LinkError> {
        let mut trip = Trip {
            cargo: Cargo::new(reader),
            stall: Stall::new(STALL_PATIENCE),
            tally: Tally::default(),
            media_from: self.written,
        };
        let ended = self.pump(&mut trip, reader, figures, stop).await;
        // What went since the last sample counts too.
        let _ = self.sample(&mut trip, reader, figures);
        ended
    }

    async fn pump(
        &mut self,
        trip: &mut Trip,
        reader: &mut Reader,
        figures: &Figures,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ended, LinkError> {
        let mut samples = interval(SAMPLE_EVERY);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stream_over = false;
        loop {
            while !stream_over && self.session.output().len() < OUTPUT_BYTES_FULL {
                match trip.cargo.load(reader, &mut self.session) {
                    Ok(Loaded::Something) => {}
                    Ok(Loaded::Nothing) => break,
                    Ok(Loaded::StreamOver) => stream_over = true,
                    Err(cause) => return Err(self.broken_session(cause)),
                }
            }
            let waiting = self.session.output().len();
            if stream_over && waiting == 0 {
                return Ok(Ended::StreamOver);
            }
            tokio::select! {
                () = asked(stop) => return Ok(Ended::Asked),
                ready = self.socket.ready(interest(waiting)) => {
                    let ready = ready.map_err(|cause| self.broken(cause))?;
                    if ready.is_readable() {
                        self.read_some()?;
                    }
                    if ready.is_writable() {
                        self.write_some()?;
                    }
                }
                () = reader.wait(), if !stream_over && waiting < OUTPUT_BYTES_FULL => {}
                _ = samples.tick() => {
                    let info = self.sample(trip, reader, figures)?;
                    let owed_bytes = self.written.saturating_sub(info.bytes_acked) + waiting as u64;
                    let event = stall::Event::Sampled { acked_bytes: info.bytes_acked, owed_bytes };
                    if let Some(stall::Action::GiveUp { silent }) = trip.stall.handle(clock::now(), event).pop() {
                        return Err(LinkError::Stalled { host: self.host.clone(), silent });
                    }
                }
            }
        }
    }

    /// Asks the kernel what arrived, and tells it.
    fn sample(&self, trip: &mut Trip, reader: &Reader, figures: &Figures) -> Result<TcpInfo, LinkError> {
        let info = TcpInfo::of(&self.socket).map_err(|cause| self.broken(cause))?;
        let (behind, left_out) = (reader.lag().span, trip.cargo.left_out());
        figures.sample(&mut trip.tally, self.written, &info, behind, left_out);
        if info.bytes_acked > trip.media_from {
            figures.enter(State::Live);
        }
        Ok(info)
    }

    /// Says good-bye and hangs up, within a bounded time.
    pub(super) async fn finish(mut self) {
        let _ = self.session.finish();
        let good_bye = async {
            while !self.session.output().is_empty() {
                self.socket.write_all_buf(self.session.output()).await?;
            }
            self.socket.shutdown().await?;
            // Hanging up with unread answers would make the kernel reset the line, and the far end lose the
            // good-bye with it.
            let mut heard = [0; READ_BYTES];
            loop {
                self.socket.readable().await?;
                match self.socket.try_read(&mut heard) {
                    Ok(0) => return Ok::<(), io::Error>(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        };
        match timeout(FINISH_MAX, good_bye).await {
            Ok(Ok(())) => debug!("said good-bye"),
            Ok(Err(error)) => debug!(%error, "the line broke during the good-bye"),
            Err(_) => debug!("the far end did not hang up in time"),
        }
    }

    async fn advance_past(&mut self, phase: Phase, step: Step, limit: Duration) -> Result<(), LinkError> {
        let advance = async {
            while self.session.phase() <= phase {
                let waiting = self.session.output().len();
                let ready = self.socket.ready(interest(waiting)).await.map_err(|cause| self.broken(cause))?;
                if ready.is_writable() {
                    self.write_some()?;
                }
                if ready.is_readable() {
                    self.read_some()?;
                }
            }
            Ok(())
        };
        match timeout(limit, advance).await {
            Ok(result) => result,
            Err(_) => Err(LinkError::TimedOut { host: self.host.clone(), step, limit }),
        }
    }

    fn read_some(&mut self) -> Result<(), LinkError> {
        let mut heard = [0; READ_BYTES];
        match self.socket.try_read(&mut heard) {
            Ok(0) => Err(self.closed()),
            Ok(bytes) => self.session.receive(&heard[..bytes]).map_err(|cause| self.broken_session(cause)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            // A server that closes with our bytes unread resets the line: the same thing to a person.
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionReset && self.session.phase() < Phase::Live =>
            {
                Err(self.closed())
            }
            Err(cause) => Err(self.broken(cause)),
        }
    }

    fn write_some(&mut self) -> Result<(), LinkError> {
        while !self.session.output().is_empty() {
            match self.socket.try_write(self.session.output()) {
                Ok(bytes) => {
                    self.session.output().advance(bytes);
                    self.written += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(cause) => return Err(self.broken(cause)),
            }
        }
        Ok(())
    }

    fn closed(&self) -> LinkError {
        LinkError::Closed { host: self.host.clone(), field: self.field, phase: self.session.phase() }
    }

    fn broken(&self, cause: io::Error) -> LinkError {
        LinkError::Broken { host: self.host.clone(), cause }
    }

    fn broken_session(&self, cause: SessionError) -> LinkError {
        LinkError::Session { host: self.host.clone(), field: self.field, cause }
    }
}

/// What one stretch of carrying keeps.
struct Trip {
    cargo: Cargo,
    stall: Stall,
    tally: Tally,
    /// Bytes written before the first media: acknowledged beyond, the line is live.
    media_from: u64,
}

/// What came of asking the reader.
enum Loaded {
    Something,
    Nothing,
    StreamOver,
}

/// Takes tags off a reader and puts them into a session: headers before media, and what a slow line can bear.
struct Cargo {
    shed: Shed,
    told_shedding: bool,
    log: LogGate,
    /// Headers to be sent before the next picture or sound, with its time.
    headers: Option<std::sync::Arc<Headers>>,
    skipped: u64,
}

impl Cargo {
    fn new(reader: &mut Reader) -> Cargo {
        Cargo {
            shed: Shed::new(reader.lag().span),
            told_shedding: false,
            log: LogGate::new(SHED_LOG_EVERY),
            headers: reader.fresh_headers(),
            skipped: 0,
        }
    }

    fn load(&mut self, reader: &mut Reader, session: &mut Publisher) -> Result<Loaded, SessionError> {
        let behind = reader.lag().span;
        match reader.try_next() {
            Next::Tag(tag) => self.load_tag(&tag, behind, session).map(|()| Loaded::Something),
            Next::Jumped { skipped } => {
                self.skipped += skipped;
                self.headers = reader.fresh_headers().or(self.headers.take());
                Ok(Loaded::Something)
            }
            Next::Empty => Ok(Loaded::Nothing),
            Next::Closed => Ok(Loaded::StreamOver),
        }
    }

    fn load_tag(&mut self, tag: &Tag, behind: Ticks, session: &mut Publisher) -> Result<(), SessionError> {
        let sends = self.shed.sends(tag.kind, behind);
        self.tell(behind);
        if !sends {
            return Ok(());
        }
        // Headers that were in force long before take the time of what they are sent for: a far end that
        // records begins its file with the first time it sees.
        if let Some(headers) = self.headers.take() {
            for header in &headers.tags {
                session.send(tag_type(header.kind), tag.millis(), &header.body())?;
            }
        }
        session.send(tag_type(tag.kind), tag.millis(), &tag.body())
    }

    fn left_out(&self) -> u64 {
        let (pictures, sounds) = self.shed.left_out();
        pictures + sounds + self.skipped
    }

    /// Says so when the line is too slow, at most every ten seconds, and when it has caught up.
    fn tell(&mut self, behind: Ticks) {
        let sheds = self.shed.mode() != Shedding::Nothing;
        if sheds && let Some(_) = self.log.pass(clock::now()) {
            let (pictures, sounds) = self.shed.left_out();
            let behind_ms = behind.millis();
            warn!(behind_ms, pictures, sounds, "the line is too slow: leaving out the rest of the GOP");
            self.told_shedding = true;
        }
        if !sheds && std::mem::take(&mut self.told_shedding) {
            info!(left_out = self.left_out(), "the line has caught up");
        }
    }
}

/// Returns once the output shall stop, or nobody is left to say so.
pub(super) async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What to wait for on a socket with so many bytes to be written.
fn interest(waiting: usize) -> Interest {
    if waiting > 0 { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}

fn tag_type(kind: TagKind) -> TagType {
    match kind {
        TagKind::Script => TagType::Script,
        TagKind::VideoHeader | TagKind::Video { .. } => TagType::Video,
        TagKind::AudioHeader | TagKind::Audio => TagType::Audio,
    }
}

async fn resolve(url: &PushUrl, host: &str, field: &'static str) -> Result<Vec<SocketAddr>, LinkError> {
    if is_this_machine(&url.host) {
        return Ok(vec![(Ipv4Addr::LOCALHOST, url.port).into(), (Ipv6Addr::LOCALHOST, url.port).into()]);
    }
    let addresses = match timeout(RESOLVE_MAX, lookup_host((url.host.as_str(), url.port))).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect::<Vec<_>>(),
        Ok(Err(cause)) => return Err(LinkError::Resolve { host: host.to_owned(), field, cause }),
        Err(_) => {
            return Err(LinkError::TimedOut {
                host: host.to_owned(),
                step: Step::Resolve,
                limit: RESOLVE_MAX,
            });
        }
    };
    if addresses.is_empty() {
        let cause = io::Error::from(io::ErrorKind::NotFound);
        return Err(LinkError::Resolve { host: host.to_owned(), field, cause });
    }
    Ok(addresses)
}

/// `localhost` is this machine, whatever a name service says (RFC 6761 §6.3): also in a root without `/etc/hosts`.
fn is_this_machine(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost")
}

/// Tries the addresses one after another; the last failure counts.
async fn connect(addresses: &[SocketAddr], host: &str) -> Result<TcpStream, LinkError> {
    let mut failure = LinkError::TimedOut { host: host.to_owned(), step: Step::Connect, limit: CONNECT_MAX };
    for address in addresses {
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(cause)) => failure = LinkError::Connect { host: host.to_owned(), cause },
            Err(_) => {}
        }
    }
    Err(failure)
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX)?;
    // For a line that owes nothing, because the stream stands still, and dies meanwhile.
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)
}
