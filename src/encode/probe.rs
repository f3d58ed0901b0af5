//! Finds out which encoders really work, by encoding a few pictures with each.
//!
//! A driver's list of formats proves little: the same chip encodes on one kernel and hangs on the next. So each
//! encoder is opened and asked for pictures, all of them at once, each on a thread of its own with a time limit.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde::ser::SerializeStruct;

use crate::base::clock;
use crate::base::threads;
use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};

use super::codec::{Kind, VideoCodec, Wish, X264, X264Codec};
use super::colour::Colour;
use super::ffi::codec::has_encoder;
use super::ffi::picture::{Layout, Picture};
use super::ffi::{CodecError, log};
use super::guard::Guarded;
use super::hardware::Hardware;

/// The trial's pictures: the smallest that all known chips take.
const TRIAL_SIZE: PictureSize = PictureSize { width: 320, height: 192 };
/// So many, so far apart: 750 ms for a chip's first packet, an instant for x264's.
const TRIAL_PICTURES: i64 = 50;
const TRIAL_PACE: Duration = Duration::from_millis(15);
/// Real chips answer in some 100 ms; start-up waits no longer than this for one that hangs.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// What came of trying one encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its name in FFmpeg and in `encoder = "..."`.
    pub name: &'static str,
    /// What it makes: `h264`.
    pub codec: &'static str,
    /// A chip does the work.
    pub hardware: bool,
    /// Works; or why not, in plain words.
    pub result: Result<(), String>,
}

/// `{"name": "libx264", "codec": "h264", "hardware": false, "works": true, "reason": null}`.
impl serde::Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Verdict", 5)?;
        object.serialize_field("name", self.name)?;
        object.serialize_field("codec", self.codec)?;
        object.serialize_field("hardware", &self.hardware)?;
        object.serialize_field("works", &self.result.is_ok())?;
        object.serialize_field("reason", &self.result.as_ref().err())?;
        object.end()
    }
}

/// Encoders that this house knows, best first.
pub(super) fn known() -> Vec<Kind> {
    let chips = ["h264_v4l2m2m", "h264_vaapi", "h264_nvenc", "h264_qsv", "h264_rkmpp"];
    let mut kinds: Vec<Kind> = chips.into_iter().map(chip).collect();
    kinds.push(Kind {
        name: X264,
        hardware: false,
        open: Arc::new(|wish| Ok(Box::new(X264Codec::open(wish, Layout::I420)?))),
    });
    kinds
}

fn chip(name: &'static str) -> Kind {
    let direct: super::codec::Open = Arc::new(move |wish| Ok(Box::new(Hardware::open(name, wish)?)));
    let open = move |wish: &Wish| -> Result<Box<dyn VideoCodec>, CodecError> {
        Ok(Box::new(Guarded::open(name, &direct, false, wish)?))
    };
    Kind { name, hardware: true, open: Arc::new(open) }
}

/// Tries all `kinds` side by side; the verdicts keep their order.
pub(super) fn try_all(kinds: &[Kind], size: Option<PictureSize>) -> Vec<Verdict> {
    let deadline = clock::now() + TRIAL_PATIENCE;
    let trials: Vec<_> = kinds.iter().map(|kind| start_trial(kind, size)).collect();
    kinds
        .iter()
        .zip(trials)
        .map(|(kind, trial)| {
            let result = trial.and_then(|answer| {
                let left = deadline.saturating_duration_since(clock::now());
                answer.recv_timeout(left).unwrap_or_else(|_| {
                    Err(format!(
                        "gave no answer within {} ms; its trial is left behind",
                        TRIAL_PATIENCE.as_millis()
                    ))
                })
            });
            match &result {
                Ok(()) => tracing::debug!(encoder = kind.name, "encoder works"),
                Err(reason) => tracing::debug!(encoder = kind.name, %reason, "encoder refused"),
            }
            Verdict { name: kind.name, codec: "h264", hardware: kind.hardware, result }
        })
        .collect()
}

type Answer = std::sync::mpsc::Receiver<Result<(), String>>;

fn start_trial(kind: &Kind, size: Option<PictureSize>) -> Result<Answer, String> {
    missing_device(kind.name).map_or(Ok(()), Err)?;
    let (sender, answer) = sync_channel(1);
    let kind = kind.clone();
    threads::spawn("try", kind.name, move || {
        let result = trial(&kind, TRIAL_SIZE).and_then(|()| size.map_or(Ok(()), |size| trial(&kind, size)));
        // Nobody listens any more where the answer came too late.
        let _ = sender.send(result.map_err(|error| in_plain_words(kind.name, &error)));
    })
    .map_err(|error| format!("no thread to try it on: {error}"))?;
    Ok(answer)
}

