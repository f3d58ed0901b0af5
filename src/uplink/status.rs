//! What an output and its lines tell about themselves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::base::units::BitrateBps;
use crate::config::schema::OutputMode;

use super::failover::GapReason;
use super::headroom::Strain;
use super::lines::Reading;

/// What an output is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The stream has no media yet.
    WaitingForStream,
    /// Reaching the far end and asking it to take the stream.
    Connecting,
    /// Sending, and nothing of the media is acknowledged yet.
    Starting,
    /// The far end acknowledges media.
    Live,
    /// It did not work; the next try comes soon.
    Waiting,
    /// Ended: the box stops, or the stream is gone.
    Stopped,
}

impl State {
    /// The better of two states of an output's lines.
    pub(super) fn max_of(self, other: State) -> State {
        let rank = |state| match state {
            State::Live => 3,
            State::Starting => 2,
            State::Connecting => 1,
            _ => 0,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// In words, for people and for machines that read `state`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::WaitingForStream => "waiting for the stream",
            State::Connecting => "connecting",
            State::Starting => "starting",
            State::Live => "live",
            State::Waiting => "waiting to try again",
            State::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One output's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputStatus {
    /// Its name.
    pub name: String,
    /// The stream it carries.
    pub stream: String,
    /// How its destinations are used.
    pub mode: OutputMode,
    /// Where to: scheme, host and port of the line that carries, else of the primary; never the key.
    pub destination: String,
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// The line that carries, by its place in `lines`; `None` where all do, or none does.
    pub active: Option<usize>,
    /// The line that the stream goes back to, by its place in `lines`.
    pub home: usize,
    /// How often the stream moved from one line to another.
    pub switches: u64,
    /// Why it moved last, and when.
    pub last_switch: Option<(Instant, &'static str)>,
    /// Bytes written, over all connections.
    pub bytes_sent: u64,
    /// Bytes that the far ends' kernels acknowledged, over all connections.
    pub bytes_acked: u64,
    /// Round trip time of the line that carries, while connected.
    pub rtt: Option<Duration>,
    /// Segments sent again, over all connections.
    pub retransmits: u64,
    /// How far the line is behind the stream, what waits inside the box included.
    pub behind: Ticks,
    /// Packets left out because the line was too slow.
    pub left_out: u64,
    /// Packets that no destination has, by why: no line, left behind, overrun, thinned, too late.
    pub lost: [u64; REASONS.len()],
    /// Connections after the first of each line.
    pub reconnects: u64,
    /// What the stream needs, sound included.
    pub needed: Option<BitrateBps>,
    /// What the encoder was last told, pictures alone; `None` where it cannot be told.
    pub encoder: Option<BitrateBps>,
    /// The line cannot carry the least bitrate that the output allows.
    pub below_floor: bool,
    /// No destination takes the stream, or one does only since a moment ago: it stays while a far end takes the
    /// stream again and again, and hangs up each time.
    pub down: bool,
    /// Why the last connection ended or was not made, in words without secrets.
    pub last_error: Option<String>,
    /// Its lines: the primary, then the standbys.
    pub lines: Vec<LineStatus>,
}

/// What one destination's line is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineState {
    /// Nobody needs it now.
    #[default]
    Off,
    /// It did not work; the next try comes soon.
    Waiting,
    /// Its name is asked for, it is connected, or asked to take the stream.
    Connecting,
    /// Published, and kept alive.
    Standby,
    /// It carries the stream.
    Carrying,
}

impl LineState {
    /// In words, for people and for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            LineState::Off => "off",
            LineState::Waiting => "waiting",
            LineState::Connecting => "connecting",
            LineState::Standby => "standby",
            LineState::Carrying => "carrying",
        }
    }
}

/// One destination's figures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LineStatus {
    /// Scheme, host and port; never the key.
    pub destination: String,
    /// `primary`, `standby 1`, ….
    pub role: &'static str,
    /// The interface that it leaves by, if one is configured.
    pub interface: Option<String>,
    /// What it is doing.
    pub state: LineState,
    /// What speaks against it while it is up: `stalled`, `frozen`, `slow`.
    pub trouble: Option<&'static str>,
    /// Connections that were published.
    pub connections: u64,
    /// Bytes written, over all connections.
    pub bytes_sent: u64,
    /// Bytes acknowledged, over all connections.
    pub bytes_acked: u64,
    /// Segments sent again, over all connections.
    pub retransmits: u64,
    /// The connection's figures over the last seconds.
    pub reading: Option<Reading>,
    /// How its load is judged.
    pub strain: Strain,
    /// Packets of the stream that it should have carried and never did, whoever else has them.
    pub missed: u64,
    /// It failed, and has not been up for some seconds since.
    pub failing: bool,
    /// Why its last connection ended or was not made.
    pub last_error: Option<String>,
}

