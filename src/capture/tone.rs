//! The tone: a short beep at each full second of the wall clock, silence between.
//!
//! Pure. The pattern picture flashes at the same instant, so that one sees and hears whether picture and sound are
//! still together at the far end.

use crate::base::ticks::Ticks;
use crate::media::frame::Sound;

/// Samples per second.
pub(super) const SAMPLE_RATE: u32 = 48_000;
/// How long the beep and the flash last after each full second.
pub(super) const BEAT_MILLIS: u64 = 100;

const CHANNELS: u8 = 2;
/// 20 ms: what encoders and queues are made for.
const PIECE_SAMPLES: u32 = SAMPLE_RATE / 50;
const FREQUENCY_HZ: f64 = 1_000.0;
/// -12 dB: heard clearly, hurts nobody.
const LOUDNESS: f64 = 0.25;
/// The beep swells and fades over this much of a second, so that it does not click.
const EDGE_SECONDS: f64 = 0.005;
/// After a pause longer than this, sound goes on from where time is.
const CATCH_UP_MAX: Ticks = Ticks(Ticks::PER_SECOND);

/// Makes sound, piece by piece without a gap.
#[derive(Debug)]
pub(super) struct Tone {
    start: Ticks,
    pieces: i64,
    /// Microseconds from the monotonic clock to the wall clock, as last looked at.
    wall_offset_micros: i64,
}

impl Tone {
    /// Sound from `now` on, when the wall clock shows `unix_millis`.
    pub(super) fn new(now: Ticks, unix_millis: u64) -> Tone {
        Tone { start: now, pieces: 0, wall_offset_micros: wall_offset_micros(now, unix_millis) }
    }

    /// The next piece that is wholly in the past, if there is one.
    pub(super) fn next(&mut self, now: Ticks, unix_millis: u64) -> Option<Sound> {
        if now - self.piece_start(self.pieces) > CATCH_UP_MAX {
            *self = Tone::new(now, unix_millis);
        }
        if self.piece_start(self.pieces + 1) > now {
            return None;
        }
        let at = self.piece_start(self.pieces);
        self.pieces += 1;
        let begin_micros = micros(at) + self.wall_offset_micros;
        // The wall clock is followed only in the silent half: a beep in the making is never bent.
        if begin_micros.rem_euclid(1_000_000) > 500_000 {
            self.wall_offset_micros = wall_offset_micros(now, unix_millis);
        }
        let samples = (0..PIECE_SAMPLES)
            .map(|sample| {
                let since = i64::from(sample) * 1_000_000 / i64::from(SAMPLE_RATE);
                (begin_micros + since).rem_euclid(1_000_000) as f64 / 1e6
            })
            .flat_map(|second| [level(second); CHANNELS as usize])
            .collect();
        Some(Sound { at, sample_rate: SAMPLE_RATE, channels: CHANNELS, samples })
    }

    fn piece_start(&self, piece: i64) -> Ticks {
        self.start + Ticks::from_units(piece * i64::from(PIECE_SAMPLES), SAMPLE_RATE)
    }
}

/// The sound's level this far into the second.
fn level(second: f64) -> f32 {
    let left = BEAT_MILLIS as f64 / 1e3 - second;
    if left <= 0.0 {
        return 0.0;
    }
    let edge = (second.min(left) / EDGE_SECONDS).min(1.0);
    (LOUDNESS * edge * (std::f64::consts::TAU * FREQUENCY_HZ * second).sin()) as f32
}

fn micros(at: Ticks) -> i64 {
    (i128::from(at.0) * 1_000_000 / i128::from(Ticks::PER_SECOND)) as i64
}

fn wall_offset_micros(now: Ticks, unix_millis: u64) -> i64 {
    (unix_millis as i64).saturating_mul(1_000).saturating_sub(micros(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock shows this at monotonic zero.
    const WALL: u64 = 1_795_222_000_300;

    fn hear(from_ms: i64, to_ms: i64, step_ms: usize) -> Vec<Sound> {
        let wall = |millis: i64| WALL + millis as u64;
        let mut tone = Tone::new(Ticks::from_millis(from_ms), wall(from_ms));
        (from_ms..to_ms)
            .step_by(step_ms)
            .flat_map(|millis| {
                std::iter::from_fn(|| tone.next(Ticks::from_millis(millis), wall(millis))).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn pieces_follow_each_other_without_a_gap_whatever_the_rhythm_of_asking() {
        for step_ms in [1, 20, 33, 200] {
            let heard = hear(0, 10_000, step_ms);
            assert!(heard.len() >= 480, "{step_ms}: {}", heard.len());
            for (number, piece) in heard.iter().enumerate() {
                assert_eq!(piece.at, Ticks(number as i64 * 1_800));
                assert_eq!(piece.samples.len(), 1_920);
            }
        }
    }

    #[test]
    fn the_beep_begins_at_the_full_second_of_the_wall_clock_and_lasts_a_tenth() {
        let heard = hear(0, 3_000, 20);
        let loud: Vec<f64> = heard
            .iter()
            .flat_map(|piece| {
                piece
                    .samples
                    .iter()
                    .step_by(2)
                    .enumerate()
                    .filter(|(_, level)| level.abs() > 0.01)
                    .map(|(sample, _)| piece.at.seconds() + sample as f64 / 48_000.0)
            })
            .collect();
        // The wall clock's full second falls on 0.7 s, 1.7 s and 2.7 s.
        assert!((loud[0] - 0.7).abs() < 0.001, "{}", loud[0]);
        for second in &loud {
            assert!((0.0..0.1).contains(&(second - 0.7).rem_euclid(1.0)), "{second}");
        }
        let last = loud.iter().rfind(|second| **second < 1.0).expect("a beep");
        assert!((last - 0.8).abs() < 0.002, "{last}");
    }

    #[test]
    fn after_a_long_pause_sound_goes_on_from_now() {
        let mut tone = Tone::new(Ticks::ZERO, WALL);
        assert!(tone.next(Ticks::from_millis(20), WALL + 20).is_some());
        assert!(tone.next(Ticks::from_millis(60_000), WALL + 60_000).is_none());
        let piece = tone.next(Ticks::from_millis(60_020), WALL + 60_020).expect("a piece");
        assert_eq!(piece.at, Ticks::from_millis(60_000));
    }
}
