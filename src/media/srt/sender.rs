//! What waits to be sent, what is under way, and what must be sent again (§4.8 and §5.1).
//!
//! Packets are counted from 0 in 64 bits here; only on the wire do their numbers have 31 bits and begin anywhere.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use super::crypto::Keys;
use super::handshake::{Accepted, FLIGHT_MAX};
use super::packet::{self, Ack, DataHeader, SEQ_MASK, kind};

/// Payload bytes that may wait here, by one tag more at most. What waits here can no longer be sent by another line.
const WAITING_BYTES_FULL: u64 = 16 << 10;

/// What libsrt says of the round trip before it has measured it.
const UNMEASURED: (u32, u32) = (100_000, 50_000);

/// A far end without room is sent this many packets all the same: it says nothing by itself when it has room again.
const ROOM_MIN: u32 = 2;

/// The pace before the stream's need is known, and the lowest: bits per second.
const PACE_UNKNOWN: u64 = 8_000_000;
const PACE_MIN: u64 = 500_000;

/// A sender that was held up makes up for this much: a timer of 1 ms that comes late, and a small picture at once.
const BURST_MICROS: u64 = 8_000;

/// What waits is out within this part of the far end's latency: the rest is for repeats.
const LATENCY_FOR_PACING: u64 = 4;

/// How much of the latency what is under way may be old, in quarters: behind a queue that is longer, a repeat comes
/// too late, and so would another line that carries on.
const LATENCY_UNDER_WAY: u64 = 3;

/// What a far end and a timer may need beyond the round trip, on a line whose latency is hardly longer than that.
const ANSWER_MICROS: u64 = 50_000;

/// Bytes of IP, UDP and SRT headers that the line carries with each payload.
const OVERHEAD_BYTES: u64 = 44;

/// A far end's program is given this much time to take what is due, and its clock may be this much off ours.
const PLAY_MICROS: u64 = 20_000;

/// What is due within the same span is counted as one: of a latency of half a minute, 3,000 entries are kept.
const HELD_STEP_MICROS: u64 = 10_000;

/// Runs of lost bytes that wait to be asked for; beyond, the last one grows over what lies between: more is called lost
/// than was, never less.
const LOST_MAX: usize = 16;

/// How long a round trip is believed to be the shortest: twice this at most. A route that gets longer is no queue.
const RTT_BASE_MICROS: u64 = 10_000_000;

/// Behind a gap a far end acknowledges nothing new, but says again what it lacks: a sign of life, until so many repeats
/// of the oldest were lost in a row.
const REPEATS_BELIEVED: u32 = 3;

/// A far end that says nothing is asked again within this time, however long it has been silent.
const PROBE_EVERY_MAX_MICROS: u64 = 250_000;

/// What a connection has carried. Bytes are payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Bytes taken.
    pub taken_bytes: u64,
    /// Bytes that the far end acknowledged.
    pub acked_bytes: u64,
    /// Bytes that wait for their first sending.
    pub waiting_bytes: u64,
    /// Smoothed round trip; zero where nothing was measured.
    pub rtt: Duration,
    /// Packets that arrived, in order or not, as far as is known.
    pub arrived_packets: u64,
    /// Packets sent, repeats included.
    pub sent_packets: u64,
    /// Packets sent again.
    pub repeated_packets: u64,
    /// How often the far end said again what it lacks, as a far end does that lives.
    pub signs_of_life: u32,
    /// Packets that the far end went on without, as far as one can tell, although it acknowledged them.
    pub lost_packets: u64,
}

/// A packet that was sent and not acknowledged.
struct Sent {
    payload: Vec<u8>,
    key: u8,
    born_micros: u64,
    last_micros: u64,
    repeats: u32,
    /// The far end said that it lacks it.
    missing: bool,
}

