//! The words between the failover core and its shell.

use std::time::Duration;

use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::uplink::inflight::Seq;
use crate::uplink::lines::Sample;

/// Destinations that one output can have, the primary included.
pub const LINES_MAX: usize = 8;

/// The most one event can ask for: each line may be given up and dialled again or kept alive, one line rests,
/// and, where all lines carry, each may begin with a gap.
pub type Actions = heapless::Vec<Action, { 4 * LINES_MAX + 4 }>;

/// One destination of an output: 0 is the primary, the standbys follow in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub u8);

impl LineId {
    /// The primary.
    pub const PRIMARY: LineId = LineId(0);

    /// Its place in a list of destinations.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One connection of a line; the next one has another number, so that what is still said of a connection that
/// was given up is not taken for news of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dial(pub u32);

/// How an output uses its destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// All receive everything: for clouds that take primary and backup and choose themselves.
    Mirror,
    /// One carries; the others are published and silent but for a trickle.
    #[default]
    Warm,
    /// One carries; the others are dialled when it fails.
    Cold,
}

/// How far dialling has come. Each phase has its own patience, so that a handshake that hangs is told from a
/// host that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Asking for the host's address.
    Resolve,
    /// TCP.
    Tcp,
    /// TLS, where there is TLS.
    Tls,
    /// The RTMP handshake and `connect`.
    Handshake,
    /// `createStream` and `publish`.
    Publish,
}

impl Phase {
    /// How long this may take. TCP repeats its SYN after 1 s and 3 s: one repeat is waited for. A cloud asks
    /// another service whether a key is good before it answers `publish`.
    pub const fn patience(self) -> Duration {
        match self {
            Phase::Resolve | Phase::Tcp => Duration::from_secs(3),
            Phase::Tls | Phase::Handshake => Duration::from_secs(4),
            Phase::Publish => Duration::from_secs(6),
        }
    }
}

/// Why the far end would not have the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It still believes in an earlier session of ours and says so.
    Busy,
    /// The key or the user is not known: a person is needed, and yet keys are put right on the far side, too.
    Auth,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Reads the code and description of an `onStatus` or `_error` with level `error` (RTMP 1.0 §7.2.2.6).
    ///
    /// nginx-rtmp, ZLMediaKit and node-media-server answer `NetStream.Publish.BadName` and "already publishing"
    /// while an old session lives; others say BadName of a key they do not know, without that word. A refusal that
    /// says nothing plain is tried again like a busy one: waiting a second costs less than waiting many.
    pub fn read(code: &str, description: &str) -> Refusal {
        let said = description.to_ascii_lowercase();
        let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if any(&["already", "in use", "busy", "exist"]) && !any(&["not exist", "n't exist"]) {
            Refusal::Busy
        } else if any(&["auth", "denied", "forbidden", "token", "key", "permission", "expired"])
            || code.ends_with("Unauthorized")
            || code.ends_with("Denied")
        {
            Refusal::Auth
        } else if code == "NetStream.Publish.BadName" {
            Refusal::Busy
        } else {
            Refusal::Other
        }
    }
}

/// How a connection ended that we did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The far end closed it in order.
    Closed,
    /// It was reset.
    Reset,
    /// Any other error of the socket, of TLS, of name resolution or of the protocol.
    Error,
}

/// Why tags of the stream reached no destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// No line was up for longer than the ring can hold.
    NoLine,
    /// The line that was left owed more than the ring still holds.
    LeftBehind,
    /// The line was so slow that the ring went over its reader.
    Overrun,
    /// Pictures were dropped on purpose: the line is below the lowest bitrate.
    Thinned,
    /// They came too late over a line that loses, and the far end went on without them.
    TooLate,
}

/// Tags that reach no destination: the pictures from `first` to `last`, and the sound too unless `pictures_only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The line that carried or would have carried them.
    pub line: LineId,
    /// The first tag missing.
    pub first: Seq,
    /// The last tag missing.
    pub last: Seq,
    /// The sound between them went out.
    pub pictures_only: bool,
    /// Why.
    pub why: GapReason,
}

