//! Takes tags off the ring and puts them on one connection: headers before media, no faster than it may catch up,
//! and without what a line that is too slow cannot bear.

use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use crate::base::loggate::FadingGate;
use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::hub::{Channel, Headers, Next, Reader, Start, Tag, TagKind};

use super::error::LinkError;
use super::failover::{GapReason, LineEvent};
use super::inflight::Seq;
use super::link::Link;
use super::pacer::Pacer;
use super::shed::{Shed, Shedding};

/// Tags put in one go, so that a line that catches up does not keep the others waiting.
const TAGS_MAX: usize = 64;

/// Catching up goes at this many times what waits, or what the stream needs.
const CATCH_UP: u64 = 2;

/// How feeding went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// There is more, and room for it.
    More,
    /// The connection must be written out first.
    Full,
    /// The next tag waits for its time.
    Paced,
    /// It has all there is.
    All,
    /// All, and the stream is gone.
    Over,
}

/// Tags that were left out one after the other.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    pictures_only: bool,
}

/// What one connection is given.
pub(super) struct Cargo {
    reader: Reader,
    feeding: bool,
    pacer: Pacer,
    /// The next tag waits for its time.
    is_paced: bool,
    shed: Shed,
    told_shedding: bool,
    /// The keyframe of the GOP that it is in.
    gop: u64,
    /// The tag that must come next, or tags were lost.
    expected: Option<u64>,
    /// Headers to be sent before the next picture or sound.
    headers: Option<Arc<Headers>>,
    thinned: Option<Run>,
    /// The last time that stands in the byte stream.
    sent_at: Option<Ticks>,
    left_out: u64,
    skipped: u64,
}

impl Cargo {
    /// For a connection that was given nothing yet.
    pub(super) fn new(now: Instant, channel: &Channel) -> Cargo {
        Cargo {
            reader: channel.reader(Start::Live),
            feeding: false,
            pacer: Pacer::new(now, None),
            is_paced: false,
            shed: Shed::new(Ticks::ZERO, Shedding::Nothing),
            told_shedding: false,
            gop: 0,
            expected: None,
            headers: None,
            thinned: None,
            sent_at: None,
            left_out: 0,
            skipped: 0,
        }
    }

    /// Feeds the connection from the tag `from` on.
    pub(super) fn carry(&mut self, now: Instant, from: Seq, pace: Option<BitrateBps>) {
        self.count_shed();
        self.reader.move_to(from.0);
        self.headers = self.reader.fresh_headers().or(self.headers.take());
        self.feeding = true;
        let lag = self.reader.lag();
        // What waits may have been encoded at a higher bitrate than the stream has now.
        let waits = (lag.span > Ticks::ZERO).then(|| (lag.bytes as f64 * 8.0 / lag.span.seconds()) as u64);
        let pace = pace.map(|pace| pace.max(BitrateBps(waits.unwrap_or(0).saturating_mul(CATCH_UP))));
        self.pacer = Pacer::new(now, pace);
        // In the midst of a GOP of which it was not given all, what is missing stays missing.
        let goes_on = from.0 > self.gop && self.expected.is_some_and(|expected| from.0 <= expected);
        let mode = if goes_on { self.shed.mode() } else { Shedding::Nothing };
        self.shed = Shed::new(lag.span, mode);
        self.expected = Some(from.0);
        self.thinned = None;
    }

    /// The stream needs this now: catching up must be faster.
    pub(super) fn raise_pace(&mut self, need: BitrateBps) {
        self.pacer.raise(BitrateBps(need.0.saturating_mul(CATCH_UP)));
    }

    /// Feeds it no more.
    pub(super) fn rest(&mut self) {
        self.feeding = false;
    }

    /// Whether it is fed.
    pub(super) fn is_feeding(&self) -> bool {
        self.feeding
    }

    /// Whether it is sent what it missed: bytes wait for it on purpose.
    pub(super) fn is_catching_up(&self) -> bool {
        self.feeding && self.pacer.is_catching_up()
    }

