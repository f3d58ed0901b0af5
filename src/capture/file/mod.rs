//! The file camera: loops a clip in real time, its sound included.
//!
//! ```text
//!   clip (FFmpeg) ──> merge ──> decode, or pass H.26x/AAC ──> seam (one line of time) ──> queue ──> on time ──> outlet
//!     ^ rewound at the end of each pass: the picture goes on at its pace, the sound without a gap or a click
//! ```
//!
//! What nothing asks to change goes on untouched; anything else FFmpeg can read is decoded here. A file that is
//! missing, damaged or no clip is an error in words, and tried again for ever; a file that is replaced while it plays
//! is taken up at the end of the pass. Never decodes faster than it plays, and holds a few pictures at most.

use std::path::Path;

use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::config::schema::{EncoderChoice, Stream};
use crate::media::frame::{Captured, Frame, Sound, TrackForm};
use crate::media::packet::{Packet, Track, VideoCodec};

use super::outlet::Outlet;
use super::source::{self, Run, SourceError};
use super::{decode, pass};
use clip::{Clip, Piece};
use queue::{Queue, Ready};
use seam::Seam;
use sound::SoundTrack;

mod clip;
mod merge;
mod queue;
mod seam;
mod sound;
#[cfg(test)]
mod tests;

/// Pictures made ready ahead of their time: enough to hide a slow keyframe or the way back to the beginning. Raw
/// ones are large.
const AHEAD_RAW: usize = 3;
const AHEAD_CODED: usize = 8;
/// Playing later than this, the clip's time is moved instead: the box is too slow, or was asleep.
const LATE_MAX: Ticks = Ticks(Ticks::PER_SECOND);
/// A raw picture later than this is skipped when the next is due too.
const LATE_PICTURE: Ticks = Ticks(Ticks::PER_SECOND / 10);
/// A still picture is sent again this often, so that encoder and viewers go on.
const REPEAT_EVERY: Ticks = Ticks(Ticks::PER_SECOND / 2);
/// Sound this far behind the picture is filled with silence; a muxer's interleaving stays below.
const SOUND_BEHIND: Ticks = Ticks(Ticks::PER_SECOND * 3 / 10);
/// Sound further ahead of the picture than this is dropped: it belongs to no picture that will come.
const SOUND_AHEAD: Ticks = Ticks(10 * Ticks::PER_SECOND);

enum Pictures {
    Pass(pass::Pictures),
    Decode(decode::Pictures),
}

/// One clip being played.
struct Player {
    clip: Clip,
    seam: Seam,
    queue: Queue,
    pictures: Pictures,
    sound: Option<SoundTrack>,
    /// What the clip's line is ahead of the monotonic clock.
    base: Option<Ticks>,
    last_frame_at: Option<Ticks>,
    still: Option<Frame>,
    /// The last picture was left out for being late.
    skipped: bool,
    pictures_in_pass: u64,
    damaged_in_pass: u64,
}

/// Plays the clip until told to stop.
pub(super) fn run(stream: &Stream, path: &Path, outlet: &mut Outlet) -> Run {
    loop {
        let print = source::fingerprint(stream);
        let mut player = Player::open(stream, path, outlet.wants_sound()).map_err(SourceError::Failed)?;
        outlet.begin(player.picture_form(), player.sound_form(), &player.mode(path))?;
        let mut replaced = false;
        loop {
            while !replaced && player.queue.pictures() < player.ahead() {
                if player.pull().map_err(SourceError::Failed)? {
                    continue;
                }
                player.end_pass(path, outlet)?;
                let now = source::fingerprint(stream);
                replaced = now.is_some() && now != print;
                if !replaced {
                    player.rewind().map_err(SourceError::Failed)?;
                }
            }
            let Some(ready) = player.queue.pop() else { break };
            player.deliver(ready, outlet)?;
        }
        tracing::info!("the file was replaced, opening it again");
    }
}

