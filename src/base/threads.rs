//! Named threads: what blocks on a device or a codec lives on one, and `top -H` tells which is which.

use std::io;
use std::thread::{Builder, JoinHandle};

/// The kernel keeps this many bytes of a thread's name.
const NAME_BYTES_MAX: usize = 15;

/// Starts a thread named `kind-subject`, cut to the 15 bytes that the kernel shows: `cap-main`, `enc-main`.
///
/// # Errors
/// When the system refuses another thread.
pub fn spawn<T: Send + 'static>(
    kind: &str,
    subject: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut name = format!("{kind}-{subject}").replace('\0', "");
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    name.truncate(end);
    Builder::new().name(name).spawn(body)
}
