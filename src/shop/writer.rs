//! The only thread that writes the store: takes what waits, commits it in groups, and answers when it is on the disk.
//!
//! ```text
//!   intents ──bounded queue──> [as many as wait, up to a bound] ──one transaction, one fsync──> answers
//!                                     └─ reservations whose time is over       └──> board, counters, feed
//! ```
//! `desk.rs` decides and writes each intent inside the transaction. If the commit fails nobody is told yes: the group
//! is answered with what is wrong, the file is opened anew, and what it then says is the truth. While it cannot be
//! opened, every intent is answered with why, at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::base::clock;
use crate::base::loggate::FadingGate;

use super::desk::{Board, Desk};
use super::intent::{Done, Intent};
use super::shared::{Settings, Shared};
use super::store::{Store, Trouble, TroubleKind};

/// Intents in one transaction: more gain nothing on a fast disk, and the first of a group waits for the last.
const GROUP_MAX: usize = 1_024;

/// Reservations that end in one transaction.
const EXPIRE_MAX: usize = 512;

/// How often a store that cannot be used is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// The write-ahead log is carried over once nobody has come for this long,
const IDLE_FOR: Duration = Duration::from_millis(250);
/// if it has this many bytes,
const LOG_WORTH_BYTES: u64 = 1 << 20;
/// and in the middle of a rush when it has this many.
const LOG_MAX_BYTES: u64 = 32 << 20;

/// Refusals are remembered this long.
const REFUSALS_KEPT_MS: i64 = 30 * 24 * 3_600 * 1_000;
/// How often old ones are looked for, and how many go at once.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_MAX: usize = 1_000;

/// The writer's life: ends when every handle is gone.
pub(super) struct Writer {
    folder: PathBuf,
    intents: Receiver<Intent>,
    shared: Arc<Shared>,
    state: State,
    /// In Unix milliseconds: when the next reservation ends.
    next_expiry_ms: Option<i64>,
    retry_at: Option<Instant>,
    forget_at: Instant,
    /// Whether something was committed since the log was carried over.
    log_grew: bool,
    trouble_log: FadingGate,
}

enum State {
    Open { store: Store, board: Board },
    Shut(Trouble),
}

impl Writer {
    pub(super) fn new(folder: &Path, intents: Receiver<Intent>, shared: Arc<Shared>) -> Writer {
        let opening =
            Trouble { kind: TroubleKind::Failing, path: folder.to_owned(), cause: "opening".to_owned() };
        Writer {
            folder: folder.to_owned(),
            intents,
            shared,
            state: State::Shut(opening),
            next_expiry_ms: None,
            retry_at: None,
            forget_at: clock::now(),
            log_grew: false,
            trouble_log: FadingGate::new(3),
        }
    }

    /// Works until every handle is gone, or it is told to stop and nothing waits.
    pub(super) fn run(mut self) {
        self.open();
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            match self.intents.recv_timeout(self.idle_wait()) {
                Ok(intent) => group.push(intent),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            group.extend(self.intents.try_iter().take(GROUP_MAX - group.len()));
            self.shared.left_queue(group.len());
            // Whoever hung up meanwhile heard nothing, and asks again with the same key.
            group.retain(|intent| !intent.is_given_up());
            if self.retry_at.is_some_and(|at| clock::now() >= at) {
                self.open();
            }
            let was_idle = group.is_empty();
            self.work(&mut group);
            if was_idle && self.shared.is_stopping() {
                break;
            }
            self.tidy(was_idle);
        }
        if let State::Open { store, .. } = &self.state
            && let Err(cause) = store.checkpoint(true)
        {
            debug!(%cause, "the write-ahead log stays as it is");
        }
    }

    /// How long nothing needs to be done if nobody comes.
    fn idle_wait(&self) -> Duration {
        if self.shared.is_stopping() {
            return Duration::ZERO;
        }
        let mut wait = if self.log_grew { IDLE_FOR } else { Duration::from_secs(10) };
        if let Some(at) = self.retry_at {
            wait = wait.min(at.saturating_duration_since(clock::now()));
        }
        if let Some(at_ms) = self.next_expiry_ms {
            let left_ms = at_ms.saturating_sub(clock::unix_millis() as i64).max(0);
            wait = wait.min(Duration::from_millis(left_ms as u64));
        }
        wait
    }

    /// Opens the store, or notes why not and when to try again.
    fn open(&mut self) {
        // The old one gives its lock back first.
        let closed =
            Trouble { kind: TroubleKind::Failing, path: self.folder.clone(), cause: "closed".to_owned() };
        drop(std::mem::replace(&mut self.state, State::Shut(closed)));
        let opened = Store::open(&self.folder).and_then(|mut store| {
            let now_ms = clock::unix_millis() as i64;
            let of = |error, store: &Store| Trouble::of_store(store, &error);
            // A disk that is full or read-only often opens all the same: only writing tells.
            try_to_write(&mut store, now_ms).map_err(|error| of(error, &store))?;
            let (board, counters) = Board::load(&store, now_ms).map_err(|error| of(error, &store))?;
            let next_expiry = board.next_expiry_ms;
            Ok((store, board, counters, next_expiry))
        });
        match opened {
            Ok((store, board, counters, next_expiry)) => {
                info!(path = %store.path().display(), products = board.len(), "the order store is open");
                self.shared.opened(&board, counters);
                self.next_expiry_ms = next_expiry;
                self.retry_at = None;
                self.state = State::Open { store, board };
            }
            Err(trouble) => self.shut(trouble),
        }
    }

