//! The thread of one stream: takes what the source hands over, and publishes [`Media`].

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::queue::{Popped, Receiver};
use crate::base::threads;
use crate::base::units::BitrateBps;
use crate::config::schema::{EncoderChoice, Stream};
use crate::media::frame::{Captured, TrackForm};
use crate::media::packet::{Media, Track};

use super::audio::AudioTrack;
use super::codec::Kind;
use super::join::{Event, Joiner};
use super::status::EncoderStatus;
use super::video::VideoTrack;

/// How long the thread sleeps at most when nothing comes: the longest that stopping takes.
const IDLE: Duration = Duration::from_millis(50);
/// The figures take a sort of some hundred times: not for each picture.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How often a chip that holds pictures is asked whether one is done.
const POLL: Duration = Duration::from_millis(2);

/// Between the handle and its thread.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    keyframe: AtomicBool,
    /// 0: nothing asked for.
    bitrate: AtomicU64,
    status: Mutex<EncoderStatus>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, EncoderStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's encoder. Dropping it stops and joins its thread.
pub struct Encoder {
    stream: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Encoder {
    pub(super) fn start(
        stream: &Stream,
        kinds: Vec<Kind>,
        input: Receiver<Captured>,
        output: impl FnMut(Media) + Send + 'static,
    ) -> io::Result<Encoder> {
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            video: VideoTrack::new(stream, kinds),
            audio: None,
            audio_bitrate: stream.audio_bitrate,
            refuses_raw: stream.encoder == EncoderChoice::Copy,
            video_form: TrackForm::Absent,
            joiner: Joiner::default(),
            output,
            shared: shared.clone(),
            audio_frames: 0,
            told: None,
        };
        let span = tracing::info_span!("encoder", stream = stream.name);
        let thread = threads::spawn("enc", &stream.name, move || {
            let _entered = span.entered();
            worker.run(&input);
        })?;
        Ok(Encoder { stream: stream.name.clone(), shared, thread: Some(thread) })
    }

    /// The next picture becomes a keyframe, a quarter of a second after the last one at the earliest. Has no
    /// effect on video that passes through.
    pub fn request_keyframe(&self) {
        self.shared.keyframe.store(true, Ordering::Relaxed);
    }

    /// Another video bitrate from the next picture on, without a restart where the encoder can (x264 can), else
    /// from the next keyframe on. Has no effect on video that passes through.
    pub fn set_bitrate(&self, bitrate: BitrateBps) {
        self.shared.bitrate.store(bitrate.0.max(1), Ordering::Relaxed);
    }

    /// What it does now.
    pub fn status(&self) -> EncoderStatus {
        self.shared.status().clone()
    }

    /// Adds this stream's figures to the metrics page.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        self.status().describe(&self.stream, page);
    }

    /// Whether its thread ended without being told to, which only a bug can do.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Stops and joins the thread; takes one encoded picture's time, or 50 ms.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(stream = self.stream, "the encoder's thread panicked");
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.join();
    }
}

struct Worker<O> {
    video: VideoTrack,
    audio: Option<AudioTrack>,
    audio_bitrate: BitrateBps,
    refuses_raw: bool,
    video_form: TrackForm,
    joiner: Joiner,
    output: O,
    shared: Arc<Shared>,
    audio_frames: u64,
    told: Option<Instant>,
}

