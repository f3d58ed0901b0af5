//! Real clips, brought once by `tests/media/fetch.sh`.

use std::path::PathBuf;

/// The path of a clip; panics with the command that brings it where it is missing.
#[track_caller]
pub fn clip(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-media").join(name);
    assert!(
        path.is_file(),
        "the clip {name} is missing, and this test needs it; bring it by: tests/media/fetch.sh"
    );
    path
}
