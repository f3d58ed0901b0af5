//! Keeps an output's figures, and decides which of its events stand in the log.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::base::clock;
use crate::base::loggate::LogGate;

use super::error::LinkError;
use super::failover::{Failover, Gap, LineId, LineState as CoreState, Phase, Settings, Why};
use super::governor::Voice;
use super::headroom::{Headroom, Load, Strain};
use super::line::{Line, Sampled};
use super::lines::{LineStats, Reading};
use super::link::Name;
use super::need::Need;
use super::status::{Figures, LineState, OutputStatus, REASONS, State};
use super::telling::Telling;

/// How often packets that nobody has are told about.
const LOST_LOG_EVERY: Duration = Duration::from_secs(10);

/// One line's account.
struct Account {
    telling: Telling,
    headroom: Headroom,
    /// What was already counted of the connection at hand.
    tally: Tally,
    /// Since when media of the connection at hand arrives.
    live_since: Option<Instant>,
    carries: bool,
    /// Whether the log's last word is a failure, or nothing yet: only then is a success news.
    told_failure: bool,
}

/// What a connection has added to its line's sums.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    sent_bytes: u64,
    acked_bytes: u64,
    retransmits: u64,
    left_out: u64,
}

/// The books of one output.
pub(super) struct Books {
    figures: Figures,
    accounts: Vec<Account>,
    lost_log: LogGate,
}

impl Books {
    pub(super) fn new(figures: Figures, lines: &[Line]) -> Books {
        let account = || Account {
            telling: Telling::default(),
            headroom: Headroom::new(),
            tally: Tally::default(),
            live_since: None,
            carries: false,
            told_failure: true,
        };
        Books {
            figures,
            accounts: lines.iter().map(|_| account()).collect(),
            lost_log: LogGate::new(LOST_LOG_EVERY),
        }
    }

    pub(super) fn enter(&self, state: State) {
        self.figures.enter(state);
    }

    /// A new connection is dialled.
    pub(super) fn redialled(&mut self, line: LineId) {
        let account = &mut self.accounts[line.index()];
        (account.tally, account.live_since) = (Tally::default(), None);
    }

    /// The far end takes the stream.
    pub(super) fn published(&mut self, line: LineId) {
        let account = &mut self.accounts[line.index()];
        let is_news = std::mem::take(&mut account.told_failure);
        self.figures.change(|status| {
            let one = &mut status.lines[line.index()];
            status.reconnects += u64::from(one.connections > 0);
            one.connections += 1;
            let (destination, role) = (one.destination.as_str(), one.role);
            if is_news {
                info!(%destination, line = role, "publishing");
            } else {
                debug!(%destination, line = role, "publishing");
            }
        });
    }

