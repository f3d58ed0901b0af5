//! Orders on their way to the cloud commerce system.
//!
//! ```text
//!   store ──items──> core (what, when) ──> wire (documents) ──> client (HTTPS) ──> cloud
//!     ^                                                                              │
//!     └──────── results, updates, leases, and where we stand: one transaction <──────┘
//! ```
//!
//! [`Outbox`] is the handle; `task.rs` joins the parts and does what `core.rs` decides. `waiting.rs` is what of the store
//! it reads and writes, `judge.rs` what an answer means, `sign.rs` how each end knows the other.
//!
//! At least once, in each order's own order, for ever: an item is settled when the cloud's answer to it is on disk. What
//! makes it once is the cloud's books, which are kept by the item's key.
//!
//! It never holds the shop up: orders are accepted whether the cloud is there or not.

pub mod client;
pub mod core;
mod judge;
pub mod sign;
mod status;
mod task;
mod waiting;
pub mod wire;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::info;

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::secret::Secret;
use crate::config::schema;

use super::{OrderError, Orders};
use client::Client;
use sign::SignatureError;
use status::{Board, note_left_alone};
use task::{Command, Task};
use wire::{Answer, AnswerError, Sender};

pub use status::Status;

/// What people may ask for before the first is done; one more is told to come again.
const COMMANDS_WAITING: usize = 16;

/// Documents of the cloud that are known again; they count for minutes, and a cloud does not speak as often.
const SAID_MAX: usize = 4_096;

/// Why something asked of the outbox was not done.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Orders stay on the box.
    #[error("no cloud is configured: orders.cloud says where orders are sent")]
    Off,
    /// Too much is asked at once, or it stops.
    #[error("the outbox is busy; come again")]
    Busy,
    /// The store cannot keep it.
    #[error("the order store cannot be written")]
    Store(OrderError),
    /// Nobody could tell who called.
    #[error("orders.cloud has no `secret`, by which a caller could be known")]
    NoSecret,
    /// Who called is not the cloud.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// What it says cannot be followed.
    #[error(transparent)]
    Document(#[from] AnswerError),
}

/// The outbox; clonable. It outlives restarts of what it does.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    orders: Orders,
    sender: Sender,
    board: Arc<Board>,
    running: Mutex<Option<Running>>,
    said: Mutex<Said>,
}

/// Documents that the cloud signed and sent, newest last: who recorded one cannot say it again.
#[derive(Default)]
struct Said(VecDeque<[u8; 32]>);

/// What became of what the cloud said by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Orders that changed.
    pub changed: usize,
    /// Parts that nobody could follow.
    pub left_alone: u64,
}

struct Running {
    commands: mpsc::Sender<Command>,
    secret: Option<Secret>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// An outbox that sends nothing yet, for the box of this name at this site.
    pub fn new(orders: Orders, name: &str, site: &str) -> Outbox {
        let sender = Sender { name: name.to_owned(), site: site.to_owned() };
        Outbox(Arc::new(Shared {
            orders,
            sender,
            board: Arc::default(),
            running: Mutex::default(),
            said: Mutex::default(),
        }))
    }

    /// Sends from now on, if the configuration says where to. Must be called within a tokio runtime, and after
    /// [`Outbox::stop`] if it ran before.
    pub fn start(&self, config: &schema::Orders) {
        let Shared { orders, sender, board, .. } = &*self.0;
        let Some(cloud) = config.cloud.clone().filter(|_| orders.is_on()) else { return };
        let (commands, asked) = mpsc::channel(COMMANDS_WAITING);
        let (host, secret) = (cloud.url.to_string(), cloud.secret.clone());
        info!(cloud = %host, "orders are sent to the cloud");
        board.lock().cloud = Some(host.clone());
        let settings =
            core::Settings { batch: config.batch as usize, seed: RandomState::new().hash_one(&sender.name) };
        let task = Task {
            orders: orders.clone(),
            sender: sender.clone(),
            client: Client::new(cloud),
            host,
            settings,
            board: board.clone(),
            commands: asked,
        };
        *self.running() = Some(Running { commands, secret, task: tokio::spawn(task.run()) });
    }

    /// Sends nothing more. A request that is under way is given up: whether the cloud has it is found out after the next
    /// start.
    pub async fn stop(&self) {
        let running = self.running().take();
        if let Some(Running { task, .. }) = running {
            task::end(task).await;
        }
        *self.0.board.lock() = Status::default();
    }

    /// Sends nothing until [`Outbox::resume`], over restarts, too. Orders are taken all the same.
    ///
    /// # Errors
    /// [`OutboxError`]; then it is as it was.
    pub async fn pause(&self) -> Result<(), OutboxError> {
        self.set_paused(true).await
    }

    /// Goes on where it was.
    ///
    /// # Errors
    /// [`OutboxError`]; then it is as it was.
    pub async fn resume(&self) -> Result<(), OutboxError> {
        self.set_paused(false).await
    }

    async fn set_paused(&self, paused: bool) -> Result<(), OutboxError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Pause(paused, reply))?;
        answer.await.map_err(|_| OutboxError::Busy)?.map_err(OutboxError::Store)
    }

    /// Tries everything now, whatever was to be waited for.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn hurry(&self) -> Result<(), OutboxError> {
        self.ask(Command::Hurry)
    }

    fn ask(&self, command: Command) -> Result<(), OutboxError> {
        let running = self.running();
        let Some(running) = &*running else { return Err(OutboxError::Off) };
        running.commands.try_send(command).map_err(|_| OutboxError::Busy)
    }

    /// Takes what the cloud says by itself: a document as its answers, signed with the secret that both know. The same
    /// document with the same signature counts once.
    ///
    /// # Errors
    /// [`OutboxError`]; nothing of it counts then.
    pub async fn hear(&self, signature: Option<&str>, body: &[u8]) -> Result<Heard, OutboxError> {
        let secret = self.running().as_ref().map(|running| running.secret.clone()).ok_or(OutboxError::Off)?;
        let secret = secret.ok_or(OutboxError::NoSecret)?;
        let signature = signature.ok_or(SignatureError::Malformed)?;
        sign::verify(&secret, signature, body, clock::unix_millis() / 1_000, sign::TOLERANCE_S)?;
        let mut answer = Answer::read(body)?;
        // Results belong to a batch.
        answer.results.clear();
        let said = sign::document_of(signature, body);
        if self.said().0.contains(&said) {
            return Ok(Heard { changed: 0, left_alone: 0 });
        }
        let noted = self.0.orders.take_news_of_cloud(waiting::news(&answer)).await;
        let noted = noted.map_err(OutboxError::Store)?;
        let mut all_said = self.said();
        if all_said.0.len() >= SAID_MAX {
            all_said.0.pop_front();
        }
        all_said.0.push_back(said);
        drop(all_said);
        note_left_alone(&self.0.board, &answer.remarks, answer.left_alone);
        note_left_alone(&self.0.board, &noted.remarks, noted.left_alone);
        Ok(Heard { changed: noted.changed, left_alone: answer.left_alone + noted.left_alone })
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.0.board.lock().clone()
    }

    /// Figures for `/metrics`.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        self.status().describe_metrics(clock::unix_millis() as i64, page);
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "../../../tests/support/shop_cloud.rs"]
mod shop_cloud;
#[cfg(test)]
mod tests;
