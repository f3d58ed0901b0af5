//! The handle over all outputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
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
    channel: Channel,
    /// Closed once the task is gone: it holds the other end.
    stop: Arc<watch::Sender<bool>>,
    task: AbortHandle,
}

impl Outputs {
    /// None yet.
    pub fn new() -> Outputs {
        Outputs::default()
    }

    /// Starts carrying `channel` to `output`'s destination, on the calling tokio runtime, for as long as the
    /// channel is open. One that runs under the same name says good-bye first, within about two seconds; nobody
    /// waits for that here.
    pub fn start(&self, output: &Output, channel: Channel) {
        let figures = Figures::new(&output.name, &output.stream, output.primary.url.to_string());
        let (stop, stopped) = watch::channel(false);
        let mut all = self.lock();
        let before = all.remove(&output.name).into_iter().map(|running| running.end()).collect();
        let span = info_span!("output", name = output.name);
        let life = output::run(output.clone(), channel.clone(), figures.clone(), stopped);
        let life = async {
            join(before).await;
            life.await;
        };
        let task = tokio::spawn(life.instrument(span)).abort_handle();
        all.insert(output.name.clone(), Running { figures, channel, stop: Arc::new(stop), task });
    }

    /// Whether the output `name` carries its stream or tries to: `false` once it was stopped, or once its stream
    /// is gone, after which only [`Outputs::start`] brings it back.
    pub fn is_running(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|running| {
            !running.task.is_finished() && !*running.stop.borrow() && !running.channel.is_closed()
        })
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
    ///
    /// Several of these futures may run at once; one that is dropped has been obeyed all the same once it was
    /// polled, and [`Outputs::shutdown`] still waits for what it began.
    pub async fn stop(&self, name: &str) {
        self.stop_all(&[name]).await;
    }

    /// Ends these outputs at once, each with a good-bye to its far end, all within about two seconds.
    pub async fn stop_all(&self, names: &[impl AsRef<str>]) {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        self.end(|name| names.contains(&name)).await;
    }

    /// Ends all outputs with a good-bye to their far ends, within about two seconds.
    pub async fn shutdown(&self) {
        self.end(|_| true).await;
    }

    async fn end(&self, which: impl Fn(&str) -> bool) {
        let ending: Vec<_> =
            self.lock().iter().filter(|(name, _)| which(name)).map(|(_, running)| running.end()).collect();
        let ended: Vec<_> = ending.iter().map(|(stop, _)| stop.clone()).collect();
        join(ending).await;
        // They stay in the list up to here, so that who gives up waiting loses nobody. Another may have been
        // started under the same name meanwhile.
        self.lock().retain(|_, running| !ended.iter().any(|stop| Arc::ptr_eq(stop, &running.stop)));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to wait for an output's end, and to force it.
type Ending = (Arc<watch::Sender<bool>>, AbortHandle);

impl Running {
    /// Tells it to end.
    fn end(&self) -> Ending {
        self.stop.send_replace(true);
        (self.stop.clone(), self.task.clone())
    }
}

async fn join(outputs: Vec<Ending>) {
    let all = async {
        for (stop, _) in &outputs {
            stop.closed().await;
        }
    };
    if timeout(SHUTDOWN_MAX, all).await.is_err() {
        warn!("an output did not come to its end in time");
        for (_, task) in &outputs {
            task.abort();
        }
    }
}
