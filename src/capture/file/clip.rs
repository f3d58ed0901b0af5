//! An open clip: its tracks, and its packets in order, pass after pass.

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::{Id, Parameters};
use ffmpeg::{Packet, Rational, format, media};

use crate::base::ticks::Ticks;
use crate::base::units::FrameRate;

use super::super::decode::ticks;
use super::super::ffi::{self, Header};
use super::merge::Merge;

/// After this many errors in a row a pass counts as ended: the rest of the file is rubbish.
const ERRORS_MAX: u32 = 64;

/// Pictures without a decoding time at a pass's beginning: as many as H.264 can reorder.
const UNDATED_MAX: usize = 16;

/// One track of a clip.
pub(super) struct Track {
    pub(super) index: usize,
    pub(super) codec: Id,
    pub(super) parameters: Parameters,
    pub(super) header: Header,
    time_base: Rational,
}

/// A packet of one track, with times in the clip's own clock.
pub(super) struct Piece {
    pub(super) is_picture: bool,
    pub(super) packet: Packet,
    pub(super) dts: Ticks,
    pub(super) pts: Ticks,
    pub(super) duration: Option<Ticks>,
}

/// An open clip.
pub(super) struct Clip {
    path: PathBuf,
    input: format::context::Input,
    merge: Merge<Piece>,
    ended: bool,
    errors: u32,
    /// The first packet's time in the first pass: a seek that leads elsewhere is not trusted.
    first_time: Option<i64>,
    checks_first: bool,
    last_dts: [Option<Ticks>; 2],
    /// The first pictures of a pass, as long as their decoding times are not known.
    undated: Vec<Piece>,
    pub(super) picture: Track,
    pub(super) sound: Option<Track>,
    pub(super) rate: Option<FrameRate>,
}

impl Clip {
    /// Opens the file; `wants_sound` also picks its best sound track, if it has one.
    ///
    /// # Errors
    /// Words for the studio.
    pub(super) fn open(path: &Path, wants_sound: bool) -> Result<Clip, String> {
        let input = open_input(path)?;
        let shown = path.display();
        let picture = best(&input, media::Type::Video, is_picture);
        let Some(picture) = picture else {
            return Err(match best(&input, media::Type::Audio, |_| true) {
                Some(_) => format!("the file {shown} has sound only; a stream needs a picture"),
                None => format!("the file {shown} has neither a picture nor sound that can be used"),
            });
        };
        let sound = if wants_sound { best(&input, media::Type::Audio, |_| true) } else { None };
        let rate = input.stream(picture.index).and_then(|stream| frame_rate(stream.avg_frame_rate()));
        Ok(Clip {
            path: path.to_owned(),
            merge: Merge::new(sound.is_some()),
            input,
            ended: false,
            errors: 0,
            first_time: None,
            checks_first: false,
            last_dts: [None; 2],
            undated: Vec::new(),
            picture,
            sound,
            rate,
        })
    }

    /// The picture's nominal frame time; 25 a second where the file says nothing.
    pub(super) fn frame_time(&self) -> Ticks {
        let rate = self.rate.unwrap_or(FrameRate::whole(25));
        Ticks::from_units(i64::from(rate.den), rate.num)
    }

