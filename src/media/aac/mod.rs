//! AAC as a byte format: `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1), and ADTS (§1.A.3.2), the framing
//! that sources use and that FLV does without.

use bytes::Bytes;

use crate::media::packet::AudioConfig;

/// Samples in one frame of AAC-LC.
pub const FRAME_SAMPLES: u32 = 1_024;

/// Object type of AAC-LC.
pub const OBJECT_LC: u8 = 2;

const OBJECT_SBR: u8 = 5;
const OBJECT_PS: u8 = 29;

/// Sampling frequencies by index (table 1.18).
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Why bytes are no AAC configuration or no ADTS frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AacError {
    /// The data ends inside a field or a frame.
    #[error("the AAC data is cut short")]
    Truncated,
    /// No sync word, or an excluded value.
    #[error("this is not AAC")]
    Invalid,
    /// Channels told by a program config element, or none.
    #[error("this arrangement of AAC channels is not supported")]
    Channels,
    /// A frame longer than the 13 bits that ADTS has for its length.
    #[error("an AAC frame is too long for ADTS")]
    TooLong,
    /// Several raw data blocks in one ADTS frame: nothing real does that, and FLV cannot carry it.
    #[error("ADTS frames with several data blocks are not supported")]
    Blocks,
}

/// What an `AudioSpecificConfig` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Object type of the core codec: 2 is AAC-LC.
    pub object_type: u8,
    /// Samples per second that come out of the decoder, SBR applied.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
}

/// An ADTS frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdtsHeader {
    /// What the sequence header must say.
    pub config: AudioSpecificConfig,
    /// Bytes of the header: 7, or 9 with a checksum.
    pub header_bytes: usize,
    /// Bytes of the frame, header included.
    pub frame_bytes: usize,
}

impl AudioSpecificConfig {
    /// Reads a record.
    ///
    /// # Errors
    /// [`AacError`].
    pub fn parse(record: &[u8]) -> Result<AudioSpecificConfig, AacError> {
        let mut bits = Bits { bytes: record, at: 0 };
        let mut object_type = bits.object_type()?;
        let mut sample_rate = bits.sample_rate()?;
        let channels = match bits.take(4)? {
            channels @ 1..=6 => channels as u8,
            7 => 8,
            _ => return Err(AacError::Channels),
        };
        if object_type == OBJECT_SBR || object_type == OBJECT_PS {
            sample_rate = bits.sample_rate()?;
            object_type = bits.object_type()?;
        }
        Ok(AudioSpecificConfig { object_type, sample_rate, channels })
    }

    /// Builds the record: two bytes for the usual rates, five for others.
    ///
    /// # Errors
    /// [`AacError::Channels`] for other than 1 to 6 or 8 channels; [`AacError::Invalid`] for an object type or
    /// rate that has no place in it.
    pub fn build(&self) -> Result<Bytes, AacError> {
        let channels = match self.channels {
            channels @ 1..=6 => channels,
            8 => 7,
            _ => return Err(AacError::Channels),
        };
        if !(1..31).contains(&self.object_type) || !(1..1 << 24).contains(&self.sample_rate) {
            return Err(AacError::Invalid);
        }
        let object = u64::from(self.object_type);
        let channels = u64::from(channels);
        Ok(if let Some(index) = RATES.iter().position(|rate| *rate == self.sample_rate) {
            let record = (object << 11 | (index as u64) << 7 | channels << 3) as u16;
            Bytes::copy_from_slice(&record.to_be_bytes())
        } else {
            let record = object << 35 | 15 << 31 | u64::from(self.sample_rate) << 7 | channels << 3;
            Bytes::copy_from_slice(&record.to_be_bytes()[3..])
        })
    }
}

/// The configuration of a track whose record is known; its bitrate is not.
///
/// # Errors
/// Of [`AudioSpecificConfig::parse`].
pub fn config_of(record: Bytes) -> Result<AudioConfig, AacError> {
    let AudioSpecificConfig { sample_rate, channels, .. } = AudioSpecificConfig::parse(&record)?;
    Ok(AudioConfig { record, sample_rate, channels, bitrate: None })
}

