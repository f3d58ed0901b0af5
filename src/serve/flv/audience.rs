//! The viewers of each stream, spread over as many shards as the box has cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::hub::Channel;

use super::figures::StreamFigures;
use super::shard::{Newcomer, Settings, Shard};

/// Viewers that wait to be let in by one shard. When it is full the connection waits in its own task, and holds its
/// place meanwhile: nobody is lost, and the viewers' bound bounds the tasks.
const NEWCOMERS_MAX: usize = 64;

/// More shards than this gain nothing: the network is the limit then.
const SHARDS_MAX: usize = 8;

struct Audience {
    doors: Vec<mpsc::Sender<Newcomer>>,
    tasks: Vec<JoinHandle<()>>,
}

/// All audiences, by stream.
pub(super) struct Audiences {
    /// `None` once all have ended for good.
    by_stream: Mutex<Option<BTreeMap<String, Audience>>>,
    turn: AtomicUsize,
}

impl Audiences {
    pub(super) fn new() -> Audiences {
        Audiences { by_stream: Mutex::new(Some(BTreeMap::new())), turn: AtomicUsize::new(0) }
    }

    /// Lets somebody in. `false` if the channel or the server ended in this very moment.
    pub(super) async fn join(
        &self,
        channel: &Channel,
        newcomer: Newcomer,
        settings: &watch::Sender<Settings>,
        figures: &Arc<StreamFigures>,
    ) -> bool {
        match self.door(channel, settings, figures) {
            Some(door) => door.send(newcomer).await.is_ok(),
            None => false,
        }
    }

    fn door(
        &self,
        channel: &Channel,
        settings: &watch::Sender<Settings>,
        figures: &Arc<StreamFigures>,
    ) -> Option<mpsc::Sender<Newcomer>> {
        let mut guard = self.lock();
        let by_stream = guard.as_mut()?;
        // Shards end with their channel; a stream that was opened again has another channel of the same name.
        by_stream.retain(|_, audience| !audience.tasks.iter().any(JoinHandle::is_finished));
        let audience = by_stream.entry(channel.name().to_owned()).or_insert_with(|| {
            let mut audience = Audience { doors: Vec::new(), tasks: Vec::new() };
            for _ in 0..shards() {
                let (door, joins) = mpsc::channel(NEWCOMERS_MAX);
                let shard = Shard::new(channel.clone(), joins, settings.subscribe(), figures.clone());
                audience.doors.push(door);
                audience.tasks.push(tokio::spawn(shard.run()));
            }
            audience
        });
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        audience.doors.get(turn % audience.doors.len()).cloned()
    }

    /// Ends all shards and their viewers, and waits for them.
    pub(super) async fn shutdown(&self) {
        let audiences = self.lock().take();
        for (_, Audience { doors, tasks }) in audiences.into_iter().flatten() {
            drop(doors);
            for task in tasks {
                // A shard that panicked is gone as well.
                let _ = task.await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<String, Audience>>> {
        self.by_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shards() -> usize {
    tokio::runtime::Handle::current().metrics().num_workers().clamp(1, SHARDS_MAX)
}
