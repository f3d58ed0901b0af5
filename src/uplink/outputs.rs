//! The handle over all outputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tracing::{Instrument, info_span, warn};

use crate::base::metrics::Exposition;
use crate::config::schema::Output;
use crate::hub::Channel;

use super::output;
use super::status::{Figures, OutputStatus};

/// How long all outputs together may take to say good-bye: a little more than each of them.
const SHUTDOWN_MAX: Duration = Duration::from_millis(2_200);

/// All outputs of the box, by name. They stop when the last handle is dropped, and say good-bye if
/// [`Outputs::shutdown`] or [`Outputs::stop`] is called before.
#[derive(Clone, Default)]
pub struct Outputs {
    running: Arc<Mutex<BTreeMap<String, Running>>>,
}

struct Running {
    figures: Figures,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outputs {
    /// None yet.
    pub fn new() -> Outputs {
        Outputs::default()
    }

    /// Starts carrying `channel` to `output`'s destination, on the calling tokio runtime, for as long as the
    /// channel is open. One that runs under the same name is stopped without a good-bye: call
    /// [`Outputs::stop`] before for that.
    pub fn start(&self, output: &Output, channel: Channel) {
        let figures = Figures::new(&output.name, &output.stream, output.primary.url.to_string());
        let (stop, stopped) = watch::channel(false);
        let span = info_span!("output", name = output.name);
        let life = output::run(output.clone(), channel, figures.clone(), stopped).instrument(span);
        let running = Running { figures, stop, task: tokio::spawn(life) };
        if let Some(before) = self.lock().insert(output.name.clone(), running) {
            before.task.abort();
        }
    }

    /// Every output's figures, by name.
    pub fn status(&self) -> Vec<OutputStatus> {
        self.lock().values().map(|running| running.figures.get()).collect()
    }

    /// Writes every output's figures.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        let all: Vec<Figures> = self.lock().values().map(|running| running.figures.clone()).collect();
        for figures in all {
            figures.describe_metrics(page);
        }
    }

    /// Ends one output with a good-bye to its far end, within about two seconds.
    pub async fn stop(&self, name: &str) {
        let running = self.lock().remove(name);
        join(running.into_iter().collect()).await;
    }

    /// Ends all outputs with a good-bye to their far ends, within about two seconds.
    pub async fn shutdown(&self) {
        let running = std::mem::take(&mut *self.lock());
        join(running.into_values().collect()).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn join(outputs: Vec<Running>) {
    for running in &outputs {
        let _ = running.stop.send(true);
    }
    let aborts: Vec<AbortHandle> = outputs.iter().map(|running| running.task.abort_handle()).collect();
    let all = async {
        for running in outputs {
            let _ = running.task.await;
        }
    };
    if timeout(SHUTDOWN_MAX, all).await.is_err() {
        warn!("an output did not come to its end in time");
        for task in aborts {
            task.abort();
        }
    }
}
