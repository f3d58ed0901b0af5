//! One output's life: wait for media, dial, carry, and again for ever.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::loggate::LogGate;
use crate::config::schema::Output;
use crate::hub::{Channel, Reader, Start};

use super::error::LinkError;
use super::link::{Ended, Link, asked};
use super::status::{Figures, State};

/// Waits between tries. The show goes on while we wait, so the longest is short.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(4);

/// A line that lived this long starts over with the shortest wait.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// The same failure is told again after this long.
const SAME_FAILURE_LOG_EVERY: Duration = Duration::from_secs(600);

/// A source that said nothing for this long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Where the destination stands in the configuration.
const FIELD: &str = "primary";

/// Runs until `stop` says so or the stream is over.
pub(super) async fn run(output: Output, channel: Channel, figures: Figures, mut stop: watch::Receiver<bool>) {
    let mut life = Life {
        backoff: Backoff::new(WAIT_FIRST, WAIT_MAX, RandomState::new().hash_one(&output.name)),
        last_words: None,
        log: LogGate::new(SAME_FAILURE_LOG_EVERY),
        output,
        channel,
        figures,
    };
    let ended = life.live(&mut stop).await;
    life.figures.enter(State::Stopped);
    match ended {
        Ended::Asked => info!("output stopped"),
        Ended::StreamOver => info!("output stopped: its stream is gone"),
    }
}

struct Life {
    output: Output,
    channel: Channel,
    figures: Figures,
    backoff: Backoff,
    last_words: Option<String>,
    log: LogGate,
}

impl Life {
    async fn live(&mut self, stop: &mut watch::Receiver<bool>) -> Ended {
        let mut connected_before = false;
        loop {
            self.figures.enter(State::WaitingForStream);
            if let Some(ended) = self.wait_for_media(stop).await {
                return ended;
            }
            self.figures.enter(State::Connecting);
            let dialled = tokio::select! {
                dialled = Link::dial(&self.output.primary.url, FIELD) => dialled,
                () = asked(stop) => return Ended::Asked,
            };
            let failure = match dialled {
                Ok(mut link) => {
                    if std::mem::replace(&mut connected_before, true) {
                        self.figures.reconnected();
                    }
                    self.figures.enter(State::Starting);
                    info!(destination = %self.output.primary.url, "publishing");
                    let mut reader = self.reader();
                    match link.carry(&mut reader, &self.figures, stop).await {
                        Ok(ended) => {
                            link.finish().await;
                            return ended;
                        }
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            if self.was_steady() {
                self.backoff.reset();
                self.last_words = None;
            }
            let wait = self.backoff.next_wait();
            self.tell(&failure, wait);
            self.figures.enter(State::Waiting);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = asked(stop) => return Ended::Asked,
            }
        }
    }

    /// Returns once there is something to send: a server cuts off who publishes nothing.
    async fn wait_for_media(&mut self, stop: &mut watch::Receiver<bool>) -> Option<Ended> {
        let mut reader = self.reader();
        tokio::select! {
            () = reader.wait() => self.channel.is_closed().then_some(Ended::StreamOver),
            () = asked(stop) => Some(Ended::Asked),
        }
    }

    /// Only media that arrived for a while is success: a server that takes us in, and throws us out after the
    /// first pictures, shall not be asked four times a second.
    fn was_steady(&self) -> bool {
        let status = self.figures.get();
        status.state == State::Live && clock::now().saturating_duration_since(status.since) >= STEADY_AFTER
    }

    /// A reader at the newest GOP, or at the next one while the source is silent: a far end that cut us off for
    /// having nothing to say must not be told the last words again and again.
    fn reader(&self) -> Reader {
        let stats = self.channel.stats();
        let newest = stats.last_video_at.max(stats.last_audio_at);
        let speaks = newest.is_some_and(|at| clock::now().saturating_duration_since(at) < SILENT_AFTER);
        self.channel.reader(if speaks { Start::Gop } else { Start::Live })
    }

    /// Each new failure is told at once; the same one again only now and then.
    fn tell(&mut self, failure: &LinkError, wait: Duration) {
        let words = failure.in_words();
        let is_new = self.last_words.as_ref() != Some(&words);
        let again_in_ms = wait.as_millis() as u64;
        if is_new {
            self.log = LogGate::new(SAME_FAILURE_LOG_EVERY);
        }
        match self.log.pass(clock::now()) {
            Some(_) if failure.wants_a_person() => error!(again_in_ms, "{words}"),
            Some(_) => warn!(again_in_ms, tries = self.backoff.tries(), "{words}"),
            None => debug!(again_in_ms, tries = self.backoff.tries(), "{words}"),
        }
        self.figures.failed(words.clone());
        self.last_words = Some(words);
    }
}
