//! The tokens in force while the box runs: what the file says, looked at now and then, off the network's threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use tracing::{error, info};

use crate::base::clock;
use crate::base::loggate::FadingGate;

use super::book::{Book, Digest, Record};
use super::file::{Stamp, read_if_changed};

/// The file is looked at no more often than this, and only when somebody shows a token.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a request waits for a disk that does not answer; then what was known last holds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tokens that this box knows. Clones are the same tokens.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    known: Mutex<Known>,
    /// Held by who looks at the file: a disk that hangs holds one thread, not one for each request.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Known {
    stamp: Stamp,
    /// Or why it cannot be used.
    book: Result<Arc<Book>, String>,
    looked_at: Instant,
    complaints: FadingGate,
}

/// What is known of a token that somebody shows.
#[derive(Debug)]
pub(super) enum Found {
    Known(Record),
    Unknown,
    /// The file cannot be used: nobody is known.
    Unreadable,
}

impl Tokens {
    /// Reads the file, and follows it from here on. One that cannot be used is told of in the log, and nobody is let
    /// in by it; the box runs all the same.
    pub fn open(data_dir: &Path) -> Tokens {
        let known = Known {
            stamp: Stamp::Unknown,
            book: Ok(Arc::default()),
            looked_at: clock::now(),
            complaints: FadingGate::new(1),
        };
        let inner = Inner { data_dir: data_dir.to_owned(), known: Mutex::new(known), turn: Arc::default() };
        inner.look();
        Tokens(Arc::new(inner))
    }

    /// Who has this token, as the file was a moment ago.
    pub(super) async fn find(&self, token: &Digest) -> Found {
        if clock::now().saturating_duration_since(self.0.known().looked_at) >= LOOK_EVERY
            && let Ok(turn) = self.0.turn.clone().try_lock_owned()
        {
            self.look(turn).await;
        }
        self.0.find(token)
    }

    /// Who has this token, as the file is now: one that was made this instant is found. Takes up to a second.
    pub(super) async fn find_anew(&self, token: &Digest) -> Found {
        let asked_at = clock::now();
        if let Ok(turn) = tokio::time::timeout(PATIENCE, self.0.turn.clone().lock_owned()).await {
            let looked_at = self.0.known().looked_at;
            if looked_at < asked_at {
                tokio::time::sleep_until((looked_at + LOOK_EVERY).into()).await;
                self.look(turn).await;
            }
        }
        self.0.find(token)
    }

    async fn look(&self, turn: OwnedMutexGuard<()>) {
        let inner = self.0.clone();
        let looking = tokio::task::spawn_blocking(move || {
            inner.look();
            drop(turn);
        });
        // A disk that does not answer has its turn until it does.
        let _ = tokio::time::timeout(PATIENCE, looking).await;
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, token: &Digest) -> Found {
        match &self.known().book {
            Ok(book) => book.find(token).cloned().map_or(Found::Unknown, Found::Known),
            Err(_) => Found::Unreadable,
        }
    }

    /// Looks at the file, and reads it if it is another one.
    fn look(&self) {
        let looked_at = clock::now();
        let before = self.known().stamp.clone();
        let read = read_if_changed(&self.data_dir, &before);
        let mut known = self.known();
        known.looked_at = looked_at;
        if let Some((stamp, book)) = read {
            if let Ok(book) = &book
                && before != Stamp::Unknown
            {
                info!(tokens = book.records().len(), "took over the tokens");
            }
            known.stamp = stamp;
            known.book = book.map(Arc::new).map_err(|trouble| trouble.to_string());
        }
        let Known { book, complaints, .. } = &mut *known;
        if let Err(trouble) = book
            && let Some(held_back) = complaints.pass(looked_at)
        {
            error!(held_back, "nobody is let in by token: {trouble}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::super::file;
    use super::*;

    fn digest(made: &file::Made) -> Digest {
        Digest::of(made.token.reveal()).unwrap()
    }

    fn make(data_dir: &Path) -> file::Made {
        file::make(data_dir, Role::Viewer, "", clock::wall()).unwrap()
    }

    #[tokio::test]
    async fn a_token_made_this_instant_is_found_and_one_revoked_is_gone_a_second_later() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path());
        let made = make(folder.path());
        assert!(matches!(tokens.find(&digest(&made)).await, Found::Unknown), "not yet looked at");
        assert!(matches!(tokens.find_anew(&digest(&made)).await, Found::Known(_)));
        file::revoke(folder.path(), &made.record.id).unwrap();
        assert!(matches!(tokens.find_anew(&digest(&made)).await, Found::Unknown));
    }

    #[tokio::test]
    async fn a_broken_file_lets_nobody_in_until_it_is_right_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path());
        let tokens = Tokens::open(folder.path());
        assert!(matches!(tokens.find(&digest(&made)).await, Found::Known(_)));
        let good = std::fs::read(&made.file).unwrap();
        std::fs::write(&made.file, &good[..good.len() - 9]).unwrap();
        assert!(matches!(tokens.find_anew(&digest(&made)).await, Found::Unreadable));
        std::fs::write(&made.file, &good).unwrap();
        assert!(matches!(tokens.find_anew(&digest(&made)).await, Found::Known(_)));
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody_who_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let made = make(folder.path());
        let tokens = Tokens::open(folder.path());
        let hanging = tokens.0.turn.clone().lock_owned().await;
        tokens.0.known().looked_at -= LOOK_EVERY;
        assert!(matches!(tokens.find(&digest(&made)).await, Found::Known(_)));
        drop(hanging);
    }
}
