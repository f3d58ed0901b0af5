//! The picture track: raw pictures in, H.264 out, from the best encoder that works at this moment.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};
use crate::config::schema::{Stream, VideoSource};
use crate::media::frame::Frame;
use crate::media::packet::{Packet, Track, VideoCodec as Codec, VideoConfig};

use super::codec::{CodedPicture, Kind, VideoCodec, Wish, buffer_bits, cores, hastened};
use super::colour::Colour;
use super::ffi::CodecError;
use super::ffi::picture::SIDE_MAX;
use super::join::Event;
use super::pace::{Admission, Gop, Pace, common_rate, default_bitrate};
use super::prepare::{Preparer, Target};
use super::status::{EncoderStatus, Window};

/// An encoder that swallowed a picture this long ago and gave nothing is dead.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Or one that swallowed so many.
const IN_FLIGHT_MAX: usize = 30;
/// Encoders take one macroblock at least.
const SIDE_MIN: u32 = 16;
/// The part by which a bitrate must change before an encoder that cannot change in place is opened anew for it.
const REOPEN_FROM: f64 = 0.2;

/// How often the encoder's load is looked at, and its bitrate held against the rate at which pictures really come.
const CHECK_EVERY: Ticks = Ticks::from_millis(1_000);

/// An encoder that needs more than this part of the time is too slow: pictures wait and are dropped.
const LOAD_MAX: f64 = 0.85;
/// For so many checks in a row: a busy second is none.
const SLOW_CHECKS_MAX: u32 = 3;

/// Another rate than the nominal one is believed after so many checks in a row.
const ODD_CHECKS_MAX: u32 = 3;

/// An encoder at work.
struct Opened {
    codec: Box<dyn VideoCodec>,
    wish: Wish,
    /// The bitrate at opening: a later one is no reason to announce the stream anew.
    announced: BitrateBps,
    /// Capture times of pictures whose packets did not come yet, and when they went in.
    in_flight: VecDeque<(Ticks, Instant)>,
    /// What rate control was told, over what was asked for, because pictures come slower or faster than it
    /// thinks.
    rate_factor: f64,
    checked_at: Ticks,
    /// Time spent on pictures since then, and in how many checks in a row it was too much.
    busy: Duration,
    slow_checks: u32,
}

/// Encodes one stream's pictures.
pub(super) struct VideoTrack {
    size: Option<PictureSize>,
    fps: Option<FrameRate>,
    gop_length: Duration,
    bitrate: Option<BitrateBps>,
    /// Encoders to try, best first, and the one in force. Never goes back: an encoder that died once would die
    /// again in the middle of a show.
    kinds: Vec<Kind>,
    kind: usize,
    opened: Option<Opened>,
    /// What `opened` announced, once it did.
    config: Option<VideoConfig>,
    retry: Backoff,
    retry_at: Option<Instant>,
    /// The nominal rate: configured, or told by the first two pictures.
    nominal: Option<FrameRate>,
    held: Option<Frame>,
    pace: Pace,
    gop: Gop,
    reopen: bool,
    /// The rate that two pictures told may be corrected once for each start of the source: a camera's first
    /// pictures are often irregular. Not more often, or one that slows down in the dark would be announced anew
    /// with each cloud.
    may_revise_rate: bool,
    /// Checks in a row that saw another rate.
    odd_checks: u32,
    last_at: Option<Ticks>,
    haste: usize,
    last_keyframe: Option<Ticks>,
    preparer: Preparer,
    coded: Vec<CodedPicture>,
    window: Window,
    pub(super) status: EncoderStatus,
}

impl VideoTrack {
    /// `kinds`: encoders to try, best first.
    pub(super) fn new(stream: &Stream, kinds: Vec<Kind>) -> VideoTrack {
        // The pattern makes its pictures at the rate it is told; other sources have their own.
        let fps = match stream.video {
            VideoSource::Pattern => Some(stream.fps.unwrap_or(FrameRate::whole(30))),
            _ => stream.fps,
        };
        VideoTrack {
            size: stream.size.map(even),
            fps,
            gop_length: stream.gop,
            bitrate: stream.bitrate,
            kinds,
            kind: 0,
            opened: None,
            config: None,
            retry: Backoff::new(Duration::from_millis(200), Duration::from_secs(2), 1),
            retry_at: None,
            nominal: fps,
            held: None,
            pace: Pace::new(fps),
            gop: Gop::new(stream.gop, fps.unwrap_or(FrameRate::whole(30))),
            reopen: false,
            may_revise_rate: fps.is_none(),
            odd_checks: 0,
            last_at: None,
            haste: 0,
            last_keyframe: None,
            preparer: Preparer::new(cores().min(4)),
            coded: Vec::new(),
            window: Window::default(),
            status: EncoderStatus::default(),
        }
    }

