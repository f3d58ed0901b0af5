//! The handle over all outputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{Instrument, info_span, warn};

use crate::base::metrics::Exposition;
use crate::base::units::BitrateBps;
use crate::config::schema::{Destination, Output, OutputMode};
use crate::hub::Channel;

use super::exits::Exits;
use super::failover::LineId;
use super::governor::{Governor, SetBitrate};
use super::link::Name;
use super::output::{self, Order, Task};
use super::status::{Figures, LineStatus, OutputStatus, State};

/// Orders that may wait for an output; one more is refused.
const ORDERS_MAX: usize = 8;

/// Why an order was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such output, or it has ended.
    #[error("there is no output of this name that runs")]
    NoOutput,
    /// It has no such destination.
    #[error("the output has no such line: 0 is the primary, 1 the first standby")]
    NoLine,
    /// Its stream has no media yet: nothing is connected, and nobody knows when it will be.
    #[error("the output waits for its stream: nothing is connected yet")]
    Waits,
    /// All its lines carry the stream at once.
    #[error("all lines of this output carry the stream (mode \"mirror\"): none can be chosen")]
    Mirrors,
    /// It has too many orders to follow already.
    #[error("the output is busy with earlier orders; try again")]
    Busy,
}

/// How long all outputs together may take to say good-bye: a little more than each of them.
const SHUTDOWN_MAX: Duration = Duration::from_millis(2_200);

/// All outputs of the box, by name. They stop when the last handle is dropped, and say good-bye if
/// [`Outputs::shutdown`] or [`Outputs::stop`] is called before.
#[derive(Clone)]
pub struct Outputs {
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    governor: Governor,
    exits: Exits,
}

struct Running {
    figures: Figures,
    channel: Channel,
    /// Closed once the task is gone: it holds the other end.
    stop: Arc<watch::Sender<bool>>,
    orders: mpsc::Sender<Order>,
    lines: usize,
    task: AbortHandle,
}

impl Default for Outputs {
    fn default() -> Outputs {
        Outputs::new()
    }
}

impl Outputs {
    /// None yet, over encoders that cannot be told another bitrate.
    pub fn new() -> Outputs {
        Outputs::steering(|_, _| {})
    }

    /// None yet; `set` tells the encoder of a stream another bitrate, pictures alone, and returns at once.
    pub fn steering(set: impl Fn(&str, BitrateBps) + Send + Sync + 'static) -> Outputs {
        let set: Arc<SetBitrate> = Arc::new(set);
        Outputs { running: Arc::default(), governor: Governor::new(set), exits: Exits::default() }
    }

    /// The encoder of `stream` was started, or is to have another bitrate; `None`: as it chooses itself. What its
    /// lines can carry is told to it right away.
    pub fn configure_encoder(&self, stream: &str, wanted: Option<BitrateBps>) {
        self.governor.configure(stream, wanted);
    }

    /// The stream of the output `name` goes by the line `to` from now on (0: the primary), and stays there while
    /// that is well, until [`Outputs::resume`].
    ///
    /// # Errors
    /// [`OrderError`]; nothing was changed then.
    pub fn switch(&self, name: &str, to: usize) -> Result<(), OrderError> {
        self.order(name, to, Order::Switch(LineId(to as u8)))
    }

    /// The stream of the output `name` stays where it is while that line is well, until [`Outputs::resume`].
    ///
    /// # Errors
    /// [`OrderError`]; nothing was changed then.
    pub fn hold(&self, name: &str) -> Result<(), OrderError> {
        self.order(name, 0, Order::Hold)
    }

    /// The primary is where the stream of the output `name` goes back to.
    ///
    /// # Errors
    /// [`OrderError`]; nothing was changed then.
    pub fn resume(&self, name: &str) -> Result<(), OrderError> {
        self.order(name, 0, Order::Resume)
    }

    /// The line `line` of the output `name` is dialled afresh, now.
    ///
    /// # Errors
    /// [`OrderError`]; nothing was changed then.
    pub fn reconnect(&self, name: &str, line: usize) -> Result<(), OrderError> {
        self.order(name, line, Order::Reconnect(LineId(line as u8)))
    }

    fn order(&self, name: &str, line: usize, order: Order) -> Result<(), OrderError> {
        let all = self.lock();
        let running = all.get(name).ok_or(OrderError::NoOutput)?;
        if line >= running.lines {
            return Err(OrderError::NoLine);
        }
        let OutputStatus { state, mode, .. } = running.figures.get();
        if mode == OutputMode::Mirror && !matches!(order, Order::Reconnect(_)) {
            return Err(OrderError::Mirrors);
        }
        // It would be followed hours later, when nobody thinks of it any more.
        if state == State::WaitingForStream {
            return Err(OrderError::Waits);
        }
        running.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OrderError::Busy,
            mpsc::error::TrySendError::Closed(_) => OrderError::NoOutput,
        })
    }

    /// Starts carrying `channel` to `output`'s destination, on the calling tokio runtime, for as long as the
    /// channel is open. One that runs under the same name says good-bye first, within about two seconds; nobody
    /// waits for that here.
    pub fn start(&self, output: &Output, channel: Channel) {
        let destinations: Vec<&Destination> =
            std::iter::once(&output.primary).chain(&output.standby).collect();
        let lines = destinations.len();
        let described = destinations.into_iter().enumerate().map(|(at, one)| {
            let Name { host, field } = Name::new(at, one);
            LineStatus {
                destination: host,
                role: field,
                interface: one.interface.clone(),
                ..LineStatus::default()
            }
        });
        let status = OutputStatus::new(&output.name, &output.stream, output.mode, described.collect());
        let figures = Figures::new(status);
        let (stop, stopped) = watch::channel(false);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let mut all = self.lock();
        let before = all.remove(&output.name).into_iter().map(|running| running.end()).collect();
        let span = info_span!("output", name = output.name);
        let (governor, output) = (self.governor.clone(), output.clone());
        let task = Task {
            voice: None,
            channel: channel.clone(),
            figures: figures.clone(),
            orders: ordered,
            stop: stopped,
            exits: self.exits.clone(),
            output,
        };
        let name = task.output.name.clone();
        let life = async move {
            join(before).await;
            // The one before has left its say by now.
            let voice = governor.join(&task.output);
            output::run(Task { voice, ..task }).await;
        };
        let task = tokio::spawn(life.instrument(span)).abort_handle();
        all.insert(name, Running { figures, channel, stop: Arc::new(stop), orders, lines, task });
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
            figures.get().describe_metrics(page);
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
