//! Keeps an output's figures, and decides which of its events stand in the log.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::base::clock;
use crate::base::loggate::FadingGate;
use crate::base::units::BitrateBps;
use crate::config::schema::OutputMode;

use super::error::LinkError;
use super::exits::{Exit, Flow};
use super::failover::{Failover, Gap, LineId, LineState as CoreState, Phase, Settings, Why};
use super::governor::Voice;
use super::headroom::{Headroom, Load, Strain};
use super::line::Sampled;
use super::lines::{LineStats, Reading};
use super::link::Name;
use super::need::Need;
use super::status::{Figures, LineState, OutputStatus, REASONS, State};
use super::telling::Telling;

/// Lines of the log about one thing that are written however soon they come; later ones thin out. Moves of the
/// stream are what a show's report is made of.
const MOVES_TOLD: u32 = 6;
const TROUBLES_TOLD: u32 = 2;

/// A line that failed is well again once it has been up for this long: some far ends take the stream, and hang up.
const WELL_AFTER: Duration = Duration::from_secs(5);

/// How long an output may take to reach its first destination before that is an alert.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long nothing may be acknowledged by the line that carries while the output still counts as live: a switch is
/// no outage.
const LIVE_HOLD: Duration = Duration::from_secs(3);

/// One line's account.
struct Account {
    telling: Telling,
    headroom: Headroom,
    exit: Exit,
    /// What was already counted of the connection at hand.
    tally: Tally,
    /// Since when media of the connection at hand arrives.
    live_since: Option<Instant>,
    carries: bool,
    /// Since when it is up, by this connection.
    up_since: Option<Instant>,
    strain_log: FadingGate,
    /// Whether the log's last word is that it has little to spare.
    told_strain: bool,
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
    began: Instant,
    /// When the output was last live.
    live_at: Option<Instant>,
    move_log: FadingGate,
    lost_log: FadingGate,
    below_log: FadingGate,
    /// Whether the log's last word is that it is below the floor.
    told_below: bool,
}

impl Books {
    /// `exits`: where each line leaves the box, the primary's first.
    pub(super) fn new(now: Instant, figures: Figures, exits: Vec<Exit>) -> Books {
        let account = |exit| Account {
            telling: Telling::default(),
            headroom: Headroom::new(),
            exit,
            tally: Tally::default(),
            live_since: None,
            carries: false,
            up_since: None,
            strain_log: FadingGate::new(TROUBLES_TOLD),
            told_strain: false,
            told_failure: true,
        };
        Books {
            figures,
            accounts: exits.into_iter().map(account).collect(),
            began: now,
            live_at: None,
            move_log: FadingGate::new(MOVES_TOLD),
            lost_log: FadingGate::new(TROUBLES_TOLD),
            below_log: FadingGate::new(TROUBLES_TOLD),
            told_below: false,
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
            let one = &mut status.lines[line.index()];
            (one.last_error, one.failing) = (Some(words.clone()), true);
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
            let is_planned = matches!(why, Why::Home | Why::Told | Why::Begin);
            match self.move_log.pass(now) {
                Some(held_back) if is_planned => {
                    info!(from, to, why = why_words, held_back, "the stream moves");
                }
                Some(held_back) => warn!(from, to, why = why_words, held_back, "the stream moves"),
                None => debug!(from, to, why = why_words, "the stream moves"),
            }
            status.switches += 1;
            status.last_switch = Some((now, why_words));
        });
    }

    /// Tags do not reach a destination. Where all carry, the others have them.
    pub(super) fn lost(&mut self, now: Instant, gap: Gap) {
        let packets = gap.last.0 - gap.first.0 + 1;
        let at = REASONS.iter().position(|(why, _)| *why == gap.why);
        let why = at.map_or("unknown", |at| REASONS[at].1);
        let (mut others_have_them, mut line) = (false, "a line");
        self.figures.change(|status| {
            let others = status.lines.iter().enumerate().filter(|(at, _)| *at != gap.line.index());
            others_have_them = status.mode == OutputMode::Mirror
                && others.into_iter().any(|(_, one)| one.state == LineState::Carrying);
            if let Some(one) = status.lines.get_mut(gap.line.index()) {
                one.missed += packets;
                line = one.role;
            }
            if let Some(count) = at.and_then(|at| status.lost.get_mut(at)).filter(|_| !others_have_them) {
                *count += packets;
            }
        });
        match (self.lost_log.pass(now), others_have_them) {
            (Some(held_back), false) => warn!(packets, line, why, held_back, "packets reach no destination"),
            (Some(held_back), true) => {
                warn!(packets, line, why, held_back, "packets do not reach one of the destinations");
            }
            (None, _) => debug!(packets, line, why, others_have_them, "packets are missing"),
        }
    }

    /// The line cannot carry the least bitrate, or can again.
    pub(super) fn below_floor(&mut self, now: Instant, below: bool) {
        if below {
            if let Some(held_back) = self.below_log.pass(now) {
                self.told_below = true;
                warn!(
                    held_back,
                    "the line cannot carry even the least bitrate: what does not fit is left out"
                );
            }
        } else if std::mem::take(&mut self.told_below) {
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
        let (mut was_live, mut was_below) = (false, false);
        self.figures.change(|status| {
            (was_live, was_below) = (status.state == State::Live, status.below_floor);
            for (at, one) in status.lines.iter_mut().enumerate() {
                let (id, account) = (LineId(at as u8), &mut accounts[at]);
                (one.state, one.trouble) = line_state(core.state(id));
                account.carries = one.state == LineState::Carrying;
                let up = matches!(one.state, LineState::Carrying | LineState::Standby);
                account.up_since = up.then(|| account.up_since.unwrap_or(now));
                let well = |since: Instant| now.saturating_duration_since(since) >= WELL_AFTER;
                one.failing &= !account.up_since.is_some_and(well);
                one.reading = core.stats(id).and_then(LineStats::reading).filter(|_| up);
                judge(now, account, one.reading, need, &mut one.strain);
                state = state.max_of(match one.state {
                    LineState::Carrying if account.live_since.is_some() => State::Live,
                    LineState::Carrying => State::Starting,
                    // The next try of one that failed is no beginning.
                    LineState::Connecting if one.failing => State::Waiting,
                    LineState::Connecting | LineState::Standby => State::Connecting,
                    LineState::Off | LineState::Waiting => State::Waiting,
                });
            }
            status.down = is_down(status, now.saturating_duration_since(self.began));
            status.active = core.carrier().map(LineId::index);
            status.home = core.home().index();
            status.needed = need.told();
            status.encoder = voice.and_then(Voice::encoder);
            refresh_destination(status);
        });
        if state == State::Live {
            self.live_at = Some(now);
        }
        let held = self.live_at.is_some_and(|at| now.saturating_duration_since(at) < LIVE_HOLD);
        if !(state == State::Starting && was_live && held) {
            self.figures.enter(state);
        }
        // An encoder that is not known any more cannot be told to go lower.
        if was_below && !voice.is_some_and(Voice::is_below) {
            self.below_floor(now, false);
        }
    }
}

