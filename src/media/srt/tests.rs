//! A listener of the tests' own at the end of a line that loses, delays and falls silent, all in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::crypto::Keys;
use super::packet::{SEQ_MASK, control, extension, kind, word};
use super::*;
use crate::base::clock;

const OWN: u32 = 77;
const FAR: u32 = 1_234;
const COOKIE: u32 = 0x0C00_C1E5;

/// What a listener does with who comes.
#[derive(Clone, Default)]
struct House {
    passphrase: Option<&'static str>,
    key_bytes: Option<usize>,
    refuses: Option<u32>,
    is_plain_rtp: bool,
    /// Goes over a gap once what is behind it is due, as listeners for live streams do.
    skips: bool,
    /// Accepts, and answers every time with nothing behind the handshake.
    is_bare: bool,
    /// Tells who has no passphrase that it goes in clear.
    says_in_clear: bool,
}

/// A listener and receiver: acknowledges every 10 ms, says at once what it lacks and again every 20 ms.
struct Far {
    house: House,
    stream_id: Option<String>,
    keys: Option<Keys>,
    first: Option<u32>,
    /// Payloads by place, as they came.
    got: BTreeMap<u64, Vec<u8>>,
    repeats_heard: u64,
    highest: u64,
    acks: u32,
    /// The last acknowledgement that was answered.
    answered: u32,
    acked: u64,
    key_seen: u8,
    /// Microseconds of its own clock; those by which ours is behind it; and when what has come was put, by ours.
    now: u64,
    base: u64,
    born: BTreeMap<u64, u64>,
    skipped: BTreeSet<u64>,
}

impl Far {
    fn new(house: House) -> Far {
        Far {
            house,
            stream_id: None,
            keys: None,
            first: None,
            got: BTreeMap::new(),
            repeats_heard: 0,
            highest: 0,
            acks: 0,
            answered: 0,
            acked: 0,
            key_seen: 0,
            now: 0,
            base: 0,
            born: BTreeMap::new(),
            skipped: BTreeSet::new(),
        }
    }

    fn upto(&self) -> u64 {
        let mut upto = self.acked;
        while self.got.contains_key(&upto) {
            upto += 1;
        }
        upto
    }

    /// All that was received in order.
    fn stream(&self) -> Vec<u8> {
        (0..self.upto()).flat_map(|at| self.got[&at].clone()).collect()
    }

    fn seq(&self, place: u64) -> u32 {
        self.first.unwrap_or(0).wrapping_add(place as u32) & SEQ_MASK
    }

    fn hear(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let first = word(datagram, 0).unwrap();
        if first >> 31 == 0 {
            return self.take(datagram);
        }
        let body = &datagram[16..];
        match (first >> 16 & 0x7FFF) as u16 {
            kind::HANDSHAKE => {
                if self.first.is_none() {
                    self.base = self.now - u64::from(word(datagram, 2).unwrap());
                }
                self.shake(body)
            }
            kind::ACK_ACK => {
                self.answered = self.answered.max(word(datagram, 1).unwrap());
                Vec::new()
            }
            kind::USER => {
                // A key to come, as this very sender makes it: repeated, it is confirmed.
                vec![control(kind::USER, extension::KM_RESPONSE, 0, 0, OWN, body)]
            }
            _ => Vec::new(),
        }
    }