    /// A line failed by itself.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        line: LineId,
        failure: &LinkError,
        state: Option<CoreState>,
    ) {
        let account = &mut self.accounts[line.index()];
        let lived =
            account.live_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let words = failure.in_words();
        let (again_in_ms, tries) = match state {
            Some(CoreState::Waiting { until, failures }) => {
                (until.saturating_duration_since(now).as_millis() as u64, failures)
            }
            _ => (0, 0),
        };
        let told = account.telling.handle(now, failure.kind(), lived);
        account.told_failure |= told.is_some();
        match told {
            Some(held_back) if failure.wants_a_person() => error!(again_in_ms, held_back, "{words}"),
            Some(held_back) => warn!(again_in_ms, tries, held_back, "{words}"),
            None => debug!(again_in_ms, tries, "{words}"),
        }
        self.figures.change(|status| {
            status.lines[line.index()].last_error = Some(words.clone());
            status.last_error = Some(words);
        });
    }

    /// The core gave a connection up.
    pub(super) fn given_up(
        &mut self,
        now: Instant,
        line: LineId,
        name: &Name,
        why: Why,
        state: Option<CoreState>,
    ) {
        let host = name.host.clone();
        let silent = Settings::default().give_up_after;
        let failure = match why {
            Why::Stalled => LinkError::Stalled { host, silent },
            Why::Frozen => LinkError::Frozen { host, silent },
            Why::Hung(step) => LinkError::TimedOut { host, step, limit: Phase::patience(step) },
            _ => return,
        };
        self.failed(now, line, &failure, state);
    }

    /// The stream goes by another line from here on.
    pub(super) fn moved(&mut self, now: Instant, line: LineId, left: Option<LineId>, why: Why) {
        self.figures.change(|status| {
            let role = |id: LineId| status.lines.get(id.index()).map_or("another line", |line| line.role);
            let (to, from, why_words) = (role(line), left.map(role), why_words(why));
            let Some(from) = left.filter(|left| *left != line).and(from) else {
                debug!(line = to, why = why_words, "the stream is carried");
                return;
            };
            match why {
                Why::Home | Why::Told | Why::Begin => info!(from, to, why = why_words, "the stream moves"),
                _ => warn!(from, to, why = why_words, "the stream moves"),
            }
            status.switches += 1;
            status.last_switch = Some((now, why_words));
        });
    }

    /// Tags reach nobody.
    pub(super) fn lost(&mut self, now: Instant, gap: Gap) {
        let packets = gap.last.0 - gap.first.0 + 1;
        let at = REASONS.iter().position(|(why, _)| *why == gap.why);
        self.figures.change(|status| {
            if let Some(count) = at.and_then(|at| status.lost.get_mut(at)) {
                *count += packets;
            }
        });
        let why = at.map_or("unknown", |at| REASONS[at].1);
        if let Some(held_back) = self.lost_log.pass(now) {
            warn!(packets, why, held_back, "packets reach no destination");
        } else {
            debug!(packets, why, "packets reach no destination");
        }
    }

    /// The line cannot carry the least bitrate, or can again.
    pub(super) fn below_floor(&mut self, below: bool) {
        if below {
            warn!("the line cannot carry even the least bitrate: what does not fit is left out");
        } else {
            info!("the line carries the least bitrate again");
        }
        self.figures.change(|status| status.below_floor = below);
    }

    /// Counts what a look at a line showed.
    pub(super) fn sampled(&mut self, line: LineId, sampled: &Sampled) {
        let account = &mut self.accounts[line.index()];
        let tally = Tally {
            sent_bytes: sampled.sent_bytes,
            acked_bytes: sampled.sample.acked_bytes,
            retransmits: sampled.sample.retransmitted_segments,
            left_out: sampled.left_out,
        };
        let before = std::mem::replace(&mut account.tally, tally);
        account.carries = sampled.carries;
        if sampled.carried {
            account.live_since.get_or_insert(clock::now());
        }
        self.figures.change(|status| {
            let one = &mut status.lines[line.index()];
            let sent = tally.sent_bytes.saturating_sub(before.sent_bytes);
            let acked = tally.acked_bytes.saturating_sub(before.acked_bytes);
            let retransmits = tally.retransmits.saturating_sub(before.retransmits);
            one.bytes_sent += sent;
            one.bytes_acked += acked;
            one.retransmits += retransmits;
            status.bytes_sent += sent;
            status.bytes_acked += acked;
            status.retransmits += retransmits;
            status.left_out += tally.left_out.saturating_sub(before.left_out);
            if sampled.carries {
                (status.rtt, status.behind) = (Some(sampled.sample.rtt), sampled.behind);
            }
        });
    }

    /// Brings the figures up to date with what the core knows.
    pub(super) fn report(&mut self, now: Instant, core: &Failover, need: &Need, voice: Option<&Voice>) {
        let accounts = &mut self.accounts;
        let mut state = State::Waiting;
        self.figures.change(|status| {
            for (at, one) in status.lines.iter_mut().enumerate() {
                let (id, account) = (LineId(at as u8), &mut accounts[at]);
                (one.state, one.trouble) = line_state(core.state(id));
                account.carries = one.state == LineState::Carrying;
                let up = matches!(one.state, LineState::Carrying | LineState::Standby);
                one.reading = core.stats(id).and_then(LineStats::reading).filter(|_| up);
                judge(now, account, one.reading, need, &mut one.strain);
                state = state.max_of(match one.state {
                    LineState::Carrying if account.live_since.is_some() => State::Live,
                    LineState::Carrying => State::Starting,
                    LineState::Connecting | LineState::Standby => State::Connecting,
                    LineState::Off | LineState::Waiting => State::Waiting,
                });
            }
            status.active = core.carrier().map(LineId::index);
            status.home = core.home().index();
            status.needed = need.told();
            status.encoder = voice.and_then(Voice::encoder);
            refresh_destination(status);
        });
        self.figures.enter(state);
    }
}

/// Whether the line has enough to spare, while it carries.
fn judge(now: Instant, account: &mut Account, reading: Option<Reading>, need: &Need, strain: &mut Strain) {
    let (Some(reading), Some(needed), true) = (reading, need.told(), account.carries) else {
        (account.headroom, *strain) = (Headroom::new(), Strain::Fine);
        return;
    };
    let load = Load {
        needed,
        capacity: reading.capacity,
        retransmitted: reading.retransmitted,
        retransmitted_before: reading.retransmitted_before,
    };
    if let Some(changed) = account.headroom.handle(now, load) {
        let capacity_bps = reading.capacity.map_or(0, |bps| bps.0);
        if changed == Strain::Fine {
            info!("the line has enough to spare again");
        } else {
            warn!(strain = ?changed, needed_bps = needed.0, capacity_bps, "the line has little to spare");
        }
        *strain = changed;
    }
}

fn refresh_destination(status: &mut OutputStatus) {
    let at = status.active.unwrap_or(status.home);
    if let Some(line) = status.lines.get(at)
        && line.destination != status.destination
    {
        status.destination.clone_from(&line.destination);
    }
}

fn line_state(state: Option<CoreState>) -> (LineState, Option<&'static str>) {
    match state {
        None | Some(CoreState::Off) => (LineState::Off, None),
        Some(CoreState::Waiting { .. }) => (LineState::Waiting, None),
        Some(CoreState::Dialing { .. }) => (LineState::Connecting, None),
        Some(CoreState::Up { carrying, trouble }) => {
            let state = if carrying { LineState::Carrying } else { LineState::Standby };
            let trouble = trouble.map(|why| match why {
                Why::Stalled => "stalled",
                Why::Frozen => "frozen",
                _ => "slow",
            });
            (state, trouble)
        }
    }
}

fn why_words(why: Why) -> &'static str {
    match why {
        Why::Begin => "it begins",
        Why::Lost => "the line was lost",
        Why::Stalled => "nothing arrived any more",
        Why::Frozen => "the far end reads nothing any more",
        Why::Slow => "the line was too slow",
        Why::Home => "home is well again",
        Why::Told => "a person said so",
        Why::Hung(_) => "it did not answer",
        Why::Unneeded => "it is not needed",
    }
}