/// The sending half of a connection.
pub(super) struct Sender {
    to: u32,
    /// Where the wire's time begins.
    wire_from: u64,
    first_seq: u32,
    latency_micros: u64,
    window: usize,
    keys: Option<Keys>,
    waiting: VecDeque<(u64, Vec<u8>)>,
    flight: VecDeque<Sent>,
    /// The number of the first packet in flight: all before are acknowledged.
    acked: u64,
    /// What the far end acknowledged and holds back until it is due: where in the stream it ends, and when its program
    /// has it, oldest first.
    held: VecDeque<(u64, u64)>,
    played_bytes: u64,
    /// Bytes that the far end went on without, oldest first.
    lost: VecDeque<Range<u64>>,
    /// Packets before this one may be sent, the far end has room for them.
    limit: u64,
    /// The packet after the last one that is known to have arrived.
    arrived_upto: u64,
    /// To be sent again, oldest first.
    again: BTreeSet<u64>,
    rtt_micros: u64,
    rtt_var_micros: u64,
    /// The shortest round trip since then, and of the span before.
    rtt_base: (u64, u64, u64),
    /// When the far end last had news of packets, or was first owed some.
    news_micros: u64,
    /// Repeats sent since then because nothing was heard.
    probes: u32,
    probed_micros: u64,
    /// What was under way when the far end was last silent: before this one.
    doubted_upto: u64,
    pace_bps: u64,
    /// What a large picture needs to be out in time; 0 once little waits.
    hurry_bps: u64,
    next_send_micros: u64,
    figures: Figures,
}

impl Sender {
    pub(super) fn new(
        now: u64,
        wire_from: u64,
        first_seq: u32,
        accepted: Accepted,
        latency_millis: u16,
        rtt_micros: u64,
        keys: Option<Keys>,
    ) -> Sender {
        Sender {
            to: accepted.socket,
            wire_from,
            first_seq,
            latency_micros: u64::from(latency_millis.max(accepted.latency_millis)) * 1_000,
            window: accepted.window,
            keys,
            waiting: VecDeque::new(),
            flight: VecDeque::new(),
            acked: 0,
            held: VecDeque::new(),
            played_bytes: 0,
            lost: VecDeque::new(),
            limit: accepted.window as u64,
            arrived_upto: 0,
            again: BTreeSet::new(),
            rtt_micros,
            rtt_var_micros: rtt_micros / 2,
            rtt_base: (now, rtt_micros, rtt_micros),
            news_micros: now,
            probes: 0,
            probed_micros: now,
            doubted_upto: 0,
            pace_bps: PACE_UNKNOWN,
            hurry_bps: 0,
            next_send_micros: 0,
            figures: Figures::default(),
        }
    }

