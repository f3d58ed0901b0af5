//! The handles, and the thread that watches over one camera.
//!
//! Each camera has a watcher thread that obeys the restart policy, and a source thread that blocks on the device.
//! A source stuck inside a driver call therefore holds up nobody: not its own restart, not other cameras, not the
//! end of the process.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::base::metrics::Exposition;
use crate::base::{clock, queue, threads};
use crate::config::schema::{AudioSource, Stream};
use crate::media::frame::Captured;

use super::outlet::{Gate, Outlet};
use super::policy::{Action, Event, Patience, Policy};
use super::source::{self, Run, SourceError};
use super::status::{CameraState, CameraStatus, Figures};
use super::stop::{self, Stop};

/// How often a failed camera's device or file is looked for. A studio sees its camera come back within a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// How long a source may take to end when its camera is dropped. Drivers answer `STREAMOFF` within a frame or two.
const END_PATIENCE: Duration = Duration::from_millis(700);
/// The same for the watcher, which waits for its source first.
const WATCHER_PATIENCE: Duration = Duration::from_secs(1);
/// The same trouble again and again is logged this often.
const SAME_TROUBLE_EVERY: Duration = Duration::from_secs(60);

/// Starts cameras; clonable.
#[derive(Clone, Debug, Default)]
pub struct Cameras(());

/// A camera that feeds one stream. Dropping it stops the source and waits for it, at most about a second; a thread
/// that a driver does not let go is left behind, and logged.
pub struct Camera {
    shared: Arc<Shared>,
    outlet: queue::Sender<Captured>,
}

/// What a watcher needs to run one kind of source: the real ones, or a test's own.
struct Kind {
    run: Box<dyn Fn(&mut Outlet) -> Run + Send + Sync>,
    fingerprint: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    patience: Patience,
    audio: AudioSource,
}

struct Shared {
    stream: String,
    figures: Arc<Figures>,
    orders: Mutex<Orders>,
    wake: EventFd,
    ended: Mutex<bool>,
    has_ended: Condvar,
}

#[derive(Default, Clone, Copy)]
struct Orders {
    restart: bool,
    end: bool,
}

impl Cameras {
    /// The house's cameras.
    pub fn new() -> Cameras {
        Cameras(())
    }

    /// Starts the source of `stream`; its media goes to `outlet`, beginning with [`Captured::Begin`]. A source that
    /// cannot be opened is no error here: it is tried again for ever, and [`Camera::status`] says why.
    ///
    /// # Errors
    /// When the system gives no thread or no file descriptor.
    pub fn start(&self, stream: &Stream, outlet: queue::Sender<Captured>) -> io::Result<Camera> {
        let (of_run, of_print) = (stream.clone(), stream.clone());
        let kind = Kind {
            run: Box::new(move |outlet| source::run(&of_run, outlet)),
            fingerprint: Box::new(move || source::fingerprint(&of_print)),
            patience: source::patience(stream),
            audio: stream.audio.clone(),
        };
        Camera::start(&stream.name, kind, outlet)
    }
}

impl Camera {
    fn start(stream: &str, kind: Kind, outlet: queue::Sender<Captured>) -> io::Result<Camera> {
        let shared = Arc::new(Shared {
            stream: stream.to_owned(),
            figures: Arc::new(Figures::new()),
            orders: Mutex::new(Orders::default()),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            ended: Mutex::new(false),
            has_ended: Condvar::new(),
        });
        let mut watcher = Watcher::new(shared.clone(), Arc::new(kind), outlet.clone());
        threads::spawn("watch", stream, move || watcher.watch())?;
        Ok(Camera { shared, outlet })
    }

    /// How the camera is.
    pub fn status(&self) -> CameraStatus {
        self.shared.figures.status(&self.shared.stream, self.outlet.dropped())
    }

    /// Closes the source and opens it again, now.
    pub fn restart(&self) {
        self.shared.order(|orders| orders.restart = true);
    }

    /// Tells the source to end, without waiting. With several cameras, telling all before dropping the first makes
    /// them end together.
    pub fn begin_stop(&self) {
        self.shared.order(|orders| orders.end = true);
    }

