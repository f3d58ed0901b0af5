//! Films: takes pictures from the driver, throws away what is none, and hands the rest on.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::media::frame::{Captured, Frame, PixelFormat, Plane};
use crate::media::packet::{Packet, Track, VideoCodec};

use super::super::decode;
use super::super::outlet::Outlet;
use super::super::pass;
use super::super::source::SourceError;
use super::super::stop;
use super::device::Shape;
use super::jpeg::{self, Jpeg};
use super::layout::{self, Layout};
use super::modes::CameraFormat;
use super::stream::{Stream, Taken};

/// Errors in a row after which the camera is closed and opened again. `EIO` once is a lost picture.
const ERRORS_MAX: u32 = 20;
/// Pictures in a row that all break the rules in the same way are the camera's way to be: it is believed from here on.
const HABIT: u32 = 5;
/// A driver's time further from now than this is on another clock, whatever it says.
const STAMP_BEHIND_MAX: Ticks = Ticks(2 * Ticks::PER_SECOND);
const STAMP_AHEAD_MAX: Ticks = Ticks(Ticks::PER_SECOND / 20);

/// What becomes of the buffers.
pub(super) enum Way {
    /// Pictures for the encoder.
    Raw(Layout),
    /// JPEGs for the encoder's decoder.
    Jpeg,
    /// H.264 or H.265 that goes on untouched.
    Pass(pass::Pictures),
    /// The same that the stream wants changed; `gate` waits for the first keyframe.
    Decode { decoder: Box<decode::Pictures>, gate: pass::Pictures },
}

/// A camera being filmed.
pub(super) struct Film {
    pub(super) stream: Stream,
    pub(super) shape: Shape,
    pub(super) way: Way,
    last_at: Ticks,
    /// Broken rules in a row, see [`HABIT`].
    short_in_a_row: u32,
    errors_in_a_row: u32,
}

impl Way {
    /// # Errors
    /// Words for the studio.
    pub(super) fn of(shape: &Shape, passes: impl Fn(VideoCodec) -> bool) -> Result<Way, String> {
        if let Some(codec) = shape.known.format.codec() {
            let pass = pass::Pictures::new(codec, &Bytes::new(), 0, shape.rate);
            return Ok(if passes(codec) {
                Way::Pass(pass)
            } else {
                Way::Decode { decoder: Box::new(decode::Pictures::of_camera(codec)?), gate: pass }
            });
        }
        Ok(match shape.known.format {
            CameraFormat::Mjpeg => Way::Jpeg,
            _ => Way::Raw(
                layout::layout(shape.known, shape.size, &shape.strides)
                    .ok_or_else(|| format!("the camera's driver offers pictures of {}", shape.size))?,
            ),
        })
    }
}

impl Film {
    pub(super) fn new(stream: Stream, shape: Shape, way: Way) -> Film {
        Film { stream, shape, way, last_at: Ticks(i64::MIN), short_in_a_row: 0, errors_in_a_row: 0 }
    }

    /// Films until the camera fails or the stream ends.
    pub(super) fn run(mut self, outlet: &mut Outlet) -> Result<Infallible, FilmError> {
        loop {
            let ready = {
                let wanted = PollFlags::POLLIN;
                let mut fds =
                    [PollFd::new(self.stream.fd(), wanted), PollFd::new(outlet.stop().fd(), wanted)];
                // A silent camera is the restart policy's business; this wait only ends to look at the stop.
                stop::wait(&mut fds, Duration::from_secs(1));
                fds[0].revents().unwrap_or(PollFlags::empty())
            };
            if outlet.stop().is_said() {
                return Err(SourceError::Stopped.into());
            }
            if ready.is_empty() {
                continue;
            }
            match self.stream.take() {
                Ok(Some(taken)) => {
                    self.errors_in_a_row = 0;
                    self.hand_on(&taken, outlet)?;
                }
                // Woken without a picture: an error that only the wait can see, such as no buffer queued.
                Ok(None) if ready.contains(PollFlags::POLLERR) => self.note_error(Errno::EIO, outlet)?,
                Ok(None) if ready.contains(PollFlags::POLLHUP) => {
                    return Err(FilmError::Camera(Errno::ENODEV));
                }
                Ok(None) => {}
                Err(Errno::EIO | Errno::EPROTO) => self.note_error(Errno::EIO, outlet)?,
                Err(errno) => return Err(FilmError::Camera(errno)),
            }
        }
    }

