//! What people and machines see of the outbox.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tracing::warn;

use crate::base::clock;
use crate::base::loggate::LogGate;
use crate::base::metrics::Exposition;
use crate::shop::times::rfc3339;

use super::core::Outcome;

/// Results by which requests are counted.
const RESULTS: [&str; 7] = ["taken", "too_large", "refused", "not_let_in", "busy", "broken", "failed"];

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Scheme, host and port of the cloud; none: orders stay on the box.
    pub cloud: Option<String>,
    /// Whether somebody paused it.
    pub paused: bool,
    /// What is wrong, in words; none: nothing.
    pub trouble: Option<String>,
    /// Items that the cloud does not have yet, the stuck ones among them.
    pub waiting: u64,
    /// Of these, what the cloud refuses by itself.
    pub stuck: u64,
    /// When the oldest item that waits, and is not stuck, was written, in Unix milliseconds.
    pub oldest_ms: Option<i64>,
    /// When the cloud last answered well, in Unix milliseconds.
    pub answered_ms: Option<i64>,
    /// When it is tried next, if nothing happens before.
    pub next_try: Option<Instant>,
    /// What the cloud said and nobody could follow.
    pub left_alone: u64,
    /// Requests by what became of them, in the order of [`RESULTS`].
    requests: [u64; RESULTS.len()],
}

/// What the cloud says may be wrong as often as it speaks.
static LEFT_ALONE_LOG: LogGate = LogGate::new(Duration::from_secs(10));

/// Counts what the cloud said and nobody could follow, and says what, now and then.
pub(super) fn note_left_alone(board: &Board, remarks: &[String], count: u64) {
    board.lock().left_alone += count;
    if let Some((first, more)) = remarks.split_first()
        && let Some(held_back) = LEFT_ALONE_LOG.pass(clock::now())
    {
        warn!(held_back, more = ?more, "what the cloud says is left alone: {first}");
    }
}

/// The task writes, everybody reads.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Status>);

impl Board {
    pub(super) fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// In a word: `off`, `paused`, `trouble`, `starting` or `ok`.
    pub fn word(&self) -> &'static str {
        match self {
            Status { cloud: None, .. } => "off",
            Status { paused: true, .. } => "paused",
            Status { trouble: Some(_), .. } => "trouble",
            Status { answered_ms: None, .. } => "starting",
            Status { .. } => "ok",
        }
    }

    /// How long the oldest item has waited that is not stuck.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        self.oldest_ms.map_or(0, |oldest| (now_ms - oldest).max(0))
    }

    /// As the API tells it.
    pub fn to_json(&self, now: Instant, now_ms: i64) -> Value {
        let next_in = self.next_try.map(|at| at.saturating_duration_since(now).as_millis() as u64);
        json!({
            "state": self.word(),
            "cloud": self.cloud,
            "trouble": self.trouble,
            "waiting": self.waiting,
            "stuck": self.stuck,
            "left_alone": self.left_alone,
            "lag_seconds": self.lag_ms(now_ms) as f64 / 1_000.0,
            "answered_at": self.answered_ms.map(rfc3339),
            "next_try_in_ms": next_in,
        })
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        let place = match outcome {
            Outcome::Taken { .. } => 0,
            Outcome::TooLarge => 1,
            Outcome::Refused => 2,
            Outcome::NotLetIn => 3,
            Outcome::Busy(_) => 4,
            Outcome::Broken => 5,
            Outcome::Failed => 6,
        };
        self.requests[place] += 1;
    }

    pub(super) fn describe_metrics(&self, now_ms: i64, page: &mut Exposition) {
        if self.cloud.is_none() {
            return;
        }
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        let up = self.answered_ms.is_some() && self.trouble.is_none();
        page.gauge("footlight_outbox_up", "1 while the cloud answers as it should.", &[], flag(up));
        page.gauge("footlight_outbox_paused", "1 while somebody paused the outbox.", &[], flag(self.paused));
        page.gauge(
            "footlight_outbox_lag_seconds",
            "Age of the oldest order the cloud does not have yet, stuck ones aside.",
            &[],
            self.lag_ms(now_ms) as f64 / 1_000.0,
        );
        page.gauge(
            "footlight_outbox_waiting",
            "Items the cloud does not have yet.",
            &[],
            self.waiting as f64,
        );
        page.gauge(
            "footlight_outbox_stuck",
            "Items the cloud refuses by themselves.",
            &[],
            self.stuck as f64,
        );
        page.counter(
            "footlight_outbox_news_left_alone_total",
            "What the cloud said and nobody could follow: unknown orders, or paid ones that are cancelled here.",
            &[],
            self.left_alone,
        );
        for (result, count) in RESULTS.into_iter().zip(self.requests) {
            let help = "Requests to the cloud by what became of them.";
            page.counter("footlight_outbox_batches_total", help, &[("result", result)], count);
        }
    }
}
