//! What an output tells about itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::tcp_info::TcpInfo;
use crate::base::ticks::Ticks;

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
    /// Where to: scheme, host and port, never the key.
    pub destination: String,
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Bytes written, over all connections.
    pub bytes_sent: u64,
    /// Bytes that the far end's kernel acknowledged, over all connections.
    pub bytes_acked: u64,
    /// Round trip time, while connected.
    pub rtt: Option<Duration>,
    /// Segments sent again, over all connections.
    pub retransmits: u64,
    /// How far the line is behind the stream, what waits inside the box included.
    pub behind: Ticks,
    /// Packets left out because the line was too slow.
    pub left_out: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Why the last connection ended or was not made, in words without secrets.
    pub last_error: Option<String>,
}

/// The figures, shared by an output's task and who asks.
#[derive(Debug, Clone)]
pub(super) struct Figures(Arc<Mutex<OutputStatus>>);

/// What a connection adds to its output's sums.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bytes_sent: u64,
    bytes_acked: u64,
    retransmits: u64,
    left_out: u64,
}

impl Figures {
    pub(super) fn new(name: &str, stream: &str, destination: String) -> Figures {
        Figures(Arc::new(Mutex::new(OutputStatus {
            name: name.to_owned(),
            stream: stream.to_owned(),
            destination,
            state: State::WaitingForStream,
            since: clock::now(),
            bytes_sent: 0,
            bytes_acked: 0,
            rtt: None,
            retransmits: 0,
            behind: Ticks::ZERO,
            left_out: 0,
            reconnects: 0,
            last_error: None,
        })))
    }

    pub(super) fn get(&self) -> OutputStatus {
        self.lock().clone()
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

    pub(super) fn reconnected(&self) {
        self.lock().reconnects += 1;
    }

    pub(super) fn failed(&self, words: String) {
        self.lock().last_error = Some(words);
    }

    /// Takes a sample of the connection; `tally` is what was already counted of it.
    pub(super) fn sample(&self, tally: &mut Tally, sent: u64, info: &TcpInfo, behind: Ticks, left_out: u64) {
        let now = Tally {
            bytes_sent: sent,
            bytes_acked: info.bytes_acked,
            retransmits: u64::from(info.retransmits),
            left_out,
        };
        let mut status = self.lock();
        status.bytes_sent += now.bytes_sent - tally.bytes_sent;
        status.bytes_acked += now.bytes_acked.saturating_sub(tally.bytes_acked);
        status.retransmits += now.retransmits.saturating_sub(tally.retransmits);
        status.left_out += now.left_out - tally.left_out;
        (status.rtt, status.behind) = (Some(info.rtt), behind);
        *tally = now;
    }

    pub(super) fn describe_metrics(&self, page: &mut Exposition) {
        let status = self.get();
        let labels = [("output", status.name.as_str()), ("stream", status.stream.as_str())];
        let live = f64::from(u8::from(status.state == State::Live));
        page.gauge("footlight_output_live", "1 while the far end acknowledges media.", &labels, live);
        page.counter("footlight_output_sent_bytes_total", "Bytes written.", &labels, status.bytes_sent);
        page.counter(
            "footlight_output_acknowledged_bytes_total",
            "Bytes that the far end acknowledged.",
            &labels,
            status.bytes_acked,
        );
        page.counter(
            "footlight_output_retransmits_total",
            "Segments sent again.",
            &labels,
            status.retransmits,
        );
        page.counter(
            "footlight_output_left_out_packets_total",
            "Packets left out because the line was too slow.",
            &labels,
            status.left_out,
        );
        page.counter(
            "footlight_output_reconnects_total",
            "Connections after the first.",
            &labels,
            status.reconnects,
        );
        let behind = status.behind.seconds();
        page.gauge("footlight_output_behind_seconds", "How far it is behind the stream.", &labels, behind);
        if let Some(rtt) = status.rtt {
            page.gauge("footlight_output_rtt_seconds", "Round trip time.", &labels, rtt.as_secs_f64());
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutputStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