impl Player {
    fn open(stream: &Stream, path: &Path, wants_sound: bool) -> Result<Player, String> {
        let clip = Clip::open(path, wants_sound)?;
        let unchanged = stream.size.is_none() && stream.fps.is_none() && stream.bitrate.is_none();
        let passes = match &stream.encoder {
            EncoderChoice::Copy => true,
            EncoderChoice::Auto => unchanged,
            EncoderChoice::Named(_) => false,
        };
        // H.265 goes on only where it is asked for by name: half of all browsers, and most clouds, cannot take it.
        let codec = pass::picture_codec(clip.picture.codec)
            .filter(|codec| *codec == VideoCodec::H264 || stream.encoder == EncoderChoice::Copy);
        let pictures = if let Some(codec) = codec.filter(|_| passes) {
            Pictures::Pass(pass::Pictures::new(
                codec,
                &clip.picture.header.extradata,
                clip.picture.header.bitrate,
                clip.rate,
            ))
        } else if stream.encoder == EncoderChoice::Copy {
            return Err(format!(
                "encoder = \"copy\" needs H.264 or H.265, and the file {} holds {}; use encoder = \"auto\"",
                path.display(),
                clip.picture.codec_name()
            ));
        } else {
            Pictures::Decode(decode::Pictures::open(&clip.picture.parameters, clip.picture.time_base())?)
        };
        let sound = clip.sound.as_ref().and_then(|track| SoundTrack::open(track, passes));
        Ok(Player {
            seam: Seam::new(clip.frame_time()),
            clip,
            queue: Queue::default(),
            pictures,
            sound,
            base: None,
            last_frame_at: None,
            still: None,
            skipped: false,
            pictures_in_pass: 0,
            damaged_in_pass: 0,
        })
    }

    fn picture_form(&self) -> TrackForm {
        match self.pictures {
            Pictures::Pass(_) => TrackForm::Coded,
            Pictures::Decode(_) => TrackForm::Raw,
        }
    }

    fn sound_form(&self) -> TrackForm {
        self.sound.as_ref().map_or(TrackForm::Absent, SoundTrack::form)
    }

    fn mode(&self, path: &Path) -> String {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let how = |form| if form == TrackForm::Coded { "passed through" } else { "decoded" };
        let picture = format!("{} {}", self.clip.picture.codec_name(), how(self.picture_form()));
        let sound = match &self.clip.sound {
            Some(track) if self.sound.is_some() => {
                format!("{} {}", track.codec_name(), how(self.sound_form()))
            }
            Some(_) | None => "no sound".to_owned(),
        };
        format!("{name}: {picture}, {sound}")
    }

    fn ahead(&self) -> usize {
        if self.picture_form() == TrackForm::Coded { AHEAD_CODED } else { AHEAD_RAW }
    }

    /// Takes one packet of the clip and makes ready what comes of it; `false` at the end of the pass.
    fn pull(&mut self) -> Result<bool, String> {
        match self.clip.next()? {
            None => return Ok(false),
            Some(piece) if piece.is_picture => self.take_picture(&piece),
            Some(piece) => self.take_sound(&piece),
        }
        Ok(true)
    }

    fn take_picture(&mut self, piece: &Piece) {
        let placed = self.seam.picture(piece.dts, piece.pts, piece.duration);
        if let Some(sound) = &mut self.sound {
            sound.keep_up(placed.dts - SOUND_BEHIND, &mut self.queue);
        }
        match &mut self.pictures {
            Pictures::Decode(_) => self.decode_picture(Some(&piece.packet)),
            Pictures::Pass(pass) => {
                let Ok(taken) = pass.take(piece.packet.data().unwrap_or_default()) else {
                    self.damaged_in_pass += 1;
                    return;
                };
                let Some(picture) = taken else { return };
                if let Some(config) = picture.config {
                    self.queue.push(plain(placed.dts, Captured::VideoConfig(config)));
                }
                let packet = Packet {
                    track: Track::Video,
                    dts: placed.dts,
                    pts: placed.pts,
                    keyframe: picture.keyframe,
                    payload: picture.payload,
                };
                let media = Captured::Packet(packet);
                self.queue.push(Ready { at: placed.dts, samples: 0, is_picture: true, media });
                self.pictures_in_pass += 1;
            }
        }
    }