/// Takes the first frame off `stream`: its header, the raw AAC inside, and what follows.
///
/// # Errors
/// [`AacError::Truncated`] while the frame is not all there; otherwise there is no frame at this place.
pub fn split_adts(stream: &[u8]) -> Result<(AdtsHeader, &[u8], &[u8]), AacError> {
    let header = parse_adts(stream)?;
    let (frame, rest) = stream.split_at_checked(header.frame_bytes).ok_or(AacError::Truncated)?;
    Ok((header, &frame[header.header_bytes..], rest))
}

/// Reads an ADTS header.
///
/// # Errors
/// [`AacError`].
pub fn parse_adts(stream: &[u8]) -> Result<AdtsHeader, AacError> {
    let &[sync, flags, b2, b3, b4, b5, b6] = stream.first_chunk::<7>().ok_or(AacError::Truncated)?;
    // Twelve bits of sync, and a layer that is always 0.
    if sync != 0xFF || flags & 0xF6 != 0xF0 {
        return Err(AacError::Invalid);
    }
    if b6 & 3 != 0 {
        return Err(AacError::Blocks);
    }
    let header_bytes = if flags & 1 == 1 { 7 } else { 9 };
    let sample_rate = *RATES.get(usize::from(b2 >> 2 & 0x0F)).ok_or(AacError::Invalid)?;
    let channels = match (b2 & 1) << 2 | b3 >> 6 {
        0 => return Err(AacError::Channels),
        7 => 8,
        channels => channels,
    };
    let frame_bytes = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    if frame_bytes < header_bytes {
        return Err(AacError::Invalid);
    }
    let config = AudioSpecificConfig { object_type: (b2 >> 6) + 1, sample_rate, channels };
    Ok(AdtsHeader { config, header_bytes, frame_bytes })
}

/// Frames raw AAC as ADTS, for containers that want it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdtsWriter {
    /// The header's bytes 2 and 3, but for the length's two upper bits.
    fixed: [u8; 2],
}

impl AdtsWriter {
    /// Bytes of a header.
    pub const HEADER_BYTES: usize = 7;

    /// For the frames that an `AudioSpecificConfig` speaks of. HE-AAC goes out as what its core is; decoders find
    /// the rest in the frames.
    ///
    /// # Errors
    /// [`AacError`]; [`AacError::Invalid`] for an object type or a rate that ADTS has no number for.
    pub fn of(record: &[u8]) -> Result<AdtsWriter, AacError> {
        let mut bits = Bits { bytes: record, at: 0 };
        let object = match bits.object_type()? {
            OBJECT_SBR | OBJECT_PS => OBJECT_LC,
            object @ 1..=4 => object,
            _ => return Err(AacError::Invalid),
        };
        let rate = bits.sample_rate()?;
        let rate = RATES.iter().position(|known| *known == rate).ok_or(AacError::Invalid)? as u8;
        let channels = match bits.take(4)? {
            channels @ 1..=7 => channels as u8,
            _ => return Err(AacError::Channels),
        };
        Ok(AdtsWriter { fixed: [(object - 1) << 6 | rate << 2 | channels >> 2, channels << 6] })
    }

