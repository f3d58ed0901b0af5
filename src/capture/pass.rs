//! H.264, H.265 and AAC of a source, handed on untouched in the house's packing.

use bytes::Bytes;
use ffmpeg_next as ffmpeg;

use ffmpeg::codec::Id;

use crate::base::units::{BitrateBps, FrameRate};
use crate::media::aac::{self, AudioSpecificConfig};
use crate::media::h26x::{LENGTH_BYTES, ParameterSets};
use crate::media::packet::{AudioConfig, VideoCodec, VideoConfig};

use super::ffi::Header;

/// One AAC-LC frame of silence, mono: a single channel element whose spectrum is empty.
const SILENCE_MONO: &[u8] = &[0x00, 0xC8, 0x00, 0x80, 0x23, 0x80];
/// The same in stereo: a channel pair element.
const SILENCE_STEREO: &[u8] = &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];
/// More channels are mixed down instead of passed: browsers and phones differ in what they do with them.
const CHANNELS_MAX: u8 = 2;

/// A coded picture ready to go on.
pub(super) struct Picture {
    /// The configuration from here on, where it is new.
    pub(super) config: Option<VideoConfig>,
    pub(super) keyframe: bool,
    pub(super) payload: Bytes,
}

/// Passes pictures.
pub(super) struct Pictures {
    sets: ParameterSets,
    /// Bytes of each length in MP4's packing; `None` for Annex B.
    length_bytes: Option<usize>,
    /// The container's own record, true until the stream brings other parameter sets.
    record: Option<Bytes>,
    fps: Option<FrameRate>,
    bitrate: Option<BitrateBps>,
    told: bool,
    awaits_keyframe: bool,
}

/// Passes sound.
pub(super) struct Sounds {
    config: Option<AudioConfig>,
    bitrate: Option<BitrateBps>,
    has_adts: bool,
    told: bool,
}

/// As what a track's pictures can be passed; `None` if not at all.
pub(super) fn picture_codec(codec: Id) -> Option<VideoCodec> {
    match codec {
        Id::H264 => Some(VideoCodec::H264),
        Id::HEVC => Some(VideoCodec::H265),
        _ => None,
    }
}

/// Whether a track's sound can be passed at all.
pub(super) fn is_sound_fit(codec: Id, header: &Header) -> bool {
    let record = &header.extradata;
    codec == Id::AAC
        && header.channels <= CHANNELS_MAX
        && (record.is_empty()
            || AudioSpecificConfig::parse(record).is_ok_and(|config| config.channels <= CHANNELS_MAX))
}

impl Pictures {
    /// Pictures of a track whose container says `record` (empty for none) about them.
    pub(super) fn new(codec: VideoCodec, record: &Bytes, bitrate: u64, fps: Option<FrameRate>) -> Pictures {
        // ISO/IEC 14496-15: a record starts with its version, 1; a start code with 0.
        let is_record = record.first() == Some(&1);
        let parsed = is_record.then(|| ParameterSets::from_record(codec, record)).and_then(Result::ok);
        let (sets, length_bytes) = if let Some((sets, length_bytes)) = parsed {
            (sets, Some(length_bytes))
        } else {
            let mut sets = ParameterSets::new(codec);
            sets.take_annexb(record);
            (sets, is_record.then_some(LENGTH_BYTES))
        };
        Pictures {
            sets,
            length_bytes,
            record: (length_bytes == Some(LENGTH_BYTES)).then(|| record.clone()),
            fps,
            bitrate: known(bitrate),
            told: false,
            awaits_keyframe: true,
        }
    }

    /// A new pass begins: nothing may go on before its first keyframe.
    pub(super) fn rewind(&mut self) {
        self.awaits_keyframe = true;
    }

    /// Repacks one picture.
    ///
    /// # Errors
    /// `Err(())` for a damaged one; those after it must wait for a keyframe. `Ok(None)` for one that waits, or that
    /// holds no picture.
    pub(super) fn take(&mut self, picture: &[u8]) -> Result<Option<Picture>, ()> {
        let unit = match self.length_bytes {
            Some(bytes) => self.sets.take_avcc(picture, bytes).map_err(|_| self.awaits_keyframe = true)?,
            None => self.sets.take_annexb(picture),
        };
        if unit.sets_changed {
            (self.told, self.record) = (false, None);
        }
        if unit.payload.is_empty() || (self.awaits_keyframe && !unit.keyframe) {
            return Ok(None);
        }
        self.awaits_keyframe = false;
        let config = if self.told { None } else { Some(self.config().ok_or(())?) };
        self.told = true;
        Ok(Some(Picture { config, keyframe: unit.keyframe, payload: unit.payload }))
    }

    fn config(&self) -> Option<VideoConfig> {
        let config = self.sets.config().ok()?;
        let record = self.record.clone().unwrap_or(config.record);
        Some(VideoConfig { record, fps: self.fps.or(config.fps), bitrate: self.bitrate, ..config })
    }
}

impl Sounds {
    /// Sound of a track whose container says `header` about it.
    pub(super) fn new(header: &Header) -> Sounds {
        let record = header.extradata.clone();
        let has_adts = record.is_empty();
        let config = if has_adts { None } else { aac::config_of(record).ok() };
        Sounds { config, bitrate: known(header.bitrate), has_adts, told: false }
    }

    /// The frame in a packet, and the configuration where it is new. `None` for what is no AAC frame.
    pub(super) fn take(&mut self, packet: &[u8]) -> Option<(Option<AudioConfig>, Bytes)> {
        let frame = if self.has_adts {
            let (header, frame, _) = aac::split_adts(packet).ok()?;
            let record = header.config.build().ok()?;
            if self.config.as_ref().is_none_or(|config| config.record != record) {
                (self.config, self.told) = (Some(aac::config_of(record).ok()?), false);
            }
            frame
        } else {
            packet
        };
        if frame.is_empty() || self.config.is_none() {
            return None;
        }
        Some((self.tell(), Bytes::copy_from_slice(frame)))
    }

    /// A frame of silence, and the configuration where it is new; `None` before the format is known.
    pub(super) fn silence(&mut self) -> Option<(Option<AudioConfig>, Bytes)> {
        let frame = match self.config.as_ref()?.channels {
            1 => SILENCE_MONO,
            2 => SILENCE_STEREO,
            _ => return None,
        };
        Some((self.tell(), Bytes::from_static(frame)))
    }

    /// The configuration, once.
    fn tell(&mut self) -> Option<AudioConfig> {
        let config = self.config.clone().filter(|_| !self.told)?;
        self.told = true;
        Some(AudioConfig { bitrate: self.bitrate, ..config })
    }
}

fn known(bitrate: u64) -> Option<BitrateBps> {
    (bitrate > 0).then_some(BitrateBps(bitrate))
}