    /// Adds the camera's figures to a page.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        self.shared.figures.describe(&self.shared.stream, self.outlet.dropped(), page);
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.begin_stop();
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, _) = self
            .shared
            .has_ended
            .wait_timeout_while(ended, WATCHER_PATIENCE, |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        if !*ended {
            tracing::warn!(
                stream = self.shared.stream,
                "the camera's watcher does not end, going on without it"
            );
        }
    }
}

impl Shared {
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = self.wake.write(1);
    }

    fn take_orders(&self) -> Orders {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = *orders;
        orders.restart = false;
        taken
    }
}

/// One run of the source.
struct Running {
    stop: Stop,
    gate: Gate,
    done: Arc<Done>,
}

/// How a run ended, once it has.
#[derive(Default)]
struct Done {
    is: AtomicBool,
    trouble: Mutex<Option<SourceError>>,
}

/// Marks a run as ended however its thread ends.
struct Ending {
    done: Arc<Done>,
    shared: Arc<Shared>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.done.is.store(true, Ordering::Release);
        let _ = self.shared.wake.write(1);
    }
}

struct Watcher {
    shared: Arc<Shared>,
    kind: Arc<Kind>,
    sender: Option<queue::Sender<Captured>>,
    policy: Policy,
    running: Option<Running>,
    left_behind: Vec<Arc<Done>>,
    /// The device or file as it was when the last run was started.
    seen: Option<u64>,
    look_at: Instant,
    was_tried: bool,
    logged: Option<(String, Instant)>,
}

impl Watcher {
    fn new(shared: Arc<Shared>, kind: Arc<Kind>, sender: queue::Sender<Captured>) -> Watcher {
        let now = clock::now();
        // Any number that differs between cameras will do.
        let seed = shared.stream.bytes().fold(now.elapsed().as_nanos() as u64 | 1, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Watcher {
            policy: Policy::new(now, kind.patience, seed),
            shared,
            kind,
            sender: Some(sender),
            running: None,
            left_behind: Vec::new(),
            seen: None,
            look_at: now,
            was_tried: false,
            logged: None,
        }
    }

    fn watch(&mut self) {
        let span = tracing::info_span!("camera", stream = self.shared.stream);
        let _entered = span.enter();
        loop {
            let orders = self.shared.take_orders();
            if orders.end {
                break;
            }
            if orders.restart {
                tracing::info!("restart asked for");
                self.tell(Event::Restart);
            }
            self.hear_threads();
            self.look_for_the_source();
            if let Some(at) = self.shared.figures.moved_at() {
                self.tell(Event::Moved(at));
            }
            self.tell(Event::Tick);
            self.sleep();
        }
        self.end();
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.has_ended.notify_all();
    }

    fn tell(&mut self, event: Event) {
        for action in self.policy.handle(clock::now(), event) {
            match action {
                Action::Start => self.start(),
                Action::Stop => self.stop(event),
                Action::LeaveBehind => self.leave_behind(),
            }
        }
    }

    /// Sleeps until the policy, the search for the device or a thread wants something.
    fn sleep(&mut self) {
        let now = clock::now();
        let policy =
            self.policy.wake_at().map_or(Duration::from_secs(60), |at| at.saturating_duration_since(now));
        let patience = if self.policy.is_waiting() {
            policy.min(self.look_at.saturating_duration_since(now))
        } else {
            policy
        };
        let mut fds = [PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN)];
        stop::wait(&mut fds, patience);
        let _ = self.shared.wake.read();
    }