    fn shake(&mut self, body: &[u8]) -> Vec<Vec<u8>> {
        let mut fields: Vec<u32> = (0..12).map(|at| word(body, at).unwrap()).collect();
        if self.house.is_plain_rtp {
            return vec![control(kind::HANDSHAKE, 0, 0, 0, OWN, &body[..48])];
        }
        let bytes =
            |fields: &[u32]| -> Vec<u8> { fields.iter().flat_map(|word| word.to_be_bytes()).collect() };
        if fields[5] == 1 {
            let length = self.house.key_bytes.map_or(0, |bytes| bytes as u32 / 8);
            (fields[0], fields[1], fields[7]) = (5, length << 16 | 0x4A17, COOKIE);
            return vec![control(kind::HANDSHAKE, 0, 0, 0, OWN, &bytes(&fields))];
        }
        assert_eq!((fields[0], fields[7]), (5, COOKIE));
        let (mut rest, mut km) = (&body[48..], None);
        while let Some(head) = word(rest, 0) {
            let length = (head & 0xFFFF) as usize * 4;
            let content = &rest[4..4 + length];
            match (head >> 16) as u16 {
                extension::HS_REQUEST => assert_eq!(word(content, 1), Some(0x3F)),
                extension::KM_REQUEST => km = Some(content.to_vec()),
                extension::STREAM_ID => {
                    let text: Vec<u8> =
                        content.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
                    self.stream_id = Some(String::from_utf8(text).unwrap().trim_end_matches('\0').to_owned());
                }
                other => panic!("extension {other}"),
            }
            rest = &rest[4 + length..];
        }
        let mut code = self.house.refuses;
        if self.house.passphrase.is_some() != km.is_some() {
            code = Some(1011);
        }
        if let (Some(passphrase), Some(km)) = (self.house.passphrase, &km) {
            // The same dice make the same keys, if the passphrase is the same.
            let keys = Keys::new(passphrase, usize::from(km[15]) * 4, [3; 16], [4; 32], 1 << 24);
            if keys.message() == *km { self.keys = Some(keys) } else { code = Some(1010) }
        }
        if let Some(code) = code {
            fields[5] = code;
            return vec![control(kind::HANDSHAKE, 0, 0, 0, OWN, &bytes(&fields))];
        }
        self.first = Some(fields[2]);
        (fields[1], fields[6], fields[7]) = (1, FAR, 0);
        let mut answer = bytes(&fields);
        answer.extend(bytes(&[u32::from(extension::HS_RESPONSE) << 16 | 3, 0x0001_0501, 0x3F, 600 << 16]));
        if self.house.is_bare {
            answer.truncate(48);
        }
        if self.house.says_in_clear {
            answer.extend(bytes(&[u32::from(extension::KM_RESPONSE) << 16 | 1, 0]));
        }
        if let Some(km) = km {
            answer.extend(bytes(&[u32::from(extension::KM_RESPONSE) << 16 | (km.len() as u32 / 4)]));
            answer.extend(km);
        }
        vec![control(kind::HANDSHAKE, 0, 0, 0, OWN, &answer)]
    }

    fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(word(datagram, 3), Some(FAR));
        assert!(datagram.len() <= 16 + PAYLOAD_BYTES_MAX);
        let Some(first) = self.first else { return Vec::new() };
        let seq = word(datagram, 0).unwrap();
        let flags = word(datagram, 1).unwrap();
        assert_eq!(flags >> 30, 3, "a message by itself");
        self.repeats_heard += u64::from(flags >> 26 & 1);
        self.key_seen = (flags >> 27 & 3) as u8;
        let place = u64::from(seq.wrapping_sub(first) & SEQ_MASK);
        let mut payload = datagram[16..].to_vec();
        if let Some(keys) = self.keys.as_mut().filter(|_| self.key_seen == 1) {
            keys.encrypt(seq, &mut payload);
        }
        if place >= self.acked {
            self.got.entry(place).or_insert(payload);
            self.born.insert(place, u64::from(word(datagram, 2).unwrap()));
        }
        let gap = self.highest..place;
        self.highest = self.highest.max(place + 1);
        if gap.is_empty() { Vec::new() } else { self.lack(gap.start, gap.end - 1) }
    }

    fn lack(&self, first: u64, last: u64) -> Vec<Vec<u8>> {
        let body: Vec<u8> = if first == last {
            self.seq(first).to_be_bytes().to_vec()
        } else {
            [(self.seq(first) | 1 << 31).to_be_bytes(), self.seq(last).to_be_bytes()].concat()
        };
        vec![control(kind::NAK, 0, 0, 0, OWN, &body)]
    }

    /// Goes on without what is missing before something that is due.
    fn skip(&mut self) {
        loop {
            let upto = self.upto();
            let Some((&next, born)) = self.born.range(upto..).next() else { return };
            if self.now < self.base + born + 600_000 {
                return;
            }
            self.skipped.extend(upto..next);
            self.got.extend((upto..next).map(|place| (place, Vec::new())));
            let _ = self.born.remove(&next);
        }
    }

    /// Every 10 ms; every 20 ms it says again what it lacks.
    fn tick(&mut self, round: u64, rtt: Duration) -> Vec<Vec<u8>> {
        if self.house.skips {
            self.skip();
        }
        let mut out = Vec::new();
        let upto = self.upto();
        if round.is_multiple_of(100) {
            out.push(control(kind::KEEP_ALIVE, 0, 0, 0, OWN, &[]));
        }
        // What was not answered in a while is said again.
        let unanswered = self.answered < self.acks && round.is_multiple_of(10);
        if upto > self.acked || unanswered {
            self.acked = upto;
            self.acks += 1;
            let fields = [self.seq(upto), rtt.as_micros() as u32, 5_000, 8_000];
            let body: Vec<u8> = fields.iter().flat_map(|word| word.to_be_bytes()).collect();
            out.push(control(kind::ACK, 0, self.acks, 0, OWN, &body));
        }
        if round.is_multiple_of(2) {
            for place in (upto..self.highest).filter(|place| !self.got.contains_key(place)).take(50) {
                out.extend(self.lack(place, place));
            }
        }
        out
    }
}

