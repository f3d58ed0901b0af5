//! What the disk below takes until something is on it.

use std::fmt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use footlight::base::clock;
use tempfile::TempDir;

use crate::shared::figures::quantiles;

/// Writes that are timed, each as long as a small commit.
const WRITES: usize = 1_000;
const WRITE_BYTES: usize = 16 << 10;

/// The file is gone over again and again, as a write-ahead log is.
const FILE_BYTES: usize = 4 << 20;

/// Names a folder on the disk to be measured.
const FOLDER: &str = "ORDERS_FOLDER";

/// A folder where a store lies: on the disk that was named, or on the build's, which is a real one where the folder
/// for temporary files may be in memory.
pub fn folder() -> TempDir {
    let parent = std::env::var_os(FOLDER).unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::Builder::new().prefix("orders-").tempdir_in(parent).unwrap()
}

/// How long one write takes that must stay.
pub struct Fsync {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Fsync {
    pub fn measure() -> Fsync {
        Fsync::at(folder().path())
    }

    fn at(folder: &Path) -> Fsync {
        let file = std::fs::File::create(folder.join("probe")).unwrap();
        file.write_all_at(&vec![1; FILE_BYTES], 0).unwrap();
        file.sync_all().unwrap();
        let written = vec![2; WRITE_BYTES];
        let mut times: Vec<f64> = (0..WRITES)
            .map(|number| {
                let began = clock::now();
                file.write_all_at(&written, ((number * WRITE_BYTES) % FILE_BYTES) as u64).unwrap();
                file.sync_data().unwrap();
                began.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        let [p50_ms, p99_ms] = quantiles(&mut times, [0.5, 0.99]);
        Fsync { p50_ms, p99_ms }
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms (16 KiB and fdatasync, over {WRITES})",
            self.p50_ms, self.p99_ms
        )
    }
}