    /// The source is up, again perhaps: the next picture refers to nothing before it. `sink` hears the
    /// configuration that is still in force.
    pub(super) fn begin(&mut self, sink: &mut dyn FnMut(Event)) {
        self.pace = Pace::new(self.fps);
        self.held = None;
        self.gop.reset();
        self.may_revise_rate = self.fps.is_none();
        self.odd_checks = 0;
        if let (Some(_), Some(config)) = (&self.opened, &self.config) {
            sink(Event::Video(config.clone()));
        }
    }

    /// No raw pictures from here on; `encoder` is what the status calls that.
    pub(super) fn stand_down(&mut self, encoder: &str) {
        self.opened = None;
        self.config = None;
        self.held = None;
        encoder.clone_into(&mut self.status.encoder);
        self.status.hardware = false;
    }

    /// A packet of the source's own goes by.
    pub(super) fn count_passed(&mut self, packet: &Packet) {
        if packet.track == Track::Video {
            self.status.frames_in += 1;
            self.count(packet.dts, packet.keyframe, packet.payload.len(), Duration::ZERO);
        }
    }

    /// The next picture becomes a keyframe, a quarter of a second after the last one at the earliest.
    pub(super) fn request_keyframe(&mut self) {
        self.gop.request();
    }

    /// Another target from the next picture on.
    pub(super) fn set_bitrate(&mut self, bitrate: BitrateBps) {
        if self.bitrate == Some(bitrate) {
            return;
        }
        self.bitrate = Some(bitrate);
        self.status.bitrate_target = Some(bitrate);
        if let Some(opened) = &mut self.opened {
            opened.wish.bitrate = bitrate;
            let told = BitrateBps((bitrate.0 as f64 * opened.rate_factor) as u64);
            let in_place = opened.codec.set_bitrate(told, buffer_bits(bitrate));
            let part = bitrate.0.abs_diff(opened.announced.0) as f64 / opened.announced.0.max(1) as f64;
            // Opening a chip anew costs a keyframe and new headers: not for every step of a line that wavers.
            self.reopen |= !in_place && part >= REOPEN_FROM;
        }
    }

