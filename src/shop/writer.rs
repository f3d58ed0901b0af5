//! The only thread that writes the store: takes what waits, commits it in groups, and answers when it is on the disk.
//!
//! ```text
//!   intents ──bounded queue──> [as many as wait, up to a bound] ──one transaction, one fsync──> answers
//!                                     └─ reservations whose time is over       └──> board, counters, feed
//! ```
//! `desk.rs` decides and writes each intent inside the transaction. If the commit fails nobody is told yes: the group
//! is answered with what is wrong, the file is opened anew, and what it then says is the truth. While it cannot be
//! opened, every intent is answered with why, at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use tracing::{debug, error, info, warn};

use crate::base::clock;
use crate::base::loggate::FadingGate;

use super::desk::{Board, Desk};
use super::feed::Shown;
use super::intent::{Done, Intent};
use super::readers::Readers;
use super::shared::{Settings, Shared};
use super::store::{Before, NAME, Store, Trouble, TroubleKind, rows};

/// Intents in one transaction: more gain nothing on a fast disk, and the first of a group waits for the last.
const GROUP_MAX: usize = 1_024;

/// Reservations that end in one transaction.
const EXPIRE_MAX: usize = 512;

/// How soon a store that cannot be used is tried again, and how soon at last where only a person can mend it.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Room that a disk which was full must have before it is tried again: a group of orders.
const ROOM_BYTES: u64 = 512 << 10;

/// The write-ahead log is carried over once nobody has come for this long,
const IDLE_FOR: Duration = Duration::from_millis(250);
/// if it has this many bytes,
const LOG_WORTH_BYTES: u64 = 1 << 20;
/// and in the middle of a rush when it has this many: buyers wait meanwhile, so little at a time, and not too often.
const LOG_MAX_BYTES: u64 = 8 << 20;

/// A log that a reader keeps from being carried over is tried again after this long, however long it is.
const CARRY_OVER_EVERY: Duration = Duration::from_secs(1);

/// Refusals remembered; beyond, the oldest are forgotten, so many at once. Strangers can cause them.
const REFUSALS_MAX: i64 = 1_000_000;
const FORGET_AT_ONCE: i64 = 2_000;

/// The writer's life: ends when every handle is gone.
pub(super) struct Writer {
    folder: PathBuf,
    intents: Receiver<Intent>,
    shared: Arc<Shared>,
    readers: Readers,
    state: State,
    /// In Unix milliseconds: when the next reservation ends.
    next_expiry_ms: Option<i64>,
    retry_at: Option<Instant>,
    retry_wait: Duration,
    before: Before,
    carry_over_at: Instant,
    refusals: i64,
    /// Whether something was committed since the log was carried over.
    log_grew: bool,
    trouble_log: FadingGate,
}

enum State {
    Open { store: Store, board: Board },
    Shut(Trouble),
}

impl Writer {
    pub(super) fn new(
        folder: &Path,
        intents: Receiver<Intent>,
        shared: Arc<Shared>,
        readers: Readers,
    ) -> Writer {
        let opening =
            Trouble { kind: TroubleKind::Opening, path: folder.to_owned(), cause: "it begins".to_owned() };
        Writer {
            folder: folder.to_owned(),
            intents,
            shared,
            readers,
            state: State::Shut(opening),
            next_expiry_ms: None,
            retry_at: None,
            retry_wait: RETRY_FIRST,
            before: Before::Nothing,
            carry_over_at: clock::now(),
            refusals: 0,
            log_grew: false,
            trouble_log: FadingGate::new(3),
        }
    }

    /// Works until every handle is gone, or it is told to stop and nothing waits.
    pub(super) fn run(mut self) {
        // A bug of ours in one intent must not end the sale: who was in the same group hears that nothing is known, and
        // the store is opened anew from what is on the disk.
        while catch_unwind(AssertUnwindSafe(|| self.work_on())).is_err() {
            let cause = "the writer panicked; see the lines above".to_owned();
            self.shut(Trouble { kind: TroubleKind::Ours, path: self.folder.clone(), cause });
        }
        if let State::Open { store, .. } = &self.state
            && let Err(cause) = store.checkpoint(true)
        {
            debug!(%cause, "the write-ahead log stays as it is");
        }
    }

