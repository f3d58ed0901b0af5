//! A bound for log lines that a stranger can cause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one line through in each span and counts what it held back. Fits into a `static`.
#[derive(Debug)]
pub struct LogGate {
    every: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl LogGate {
    /// At most one line in `every`.
    pub const fn new(every: Duration) -> LogGate {
        LogGate { every, state: Mutex::new((None, 0)) }
    }

    /// `Some` if a line may be written now, with the number of lines held back since the last one.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, held_back) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            *held_back += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn a_flood_of_lines_becomes_one_that_counts_the_rest() {
        let gate = LogGate::new(Duration::from_secs(1));
        let start = clock::now();
        assert_eq!(gate.pass(start), Some(0));
        for millis in [1, 500, 999] {
            assert_eq!(gate.pass(start + Duration::from_millis(millis)), None);
        }
        assert_eq!(gate.pass(start + Duration::from_secs(1)), Some(3));
        assert_eq!(gate.pass(start + Duration::from_secs(2)), Some(0));
    }
}