    fn shut(&mut self, trouble: Trouble) {
        let now = clock::now();
        if let Some(held_back) = self.trouble_log.pass(now) {
            error!(held_back, "no orders are taken: {trouble}");
        }
        self.shared.shut(&trouble);
        self.retry_at = Some(now + RETRY_EVERY);
        self.next_expiry_ms = None;
        self.state = State::Shut(trouble);
    }

    fn work(&mut self, group: &mut Vec<Intent>) {
        let is_due = self.next_expiry_ms.is_some_and(|at| clock::unix_millis() as i64 >= at);
        if group.is_empty() && !is_due {
            return;
        }
        let began = clock::now();
        let size = group.len();
        if let Err(trouble) = self.commit(group) {
            // One that the database itself refuses must not cost the others their answer.
            if trouble.kind == TroubleKind::Failing && group.len() > 1 {
                warn!(%trouble, "a group of orders could not be written; each is tried alone");
                for intent in std::mem::take(group) {
                    let mut alone = vec![intent];
                    if let Err(trouble) = self.commit(&mut alone) {
                        self.fail(alone, &trouble);
                    }
                }
                return;
            }
            self.fail(std::mem::take(group), &trouble);
            return;
        }
        self.shared.committed(size, clock::now().saturating_duration_since(began));
    }

    /// Nobody of these is told yes.
    fn fail(&mut self, group: Vec<Intent>, trouble: &Trouble) {
        for intent in group {
            intent.fail(trouble);
        }
        if matches!(self.state, State::Open { .. }) {
            self.shut(trouble.clone());
        }
    }

    /// Decides and writes a group, and answers it once it is on the disk. On an error the group is as it was, but for
    /// those whose answer needed no writing.
    fn commit(&mut self, group: &mut Vec<Intent>) -> Result<(), Trouble> {
        let now_ms = clock::unix_millis() as i64;
        let settings = self.shared.settings();
        let State::Open { store, board } = &mut self.state else {
            let State::Shut(trouble) = &self.state else { return Ok(()) };
            return Err(trouble.clone());
        };
        let mut tried = attempt(store, board, group, now_ms, &settings);
        if tried.as_ref().is_err_and(|trouble| trouble.kind == TroubleKind::Full) {
            // The log may hold more room than the disk has left.
            if store.checkpoint(true).is_ok() {
                tried = attempt(store, board, group, now_ms, &settings);
            }
        }
        let (done, answers) = tried?;
        self.log_grew = true;
        self.next_expiry_ms = done.next_expiry_ms;
        board.take_over(&done);
        // The board first: who hears yes and asks for the stock must find it.
        self.shared.publish(done);
        answers.into_iter().zip(group.drain(..)).for_each(|(answer, intent)| intent.answer(answer));
        Ok(())
    }

    /// What can be done when nobody waits, or must be done now and then.
    fn tidy(&mut self, was_idle: bool) {
        let State::Open { store, .. } = &mut self.state else { return };
        if self.log_grew {
            let bytes = store.log_bytes();
            let is_time = bytes >= LOG_MAX_BYTES || was_idle && bytes >= LOG_WORTH_BYTES;
            if is_time && let Err(cause) = store.checkpoint(false) {
                debug!(%cause, "the write-ahead log stays as it is");
            }
            self.log_grew = !was_idle;
        }
        let now = clock::now();
        if was_idle && now >= self.forget_at {
            self.forget_at = now + FORGET_EVERY;
            let before_ms = clock::unix_millis() as i64 - REFUSALS_KEPT_MS;
            let forgotten = store.begin().and_then(|writing| {
                let count = writing.forget_refusals(before_ms, FORGET_MAX)?;
                if count > 0 { writing.commit().map(|()| count) } else { Ok(0) }
            });
            match forgotten {
                Ok(FORGET_MAX) => self.forget_at = now,
                Ok(_) => {}
                Err(cause) => debug!(%cause, "old refusals stay"),
            }
        }
    }
}

/// Writes something, so that whoever is told that the store is open may believe it.
fn try_to_write(store: &mut Store, now_ms: i64) -> rusqlite::Result<()> {
    let writing = store.begin()?;
    writing.set("opened_at", &now_ms.to_string())?;
    writing.commit()
}

/// One try to write a group. The answers are in its order.
fn attempt(
    store: &mut Store,
    board: &Board,
    group: &[Intent],
    now_ms: i64,
    settings: &Settings,
) -> Result<(super::desk::Outcome, Vec<Done>), Trouble> {
    let path = store.path().to_owned();
    let of = |error: rusqlite::Error| Trouble::of(&path, &error);
    let writing = store.begin().map_err(of)?;
    let mut desk = Desk::new(&writing, board, now_ms, settings);
    desk.expire(EXPIRE_MAX).map_err(of)?;
    let answers =
        group.iter().map(|intent| desk.handle(intent)).collect::<rusqlite::Result<Vec<_>>>().map_err(of)?;
    let outcome = desk.finish().map_err(of)?;
    if outcome.wrote {
        writing.commit().map_err(of)?;
    }
    Ok((outcome, answers))
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
