//! Looks into the store without ever waiting for the writer, off the network's threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::store::{Trouble, TroubleKind, read_only};

/// Looks at the same time; more wait.
const READERS: usize = 4;

/// The longest that somebody waits for a turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The read-only connections; clonable.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    folder: PathBuf,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(folder: &Path) -> Readers {
        let turns = Arc::new(Semaphore::new(READERS));
        Readers { folder: folder.to_owned(), turns, idle: Arc::default() }
    }

    /// Asks the store something.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let failing = |cause: &str| Trouble {
            kind: TroubleKind::Failing,
            path: self.folder.clone(),
            cause: cause.into(),
        };
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(failing("too many look into it at once")) };
        let (folder, idle) = (self.folder.clone(), self.idle.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = kept.map_or_else(|| read_only(&folder), Ok)?;
            let found = question(&connection)
                .map_err(|error| Trouble::of(&folder.join(super::store::NAME), &error))?;
            // One that failed is not used again: the file may be another one by now.
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(found)
        });
        asked.await.unwrap_or_else(|_| Err(failing("looking into it broke")))
    }

    /// The file may be another one from now on.
    pub(super) fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