/// Both ends and what lies between.
struct Sim {
    now: Instant,
    caller: Caller,
    far: Far,
    delay: Duration,
    /// Of 1,000.
    loss: u64,
    cut: bool,
    /// Bytes that the way there takes in a millisecond, if it is narrow; what is too much waits.
    narrow: Option<u64>,
    free_at: Instant,
    /// A packet that is lost so many times.
    unlucky: (u64, u32),
    seed: u64,
    round: u64,
    /// What is under way: when it arrives, and whether at the far end.
    way: Vec<(Instant, bool, Vec<u8>)>,
    sent_bytes: u64,
}

fn settings() -> Settings {
    Settings::new(Duration::from_millis(500))
}

impl Sim {
    fn new(settings: Settings, house: House, first_seq: u32) -> Sim {
        let now = clock::now();
        let dice = Dice { socket: OWN, first_seq, salt: [3; 16], secret: [4; 32] };
        Sim {
            now,
            caller: Caller::new(now, settings, dice, &[127, 0, 0, 1]).unwrap(),
            far: Far::new(house),
            delay: Duration::from_millis(25),
            loss: 0,
            cut: false,
            narrow: None,
            free_at: now,
            unlucky: (0, 0),
            seed: 1,
            round: 0,
            way: Vec::new(),
            sent_bytes: 0,
        }
    }

    fn survives(&mut self) -> bool {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        !self.cut && (self.seed >> 33) % 1_000 >= self.loss
    }

    fn is_unlucky(&mut self, datagram: &[u8]) -> bool {
        let (first, far) = (word(datagram, 0).unwrap(), self.far.first.unwrap_or(0));
        let hit = first >> 31 == 0
            && u64::from(first.wrapping_sub(far) & SEQ_MASK) == self.unlucky.0
            && self.unlucky.1 > 0;
        self.unlucky.1 -= u32::from(hit);
        hit
    }

