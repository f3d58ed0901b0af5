//! V4L2 cameras: USB, HDMI grabbers, the box's own sensors.
//!
//! ```text
//!   find (which node?) ──> device (open, modes, format) ──> stream (buffers, lent by reference) ──> film ──> outlet
//!                             modes, layout, jpeg decide (pure)      ^         │
//!                                                                    └── memory given back by the encoder
//! ```
//!
//! `abi` and `sys` are the kernel's interface, `sys` the only place that is unsafe. Drivers are believed as far as
//! they can be true and no further: they refuse rates, lie about lengths, hand over damage and go away at any time.
//! Each of that is a picture less, or a restart by the policy; none of it is a panic, a copy too many or a read beyond
//! a buffer.

use std::path::Path;

use crate::config::schema::{EncoderChoice, Stream};
use crate::media::frame::TrackForm;
use crate::media::packet::VideoCodec;

use super::outlet::Outlet;
use super::source::{Run, SourceError};
use device::{Device, Shape, Trouble};
use film::{Film, FilmError, Way};
use modes::Wish;

mod abi;
mod device;
mod devices;
mod film;
mod find;
mod jpeg;
mod layout;
mod modes;
mod stream;
mod sys;

pub use devices::{CameraDevice, CameraMode, devices, table};
pub(super) use find::fingerprint;

/// Films until told to stop, or until the camera fails.
pub(super) fn run(stream: &Stream, named: &Path, outlet: &mut Outlet) -> Run {
    let node = find::resolve(named).map_err(SourceError::Failed)?;
    let failed = |trouble: &Trouble| SourceError::Failed(find::words(trouble, &node));
    let device = Device::open(&node).map_err(|trouble| failed(&trouble))?;
    let unchanged = stream.size.is_none() && stream.fps.is_none() && stream.bitrate.is_none();
    let passes_h264 = match stream.encoder {
        EncoderChoice::Copy => true,
        EncoderChoice::Auto => unchanged,
        EncoderChoice::Named(_) => false,
    };
    let wish = Wish { size: stream.size, rate: stream.fps, passes_h264 };
    let mut modes = device.modes(&wish);
    modes::retain_useful(&mut modes, stream.encoder == EncoderChoice::Copy);
    let Some(choice) = modes::choose_mode(&modes, &wish) else {
        return Err(SourceError::Failed(if stream.encoder == EncoderChoice::Copy {
            format!(
                "encoder = \"copy\" needs a camera with H.264 or H.265, and {} ({}) has none; use encoder = \"auto\"",
                device.card,
                node.display()
            )
        } else {
            format!("the camera {} ({}) offers no format that can be used", device.card, node.display())
        }));
    };
    let shape = device.set(&choice).map_err(|trouble| failed(&trouble))?;
    // H.265 goes on only where it is asked for by name: half of all browsers, and most clouds, cannot take it.
    let copies = stream.encoder == EncoderChoice::Copy;
    let passes = |codec| copies || (codec == VideoCodec::H264 && passes_h264);
    let way = Way::of(&shape, passes).map_err(SourceError::Failed)?;
    let form = if matches!(way, Way::Pass(_)) { TrackForm::Coded } else { TrackForm::Raw };
    let mode = words(&device.card, &shape);
    let filmed = stream::Stream::start(device, shape.known.memories).map_err(|trouble| failed(&trouble))?;
    outlet.begin(form, TrackForm::Absent, &mode)?;
    match Film::new(filmed, shape, way).run(outlet) {
        Ok(never) => match never {},
        Err(FilmError::Source(error)) => Err(error),
        Err(FilmError::Camera(errno)) => Err(failed(&Trouble::of("filming", errno))),
    }
}

/// A mode for people.
fn words(card: &str, shape: &Shape) -> String {
    let rate = shape.rate.map_or("its own rate".to_owned(), |rate| format!("{rate} frames a second"));
    format!("{card}: {} {} at {rate}", shape.size, shape.known.format.name())
}
