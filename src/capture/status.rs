//! What a camera tells people, pages and meters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::base::clock;
use crate::base::metrics::Exposition;

/// Where a camera stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Being opened; no frame yet.
    #[default]
    Starting,
    /// Frames move.
    Running,
    /// Failed; it is tried again on its own.
    Waiting,
    /// Stopped for good.
    Stopped,
}

/// A camera's state at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraStatus {
    /// The stream that it feeds.
    pub stream: String,
    /// Where it stands.
    pub state: CameraState,
    /// The same for people: `camera is unplugged, waiting for /dev/video0`.
    pub words: String,
    /// What it delivers while it runs: `1280x720 MJPEG at 30 frames a second`.
    pub mode: Option<String>,
    /// What went wrong last, however long ago.
    pub last_error: Option<String>,
    /// Pictures handed on since the start of the process, raw or coded.
    pub frames: u64,
    /// Of those, pictures pushed out by newer ones because the encoder fell behind.
    pub dropped: u64,
    /// Pictures that the source delivered damaged, and that went no further.
    pub damaged: u64,
    /// How often the source was started again.
    pub restarts: u64,
    /// Milliseconds since the newest picture; `None` before the first.
    pub idle_ms: Option<u64>,
}

/// The figures that a source counts while it runs, shared with the handle.
pub(super) struct Figures {
    epoch: Instant,
    frames: AtomicU64,
    damaged: AtomicU64,
    copied: AtomicU64,
    restarts: AtomicU64,
    /// Nanoseconds from `epoch` to the newest picture; 0 before the first.
    moved_nanos: AtomicU64,
    text: Mutex<Text>,
}

/// What is said about the camera.
#[derive(Clone, Default)]
pub(super) struct Text {
    pub(super) state: CameraState,
    pub(super) words: String,
    pub(super) mode: Option<String>,
    pub(super) last_error: Option<String>,
}

impl Figures {
    pub(super) fn new() -> Figures {
        Figures {
            epoch: clock::now(),
            frames: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            moved_nanos: AtomicU64::new(0),
            text: Mutex::new(Text { words: "starting".to_owned(), ..Text::default() }),
        }
    }

    /// A picture was handed on.
    pub(super) fn note_frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.moved_nanos.store((self.epoch.elapsed().as_nanos() as u64).max(1), Ordering::Release);
    }

    /// A picture came damaged and was thrown away.
    pub(super) fn note_damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// A picture was copied so that the driver keeps enough buffers.
    pub(super) fn note_copied(&self) {
        self.copied.fetch_add(1, Ordering::Relaxed);
    }

    /// The source is started once more.
    pub(super) fn note_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// When the newest picture was handed on.
    pub(super) fn moved_at(&self) -> Option<Instant> {
        match self.moved_nanos.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(self.epoch + Duration::from_nanos(nanos)),
        }
    }

    /// Pictures so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Changes what is said.
    pub(super) fn say(&self, change: impl FnOnce(&mut Text)) {
        change(&mut self.text());
    }

    pub(super) fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self, stream: &str, dropped: u64) -> CameraStatus {
        let text = self.text().clone();
        CameraStatus {
            stream: stream.to_owned(),
            state: text.state,
            words: text.words,
            mode: text.mode,
            last_error: text.last_error,
            frames: self.frames(),
            dropped,
            damaged: self.damaged.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            idle_ms: self.moved_at().map(|at| clock::now().saturating_duration_since(at).as_millis() as u64),
        }
    }

    pub(super) fn describe(&self, stream: &str, dropped: u64, page: &mut Exposition) {
        let status = self.status(stream, dropped);
        let labels = [("stream", stream)];
        let running = f64::from(u8::from(status.state == CameraState::Running));
        page.gauge("footlight_capture_up", "1 while frames move.", &labels, running);
        page.counter("footlight_capture_frames_total", "Pictures captured.", &labels, status.frames);
        page.counter(
            "footlight_capture_dropped_total",
            "Pictures and pieces of sound dropped because the encoder fell behind.",
            &labels,
            dropped,
        );
        page.counter(
            "footlight_capture_damaged_total",
            "Pictures delivered damaged.",
            &labels,
            status.damaged,
        );
        page.counter(
            "footlight_capture_copied_total",
            "Pictures copied because too few of the driver's buffers were free.",
            &labels,
            self.copied.load(Ordering::Relaxed),
        );
        page.counter("footlight_capture_restarts_total", "Restarts of the source.", &labels, status.restarts);
        if let Some(idle_ms) = status.idle_ms {
            let help = "Seconds since the newest picture.";
            page.gauge("footlight_capture_idle_seconds", help, &labels, idle_ms as f64 / 1e3);
        }
    }
}
