//! What an encoder tells about itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::metrics::Exposition;
use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, PictureSize};

/// Pictures that the moving figures look back on: ten seconds of 30 fps.
const WINDOW: usize = 300;

/// One stream's encoding, now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncoderStatus {
    /// The encoder at work, as `footlight devices` prints it; `copy` where the source's own video passes
    /// through; empty before the first picture.
    pub encoder: String,
    /// A chip does the work.
    pub hardware: bool,
    /// The picture's size in the stream.
    pub size: Option<PictureSize>,
    /// Target bitrate of the video.
    pub bitrate_target: Option<BitrateBps>,
    /// Bitrate of the video over the last ten seconds or so.
    pub bitrate: Option<BitrateBps>,
    /// Pictures a second that come from the source.
    pub fps_in: f64,
    /// Pictures a second that come out.
    pub fps_out: f64,
    /// Pictures that came from the source.
    pub frames_in: u64,
    /// Pictures that came out.
    pub frames_out: u64,
    /// Pictures left out because the source is faster than the wanted rate.
    pub frames_thinned: u64,
    /// Pictures dropped because they were damaged, late or refused.
    pub frames_dropped: u64,
    /// Median time to convert and encode one picture, over the last 300.
    pub encode_p50: Duration,
    /// The longest of them.
    pub encode_max: Duration,
    /// Median time from a picture's capture to its packet, over the last 300.
    pub delay_p50: Duration,
    /// The longest of them.
    pub delay_max: Duration,
    /// Time between the last two keyframes.
    pub keyframe_interval: Option<Duration>,
    /// Keyframes that came out.
    pub keyframes: u64,
    /// Sound frames that came out.
    pub audio_frames: u64,
    /// How far the sound's stamps lie ahead of the encoded sound, in seconds.
    pub audio_offset: f64,
    /// By how many parts in a million the sound is stretched to stay on the picture's clock.
    pub audio_correction_ppm: i32,
    /// Encoders that died or were refused on this stream.
    pub failures: u64,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
}

impl EncoderStatus {
    /// Adds this stream's figures to the metrics page.
    pub fn describe(&self, stream: &str, page: &mut Exposition) {
        let labels = [("stream", stream)];
        let mut counter = |name, help, value| page.counter(name, help, &labels, value);
        counter("footlight_encoder_frames_in_total", "Pictures that came from the source.", self.frames_in);
        counter("footlight_encoder_frames_out_total", "Pictures that came out.", self.frames_out);
        counter(
            "footlight_encoder_frames_thinned_total",
            "Pictures left out because the source is faster than the wanted rate.",
            self.frames_thinned,
        );
        counter(
            "footlight_encoder_frames_dropped_total",
            "Pictures dropped because they were damaged, late or refused.",
            self.frames_dropped,
        );
        counter("footlight_encoder_keyframes_total", "Keyframes that came out.", self.keyframes);
        counter("footlight_encoder_audio_frames_total", "AAC frames that came out.", self.audio_frames);
        counter(
            "footlight_encoder_failures_total",
            "Encoders that died or were refused on this stream.",
            self.failures,
        );
        let mut gauge = |name, help, value| page.gauge(name, help, &labels, value);
        gauge("footlight_encoder_fps_in", "Pictures a second from the source.", self.fps_in);
        gauge("footlight_encoder_fps_out", "Pictures a second out.", self.fps_out);
        if let Some(BitrateBps(bits)) = self.bitrate {
            gauge("footlight_encoder_bits_per_second", "Video bitrate over some ten seconds.", bits as f64);
        }
        if let Some(BitrateBps(bits)) = self.bitrate_target {
            gauge("footlight_encoder_target_bits_per_second", "Video bitrate asked for.", bits as f64);
        }
        if let Some(interval) = self.keyframe_interval {
            gauge(
                "footlight_encoder_keyframe_interval_seconds",
                "Time between the last two keyframes.",
                interval.as_secs_f64(),
            );
        }
        gauge(
            "footlight_encoder_audio_offset_seconds",
            "How far the sound's stamps lie ahead of the encoded sound.",
            self.audio_offset,
        );
        gauge(
            "footlight_encoder_audio_correction_ratio",
            "How much the sound is stretched to stay on the picture's clock.",
            f64::from(self.audio_correction_ppm) / 1e6,
        );
        for (quantile, encode, delay) in
            [("0.5", self.encode_p50, self.delay_p50), ("1", self.encode_max, self.delay_max)]
        {
            let labels = [("stream", stream), ("quantile", quantile)];
            let help = "Time to convert and encode one picture, over the last 300.";
            page.gauge("footlight_encoder_encode_seconds", help, &labels, encode.as_secs_f64());
            let help = "Time from a picture's capture to its packet, over the last 300.";
            page.gauge("footlight_encoder_delay_seconds", help, &labels, delay.as_secs_f64());
        }
        if !self.encoder.is_empty() {
            let hardware = if self.hardware { "true" } else { "false" };
            let labels = [("stream", stream), ("encoder", &self.encoder), ("hardware", hardware)];
            page.gauge("footlight_encoder_info", "The encoder at work.", &labels, 1.0);
        }
    }
}

/// One picture that came out.
#[derive(Debug, Clone, Copy)]
struct Out {
    at: Ticks,
    bytes: usize,
    encode: Duration,
    delay: Duration,
}

/// The last pictures, for the moving figures. Holds 300; older ones are forgotten.
#[derive(Debug, Default)]
pub(super) struct Window {
    outs: VecDeque<Out>,
}

impl Window {
    pub(super) fn add(&mut self, at: Ticks, bytes: usize, encode: Duration, delay: Duration) {
        if self.outs.len() >= WINDOW {
            self.outs.pop_front();
        }
        self.outs.push_back(Out { at, bytes, encode, delay });
    }

    /// Fills in the moving figures.
    pub(super) fn fill(&self, status: &mut EncoderStatus) {
        let (Some(first), Some(last)) = (self.outs.front(), self.outs.back()) else { return };
        let span = (last.at - first.at).seconds();
        if span > 0.0 {
            // The last picture's time is still running: its bytes belong to the next span.
            let bytes: usize = self.outs.iter().map(|out| out.bytes).sum::<usize>() - last.bytes;
            status.fps_out = (self.outs.len() - 1) as f64 / span;
            status.bitrate = Some(BitrateBps((bytes as f64 * 8.0 / span) as u64));
        }
        (status.encode_p50, status.encode_max) = median_and_max(self.outs.iter().map(|out| out.encode));
        (status.delay_p50, status.delay_max) = median_and_max(self.outs.iter().map(|out| out.delay));
    }
}

fn median_and_max(values: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    let median = values.get(values.len() / 2).copied().unwrap_or_default();
    (median, values.last().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_tells_rate_bitrate_and_times_of_the_last_pictures() {
        let mut window = Window::default();
        for n in 0..1_000 {
            window.add(
                Ticks(n * 3_000),
                12_500,
                Duration::from_millis(if n == 900 { 50 } else { 10 }),
                Duration::from_millis(12),
            );
        }
        let mut status = EncoderStatus::default();
        window.fill(&mut status);
        assert!((status.fps_out - 30.0).abs() < 0.01);
        assert_eq!(status.bitrate, Some(BitrateBps(3_000_000)));
        assert_eq!(status.encode_p50, Duration::from_millis(10));
        assert_eq!(status.encode_max, Duration::from_millis(50));
        assert_eq!(window.outs.len(), WINDOW);
    }
}
