//! ffprobe and ffmpeg as judges: what a player of the world makes of our streams.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::tool::{self, output_within};

const INSTALL: &str = "apt-get install ffmpeg";
/// Input options for a player that begins at once. Left alone, ffmpeg looks for 5 s at a picture without sound
/// that has few frames a second, to be sure of its rate.
pub const AT_ONCE: &[&str] = &["-analyzeduration", "500000", "-fpsprobesize", "0"];
/// Time for connecting and probing, on top of the seconds of stream asked for.
const SLACK: Duration = Duration::from_secs(30);

/// What ffprobe read.
#[derive(Debug)]
pub struct Probe {
    pub tracks: Vec<Track>,
    pub packets: Vec<Packet>,
    /// What it complained about (`-v error`).
    pub errors: String,
}

/// One track as ffprobe names it.
#[derive(Debug, Clone)]
pub struct Track {
    /// `video` or `audio`.
    pub kind: String,
    /// `h264`, `aac`.
    pub codec: String,
    pub profile: String,
    pub width: i64,
    pub height: i64,
    pub sample_rate: i64,
    pub channels: i64,
}

/// One packet as ffprobe timed it.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    pub track: usize,
    /// Seconds.
    pub dts: f64,
    pub pts: f64,
    pub bytes: i64,
    pub keyframe: bool,
}

/// What ffmpeg decoded.
#[derive(Debug)]
pub struct Decoded {
    /// What the decoders complained about (`-v warning`); empty is what one wants.
    pub complaints: String,
    /// Pictures in order, `MD5` of their raw bytes.
    pub pictures: Vec<Raw>,
    /// Blocks of sound in order.
    pub sounds: Vec<Raw>,
    /// Width and height of the pictures.
    pub size: (u32, u32),
}

/// One decoded picture or block of sound.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Pictures: milliseconds. Sound: samples.
    pub pts: i64,
    pub md5: String,
}

impl Probe {
    /// The one track of this kind; panics when there is none.
    #[track_caller]
    pub fn track(&self, kind: &str) -> &Track {
        self.tracks
            .iter()
            .find(|track| track.kind == kind)
            .unwrap_or_else(|| panic!("no {kind} track in {:?}; {}", self.tracks, self.errors))
    }

    /// The packets of the track of this kind.
    pub fn packets_of(&self, kind: &str) -> Vec<Packet> {
        let at = self.tracks.iter().position(|track| track.kind == kind);
        self.packets.iter().copied().filter(|packet| Some(packet.track) == at).collect()
    }

    /// Seconds from the first packet of a kind to its last.
    pub fn span(&self, kind: &str) -> f64 {
        let packets = self.packets_of(kind);
        packets.last().map_or(0.0, |last| last.dts) - packets.first().map_or(0.0, |first| first.dts)
    }
}

