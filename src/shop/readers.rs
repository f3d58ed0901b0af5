//! Looks into the store without ever waiting for the writer, off the network's threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::store::{NAME, Trouble, TroubleKind, read_only};

/// Looks at the same time; more wait.
const READERS: usize = 4;

/// The longest that somebody waits for a turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The read-only connections; clonable.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    folder: PathBuf,
    turns: Arc<Semaphore>,
    /// Each with the epoch that it was opened in.
    idle: Arc<Mutex<Vec<(u64, Connection)>>>,
}

/// Why a question was not answered.
#[derive(Debug)]
pub(super) enum Unread {
    /// Too many look at once.
    Busy,
    /// The store cannot be read.
    Trouble(Trouble),
}

impl Readers {
    pub(super) fn new(folder: &Path) -> Readers {
        let turns = Arc::new(Semaphore::new(READERS));
        Readers { folder: folder.to_owned(), turns, idle: Arc::default() }
    }

    /// Closes what nobody asks just now. All of a process's connections to a file share one index of its log: one that
    /// was opened while the disk was read-only keeps the others from writing.
    pub(super) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asks the store something. `epoch` is another once the file may be another one.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        epoch: u64,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unread> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Unread::Busy) };
        let (folder, idle) = (self.folder.clone(), self.idle.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = {
                let mut idle = lock();
                idle.retain(|(opened_in, _)| *opened_in == epoch);
                idle.pop()
            };
            let connection = kept.map_or_else(|| read_only(&folder), |(_, connection)| Ok(connection))?;
            let found = question(&connection).map_err(|error| Trouble::of(&folder.join(NAME), &error))?;
            // One that failed is not used again.
            lock().push((epoch, connection));
            Ok(found)
        });
        match asked.await {
            Ok(found) => found.map_err(Unread::Trouble),
            Err(_) => Err(Unread::Trouble(Trouble {
                kind: TroubleKind::Ours,
                path: self.folder.join(NAME),
                cause: "looking into it panicked".to_owned(),
            })),
        }
    }
}
