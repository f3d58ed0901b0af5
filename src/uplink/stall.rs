//! Decides when a line that takes nothing is given up.
//!
//! Pure: what the kernel knows about acknowledged bytes goes in; the shell hangs up when told to. What we wrote
//! proves nothing: a dead modem swallows megabytes into its send buffer before it complains, and a server that
//! hangs keeps its connections open for ever.

use std::time::{Duration, Instant};

/// What the shell saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The kernel was asked.
    Sampled {
        /// Bytes that the far end acknowledged, ever.
        acked_bytes: u64,
        /// Bytes that it owes an acknowledgement for, written or waiting to be.
        owed_bytes: u64,
    },
}

/// What the shell must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Hang up: nothing was acknowledged for `silent`, and something was owed all the time.
    GiveUp {
        /// How long.
        silent: Duration,
    },
}

/// One event asks for one thing at most.
pub(super) type Actions = heapless::Vec<Action, 1>;

/// Watches one line.
#[derive(Debug)]
pub(super) struct Stall {
    patience: Duration,
    acked_bytes: u64,
    /// Since when something is owed and nothing comes.
    silent_since: Option<Instant>,
}

impl Stall {
    /// Gives a line up after `patience`.
    pub(super) fn new(patience: Duration) -> Stall {
        Stall { patience, acked_bytes: 0, silent_since: None }
    }

    /// Takes one event. `now` never runs backwards. Silence shows in the next sample: nothing is judged on old
    /// knowledge, so there is no time at which it wants to be woken.
    pub(super) fn handle(&mut self, now: Instant, event: Event) -> Actions {
        let Event::Sampled { acked_bytes, owed_bytes } = event;
        if owed_bytes == 0 || acked_bytes > self.acked_bytes {
            self.silent_since = (owed_bytes > 0).then_some(now);
        } else {
            self.silent_since.get_or_insert(now);
        }
        self.acked_bytes = self.acked_bytes.max(acked_bytes);
        let silent = self.silent_since.map(|since| now.saturating_duration_since(since));
        let over = silent.filter(|silent| *silent >= self.patience);
        over.map(|silent| Action::GiveUp { silent }).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::clock;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn sampled(acked_bytes: u64, owed_bytes: u64) -> Event {
        Event::Sampled { acked_bytes, owed_bytes }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_that_takes_nothing_is_given_up_after_its_patience_and_not_before() {
        let (start, mut stall) = (clock::now(), Stall::new(PATIENCE));
        assert!(stall.handle(start, sampled(100, 50)).is_empty());
        assert!(stall.handle(start + secs(4), sampled(100, 900)).is_empty());
        let given_up = stall.handle(start + secs(5), sampled(100, 900));
        assert_eq!(given_up[..], [Action::GiveUp { silent: secs(5) }]);
    }

    #[test]
    fn one_acknowledged_byte_buys_a_slow_line_time() {
        let (start, mut stall) = (clock::now(), Stall::new(PATIENCE));
        for second in 0..60 {
            assert!(stall.handle(start + secs(second * 4), sampled(second + 1, 1_000)).is_empty());
        }
    }

    #[test]
    fn a_line_that_owes_nothing_may_be_silent_for_ever() {
        let (start, mut stall) = (clock::now(), Stall::new(PATIENCE));
        stall.handle(start, sampled(100, 0));
        assert!(stall.handle(start + secs(1_000), sampled(100, 0)).is_empty());
        assert!(stall.handle(start + secs(1_001), sampled(100, 9)).is_empty());
        assert!(!stall.handle(start + secs(1_006), sampled(100, 9)).is_empty());
    }

    proptest! {
        #[test]
        fn silence_is_noticed_within_its_patience_whatever_came_before(
            samples in prop::collection::vec((0u64..2_000, 0u64..1_000, 0u64..100), 0..50),
        ) {
            let (mut now, mut stall, mut acked) = (clock::now(), Stall::new(PATIENCE), 0);
            for (millis, more, owed) in samples {
                now += Duration::from_millis(millis);
                acked += more;
                stall.handle(now, sampled(acked, owed));
            }
            stall.handle(now, sampled(acked, 1));
            prop_assert!(!stall.handle(now + PATIENCE, sampled(acked, 1)).is_empty());
        }
    }
}
