//! One destination: its name resolved, dialled, spoken to, fed. Does what the failover core says, and tells it what
//! became of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use crate::base::dial::{Lookup, resolve};
use crate::base::loggate::FadingGate;
use crate::base::ticks::Ticks;
use crate::base::tls::Tls;
use crate::base::units::BitrateBps;
use crate::config::schema::{Destination, PushPath, Scheme};
use crate::hub::Channel;
use crate::media::packet::VideoCodec;
use crate::media::rtmp::{Demand, Login, LoginError, SessionError};

use super::abandoned::Abandoned;
use super::cargo::{Cargo, Fed};
use super::dial;
use super::error::LinkError;
use super::failover::{Dial, LineEvent, Phase, Why};
use super::inflight::Seq;
use super::lines::Sample;
use super::link::{Answered, Hello, Link, Name, SrtLink};
use super::wire::{Wire, trust_of};

/// A name service that is slower than this is not waited for where the last addresses are known: it may be cut off
/// together with the line that we are about to replace.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);

/// Rounds of writing and feeding in one turn.
const ROUNDS_MAX: usize = 4;

/// What a line tells in one turn.
pub(super) type News = Vec<LineEvent>;

type Connecting = Pin<Box<dyn Future<Output = Result<Answered, LinkError>> + Send>>;

enum State {
    Idle,
    Resolving { since: Instant },
    Connecting(Connecting),
    Connected(Result<Answered, LinkError>),
    Open(Box<Open>),
}

/// A connection that stands.
struct Open {
    link: Link,
    cargo: Cargo,
    /// What the core was told of its progress; `None` once it is published.
    dialing: Option<Phase>,
    acknowledged: Option<u32>,
    /// Where the first media begins in the byte stream.
    media_from: Option<u64>,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turn {
    /// There is more to be done at once.
    pub(super) again: bool,
    /// It has carried all of a stream that is gone.
    pub(super) over: bool,
}

/// One destination of an output.
pub(super) struct Line {
    pub(super) name: Name,
    destination: Destination,
    /// The connection that is spoken of.
    pub(super) dial: Dial,
    state: State,
    /// The last connection, if it fell silent: the far end is told as soon as it can be reached.
    abandoned: Option<Abandoned>,
    tls: Option<Tls>,
    login: Option<Login>,
    /// It was told that the far end may not know H.265.
    doubted_h265: bool,
    /// How often it is told to be too slow: a new connection is no news.
    slow_log: FadingGate,
    lookup: Option<Lookup>,
    found: Option<io::Result<Vec<SocketAddr>>>,
    /// The addresses that were last found.
    known: Vec<SocketAddr>,
    /// Why the last connection ended or was not made, until somebody asks.
    failure: Option<LinkError>,
}

impl Line {
    pub(super) fn new(at: usize, destination: Destination) -> Line {
        Line {
            name: Name::new(at, &destination),
            tls: (destination.url.scheme == Scheme::Rtmps)
                .then(|| Tls::new(&destination.url.host, trust_of(&destination))),
            login: (destination.url.login.as_ref())
                .map(|login| Login::new(login.user.clone(), login.password.clone())),
            doubted_h265: false,
            slow_log: FadingGate::new(1),
            destination,
            dial: Dial(0),
            state: State::Idle,
            abandoned: None,
            lookup: None,
            found: None,
            known: Vec::new(),
            failure: None,
        }
    }

    // ---- what the core asks for -------------------------------------------------------------------------------

    /// Begins to dial.
    pub(super) fn connect(&mut self, now: Instant, dial: Dial) {
        self.dial = dial;
        self.state = State::Resolving { since: now };
        if self.lookup.is_none() {
            let url = &self.destination.url;
            (self.lookup, self.found) = (Some(resolve(&url.host, url.port)), None);
        }
    }

