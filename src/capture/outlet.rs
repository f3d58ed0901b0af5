//! The way out of a source: what every source hands its pictures and sound to.
//!
//! It counts frames for the restart policy, applies `audio = ...`, and can be cut off from the stream: a source
//! that is stuck in its driver and comes to after an hour must not speak into a stream that others have taken over.

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock;
use crate::base::queue;
use crate::base::ticks::Ticks;
use crate::config::schema::AudioSource;
use crate::media::frame::{Captured, TrackForm};
use crate::media::packet::Track;

use super::status::{CameraState, Figures};
use super::stop::{Stop, Stopped};
use super::tone::Tone;

/// A sender that can be taken away from its holder.
#[derive(Clone)]
pub(super) struct Gate(Arc<Mutex<Option<queue::Sender<Captured>>>>);

impl Gate {
    pub(super) fn new(sender: queue::Sender<Captured>) -> Gate {
        Gate(Arc::new(Mutex::new(Some(sender))))
    }

    /// Nothing passes from here on, and the queue no longer counts this gate as a sender.
    pub(super) fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn push(&self, item: Captured) -> Result<(), Stopped> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sender) if sender.push(item) => Ok(()),
            _ => Err(Stopped),
        }
    }
}

/// What one run of a source hands its media to.
pub(super) struct Outlet {
    gate: Gate,
    figures: Arc<Figures>,
    stop: Stop,
    audio: AudioSource,
    /// The house's own sound, where the stream wants it and the source began.
    tone: Option<Tone>,
}

impl Outlet {
    pub(super) fn new(gate: Gate, figures: Arc<Figures>, stop: Stop, audio: AudioSource) -> Outlet {
        Outlet { gate, figures, stop, audio, tone: None }
    }

    /// Where to look for the order to stop.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Where to count what goes wrong.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Whether the stream wants the source's own sound: otherwise it need not be read or decoded.
    pub(super) fn wants_sound(&self) -> bool {
        self.audio == AudioSource::FromVideo
    }

    /// Announces what will come; `mode` says it to people.
    ///
    /// # Errors
    /// [`Stopped`], as all methods here.
    pub(super) fn begin(&mut self, video: TrackForm, audio: TrackForm, mode: &str) -> Result<(), Stopped> {
        let audio = match self.audio {
            AudioSource::FromVideo => audio,
            AudioSource::Tone => TrackForm::Raw,
            AudioSource::None => TrackForm::Absent,
        };
        self.tone = (self.audio == AudioSource::Tone)
            .then(|| Tone::new(clock::monotonic_ticks(), clock::unix_millis()));
        self.figures.say(|text| text.mode = Some(mode.to_owned()));
        tracing::info!(mode, "camera is up");
        self.gate.push(Captured::Begin { video, audio })
    }

    /// Sounds the tone whatever `audio` says about the source: the pattern has no other sound.
    pub(super) fn begin_with_tone(&mut self, video: TrackForm, mode: &str) -> Result<(), Stopped> {
        if self.audio == AudioSource::FromVideo {
            self.audio = AudioSource::Tone;
        }
        self.begin(video, TrackForm::Raw, mode)
    }

    /// Hands on one thing. Sound that the stream does not want stops here.
    pub(super) fn send(&mut self, item: Captured) -> Result<(), Stopped> {
        if self.stop.is_said() {
            return Err(Stopped);
        }
        let picture = match &item {
            Captured::Frame(_) => true,
            Captured::Packet(packet) => packet.track == Track::Video,
            Captured::Begin { .. }
            | Captured::Sound(_)
            | Captured::VideoConfig(_)
            | Captured::AudioConfig(_) => false,
        };
        let sound = match &item {
            Captured::Sound(_) | Captured::AudioConfig(_) => true,
            Captured::Packet(packet) => packet.track == Track::Audio,
            Captured::Begin { .. } | Captured::Frame(_) | Captured::VideoConfig(_) => false,
        };
        if sound && !self.wants_sound() {
            return Ok(());
        }
        if picture {
            // Before the picture: encoding sound takes no time, so it rides out with this picture, not with the next.
            self.sound_the_tone()?;
        }
        self.gate.push(item)?;
        if picture {
            self.note_picture();
        }
        Ok(())
    }

    /// Brings the tone up to now. Sources with pauses between pictures may call it on the way.
    pub(super) fn sound_the_tone(&mut self) -> Result<(), Stopped> {
        let Some(tone) = &mut self.tone else { return Ok(()) };
        let (now, unix_millis): (Ticks, u64) = (clock::monotonic_ticks(), clock::unix_millis());
        while let Some(sound) = tone.next(now, unix_millis) {
            self.gate.push(Captured::Sound(sound))?;
        }
        Ok(())
    }

    fn note_picture(&self) {
        self.figures.note_frame();
        let mut text = self.figures.text();
        if text.state != CameraState::Running {
            text.state = CameraState::Running;
            text.words = text.mode.clone().unwrap_or_else(|| "running".to_owned());
        }
    }
}
