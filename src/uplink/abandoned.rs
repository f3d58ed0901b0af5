//! A connection that was given up because nothing arrived any more, held until its far end can be told.
//!
//! Hanging up in order is not enough for it. What the kernel still owes goes on at intervals that have doubled all
//! through the silence, so that after a minute of it the far end may hear of the end another minute late; until then
//! it believes in the old session and refuses the new one ("already publishing"). So the socket is kept, and reset
//! in the moment a new connection to the same far end stands: the way is open then, and the reset is ahead of
//! `publish`. What the old connection owed was sent by another line, or is sent by the new one.

use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;
use tracing::debug;

use super::failover::Why;
use super::link::Link;

/// Such a connection. Dropped, it ends in the kernel's own time.
pub(super) struct Abandoned(Socket);

impl Abandoned {
    /// Holds on to a link that is given up for this reason, if that helps. A far end whose program stands still has
    /// unread bytes that a reset would throw away: it is left to read them.
    pub(super) fn of(link: &Link, why: Why) -> Option<Abandoned> {
        if !matches!(why, Why::Stalled | Why::Hung(_)) {
            return None;
        }
        link.hold().map(Abandoned)
    }

    /// The far end can be reached again: tells it that this connection is over.
    pub(super) fn reset(self) {
        debug!("an abandoned connection is reset");
        // Closing without lingering is what resets. A good-bye that is under way holds the socket, too, and is woken.
        let _ = self.0.set_linger(Some(Duration::ZERO));
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
