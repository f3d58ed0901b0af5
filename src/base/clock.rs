//! The clocks, for shells only: a core is handed the time.

use std::time::{Instant, SystemTime};

use super::ticks::Ticks;

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for people and for time codes.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since the Unix epoch; 0 on a box whose clock stands before it.
pub fn unix_millis() -> u64 {
    wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |span| span.as_millis() as u64)
}

/// `CLOCK_MONOTONIC` as media time: what capture stamps on frames, and what V4L2 stamps on buffers.
pub fn monotonic_ticks() -> Ticks {
    let span = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(std::time::Duration::ZERO, std::time::Duration::from);
    Ticks::from(span)
}
