//! Which lines are connected, dialled, hung up and kept alive, whoever carries.

use std::time::{Duration, Instant};

use crate::uplink::inflight::Seq;

use super::line::State;
use super::words::{Action, Actions, LINES_MAX, LineId, Mode, Why};
use super::{Failover, START_GRACE, push};

/// How long a cold standby may dial before the next one is dialled too.
const COLD_STEP: Duration = Duration::from_secs(1);

impl Failover {
    /// Somebody wants this line dialled afresh, without waiting.
    pub(super) fn redial(&mut self, now: Instant, id: LineId, out: &mut Actions) {
        let Some(line) = self.line(id) else { return };
        if line.is_connected() {
            push(out, Action::Disconnect { line: id, dial: line.dial, why: Why::Told });
            self.leave(now, id, Why::Told);
        }
        self.lines[id.index()].hurry(now);
    }

    /// Gives up what hangs: handshakes at the end of their patience, connections that were silent for too long.
    pub(super) fn give_up(&mut self, now: Instant, out: &mut Actions) {
        for at in 0..self.lines.len() {
            let line = &self.lines[at];
            let hung =
                line.dialing_until().filter(|(_, until)| now >= *until).map(|(phase, _)| Why::Hung(phase));
            let Some(why) = hung.or_else(|| line.is_given_up(&self.settings)) else { continue };
            push(out, Action::Disconnect { line: line.id, dial: line.dial, why });
            let id = line.id;
            self.leave(now, id, why);
            self.lines[at].gave_up(now);
        }
    }

    /// Whether a line is to be connected at all.
    pub(super) fn wants(&self, id: LineId) -> bool {
        if self.settings.mode != Mode::Cold || id == self.home || self.carrier == Some(id) {
            return true;
        }
        let Some(since) = self.cold_since().filter(|since| *since <= self.now) else { return false };
        let steps = self.now.saturating_duration_since(since).as_millis() / COLD_STEP.as_millis();
        let before = self.lines.iter().filter(|line| line.id != self.home && line.id < id).count();
        before as u128 <= steps
    }

    /// From when on cold standbys are dialled, one more each [`COLD_STEP`].
    fn cold_since(&self) -> Option<Instant> {
        let since = self.bereft_since.filter(|_| self.settings.mode == Mode::Cold)?;
        Some(if self.waits_for_home() { since.max(self.started + START_GRACE) } else { since })
    }

    /// When the next cold standby is dialled.
    pub(super) fn cold_step_at(&self) -> Option<Instant> {
        let since = self.cold_since()?;
        let steps = self.now.saturating_duration_since(since).as_millis() / COLD_STEP.as_millis() + 1;
        let dialled = LINES_MAX as u128;
        (steps <= dialled).then(|| if since > self.now { since } else { since + COLD_STEP * steps as u32 })
    }

    /// Dials who is wanted and due, hangs up who is not, keeps the silent alive.
    pub(super) fn tend(&mut self, now: Instant, out: &mut Actions) {
        for at in 0..self.lines.len() {
            let wanted = self.wants(LineId(at as u8));
            let stands = self.standing(at);
            let line = &mut self.lines[at];
            let (id, dial) = (line.id, line.dial);
            match &mut line.state {
                State::Dialing { .. } | State::Up(_) if !wanted => {
                    push(out, Action::Disconnect { line: id, dial, why: Why::Unneeded });
                    line.state = State::Off;
                }
                State::Waiting { .. } if !wanted => line.state = State::Off,
                State::Off if wanted => {
                    line.connect(now);
                    push(out, Action::Connect { line: id, dial: line.dial });
                }
                State::Waiting { until } if *until <= now => {
                    line.connect(now);
                    push(out, Action::Connect { line: id, dial: line.dial });
                }
                State::Up(up) if now >= up.said_at + self.settings.trickle_every => {
                    up.said_at = now;
                    push(out, Action::Trickle { line: id, dial, at: stands });
                }
                _ => {}
            }
        }
    }

    /// Where the stream stands for a line that has nothing to send: what it may have to carry starts no earlier.
    fn standing(&self, at: usize) -> Option<Seq> {
        let place = if self.settings.mode == Mode::Mirror { self.places[at] } else { self.place() };
        place.map(|place| place.gop)
    }
}
