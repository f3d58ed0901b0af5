//! Reads one value: its type, its unit, its range. Each says what is wrong and what to write instead.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::document::{Given, Value};
use super::later;
use super::problems::{Wrong, listed, nearest, quote};
use super::schema::{AudioSource, ENCODERS, EncoderChoice, OutputMode, VideoSource};
use crate::base::quantity::{Period, QuantityError};
use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};

/// Longest name of a stream, an output, a box or a site: it stands in URLs, metrics and MQTT topics.
const NAME_BYTES_MAX: usize = 64;

/// Sides of a picture. The least holds the test pattern's time code; the most is 8K.
const PICTURE_SIDE: RangeInclusive<u32> = 64..=8_192;

/// Frames a second; faster cameras exist, encoders on small boxes do not.
const FPS: RangeInclusive<f64> = 1.0..=240.0;

/// What may stand before the colon of `video`, and what then follows.
const VIDEO_FORMS: &str = "\"pattern\", \"file:clip.mp4\" or \"v4l2:/dev/video0\"";

pub(super) fn text(value: &Value) -> Result<&str, Wrong> {
    match &value.given {
        Given::Text(text) | Given::Variable(text) => Ok(text),
        other => Err(Wrong::new(
            format!("text is wanted here, not {}", other.kind()),
            "write it in straight double quotes",
        )),
    }
}

/// A name: what URLs, metrics and topics can carry unescaped.
pub(super) fn name(value: &Value) -> Result<String, Wrong> {
    let text = text(value)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let advice = "use letters (a-z, A-Z), digits, - and _, at most 64 of them";
    if text.is_empty() {
        return Err(Wrong::new("the name is empty", advice));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(Wrong::new(format!("the name has {} bytes", text.len()), advice));
    }
    if let Some(odd) = text.chars().find(|c| !allowed(*c)) {
        return Err(Wrong::new(format!("the name {} holds {odd:?}", quote(text)), advice));
    }
    Ok(text.to_owned())
}

/// A whole number in a range.
pub(super) fn number(value: &Value, range: RangeInclusive<u32>) -> Result<u32, Wrong> {
    let advice = format!("write a whole number from {} to {}, bare", range.start(), range.end());
    let number = match &value.given {
        Given::Integer(number) => *number,
        Given::Variable(text) => text
            .trim()
            .parse()
            .map_err(|_| Wrong::new(format!("{} is not a whole number", quote(text)), advice.clone()))?,
        other => {
            return Err(Wrong::new(format!("a whole number is wanted here, not {}", other.kind()), advice));
        }
    };
    u32::try_from(number)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Wrong::new(format!("{number} is out of range"), advice))
}

/// `true` or `false`, bare.
pub(super) fn boolean(value: &Value) -> Result<bool, Wrong> {
    let advice = "write true or false, bare";
    match &value.given {
        Given::Boolean(truth) => Ok(*truth),
        Given::Variable(text) => text
            .trim()
            .parse()
            .map_err(|_| Wrong::new(format!("{} is neither true nor false", quote(text)), advice)),
        other => Err(Wrong::new(format!("true or false is wanted here, not {}", other.kind()), advice)),
    }
}

/// `mode = ...`
pub(super) fn mode(value: &Value) -> Result<OutputMode, Wrong> {
    let text = text(value)?;
    let modes = OutputMode::ALL.map(|mode| (mode.to_string(), mode));
    if let Some((_, mode)) = modes.iter().find(|(name, _)| name == text) {
        return Ok(*mode);
    }
    let names = || modes.iter().map(|(name, _)| name.as_str());
    let advice = "write \"warm\" (standbys wait, connected), \"cold\" (they are dialled when needed) or \
                  \"mirror\" (all receive everything)";
    let what = format!("{} is no mode (there are {})", quote(text), listed(names()));
    Err(match nearest(text, names()) {
        Some(near) => Wrong::new(what, format!("did you mean {near}? Otherwise {advice}")),
        None => Wrong::new(what, advice),
    })
}

pub(super) fn bitrate(value: &Value, range: RangeInclusive<u64>) -> Result<BitrateBps, Wrong> {
    let range = BitrateBps(*range.start())..=BitrateBps(*range.end());
    quantity(value, &range, "a bitrate with its unit, such as \"4Mbit/s\" or \"750kbit/s\"")
}

