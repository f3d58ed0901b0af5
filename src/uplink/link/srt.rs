//! MPEG-TS over SRT over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use tracing::{debug, trace, warn};

use crate::base::clock;
use crate::base::loggate::LogGate;
use crate::base::ticks::Ticks;
use crate::config::schema::{Destination, PushPath};
use crate::hub::{Tag, TagKind};
use crate::media::flv::{self, AudioBody, VideoBody};
use crate::media::srt::{Caller, Dice, Phase as Stage, Settings};
use crate::media::ts::Mux;
use crate::uplink::error::LinkError;
use crate::uplink::failover::Phase;
use crate::uplink::lines::Sample;

use super::Name;

/// How long the far end holds each packet where nobody says. libsrt's own 120 ms is for a LAN: a repeat takes a round
/// trip, and one of a mobile line takes 50 to 100 ms. Five of them, so that over a line that loses one packet in
/// twenty, one in a few million comes too late.
const LATENCY: Duration = Duration::from_millis(500);

/// Sending goes at no more than so many times what the stream needs: repeats and catching up included.
const PACE: u64 = 2;

/// Media time over which the stream's need is measured.
const RATE_SPAN: Ticks = Ticks::from_millis(1_000);
/// Media that is so far apart is no one stream's rate: it was left, or sent again.
const RATE_SPAN_MAX: Ticks = Ticks::from_millis(4_000);

/// The biggest datagram that is looked at.
const DATAGRAM_BYTES_MAX: usize = 1_500;

/// Datagrams read or sent in one go, so that one line does not keep the others waiting.
const READS_MAX: usize = 64;
const SENDS_MAX: usize = 128;

/// How long an address has to itself before the next one is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How long a good-bye may take.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// How often packets that came too late are told about.
const LOST_LOG_EVERY: Duration = Duration::from_secs(10);

/// A connection to an SRT listener, from its first answer on.
pub(in crate::uplink) struct SrtLink {
    socket: UdpSocket,
    caller: Caller,
    mux: Mux,
    rate: Rate,
    /// A datagram that the kernel had no room for.
    held: Option<Vec<u8>>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Instant>,
    last_put: Option<Instant>,
    packets: BytesMut,
    unfit: Unfit,
    lost_told: u64,
    lost_log: LogGate,
    name: Name,
}