    fn step(&mut self) -> Result<(), SrtError> {
        self.now += Duration::from_millis(1);
        while let Some(datagram) = self.caller.transmit(self.now)? {
            self.sent_bytes += datagram.len() as u64;
            if self.is_unlucky(&datagram) || !self.survives() {
                continue;
            }
            if let Some(narrow) = self.narrow {
                let takes = Duration::from_micros(datagram.len() as u64 * 1_000 / narrow);
                self.free_at = self.free_at.max(self.now) + takes;
            }
            self.way.push((self.now.max(self.free_at) + self.delay, true, datagram));
        }
        self.round += 1;
        self.far.now = self.round * 1_000;
        let mut answers = Vec::new();
        if self.round.is_multiple_of(10) {
            let queue = self.free_at.saturating_duration_since(self.now);
            answers.extend(self.far.tick(self.round / 10, self.delay * 2 + queue));
        }
        let now = self.now;
        for (_, to_far, datagram) in self.way.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
            if to_far {
                answers.extend(self.far.hear(&datagram));
            } else {
                self.caller.receive(now, &datagram)?;
            }
        }
        for answer in answers {
            if self.survives() {
                self.way.push((now + self.delay, false, answer));
            }
        }
        Ok(())
    }

    fn run(&mut self, millis: u64) -> Result<(), SrtError> {
        (0..millis).try_for_each(|_| self.step())
    }

    fn until_live(&mut self) -> Result<(), SrtError> {
        while self.caller.phase() < Phase::Live {
            self.step()?;
        }
        Ok(())
    }

    /// Feeds 4 Mbit/s for so long, as far as it is taken; what was put.
    fn feed(&mut self, millis: u64) -> Result<Vec<u8>, SrtError> {
        let mut put = Vec::new();
        for at in 0..millis {
            if at % 33 == 0 && self.caller.has_room(self.now) {
                let tag: Vec<u8> = (0..16_500).map(|byte| (byte as u64 ^ self.round) as u8).collect();
                self.caller.put(self.now, &tag);
                put.extend(tag);
            }
            self.step()?;
        }
        Ok(put)
    }
}

#[test]
fn a_listener_gets_the_stream_id_and_then_the_stream() {
    let settings = Settings { stream_id: Some("#!::r=live/main,m=publish".to_owned()), ..settings() };
    let mut sim = Sim::new(settings, House::default(), SEQ_MASK - 20);
    sim.until_live().unwrap();
    assert_eq!(sim.far.stream_id.as_deref(), Some("#!::r=live/main,m=publish"));
    assert_eq!(sim.caller.latency(), Duration::from_millis(600), "the listener wants more than we do");
    let put = sim.feed(3_000).unwrap();
    sim.run(500).unwrap();
    assert!(sim.far.stream() == put, "over the end of the sequence numbers");
    let figures = sim.caller.figures();
    assert_eq!(
        (figures.taken_bytes, figures.acked_bytes, figures.repeated_packets),
        (put.len() as u64, put.len() as u64, 0)
    );
    assert_eq!(figures.arrived_packets, figures.sent_packets);
    assert_eq!(figures.rtt, Duration::from_millis(50));
    assert!(sim.caller.is_idle());
    sim.caller.close(sim.now);
    assert_eq!(sim.caller.phase(), Phase::Over);
    assert!(sim.caller.transmit(sim.now).unwrap().is_some_and(|bytes| bytes[1] == 5));
    assert_eq!(sim.caller.wake_at(), None);
}

#[test]
fn what_a_listener_refuses_is_told_in_words() {
    let with =
        |passphrase: Option<&str>| Settings { passphrase: passphrase.map(str::to_owned), ..settings() };
    let locked = House { passphrase: Some("the right passphrase"), ..House::default() };
    for (ours, house, want) in [
        (None, House { refuses: Some(2403), ..House::default() }, SrtError::Refused(Reason(2403))),
        (None, House { refuses: Some(1403), ..House::default() }, SrtError::Refused(Reason(2403))),
        (None, House { is_bare: true, ..House::default() }, SrtError::Unanswered),
        (Some("the wrong passphrase"), locked.clone(), SrtError::Refused(Reason::BAD_SECRET)),
        (None, locked, SrtError::Refused(Reason::UNSECURE)),
        (Some("the right passphrase"), House::default(), SrtError::Refused(Reason::UNSECURE)),
        (
            None,
            House { is_plain_rtp: true, ..House::default() },
            SrtError::Unfit("it speaks an SRT older than 1.3"),
        ),
    ] {
        let mut sim = Sim::new(with(ours), house, 1);
        assert_eq!(sim.until_live(), Err(want));
    }
    assert!(Reason(2403).is_auth() && Reason(2423).is_busy() && Reason::from_wire(1407).is_busy());
    assert!(SrtError::Refused(Reason::BAD_SECRET).to_string().contains("passphrase"));
    assert!(!Reason(2403).is_secret());
    let dice = Dice { socket: OWN, first_seq: 0, salt: [0; 16], secret: [0; 32] };
    let caller = Caller::new(clock::now(), with(Some("short")), dice, &[127, 0, 0, 1]);
    assert_eq!(caller.err(), Some(SrtError::Passphrase));
}