    /// Lets the connection go; what is to be hung up in order.
    pub(super) fn hang_up(&mut self, why: Why) -> Option<Link> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Open(open) => {
                // A try that hung must not make the published connection before it forgotten.
                self.abandoned = Abandoned::of(&open.link, why).or(self.abandoned.take());
                Some(open.link)
            }
            _ => None,
        }
    }

    /// Feeds the connection from the tag `from` on.
    pub(super) fn carry(&mut self, now: Instant, from: Seq, pace: Option<BitrateBps>) {
        if let State::Open(open) = &mut self.state {
            open.media_from.get_or_insert(open.link.end());
            open.cargo.carry(now, from, pace);
        }
    }

    /// Feeds it no more.
    pub(super) fn rest(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.cargo.rest();
        }
    }

    /// Says something harmless.
    pub(super) fn trickle(&mut self, at: Option<Ticks>, news: &mut News) {
        let State::Open(open) = &mut self.state else { return };
        if let Err(failure) = open.cargo.trickle(at, &mut open.link) {
            self.fail(failure, news);
        }
    }

    // ---- what happens to it -----------------------------------------------------------------------------------

    /// Ready once [`Line::turn`] has something to do.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(lookup) = &mut self.lookup
            && let Poll::Ready(found) = Pin::new(lookup).poll(cx)
        {
            self.lookup = None;
            self.found = Some(found.unwrap_or_else(|bug| Err(io::Error::other(bug))));
        }
        match &mut self.state {
            State::Resolving { .. } if self.found.is_some() => Poll::Ready(()),
            State::Idle | State::Resolving { .. } => Poll::Pending,
            State::Connecting(connecting) => match connecting.as_mut().poll(cx) {
                Poll::Ready(connected) => {
                    self.state = State::Connected(connected);
                    Poll::Ready(())
                }
                Poll::Pending => Poll::Pending,
            },
            State::Connected(_) => Poll::Ready(()),
            State::Open(open) => open.link.poll_ready(cx),
        }
    }

    /// When [`Line::turn`] has something to do, whether or not anything happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Resolving { since } if !self.known.is_empty() => Some(*since + LOOKUP_PATIENCE),
            State::Open(open) => open.cargo.wake_at(),
            _ => None,
        }
    }

    /// Does what can be done now. `behind`: the age of the oldest tag that the far end has not acknowledged.
    pub(super) fn turn(&mut self, now: Instant, channel: &Channel, behind: Ticks, news: &mut News) -> Turn {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Turn::default(),
            State::Resolving { since } => self.turn_resolving(now, since, news),
            State::Connecting(connecting) => {
                self.state = State::Connecting(connecting);
                Turn::default()
            }
            State::Connected(connected) => self.turn_connected(now, channel, connected, news),
            State::Open(mut open) => match open.turn(now, behind, &mut self.slow_log, news) {
                Ok(turn) => {
                    self.doubt_h265(&open);
                    self.state = State::Open(open);
                    turn
                }
                Err(LinkError::Session { cause: SessionError::Login(demand), .. }) => {
                    self.log_in(now, &demand, news);
                    Turn { again: true, over: false }
                }
                Err(failure) => {
                    self.fail(failure, news);
                    Turn { again: true, over: false }
                }
            },
        }
    }

    fn turn_resolving(&mut self, now: Instant, since: Instant, news: &mut News) -> Turn {
        match self.found.take() {
            Some(Ok(addresses)) => self.known = addresses,
            Some(Err(cause)) if self.known.is_empty() => {
                let Name { host, field } = self.name.clone();
                self.fail(LinkError::Resolve { host, field, cause }, news);
                return Turn { again: true, over: false };
            }
            Some(Err(cause)) => {
                tracing::debug!(%cause, "the name service fails; going on with the addresses it last gave");
            }
            None if self.known.is_empty() || now < since + LOOKUP_PATIENCE => {
                self.state = State::Resolving { since };
                return Turn::default();
            }
            None => tracing::debug!("the name service hangs; going on with the addresses it last gave"),
        }
        let addresses = dial::reachable(&self.known, &self.destination);
        let (destination, name) = (self.destination.clone(), self.name.clone());
        let connecting: Connecting = match destination.url.scheme {
            Scheme::Rtmp | Scheme::Rtmps => {
                Box::pin(open_wire(addresses, destination, self.tls.clone(), name))
            }
            Scheme::Srt => Box::pin(async move {
                Ok(Answered::Srt(Box::new(SrtLink::dial(addresses, destination, name).await?)))
            }),
        };
        self.state = State::Connecting(connecting);
        news.push(LineEvent::Reached(Phase::Tcp));
        Turn { again: true, over: false }
    }

    fn turn_connected(
        &mut self,
        now: Instant,
        channel: &Channel,
        connected: Result<Answered, LinkError>,
        news: &mut News,
    ) -> Turn {
        let video = channel.layout().and_then(|layout| layout.video);
        let hello = Hello {
            login: self.login.as_mut().map(Login::begin).unwrap_or_default(),
            offers_h265: video.is_some_and(|video| video.codec == VideoCodec::H265),
        };
        if connected.is_ok()
            && let Some(abandoned) = self.abandoned.take()
        {
            abandoned.reset();
        }
        match connected.and_then(|answered| Link::open(answered, &self.destination, &self.name, hello)) {
            Ok(link) => {
                let dialing = link.dialing();
                news.extend(dialing.map(LineEvent::Reached));
                let cargo = Cargo::new(now, channel);
                let open = Open { link, cargo, dialing, acknowledged: None, media_from: None };
                self.state = State::Open(Box::new(open));
            }
            Err(failure) => self.fail(failure, news),
        }
        Turn { again: true, over: false }
    }

    /// Looks at what the kernel knows; the sample goes to the core once the line is published.
    pub(super) fn sample(&mut self, channel: &Channel, news: &mut News) -> Option<Sampled> {
        let State::Open(open) = &mut self.state else { return None };
        let sample = match open.link.sample() {
            Ok(sample) => sample,
            Err(failure) => {
                self.fail(failure, news);
                return None;
            }
        };
        while let Some(lost) = open.link.take_lost() {
            news.push(LineEvent::Lost { from: lost.start, to: lost.end });
        }
        let (waiting_bytes, waiting_at) = open.cargo.waiting();
        let sample = Sample {
            waiting_bytes: sample.waiting_bytes + waiting_bytes,
            waiting_at,
            stream_at: channel.stats().at,
            ..sample
        };
        if open.dialing.is_none() {
            news.push(LineEvent::Sampled(sample));
        }
        Some(Sampled {
            sample,
            sent_bytes: open.link.end() - sample.waiting_bytes.saturating_sub(waiting_bytes),
            left_out: open.cargo.left_out(),
            behind: open.cargo.lag(),
            carries: open.cargo.is_feeding(),
            carried: open.media_from.is_some_and(|from| sample.acked_bytes > from),
        })
    }

    /// Whether it is fed.
    pub(super) fn is_feeding(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.cargo.is_feeding())
    }

    /// The stream needs this now: a line that catches up must not be held below it.
    pub(super) fn raise_pace(&mut self, need: BitrateBps) {
        if let State::Open(open) = &mut self.state {
            open.cargo.raise_pace(need);
        }
    }

    /// Whether it is sent what it missed.
    pub(super) fn is_catching_up(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.cargo.is_catching_up())
    }

    /// Whether the far end takes the stream.
    pub(super) fn is_published(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.dialing.is_none())
    }

    /// Why it failed, once.
    pub(super) fn take_failure(&mut self) -> Option<LinkError> {
        self.failure.take()
    }

    /// Answers a far end that asks for a login, by dialling again at once.
    fn log_in(&mut self, now: Instant, demand: &Demand, news: &mut News) {
        let Name { host, field } = self.name.clone();
        let app = match &self.destination.url.path {
            PushPath::Rtmp { app, .. } => app.reveal(),
            PushPath::Srt { .. } => "",
        };
        let answer = match &mut self.login {
            Some(login) => login.answer(demand, app, random(), field),
            None => Err(LoginError::Missing { field: field.to_owned() }),
        };
        match answer {
            Ok(()) => {
                tracing::debug!(?demand, "the far end asks for a login: dialling again with the answer");
                self.found = Some(Ok(self.known.clone()));
                self.state = State::Resolving { since: now };
            }
            Err(cause) => self.fail(LinkError::Login { host, cause }, news),
        }
    }

    /// Tells, once, that the far end may take the stream and show nothing.
    fn doubt_h265(&mut self, open: &Open) {
        if !self.doubted_h265 && open.dialing.is_none() && open.link.may_lack_h265() {
            self.doubted_h265 = true;
            let host = &self.name.host;
            tracing::warn!(
                "{host} does not say that it takes H.265, and may not understand it: look whether the picture \
                 arrives, else let the stream be H.264 (encoder = \"auto\")"
            );
        }
    }

    fn fail(&mut self, failure: LinkError, news: &mut News) {
        self.state = State::Idle;
        news.push(failure.event());
        self.failure = Some(failure);
    }
}

