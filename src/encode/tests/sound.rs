//! What is heard: encoded sound, decoded again.

use std::f32::consts::TAU;

use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::encode::audio::AudioTrack;
use crate::encode::ffi::codec::PictureDecoder;
use crate::encode::ffi::sound::Resampler;
use crate::media::frame::Sound;
use crate::media::packet::{Packet, Track};

/// A piece of 20 ms that begins at sample `first` of a card whose true rate is `true_rate`: silence with a click
/// (a short burst) at each whole second of true time, its first sample captured at `first / true_rate`.
fn piece(first: u64, rate: u32, true_rate: f64, channels: u8) -> Sound {
    let count = u64::from(rate) / 50;
    let samples = (first..first + count)
        .flat_map(|index| {
            let time = index as f64 / true_rate;
            let within = time - time.floor();
            let value = if within < 0.004 { (within as f32 * TAU * 2_000.0).sin() * 0.8 } else { 0.0 };
            std::iter::repeat_n(value, usize::from(channels))
        })
        .collect();
    let at = Ticks(900_000 + (first as f64 / true_rate * Ticks::PER_SECOND as f64).round() as i64);
    Sound { at, sample_rate: rate, channels, samples }
}

fn feed(track: &mut AudioTrack, sound: &Sound, packets: &mut Vec<Packet>) {
    track.sound(sound, &mut |packet| packets.push(packet)).expect("is sound");
}

fn track() -> AudioTrack {
    AudioTrack::open(BitrateBps(128_000)).expect("opens")
}

/// When clicks begin, in seconds of media time.
fn clicks(track: &AudioTrack, packets: &[Packet]) -> Vec<f64> {
    let mut decoder = PictureDecoder::aac(&track.config().record).expect("opens");
    let (mut found, mut quiet) = (Vec::new(), 1_000);
    for packet in packets {
        let decoded = decoder.decode(&packet.payload).expect("decodes");
        for (index, sample) in decoded.sound(0).into_iter().enumerate() {
            if sample.abs() > 0.1 && quiet >= 1_000 {
                found.push((packet.pts + Ticks::from_units(index as i64, 48_000)).seconds());
            }
            quiet = if sample.abs() > 0.1 { 0 } else { quiet + 1 };
        }
    }
    found
}

fn assert_on_the_grid(packets: &[Packet]) {
    for pair in packets.windows(2) {
        let step = (pair[1].dts - pair[0].dts).0;
        assert!(step >= 1_920 && step % 1_920 == 0, "a step of {step}");
    }
    assert!(
        packets
            .iter()
            .all(|packet| packet.track == Track::Audio && packet.keyframe && packet.pts == packet.dts)
    );
}

#[test]
fn a_click_is_heard_when_it_was_captured() {
    for (rate, channels) in [(48_000, 2), (44_100, 1), (16_000, 1), (48_000, 6)] {
        let (mut track, mut packets) = (track(), Vec::new());
        for number in 0..250u64 {
            feed(
                &mut track,
                &piece(number * u64::from(rate) / 50, rate, f64::from(rate), channels),
                &mut packets,
            );
        }
        assert_on_the_grid(&packets);
        assert_eq!((track.config().sample_rate, track.config().channels), (48_000, 2));
        let heard = clicks(&track, &packets);
        // The first click stands at the very beginning, where the encoder fades in.
        let heard: Vec<f64> = heard.into_iter().filter(|time| *time > 10.5).collect();
        assert_eq!(heard.len(), 4, "{rate} Hz: {heard:?}");
        for (time, want) in heard.iter().zip([11.0, 12.0, 13.0, 14.0]) {
            assert!((time - want).abs() < 0.001, "{rate} Hz: heard at {time}, captured at {want}");
        }
    }
}

#[test]
fn a_card_with_a_wrong_clock_is_heard_on_time_after_five_minutes() {
    for wrong_ppm in [-200.0, 200.0] {
        let (mut track, mut packets) = (track(), Vec::new());
        let true_rate = 48_000.0 * (1.0 + wrong_ppm / 1e6);
        for number in 0..15_000u64 {
            feed(&mut track, &piece(number * 960, 48_000, true_rate, 2), &mut packets);
        }
        assert_on_the_grid(&packets);
        let late: Vec<f64> = clicks(&track, &packets).into_iter().filter(|time| *time > 250.0).collect();
        assert!(late.len() > 50, "{}", late.len());
        for time in late {
            let off = (time - time.round()).abs();
            assert!(off < 0.002, "{wrong_ppm} ppm: {off} s off at {time}, uncorrected it would be 0.06");
        }
    }
}

