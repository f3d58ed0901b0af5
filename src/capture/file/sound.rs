//! A clip's sound on its way out: passed or decoded, held to the picture's line, silence where there is none.

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::media::aac;
use crate::media::frame::{Captured, Sound, TrackForm};
use crate::media::packet::{Packet, Track};

use super::super::{decode, pass};
use super::clip::{self, Piece};
use super::plain;
use super::queue::{Queue, Ready};
use super::seam::{Seam, SoundLine};

/// Samples in a piece of raw silence at 48 kHz.
const SILENCE_PIECE: u64 = 960;

/// The sound of a clip on its way out.
pub(super) struct SoundTrack {
    way: Sounds,
    line: SoundLine,
    rate: u32,
    channels: u8,
    /// Samples that can only go together: a coded frame.
    grain: u64,
}

enum Sounds {
    Pass(pass::Sounds),
    Decode(decode::Sounds),
}

impl SoundTrack {
    /// The clip's sound, from the line's zero on. `None` for sound that this build cannot decode: a clip without its sound is better than none.
    pub(super) fn open(track: &clip::Track, passes: bool) -> Option<SoundTrack> {
        let passes = passes && pass::is_sound_fit(track.codec, &track.header);
        let way = if passes {
            Sounds::Pass(pass::Sounds::new(&track.header))
        } else {
            match decode::Sounds::open(&track.parameters, track.time_base()) {
                Ok(sounds) => Sounds::Decode(sounds),
                Err(words) => {
                    tracing::warn!("{words}; the clip plays without sound");
                    return None;
                }
            }
        };
        let rate = Some(track.header.sample_rate).filter(|rate| *rate > 0).unwrap_or(48_000);
        let grain = if passes { u64::from(aac::FRAME_SAMPLES) } else { 1 };
        let channels = track.header.channels.clamp(1, 2);
        Some(SoundTrack { way, line: SoundLine::new(rate), rate, channels, grain })
    }

    /// In which form it goes out.
    pub(super) fn form(&self) -> TrackForm {
        match self.way {
            Sounds::Pass(_) => TrackForm::Coded,
            Sounds::Decode(_) => TrackForm::Raw,
        }
    }

    /// Takes one packet that the clip puts at `at` on the line.
    pub(super) fn take(&mut self, piece: &Piece, at: Ticks, seam: &Seam, queue: &mut Queue) {
        let Sounds::Pass(pass) = &mut self.way else {
            self.decode(Some(&piece.packet), seam, queue);
            return;
        };
        let Some((config, payload)) = pass.take(piece.packet.data().unwrap_or_default()) else { return };
        if let Some(config) = config {
            queue.push(plain(self.line.next_at(), Captured::AudioConfig(config)));
        }
        // Frames with SBR come out twice as long. The last frame of a file is told shorter than it is.
        if piece
            .duration
            .is_some_and(|span| span > Ticks::from_units(3 * i64::from(aac::FRAME_SAMPLES) / 2, self.rate))
        {
            self.grain = 2 * u64::from(aac::FRAME_SAMPLES);
        }
        let fit = self.line.fit(at, self.grain, self.grain);
        self.silence(fit.silence, queue);
        if fit.skip == 0 {
            self.push_coded(payload, queue);
        }
    }

    /// Fills up with silence what is missing before `at`: the clip's own sound would have come by now.
    pub(super) fn keep_up(&mut self, at: Ticks, queue: &mut Queue) {
        let samples = self.line.short_of(at, self.grain);
        self.silence(samples, queue);
    }

    /// The pass is over: the sound ends where its picture does.
    pub(super) fn end_pass(&mut self, seam: &Seam, queue: &mut Queue) {
        if let Sounds::Decode(_) = self.way {
            self.decode(None, seam, queue);
        }
        self.line.give_back(queue.cut_sound_at(seam.end()));
        self.keep_up(seam.end(), queue);
    }

    fn decode(&mut self, packet: Option<&ffmpeg_next::Packet>, seam: &Seam, queue: &mut Queue) {
        let Sounds::Decode(decoder) = &mut self.way else { return };
        let mut pieces = Vec::new();
        decoder.decode(packet, |piece| pieces.push(piece));
        for mut piece in pieces {
            if (piece.sample_rate, piece.channels) != (self.rate, self.channels) {
                // Some codecs show their true rate only when decoded (HE-AAC).
                let at = self.line.next_at();
                (self.rate, self.channels) = (piece.sample_rate.max(1), piece.channels.max(1));
                self.line = SoundLine::new(self.rate);
                self.line.take(self.line.short_of(at, 1));
            }
            let samples = (piece.samples.len() / usize::from(self.channels)) as u64;
            let at = piece.at.and_then(|at| seam.place(at)).unwrap_or(self.line.next_at());
            let fit = self.line.fit(at, samples, 1);
            self.silence(fit.silence, queue);
            if fit.skip < samples {
                piece.samples.drain(..fit.skip as usize * usize::from(self.channels));
                self.push_raw(piece.samples, queue);
            }
        }
    }

    /// Lets `samples` of silence follow.
    fn silence(&mut self, samples: u64, queue: &mut Queue) {
        let mut left = samples;
        while left > 0 {
            match &mut self.way {
                Sounds::Pass(pass) => {
                    let Some((config, payload)) = pass.silence() else { return };
                    if let Some(config) = config {
                        queue.push(plain(self.line.next_at(), Captured::AudioConfig(config)));
                    }
                    self.push_coded(payload, queue);
                    left = left.saturating_sub(self.grain);
                }
                Sounds::Decode(_) => {
                    let piece = left.min(SILENCE_PIECE);
                    self.push_raw(vec![0.0; piece as usize * usize::from(self.channels)], queue);
                    left -= piece;
                }
            }
        }
    }

    fn push_raw(&mut self, samples: Vec<f32>, queue: &mut Queue) {
        let count = (samples.len() / usize::from(self.channels)) as u64;
        let at = self.line.take(count);
        let sound = Sound { at, sample_rate: self.rate, channels: self.channels, samples };
        queue.push(Ready { at, samples: count, is_picture: false, media: Captured::Sound(sound) });
    }

    fn push_coded(&mut self, payload: Bytes, queue: &mut Queue) {
        let at = self.line.take(self.grain);
        let packet = Packet { track: Track::Audio, dts: at, pts: at, keyframe: true, payload };
        queue.push(Ready { at, samples: self.grain, is_picture: false, media: Captured::Packet(packet) });
    }
}