/// What no far end can guess; 0 on a machine without randomness, which makes a proof no worse than its password.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// What a look at a line showed, for its figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    pub(super) sample: Sample,
    pub(super) sent_bytes: u64,
    pub(super) left_out: u64,
    pub(super) behind: Ticks,
    pub(super) carries: bool,
    /// Media of this connection was acknowledged.
    pub(super) carried: bool,
}

/// Reaches the far end, and makes ready for TLS where there is TLS.
async fn open_wire(
    addresses: Vec<SocketAddr>,
    destination: Destination,
    tls: Option<Tls>,
    name: Name,
) -> Result<Answered, LinkError> {
    let (interface, source) = (destination.interface.clone(), destination.source_address);
    let connected = dial::connect(addresses, interface, source).await;
    let socket = connected.map_err(|cause| name.unreachable(&destination, cause))?;
    let Some(tls) = tls else { return Ok(Answered::Wire(Wire::plain(socket))) };
    let session = tls.session().await.map_err(|cause| LinkError::tls(&name, cause))?;
    Ok(Answered::Wire(Wire::tls(socket, session)))
}

impl Open {
    fn turn(
        &mut self,
        now: Instant,
        behind: Ticks,
        slow_log: &mut FadingGate,
        news: &mut News,
    ) -> Result<Turn, LinkError> {
        let mut turn = Turn::default();
        for _ in 0..ROUNDS_MAX {
            self.link.drive()?;
            self.tell_progress(news);
            let fed =
                self.cargo.feed(now, behind, &mut self.link, slow_log, &mut |event| news.push(event))?;
            self.link.drive()?;
            turn.again = fed == Fed::More || (fed == Fed::Full && self.link.has_room());
            turn.over = fed == Fed::Over && self.link.has_room();
            if !turn.again {
                break;
            }
        }
        Ok(turn)
    }

    fn tell_progress(&mut self, news: &mut News) {
        let dialing = self.link.dialing();
        if dialing != self.dialing {
            self.dialing = dialing;
            news.push(dialing.map_or(LineEvent::Published, LineEvent::Reached));
        }
        let acknowledged = self.link.acknowledged();
        if acknowledged != self.acknowledged {
            self.acknowledged = acknowledged;
            news.extend(acknowledged.map(LineEvent::Acknowledged));
        }
    }
}
