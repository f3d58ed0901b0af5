//! Real clips and a newer ffmpeg, brought once by `tests/media/fetch.sh`.

use std::path::PathBuf;

/// The path of an ffmpeg that knows H.265 in FLV and RTMP; panics where it is missing.
#[track_caller]
pub fn ffmpeg_9() -> PathBuf {
    clip("ffmpeg-9")
}

/// The path of a clip; panics with the command that brings it where it is missing.
#[track_caller]
pub fn clip(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-media").join(name);
    assert!(path.is_file(), "{name} is missing, and this test needs it; bring it by: tests/media/fetch.sh");
    path
}
