//! An encoder that obeys its bitrate, and the ring that its tags stand in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Rng;
use crate::base::ticks::Ticks;

/// What a keyframe costs more than another picture.
const KEYFRAME_WEIGHT: u64 = 7;

/// 128 kbit/s of AAC, 1,024 samples at 48 kHz.
const AUDIO_BYTES: u64 = 341;
const AUDIO_SPAN: Duration = Duration::from_micros(21_333);

/// Tag headers and what RTMP adds.
const FRAMING_BYTES: u64 = 16;

/// One tag of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Its number.
    pub seq: u64,
    /// The keyframe before it, or itself.
    pub gop: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was made, which is also its time on the stream's timeline.
    pub at: Instant,
    /// It is a picture.
    pub picture: bool,
}

/// Makes pictures and sound in real time.
#[derive(Debug, Clone)]
pub struct Encoder {
    bitrate_bps: u64,
    fps: u64,
    gop_pictures: u64,
    pictures: u64,
    next_picture: Instant,
    next_sound: Instant,
    next_seq: u64,
    gop: u64,
    running: bool,
}

impl Encoder {
    /// 30 pictures a second, a keyframe every 2 s, from `now` on; `bitrate_bps` is that of the pictures.
    pub fn new(now: Instant, bitrate_bps: u64) -> Encoder {
        Encoder {
            bitrate_bps,
            fps: 30,
            gop_pictures: 60,
            pictures: 0,
            next_picture: now,
            next_sound: now,
            next_seq: 0,
            gop: 0,
            running: true,
        }
    }

    /// Another bitrate from the next picture on.
    pub fn set_bitrate(&mut self, bps: u64) {
        self.bitrate_bps = bps;
    }

    /// The bitrate of the pictures.
    pub fn bitrate(&self) -> u64 {
        self.bitrate_bps
    }

    /// What the stream needs, sound and framing included, in bits per second.
    pub fn need(&self) -> u64 {
        let framing = (self.fps + 47) * FRAMING_BYTES * 8;
        self.bitrate_bps + AUDIO_BYTES * 8 * 1_000_000 / AUDIO_SPAN.as_micros() as u64 + framing
    }

    /// The camera dies, or lives again.
    pub fn set_running(&mut self, running: bool) {
        self.running = running;
    }

    /// The next tag that is due at `now`, if one is.
    pub fn next(&mut self, now: Instant, rng: &mut Rng) -> Option<Tag> {
        let picture = self.next_picture <= self.next_sound;
        let at = self.next_picture.min(self.next_sound);
        if at > now {
            return None;
        }
        let bytes = if picture {
            self.next_picture += Duration::from_nanos(1_000_000_000 / self.fps);
            let keyframe = self.pictures.is_multiple_of(self.gop_pictures);
            self.pictures += 1;
            if keyframe && self.running {
                self.gop = self.next_seq;
            }
            let unit = self.bitrate_bps * self.gop_pictures
                / self.fps
                / 8
                / (self.gop_pictures - 1 + KEYFRAME_WEIGHT);
            let weight = if keyframe { KEYFRAME_WEIGHT } else { 1 };
            unit * weight * rng.between(80, 121) / 100
        } else {
            self.next_sound += AUDIO_SPAN;
            AUDIO_BYTES
        };
        if !self.running {
            // Comes back with a keyframe.
            self.pictures = 0;
            return self.next(now, rng);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        Some(Tag { seq, gop: self.gop, bytes: bytes + FRAMING_BYTES, at, picture })
    }
}

/// The newest tags, bounded in time, as the hub keeps them.
#[derive(Debug, Clone)]
pub struct Ring {
    start: Instant,
    tags: VecDeque<Tag>,
    span: Duration,
}

impl Ring {
    /// Keeps tags for `span`, on a timeline that begins at `start`.
    pub fn new(start: Instant, span: Duration) -> Ring {
        Ring { start, tags: VecDeque::new(), span }
    }

    /// A moment on the timeline.
    pub fn time(&self, at: Instant) -> Ticks {
        Ticks::from(at.saturating_duration_since(self.start))
    }

    /// When the newest tag stands there.
    pub fn newest_at(&self) -> Ticks {
        self.tags.back().map_or(Ticks::ZERO, |tag| self.time(tag.at))
    }

    /// Puts one in; the oldest go.
    pub fn push(&mut self, tag: Tag) {
        self.tags.push_back(tag);
        while self.tags.front().is_some_and(|oldest| tag.at.duration_since(oldest.at) > self.span) {
            self.tags.pop_front();
        }
    }

    /// The tag with this number, if it is still held.
    pub fn get(&self, seq: u64) -> Option<&Tag> {
        let first = self.tags.front()?.seq;
        self.tags.get(seq.checked_sub(first)? as usize)
    }

    /// The first tags of the oldest whole GOP and of the newest GOP.
    pub fn gops(&self) -> Option<(u64, u64)> {
        let oldest = self.tags.iter().find(|tag| tag.seq == tag.gop)?;
        let newest = self.tags.back()?.gop;
        Some((oldest.seq, newest.max(oldest.seq)))
    }

    /// The number after the newest tag.
    pub fn head(&self) -> u64 {
        self.tags.back().map_or(0, |tag| tag.seq + 1)
    }

    /// The oldest number held.
    pub fn first(&self) -> u64 {
        self.tags.front().map_or(0, |tag| tag.seq)
    }

    /// Bytes from the tag `seq` on.
    pub fn bytes_from(&self, seq: u64) -> u64 {
        self.tags.iter().rev().take_while(|tag| tag.seq >= seq).map(|tag| tag.bytes).sum()
    }
}
