//! What the service manager and the person at the keyboard can say.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// One of them said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Stop cleanly; a second one: at once.
    Stop {
        /// SIGTERM or SIGINT.
        signal: i32,
    },
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals that the box listens to, from the moment it is made: an early one is kept.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from their default actions.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(super) fn take() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::Stop { signal: libc::SIGTERM },
            _ = self.interrupt.recv() => Asked::Stop { signal: libc::SIGINT },
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}