/// Whether the output reaches nobody. One that comes back by a line that failed is not believed at once.
fn is_down(status: &OutputStatus, lives: Duration) -> bool {
    let mut carrying = status.lines.iter().filter(|line| line.state == LineState::Carrying).peekable();
    if carrying.peek().is_some() {
        return status.down && carrying.all(|line| line.failing);
    }
    status.down || lives >= PATIENCE || status.lines.iter().any(|line| line.failing)
}

/// Whether the line has enough to spare, while it carries.
fn judge(now: Instant, account: &mut Account, reading: Option<Reading>, need: &Need, strain: &mut Strain) {
    let (Some(reading), Some(needed), true) = (reading, need.told(), account.carries) else {
        account.exit.carries(None);
        (account.headroom, *strain) = (Headroom::new(), Strain::Fine);
        return;
    };
    let others = account.exit.carries(Some(Flow { needed, acked: reading.acked }));
    let load = Load {
        needed: BitrateBps(needed.0.saturating_add(others.needed.0)),
        // What this line showed it can carry, it showed while the others carried theirs.
        capacity: reading.capacity.map(|own| BitrateBps(own.0.saturating_add(others.acked.0))),
        retransmitted: reading.retransmitted,
        retransmitted_before: reading.retransmitted_before,
    };
    if let Some(changed) = account.headroom.handle(now, load) {
        let capacity_bps = load.capacity.map_or(0, |bps| bps.0);
        if changed == Strain::Fine {
            if std::mem::take(&mut account.told_strain) {
                info!("the line has enough to spare again");
            }
        } else if let Some(held_back) = account.strain_log.pass(now) {
            account.told_strain = true;
            let needed_bps = load.needed.0;
            warn!(strain = ?changed, needed_bps, capacity_bps, held_back, "the line has little to spare");
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
        Why::Lossy => "the line lost some of the stream",
        Why::Home => "home is well again",
        Why::Told => "a person said so",
        Why::Hung(_) => "it did not answer",
        Why::Unneeded => "it is not needed",
    }
}

#[cfg(test)]
mod tests;
