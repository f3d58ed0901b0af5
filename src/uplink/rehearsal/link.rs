//! A simulated line with the small shell that obeys the failover core, as `link.rs` does with sockets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::units::BitrateBps;
use crate::sim::encoder::Ring;
use crate::sim::line::{Conn, Path};
use crate::sim::server::{Manners, Server};
use crate::sim::{Rng, ms};
use crate::uplink::failover::{Dial, Ending, GapReason, LineEvent, Phase, Refusal};
use crate::uplink::inflight::Seq;
use crate::uplink::lines::Sample;
use crate::uplink::pacer::Pacer;

/// What the kernel may hold unsent: `TCP_NOTSENT_LOWAT`.
const UNSENT_MAX: u64 = 32 << 10;

const TRICKLE_BYTES: u64 = 60;

/// A connection that was given up goes on delivering by itself; no more of them than this are played.
const GHOSTS_MAX: usize = 4;

/// A connection that is published, or was.
struct Live {
    id: u32,
    dial: Dial,
    tcp: Conn,
    /// Where tags end in the byte stream; `None`: a trickle.
    ends: VecDeque<(u64, Option<u64>)>,
    /// Which tag it was put at, and where that begins in the byte stream.
    put_at: Option<(u64, u64)>,
    /// The next tag, while it is fed.
    cursor: Option<u64>,
    pacer: Pacer,
    last_seq: Option<u64>,
    last_stamp: Option<Instant>,
    /// The far end is gone and its reset arrives then.
    ends_at: Option<(Instant, Ending)>,
}

struct Dialing {
    id: u32,
    dial: Dial,
    phase: Phase,
    due: Instant,
}

/// One destination.
pub(super) struct Link {
    pub(super) name: &'static str,
    pub(super) path: Path,
    pub(super) server: Server,
    dialing: Option<Dialing>,
    live: Option<Live>,
    ghosts: VecDeque<Live>,
    connections: u32,
}

impl Link {
    pub(super) fn new(name: &'static str, path: Path) -> Link {
        Link {
            name,
            path,
            server: Server::new(Manners::srs()),
            dialing: None,
            live: None,
            ghosts: VecDeque::new(),
            connections: 0,
        }
    }

    // ---- what the core asks for -------------------------------------------------------------------------------

    pub(super) fn connect(&mut self, now: Instant, dial: Dial) {
        assert!(self.dialing.is_none() && self.live.is_none(), "{}: dialled while connected", self.name);
        self.connections += 1;
        self.dialing = Some(Dialing { id: self.connections, dial, phase: Phase::Resolve, due: now + ms(5) });
    }

    pub(super) fn disconnect(&mut self, dial: Dial) {
        self.dialing = self.dialing.take().filter(|dialing| dialing.dial != dial);
        if let Some(mut live) = self.live.take_if(|live| live.dial == dial) {
            live.cursor = None;
            self.ghosts.push_back(live);
            if self.ghosts.len() > GHOSTS_MAX {
                self.ghosts.pop_front();
            }
        }
    }

    pub(super) fn carry(&mut self, now: Instant, dial: Dial, from: u64, pace: Option<BitrateBps>) {
        let live =
            self.live.as_mut().filter(|live| live.dial == dial).expect("only a published line carries");
        live.cursor = Some(from);
        live.put_at = Some((from, live.tcp.written()));
        live.pacer = Pacer::new(now, pace);
    }

    pub(super) fn rest(&mut self, dial: Dial) {
        let live = self.live.as_mut().filter(|live| live.dial == dial).expect("only a published line rests");
        live.cursor = None;
    }

    pub(super) fn trickle(&mut self, dial: Dial, at: Option<Instant>) {
        let live =
            self.live.as_mut().filter(|live| live.dial == dial).expect("only a published line trickles");
        live.last_stamp = live.last_stamp.max(at);
        let end = live.tcp.write(TRICKLE_BYTES);
        live.ends.push_back((end, None));
    }

    // ---- what happens to it -----------------------------------------------------------------------------------

    pub(super) fn kill(&mut self, now: Instant) {
        self.server.kill();
        self.ghosts.clear();
        self.cut(now, Ending::Reset);
    }

    /// The connection ends at the far end; we hear of it half a round trip later, if at all.
    pub(super) fn cut(&mut self, now: Instant, ending: Ending) {
        let at = now + self.path.rtt / 2;
        if let Some(live) = &mut self.live {
            self.server.closed(live.id);
            live.ends_at.get_or_insert((at, ending));
        }
    }

    pub(super) fn forget_ghosts(&mut self) {
        self.ghosts.clear();
    }