    /// The header of a frame of `raw_bytes`.
    ///
    /// # Errors
    /// [`AacError::TooLong`].
    pub fn header(&self, raw_bytes: usize) -> Result<[u8; 7], AacError> {
        let length = raw_bytes + Self::HEADER_BYTES;
        if length > 0x1FFF {
            return Err(AacError::TooLong);
        }
        let [b2, b3] = self.fixed;
        // MPEG-4, no checksum; a buffer fullness of all ones: the rate varies.
        Ok([0xFF, 0xF1, b2, b3 | (length >> 11) as u8, (length >> 3) as u8, (length << 5) as u8 | 0x1F, 0xFC])
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Result<u32, AacError> {
        let mut value = 0;
        for at in self.at..self.at + count {
            let byte = self.bytes.get(at / 8).ok_or(AacError::Truncated)?;
            value = value << 1 | u32::from(byte >> (7 - at % 8) & 1);
        }
        self.at += count;
        Ok(value)
    }

    fn object_type(&mut self) -> Result<u8, AacError> {
        Ok(match self.take(5)? {
            0 => return Err(AacError::Invalid),
            31 => 32 + self.take(6)? as u8,
            object => object as u8,
        })
    }

    fn sample_rate(&mut self) -> Result<u32, AacError> {
        let rate = match self.take(4)? as usize {
            15 => self.take(24)?,
            index => *RATES.get(index).ok_or(AacError::Invalid)?,
        };
        if rate == 0 { Err(AacError::Invalid) } else { Ok(rate) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_framed_as_adts_says_what_its_record_says() {
        let header = AdtsWriter::of(&[0x11, 0x90]).and_then(|adts| adts.header(371)).unwrap();
        let read = parse_adts(&header).unwrap();
        assert_eq!((read.config, read.header_bytes, read.frame_bytes), (STEREO_48K, 7, 378));
        // Explicitly signalled HE-AAC at 44.1 kHz, whose core runs at half of that.
        let core = AdtsWriter::of(&[0x2B, 0x92, 0x08, 0x00]).and_then(|adts| adts.header(10)).unwrap();
        assert_eq!(parse_adts(&core).unwrap().config.sample_rate, 22_050);
        assert_eq!(AdtsWriter::of(&[0x11, 0x90]).unwrap().header(8_185), Err(AacError::TooLong));
        assert_eq!(AdtsWriter::of(&[0x11]), Err(AacError::Truncated));
    }

    const STEREO_48K: AudioSpecificConfig =
        AudioSpecificConfig { object_type: OBJECT_LC, sample_rate: 48_000, channels: 2 };

    #[test]
    fn the_usual_record_has_two_bytes() {
        assert_eq!(&STEREO_48K.build().unwrap()[..], [0x11, 0x90]);
        assert_eq!(AudioSpecificConfig::parse(&[0x11, 0x90]), Ok(STEREO_48K));
        // Encoders append a note on SBR that changes nothing here.
        assert_eq!(AudioSpecificConfig::parse(&[0x11, 0x90, 0x56, 0xE5, 0]), Ok(STEREO_48K));
    }

    #[test]
    fn he_aac_tells_the_rate_that_comes_out() {
        // SBR, 24 kHz core, stereo, 48 kHz out, AAC-LC core.
        let record = [0x2B, 0x11, 0x88, 0x00];
        assert_eq!(AudioSpecificConfig::parse(&record), Ok(STEREO_48K));
    }

    #[test]
    fn an_adts_frame_is_stripped_to_its_raw_aac() {
        let stream = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x5F, 0xFC, b'a', b'a', b'c', 0xFF];
        let (header, frame, rest) = split_adts(&stream).unwrap();
        assert_eq!((header.config, frame, rest), (STEREO_48K, &b"aac"[..], &[0xFF][..]));
        assert_eq!(split_adts(&stream[..9]), Err(AacError::Truncated));
        assert_eq!(split_adts(&stream[1..]), Err(AacError::Invalid));
    }

    proptest! {
        #[test]
        fn what_is_built_reads_back(
            object_type in 1u8..5,
            sample_rate in prop_oneof![prop::sample::select(&RATES[..]), 1u32..1 << 24],
            channels in prop::sample::select(vec![1u8, 2, 3, 4, 5, 6, 8]),
        ) {
            let config = AudioSpecificConfig { object_type, sample_rate, channels };
            prop_assert_eq!(AudioSpecificConfig::parse(&config.build().unwrap()), Ok(config));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..40), sync: bool) {
            let _ = AudioSpecificConfig::parse(&bytes);
            if sync && bytes.len() > 1 {
                (bytes[0], bytes[1]) = (0xFF, 0xF1);
            }
            let _ = split_adts(&bytes);
        }
    }
}