#[test]
fn a_hole_becomes_silence_and_a_long_one_a_step_on_the_grid() {
    for (hole_pieces, most_steps) in [(20u64, 1), (500, 600)] {
        let (mut track, mut packets) = (track(), Vec::new());
        for number in (0..100).chain(100 + hole_pieces..250 + hole_pieces) {
            feed(&mut track, &piece(number * 960, 48_000, 48_000.0, 2), &mut packets);
        }
        assert_on_the_grid(&packets);
        let widest = packets.windows(2).map(|pair| (pair[1].dts - pair[0].dts).0 / 1_920).max();
        assert!(widest <= Some(most_steps), "{widest:?}");
        let after = 10.0 + (100 + hole_pieces) as f64 / 50.0;
        let heard: Vec<f64> =
            clicks(&track, &packets).into_iter().filter(|time| *time > after + 0.5).collect();
        assert!(!heard.is_empty());
        for time in heard {
            assert!(
                (time - time.round()).abs() < 0.012,
                "heard at {time} behind a hole of {hole_pieces} pieces"
            );
        }
    }
}

#[test]
fn nonsense_in_the_sound_is_refused_or_silenced_and_the_track_goes_on() {
    let (mut track, mut packets) = (track(), Vec::new());
    let good = |number: u64| piece(number * 960, 48_000, 48_000.0, 2);
    feed(&mut track, &good(0), &mut packets);
    let nonsense = [
        Sound { sample_rate: 0, ..good(1) },
        Sound { sample_rate: u32::MAX, ..good(1) },
        Sound { channels: 0, ..good(1) },
    ];
    for sound in nonsense {
        assert!(track.sound(&sound, &mut |_| {}).is_err());
    }
    for sound in [
        Sound { samples: vec![f32::NAN; 1_920], ..good(1) },
        Sound { samples: vec![f32::INFINITY; 1_920], ..good(2) },
        Sound { samples: vec![9e30; 1_921], ..good(3) },
        Sound { samples: Vec::new(), ..good(4) },
        Sound { at: Ticks(i64::MIN), ..good(5) },
        Sound { at: Ticks(0), ..good(6) },
    ] {
        feed(&mut track, &sound, &mut packets);
    }
    for number in 7..60 {
        feed(&mut track, &good(number), &mut packets);
    }
    assert_on_the_grid(&packets);
    assert!(packets.len() > 50, "{}", packets.len());
}

#[test]
fn bending_the_sound_keeps_a_tone_clean() {
    for ppm in [0, 50, -200, 2_000] {
        let mut resampler = Resampler::new(48_000, 48_000).expect("opens");
        resampler.correct(ppm).expect("corrects");
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for piece in 0..100 {
            let tone: Vec<f32> = (0..960)
                .flat_map(|index| {
                    let phase = f64::from(piece * 960 + index) / 48_000.0 * 997.0;
                    [(phase.fract() as f32 * TAU).sin() * 0.5; 2]
                })
                .collect();
            resampler.convert(&tone, &mut left, &mut right).expect("converts");
        }
        let made = left.len() as f64 / 96_000.0 - 1.0;
        assert!((made * 1e6 - f64::from(ppm)).abs() < 500.0, "{ppm} ppm made {made}");
        // The tone that is left when the best-fitting one is taken away.
        let frequency = 997.0 * (1.0 - f64::from(ppm) / 1e6) / 48_000.0;
        // Short enough that the pace's own step (a part in a million) is not taken for noise.
        let body = &left[2_000..8_000];
        let waves: Vec<(f64, f64)> = (0..body.len())
            .map(|index| (index as f64 * frequency * std::f64::consts::TAU).sin_cos())
            .collect();
        // Least squares of a sine and a cosine, which are not quite orthogonal over a broken period.
        let sum = |of: &dyn Fn(usize) -> f64| (0..body.len()).map(of).sum::<f64>();
        let sample = |index: usize| f64::from(body[index]);
        let (ss, cc) = (sum(&|i| waves[i].0 * waves[i].0), sum(&|i| waves[i].1 * waves[i].1));
        let sc = sum(&|i| waves[i].0 * waves[i].1);
        let (sx, cx) = (sum(&|i| waves[i].0 * sample(i)), sum(&|i| waves[i].1 * sample(i)));
        let det = ss * cc - sc * sc;
        let (sine, cosine) = ((sx * cc - cx * sc) / det, (cx * ss - sx * sc) / det);
        let residue = sum(&|i| (sample(i) - sine * waves[i].0 - cosine * waves[i].1).powi(2));
        let db = 10.0 * (0.125 / (residue / body.len() as f64)).log10();
        assert!(db > 70.0, "{ppm} ppm: {db} dB");
    }
}