    fn decode_picture(&mut self, packet: Option<&ffmpeg_next::Packet>) {
        let Pictures::Decode(decoder) = &mut self.pictures else { return };
        let frame_time = self.clip.frame_time();
        let good = decoder.decode(packet, |picture| {
            // The decoder gives pictures in the order in which they are shown; what a file says otherwise is wrong.
            let follows = self.last_frame_at.map(|last| last + frame_time);
            let told = picture.at.and_then(|at| self.seam.place(at));
            let at = match (told, follows) {
                (Some(at), Some(follows)) if at <= follows - frame_time || at > self.seam.end() => follows,
                (Some(at), _) => at,
                (None, Some(follows)) => follows,
                (None, None) => Ticks::ZERO,
            };
            self.last_frame_at = Some(at);
            let (format, size, planes) = (picture.format, picture.size, picture.planes);
            let media = Captured::Frame(Frame { at, format, size, planes });
            self.queue.push(Ready { at, samples: 0, is_picture: true, media });
            self.pictures_in_pass += 1;
        });
        self.damaged_in_pass += u64::from(!good);
    }

    fn take_sound(&mut self, piece: &Piece) {
        let (Some(sound), Some(at)) = (&mut self.sound, self.seam.place(piece.pts)) else { return };
        if at > self.seam.end() + SOUND_AHEAD {
            return;
        }
        sound.take(piece, at, &self.seam, &mut self.queue);
    }

    /// The pass is over: the picture's end is where the next begins, and the sound ends with it.
    fn end_pass(&mut self, path: &Path, outlet: &Outlet) -> Result<(), SourceError> {
        self.decode_picture(None);
        if let Some(sound) = &mut self.sound {
            sound.end_pass(&self.seam, &mut self.queue);
        }
        for _ in 0..self.damaged_in_pass {
            outlet.figures().note_damaged();
        }
        if self.pictures_in_pass == 0 {
            return Err(SourceError::Failed(format!(
                "the file {} holds no picture that can be shown; it is damaged or cut short",
                path.display()
            )));
        }
        if self.damaged_in_pass > 0 {
            tracing::debug!(damaged = self.damaged_in_pass, "pictures of this pass were damaged");
        }
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), String> {
        self.seam.next_pass();
        (self.pictures_in_pass, self.damaged_in_pass) = (0, 0);
        if let Pictures::Pass(pass) = &mut self.pictures {
            pass.rewind();
        }
        self.clip.rewind()
    }

    /// Waits for a thing's time and hands it on.
    fn deliver(&mut self, ready: Ready, outlet: &mut Outlet) -> Result<(), SourceError> {
        let base = *self.base.get_or_insert(clock::monotonic_ticks() - ready.at);
        let due = base + ready.at;
        while due - clock::monotonic_ticks() > REPEAT_EVERY
            && let Some(still) = &self.still
        {
            let again = still.at + REPEAT_EVERY;
            if again >= due {
                break;
            }
            outlet.stop().wait_until(again)?;
            let repeated = Frame { at: again, ..still.clone() };
            self.still = Some(repeated.clone());
            outlet.send(Captured::Frame(repeated))?;
        }
        outlet.stop().wait_until(due)?;
        let late = clock::monotonic_ticks() - due;
        let is_frame = matches!(ready.media, Captured::Frame(_));
        // Never two in a row, and not when all time must move: a box that is too slow for a clip shows half of its
        // pictures rather than none.
        let skips = is_frame
            && !self.skipped
            && late > LATE_PICTURE
            && late <= LATE_MAX
            && self.queue.has_picture_by(ready.at + late);
        if is_frame {
            self.skipped = skips;
        }
        if skips {
            return Ok(());
        }
        let base = if late > LATE_MAX {
            tracing::debug!(late_ms = late.millis(), "the clip plays late, moving its time");
            self.base = Some(base + late);
            base + late
        } else {
            base
        };
        let media = shifted(ready.media, base);
        if let Captured::Frame(frame) = &media {
            self.still = Some(frame.clone());
        }
        outlet.send(media)?;
        Ok(())
    }
}

fn plain(at: Ticks, media: Captured) -> Ready {
    Ready { at, samples: 0, is_picture: false, media }
}

/// The same thing in the monotonic clock's time.
fn shifted(media: Captured, base: Ticks) -> Captured {
    match media {
        Captured::Frame(frame) => Captured::Frame(Frame { at: frame.at + base, ..frame }),
        Captured::Sound(sound) => Captured::Sound(Sound { at: sound.at + base, ..sound }),
        Captured::Packet(packet) => {
            Captured::Packet(Packet { dts: packet.dts + base, pts: packet.pts + base, ..packet })
        }
        Captured::Begin { .. } | Captured::VideoConfig(_) | Captured::AudioConfig(_) => media,
    }
}