/// What the shell tells of one connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LineEvent {
    /// Dialling has come to this phase.
    Reached(Phase),
    /// The far end takes the stream.
    Published,
    /// The far end would not have it. The shell closes the connection.
    Refused(Refusal),
    /// It ended by itself.
    Ended(Ending),
    /// The tag `seq` of the GOP that starts with `gop` stands in the byte stream for good and ends before byte
    /// `end`, as [`Sample::acked_bytes`] counts.
    Wrote {
        /// The byte after it.
        end: u64,
        /// The tag.
        seq: Seq,
        /// The keyframe before it, or itself.
        gop: Seq,
        /// Its time on the stream's timeline.
        at: Ticks,
    },
    /// What the kernel says; every 20 to 50 ms while published.
    Sampled(Sample),
    /// The far end acknowledged these bytes of the byte stream, as [`Sample::acked_bytes`] counts, and went on without
    /// them. Told before a sample calls them read.
    Lost {
        /// The first byte.
        from: u64,
        /// The byte after the last.
        to: u64,
    },
    /// An RTMP acknowledgement (type 3) with this number; by SRT, how often a far end said again what it lacks. Some
    /// servers count from the last one: a number that falls means "counts differently". Here it is a sign of life,
    /// and by RTMP its absence after a rhythm one of a program that stands; what it counts to is not asked.
    Acknowledged(u32),
    /// Tags this line will not send: dropped on purpose, or lost to the ring.
    Skipped {
        /// The first.
        first: Seq,
        /// The last.
        last: Seq,
        /// The sound between them went out.
        pictures_only: bool,
        /// Why.
        why: GapReason,
    },
}

/// What the shell tells the core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// News of a connection.
    Line {
        /// Of which destination.
        line: LineId,
        /// The number that [`Action::Connect`] gave it.
        dial: Dial,
        /// The news.
        what: LineEvent,
    },
    /// The stream's ring has a new GOP, or lost one.
    Ring {
        /// The first tag of the oldest whole GOP.
        oldest_gop: Seq,
        /// The first tag of the newest GOP.
        newest_gop: Seq,
    },
    /// What the stream needs now, sound included.
    Need(BitrateBps),
    /// Somebody wants the stream on this line now; it is at home there until [`Event::Resume`].
    Switch {
        /// The line.
        to: LineId,
    },
    /// Somebody wants the stream to stay where it is as long as that line lives.
    Hold,
    /// The primary is home again.
    Resume,
    /// Somebody wants this line dialled afresh, without waiting.
    Reconnect {
        /// The line.
        line: LineId,
    },
    /// Time went by: due at [`super::Failover::wake_at`].
    Tick,
}

/// Why the stream moved, or a connection was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The first line that is up.
    Begin,
    /// The line that carried ended or was refused.
    Lost,
    /// Nothing was acknowledged any more.
    Stalled,
    /// Bytes were acknowledged, but the far end's program reads none of them.
    Frozen,
    /// Much less was acknowledged than the stream needs, for long.
    Slow,
    /// The far end went on without something that it was owed.
    Lossy,
    /// The line that is home has been well for long enough.
    Home,
    /// Somebody said so.
    Told,
    /// Dialling hung in this phase.
    Hung(Phase),
    /// Nobody needs this line now.
    Unneeded,
}

