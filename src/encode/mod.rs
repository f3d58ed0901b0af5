//! Encoding: raw pictures and sound in, H.264 and AAC out, tuned for delay.
//!
//! ```text
//!               ┌─ Frame ──> video (pace, prepare, codec: x264 │ guard ─> hardware) ─┐
//!  Captured ──> worker ─ Sound ──> audio (drift, resampler, AAC-LC) ─────────────────┼─> join ──> Media
//!  (queue)      └─ Packet, already coded: untouched ─────────────────────────────────┘
//! ```
//!
//! One thread for each stream (`enc-NAME`); a hardware encoder has one more (`hw-...`), because a driver may hang
//! in a call. [`probe`](Encoders::probe) finds out at start which encoders work. While running, an encoder that
//! dies is replaced by the next in line, x264 last, and the stream goes on with a new layout.
//!
//! - `pace`, `drift`, `join`, `colour`: pure decisions; `video`, `audio`, `worker`: shells that obey them.
//! - `prepare`: decoding JPEG, pixel formats, sizes, black borders.
//! - `codec`, `hardware`, `guard`, `probe`: the encoders.
//! - `ffi`: every call into FFmpeg.
//!
//! This room never waits for anyone behind it, never drops a coded packet, and never ends because an encoder
//! failed: it says so and tries on.

mod audio;
mod codec;
mod colour;
mod drift;
mod ffi;
mod guard;
mod hardware;
mod join;
mod pace;
mod prepare;
mod probe;
mod status;
mod video;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use crate::base::queue::Receiver;
use crate::base::units::PictureSize;
use crate::config::schema::{EncoderChoice, Stream};
use crate::media::frame::Captured;
use crate::media::packet::Media;

use codec::Kind;

pub use probe::Verdict;
pub use status::EncoderStatus;
pub use worker::Encoder;

/// The encoders of this box, and what came of trying each.
#[derive(Clone)]
pub struct Encoders(Arc<Vec<(Kind, Verdict)>>);

impl Encoders {
    /// Tries all encoders with a few small pictures. Takes some tens of milliseconds; a second at most, where a
    /// driver hangs.
    pub fn probe() -> Encoders {
        Encoders::probe_kinds(probe::known(), None)
    }

    /// The same, also with pictures of `size`.
    pub fn probe_at(size: PictureSize) -> Encoders {
        Encoders::probe_kinds(probe::known(), Some(size))
    }

    fn probe_kinds(kinds: Vec<Kind>, size: Option<PictureSize>) -> Encoders {
        ffi::log::install();
        let verdicts = probe::try_all(&kinds, size);
        Encoders(Arc::new(kinds.into_iter().zip(verdicts).collect()))
    }

    /// What came of trying each encoder, best first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.0.iter().map(|(_, verdict)| verdict.clone()).collect()
    }

    /// Starts a stream's encoder. `output` is called on its thread, with a layout first, and must not block.
    ///
    /// # Errors
    /// When the system refuses a thread; when `encoder` names one that is unknown or was refused at the trial.
    pub fn start(
        &self,
        stream: &Stream,
        input: Receiver<Captured>,
        output: impl FnMut(Media) + Send + 'static,
    ) -> io::Result<Encoder> {
        Encoder::start(stream, self.line(&stream.encoder)?, input, output)
    }

    /// Whether [`Encoders::start`] would find an encoder for this choice.
    ///
    /// # Errors
    /// When it names one that is unknown or was refused at the trial.
    pub fn check(&self, choice: &EncoderChoice) -> io::Result<()> {
        self.line(choice).map(drop)
    }

    /// The encoders that one stream may use, in the order in which it tries them.
    fn line(&self, choice: &EncoderChoice) -> io::Result<Vec<Kind>> {
        let working = || self.0.iter().filter(|(_, verdict)| verdict.result.is_ok()).map(|(kind, _)| kind);
        let EncoderChoice::Named(name) = choice else {
            let line: Vec<Kind> = working().cloned().collect();
            // Software that came late to its trial, on a box that was still reading it from its card, works all the
            // same: a stream without any encoder would be the worse guess.
            let software = || self.0.iter().map(|(kind, _)| kind).filter(|kind| !kind.hardware);
            return Ok(if line.is_empty() { software().cloned().collect() } else { line });
        };
        let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let Some((kind, verdict)) = self.0.iter().find(|(kind, _)| kind.name == name) else {
            let names: Vec<_> = self.0.iter().map(|(kind, _)| kind.name).collect();
            return refuse(format!("there is no encoder {name:?}; there are {}", names.join(", ")));
        };
        if let Err(reason) = &verdict.result {
            return refuse(format!("encoder {name:?} does not work here: {reason}"));
        }
        let software = working().filter(|other| !other.hardware && other.name != kind.name);
        Ok(std::iter::once(kind).chain(software).cloned().collect())
    }
}
