//! One output's life: wait for media, dial, carry, and again for ever.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::config::schema::Output;
use crate::hub::{Channel, ChannelStats, Reader, Start};
use crate::media::packet::Layout;

use super::error::LinkError;
use super::link::{Ended, Link, asked};
use super::status::{Figures, State};
use super::telling::Telling;

/// Waits between tries. The show goes on while we wait, so the longest is short.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(4);

/// A line that lived this long starts over with the shortest wait.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// A source that showed nothing, or said nothing where there is no picture, for this long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Where the destination stands in the configuration.
const FIELD: &str = "primary";

/// Runs until `stop` says so or the stream is over.
pub(super) async fn run(output: Output, channel: Channel, figures: Figures, mut stop: watch::Receiver<bool>) {
    let mut life = Life {
        backoff: Backoff::new(WAIT_FIRST, WAIT_MAX, RandomState::new().hash_one(&output.name)),
        telling: Telling::default(),
        told_failure: true,
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
    telling: Telling,
    /// Whether the log's last word is a failure, or nothing yet: only then is a success news.
    told_failure: bool,
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
                    let destination = &self.output.primary.url;
                    if std::mem::take(&mut self.told_failure) {
                        info!(%destination, "publishing");
                    } else {
                        debug!(%destination, "publishing");
                    }
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
            let lived = self.lived();
            if lived >= STEADY_AFTER {
                self.backoff.reset();
            }
            let wait = self.backoff.next_wait();
            self.tell(&failure, lived, wait);
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

    /// For how long media arrived. Only that is success: a server that takes us in, and throws us out after the
    /// first pictures, shall not be asked four times a second.
    fn lived(&self) -> Duration {
        let status = self.figures.get();
        let since = (status.state == State::Live).then_some(status.since);
        since.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since))
    }

    /// A reader at the newest GOP, or at the next one while the source is silent: a far end that cut us off for
    /// having nothing to say must not be told the last words again and again.
    fn reader(&self) -> Reader {
        let speaks = speaks(self.channel.layout().as_ref(), &self.channel.stats(), clock::now());
        self.channel.reader(if speaks { Start::Gop } else { Start::Live })
    }

    fn tell(&mut self, failure: &LinkError, lived: Duration, wait: Duration) {
        let words = failure.in_words();
        let (again_in_ms, tries) = (wait.as_millis() as u64, self.backoff.tries());
        let told = self.telling.handle(clock::now(), failure.kind(), lived);
        self.told_failure |= told.is_some();
        match told {
            Some(held_back) if failure.wants_a_person() => error!(again_in_ms, held_back, "{words}"),
            Some(held_back) => warn!(again_in_ms, tries, held_back, "{words}"),
            None => debug!(again_in_ms, tries, "{words}"),
        }
        self.figures.failed(words);
    }
}

/// Whether a source shows something; where there is no picture, whether it says something. Sound goes on while a
/// camera is dead, and the newest keyframe is from before its death then.
fn speaks(layout: Option<&Layout>, stats: &ChannelStats, now: Instant) -> bool {
    let has_picture = layout.is_some_and(|layout| layout.video.is_some());
    let newest = if has_picture { stats.last_video_at } else { stats.last_audio_at };
    newest.is_some_and(|at| now.saturating_duration_since(at) < SILENT_AFTER)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::units::PictureSize;
    use crate::media::packet::{VideoCodec, VideoConfig};

    #[test]
    fn a_dead_camera_with_a_living_microphone_shows_nothing_to_start_at() {
        let size = PictureSize { width: 64, height: 64 };
        let record = Bytes::from_static(&[1]);
        let video = VideoConfig { codec: VideoCodec::H264, record, size, fps: None, bitrate: None };
        let (picture, sound) = (Layout { video: Some(video), audio: None }, Layout::default());
        let now = clock::now() + Duration::from_secs(180);
        let long_ago = Some(clock::now());
        let dead_camera =
            ChannelStats { last_video_at: long_ago, last_audio_at: Some(now), ..ChannelStats::default() };
        assert!(!speaks(Some(&picture), &dead_camera, now));
        assert!(speaks(Some(&sound), &dead_camera, now));
        let dead_microphone =
            ChannelStats { last_video_at: Some(now), last_audio_at: long_ago, ..ChannelStats::default() };
        assert!(speaks(Some(&picture), &dead_microphone, now));
        assert!(!speaks(None, &ChannelStats::default(), now));
    }
}