    fn note_error(&mut self, errno: Errno, outlet: &Outlet) -> Result<(), FilmError> {
        self.errors_in_a_row += 1;
        outlet.figures().note_damaged();
        if self.errors_in_a_row >= ERRORS_MAX {
            return Err(FilmError::Camera(errno));
        }
        // The wait may return at once again and again.
        let pause = clock::monotonic_ticks() + Ticks::from_millis(20);
        outlet.stop().wait_until(pause).map_err(|stopped| FilmError::Source(stopped.into()))
    }

    fn hand_on(&mut self, taken: &Taken, outlet: &mut Outlet) -> Result<(), FilmError> {
        let at = stamp(clock::monotonic_ticks(), taken.at, self.last_at);
        self.last_at = at;
        if taken.is_damaged {
            outlet.figures().note_damaged();
            if let Way::Pass(pass) = &mut self.way {
                // Those after it refer to what is missing.
                pass.rewind();
            }
            return Ok(());
        }
        let items = match &mut self.way {
            Way::Raw(layout) => {
                let is_short =
                    (taken.data.iter().enumerate()).any(|(memory, data)| data.used < layout.bytes_in(memory));
                let fits = layout.places.iter().all(|place| {
                    taken.data.get(place.memory).is_some_and(|data| place.range.end <= data.room)
                });
                if !fits || !self.short_in_a_row.bears(is_short) {
                    outlet.figures().note_damaged();
                    return Ok(());
                }
                let planes = raw_planes(layout, taken);
                vec![frame(at, layout.format, &self.shape, planes)]
            }
            Way::Jpeg => {
                let Some(data) = taken.data.first() else { return Ok(()) };
                let memory = taken.memory(0);
                let bytes = memory.slice(data.offset..data.offset + data.used);
                let range = match jpeg::find(&bytes) {
                    Jpeg::Whole(range) => {
                        self.short_in_a_row = 0;
                        range
                    }
                    Jpeg::Endless(range) if self.short_in_a_row.bears(true) => range,
                    Jpeg::Endless(_) | Jpeg::Nothing => {
                        outlet.figures().note_damaged();
                        return Ok(());
                    }
                };
                let planes = [Plane { data: bytes.slice(range), stride: 0 }].into_iter().collect();
                vec![frame(at, PixelFormat::Mjpeg, &self.shape, planes)]
            }
            Way::Pass(pass) => {
                let Ok(items) = passed(pass, at, taken) else {
                    outlet.figures().note_damaged();
                    return Ok(());
                };
                items
            }
            Way::Decode { decoder, gate } => {
                // Told by the same rules which pictures a decoder can make something of.
                match passed(gate, at, taken) {
                    Ok(items) if items.is_empty() => items,
                    Ok(_) => decoded(decoder, at, taken),
                    Err(()) => {
                        outlet.figures().note_damaged();
                        return Ok(());
                    }
                }
            }
        };
        for item in items {
            let item = if taken.must_copy { copied(item, outlet) } else { item };
            outlet.send(item).map_err(|stopped| FilmError::Source(stopped.into()))?;
        }
        Ok(())
    }
}

/// Why filming ended.
pub(super) enum FilmError {
    /// The driver's word.
    Camera(Errno),
    /// The stream's.
    Source(SourceError),
}

impl From<SourceError> for FilmError {
    fn from(error: SourceError) -> FilmError {
        FilmError::Source(error)
    }
}

/// Counts pictures that break a rule.
trait Habit {
    /// Whether a picture may pass: it keeps the rule, or so many before it broke it that the camera always does.
    fn bears(&mut self, is_broken: bool) -> bool;
}

impl Habit for u32 {
    fn bears(&mut self, is_broken: bool) -> bool {
        *self = if is_broken { self.saturating_add(1) } else { 0 };
        !is_broken || *self > HABIT
    }
}