    pub(super) fn to(&self) -> u32 {
        self.to
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_micros)
    }

    pub(super) fn keys_mut(&mut self) -> Option<&mut Keys> {
        self.keys.as_mut()
    }

    pub(super) fn figures(&self) -> Figures {
        Figures { rtt: Duration::from_micros(self.rtt_micros), ..self.figures }
    }

    /// Bytes that the far end's program has: what is acknowledged lies in the far end's buffer until it is due, and is
    /// gone with it if it is killed.
    pub(super) fn played_bytes(&mut self, now: u64) -> u64 {
        while let Some((end, _)) = self.held.front().copied().filter(|(_, due)| *due <= now) {
            self.played_bytes = end;
            self.held.pop_front();
        }
        self.played_bytes
    }

    /// Nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_empty()
    }

    /// How fast to send at most, headers and repeats included: twice what the stream needs. A picture that would take
    /// too long by that goes faster.
    pub(super) fn set_pace(&mut self, bits_per_second: u64) {
        self.pace_bps = bits_per_second.max(PACE_MIN);
    }

    /// Whether another tag may be put: what waits is little, what is under way is young, and the far end is not silent.
    pub(super) fn has_room(&self, now: u64) -> bool {
        self.figures.waiting_bytes < WAITING_BYTES_FULL
            && !self.is_silent(now)
            && self.flight.len() < FLIGHT_MAX / 2
            && !self.is_clogged(now)
    }

    /// Whether what is under way stands in a queue for so long that more would come too late. Behind a gap nothing is
    /// acknowledged until it is filled: that is no queue.
    fn is_clogged(&self, now: u64) -> bool {
        let longest = (self.latency_micros * LATENCY_UNDER_WAY / 4)
            .max(self.rtt_base_micros() + self.latency_micros / LATENCY_FOR_PACING + ANSWER_MICROS);
        self.flight.front().is_some_and(|oldest| !oldest.missing && now > oldest.born_micros + longest)
    }

    pub(super) fn put(&mut self, now: u64, payload: &[u8]) {
        if self.is_idle() {
            self.news_micros = now;
        }
        self.figures.taken_bytes += payload.len() as u64;
        self.figures.waiting_bytes += payload.len() as u64;
        self.waiting.push_back((now, payload.to_vec()));
        let span = (self.latency_micros / LATENCY_FOR_PACING).max(1_000);
        self.hurry_bps = self.hurry_bps.max(self.figures.waiting_bytes * 8_000_000 / span);
    }

    pub(super) fn on_ack(&mut self, now: u64, ack: Ack) {
        let Some(upto) = self.place(ack.upto).filter(|upto| *upto >= self.acked && *upto <= self.next())
        else {
            return;
        };
        if let Some((rtt, var, room)) = ack.line {
            if (rtt, var) != UNMEASURED {
                (self.rtt_micros, self.rtt_var_micros) = (u64::from(rtt), u64::from(var));
                self.note_rtt(now);
            }
            self.limit = self.limit.max(upto + u64::from(room.max(ROOM_MIN)).min(self.window as u64));
        }
        if upto == self.acked {
            return;
        }
        let mut born_micros = 0;
        for number in self.acked..upto {
            let Some(done) = self.flight.pop_front() else { break };
            let from = self.figures.acked_bytes;
            self.figures.acked_bytes += done.payload.len() as u64;
            born_micros = done.born_micros;
            if self.may_be_skipped(now, &done, number < self.doubted_upto) {
                self.lose(from..self.figures.acked_bytes);
            }
        }
        self.acked = upto;
        self.hold(born_micros);
        self.again = self.again.split_off(&upto);
        self.heard(now, upto);
    }

    /// Whether the far end may have acknowledged a packet without having it. It goes over a gap as soon as what is
    /// behind it is due, and the next acknowledgement does not tell. So what is acknowledged so late is believed only
    /// if the far end never said that it lacks it, and was never silent about it. That calls a little too much lost,
    /// such as a repeat that came at the last moment: better sent twice than not at all.
    fn may_be_skipped(&self, now: u64, done: &Sent, is_doubted: bool) -> bool {
        let is_late = now >= done.born_micros + self.latency_micros + self.rtt_base_micros() / 2;
        is_late && (done.missing || done.repeats > 0 || is_doubted)
    }

    fn lose(&mut self, bytes: Range<u64>) {
        self.figures.lost_packets += 1;
        let is_full = self.lost.len() >= LOST_MAX;
        match self.lost.back_mut() {
            Some(last) if last.end == bytes.start || is_full => last.end = bytes.end,
            _ => self.lost.push_back(bytes),
        }
    }

    /// Bytes that the far end went on without, as its program's are counted: told before these are told to be its
    /// program's.
    pub(super) fn take_lost(&mut self) -> Option<Range<u64>> {
        self.lost.pop_front()
    }

    /// The shortest round trip of late: the line without queues.
    fn rtt_base_micros(&self) -> u64 {
        let (_, current, before) = self.rtt_base;
        current.min(before)
    }

    fn note_rtt(&mut self, now: u64) {
        let (since, current, _) = self.rtt_base;
        self.rtt_base = if now >= since + RTT_BASE_MICROS {
            (now, self.rtt_micros, current)
        } else {
            (since, current.min(self.rtt_micros), self.rtt_base.2)
        };
    }

    /// What is acknowledged so far, the last of it put at `born_micros`, is the program's once it is due.
    fn hold(&mut self, born_micros: u64) {
        let due = born_micros + self.latency_micros + self.rtt_micros + PLAY_MICROS;
        let newest = self.held.back().map_or(0, |(_, due)| *due);
        let due = due.next_multiple_of(HELD_STEP_MICROS).max(newest);
        match self.held.back_mut().filter(|(_, newest)| *newest == due) {
            Some((end, _)) => *end = self.figures.acked_bytes,
            None => self.held.push_back((self.figures.acked_bytes, due)),
        }
    }

    pub(super) fn on_nak(&mut self, now: u64, body: &[u8]) {
        let mut work = self.flight.len();
        let patience = self.rtt_micros + self.rtt_var_micros;
        let mut arrived_upto = self.arrived_upto;
        let mut is_about_these = false;
        for (first, last) in packet::losses(body) {
            let (Some(first), Some(last)) = (self.place(first), self.place(last)) else { continue };
            if first > last || last >= self.next() {
                continue;
            }
            for number in first.max(self.acked)..=last {
                // A list that names more than is under way names some of it twice.
                let Some(left) = work.checked_sub(1) else { break };
                work = left;
                let Some(sent) = self.flight.get_mut((number - self.acked) as usize) else { break };
                sent.missing = true;
                is_about_these = true;
                // The far end repeats itself until a repeat arrives: one that is under way is given its time.
                if sent.repeats == 0 || now >= sent.last_micros + patience {
                    self.again.insert(number);
                }
            }
            // What comes behind a gap has arrived, or nobody would know of the gap.
            arrived_upto = arrived_upto.max((last + 2).min(self.next()));
        }
        if arrived_upto > self.arrived_upto {
            self.heard(now, arrived_upto);
        }
        if is_about_these {
            self.note_sign_of_life(now);
        }
    }

    /// The far end asks for what is under way. It may do so for as long as it waits for the oldest: it goes on then.
    fn note_sign_of_life(&mut self, now: u64) {
        let Some(oldest) = self.flight.front() else { return };
        let until = oldest.born_micros + self.latency_micros + self.rtt_micros;
        if oldest.missing && oldest.repeats < REPEATS_BELIEVED && now < until {
            (self.news_micros, self.probes) = (now, 0);
            self.figures.signs_of_life = self.figures.signs_of_life.wrapping_add(1);
        }
    }

    /// The next datagram, if one is due.
    pub(super) fn transmit(&mut self, now: u64) -> Option<Vec<u8>> {
        self.probe_if_due(now);
        if now < self.next_send_micros {
            return None;
        }
        while let Some(number) = self.again.pop_first() {
            let header = self.header(number);
            let Some(sent) = number.checked_sub(self.acked).and_then(|at| self.flight.get_mut(at as usize))
            else {
                continue;
            };
            (sent.last_micros, sent.repeats) = (now, sent.repeats + 1);
            let header = DataHeader {
                key: sent.key,
                again: true,
                born_micros: sent.born_micros - self.wire_from,
                ..header
            };
            let out = packet::data(header, &sent.payload);
            self.figures.repeated_packets += 1;
            self.sent(now, out.len());
            return Some(out);
        }
        let number = self.next();
        if !self.may_send() {
            return None;
        }
        let (born_micros, mut payload) = self.waiting.pop_front()?;
        self.figures.waiting_bytes -= payload.len() as u64;
        let header = self.header(number);
        let key = self.keys.as_mut().map_or(0, |keys| keys.encrypt(header.seq, &mut payload));
        let out =
            packet::data(DataHeader { key, born_micros: born_micros - self.wire_from, ..header }, &payload);
        if self.flight.is_empty() {
            // Only now is the far end owed anything.
            (self.news_micros, self.probes) = (now, 0);
        }
        self.flight.push_back(Sent {
            payload,
            key,
            born_micros,
            last_micros: now,
            repeats: 0,
            missing: false,
        });
        self.sent(now, out.len());
        Some(out)
    }

    /// When [`Sender::transmit`] may have something, if nothing is heard before.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let may_send = self.next() < self.limit && self.flight.len() < self.window;
        let send = (!self.again.is_empty() || (may_send && !self.waiting.is_empty()))
            .then_some(self.next_send_micros);
        let probe = self.probe_at();
        let keys = self.keys.as_ref().and_then(Keys::wake_at);
        [send, probe, keys].into_iter().flatten().min()
    }

    /// Whether the far end has room for one more.
    pub(super) fn may_send(&self) -> bool {
        self.next() < self.limit && self.flight.len() < self.window
    }

    fn next(&self) -> u64 {
        self.acked + self.flight.len() as u64
    }

    /// The place of a number from the wire, the nearest to what is under way.
    fn place(&self, seq: u32) -> Option<u64> {
        let here = self.first_seq.wrapping_add(self.acked as u32) & SEQ_MASK;
        let ahead = seq.wrapping_sub(here) & SEQ_MASK;
        // The upper half stands for what is behind.
        let distance = i64::from(ahead) - if ahead > SEQ_MASK / 2 { 1 << 31 } else { 0 };
        self.acked.checked_add_signed(distance)
    }

    fn header(&self, number: u64) -> DataHeader {
        DataHeader {
            seq: self.first_seq.wrapping_add(number as u32) & SEQ_MASK,
            // From 1 on; 0 means none.
            message: (number % 0x03FF_FFFF) as u32 + 1,
            key: 0,
            again: false,
            born_micros: 0,
            to: self.to,
        }
    }

    /// The far end let know of packets before `upto` that it has.
    fn heard(&mut self, now: u64, upto: u64) {
        (self.news_micros, self.probes) = (now, 0);
        self.arrived_upto = self.arrived_upto.max(upto);
        let known = (self.arrived_upto - self.acked) as usize;
        let missing = self.flight.iter().take(known).filter(|sent| sent.missing).count() as u64;
        // One that was missing and came is not known of before all is acknowledged up to it: never less than before.
        self.figures.arrived_packets = self.figures.arrived_packets.max(self.arrived_upto - missing);
    }

    fn sent(&mut self, now: u64, bytes: usize) {
        self.figures.sent_packets += 1;
        if self.figures.waiting_bytes < WAITING_BYTES_FULL {
            self.hurry_bps = 0;
        }
        let pace = if self.is_queued() { self.pace_bps / 2 } else { self.pace_bps.max(self.hurry_bps) };
        let cost = (bytes as u64 + OVERHEAD_BYTES) * 8_000_000 / pace;
        self.next_send_micros = self.next_send_micros.max(now.saturating_sub(BURST_MICROS)) + cost;
    }

    /// Whether a queue stands on the way. To send faster than the stream comes, which is half the pace, makes it longer.
    fn is_queued(&self) -> bool {
        self.rtt_micros > self.rtt_base_micros() + self.latency_micros / 4
    }

    /// How long the far end may need for an answer, its own repeats of a lost one included.
    fn answer_micros(&self) -> u64 {
        2 * (self.rtt_micros + 4 * self.rtt_var_micros).min(2_000_000) + 40_000
    }

    fn is_silent(&self, now: u64) -> bool {
        !self.flight.is_empty() && now >= self.news_micros + self.answer_micros()
    }

    fn probe_at(&self) -> Option<u64> {
        if self.flight.is_empty() {
            return None;
        }
        let first = self.news_micros + self.answer_micros();
        let again =
            self.probed_micros + self.answer_micros().min(PROBE_EVERY_MAX_MICROS.max(self.rtt_micros));
        Some(if self.probes == 0 { first } else { again })
    }

    /// Silence: the first and the last packet under way go out again. The first is what the far end waits for, and by
    /// the last it sees all that it lacks. To repeat everything would only fill a line that is narrow or gone.
    fn probe_if_due(&mut self, now: u64) {
        if self.probe_at().is_none_or(|at| now < at) {
            return;
        }
        (self.probes, self.probed_micros) = (self.probes.saturating_add(1), now);
        self.doubted_upto = self.next();
        self.again.insert(self.acked);
        self.again.insert(self.next() - 1);
    }

    /// A shutdown, to be sent once.
    pub(super) fn shutdown(&self, at_micros: u64) -> Vec<u8> {
        packet::control(kind::SHUTDOWN, 0, 0, at_micros, self.to, &[])
    }
}
