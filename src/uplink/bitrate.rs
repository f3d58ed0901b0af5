//! What bitrate an encoder should have, by what the lines of its outputs can carry.
//!
//! ```text
//!   output a ──Reading──> Pace ──┐
//!   output b ──Reading──> Pace ──┼── each within its own bounds ──> the least ──SetBitrate──> encoder
//!   output c ──Reading──> Pace ──┘
//! ```
//!
//! Pure. Quick down: a line that was the bottleneck all of the last 400 ms and carried less than the stream
//! needs is overrun by exactly that much, and the queue it grew has to drain as well. Slow up: only while the line
//! has time to spare, in steps that each must prove themselves through a whole GOP; where a step failed, the next
//! try waits, and each failure doubles the wait. What a line carries is measured while it is busy, so it need not
//! be overrun to learn where it ends, and a quarter of it is left free: keyframes come in bursts.

mod pace;

use std::time::{Duration, Instant};

use crate::base::units::BitrateBps;

use super::lines::Reading;

use pace::Pace;

/// Outputs that one encoder can feed.
pub const OUTPUTS_MAX: usize = 8;

/// The most one event can ask for.
pub type Actions = heapless::Vec<Action, 3>;

/// A change upwards smaller than this part is not worth an encoder's trouble; downwards, half of it is.
const STEP_MIN: f64 = 0.04;

/// How long a line must look unable to carry the floor, or able again, before somebody is told.
const BELOW_FOR: Duration = Duration::from_millis(2_500);

/// Changes upwards come no more often than this.
const UP_EVERY: Duration = Duration::from_millis(500);

/// One output of the encoder's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputId(pub u8);

/// Between what an output's bitrate may be, pictures alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Below this it does not pull the encoder, and with it the other outputs: its line is thinned instead.
    pub floor: BitrateBps,
    /// More than this it never asks for.
    pub ceiling: BitrateBps,
}

/// What the encoder of these outputs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The bitrate it starts with and never exceeds, pictures alone.
    pub wanted: BitrateBps,
    /// What the stream has besides pictures: sound and framing.
    pub beside: BitrateBps,
}

/// What the shell tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// This output begins, or has other bounds now.
    Bounds {
        /// The output.
        output: OutputId,
        /// Between what.
        bounds: Bounds,
    },
    /// What the line that carries this output is like; every 50 to 100 ms.
    Read {
        /// The output.
        output: OutputId,
        /// The line's figures.
        reading: Reading,
        /// It is being sent what it missed, so that bytes wait for it on purpose.
        catching_up: bool,
    },
    /// Nothing is known of this output's line any more, since nothing arrives by it: silence is no capacity. It has no
    /// say until its next [`Event::Read`].
    Idle {
        /// The output.
        output: OutputId,
    },
    /// Another line carries this output: what was learnt of the old one says nothing about it.
    Moved {
        /// The output.
        output: OutputId,
    },
    /// The encoder is configured to another bitrate, pictures alone. Bounds hold until they are told anew.
    Wanted(BitrateBps),
    /// This output is gone.
    Gone {
        /// The output.
        output: OutputId,
    },
}

/// What the shell must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Give the encoder this bitrate, pictures alone.
    SetBitrate(BitrateBps),
    /// This output's line cannot carry its floor, or can again: for the anchor.
    Below {
        /// The output.
        output: OutputId,
        /// It cannot.
        below: bool,
    },
}

struct Output {
    id: OutputId,
    bounds: Bounds,
    pace: Pace,
    below: bool,
    /// Nothing arrives by its line.
    idle: bool,
    /// Since when it looks otherwise than was told.
    otherwise_since: Option<Instant>,
}

impl Output {
    /// What is to be told of its line being below the floor, if it has looked so for long enough: a queue that
    /// drains dips below for a moment.
    fn judge(&mut self, now: Instant, below: bool) -> Option<bool> {
        if below == self.below {
            self.otherwise_since = None;
            return None;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        if now < since + BELOW_FOR {
            return None;
        }
        (self.below, self.otherwise_since) = (below, None);
        Some(below)
    }
}

/// The bitrate of one encoder.
pub struct Bitrate {
    settings: Settings,
    outputs: heapless::Vec<Output, OUTPUTS_MAX>,
    current: BitrateBps,
    raised_at: Instant,
}

impl Bitrate {
    /// An encoder at the bitrate that it was configured with, and no outputs.
    pub fn new(now: Instant, settings: Settings) -> Bitrate {
        Bitrate { settings, outputs: heapless::Vec::new(), current: settings.wanted, raised_at: now }
    }

