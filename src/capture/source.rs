//! What the house knows of a source: it runs until it fails or is told to stop.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use crate::base::units::FrameRate;
use crate::config::schema::{Stream, VideoSource};

use super::file;
use super::outlet::Outlet;
use super::pattern;
use super::policy::Patience;
use super::stop::Stopped;
use super::v4l2;

/// Why a source ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It was told to, or nobody takes its frames any more.
    #[error("stopped")]
    Stopped,
    /// In words for the studio: what is wrong, where, and what to do.
    #[error("{0}")]
    Failed(String),
}

impl From<Stopped> for SourceError {
    fn from(_: Stopped) -> SourceError {
        SourceError::Stopped
    }
}

/// A source that never ends by itself.
pub(super) type Run = Result<Infallible, SourceError>;

/// Runs the stream's source on this thread.
pub(super) fn run(stream: &Stream, outlet: &mut Outlet) -> Run {
    match &stream.video {
        VideoSource::Pattern => pattern::run(stream, outlet),
        VideoSource::File(path) => file::run(stream, path, outlet),
        VideoSource::V4l2(named) => v4l2::run(stream, named, outlet),
    }
}

/// What tells one presence of the source's device or file from the next: it changes when a camera is plugged in
/// again or a clip is replaced. `None` while there is none.
pub(super) fn fingerprint(stream: &Stream) -> Option<u64> {
    match &stream.video {
        VideoSource::Pattern => None,
        VideoSource::File(path) => file_fingerprint(path),
        VideoSource::V4l2(named) => v4l2::fingerprint(named),
    }
}

/// How long this stream's source may be silent.
pub(super) fn patience(stream: &Stream) -> Patience {
    let frame = frame_time(stream.fps.unwrap_or(FrameRate::whole(30)));
    let start = match &stream.video {
        VideoSource::Pattern => Duration::from_secs(2),
        // USB cameras take up to two seconds to their first picture, HDMI grabbers three to lock on.
        VideoSource::V4l2(_) => Duration::from_secs(4),
        // A long clip's index on a slow card.
        VideoSource::File(_) => Duration::from_secs(10),
    };
    let stall = match &stream.video {
        // The clip itself may stand still; its own time tells, and the thread is not stuck.
        VideoSource::File(_) => Duration::from_secs(15),
        VideoSource::Pattern => (frame * 10).max(Duration::from_secs(1)),
        // A camera in the dark may halve its rate more than once, and is alive all the same.
        VideoSource::V4l2(_) => (frame * 10).max(Duration::from_secs(2)),
    };
    Patience { start: start.max(frame * 10), stall }
}

fn frame_time(rate: FrameRate) -> Duration {
    Duration::from_secs_f64((1.0 / rate.per_second()).clamp(0.001, 60.0))
}

/// The same for one file or node.
pub(super) fn file_fingerprint(path: &Path) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path).ok()?;
    let mut hasher = DefaultHasher::new();
    let identity = (metadata.dev(), metadata.ino(), metadata.rdev());
    let contents = metadata.is_file().then(|| (metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
    (identity, metadata.ctime(), metadata.ctime_nsec(), contents).hash(&mut hasher);
    Some(hasher.finish())
}
