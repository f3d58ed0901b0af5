//! Two elementary streams and their tables into one transport stream.

use bytes::{Bytes, BytesMut};

use crate::base::ticks::Ticks;
use crate::media::aac::{AacError, AdtsWriter};
use crate::media::h26x::H26xError;
use crate::media::packet::VideoCodec;

use super::annexb::Sets;
use super::packet::{Marks, Pid};
use super::{pes, psi};

/// How far the clock reference is behind the decoding time of what it goes with. A decoder that follows it has that
/// long to receive a picture: a keyframe at twice the stream's pace takes half as long.
pub const LEAD: Ticks = Ticks::from_millis(200);

/// The clock is told at least this often; §2.7.2 allows 100 ms.
const PCR_EVERY: Ticks = Ticks::from_millis(80);

/// The tables are repeated at least this often, at the next tag: TR 101 290 allows 500 ms. Who tunes in can do nothing
/// without them.
const TABLES_EVERY: Ticks = Ticks::from_millis(400);

const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;

/// Why something cannot go into a transport stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TsError {
    /// The picture's sequence header cannot be read.
    #[error("the picture's sequence header: {0}")]
    Video(#[from] H26xError),
    /// The sound's sequence header cannot be read, or a frame is too long for ADTS.
    #[error("the sound: {0}")]
    Audio(#[from] AacError),
    /// Media came before its sequence header.
    #[error("media before its sequence header")]
    NoHeader,
}

/// A transport stream in the making: one connection's, from its first packet on.
#[derive(Debug)]
pub struct Mux {
    video: Option<Sets>,
    audio: Option<AdtsWriter>,
    pat: Pid,
    pmt: Pid,
    video_pid: Pid,
    audio_pid: Pid,
    version: u8,
    /// What the tables were said to be last.
    told: Option<Tracks>,
    tables_at: Option<Ticks>,
    pcr_at: Option<Ticks>,
    /// The last picture, the last sound, and the last sound before that picture or the first one after it.
    video_at: Option<Ticks>,
    audio_at: Option<Ticks>,
    audio_base: Option<Ticks>,
    pes: Vec<u8>,
}

/// What the tables say: the stream types of picture and sound.
type Tracks = (Option<u8>, bool);

impl Default for Mux {
    fn default() -> Mux {
        Mux::new()
    }
}

impl Mux {
    /// Without tracks.
    pub fn new() -> Mux {
        Mux {
            video: None,
            audio: None,
            pat: Pid::new(PAT_PID),
            pmt: Pid::new(PMT_PID),
            video_pid: Pid::new(VIDEO_PID),
            audio_pid: Pid::new(AUDIO_PID),
            version: 0,
            told: None,
            tables_at: None,
            pcr_at: None,
            video_at: None,
            audio_at: None,
            audio_base: None,
            pes: Vec::new(),
        }
    }

    /// Other tracks begin: those of before are gone unless their headers come again.
    pub fn forget_tracks(&mut self) {
        (self.video, self.audio) = (None, None);
        (self.video_at, self.audio_at, self.audio_base) = (None, None, None);
    }

    /// There is no sound from here on, or none that can go: better none than one under a false header.
    pub fn forget_sound(&mut self) {
        (self.audio, self.audio_at, self.audio_base) = (None, None, None);
    }

    /// The picture from here on, by its `avcC` or `hvcC`.
    ///
    /// # Errors
    /// [`TsError::Video`]; the track is as it was.
    pub fn video_header(&mut self, codec: VideoCodec, record: &Bytes) -> Result<(), TsError> {
        self.video = Some(Sets::read(codec, record)?);
        Ok(())
    }

    /// The sound from here on, by its `AudioSpecificConfig`.
    ///
    /// # Errors
    /// [`TsError::Audio`] for what ADTS cannot say; the track is as it was.
    pub fn audio_header(&mut self, record: &[u8]) -> Result<(), TsError> {
        self.audio = Some(AdtsWriter::of(record)?);
        Ok(())
    }

    /// Appends one picture in AVCC. `pts` is the time it is shown at.
    ///
    /// # Errors
    /// [`TsError::NoHeader`]; nothing is appended.
    pub fn video(
        &mut self,
        out: &mut BytesMut,
        dts: Ticks,
        pts: Ticks,
        keyframe: bool,
        payload: &[u8],
    ) -> Result<(), TsError> {
        let sets = self.video.as_ref().ok_or(TsError::NoHeader)?;
        pes::write(&mut self.pes, pes::VIDEO, pts, dts, |out| sets.write_picture(out, keyframe, payload));
        self.tables_if_due(out, dts, keyframe);
        let is_again = self.video_at.replace(dts).is_some_and(|last| dts < last);
        self.audio_base = self.audio_at;
        let marks = self.clock(dts, keyframe, is_again);
        self.video_pid.write_unit(out, marks, &self.pes);
        Ok(())
    }

    /// Appends one AAC frame.
    ///
    /// # Errors
    /// [`TsError::NoHeader`], and [`TsError::Audio`] for a frame of 8 KiB or more; nothing is appended.
    pub fn audio(&mut self, out: &mut BytesMut, dts: Ticks, frame: &[u8]) -> Result<(), TsError> {
        let adts = self.audio.as_ref().ok_or(TsError::NoHeader)?;
        let header = adts.header(frame.len())?;
        pes::write(&mut self.pes, pes::AUDIO, dts, dts, |out| {
            out.extend_from_slice(&header);
            out.extend_from_slice(frame);
        });
        self.tables_if_due(out, dts, false);
        let mut marks = Marks::default();
        let is_again = self.audio_at.replace(dts).is_some_and(|last| dts < last);
        if self.video.is_none() {
            marks = self.clock(dts, true, is_again);
        } else {
            let at = self.pictures_time(dts);
            if self.pcr_at.is_none_or(|told| at >= told + PCR_EVERY) {
                // There is no picture yet, or it stands still, or comes slowly.
                self.pcr_at = Some(at);
                self.video_pid.write_clock(out, (at - LEAD).0);
            }
        }
        self.audio_pid.write_unit(out, marks, &self.pes);
        Ok(())
    }

    /// Appends the tables: for who tunes in, and as a sign of life. Nothing while no track is known.
    pub fn tables(&mut self, out: &mut BytesMut) {
        let tracks = self.tracks();
        let mut streams = heapless::Vec::<_, 2>::new();
        if let (Some(kind), _) = tracks {
            let _ = streams.push((kind, VIDEO_PID));
        }
        if let (_, true) = tracks {
            let _ = streams.push((psi::AAC_ADTS, AUDIO_PID));
        }
        let Some((_, first)) = streams.first().copied() else { return };
        if self.told.is_some_and(|told| told != tracks) {
            self.version = (self.version + 1) & 0x1F;
        }
        self.told = Some(tracks);
        self.pat.write_unit(out, Marks::default(), &filled(psi::pat(self.pmt.number())));
        self.pmt.write_unit(out, Marks::default(), &filled(psi::pmt(self.version, first, &streams)));
    }

    fn tracks(&self) -> Tracks {
        let video = self.video.as_ref().map(|sets| match sets.codec {
            VideoCodec::H264 => psi::H264,
            VideoCodec::H265 => psi::H265,
        });
        (video, self.audio.is_some())
    }

    fn tables_if_due(&mut self, out: &mut BytesMut, at: Ticks, keyframe: bool) {
        let due = self.tables_at.is_none_or(|told| at >= told + TABLES_EVERY || at < told - TABLES_EVERY);
        if keyframe || due || self.told != Some(self.tracks()) {
            self.tables_at = Some(at);
            self.tables(out);
        }
    }

    /// Where the picture would be with sound at `dts`: sound that runs ahead must not take the clock with it, or every
    /// picture would come too late for it.
    fn pictures_time(&mut self, dts: Ticks) -> Ticks {
        let base = *self.audio_base.get_or_insert(dts);
        self.video_at.map_or(dts, |video_at| video_at + (dts - base))
    }

    /// The clock with a unit at `dts`. It runs backwards only where the stream itself is sent again (`is_again`: its
    /// track went back), and says so.
    fn clock(&mut self, dts: Ticks, random_access: bool, is_again: bool) -> Marks {
        let back = is_again && self.pcr_at.is_some_and(|told| dts + LEAD < told);
        let at = if back { dts } else { self.pcr_at.map_or(dts, |told| told.max(dts)) };
        self.pcr_at = Some(at);
        Marks { random_access, discontinuity: back, pcr: Some((at - LEAD).0) }
    }
}

/// A table fills its packet with ones, not with an adaptation field: old decoders look for it at the beginning.
fn filled(mut section: Vec<u8>) -> Vec<u8> {
    section.resize(184, 0xFF);
    section
}