    pub(super) fn is_feeding(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.cursor.is_some())
    }

    /// Whether the far end has read of what the line was given since it was put at the tag `from`.
    pub(super) fn has_read_of(&self, from: u64) -> bool {
        let put_at = self.live.as_ref().and_then(|live| Some((live.tcp.read(), live.put_at?)));
        put_at.is_some_and(|(read, (seq, begins))| seq == from && read > begins)
    }

    pub(super) fn owed_first(&self) -> Option<u64> {
        self.live.as_ref()?.ends.iter().find_map(|(_, seq)| *seq)
    }

    // ---- time -------------------------------------------------------------------------------------------------

    /// Moves to `now`: tags that the far end read are told to `read`, news for the core are put into `news`.
    pub(super) fn step(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        news: &mut Vec<(Dial, LineEvent)>,
        mut read: impl FnMut(u64),
    ) {
        self.dial(now, news);
        for live in self.live.iter_mut().chain(&mut self.ghosts) {
            if live.ends_at.is_some() {
                continue;
            }
            live.tcp.step(now, &self.path, self.server.frozen, rng);
            while live.ends.front().is_some_and(|(end, _)| *end <= live.tcp.read())
                && let Some((_, seq)) = live.ends.pop_front()
            {
                self.server.heard(now, live.id);
                seq.into_iter().for_each(&mut read);
            }
        }
        let (server, path) = (&mut self.server, self.path);
        self.ghosts.retain(|ghost| {
            let done = ghost.tcp.is_drained() && !path.silent && !server.frozen;
            if done || server.drops(now, ghost.id) {
                server.closed(ghost.id);
                return false;
            }
            true
        });
        if self.live.as_ref().is_some_and(|live| self.server.drops(now, live.id)) {
            self.cut(now, Ending::Closed);
        }
        if let Some(live) = &self.live
            && let Some((at, ending)) = live.ends_at
            && at <= now
            && !self.path.silent
        {
            news.push((live.dial, LineEvent::Ended(ending)));
            self.live = None;
        }
    }

    fn dial(&mut self, now: Instant, news: &mut Vec<(Dial, LineEvent)>) {
        let Some(dialing) = self.dialing.as_mut().filter(|dialing| dialing.due <= now) else { return };
        if self.path.silent {
            dialing.due = now + Duration::from_secs(1);
            return;
        }
        let next = match dialing.phase {
            Phase::Resolve => Some((Phase::Tcp, self.path.rtt)),
            Phase::Tcp | Phase::Tls if !self.server.up => {
                news.push((dialing.dial, LineEvent::Ended(Ending::Error)));
                self.dialing = None;
                return;
            }
            Phase::Tcp | Phase::Tls => {
                Some((Phase::Handshake, self.path.rtt * 2 + self.server.handshake_delay))
            }
            Phase::Handshake if self.server.frozen => Some((Phase::Handshake, ms(100))),
            Phase::Handshake => Some((Phase::Publish, self.path.rtt)),
            Phase::Publish => None,
        };
        if let Some((phase, takes)) = next {
            if !self.server.up {
                news.push((dialing.dial, LineEvent::Ended(Ending::Reset)));
                self.dialing = None;
                return;
            }
            (dialing.phase, dialing.due) = (phase, now + takes);
            news.push((dialing.dial, LineEvent::Reached(phase)));
            return;
        }
        let (id, dial) = (dialing.id, dialing.dial);
        self.dialing = None;
        if !self.server.up {
            news.push((dial, LineEvent::Ended(Ending::Reset)));
        } else if self.server.publish(now, id) {
            self.live = Some(Live {
                id,
                dial,
                tcp: Conn::new(now, &self.path),
                ends: VecDeque::new(),
                put_at: None,
                cursor: None,
                pacer: Pacer::new(now, None),
                last_seq: None,
                last_stamp: None,
                ends_at: None,
            });
            news.push((dial, LineEvent::Published));
        } else {
            news.push((dial, LineEvent::Refused(Refusal::Busy)));
        }
    }

    /// Feeds the line from the ring, as far as the socket takes it.
    pub(super) fn feed(&mut self, now: Instant, ring: &Ring, news: &mut Vec<(Dial, LineEvent)>) {
        let name = self.name;
        let Some(live) = &mut self.live else { return };
        let Some(mut cursor) = live.cursor else { return };
        if cursor < ring.first()
            && let Some((_, newest)) = ring.gops()
        {
            let why = GapReason::Overrun;
            let (first, last) = (Seq(cursor), Seq(newest - 1));
            news.push((live.dial, LineEvent::Skipped { first, last, pictures_only: false, why }));
            cursor = newest;
        }
        while live.tcp.unsent() < UNSENT_MAX && live.pacer.may_send(now) {
            let Some(tag) = ring.get(cursor) else {
                live.pacer.caught_up();
                break;
            };
            let follows = live.last_seq.is_some_and(|last| last + 1 == tag.seq);
            assert!(follows || tag.seq == tag.gop, "{name}: tag {} decodes nowhere", tag.seq);
            assert!(live.last_stamp.is_none_or(|last| last <= tag.at), "{name}: time runs backwards");
            (live.last_seq, live.last_stamp) = (Some(tag.seq), Some(tag.at));
            live.pacer.sent(now, tag.bytes);
            let end = live.tcp.write(tag.bytes);
            live.ends.push_back((end, Some(tag.seq)));
            let (seq, gop, at) = (Seq(tag.seq), Seq(tag.gop), ring.time(tag.at));
            news.push((live.dial, LineEvent::Wrote { end, seq, gop, at }));
            cursor += 1;
        }
        live.cursor = Some(cursor);
    }

    pub(super) fn sample(&self, ring: &Ring) -> Option<(Dial, Sample)> {
        let live = self.live.as_ref()?;
        let kernel = live.tcp.kernel();
        let sample = Sample {
            acked_bytes: kernel.acked_bytes,
            owed_bytes: kernel.owed_bytes,
            unsent_bytes: kernel.unsent_bytes,
            waiting_bytes: live.cursor.map_or(0, |cursor| ring.bytes_from(cursor)),
            stream_at: ring.newest_at(),
            waiting_at: live.cursor.and_then(|cursor| ring.get(cursor)).map(|tag| ring.time(tag.at)),
            rtt: kernel.rtt,
            delivered_segments: Some(kernel.delivered_segments),
            sent_segments: kernel.sent_segments,
            retransmitted_segments: kernel.retransmitted_segments,
            read_bytes: None,
            window_bytes: Some(kernel.window_bytes),
        };
        Some((live.dial, sample))
    }
}