/// Reads `seconds` of a URL or file with ffprobe.
#[track_caller]
pub fn ffprobe(url: &str, seconds: u32) -> Probe {
    let ffprobe = tool::require("ffprobe", INSTALL);
    let interval = format!("%+{seconds}");
    let output = output_within(
        Duration::from_secs(u64::from(seconds)) + SLACK,
        Command::new(ffprobe)
            .args([
                "-v",
                "error",
                "-of",
                "json",
                "-show_streams",
                "-show_packets",
                "-read_intervals",
                &interval,
            ])
            .arg(url),
    );
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let list = |key: &str| read[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default();
    let seconds = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    let tracks = list("streams")
        .iter()
        .map(|track| Track {
            kind: text(&track["codec_type"]),
            codec: text(&track["codec_name"]),
            profile: text(&track["profile"]),
            width: number(&track["width"]),
            height: number(&track["height"]),
            sample_rate: number(&track["sample_rate"]),
            channels: number(&track["channels"]),
        })
        .collect();
    let packets = list("packets")
        .iter()
        .map(|packet| Packet {
            track: number(&packet["stream_index"]) as usize,
            dts: seconds(&packet["dts_time"]),
            pts: seconds(&packet["pts_time"]),
            bytes: number(&packet["size"]),
            keyframe: packet["flags"].as_str().is_some_and(|flags| flags.starts_with('K')),
        })
        .collect();
    Probe { tracks, packets, errors: output.stderr }
}

/// Decodes `seconds` of a URL or file with ffmpeg, every frame once and as it is timed.
#[track_caller]
pub fn decode(url: &str, seconds: u32) -> Decoded {
    decode_with(url, seconds, &[])
}

/// The same with further input options.
#[track_caller]
pub fn decode_with(url: &str, seconds: u32, input_options: &[&str]) -> Decoded {
    let ffmpeg = tool::require("ffmpeg", INSTALL);
    let output = output_within(
        Duration::from_secs(u64::from(seconds)) + SLACK,
        Command::new(ffmpeg)
            .args(["-hide_banner", "-nostdin", "-v", "warning"])
            .args(input_options)
            .args(["-t", &seconds.to_string(), "-i", url, "-map", "0"])
            .args(["-fps_mode", "passthrough", "-enc_time_base:v", "1:1000", "-f", "framemd5", "-"]),
    );
    let mut decoded = Decoded { complaints: output.stderr, pictures: vec![], sounds: vec![], size: (0, 0) };
    if !output.status.success() {
        decoded.complaints.extend(["\nffmpeg ended with ", &output.status.to_string()]);
    }
    let mut kinds = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(rest) = line.strip_prefix("#media_type ") {
            kinds.extend(rest.split_once(": ").map(|(track, kind)| (track.to_owned(), kind.to_owned())));
        } else if let Some(rest) = line.strip_prefix("#dimensions ") {
            let size = rest.split_once(": ").and_then(|(_, size)| size.split_once('x'));
            decoded.size = size.map_or((0, 0), |(w, h)| (w.parse().unwrap_or(0), h.parse().unwrap_or(0)));
        } else if !line.starts_with('#') {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let &[track, _dts, pts, _duration, _size, md5] = &fields[..] else { continue };
            let raw = Raw { pts: pts.parse().unwrap_or(i64::MIN), md5: md5.to_owned() };
            match kinds.get(track).map(String::as_str) {
                Some("video") => decoded.pictures.push(raw),
                _ => decoded.sounds.push(raw),
            }
        }
    }
    decoded
}

/// Decodes and holds that nobody complained, that pictures came and that they move.
#[track_caller]
pub fn assert_decodes(url: &str, seconds: u32) -> Decoded {
    assert_decodes_with(url, seconds, &[])
}

/// The same with further input options.
#[track_caller]
pub fn assert_decodes_with(url: &str, seconds: u32, input_options: &[&str]) -> Decoded {
    let decoded = decode_with(url, seconds, input_options);
    assert_eq!(decoded.complaints.trim(), "", "decoding {seconds} s of {url}");
    assert!(!decoded.pictures.is_empty(), "no picture decoded from {url}");
    let different: std::collections::BTreeSet<_> = decoded.pictures.iter().map(|raw| &raw.md5).collect();
    assert!(different.len() * 2 > decoded.pictures.len(), "the picture of {url} stands still");
    decoded
}

/// Holds that within each track decoding times only grow and no picture is shown before it is decoded.
#[track_caller]
pub fn assert_monotonic(probe: &Probe) {
    for (at, track) in probe.tracks.iter().enumerate() {
        let packets: Vec<_> = probe.packets.iter().filter(|packet| packet.track == at).collect();
        for pair in packets.windows(2) {
            assert!(pair[1].dts > pair[0].dts, "{} time runs back: {:?}", track.kind, pair);
        }
        for packet in packets {
            assert!(packet.pts >= packet.dts, "{}: shown before it is decoded: {packet:?}", track.kind);
        }
    }
}