#[test]
fn an_encrypted_stream_is_read_with_the_keys_that_the_listener_asks_for() {
    for key_bytes in [None, Some(24), Some(32)] {
        let passphrase = "correct horse battery";
        let settings = Settings { passphrase: Some(passphrase.to_owned()), ..settings() };
        let house = House { passphrase: Some(passphrase), key_bytes, ..House::default() };
        let mut sim = Sim::new(settings, house, 5);
        sim.until_live().unwrap();
        let put = sim.feed(500).unwrap();
        sim.run(300).unwrap();
        assert!(sim.far.stream() == put);
        assert_eq!(sim.far.key_seen, 1, "it was encrypted");
    }
}

#[test]
fn into_a_hole_goes_a_moment_of_the_stream_and_all_of_it_comes_out_when_the_line_is_back() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    let mut put = sim.feed(2_000).unwrap();
    sim.cut = true;
    let lost = sim.feed(3_000).unwrap();
    assert!((16_500..150_000).contains(&lost.len()), "{} bytes were taken into the hole", lost.len());
    put.extend(lost);
    sim.cut = false;
    put.extend(sim.feed(1_000).unwrap());
    sim.run(500).unwrap();
    assert!(sim.far.stream() == put);
    assert!(put.len() > 1_300_000, "the line was used again: {}", put.len());
    let figures = sim.caller.figures();
    assert!(figures.repeated_packets < 250, "{figures:?}");
    assert!(figures.lost_packets > 0, "what took 3 s was too late");
}

#[test]
fn what_the_far_end_acknowledged_is_its_programs_only_once_it_is_due() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    let mut ends = Vec::new();
    for _ in 0..100 {
        let began = sim.now;
        sim.feed(33).unwrap();
        ends.push((began, sim.caller.figures().taken_bytes));
        let played = sim.caller.played_bytes(sim.now);
        assert!(played <= sim.caller.figures().acked_bytes);
        // A tag that was put then is due a latency and the way there later, and is known of a little after that.
        let due = |age: u64| ends.iter().rfind(|(at, _)| sim.now - *at >= Duration::from_millis(age));
        assert!(due(600 + 25).map_or(played == 0, |(_, end)| played <= *end), "too early");
        assert!(due(600 + 25 + 120).is_none_or(|(_, end)| played >= *end), "too late");
    }
    sim.run(1_000).unwrap();
    assert_eq!(sim.caller.played_bytes(sim.now), sim.caller.figures().taken_bytes);
}

#[test]
fn a_far_end_that_is_gone_for_five_seconds_is_given_up_and_one_that_rests_is_not() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    sim.cut = true;
    assert_eq!(sim.run(6_000), Err(SrtError::Silent));

    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    for _ in 0..20 {
        sim.run(900).unwrap();
        let keep_alive = control(kind::KEEP_ALIVE, 0, 0, 0, OWN, &[]);
        sim.caller.receive(sim.now, &keep_alive).unwrap();
    }
    assert!(sim.sent_bytes > 15 * 20, "it says that it lives");
}

#[test]
fn behind_a_queue_no_more_is_sent_than_comes_in_time() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    sim.caller.set_pace(8_000_000);
    sim.feed(1_000).unwrap();
    // Half of what the stream needs, and a modem that keeps all of it.
    sim.narrow = Some(250);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        sim.feed(50).unwrap();
        longest = longest.max(sim.free_at.saturating_duration_since(sim.now));
    }
    assert!((Duration::from_millis(150)..Duration::from_millis(900)).contains(&longest), "{longest:?}");
    let acked = sim.caller.figures().acked_bytes;
    sim.feed(2_000).unwrap();
    let carried = sim.caller.figures().acked_bytes - acked;
    assert!(carried > 300_000, "the line is used all the same: {carried} bytes in 2 s");
    // Wide again, it is caught up with.
    sim.narrow = None;
    sim.feed(1_000).unwrap();
    assert!(sim.feed(1_000).unwrap().len() > 450_000);
}