impl OutputStatus {
    /// An output that has done nothing yet.
    pub(super) fn new(name: &str, stream: &str, mode: OutputMode, lines: Vec<LineStatus>) -> OutputStatus {
        OutputStatus {
            name: name.to_owned(),
            stream: stream.to_owned(),
            mode,
            destination: lines.first().map(|line| line.destination.clone()).unwrap_or_default(),
            state: State::WaitingForStream,
            since: clock::now(),
            active: None,
            home: 0,
            switches: 0,
            last_switch: None,
            bytes_sent: 0,
            bytes_acked: 0,
            rtt: None,
            retransmits: 0,
            behind: Ticks::ZERO,
            left_out: 0,
            lost: [0; REASONS.len()],
            reconnects: 0,
            needed: None,
            encoder: None,
            below_floor: false,
            down: false,
            last_error: None,
            lines,
        }
    }

    /// What is wrong now, for pages and fleet: a key that stays, and words.
    pub fn alerts(&self) -> Vec<(&'static str, String)> {
        let mut alerts = Vec::new();
        let name = &self.name;
        if matches!(self.state, State::Stopped | State::WaitingForStream) {
            return alerts;
        }
        let carries = self.lines.iter().any(|line| line.state == LineState::Carrying);
        if self.down {
            let why = self.last_error.as_deref().unwrap_or("no destination takes the stream yet");
            let what =
                if carries { "reached no destination until just now" } else { "reaches no destination" };
            alerts.push(("uplink-down", format!("{name} {what}: {why}")));
        }
        if let Some(active) = self.active.filter(|active| *active != self.home) {
            let role = self.lines.get(active).map_or("another line", |line| line.role);
            alerts.push(("uplink-on-standby", format!("{name} is carried by {role}")));
        }
        for line in &self.lines {
            if !self.down && line.failing && line.state != LineState::Off {
                let why = line.last_error.as_deref().unwrap_or("it cannot be reached");
                alerts.push(("uplink-line-down", format!("{name}, {}: {why}", line.role)));
            }
            if line.state != LineState::Carrying {
                continue;
            }
            match line.strain {
                Strain::Fine => {}
                Strain::Tight => alerts.push((
                    "uplink-tight",
                    format!("{name}, {}: less than 30 % of the line is to spare", line.role),
                )),
                Strain::Overloaded => alerts.push((
                    "uplink-overloaded",
                    format!("{name}, {}: more than 80 % of the line is used", line.role),
                )),
            }
        }
        if self.below_floor {
            let words = format!(
                "{name}: the line cannot carry even the least bitrate; what does not fit is left out"
            );
            alerts.push(("uplink-below-floor", words));
        }
        alerts
    }
}

/// The place of a reason in [`OutputStatus::lost`], and its name.
pub(super) const REASONS: [(GapReason, &str); 5] = [
    (GapReason::NoLine, "no_line"),
    (GapReason::LeftBehind, "left_behind"),
    (GapReason::Overrun, "overrun"),
    (GapReason::Thinned, "thinned"),
    (GapReason::TooLate, "too_late"),
];

/// The figures, shared by an output's task and who asks.
#[derive(Debug, Clone)]
pub(super) struct Figures(Arc<Mutex<OutputStatus>>);

impl Figures {
    pub(super) fn new(status: OutputStatus) -> Figures {
        Figures(Arc::new(Mutex::new(status)))
    }

    pub(super) fn get(&self) -> OutputStatus {
        self.lock().clone()
    }

    /// Changes them under the lock: shortly.
    pub(super) fn change(&self, change: impl FnOnce(&mut OutputStatus)) {
        change(&mut self.lock());
    }

    pub(super) fn enter(&self, state: State) {
        let mut status = self.lock();
        if status.state != state {
            (status.state, status.since) = (state, clock::now());
        }
        if !matches!(state, State::Starting | State::Live) {
            (status.rtt, status.behind) = (None, Ticks::ZERO);
        }
    }

    /// The output has ended: nothing carries any more.
    pub(super) fn stop(&self) {
        self.enter(State::Stopped);
        self.change(|status| {
            (status.active, status.below_floor, status.down) = (None, false, false);
            for line in &mut status.lines {
                (line.state, line.trouble, line.failing) = (LineState::Off, None, false);
                (line.reading, line.strain) = (None, Strain::Fine);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, OutputStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