pub(super) fn bytes(value: &Value, range: RangeInclusive<u64>) -> Result<ByteSize, Wrong> {
    let range = ByteSize(*range.start())..=ByteSize(*range.end());
    quantity(value, &range, "a size with its unit, such as \"64MiB\" or \"64MB\"")
}

pub(super) fn period(value: &Value, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let range = Period(*range.start())..=Period(*range.end());
    quantity(value, &range, "a time with its unit, such as \"2s\", \"500ms\" or \"1m\"")
        .map(|period| period.0)
}

/// A quantity in a range, in text with its unit.
fn quantity<Q>(value: &Value, range: &RangeInclusive<Q>, wanted: &str) -> Result<Q, Wrong>
where
    Q: FromStr<Err = QuantityError> + PartialOrd + Display,
{
    let advice = format!("write {wanted}, from {} to {}", range.start(), range.end());
    let text = match &value.given {
        Given::Text(text) | Given::Variable(text) => text,
        Given::Integer(number) => return Err(Wrong::new(format!("{number} has no unit"), advice)),
        Given::Decimal(number) => return Err(Wrong::new(format!("{number} has no unit"), advice)),
        other => return Err(Wrong::new(format!("text is wanted here, not {}", other.kind()), advice)),
    };
    let quantity: Q = text
        .parse()
        .map_err(|error| Wrong::new(format!("{} {error}", quote_amount(text)), advice.clone()))?;
    if range.contains(&quantity) {
        return Ok(quantity);
    }
    Err(Wrong::new(format!("{} is out of range", quote_amount(text)), advice))
}

pub(super) fn picture_size(value: &Value) -> Result<PictureSize, Wrong> {
    let advice = "write width and height in pixels, both even, such as \"1920x1080\" or \"1280x720\"";
    let text = text(value).map_err(|wrong| Wrong::new(wrong.what, advice))?;
    let size: PictureSize =
        text.parse().map_err(|error| Wrong::new(format!("{} {error}", quote(text)), advice))?;
    for (side, name) in [(size.width, "width"), (size.height, "height")] {
        if side % 2 != 0 {
            // Colour is coded for two by two pixels (4:2:0).
            return Err(Wrong::new(format!("the {name} {side} is odd"), advice));
        }
        if !PICTURE_SIDE.contains(&side) {
            let (least, most) = (PICTURE_SIDE.start(), PICTURE_SIDE.end());
            return Err(Wrong::new(format!("the {name} {side} is not between {least} and {most}"), advice));
        }
    }
    Ok(size)
}

pub(super) fn frame_rate(value: &Value) -> Result<FrameRate, Wrong> {
    let advice = "write frames a second from 1 to 240, such as 30, 29.97 or \"30000/1001\"";
    let text = match &value.given {
        Given::Integer(number) => number.to_string(),
        Given::Decimal(text) | Given::Text(text) | Given::Variable(text) => text.clone(),
        other => return Err(Wrong::new(format!("a rate is wanted here, not {}", other.kind()), advice)),
    };
    let rate: FrameRate =
        text.parse().map_err(|error| Wrong::new(format!("{} {error}", quote_amount(&text)), advice))?;
    if FPS.contains(&rate.per_second()) {
        return Ok(rate);
    }
    Err(Wrong::new(format!("{} is out of range", quote_amount(&text)), advice))
}

/// An address to listen at.
pub(super) fn listen(value: &Value) -> Result<SocketAddr, Wrong> {
    let advice = "write an address and a port, such as \"0.0.0.0:8080\" (every interface), \
                  \"127.0.0.1:8080\" (this machine only) or \"[::]:8080\"";
    let text = text(value).map_err(|wrong| Wrong::new(wrong.what, advice))?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let what = if text.is_empty() {
        "the address is empty".to_owned()
    } else if text.parse::<IpAddr>().is_ok() {
        format!("{} has no port", quote(text))
    } else if text.rsplit_once(':').is_some_and(|(host, _)| host.parse::<IpAddr>().is_ok()) {
        format!("{} has no port from 0 to 65535", quote(text))
    } else {
        format!("{} is not an address with a port", quote(text))
    };
    Err(Wrong::new(what, advice))
}

/// A path; a relative one starts at `folder`.
pub(super) fn path(value: &Value, folder: &Path) -> Result<PathBuf, Wrong> {
    resolve(text(value)?, folder)
}

