//! The stream that all contenders carry: sizes as an encoder's, the same in every run.

use bytes::Bytes;
use footlight::base::clock;
use footlight::base::ticks::Ticks;
use footlight::base::units::{FrameRate, PictureSize};
use footlight::media::packet::{AudioConfig, Layout, Packet, Track, VideoCodec, VideoConfig};
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

/// Pictures a second, and from keyframe to keyframe.
const FPS: i64 = 30;
const GOP: i64 = 60;

/// A keyframe, and the mean of other pictures: 4 Mbit/s.
const KEY_BYTES: usize = 92_000;
const PICTURE_BYTES: usize = 15_390;

/// An AAC frame at 128 kbit/s, 46.875 a second.
const SOUND_BYTES: usize = 341;

/// FLV bytes a second: payloads, codec headers (5, 2), tag headers and trailers (15).
pub const BYTES_PER_SECOND: f64 =
    (KEY_BYTES + 59 * PICTURE_BYTES) as f64 / 2.0 + FPS as f64 * 20.0 + 46.875 * (SOUND_BYTES + 17) as f64;

/// Where in a picture's payload the time of its publishing stands, in nanoseconds of the wall clock.
pub const STAMP_AT: usize = 4;

/// One packet of the stream.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    pub track: Track,
    pub at: Ticks,
    pub keyframe: bool,
    pub bytes: usize,
}

/// The stream without an end.
pub fn pieces() -> impl Iterator<Item = Piece> {
    let (mut pictures, mut sounds, mut seed) = (0i64, 0i64, 0x9E37_79B9_7F4A_7C15u64);
    std::iter::from_fn(move || {
        let (picture_at, sound_at) = (Ticks(pictures * 3_000), Ticks(sounds * 1_920));
        if sound_at < picture_at {
            sounds += 1;
            return Some(Piece { track: Track::Audio, at: sound_at, keyframe: true, bytes: SOUND_BYTES });
        }
        let keyframe = pictures % GOP == 0;
        // Between half and one and a half of the mean, in pairs that make up for each other.
        if pictures % 2 == 1 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
        }
        let swing = (seed % PICTURE_BYTES as u64) as usize;
        let bytes = match (keyframe, pictures % 2) {
            (true, _) => KEY_BYTES,
            // The 59th stands alone.
            (_, 1) if pictures % GOP == 1 => PICTURE_BYTES,
            (_, 0) => PICTURE_BYTES / 2 + swing,
            _ => PICTURE_BYTES * 3 / 2 - swing,
        };
        pictures += 1;
        Some(Piece { track: Track::Video, at: picture_at, keyframe, bytes })
    })
}

/// Sleeps until `at` on the stream's clock, which began at `start`.
pub fn sleep_until(start: Ticks, at: Ticks) {
    let due = (start + at).duration();
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    // A signal only makes a piece early.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &due.into());
}

/// A payload of this size that says when it was made.
pub fn payload(bytes: usize) -> Bytes {
    let mut payload = vec![0x5A; bytes];
    stamp(&mut payload);
    payload.into()
}

/// Writes the time into a payload.
pub fn stamp(payload: &mut [u8]) {
    payload[STAMP_AT..STAMP_AT + 8].copy_from_slice(&wall_nanos().to_be_bytes());
}

/// The wall clock, in nanoseconds.
pub fn wall_nanos() -> u64 {
    clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

pub fn layout() -> Layout {
    Layout {
        video: Some(VideoConfig {
            codec: VideoCodec::H264,
            record: Bytes::from(vec![1; 40]),
            size: PictureSize { width: 1_920, height: 1_080 },
            fps: Some(FrameRate::whole(30)),
            bitrate: None,
        }),
        audio: Some(AudioConfig {
            record: Bytes::from_static(&[0x11, 0x90]),
            sample_rate: 48_000,
            channels: 2,
            bitrate: None,
        }),
    }
}

impl Piece {
    pub fn packet(&self, start: Ticks) -> Packet {
        let at = start + self.at;
        Packet { track: self.track, dts: at, pts: at, keyframe: self.keyframe, payload: payload(self.bytes) }
    }
}
