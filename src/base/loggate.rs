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

/// How long is waited between two lines of something that goes on, longer each time.
const WAITS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// What was silent for this long has recovered, and is news again.
const RECOVERED_AFTER: Duration = Duration::from_secs(120);

/// Lets the first lines through, then one in 10 s, one in a minute, one in ten minutes, for as long as there is no
/// end to it, and counts what it held back. Starts over after two quiet minutes.
#[derive(Debug, Clone)]
pub struct FadingGate {
    free: u32,
    /// Lines passed since it last started over.
    passed: u32,
    /// When a line last passed, and when one last wanted to.
    passed_at: Option<Instant>,
    asked_at: Option<Instant>,
    held_back: u64,
}

impl FadingGate {
    /// The first `free` lines pass however soon they come.
    pub const fn new(free: u32) -> FadingGate {
        FadingGate { free, passed: 0, passed_at: None, asked_at: None, held_back: 0 }
    }

    /// `Some` if a line may be written now, with the number of lines held back since the last one.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        let asked_at = self.asked_at.replace(now);
        if asked_at.is_some_and(|at| now.saturating_duration_since(at) >= RECOVERED_AFTER) {
            self.passed = 0;
        }
        let waits =
            self.passed.checked_sub(self.free).map(|over| WAITS[(over as usize).min(WAITS.len() - 1)]);
        let since = self.passed_at.map(|at| now.saturating_duration_since(at));
        if waits.zip(since).is_some_and(|(wait, since)| since < wait) {
            self.held_back += 1;
            return None;
        }
        (self.passed, self.passed_at) = (self.passed.saturating_add(1), Some(now));
        Some(std::mem::take(&mut self.held_back))
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

    /// The seconds at which a line passes, and what it says was held back, of something that happens each second.
    fn passing(gate: &mut FadingGate, start: Instant, seconds: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        seconds
            .filter_map(|second| gate.pass(start + Duration::from_secs(second)).map(|held| (second, held)))
            .collect()
    }

    #[test]
    fn the_first_lines_of_a_trouble_are_seen_and_then_fewer_and_fewer() {
        let (mut gate, start) = (FadingGate::new(3), clock::now());
        let day = passing(&mut gate, start, 0..86_400);
        assert_eq!(&day[..6], [(0, 0), (1, 0), (2, 0), (12, 9), (72, 59), (672, 599)]);
        assert!(day.len() < 150, "{}", day.len());
    }

    #[test]
    fn a_trouble_that_comes_back_after_a_while_is_seen_again_with_what_was_held_back() {
        let (mut gate, start) = (FadingGate::new(2), clock::now());
        assert_eq!(passing(&mut gate, start, 0..100), [(0, 0), (1, 0), (11, 9), (71, 59)]);
        assert_eq!(passing(&mut gate, start, 150..153), [], "not yet a new one");
        assert_eq!(passing(&mut gate, start, 280..283), [(280, 31), (281, 0)]);
    }

    #[test]
    fn what_happens_now_and_then_is_always_seen() {
        let (mut gate, start) = (FadingGate::new(1), clock::now());
        assert!((0..500).all(|turn| gate.pass(start + Duration::from_secs(120) * turn) == Some(0)));
    }
}