impl SrtLink {
    /// Asks all of `addresses`, one a little after the other; whoever answers first is it.
    ///
    /// # Errors
    /// Of the last address that failed. While one says nothing, this goes on.
    pub(in crate::uplink) async fn dial(
        addresses: Vec<SocketAddr>,
        destination: Destination,
        name: Name,
    ) -> Result<SrtLink, LinkError> {
        let mut tries = JoinSet::new();
        for (at, address) in (0u32..).zip(addresses) {
            let (destination, name) = (destination.clone(), name.clone());
            tries.spawn(async move {
                sleep(NEXT_ADDRESS_AFTER * at).await;
                SrtLink::dial_one(address, &destination, name).await
            });
        }
        let cause = io::ErrorKind::AddrNotAvailable.into();
        let mut failure = LinkError::Connect { host: name.host.clone(), cause };
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(cause)) => failure = cause,
                Err(bug) => {
                    failure = LinkError::Connect { host: name.host.clone(), cause: io::Error::other(bug) };
                }
            }
        }
        Err(failure)
    }

    async fn dial_one(
        address: SocketAddr,
        destination: &Destination,
        name: Name,
    ) -> Result<SrtLink, LinkError> {
        let socket =
            open(address, destination).await.map_err(|cause| name.unreachable(destination, cause))?;
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let dice = throw_dice().map_err(|cause| LinkError::Connect { host: name.host.clone(), cause })?;
        let now = clock::now();
        let caller = Caller::new(now, settings(destination), dice, &ip)
            .map_err(|cause| LinkError::srt(&name, cause))?;
        let mut link = SrtLink {
            socket,
            caller,
            mux: Mux::new(),
            rate: Rate::default(),
            held: None,
            timer: Box::pin(sleep_until(now.into())),
            timer_at: None,
            last_put: None,
            packets: BytesMut::new(),
            unfit: Unfit::default(),
            lost_told: 0,
            lost_log: LogGate::new(LOST_LOG_EVERY),
            name,
        };
        while link.caller.phase() == Stage::Induction {
            link.drive().map_err(|failure| match failure {
                LinkError::Broken { host, cause } => LinkError::Connect { host, cause },
                other => other,
            })?;
            link.ready().await;
        }
        Ok(link)
    }

    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wake_at = self.caller.wake_at();
        if let Some(at) = wake_at {
            if self.timer_at != wake_at {
                self.timer_at = wake_at;
                self.timer.as_mut().reset(at.into());
            }
            // Where the kernel has no room there is nothing to be done when the time comes.
            if self.held.is_none() && self.timer.as_mut().poll(cx).is_ready() {
                self.timer_at = None;
                return Poll::Ready(());
            }
        }
        let writable = self.held.is_some() && self.socket.poll_send_ready(cx).is_ready();
        if writable || self.socket.poll_recv_ready(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn drive(&mut self) -> Result<(), LinkError> {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..READS_MAX {
            match self.socket.try_recv(&mut datagram) {
                Ok(bytes) => {
                    let received = self.caller.receive(clock::now(), &datagram[..bytes]);
                    received.map_err(|cause| LinkError::srt(&self.name, cause))?;
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                Err(cause) => self.bear(cause)?,
            }
        }
        for _ in 0..SENDS_MAX {
            let next = if self.held.is_some() {
                self.held.take()
            } else {
                let next = self.caller.transmit(clock::now());
                next.map_err(|cause| LinkError::srt(&self.name, cause))?
            };
            let Some(datagram) = next else { break };
            match self.socket.try_send(&datagram) {
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.held = Some(datagram);
                    break;
                }
                Err(cause) => self.bear(cause)?,
            }
        }
        Ok(())
    }

    /// What the kernel says of a datagram. One that could not go is lost like one that is lost on the way: what
    /// matters is what is acknowledged. But where nobody has the port any more, nobody has our connection.
    fn bear(&self, cause: io::Error) -> Result<(), LinkError> {
        if cause.kind() == io::ErrorKind::ConnectionRefused {
            return Err(LinkError::Broken { host: self.name.host.clone(), cause });
        }
        trace!(%cause, "a datagram could not go");
        Ok(())
    }

    pub(super) fn dialing(&self) -> Option<Phase> {
        match self.caller.phase() {
            Stage::Induction => Some(Phase::Tcp),
            Stage::Conclusion => Some(Phase::Publish),
            Stage::Live | Stage::Over => None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.caller.has_room(clock::now())
    }

    pub(super) fn put(&mut self, tag: &Tag, at: Ticks) {
        if let Err(why) = self.mux(tag, at) {
            // The hub lets through what can be framed; what cannot go into a transport stream is left out.
            if tag.kind == TagKind::AudioHeader {
                self.mux.forget_sound();
            }
            if matches!(tag.kind, TagKind::AudioHeader | TagKind::VideoHeader) {
                if self.unfit.is_news(&tag.body()) {
                    warn!(%why, "the stream goes to {} without its sound or picture", self.name.host);
                }
            } else {
                trace!(seq = tag.seq, %why, "a tag cannot go by SRT");
            }
            return;
        }
        if self.packets.is_empty() {
            return;
        }
        let now = clock::now();
        if let Some(need) = self.rate.look(at, self.packets.len() as u64) {
            self.caller.set_pace(need * PACE);
        }
        self.caller.put(now, &self.packets);
        self.last_put = Some(now);
    }

    fn mux(&mut self, tag: &Tag, at: Ticks) -> Result<(), Box<dyn std::error::Error>> {
        self.packets.clear();
        match tag.kind {
            // What metadata says stands in the headers that follow it.
            TagKind::Script => {
                if flv::is_metadata(&tag.body()) {
                    self.mux.forget_tracks();
                }
            }
            TagKind::VideoHeader | TagKind::Video { .. } => match flv::parse_video(&tag.body())? {
                VideoBody::Header { codec, record } => self.mux.video_header(codec, &record)?,
                VideoBody::Frame { keyframe, cts_millis, payload, .. } => {
                    let pts = at + Ticks::from_millis(cts_millis.into());
                    self.mux.video(&mut self.packets, at, pts, keyframe, &payload)?;
                }
                VideoBody::Nothing => {}
            },
            TagKind::AudioHeader | TagKind::Audio => match flv::parse_audio(&tag.body())? {
                AudioBody::Header(record) => self.mux.audio_header(&record)?,
                AudioBody::Frame(frame) => self.mux.audio(&mut self.packets, at, &frame)?,
            },
        }
        Ok(())
    }

    /// The tables, once more: a receiver hears something that harms nobody, and its acknowledgement shows that the
    /// line still carries.
    pub(super) fn repeat(&mut self) {
        self.packets.clear();
        self.mux.tables(&mut self.packets);
        self.caller.put(clock::now(), &self.packets);
    }

    pub(super) fn end(&self) -> u64 {
        self.caller.figures().taken_bytes
    }

    pub(super) fn signs_of_life(&self) -> u32 {
        self.caller.figures().signs_of_life
    }

    pub(super) fn take_lost(&mut self) -> Option<Range<u64>> {
        self.caller.take_lost()
    }

    pub(super) fn sample(&mut self) -> Sample {
        let figures = self.caller.figures();
        let now = clock::now();
        if figures.lost_packets > self.lost_told
            && let Some(_) = self.lost_log.pass(now)
        {
            warn!(
                packets = figures.lost_packets - self.lost_told,
                latency_ms = self.caller.latency().as_millis() as u64,
                "packets reached {} too late to be played: the line is too narrow, or `latency` too short for its losses",
                self.name.host
            );
            self.lost_told = figures.lost_packets;
        }
        Sample {
            acked_bytes: figures.acked_bytes,
            read_bytes: Some(self.caller.played_bytes(now)),
            owed_bytes: figures.taken_bytes - figures.acked_bytes,
            // What only waits for its turn says nothing of the line, nor does silence of what it could carry: that it is
            // too narrow shows in the round trip and in what is acknowledged.
            unsent_bytes: if self.caller.is_held_up() { figures.waiting_bytes } else { 0 },
            waiting_bytes: figures.waiting_bytes,
            rtt: figures.rtt,
            delivered_segments: Some(figures.arrived_packets),
            sent_segments: figures.sent_packets,
            retransmitted_segments: figures.repeated_packets,
            ..Sample::default()
        }
    }

    /// Waits until all has arrived and was played, as far as that goes, and says good-bye: a receiver throws away
    /// what it still holds when it hears it. One that holds it for longer than we wait hears nothing, plays it, and
    /// misses us after.
    pub(super) async fn finish(mut self) {
        let until = clock::now() + FINISH_MAX;
        let held = self.caller.latency() + self.caller.figures().rtt;
        let played = self.last_put.map_or(clock::now(), |put| put + held);
        let all = async {
            loop {
                self.drive()?;
                let waits = clock::now() < played;
                if self.caller.is_idle() && !waits {
                    return Ok::<(), LinkError>(());
                }
                tokio::select! {
                    () = self.ready() => {}
                    () = sleep_until(played.min(until).into()), if waits => {}
                }
            }
        };
        let left = until.saturating_duration_since(clock::now());
        match timeout(left, all).await {
            Ok(Ok(())) => debug!("said good-bye"),
            Ok(Err(error)) => debug!(%error, "the line broke during the good-bye"),
            Err(_) => debug!("the far end did not take the rest in time"),
        }
        if clock::now() < played && self.caller.figures().acked_bytes > 0 {
            debug!("the far end holds more than we wait for: no good-bye");
            return;
        }
        self.caller.close(clock::now());
        self.held = None;
        let _ = self.drive();
    }
}

/// The header that was last told to be unfit: it comes again with every GOP that is begun at.
#[derive(Debug, Default)]
struct Unfit(Vec<u8>);

impl Unfit {
    fn is_news(&mut self, header: &[u8]) -> bool {
        let is_news = self.0 != header;
        if is_news {
            self.0 = header.to_vec();
        }
        is_news
    }
}

/// What the stream needs, by its own time: how fast it is put says nothing while it is caught up with.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Ticks>,
    bytes: u64,
}