    /// The next packet in the order of time; `None` at the end of the pass.
    ///
    /// # Errors
    /// Words for the studio.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, String> {
        loop {
            if let Some(piece) = self.merge.pop(self.ended) {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Goes back to the clip's beginning.
    ///
    /// # Errors
    /// Words for the studio.
    pub(super) fn rewind(&mut self) -> Result<(), String> {
        // A container's beginning is found by its index, within a millisecond. Where that fails or leads elsewhere,
        // the file is opened again.
        let sought = self.input.seek(i64::MIN + 1, ..0).or_else(|_| self.input.seek(0, ..)).is_ok();
        if !sought {
            self.input = open_input(&self.path)?;
        }
        (self.ended, self.errors, self.checks_first, self.last_dts) = (false, 0, sought, [None; 2]);
        Ok(())
    }

    fn read(&mut self) -> Result<(), String> {
        let mut packet = Packet::empty();
        match packet.read(&mut self.input) {
            Ok(()) => self.errors = 0,
            Err(cause) => {
                self.errors += 1;
                self.ended = cause == ffmpeg::Error::Eof || self.errors >= ERRORS_MAX;
                if let Some(dts) = self.undated.last().map(|last| last.dts).filter(|_| self.ended) {
                    self.date(dts);
                }
                return Ok(());
            }
        }
        let is_picture = packet.stream() == self.picture.index;
        let track = match &self.sound {
            _ if is_picture => &self.picture,
            Some(sound) if packet.stream() == sound.index => sound,
            Some(_) | None => return Ok(()),
        };
        if is_picture {
            let time = packet.pts().or(packet.dts()).unwrap_or(0);
            let first = *self.first_time.get_or_insert(time);
            if std::mem::take(&mut self.checks_first) && time != first {
                self.input = open_input(&self.path)?;
                self.merge = Merge::new(self.sound.is_some());
                return Ok(());
            }
        }
        let time_base = track.time_base;
        let duration = Some(packet.duration()).filter(|span| *span > 0).map(|span| ticks(span, time_base));
        let told = |value: Option<i64>| value.map(|value| ticks(value, time_base));
        let (dts, pts) = (told(packet.dts()), told(packet.pts()));
        let last = self.last_dts[usize::from(is_picture)];
        if let (true, None, None, Some(pts)) = (is_picture, dts, last, pts)
            && self.undated.len() < UNDATED_MAX
        {
            self.undated.push(Piece { is_picture, packet, dts: pts, pts, duration });
            return Ok(());
        }
        let follows = last.map(|last| last + duration.unwrap_or(self.frame_time()));
        let dts = dts.or(follows).or(pts).unwrap_or(Ticks::ZERO);
        let pts = pts.unwrap_or(dts);
        self.date(dts);
        self.push(Piece {
            is_picture,
            packet,
            dts: if is_picture { dts.min(pts) } else { dts },
            pts,
            duration,
        });
        Ok(())
    }

    /// Matroska keeps no decoding times, and FFmpeg can only tell them from the first reordered picture on. Those
    /// before it were decoded one frame time apart.
    fn date(&mut self, next_dts: Ticks) {
        let frame = self.frame_time();
        let count = self.undated.len() as i64;
        for (number, piece) in (0..).zip(std::mem::take(&mut self.undated)) {
            let dts = next_dts - Ticks((count - number) * frame.0);
            self.push(Piece { dts: dts.min(piece.pts), ..piece });
        }
    }

    fn push(&mut self, piece: Piece) {
        self.last_dts[usize::from(piece.is_picture)] = Some(piece.dts);
        let bytes = piece.packet.size();
        self.merge.push(piece.is_picture, piece.dts, bytes, piece);
    }
}

impl Track {
    pub(super) fn time_base(&self) -> Rational {
        self.time_base
    }

    /// The codec's name as people know it.
    pub(super) fn codec_name(&self) -> &'static str {
        self.codec.name()
    }
}

/// Opens a file by FFmpeg, which sees nothing but local files.
fn open_input(path: &Path) -> Result<format::context::Input, String> {
    let shown = path.display();
    // FFmpeg's own words for these are poor.
    let metadata = std::fs::metadata(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {shown}, waiting for it"),
        std::io::ErrorKind::PermissionDenied => {
            format!("the file {shown} may not be read by this user; check its permissions")
        }
        _ => format!("the file {shown} cannot be read: {cause}"),
    })?;
    if metadata.is_dir() {
        return Err(format!("{shown} is a folder; name a clip in it"));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(format!("the file {shown} is empty, waiting for it to be filled"));
    }
    // Without a scheme a colon in the name would make one.
    let Some(url) = path.to_str().filter(|text| !text.contains('\0')).map(|text| format!("file:{text}"))
    else {
        return Err(format!("the name of the file {shown} is not UTF-8; give it another"));
    };
    format::input(&url).map_err(|cause| match cause {
        ffmpeg::Error::Other { errno: ffmpeg::error::EACCES } => {
            format!("the file {shown} may not be read by this user; check its permissions")
        }
        ffmpeg::Error::InvalidData | ffmpeg::Error::Eof => {
            format!("the file {shown} is no clip that can be read, or it is cut short or damaged")
        }
        cause => format!("the file {shown} cannot be opened: {cause}"),
    })
}

/// The track that a player would choose, if it is fit for use.
fn best(
    input: &format::context::Input,
    kind: media::Type,
    fit: impl Fn(&format::stream::Stream<'_>) -> bool,
) -> Option<Track> {
    let stream = input.streams().best(kind).filter(|stream| fit(stream))?;
    let parameters = stream.parameters();
    Some(Track {
        index: stream.index(),
        codec: parameters.id(),
        header: ffi::header(&parameters),
        parameters,
        time_base: stream.time_base(),
    })
}

/// A cover picture of a song is no video.
fn is_picture(stream: &format::stream::Stream<'_>) -> bool {
    !stream.disposition().contains(format::stream::Disposition::ATTACHED_PIC)
}

fn frame_rate(rate: Rational) -> Option<FrameRate> {
    let (num, den) = (u32::try_from(rate.numerator()).ok()?, u32::try_from(rate.denominator()).ok()?);
    let rate = FrameRate { num, den };
    (num > 0 && den > 0 && (0.1..=1_000.0).contains(&rate.per_second())).then_some(rate)
}