/// What the shell must do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Dial the destination, publish, send metadata and sequence headers.
    Connect {
        /// The destination.
        line: LineId,
        /// The connection's number, to be told with its news.
        dial: Dial,
    },
    /// Close the connection in order (unpublish, then a plain close: what the kernel still holds goes on by itself,
    /// and its FIN frees the session at the far end; a reset is sent once and may be lost). One that fell silent is
    /// held, and reset as soon as the next connection to that far end stands: the FIN may come a long time later.
    Disconnect {
        /// The destination.
        line: LineId,
        /// The connection.
        dial: Dial,
        /// For the log.
        why: Why,
    },
    /// Feed this line from the tag `from` on: fresh headers first where they changed, the first tag at once, the
    /// rest at no more than `pace` until it has caught up.
    Carry {
        /// The destination.
        line: LineId,
        /// The connection.
        dial: Dial,
        /// The first tag: a keyframe, or the tag after the last one that this very connection was given.
        from: Seq,
        /// How fast to catch up; `None`: unknown need, send as it comes.
        pace: Option<BitrateBps>,
        /// The line that was left, if one was.
        left: Option<LineId>,
        /// For the log.
        why: Why,
    },
    /// Feed this line no more; finish the tag that stands half written.
    Rest {
        /// The destination.
        line: LineId,
        /// The connection.
        dial: Dial,
    },
    /// Say something harmless so that the far end does not take this line for dead: a repeated sequence header or
    /// `onMetaData`, stamped with the time of the tag `at` or with the last time sent here, whichever is later: what
    /// this line may have to carry next starts no earlier.
    Trickle {
        /// The destination.
        line: LineId,
        /// The connection.
        dial: Dial,
        /// Where the stream stands; `None` before it began.
        at: Option<Seq>,
    },
    /// These tags reach nobody.
    Gap(Gap),
}

/// What an output wants of its lines. Defaults are the design's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How the destinations are used.
    pub mode: Mode,
    /// How many there are: 1 to [`LINES_MAX`].
    pub lines: u8,
    /// Silence of a line that owes acknowledgements, after which it counts as stalled, at round trips up to 50 ms.
    pub stall_after: Duration,
    /// The same, after which its connection is given up for a fresh one.
    pub give_up_after: Duration,
    /// How long home must be well before the stream goes back to it; doubles when it was lost again soon.
    pub failback_after: Duration,
    /// The bound of that doubling.
    pub failback_after_max: Duration,
    /// A queue longer than this on a line that acknowledges less than the stream needs is slow death.
    pub slow_queue: Duration,
    /// How often a line that carries nothing says something.
    pub trickle_every: Duration,
    /// The first wait before dialling again; doubles.
    pub retry_first: Duration,
    /// The bound of that doubling.
    pub retry_cap: Duration,
    /// Tells boxes apart, so that a thousand do not dial in step.
    pub seed: u64,
}

impl Default for Settings {
    /// A stall is declared after 350 ms: the goal of 500 ms from silence to media on the standby, less a sampling
    /// step of 50 ms, a picture's 33 ms and the way there. SRS drops a publisher that is silent for 5 s: two trickles
    /// may be late.
    fn default() -> Settings {
        Settings {
            mode: Mode::Warm,
            lines: 1,
            stall_after: Duration::from_millis(350),
            give_up_after: Duration::from_secs(5),
            failback_after: Duration::from_secs(10),
            failback_after_max: Duration::from_secs(300),
            slow_queue: Duration::from_secs(2),
            trickle_every: Duration::from_secs(2),
            retry_first: Duration::from_millis(200),
            retry_cap: Duration::from_secs(3),
            seed: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_as_what_servers_mean_by_it() {
        for (code, description, want) in [
            ("NetStream.Publish.BadName", "Already publishing", Refusal::Busy),
            ("NetStream.Publish.BadName", "Stream already publishing", Refusal::Busy),
            ("NetStream.Publish.BadName", "Stream name is already in use", Refusal::Busy),
            ("NetStream.Publish.BadName", "stream /live/x is busy", Refusal::Busy),
            ("NetStream.Publish.BadName", "", Refusal::Busy),
            ("NetStream.Publish.BadName", "invalid stream key", Refusal::Auth),
            ("NetStream.Publish.Denied", "", Refusal::Auth),
            ("NetStream.publish.Unauthorized", "Authorization required.", Refusal::Auth),
            ("NetConnection.Connect.Rejected", "app does not exist", Refusal::Other),
            ("NetConnection.Connect.Rejected", "", Refusal::Other),
        ] {
            assert_eq!(Refusal::read(code, description), want, "{code} {description:?}");
        }
    }
}