    fn work_on(&mut self) {
        if self.retry_at.is_none() {
            self.open();
        }
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
            Trouble { kind: TroubleKind::Opening, path: self.folder.clone(), cause: "again".to_owned() };
        drop(std::mem::replace(&mut self.state, State::Shut(closed)));
        self.readers.close_idle();
        let opened =
            has_room(&self.folder, self.before).and_then(|()| Store::open(&self.folder, self.before));
        let opened = opened.and_then(|mut store| {
            let now_ms = clock::unix_millis() as i64;
            let of = |error, store: &Store| Trouble::of_store(store, &error);
            // What a disk failed to sync may stand in the log as if it were durable: carried over, it is written and
            // synced anew, and nothing is built on a log with a hole.
            if !store.checkpoint(true).map_err(|error| of(error, &store))? {
                return Err(Trouble {
                    kind: TroubleKind::InUse,
                    path: store.path().to_owned(),
                    cause: "somebody reads in it".to_owned(),
                });
            }
            // A disk that is full or read-only often opens all the same: only writing tells.
            try_to_write(&mut store, now_ms).map_err(|error| of(error, &store))?;
            let (board, counters) = Board::load(&store, now_ms).map_err(|error| of(error, &store))?;
            let shown = Shown::load(store.connection()).map_err(|error| of(error, &store))?;
            self.refusals = rows::refusals(store.connection()).map_err(|error| of(error, &store))?;
            Ok((store, board, counters, shown))
        });
        match opened {
            Ok((store, board, counters, shown)) => {
                info!(path = %store.path().display(), products = board.len(), "the order store is open");
                self.shared.opened(&board, counters, shown);
                self.next_expiry_ms = board.next_expiry_ms;
                self.retry_at = None;
                self.retry_wait = RETRY_FIRST;
                self.before = Before::Doubtful;
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
        self.retry_wait = match trouble.kind {
            // Only a person mends these, and each look costs.
            TroubleKind::Corrupt | TroubleKind::Newer | TroubleKind::Foreign => {
                (self.retry_wait * 2).min(RETRY_LAST)
            }
            _ => RETRY_FIRST,
        };
        if self.before != Before::Nothing {
            let by_disk = matches!(trouble.kind, TroubleKind::Full | TroubleKind::ReadOnly);
            self.before = if by_disk { Before::Sound } else { Before::Doubtful };
        }
        self.retry_at = Some(now + self.retry_wait);
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
            // One that our own checks refuse must not cost the others their answer.
            if trouble.kind == TroubleKind::Ours && size > 0 {
                return self.work_alone(std::mem::take(group));
            }
            return self.fail(std::mem::take(group), &trouble);
        }
        self.shared.committed(size, clock::now().saturating_duration_since(began));
    }

    /// Each in a transaction of its own, since one of them cannot be written.
    fn work_alone(&mut self, group: Vec<Intent>) {
        for intent in group {
            let mut alone = vec![intent];
            match self.commit(&mut alone) {
                Ok(()) => {}
                Err(trouble) if trouble.kind == TroubleKind::Ours => {
                    error!(%trouble, "a request was not written");
                    for intent in alone {
                        intent.fail(&trouble);
                    }
                }
                Err(trouble) => self.fail(alone, &trouble),
            }
        }
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
        if !store.is_in_place() {
            let cause = "it was moved or deleted while in use".to_owned();
            return Err(Trouble { kind: TroubleKind::Gone, path: store.path().to_owned(), cause });
        }
        let mut tried = attempt(store, board, group, now_ms, &settings);
        if tried.as_ref().is_err_and(|trouble| trouble.kind == TroubleKind::Full) {
            // The log may hold more room than the disk has left.
            if store.checkpoint(true) == Ok(true) {
                tried = attempt(store, board, group, now_ms, &settings);
            }
        }
        let (done, answers) = tried?;
        self.log_grew = true;
        self.refusals += done.refused as i64;
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
        let now = clock::now();
        if self.log_grew && (was_idle || now >= self.carry_over_at) {
            let most = if was_idle { LOG_WORTH_BYTES } else { LOG_MAX_BYTES };
            let left = store.log_bytes().and_then(|bytes| {
                if bytes < most {
                    return Ok(0);
                }
                store.checkpoint(false)?;
                store.log_bytes()
            });
            match left {
                // A reader keeps the log from being carried over: trying for each group would help nobody.
                Ok(left) if left >= LOG_MAX_BYTES => self.carry_over_at = now + CARRY_OVER_EVERY,
                Ok(_) => {}
                Err(cause) => {
                    self.carry_over_at = now + CARRY_OVER_EVERY;
                    warn!(%cause, "the write-ahead log cannot be carried over");
                }
            }
            self.log_grew = !was_idle;
        }
        if self.refusals > REFUSALS_MAX + FORGET_AT_ONCE {
            let forgotten = store.begin().and_then(|writing| {
                let count = writing.forget_refusals(FORGET_AT_ONCE)?;
                writing.commit().map(|()| count as i64)
            });
            match forgotten {
                Ok(count) => self.refusals -= count.max(1),
                Err(cause) => debug!(%cause, "old refusals stay"),
            }
        }
    }
}

/// Whether a disk that was full has room again: a small try to write would succeed, and the next group fail.
fn has_room(folder: &Path, before: Before) -> Result<(), Trouble> {
    let free = statvfs(folder).map(|disk| disk.blocks_available() * disk.fragment_size());
    match free {
        Ok(free) if before == Before::Sound && free < ROOM_BYTES => {
            let cause = format!("{free} bytes are free");
            Err(Trouble { kind: TroubleKind::Full, path: folder.join(NAME), cause })
        }
        _ => Ok(()),
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
        // Asked afterwards: what came before is known to have been in time.
        if store.is_read_only() {
            let cause = "the kernel has made it read-only".to_owned();
            return Err(Trouble { kind: TroubleKind::ReadOnly, path, cause });
        }
    }
    Ok((outcome, answers))
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