fn raw_planes(layout: &Layout, taken: &Taken) -> heapless::Vec<Plane, 3> {
    layout
        .places
        .iter()
        .map(|place| {
            let offset = taken.data.get(place.memory).map_or(0, |data| data.offset);
            let range = offset + place.range.start..offset + place.range.end;
            Plane { data: taken.memory(place.memory).slice(range), stride: place.stride }
        })
        .collect()
}

fn frame(at: Ticks, format: PixelFormat, shape: &Shape, planes: heapless::Vec<Plane, 3>) -> Captured {
    Captured::Frame(Frame { at, format, size: shape.size, planes })
}

/// `Err(())` for a damaged picture.
fn passed(pass: &mut pass::Pictures, at: Ticks, taken: &Taken) -> Result<Vec<Captured>, ()> {
    let Some(data) = taken.data.first() else { return Ok(Vec::new()) };
    let memory = taken.memory(0);
    let Some(picture) = pass.take(&memory[data.offset..data.offset + data.used])? else {
        return Ok(Vec::new());
    };
    let packet = Packet {
        track: Track::Video,
        dts: at,
        pts: at,
        keyframe: picture.keyframe,
        payload: picture.payload,
    };
    let config = picture.config.map(Captured::VideoConfig);
    Ok(config.into_iter().chain([Captured::Packet(packet)]).collect())
}

fn decoded(decoder: &mut decode::Pictures, at: Ticks, taken: &Taken) -> Vec<Captured> {
    let Some(data) = taken.data.first() else { return Vec::new() };
    let memory = taken.memory(0);
    let mut packet = ffmpeg_next::Packet::copy(&memory[data.offset..data.offset + data.used]);
    packet.set_pts(Some(at.0));
    packet.set_dts(Some(at.0));
    let mut frames = Vec::new();
    decoder.decode(Some(&packet), |picture| {
        frames.push(Captured::Frame(Frame {
            at: picture.at.unwrap_or(at),
            format: picture.format,
            size: picture.size,
            planes: picture.planes,
        }));
    });
    frames
}

/// The same picture in memory of its own, so that the driver gets its buffer back now. What was decoded or repacked
/// is in its own already.
fn copied(item: Captured, outlet: &Outlet) -> Captured {
    let Captured::Frame(mut frame) = item else { return item };
    outlet.figures().note_copied();
    for plane in &mut frame.planes {
        plane.data = Bytes::copy_from_slice(&plane.data);
    }
    Captured::Frame(frame)
}

/// The time of a picture: the driver's where it can be true, else now; never before the picture before it.
fn stamp(now: Ticks, told: Option<Ticks>, last: Ticks) -> Ticks {
    let is_true = |at: &Ticks| *at <= now + STAMP_AHEAD_MAX && *at >= now - STAMP_BEHIND_MAX;
    told.filter(is_true).unwrap_or(now).max(last + Ticks(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Ticks = Ticks(1_000_000_000);

    #[test]
    fn a_drivers_time_is_taken_where_it_can_be_true() {
        let (frame_ago, hour_ago) = (NOW - Ticks(3_000), NOW - Ticks(3_600 * Ticks::PER_SECOND));
        let never = Ticks(i64::MIN);
        assert_eq!(stamp(NOW, Some(frame_ago), never), frame_ago);
        assert_eq!(stamp(NOW, None, never), NOW);
        assert_eq!(stamp(NOW, Some(hour_ago), never), NOW, "a clock that stood while the box slept");
        assert_eq!(stamp(NOW, Some(NOW + Ticks(Ticks::PER_SECOND)), never), NOW, "the wall clock's");
        assert_eq!(stamp(NOW, Some(frame_ago), frame_ago), frame_ago + Ticks(1), "two of the same time");
    }

    #[test]
    fn one_short_picture_is_thrown_away_and_a_camera_that_always_lies_is_believed() {
        let mut habit = 0u32;
        assert!(habit.bears(false));
        assert!(!habit.bears(true));
        assert!(habit.bears(false));
        let borne: Vec<bool> = (0..HABIT + 2).map(|_| habit.bears(true)).collect();
        assert_eq!(borne.iter().filter(|borne| !**borne).count(), HABIT as usize);
        assert!(borne.ends_with(&[true, true]));
    }
}
