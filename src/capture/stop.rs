//! A word that reaches a thread while it waits: for a deadline, or for a camera.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::base::clock;
use crate::base::ticks::Ticks;

/// The source must end: it was told to, or nobody takes its frames any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

/// Tells one thread to stop. Said once, for good; clonable.
#[derive(Clone)]
pub(super) struct Stop(Arc<Inner>);

struct Inner {
    said: AtomicBool,
    /// Never read, so that it stays readable: whoever polls it next is woken too.
    wake: EventFd,
}

impl Stop {
    /// A word not yet said.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(super) fn new() -> std::io::Result<Stop> {
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Stop(Arc::new(Inner { said: AtomicBool::new(false), wake })))
    }

    /// Says it.
    pub(super) fn say(&self) {
        self.0.said.store(true, Ordering::Release);
        // Fails only when the counter is full, and then it is readable anyway.
        let _ = self.0.wake.write(1);
    }

    /// Whether it was said.
    pub(super) fn is_said(&self) -> bool {
        self.0.said.load(Ordering::Acquire)
    }

    /// Readable once it was said, for threads that poll a device.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    /// Waits for `deadline` on the monotonic clock.
    ///
    /// # Errors
    /// [`Stopped`], at once when it is said.
    pub(super) fn wait_until(&self, deadline: Ticks) -> Result<(), Stopped> {
        loop {
            if self.is_said() {
                return Err(Stopped);
            }
            let left = deadline - clock::monotonic_ticks();
            if left <= Ticks::ZERO {
                return Ok(());
            }
            let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
            wait(&mut fds, left.duration());
        }
    }
}

/// Waits until one of `fds` has something to say or `patience` is over; spurious returns are possible.
pub(super) fn wait(fds: &mut [PollFd<'_>], patience: Duration) {
    // An interrupted wait is a spurious return; anything else is a bug in the arguments, and the caller looks at
    // its own state and the clock after each return.
    let _ = ppoll(fds, Some(TimeSpec::from_duration(patience)), None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::threads;

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let stop = Stop::new().expect("eventfd");
        let deadline = clock::monotonic_ticks() + Ticks::from_millis(20);
        assert_eq!(stop.wait_until(deadline), Ok(()));
        assert!(clock::monotonic_ticks() >= deadline);
    }

    #[test]
    fn a_word_from_another_thread_ends_a_long_wait_at_once() {
        let stop = Stop::new().expect("eventfd");
        let theirs = stop.clone();
        let begun = clock::now();
        let waiter = threads::spawn("test", "wait", move || {
            theirs.wait_until(clock::monotonic_ticks() + Ticks::from_millis(60_000))
        })
        .expect("thread");
        stop.say();
        assert_eq!(waiter.join().expect("no panic"), Err(Stopped));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
