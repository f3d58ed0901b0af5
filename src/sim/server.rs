//! A far end that takes one publisher for a stream, remembers it too long, and writes down what it reads.

use std::time::{Duration, Instant};

use super::secs;

/// How a server treats its publishers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// A publisher that says nothing for this long is dropped.
    pub idle_timeout: Duration,
    /// A publisher that vanished without a word is forgotten after this.
    pub ghost_timeout: Duration,
}

impl Manners {
    /// Forgets quickly: SRS.
    pub fn srs() -> Manners {
        Manners { idle_timeout: secs(5), ghost_timeout: secs(5) }
    }

    /// Pings after a minute and waits half of one for the answer: nginx-rtmp.
    pub fn nginx() -> Manners {
        Manners { idle_timeout: secs(15), ghost_timeout: secs(90) }
    }
}

/// The server at the end of one line.
#[derive(Debug, Clone)]
pub struct Server {
    manners: Manners,
    /// It runs.
    pub up: bool,
    /// It is stopped: its kernel answers, it does not.
    pub frozen: bool,
    /// Its RTMP handshake takes this much longer.
    pub handshake_delay: Duration,
    /// Which connection publishes, and when it was last heard.
    session: Option<(u32, Instant)>,
}

impl Server {
    /// Runs, and has no publisher.
    pub fn new(manners: Manners) -> Server {
        Server { manners, up: true, frozen: false, handshake_delay: Duration::ZERO, session: None }
    }

    /// The connection `conn` wants to publish: whether it may.
    pub fn publish(&mut self, now: Instant, conn: u32) -> bool {
        self.forget(now);
        if self.session.is_some() {
            return false;
        }
        self.session = Some((conn, now));
        true
    }

    /// Something came by the connection `conn`.
    pub fn heard(&mut self, now: Instant, conn: u32) {
        if let Some((session, at)) = &mut self.session
            && *session == conn
        {
            *at = now;
        }
    }

    /// The connection `conn` was closed in order.
    pub fn closed(&mut self, conn: u32) {
        self.session = self.session.filter(|(session, _)| *session != conn);
    }

    /// Whether the publisher `conn` has been silent for so long that it is dropped.
    pub fn drops(&self, now: Instant, conn: u32) -> bool {
        !self.frozen
            && self
                .session
                .is_some_and(|(session, at)| session == conn && now >= at + self.manners.idle_timeout)
    }

    /// It dies: nobody publishes any more.
    pub fn kill(&mut self) {
        (self.up, self.frozen, self.session) = (false, false, None);
    }

    fn forget(&mut self, now: Instant) {
        self.session = self.session.filter(|(_, at)| now < *at + self.manners.ghost_timeout);
    }
}
