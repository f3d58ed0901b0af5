//! The sound track: raw sound in, AAC-LC at 48 kHz out, on the picture's clock.

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::media::frame::Sound;
use crate::media::packet::{AudioConfig, Packet, Track};

use super::drift::{Advice, Drift};
use super::ffi::CodecError;
use super::ffi::codec::SoundContext;
use super::ffi::sound::Resampler;

/// What every stream's sound has: the rate that players and clouds agree on.
pub(super) const SAMPLE_RATE: u32 = 48_000;
const CHANNELS: u8 = 2;
/// Rates that a source may name; others are a mistake of its driver.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;
/// More than this in one piece is no live sound: ten seconds.
const PIECE_SECONDS_MAX: usize = 10;

/// Encodes one stream's sound.
pub(super) struct AudioTrack {
    encoder: SoundContext,
    config: AudioConfig,
    resampler: Option<Resampler>,
    drift: Drift,
    ppm: i32,
    /// When sample 0 was captured; known from the first piece on.
    origin: Option<Ticks>,
    /// Index of the first sample that waits in `left` and `right`; always whole AAC frames.
    next: i64,
    left: Vec<f32>,
    right: Vec<f32>,
    /// Input samples (of each channel) that are still to be left out.
    cut: usize,
    stereo: Vec<f32>,
}

impl AudioTrack {
    /// Opens the encoder; the configuration does not depend on the source.
    pub(super) fn open(bitrate: BitrateBps) -> Result<AudioTrack, CodecError> {
        let encoder = SoundContext::open(SAMPLE_RATE, CHANNELS, bitrate)?;
        let config = AudioConfig {
            record: encoder.extradata(),
            sample_rate: SAMPLE_RATE,
            channels: CHANNELS,
            bitrate: Some(bitrate),
        };
        Ok(AudioTrack {
            encoder,
            config,
            resampler: None,
            drift: Drift::default(),
            ppm: 0,
            origin: None,
            next: 0,
            left: Vec::new(),
            right: Vec::new(),
            cut: 0,
            stereo: Vec::new(),
        })
    }

    /// The source is up again.
    pub(super) fn begin(&mut self) {
        self.drift.begin();
        self.cut = 0;
    }

    pub(super) fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// How far the stamps lie ahead of the encoded sound, smoothed.
    pub(super) fn offset(&self) -> Ticks {
        self.drift.offset()
    }

    /// The correction in force, in parts in a million.
    pub(super) fn ppm(&self) -> i32 {
        self.ppm
    }

    /// Takes one piece of sound; whole AAC frames go to `sink`.
    ///
    /// # Errors
    /// When the piece makes no sense or the encoder refuses it; the track goes on with the next.
    pub(super) fn sound(&mut self, sound: &Sound, sink: &mut dyn FnMut(Packet)) -> Result<(), CodecError> {
        let channels = usize::from(sound.channels);
        let sane = RATES.contains(&sound.sample_rate)
            && channels > 0
            && sound.samples.len() <= sound.sample_rate as usize * channels * PIECE_SECONDS_MAX;
        if !sane {
            return Err(CodecError::new("take sound", "a rate, channel count or length that cannot be"));
        }
        if self.resampler.as_ref().is_none_or(|open| open.input_rate() != sound.sample_rate) {
            self.resampler = Some(Resampler::new(sound.sample_rate, SAMPLE_RATE)?);
            self.ppm = 0;
        }
        to_stereo(sound, &mut self.stereo);
        self.keep_time(sound, sink)?;
        let skipped = self.cut.min(self.stereo.len() / 2);
        self.cut -= skipped;
        if let Some(resampler) = &mut self.resampler {
            resampler.convert(&self.stereo[skipped * 2..], &mut self.left, &mut self.right)?;
        }
        self.encode_whole_frames(sink)
    }

    /// Where the sample stands that would be appended next, resampler's contents included.
    fn position(&mut self) -> i64 {
        let pending = self.resampler.as_mut().map_or(0, Resampler::delay);
        self.next + self.left.len() as i64 + pending
    }