#[test]
fn one_unlucky_packet_does_not_make_a_far_end_silent_and_a_dead_line_does() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    sim.feed(1_000).unwrap();
    sim.unlucky = (sim.caller.figures().taken_bytes / 16_500 * 13 + 5, 3);
    for _ in 0..12 {
        assert!(sim.caller.has_room(sim.now), "{:?}", sim.caller.figures());
        sim.caller.put(sim.now, &vec![7; 16_500]);
        sim.run(33).unwrap();
    }
    assert_eq!(sim.unlucky.1, 0, "it was lost with two of its repeats");
    assert!(sim.caller.figures().signs_of_life > 2);
    // The way there is dead, and the far end asks for the same thing for ever.
    sim.unlucky = (sim.caller.figures().taken_bytes / 16_500 * 13 + 5, 100);
    sim.caller.put(sim.now, &vec![7; 16_500]);
    sim.run(1_000).unwrap();
    assert!(!sim.caller.has_room(sim.now));
}

#[test]
fn a_listener_that_says_in_clear_gets_the_stream_in_clear() {
    let mut sim = Sim::new(settings(), House { says_in_clear: true, ..House::default() }, 5);
    sim.until_live().unwrap();
    let put = sim.feed(500).unwrap();
    sim.run(300).unwrap();
    assert!(sim.far.stream() == put);
    assert_eq!(sim.far.key_seen, 0);
}

#[test]
fn the_wires_time_begins_with_the_cookie_however_often_it_was_asked_for() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.cut = true;
    sim.run(1_300).unwrap();
    sim.cut = false;
    sim.until_live().unwrap();
    let put = sim.feed(100).unwrap();
    sim.run(200).unwrap();
    assert!(sim.far.stream() == put);
    let first = sim.far.born[&0];
    assert!(first < 60_000, "the first packet says {first} us");
    assert!(sim.far.base >= 1_300_000, "{}", sim.far.base);
}

#[test]
fn a_listener_whose_leave_never_comes_is_asked_anew_after_three_seconds() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    while sim.caller.phase() == Phase::Induction {
        sim.step().unwrap();
    }
    sim.cut = true;
    assert_eq!(sim.run(2_900), Ok(()));
    assert_eq!(sim.run(200), Err(SrtError::Unanswered));
}

#[test]
fn a_keyframe_goes_out_evenly_and_within_a_part_of_the_latency() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    sim.caller.set_pace(8_000_000);
    let before = sim.sent_bytes;
    sim.caller.put(sim.now, &vec![7; 400_000]);
    let mut most = 0;
    let mut took = 0;
    while sim.caller.figures().waiting_bytes > 0 {
        let sent = sim.sent_bytes;
        sim.step().unwrap();
        most = most.max(sim.sent_bytes - sent);
        took += 1;
    }
    assert!((50..300).contains(&took), "{took} ms");
    assert!(most < 50_000, "{most} bytes in one millisecond");
    assert!(sim.sent_bytes - before > 400_000);
}

#[test]
fn a_shutdown_ends_it_and_a_strangers_datagram_does_not() {
    let mut sim = Sim::new(settings(), House::default(), 5);
    sim.until_live().unwrap();
    let stranger = control(kind::SHUTDOWN, 0, 0, 0, OWN + 1, &[]);
    assert_eq!(sim.caller.receive(sim.now, &stranger), Ok(()));
    let shutdown = control(kind::SHUTDOWN, 0, 0, 0, OWN, &[]);
    assert_eq!(sim.caller.receive(sim.now, &shutdown), Err(SrtError::Closed));
}

/// The bytes of the packet at `place`, where tags of 16,500 bytes were put.
fn bytes_of(place: u64) -> Range<u64> {
    let (tag, at) = (place / 13, place % 13 * 1_316);
    tag * 16_500 + at..tag * 16_500 + (at + 1_316).min(16_500)
}