/// Opens the encoder and has it encode black pictures until it gives back a keyframe with its configuration.
fn trial(kind: &Kind, size: PictureSize) -> Result<(), CodecError> {
    let wish = Wish {
        size,
        fps: FrameRate::whole(30),
        bitrate: BitrateBps(1_000_000),
        gop: Duration::from_secs(1),
        colour: Colour::Bt709,
        haste: 0,
    };
    let mut codec = (kind.open)(&wish)?;
    let (mut keyframe, mut record) = (false, false);
    for number in 0..TRIAL_PICTURES {
        let mut sink = |picture: super::codec::CodedPicture| {
            keyframe |= picture.keyframe;
            record |= picture.record.is_some();
        };
        let mut picture = Picture::black(codec.layout(), size)?;
        picture.set_at(Ticks::from_units(number, 30));
        codec.encode(&mut picture, number == 0, &mut sink)?;
        if keyframe && record {
            return Ok(());
        }
        if kind.hardware {
            // A chip needs its time, and some give a packet only with the next picture.
            std::thread::park_timeout(TRIAL_PACE);
        }
    }
    Err(CodecError::new("encode", "it took pictures and gave none back"))
}

/// Why an encoder need not be tried at all.
fn missing_device(name: &str) -> Option<String> {
    if !has_encoder(name) {
        return Some("not in this build".to_owned());
    }
    let wanted = match name {
        "h264_v4l2m2m" => "video",
        "h264_vaapi" | "h264_qsv" => "dri",
        "h264_nvenc" => "nvidia",
        "h264_rkmpp" => "mpp_service",
        _ => return None,
    };
    let here = std::fs::read_dir("/dev").is_ok_and(|nodes| {
        nodes.flatten().any(|node| node.file_name().to_string_lossy().starts_with(wanted))
    });
    (!here).then(|| match name {
        "h264_v4l2m2m" => {
            "no /dev/video* M2M device that encodes H.264: there is no /dev/video* at all".to_owned()
        }
        _ => format!("there is no /dev/{wanted}*"),
    })
}

fn in_plain_words(name: &str, error: &CodecError) -> String {
    let said = log::take_complaint().map(|line| format!(" ({line})")).unwrap_or_default();
    match name {
        "h264_v4l2m2m" if error.what == "open a codec" => {
            format!("no /dev/video* M2M device that encodes H.264: {}{said}", error.cause)
        }
        _ => format!("{error}{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x264_works_and_chips_that_are_not_there_say_why() {
        let verdicts = try_all(&known(), None);
        let of = |name: &str| verdicts.iter().find(|verdict| verdict.name == name).expect("is known");
        assert_eq!(of("libx264").result, Ok(()));
        assert_eq!(of("h264_nvenc").result, Err("not in this build".to_owned()));
        assert!(of("h264_v4l2m2m").result.as_ref().is_err_and(|reason| reason.contains("/dev/video*")));
    }

    #[test]
    fn a_configuration_may_name_exactly_the_encoders_that_are_known_here() {
        let names: Vec<_> = known().iter().map(|kind| kind.name).collect();
        assert_eq!(names, crate::config::schema::ENCODERS);
    }

    #[test]
    fn a_verdict_reads_well_as_json() {
        let refused =
            Verdict { name: "h264_qsv", codec: "h264", hardware: true, result: Err("no".to_owned()) };
        assert_eq!(
            serde_json::to_string(&refused).expect("serializes"),
            r#"{"name":"h264_qsv","codec":"h264","hardware":true,"works":false,"reason":"no"}"#
        );
    }

    #[test]
    fn an_encoder_that_hangs_while_it_is_tried_is_left_behind_and_the_others_are_heard() {
        let open = |_: &Wish| -> Result<Box<dyn VideoCodec>, CodecError> {
            loop {
                std::thread::park();
            }
        };
        let mut kinds = known();
        // A name that the build has, so that it is not sorted out before.
        kinds.insert(0, Kind { name: "mjpeg", hardware: true, open: Arc::new(open) });
        let started = clock::now();
        let verdicts = try_all(&kinds, None);
        assert!(started.elapsed() < TRIAL_PATIENCE * 2);
        assert!(verdicts[0].result.as_ref().is_err_and(|reason| reason.contains("no answer")));
        assert_eq!(verdicts.last().map(|verdict| verdict.result.clone()), Some(Ok(())));
    }
}
