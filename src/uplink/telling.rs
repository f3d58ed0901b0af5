//! Decides which failures of an output are told, so that no far end fills the log.
//!
//! Pure: the time and a failure's kind go in, whether it is told comes out. At most [`KINDS_MAX`] lines come in
//! [`SAME_EVERY`], and none sooner than [`ANY_EVERY`] after the one before; all others are counted. A line that
//! lived for long in between begins anew.

use std::time::{Duration, Instant};

use super::error::Kind;

/// The same kind of failure is told again after this long.
const SAME_EVERY: Duration = Duration::from_secs(600);

/// The least time between two lines: a failure that changes with each try has its turn too, not each of them.
const ANY_EVERY: Duration = Duration::from_secs(3);

/// Kinds that are told within [`SAME_EVERY`]; a line that fails in yet other ways has been told enough about.
const KINDS_MAX: usize = 8;

/// A connection that lived this long was a success, and its end is news.
const LIVED: Duration = Duration::from_secs(60);

/// What was told of one output.
#[derive(Debug, Default)]
pub(super) struct Telling {
    told: heapless::Vec<(Kind, Instant), KINDS_MAX>,
    last: Option<Instant>,
    held_back: u64,
}

impl Telling {
    /// Takes a failure of a connection that was live for `lived`. `Some` if it is told, with the number of those
    /// that were not since the last.
    pub(super) fn handle(&mut self, now: Instant, kind: Kind, lived: Duration) -> Option<u64> {
        if lived >= LIVED {
            self.told.clear();
        }
        self.told.retain(|(_, at)| now.saturating_duration_since(*at) < SAME_EVERY);
        let is_told = self.told.iter().any(|(told, _)| *told == kind);
        let too_soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < ANY_EVERY);
        if is_told || too_soon || self.told.push((kind, now)).is_err() {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;
    use crate::media::rtmp::{Phase, SessionError, Stage};
    use crate::uplink::error::LinkError;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(description: String) -> Kind {
        let code = "NetStream.Publish.BadName".to_owned();
        let cause = SessionError::Refused { stage: Stage::Publish, code, description };
        LinkError::Session { host: "far".into(), field: "primary", cause }.kind()
    }

    #[test]
    fn a_refusal_with_a_number_that_is_never_the_same_is_told_once_in_ten_minutes() {
        let (start, mut telling) = (clock::now(), Telling::default());
        let told: Vec<_> = (0..600)
            .filter_map(|try_| {
                let kind = refused(format!("request {try_} denied"));
                telling.handle(start + SECOND * try_ * 4, kind, Duration::ZERO)
            })
            .collect();
        assert_eq!(told, [0, 149, 149, 149]);
    }

    #[test]
    fn failures_that_take_turns_are_each_told_but_not_at_each_turn() {
        let (start, mut telling) = (clock::now(), Telling::default());
        let mut told = 0;
        for try_ in 0..600 {
            let kind = if try_ % 2 == 0 { Kind::Closed(Phase::Publish) } else { Kind::Broken };
            told += usize::from(telling.handle(start + SECOND * try_, kind, SECOND).is_some());
        }
        assert_eq!(told, 2);
    }

    #[test]
    fn another_failure_is_told_soon_and_the_same_one_again_after_a_long_life() {
        let (start, mut telling) = (clock::now(), Telling::default());
        assert_eq!(telling.handle(start, Kind::Broken, Duration::ZERO), Some(0));
        assert_eq!(telling.handle(start + SECOND, Kind::Resolve, Duration::ZERO), None);
        assert_eq!(telling.handle(start + SECOND * 4, Kind::Resolve, Duration::ZERO), Some(1));
        assert_eq!(telling.handle(start + SECOND * 40, Kind::Broken, SECOND * 30), None);
        assert_eq!(telling.handle(start + SECOND * 110, Kind::Broken, SECOND * 61), Some(1));
    }

    #[test]
    fn however_many_kinds_there_are_the_lines_are_few() {
        let (start, mut telling) = (clock::now(), Telling::default());
        let codes = ('a'..='z').map(|letter| Kind::Ended(Some(format!("Net.{letter}"))));
        let told = codes
            .zip(0..)
            .filter_map(|(kind, turn)| telling.handle(start + SECOND * 10 * turn, kind, Duration::ZERO));
        assert_eq!(told.count(), KINDS_MAX);
    }
}