fn resolve(text: &str, folder: &Path) -> Result<PathBuf, Wrong> {
    let advice = "write a path; a relative one starts at the configuration file's folder";
    if text.is_empty() {
        return Err(Wrong::new("the path is empty", advice));
    }
    if text.contains('\0') {
        return Err(Wrong::new("the path holds a NUL character", advice));
    }
    if text.starts_with("~/") {
        return Err(Wrong::new(format!("{} is a shell's shorthand", quote(text)), "write the path in full"));
    }
    Ok(folder.join(text))
}

/// `video = ...`
pub(super) fn video(value: &Value, folder: &Path) -> Result<VideoSource, Wrong> {
    let written = text(value)?;
    let (form, rest) = written.split_once(':').map_or((written, None), |(form, rest)| (form, Some(rest)));
    match (form, rest) {
        ("pattern", None) => Ok(VideoSource::Pattern),
        ("file", Some(rest)) => resolve(rest, folder).map(VideoSource::File),
        ("v4l2", Some(rest)) if !rest.is_empty() && !rest.contains('\0') => {
            Ok(VideoSource::V4l2(PathBuf::from(rest)))
        }
        ("v4l2", _) => Err(Wrong::new(
            "v4l2 names no camera",
            "write \"v4l2:/dev/video0\", or a camera as footlight devices prints it",
        )),
        ("file", None) => Err(Wrong::new("file names no clip", "write \"file:clip.mp4\"")),
        ("", _) => Err(Wrong::new("the source is empty", format!("write {VIDEO_FORMS}"))),
        (form, _) if later::VIDEO.contains(&form) => Err(Wrong::new(
            format!("the source {form} is not built into this version"),
            format!("write {VIDEO_FORMS}"),
        )),
        _ if written.starts_with("/dev/video") => Err(Wrong::new(
            format!("{} does not say what it is", quote(written)),
            format!("write \"v4l2:{written}\""),
        )),
        _ if rest.is_none() && written.contains('.') => Err(Wrong::new(
            format!("{} does not say what it is", quote(written)),
            format!("a clip is written \"file:{}\"", written.escape_debug()),
        )),
        _ => Err(unknown_source(form, &["pattern", "file", "v4l2"], VIDEO_FORMS)),
    }
}

/// `audio = ...`
pub(super) fn audio(value: &Value) -> Result<AudioSource, Wrong> {
    let written = text(value)?;
    let forms = "\"tone\" or \"none\", or leave the key out to take what the video source brings";
    match written {
        "tone" => Ok(AudioSource::Tone),
        "none" => Ok(AudioSource::None),
        "" => Err(Wrong::new("the source is empty", format!("write {forms}"))),
        _ => {
            let form = written.split(':').next().unwrap_or(written);
            if later::AUDIO.contains(&form) {
                let what = format!("the source {form} is not built into this version");
                return Err(Wrong::new(what, format!("write {forms}")));
            }
            Err(unknown_source(form, &["tone", "none"], forms))
        }
    }
}

fn unknown_source(form: &str, known: &[&str], forms: &str) -> Wrong {
    let near = nearest(form, known.iter().copied());
    let advice = match near {
        Some(near) => format!("did you mean {near}? Write {forms}"),
        None => format!("write {forms}"),
    };
    Wrong::new(format!("{} is no source (there are {})", quote(form), listed(known.iter().copied())), advice)
}

/// `encoder = ...`: whether the machine has it, the probe says.
pub(super) fn encoder(value: &Value) -> Result<EncoderChoice, Wrong> {
    let text = text(value)?;
    match text {
        "auto" => return Ok(EncoderChoice::Auto),
        "copy" => return Ok(EncoderChoice::Copy),
        _ if ENCODERS.contains(&text) => return Ok(EncoderChoice::Named(text.to_owned())),
        _ => {}
    }
    let advice = format!("write \"auto\", \"copy\" or one of {}", listed(ENCODERS));
    if text.is_empty() {
        return Err(Wrong::new("the encoder's name is empty", advice));
    }
    // `x264` and `nvenc` are what people call them.
    let part = || ENCODERS.into_iter().find(|name| text.len() >= 3 && name.contains(text));
    let near = nearest(text, ["auto", "copy"].into_iter().chain(ENCODERS)).or_else(part);
    let what = format!("{} is no encoder's name", quote(text));
    Err(match near {
        Some(near) => Wrong::new(what, format!("did you mean {near}? Otherwise {advice}")),
        None => Wrong::new(what, advice),
    })
}

/// Amounts hold no secret, so the whole text may be shown (`quote` would take `4://` for a URL).
fn quote_amount(text: &str) -> String {
    quote(&text.replace("://", ":/ /"))
}