    fn hear_threads(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.done.is.load(Ordering::Acquire)) {
            running.gate.close();
            let trouble = running.done.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.say_trouble(trouble.as_ref());
            self.look_at = clock::now() + LOOK_EVERY;
            self.tell(Event::Ended);
        }
        let before = self.left_behind.len();
        self.left_behind.retain(|done| !done.is.load(Ordering::Acquire));
        for _ in self.left_behind.len()..before {
            tracing::info!("a thread that was stuck in its driver has ended");
            self.tell(Event::CameBack);
        }
    }

    /// While the camera waits: whether its device or file has come back, or is another.
    fn look_for_the_source(&mut self) {
        let now = clock::now();
        // Before the first try there is nothing to come back.
        if !self.policy.is_waiting() || now < self.look_at || !self.was_tried {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let print = (self.kind.fingerprint)();
        if print.is_some() && print != self.seen {
            tracing::info!("the source is there again");
            self.tell(Event::Hint);
        }
        self.seen = print;
    }

    fn start(&mut self) {
        if let Err(cause) = self.try_start() {
            tracing::error!(%cause, "cannot start the camera's thread");
            self.shared.figures.say(|text| {
                text.state = CameraState::Waiting;
                text.words = format!("cannot start the camera's thread ({cause}), trying again");
            });
            self.tell(Event::Ended);
        }
    }

    fn try_start(&mut self) -> io::Result<()> {
        let Some(sender) = self.sender.clone() else { return Ok(()) };
        let figures = self.shared.figures.clone();
        if std::mem::replace(&mut self.was_tried, true) {
            figures.note_restart();
        }
        figures.say(|text| {
            text.mode = None;
            if text.state == CameraState::Running {
                text.state = CameraState::Starting;
                "starting".clone_into(&mut text.words);
            }
        });
        self.seen = (self.kind.fingerprint)();
        let stop = Stop::new()?;
        let gate = Gate::new(sender);
        let done = Arc::new(Done::default());
        let mut outlet = Outlet::new(gate.clone(), figures, stop.clone(), self.kind.audio.clone());
        let (kind, ending) = (self.kind.clone(), Ending { done: done.clone(), shared: self.shared.clone() });
        let span = tracing::Span::current();
        threads::spawn("cap", &self.shared.stream, move || {
            let _entered = span.enter();
            let Err(trouble) = (kind.run)(&mut outlet);
            *ending.done.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        })?;
        self.running = Some(Running { stop, gate, done });
        Ok(())
    }

    fn stop(&mut self, why: Event) {
        if why == Event::Tick {
            self.say_trouble(Some(&SourceError::Failed(
                "no picture comes, restarting the camera".to_owned(),
            )));
        }
        if let Some(running) = &self.running {
            running.stop.say();
        }
    }

    fn leave_behind(&mut self) {
        if let Some(running) = self.running.take() {
            running.gate.close();
            self.left_behind.push(running.done);
            tracing::error!(
                stuck = self.left_behind.len(),
                "the driver does not give the camera's thread back, going on without it; if this repeats, \
                 unplug the camera or restart the box"
            );
        }
    }

    /// Puts a failure into the status, and into the log unless it was just said.
    fn say_trouble(&mut self, trouble: Option<&SourceError>) {
        let words = match trouble {
            Some(SourceError::Stopped) => return,
            Some(SourceError::Failed(words)) => words.clone(),
            None => "the camera's thread ended unexpectedly, which is a bug of ours".to_owned(),
        };
        self.shared.figures.say(|text| {
            text.state = CameraState::Waiting;
            text.mode = None;
            text.words.clone_from(&words);
            text.last_error = Some(words.clone());
        });
        let now = clock::now();
        let again = |(said, at): &(String, Instant)| *said == words && now < *at + SAME_TROUBLE_EVERY;
        if !self.logged.as_ref().is_some_and(again) {
            tracing::warn!("{words}");
            self.logged = Some((words, now));
        }
    }

    /// Ends the source, waiting for it as long as it may take.
    fn end(&mut self) {
        let deadline = clock::now() + END_PATIENCE;
        if let Some(running) = self.running.take() {
            running.stop.say();
            while !running.done.is.load(Ordering::Acquire) {
                let left = deadline.saturating_duration_since(clock::now());
                if left.is_zero() {
                    tracing::warn!("the driver does not give the camera's thread back, ending without it");
                    break;
                }
                let mut fds = [PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN)];
                stop::wait(&mut fds, left);
                let _ = self.shared.wake.read();
            }
            running.gate.close();
        }
        self.sender = None;
        self.shared.figures.say(|text| {
            text.state = CameraState::Stopped;
            "stopped".clone_into(&mut text.words);
        });
        tracing::info!("camera stopped");
    }
}

#[cfg(test)]
mod tests;