    /// Takes one event and answers with what the shell must do.
    ///
    /// An output beyond [`OUTPUTS_MAX`] is not heard: it follows the others.
    pub fn handle(&mut self, now: Instant, event: Event) -> Actions {
        let mut out = Actions::new();
        let (beside, encoded) = (self.settings.beside.0, self.current.0);
        match event {
            Event::Bounds { output, bounds } => self.begin(now, output, bounds),
            Event::Wanted(wanted) => {
                self.settings.wanted = wanted;
                self.current = self.current.min(wanted);
                for one in &mut self.outputs {
                    one.pace.set_most((one.bounds.ceiling.min(wanted).0 + beside) as f64);
                }
            }
            Event::Gone { output } => self.outputs.retain(|one| one.id != output),
            Event::Idle { output } => {
                let one = self.outputs.iter_mut().find(|one| one.id == output && !one.idle);
                if let Some(one) = one {
                    (one.idle, one.otherwise_since) = (true, None);
                    if std::mem::take(&mut one.below) {
                        let fits = out.push(Action::Below { output, below: false }).is_ok();
                        debug_assert!(fits, "one an event");
                    }
                }
            }
            Event::Moved { output } => {
                if let Some(one) = self.outputs.iter_mut().find(|one| one.id == output) {
                    one.pace.moved(now);
                }
            }
            Event::Read { output, reading, catching_up } => {
                if let Some(one) = self.outputs.iter_mut().find(|one| one.id == output) {
                    one.idle = false;
                    one.pace.read(now, &reading, (encoded + beside) as f64, catching_up);
                    let below = one.pace.rate() < (one.bounds.floor.0 + beside) as f64;
                    if let Some(below) = one.judge(now, below) {
                        let fits = out.push(Action::Below { output, below }).is_ok();
                        debug_assert!(fits, "one a reading");
                    }
                }
            }
        }
        if let Some(bps) = self.decide(now) {
            let fits = out.push(Action::SetBitrate(bps)).is_ok();
            debug_assert!(fits, "one an event");
        }
        out
    }

    /// Nothing here waits: it decides by readings, and these come.
    pub fn wake_at(&self) -> Option<Instant> {
        None
    }

    /// The bitrate in force, pictures alone.
    pub fn current(&self) -> BitrateBps {
        self.current
    }

    /// What the stream has besides pictures.
    pub fn beside(&self) -> BitrateBps {
        self.settings.beside
    }

    /// Panics where the state contradicts itself; for tests.
    pub fn check_invariants(&self) {
        assert!(self.current <= self.settings.wanted, "never more than configured");
        let floor = self.outputs.iter().map(|one| one.bounds.floor.min(self.settings.wanted)).min();
        assert!(floor.is_none_or(|floor| self.current >= floor), "never below every floor");
    }

    fn begin(&mut self, now: Instant, id: OutputId, bounds: Bounds) {
        let bounds = Bounds { floor: bounds.floor.min(bounds.ceiling), ceiling: bounds.ceiling };
        let most = (bounds.ceiling.0.min(self.settings.wanted.0) + self.settings.beside.0) as f64;
        if let Some(one) = self.outputs.iter_mut().find(|one| one.id == id) {
            one.bounds = bounds;
            one.pace.set_most(most);
            return;
        }
        let pace = Pace::new(now, most);
        // One more than fits is not heard.
        let _ =
            self.outputs.push(Output { id, bounds, pace, below: false, idle: false, otherwise_since: None });
    }

    /// The weakest line decides, within its own bounds.
    fn decide(&mut self, now: Instant) -> Option<BitrateBps> {
        let voices = self.outputs.iter().filter(|one| !one.idle).map(|one| {
            let pictures = (one.pace.rate() as u64).saturating_sub(self.settings.beside.0);
            pictures.clamp(one.bounds.floor.0, one.bounds.ceiling.0)
        });
        let target = voices.min().unwrap_or(self.settings.wanted.0).min(self.settings.wanted.0);
        let current = self.current.0;
        let step = target.abs_diff(current) as f64 / current.max(1) as f64;
        let most = target == self.settings.wanted.0 && current != target;
        let go = if target > current {
            // With the last line gone no reading comes that could ask again.
            let alone = self.outputs.is_empty();
            alone || ((step >= STEP_MIN || most) && now >= self.raised_at + UP_EVERY)
        } else {
            step >= STEP_MIN / 2.0
        };
        // A floor that came to lie above what is in force holds at once.
        let floor =
            self.outputs.iter().filter(|one| !one.idle).map(|one| one.bounds.floor.0).min().unwrap_or(0);
        if !go && current >= floor.min(self.settings.wanted.0) {
            return None;
        }
        if target > current {
            self.raised_at = now;
        }
        self.current = BitrateBps(target);
        Some(self.current)
    }
}

#[cfg(test)]
mod tests;