impl<O: FnMut(Media)> Worker<O> {
    fn run(&mut self, input: &Receiver<Captured>) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let patience = if self.video.in_flight() { POLL } else { IDLE };
            match input.pop(patience) {
                Popped::Item(captured) => self.take(captured),
                Popped::Empty => {}
                Popped::Closed => break,
            }
            self.obey();
            let mut events = Publisher { joiner: &mut self.joiner, output: &mut self.output };
            self.video.tick(&mut |event| events.handle(event));
            events.handle(Event::Tick);
            self.tell();
        }
        tracing::debug!("encoder stopped");
    }

    /// What the handle asked for.
    fn obey(&mut self) {
        if self.shared.keyframe.swap(false, Ordering::Relaxed) {
            self.video.request_keyframe();
        }
        match self.shared.bitrate.swap(0, Ordering::Relaxed) {
            0 => {}
            bits => self.video.set_bitrate(BitrateBps(bits)),
        }
    }

    fn take(&mut self, captured: Captured) {
        if let Captured::Frame(_) = &captured {
            self.obey();
        }
        let mut events = Publisher { joiner: &mut self.joiner, output: &mut self.output };
        match captured {
            Captured::Begin { video, audio } => self.begin(video, audio),
            Captured::Frame(frame) if self.video_form == TrackForm::Raw => {
                self.video.frame(frame, &mut |event| events.handle(event));
            }
            Captured::Sound(sound) => {
                let Some(track) = &mut self.audio else { return };
                let mut packets = 0;
                let result = track.sound(&sound, &mut |packet| {
                    packets += 1;
                    events.handle(Event::Packet(packet));
                });
                self.audio_frames += packets;
                if let Err(error) = result {
                    tracing::debug!(%error, "a piece of sound was dropped");
                    self.video.status.last_error = Some(error.to_string());
                }
            }
            Captured::VideoConfig(config) if self.video_form == TrackForm::Coded => {
                self.video.status.size = Some(config.size);
                events.handle(Event::Video(config));
            }
            Captured::AudioConfig(config) if self.audio.is_none() => events.handle(Event::Audio(config)),
            Captured::Packet(packet) => {
                let passes = match packet.track {
                    Track::Video => self.video_form == TrackForm::Coded,
                    Track::Audio => self.audio.is_none(),
                };
                if passes {
                    self.video.count_passed(&packet);
                    events.handle(Event::Packet(packet));
                }
            }
            // What was not announced is not taken: a source that changed its form begins again first.
            Captured::Frame(_) | Captured::VideoConfig(_) | Captured::AudioConfig(_) => {}
        }
    }

    fn begin(&mut self, mut video: TrackForm, audio: TrackForm) {
        if video == TrackForm::Raw && self.refuses_raw {
            tracing::error!(
                "the source brings raw pictures and `encoder` is \"copy\": there is no picture to copy"
            );
            self.video.status.last_error =
                Some("`encoder` is \"copy\" and the source brings raw pictures".into());
            video = TrackForm::Absent;
        }
        self.video_form = video;
        let mut events = Publisher { joiner: &mut self.joiner, output: &mut self.output };
        events.handle(Event::Begin { video: video != TrackForm::Absent, audio: audio != TrackForm::Absent });
        match video {
            TrackForm::Raw => self.video.begin(&mut |event| events.handle(event)),
            TrackForm::Coded => self.video.stand_down("copy"),
            TrackForm::Absent => self.video.stand_down(""),
        }
        if audio != TrackForm::Raw {
            self.audio = None;
            return;
        }
        if self.audio.is_none() {
            match AudioTrack::open(self.audio_bitrate) {
                Ok(track) => self.audio = Some(track),
                Err(error) => {
                    tracing::error!(%error, "no sound: the AAC encoder cannot be opened");
                    self.video.status.last_error = Some(error.to_string());
                }
            }
        }
        if let Some(track) = &mut self.audio {
            track.begin();
            events.handle(Event::Audio(track.config().clone()));
        }
    }

    /// Lets the handle see how things are, ten times a second.
    fn tell(&mut self) {
        let now = clock::now();
        if self.told.is_some_and(|told| now - told < TELL_EVERY) {
            return;
        }
        self.told = Some(now);
        let mut status = self.video.status();
        status.audio_frames = self.audio_frames;
        if let Some(track) = &self.audio {
            status.audio_offset = track.offset().seconds();
            status.audio_correction_ppm = track.ppm();
        }
        *self.shared.status() = status;
    }
}

/// Hands what the joiner makes of an event straight on.
struct Publisher<'a, O> {
    joiner: &'a mut Joiner,
    output: &'a mut O,
}

impl<O: FnMut(Media)> Publisher<'_, O> {
    fn handle(&mut self, event: Event) {
        self.joiner.handle(clock::monotonic_ticks(), event);
        while let Some(media) = self.joiner.pop() {
            (self.output)(media);
        }
    }
}