    /// Packets are still to come, without another picture going in.
    pub(super) fn in_flight(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| !opened.in_flight.is_empty())
    }

    /// Takes one picture; what comes out goes to `sink`.
    pub(super) fn frame(&mut self, frame: Frame, sink: &mut dyn FnMut(Event)) {
        self.status.frames_in += 1;
        let admission = self.pace.admit(frame.at);
        self.status.fps_in = self.pace.source_rate().unwrap_or(0.0);
        match admission {
            Admission::Pass => {}
            Admission::Thinned => {
                self.status.frames_thinned += 1;
                return;
            }
            Admission::Late => {
                self.status.frames_dropped += 1;
                return;
            }
        }
        if self.nominal.is_none() {
            // The rate is told by two pictures: the first waits one frame time, once.
            let Some(first) = self.held.take() else {
                self.held = Some(frame);
                return;
            };
            let rate = common_rate(frame.at - first.at);
            self.nominal = Some(rate);
            self.gop = Gop::new(self.gop_length, rate);
            self.encode(&first, sink);
        }
        self.encode(&frame, sink);
    }

    /// Time passes: takes what became ready and looks whether the encoder still lives.
    pub(super) fn tick(&mut self, sink: &mut dyn FnMut(Event)) {
        let Some(opened) = &mut self.opened else { return };
        let coded = &mut self.coded;
        if let Err(error) = opened.codec.poll(&mut |picture| coded.push(picture)) {
            self.give_up(&error);
        }
        self.hand_on(Duration::ZERO, sink);
        let Some(opened) = &self.opened else { return };
        let silent = opened.in_flight.front().is_some_and(|(_, since)| clock::now() - *since > SILENCE_MAX);
        if silent || opened.in_flight.len() > IN_FLIGHT_MAX {
            self.give_up(&CodecError::new("encode", "it took pictures and gave none for a second"));
        }
    }

    /// The moving figures.
    pub(super) fn status(&self) -> EncoderStatus {
        let mut status = self.status.clone();
        self.window.fill(&mut status);
        status
    }

    fn encode(&mut self, frame: &Frame, sink: &mut dyn FnMut(Event)) {
        let started = clock::now();
        let colour = Colour::of(frame.format, frame.size);
        let size = self.size.unwrap_or_else(|| even(frame.size));
        if size.width.min(size.height) < SIDE_MIN || size.width.max(size.height) > SIDE_MAX {
            self.status.last_error = Some(format!("a picture of {} cannot be encoded", frame.size));
            self.status.frames_dropped += 1;
            return;
        }
        if self.last_at.is_some_and(|last| frame.at <= last) {
            // A source whose clock began anew is another source to the encoder, which knows only rising times.
            self.opened = None;
        }
        self.last_at = Some(frame.at);
        // Each encoder may refuse once; the last one is asked again later.
        for _ in 0..=self.kinds.len() {
            if !self.is_ready(size, colour, frame) {
                break;
            }
            let Some(opened) = &mut self.opened else { break };
            let target = Target { size, layout: opened.codec.layout(), colour };
            let mut picture = match self.preparer.prepare(frame, target) {
                Ok(picture) => picture,
                Err(error) => {
                    tracing::debug!(%error, "a picture from the source is no picture, dropped");
                    self.status.last_error = Some(error.to_string());
                    break;
                }
            };
            let keyframe = self.gop.due(frame.at);
            let coded = &mut self.coded;
            opened.in_flight.push_back((frame.at, started));
            match opened.codec.encode(&mut picture, keyframe, &mut |picture| coded.push(picture)) {
                Ok(()) => {
                    if keyframe {
                        self.gop.keyframe(frame.at);
                    }
                    let took = clock::now() - started;
                    self.hand_on(took, sink);
                    self.check(frame.at, took);
                    return;
                }
                Err(error) => self.give_up(&error),
            }
        }
        self.status.frames_dropped += 1;
    }

    /// Sees to it that an encoder for such pictures is open; `false`: none can be had now.
    fn is_ready(&mut self, size: PictureSize, colour: Colour, frame: &Frame) -> bool {
        let fps = self.nominal.unwrap_or(FrameRate::whole(30));
        let bitrate = self.bitrate.unwrap_or_else(|| default_bitrate(size, fps));
        let wish = Wish { size, fps, bitrate, gop: self.gop_length, colour, haste: self.haste };
        let changed = |opened: &Opened| (opened.wish.size, opened.wish.colour) != (wish.size, wish.colour);
        if self.opened.as_ref().is_some_and(changed) || (self.reopen && self.gop.due(frame.at)) {
            self.opened = None;
            self.reopen = false;
        }
        while self.opened.is_none() {
            if self.retry_at.is_some_and(|at| clock::now() < at) {
                return false;
            }
            let Some(kind) = self.kinds.get(self.kind) else { return false };
            match (kind.open)(&wish) {
                Ok(codec) => {
                    tracing::info!(encoder = kind.name, %size, fps = %fps, bitrate = bitrate.0, "encoder opened");
                    self.status.encoder = kind.name.to_owned();
                    self.status.hardware = kind.hardware;
                    self.status.size = Some(size);
                    self.status.bitrate_target = Some(bitrate);
                    self.gop.reset();
                    self.retry.reset();
                    self.retry_at = None;
                    self.opened = Some(Opened {
                        codec,
                        wish,
                        announced: bitrate,
                        in_flight: VecDeque::new(),
                        rate_factor: 1.0,
                        checked_at: frame.at,
                        busy: Duration::ZERO,
                        slow_checks: 0,
                    });
                }
                Err(error) => self.give_up(&error),
            }
        }
        true
    }

    /// This encoder is no good any more: the next in line, or the last one again a little later.
    fn give_up(&mut self, error: &CodecError) {
        self.opened = None;
        self.status.failures += 1;
        self.status.last_error = Some(error.to_string());
        let name = self.kinds.get(self.kind).map_or("", |kind| kind.name);
        if let Some(next) = self.kinds.get(self.kind + 1) {
            tracing::warn!(%error, "encoder {name} failed, carrying on with {}", next.name);
            self.kind += 1;
        } else {
            let wait = self.retry.next_wait();
            let wait_ms = wait.as_millis() as u64;
            tracing::warn!(%error, wait_ms, "encoder {name} failed, opening it again");
            self.retry_at = Some(clock::now() + wait);
        }
    }

    fn hand_on(&mut self, took: Duration, sink: &mut dyn FnMut(Event)) {
        let mut coded = std::mem::take(&mut self.coded);
        for picture in coded.drain(..) {
            let Some(opened) = &mut self.opened else { break };
            // Without B-frames packets come in the order of pictures; one that was swallowed is passed over.
            let mut took = took;
            while let Some((at, since)) =
                opened.in_flight.front().copied().filter(|(at, _)| *at <= picture.at)
            {
                opened.in_flight.pop_front();
                if at == picture.at && took.is_zero() {
                    took = clock::now() - since;
                }
            }
            if let Some(record) = picture.record {
                let config = VideoConfig {
                    codec: Codec::H264,
                    record,
                    size: opened.wish.size,
                    fps: Some(opened.wish.fps),
                    bitrate: Some(opened.announced),
                };
                self.config = Some(config.clone());
                sink(Event::Video(config));
            }
            self.count(picture.at, picture.keyframe, picture.payload.len(), took);
            sink(Event::Packet(Packet {
                track: Track::Video,
                dts: picture.at,
                pts: picture.at,
                keyframe: picture.keyframe,
                payload: picture.payload,
            }));
        }
        self.coded = coded;
    }

    fn count(&mut self, at: Ticks, keyframe: bool, bytes: usize, took: Duration) {
        self.status.frames_out += 1;
        if keyframe {
            self.status.keyframes += 1;
            self.status.keyframe_interval = self.last_keyframe.map(|last| (at - last).duration());
            self.last_keyframe = Some(at);
        }
        self.window.add(at, bytes, took, (clock::monotonic_ticks() - at).duration());
    }

    /// Once a second: does the encoder keep up, and is it told the truth about the rate?
    fn check(&mut self, at: Ticks, took: Duration) {
        let Some(opened) = self.opened.as_mut() else { return };
        opened.busy += took;
        let span = at - opened.checked_at;
        if span < CHECK_EVERY {
            return;
        }
        let load = opened.busy.as_secs_f64() / span.seconds();
        opened.checked_at = at;
        opened.busy = Duration::ZERO;
        opened.slow_checks = if load > LOAD_MAX { opened.slow_checks + 1 } else { 0 };
        if opened.slow_checks >= SLOW_CHECKS_MAX && !self.status.hardware {
            opened.slow_checks = 0;
            if let Some(faster) = hastened(&opened.wish) {
                tracing::warn!(load, "encoding takes nearly all the time there is, going to a faster preset");
                self.haste = faster.haste;
                self.reopen = true;
            }
        }
        self.revise_rate();
        self.follow_rate();
    }

    fn revise_rate(&mut self) {
        let (Some(rate), Some(nominal)) = (self.pace.rate(), self.nominal) else { return };
        let odd = (rate / nominal.per_second()).ln().abs() > 0.08;
        self.odd_checks = if odd && self.may_revise_rate { self.odd_checks + 1 } else { 0 };
        if self.odd_checks >= ODD_CHECKS_MAX {
            self.odd_checks = 0;
            self.may_revise_rate = false;
            let revised = common_rate(Ticks((Ticks::PER_SECOND as f64 / rate) as i64));
            tracing::info!(%nominal, %revised, "the source is at another rate than its first pictures told");
            self.nominal = Some(revised);
            self.gop.set_rate(revised);
            self.reopen = true;
        }
    }

    /// Encoders reckon with the nominal rate, because knowing each picture's real duration would cost a picture
    /// of delay. Where a camera slows down in the dark, or a clip is slower than it said, the bits are shared
    /// among fewer pictures.
    fn follow_rate(&mut self) {
        let (Some(opened), Some(rate)) = (self.opened.as_mut(), self.pace.rate()) else { return };
        let factor = (opened.wish.fps.per_second() / rate).clamp(0.5, 2.0);
        if (factor / opened.rate_factor).ln().abs() > 0.1 {
            let told = BitrateBps((opened.wish.bitrate.0 as f64 * factor) as u64);
            if opened.codec.set_bitrate(told, buffer_bits(opened.wish.bitrate)) {
                opened.rate_factor = factor;
            }
        }
    }
}

/// 4:2:0 has one colour for two by two pixels: an odd last row or column is left out.
fn even(size: PictureSize) -> PictureSize {
    PictureSize { width: (size.width & !1).max(2), height: (size.height & !1).max(2) }
}