impl Rate {
    /// So many bytes were put that stand at `at`; the need in bits per second, once it is measured anew.
    fn look(&mut self, at: Ticks, bytes: u64) -> Option<u64> {
        let since = *self.since.get_or_insert(at);
        let span = at - since;
        if span < Ticks::ZERO || span > RATE_SPAN_MAX {
            *self = Rate { since: Some(at), bytes };
            return None;
        }
        if span < RATE_SPAN {
            self.bytes += bytes;
            return None;
        }
        let need = (self.bytes as f64 * 8.0 / span.seconds()) as u64;
        *self = Rate { since: Some(at), bytes };
        Some(need)
    }
}

fn settings(destination: &Destination) -> Settings {
    let PushPath::Srt { stream_id } = &destination.url.path else {
        return Settings::new(LATENCY);
    };
    Settings {
        stream_id: stream_id.as_ref().map(|id| id.reveal().to_owned()),
        passphrase: destination.passphrase.as_ref().map(|passphrase| passphrase.reveal().to_owned()),
        ..Settings::new(destination.latency.unwrap_or(LATENCY))
    }
}

async fn open(address: SocketAddr, destination: &Destination) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((destination.source_address.unwrap_or(any), 0)).await?;
    if let Some(interface) = &destination.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.connect(address).await?;
    Ok(socket)
}

fn throw_dice() -> io::Result<Dice> {
    let mut dice = Dice { socket: 0, first_seq: 0, salt: [0; 16], secret: [0; 32] };
    let (mut socket, mut seq) = ([0; 4], [0; 4]);
    let random = SystemRandom::new();
    for bytes in [&mut socket[..], &mut seq, &mut dice.salt, &mut dice.secret] {
        random.fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    }
    // The upper bits mean other things, and 0 is nobody.
    dice.socket = u32::from_ne_bytes(socket) & 0x3FFF_FFFF | 1;
    dice.first_seq = u32::from_ne_bytes(seq) & 0x7FFF_FFFF;
    Ok(dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_cannot_go_is_told_of_once() {
        let mut unfit = Unfit::default();
        let told: Vec<bool> = [&[1][..], &[1], &[2], &[2]].map(|header| unfit.is_news(header)).into();
        assert_eq!(told, [true, false, true, false]);
    }

    #[test]
    fn a_need_is_measured_by_the_streams_own_time() {
        let mut rate = Rate::default();
        let told: Vec<u64> =
            (0..100).filter_map(|picture| rate.look(Ticks::from_millis(picture * 40), 20_000)).collect();
        assert_eq!(told.len(), 3);
        assert!(told.iter().all(|bps| bps.abs_diff(4_000_000) < 10_000), "{told:?}");
        assert_eq!(rate.look(Ticks::from_millis(1_000), 1 << 30), None, "it is sent again");
        assert_eq!(rate.look(Ticks::from_millis(90_000), 1 << 30), None, "a minute was left out");
    }
}