    /// When the next tag may go, if one is held back.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.feeding && self.is_paced { self.pacer.wake_at() } else { None }
    }

    /// How far it is behind the stream, what waits inside the box alone.
    pub(super) fn lag(&self) -> Ticks {
        if self.feeding { self.reader.lag().span } else { Ticks::ZERO }
    }

    /// Bytes of the stream that wait for it, and the time of the next tag.
    pub(super) fn waiting(&self) -> (u64, Option<Ticks>) {
        if self.feeding { (self.reader.lag().bytes, self.reader.next_time()) } else { (0, None) }
    }

    /// Packets that this connection should have carried and did not.
    pub(super) fn left_out(&self) -> u64 {
        let (pictures, sounds) = self.shed.left_out();
        self.left_out + self.skipped + pictures + sounds
    }

    /// Puts what may go on `link`. `behind`: the age of the oldest tag that the far end has not acknowledged. `log`:
    /// how often it may say that the line is too slow, over all of the line's connections.
    ///
    /// # Errors
    /// If a tag cannot be framed.
    pub(super) fn feed(
        &mut self,
        now: Instant,
        behind: Ticks,
        link: &mut Link,
        log: &mut FadingGate,
        tell: &mut impl FnMut(LineEvent),
    ) -> Result<Fed, LinkError> {
        self.is_paced = false;
        if !self.feeding {
            return Ok(Fed::All);
        }
        for _ in 0..TAGS_MAX {
            if !link.has_room() {
                return Ok(Fed::Full);
            }
            if !self.pacer.may_send(now) {
                self.is_paced = true;
                return Ok(Fed::Paced);
            }
            let behind = behind.max(self.reader.lag().span);
            match self.reader.try_next() {
                Next::Tag(tag) => self.take(now, &tag, behind, link, log, tell)?,
                Next::Jumped { .. } => self.headers = self.reader.fresh_headers().or(self.headers.take()),
                Next::Empty => {
                    self.pacer.caught_up();
                    return Ok(Fed::All);
                }
                Next::Closed => return Ok(Fed::Over),
            }
        }
        Ok(Fed::More)
    }

    fn take(
        &mut self,
        now: Instant,
        tag: &Tag,
        behind: Ticks,
        link: &mut Link,
        log: &mut FadingGate,
        tell: &mut impl FnMut(LineEvent),
    ) -> Result<(), LinkError> {
        if let Some(expected) = self.expected.filter(|expected| *expected < tag.seq) {
            let (first, last) = (Seq(expected), Seq(tag.seq - 1));
            tell(LineEvent::Skipped { first, last, pictures_only: false, why: GapReason::Overrun });
            self.skipped += tag.seq - expected;
        }
        self.expected = Some(tag.seq + 1);
        if tag.kind == (TagKind::Video { keyframe: true })
            || (tag.kind == TagKind::Audio && !self.reader.has_picture())
        {
            self.gop = tag.seq;
        }
        let sends = self.shed.sends(tag.kind, behind);
        self.tell_shedding(now, behind, log);
        self.note_thinning(tag, sends, tell);
        if !sends {
            return Ok(());
        }
        // Headers that were in force long before take the time of what they are sent for: a far end that records
        // begins its file with the first time it sees.
        if let Some(headers) = self.headers.take() {
            for header in &headers.tags {
                link.put(header, tag.dts)?;
            }
        }
        link.put(tag, tag.dts)?;
        self.pacer.sent(now, tag.bytes.len() as u64);
        self.sent_at = self.sent_at.max(Some(tag.dts));
        tell(LineEvent::Wrote { end: link.end(), seq: Seq(tag.seq), gop: Seq(self.gop), at: tag.dts });
        Ok(())
    }

    /// Says something harmless with the time `at`, or the last one sent, whichever is later: the headers, if they
    /// are not known there yet; else the sound's sequence header again, which no decoder is disturbed by.
    ///
    /// # Errors
    /// If it cannot be framed.
    pub(super) fn trickle(&mut self, at: Option<Ticks>, link: &mut Link) -> Result<(), LinkError> {
        if !self.feeding {
            let newest = self.reader.channel().gops().map(|(_, newest)| newest);
            self.reader.move_to(newest.unwrap_or(self.reader.position()));
        }
        let at = at.max(self.sent_at).unwrap_or(Ticks::ZERO);
        let fresh = if self.feeding { self.headers.take() } else { self.reader.fresh_headers() };
        if let Some(headers) = fresh {
            for header in &headers.tags {
                link.put(header, at)?;
            }
            self.sent_at = Some(at);
            return Ok(());
        }
        let Some(headers) = self.reader.headers() else { return Ok(()) };
        let of = |kind| headers.tags.iter().find(|tag| tag.kind == kind);
        if let Some(header) = of(TagKind::AudioHeader).or_else(|| of(TagKind::VideoHeader)) {
            link.repeat(header, at)?;
            self.sent_at = Some(at);
        }
        Ok(())
    }

    /// Tells of pictures that were left out once the next one goes, or a new GOP begins.
    fn note_thinning(&mut self, tag: &Tag, sends: bool, tell: &mut impl FnMut(LineEvent)) {
        let is_picture = matches!(tag.kind, TagKind::Video { .. });
        let ends = is_picture && (sends || tag.kind == TagKind::Video { keyframe: true });
        if ends && let Some(Run { first, last, pictures_only }) = self.thinned.take() {
            let why = GapReason::Thinned;
            tell(LineEvent::Skipped { first: Seq(first), last: Seq(last), pictures_only, why });
        }
        if !sends {
            let run = self.thinned.get_or_insert(Run { first: tag.seq, last: tag.seq, pictures_only: true });
            run.last = tag.seq;
            run.pictures_only &= is_picture;
        }
    }

    /// Says so when the line is too slow, as often as `log` lets it, and when it has caught up.
    fn tell_shedding(&mut self, now: Instant, behind: Ticks, log: &mut FadingGate) {
        let sheds = self.shed.mode() != Shedding::Nothing;
        if sheds && log.pass(now).is_some() {
            let (pictures, sounds) = self.shed.left_out();
            let behind_ms = behind.millis();
            warn!(behind_ms, pictures, sounds, "the line is too slow: leaving out the rest of the GOP");
            self.told_shedding = true;
        }
        if !sheds && std::mem::take(&mut self.told_shedding) {
            info!(left_out = self.left_out(), "the line has caught up");
        }
    }

    fn count_shed(&mut self) {
        let (pictures, sounds) = self.shed.left_out();
        self.left_out += pictures + sounds;
    }
}