/// Feeds for so long, and holds that no byte that was skipped is called the program's before it is called lost.
fn feed_and_watch(sim: &mut Sim, millis: u64, lost: &mut Vec<Range<u64>>) {
    for at in 0..millis {
        if at % 33 == 0 && sim.caller.has_room(sim.now) {
            sim.caller.put(sim.now, &vec![7; 16_500]);
        }
        sim.step().unwrap();
        while let Some(bytes) = sim.caller.take_lost() {
            lost.push(bytes);
        }
        let played = sim.caller.played_bytes(sim.now);
        for place in &sim.far.skipped {
            let bytes = bytes_of(*place);
            let is_told = lost.iter().any(|lost| lost.start <= bytes.start && bytes.end <= lost.end);
            assert!(is_told || bytes.start >= played, "packet {place} was skipped, and counts as played");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_the_far_end_skips_is_told_and_nothing_else(
        seed in any::<u64>(), loss in 0u64..200, delay in 1u64..60, cuts in proptest::collection::vec(0u64..1_500, 0..4)
    ) {
        let mut sim = Sim::new(settings(), House { skips: true, ..House::default() }, 5);
        (sim.seed, sim.delay) = (seed, Duration::from_millis(delay));
        sim.until_live().unwrap();
        let mut lost = Vec::new();
        sim.loss = loss;
        feed_and_watch(&mut sim, 1_000, &mut lost);
        for cut in &cuts {
            sim.cut = true;
            feed_and_watch(&mut sim, *cut, &mut lost);
            sim.cut = false;
            feed_and_watch(&mut sim, 1_500, &mut lost);
        }
        feed_and_watch(&mut sim, 1_500, &mut lost);
        if cuts.iter().all(|cut| *cut < 200) && loss < 20 {
            prop_assert!(!sim.far.skipped.is_empty() || lost.is_empty(), "{:?}", lost);
        }
        let skipped: u64 = sim.far.skipped.iter().map(|place| bytes_of(*place)).map(|it| it.end - it.start).sum();
        let told: u64 = lost.iter().map(|bytes| bytes.end - bytes.start).sum();
        prop_assert!(told >= skipped);
        // What came at the last moment, or could not be told from it.
        let most = 400_000 * (cuts.len() as u64 + loss / 20);
        prop_assert!(told <= skipped + most, "{} bytes skipped, {} told", skipped, told);
    }

    #[test]
    fn over_a_line_that_loses_either_way_all_arrives_and_is_acknowledged(
        seed in any::<u64>(), loss in 0u64..200, delay in 1u64..120, first_seq in any::<u32>()
    ) {
        let mut sim = Sim::new(settings(), House::default(), first_seq & SEQ_MASK);
        (sim.seed, sim.loss, sim.delay) = (seed, loss, Duration::from_millis(delay));
        sim.until_live().unwrap();
        let put = sim.feed(2_000).unwrap();
        let mut waited = 0;
        while !sim.caller.is_idle() {
            sim.run(100).unwrap();
            waited += 1;
            prop_assert!(waited < 100, "{:?}", sim.caller.figures());
        }
        prop_assert!(sim.far.stream() == put);
        let figures = sim.caller.figures();
        prop_assert_eq!(figures.acked_bytes, figures.taken_bytes);
        prop_assert!(figures.sent_packets - figures.repeated_packets == figures.arrived_packets);
        if loss < 50 && delay < 60 {
            // Losses, and what is repeated because an acknowledgement or a repeat itself was lost.
            prop_assert!(figures.repeated_packets * 1_000 < figures.sent_packets * (loss * 4 + 30), "{:?}", figures);
        }
    }

    #[test]
    fn no_datagram_can_harm_it_at_any_moment(
        rounds in 0u64..200,
        datagrams in proptest::collection::vec(
            (0u16..9, any::<bool>(), any::<u32>(), proptest::collection::vec(any::<u32>(), 0..40), 0usize..4), 0..60)
    ) {
        let mut sim = Sim::new(settings(), House::default(), 0x7FFF_FFF0);
        let _ = sim.feed(rounds);
        for (kind, user, info, words, cut) in datagrams {
            let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let mut bytes = control(if user { kind::USER } else { kind }, kind, info, 0, OWN, &body);
            bytes.truncate(bytes.len() - cut);
            let _ = sim.caller.receive(sim.now, &bytes);
            let _ = sim.feed(3);
            let figures = sim.caller.figures();
            prop_assert!(figures.acked_bytes + figures.waiting_bytes <= figures.taken_bytes);
        }
    }
}
