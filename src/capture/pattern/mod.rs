//! The pattern camera: a moving picture that says when it was made, and a tone that beats with it.
//!
//! ```text
//!   pacer (deadlines) ──> scene draws on a canvas of the pool ──> outlet ──> encoder
//!                         tone makes 20 ms of sound ───────────────┘             │
//!                                    pool <── memory of encoded pictures <───────┘
//! ```
//!
//! For a first look at a new box, for tests and for measuring delay. It needs no device and is cheap enough to run
//! beside an encoder: it never draws more than what moves.

use crate::base::clock;
use crate::base::units::{FrameRate, PictureSize};
use crate::config::schema::{EncoderChoice, Stream};
use crate::media::frame::{Captured, Frame, PixelFormat, TrackForm};

use super::outlet::Outlet;
use super::pacer::Pacer;
use super::source::{Run, SourceError};
use scene::{Moment, Scene};

mod canvas;
mod font;
mod scene;

/// When the configuration names no size.
const DEFAULT_SIZE: PictureSize = PictureSize { width: 1280, height: 720 };
/// When the configuration names no rate.
const DEFAULT_RATE: FrameRate = FrameRate::whole(30);

/// Makes pictures until told to stop.
pub(super) fn run(stream: &Stream, outlet: &mut Outlet) -> Run {
    if stream.encoder == EncoderChoice::Copy {
        return Err(SourceError::Failed(
            "encoder = \"copy\" needs a source with H.264, and the pattern is drawn; use encoder = \"auto\""
                .to_owned(),
        ));
    }
    // Colour has half the resolution.
    let size = stream.size.map_or(DEFAULT_SIZE, |size| PictureSize {
        width: (size.width & !1).max(2),
        height: (size.height & !1).max(2),
    });
    let rate = stream.fps.unwrap_or(DEFAULT_RATE);
    let scene = Scene::new(size);
    let pool = scene::pool(&scene, &stream.name);
    outlet.begin_with_tone(TrackForm::Raw, &format!("{size} test pattern at {rate} frames a second"))?;
    let mut pacer = Pacer::new(clock::monotonic_ticks(), rate);
    let mut number = 0;
    loop {
        let due = pacer.next(clock::monotonic_ticks());
        outlet.stop().wait_until(due)?;
        let (at, unix_millis) = (clock::monotonic_ticks(), clock::unix_millis());
        let mut canvas = pool.take();
        scene.draw(&mut canvas, Moment { unix_millis, number });
        number += 1;
        outlet.send(Captured::Frame(Frame {
            at,
            format: PixelFormat::I420,
            size,
            planes: pool.lend(canvas),
        }))?;
    }
}