    /// Compares the piece's stamp with where the encoded sound stands, and does what the drift core says.
    fn keep_time(&mut self, sound: &Sound, sink: &mut dyn FnMut(Packet)) -> Result<(), CodecError> {
        let Some(origin) = self.origin else {
            self.origin = Some(sound.at);
            return Ok(());
        };
        let owed =
            i64::try_from(self.cut).unwrap_or(0) * i64::from(SAMPLE_RATE) / i64::from(sound.sample_rate);
        let ahead = sound.at + Ticks::from_units(owed, SAMPLE_RATE)
            - (origin + Ticks::from_units(self.position(), SAMPLE_RATE));
        let span = Ticks::from_units(self.stereo.len() as i64 / 2, sound.sample_rate);
        match self.drift.observe(ahead, span) {
            Advice::Bend { ppm } => {
                if ppm != self.ppm
                    && let Some(resampler) = &mut self.resampler
                {
                    resampler.correct(ppm)?;
                    self.ppm = ppm;
                }
            }
            Advice::Fill(gap) => {
                let samples = (gap.seconds() * f64::from(SAMPLE_RATE)) as usize;
                tracing::warn!(gap_ms = gap.millis(), "sound is missing, filled with silence");
                self.silence(samples);
            }
            Advice::Cut(surplus) => {
                tracing::warn!(surplus_ms = surplus.millis(), "sound runs ahead of the picture, cut");
                self.cut = (surplus.seconds() * f64::from(sound.sample_rate)) as usize;
            }
            Advice::Jump => {
                tracing::info!(gap_ms = ahead.millis(), "sound begins again");
                self.jump_to(sound.at, origin, sink)?;
            }
        }
        Ok(())
    }

    fn silence(&mut self, samples: usize) {
        self.left.resize(self.left.len() + samples, 0.0);
        self.right.resize(self.right.len() + samples, 0.0);
    }

    /// The next sample is the one captured at `at`. Frames stay on their grid of 1,024: what waits is filled up
    /// and sent, and the first frame behind the hole begins with a little silence. A clock that began anew gets a
    /// new grid.
    fn jump_to(&mut self, at: Ticks, origin: Ticks, sink: &mut dyn FnMut(Packet)) -> Result<(), CodecError> {
        let frame = self.encoder.frame_samples().max(1);
        self.silence(self.left.len().next_multiple_of(frame) - self.left.len());
        self.encode_whole_frames(sink)?;
        let target = ((at - origin).seconds() * f64::from(SAMPLE_RATE)) as i64;
        if target < self.next {
            self.origin = Some(at - Ticks::from_units(self.next, SAMPLE_RATE));
            return Ok(());
        }
        let ahead = target - self.next;
        self.next += ahead - ahead % frame as i64;
        self.silence(ahead as usize % frame);
        Ok(())
    }

    fn encode_whole_frames(&mut self, sink: &mut dyn FnMut(Packet)) -> Result<(), CodecError> {
        let frame = self.encoder.frame_samples();
        let Some(origin) = self.origin.filter(|_| frame > 0) else { return Ok(()) };
        let mut done = 0;
        let mut result = Ok(());
        while self.left.len() - done >= frame && result.is_ok() {
            let (left, right) = (&self.left[done..done + frame], &self.right[done..done + frame]);
            result = self.encoder.send(self.next, &[left, right]);
            done += frame;
            self.next += frame as i64;
            // An error must not leave the samples behind: they would be encoded again, at later times.
            loop {
                match self.encoder.receive() {
                    Ok(Some(coded)) => {
                        let at = origin + Ticks::from_units(coded.pts, SAMPLE_RATE);
                        sink(packet(at, coded.payload));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
        }
        self.left.drain(..done);
        self.right.drain(..done);
        result
    }
}

fn packet(at: Ticks, payload: Bytes) -> Packet {
    Packet { track: Track::Audio, dts: at, pts: at, keyframe: true, payload }
}

/// Two channels, interleaved, in bounds: one channel goes to both sides; of more, the first two are the front
/// and the rest (centre, surround) goes to both at -3 dB.
fn to_stereo(sound: &Sound, stereo: &mut Vec<f32>) {
    let sane = |sample: f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    stereo.clear();
    match usize::from(sound.channels) {
        1 => stereo.extend(sound.samples.iter().flat_map(|sample| [sane(*sample); 2])),
        2 => stereo.extend(sound.samples.iter().map(|sample| sane(*sample))),
        channels => {
            for frame in sound.samples.chunks_exact(channels) {
                let rest: f32 = frame[2..].iter().map(|sample| sane(*sample)).sum();
                let rest = rest * std::f32::consts::FRAC_1_SQRT_2;
                stereo.extend([sane(sane(frame[0]) + rest), sane(sane(frame[1]) + rest)]);
            }
        }
    }
    if stereo.len() % 2 == 1 {
        stereo.pop();
    }
}
