//! Joins the core, the store and the connection, and does as the core says.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::base::clock;
use crate::base::loggate::FadingGate;
use crate::shop::{OrderError, Orders};

use super::client::{Answered, CallError, Client};
use super::core::{Action, Actions, Core, Event, Keep, Outcome, Settings};
use super::judge::{Heard, Judgement, judge};
use super::status::{Board, note_left_alone};
use super::waiting;
use super::wire::{Answer, Document, Item, Sender};

/// How often a store that is not open yet is asked again.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// How often what waits is counted anew.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How far the cursor may lag behind on disk while there is nothing else to write: that much of the log is looked
/// through again after a restart.
const CURSOR_LAG: i64 = 1_000;

/// What people ask for.
#[derive(Debug)]
pub(super) enum Command {
    Pause(bool, oneshot::Sender<Result<(), OrderError>>),
    Hurry,
}

/// What the task is made of.
pub(super) struct Task {
    pub(super) orders: Orders,
    pub(super) sender: Sender,
    pub(super) client: Client,
    pub(super) host: String,
    pub(super) settings: Settings,
    pub(super) board: Arc<Board>,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// A request under way, with the client that carries it.
type Flight = Pin<Box<dyn Future<Output = (Client, Result<Answered, CallError>)> + Send>>;

/// A request as it was made.
struct Sent {
    seqs: Vec<i64>,
    /// How often the cloud had answered that it does not have these.
    answers: u64,
    document: Document,
    /// Each item's key, with its place in the log.
    keys: Vec<(String, i64)>,
}

struct Running {
    orders: Orders,
    sender: Sender,
    host: String,
    board: Arc<Board>,
    core: Core,
    settings: Settings,
    /// Under which number the store was opened that the core knows: a file opened since may be another one.
    epoch: u64,
    /// At home while no request is under way.
    client: Option<Client>,
    flight: Option<Flight>,
    /// What was sent last, to be sent again as it was.
    last: Option<Sent>,
    /// A question that was not answered, or whose answer is not kept: asked again as it was.
    question: Option<Document>,
    /// The newest request whose answer is on the disk.
    last_news: Option<String>,
    /// What the cloud answered, until it is kept, and whether it took the request: only then does keeping the answer
    /// acknowledge anything.
    answer: Answer,
    took: bool,
    /// Whether the trouble that is told is the store's.
    unwritten: bool,
    /// The cursor on disk.
    cursor: i64,
    counted_at: Option<Instant>,
    /// Items behind what the core has read.
    behind: u64,
    trouble_log: FadingGate,
}

impl Task {
    /// Works until it is dropped.
    pub(super) async fn run(self) {
        let Task { orders, sender, client, host, settings, board, mut commands } = self;
        let Ok(mut newest) = orders.log_end() else { return };
        let (epoch, (restored, last_news)) = loop {
            let epoch = orders.epoch();
            match waiting::restore(&orders).await {
                Ok(restored) => break (epoch, restored),
                // The store says by itself why it cannot be used.
                Err(_) => drop(timeout(STORE_PATIENCE, newest.changed()).await),
            }
        };
        let cursor = restored.cursor;
        let core = Core::new(clock::now(), &settings, restored);
        let mut running = Running {
            orders,
            sender,
            host,
            board,
            core,
            settings,
            epoch,
            client: Some(client),
            flight: None,
            last: None,
            question: None,
            last_news,
            answer: Answer::default(),
            took: false,
            unwritten: false,
            cursor,
            counted_at: None,
            behind: 0,
            trouble_log: FadingGate::new(3),
        };
        running.feed(Event::Tick).await;
        loop {
            let event = running.next_event(&mut newest, &mut commands).await;
            running.look_at_store().await;
            running.feed(event).await;
        }
    }
}

impl Running {
    async fn next_event(
        &mut self,
        newest: &mut watch::Receiver<i64>,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Event {
        let wake_at = self.core.wake_at();
        let flight = async {
            match &mut self.flight {
                Some(flight) => flight.await,
                None => pending().await,
            }
        };
        let wake = async {
            match wake_at {
                Some(at) => sleep_until(at.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            (client, outcome) = flight => {
                self.flight = None;
                self.client = Some(client);
                self.judge(&outcome)
            }
            Some(command) = commands.recv() => self.obey_person(command).await,
            Ok(()) = newest.changed() => Event::Written { newest: *newest.borrow_and_update() },
            () = wake => Event::Tick,
        }
    }

    /// A store that was opened anew may be an older one that somebody put back. Then what the core knows is of a log that
    /// is no more: it starts over from what the store says. An answer that is not written is dropped with it; the cloud
    /// tells its news again, since they were not acknowledged.
    async fn look_at_store(&mut self) {
        let epoch = self.orders.epoch();
        // The client comes home with the answer; until then nothing is sent or kept.
        if epoch == self.epoch || self.flight.is_some() || self.orders.trouble().is_some() {
            return;
        }
        // Asked again with the next event: the store is the same in nearly all cases.
        let Ok((restored, last_news)) = waiting::restore(&self.orders).await else { return };
        self.epoch = epoch;
        if restored.cursor >= self.cursor && restored.newest >= self.core.newest() {
            return;
        }
        error!(
            from = restored.cursor,
            "the order store is an older one than before: its orders go to the cloud from where it stood then"
        );
        self.cursor = restored.cursor;
        self.last_news = last_news;
        (self.last, self.question, self.answer) = (None, None, Answer::default());
        self.core = Core::new(clock::now(), &self.settings, restored);
    }

    /// Lets the core decide, does what it says, and hears what came of it, until it has nothing more to say.
    async fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let actions = self.core.handle(clock::now(), event);
            self.obey(actions, &mut events).await;
        }
        self.tell().await;
    }

    async fn obey(&mut self, actions: Actions, events: &mut VecDeque<Event>) {
        for action in actions {
            match action {
                // It may be another log.
                Action::Read { .. } if self.orders.epoch() != self.epoch => {
                    events.push_back(Event::ReadFailed);
                }
                Action::Read { after, limit } => {
                    let found = waiting::read(&self.orders, after, limit).await;
                    events.push_back(match found {
                        Ok(found) => Event::Read { items: found.items, to: found.to },
                        Err(_) => Event::ReadFailed,
                    });
                }
                Action::Keep(keep) => {
                    events.push_back(if self.keep(&keep).await { Event::Kept } else { Event::KeepFailed });
                    if let Ok(open) = waiting::open(&self.orders).await {
                        events.push_back(Event::Open(open));
                    }
                }
                Action::Send { items } => {
                    if let Err(error) = self.send(items).await {
                        self.note_trouble(&format!("the orders to be sent cannot be read: {error:?}"));
                        events.push_back(Event::Answered(Outcome::Failed));
                    }
                }
            }
        }
    }

    async fn obey_person(&mut self, command: Command) -> Event {
        match command {
            Command::Hurry => Event::Hurry,
            Command::Pause(paused, reply) => {
                let kept = self.orders.take_news(waiting::pausing(paused)).await;
                let is_kept = kept.is_ok();
                if is_kept {
                    // Who asked looks at once.
                    self.board.lock().paused = paused;
                }
                let _ = reply.send(kept.map(|_| ()));
                match (is_kept, paused) {
                    (true, true) => Event::Pause,
                    (true, false) => Event::Resume,
                    // As it was.
                    (false, _) => Event::Tick,
                }
            }
        }
    }

    /// Starts a request.
    async fn send(&mut self, seqs: Vec<i64>) -> Result<(), OrderError> {
        let Some(mut client) = self.client.take() else { return Err(OrderError::Stopping) };
        let answers = self.core.answers_to(&seqs);
        let again = self.last.as_ref().filter(|last| (&last.seqs, last.answers) == (&seqs, answers));
        let mut document = if seqs.is_empty() {
            let new = || Document::question(&self.sender, clock::unix_millis() as i64);
            let document = self.question.get_or_insert_with(new).clone();
            self.last = Some(Sent { seqs, answers, document: document.clone(), keys: Vec::new() });
            document
        } else if let Some(last) = again {
            last.document.clone()
        } else {
            let items = match waiting::items(&self.orders, seqs.clone()).await {
                Ok(items) => items,
                Err(error) => {
                    self.client = Some(client);
                    return Err(error);
                }
            };
            let document = Document::batch(&self.sender, &items, answers);
            let keys = items.iter().map(|item: &Item| (item.key(), item.seq)).collect();
            self.last = Some(Sent { seqs, answers, document: document.clone(), keys });
            document
        };
        document.last_news.clone_from(&self.last_news);
        self.flight = Some(Box::pin(async move {
            let outcome = client.post(&document).await;
            (client, outcome)
        }));
        Ok(())
    }

    fn judge(&mut self, outcome: &Result<Answered, CallError>) -> Event {
        let keys = self.last.as_ref().map(|last| &last.keys[..]).unwrap_or_default();
        let judged = match outcome {
            Ok(answered) => judge(
                &Heard {
                    host: &self.host,
                    status: answered.status.as_u16(),
                    retry_after: answered.retry_after,
                    clock_ahead_s: answered.clock_ahead_s,
                    body: &answered.body,
                },
                keys,
            ),
            Err(error) => Judgement {
                outcome: Outcome::Failed,
                answer: Answer::default(),
                trouble: Some(error.to_string()),
            },
        };
        let Judgement { outcome, answer, trouble } = judged;
        self.board.lock().count(&outcome);
        if keys.is_empty() && matches!(outcome, Outcome::Refused | Outcome::TooLarge) {
            self.question = None;
        }
        match trouble {
            Some(words) => self.note_trouble(&words),
            None => self.note_well(&answer),
        }
        self.answer = answer;
        self.took = matches!(outcome, Outcome::Taken { .. });
        Event::Answered(outcome)
    }

    fn note_trouble(&mut self, words: &str) {
        if let Some(held_back) = self.trouble_log.pass(clock::now()) {
            warn!(held_back, waiting = self.board.lock().waiting, "orders wait: {words}");
        }
        self.board.lock().trouble = Some(words.to_owned());
    }

    fn note_well(&mut self, answer: &Answer) {
        note_left_alone(&self.board, &answer.remarks, answer.left_alone);
        let mut status = self.board.lock();
        status.answered_ms = Some(clock::unix_millis() as i64);
        if status.trouble.take().is_some() {
            info!(waiting = status.waiting, "{} takes orders again", self.host);
        }
    }

    /// Writes an answer and where we stand; false if it is not on the disk.
    async fn keep(&mut self, keep: &Keep) -> bool {
        if self.orders.epoch() != self.epoch {
            return self.cannot_write("the order store is opened again");
        }
        let mut news = waiting::news(&self.answer);
        // An item without a result counts as taken.
        let keys = self.last.as_ref().map(|last| &last.keys[..]).unwrap_or_default();
        for (key, seq) in keys {
            let is_said = self.answer.results.iter().any(|said| said.of == *key);
            if let Some(id) = key.strip_suffix(":accepted").filter(|_| !is_said && keep.settled.contains(seq))
            {
                news.orders.push((id.to_owned(), crate::shop::order::OrderState::Synced, None));
            }
        }
        let nothing = keep.settled.is_empty()
            && keep.aside.is_empty()
            && news.orders.is_empty()
            && news.leases.is_empty();
        let answered = self.last.as_ref().filter(|_| self.took).map(|last| last.document.id.clone());
        let last_news = answered.or_else(|| self.last_news.clone());
        if nothing && keep.cursor - self.cursor < CURSOR_LAG {
            self.kept(last_news);
            return true;
        }
        let mut aside = self.core.set_aside();
        aside.retain(|aside| !keep.settled.contains(&aside.seq));
        news.settings = waiting::settings(keep, &aside, last_news.as_deref());
        match self.orders.take_news_of_cloud(news).await {
            Ok(noted) => {
                note_left_alone(&self.board, &noted.remarks, noted.left_alone);
                self.cursor = keep.cursor;
                self.kept(last_news);
                true
            }
            Err(error) => self.cannot_write(&format!("{error:?}")),
        }
    }

    fn cannot_write(&mut self, why: &str) -> bool {
        self.unwritten = true;
        self.note_trouble(&format!("what the cloud answered cannot be written: {why}"));
        false
    }

    /// What was answered up to this request is on the disk.
    fn kept(&mut self, last_news: Option<String>) {
        if self.question.as_ref().is_some_and(|question| Some(&question.id) == last_news.as_ref()) {
            self.question = None;
        }
        if std::mem::take(&mut self.unwritten) {
            self.board.lock().trouble = None;
        }
        self.last_news = last_news;
    }

    /// Shows how it stands.
    async fn tell(&mut self) {
        let now = clock::now();
        let is_time = self.counted_at.is_none_or(|at| now.saturating_duration_since(at) >= COUNT_EVERY);
        if self.core.has_read_all() {
            self.behind = 0;
        } else if is_time {
            self.counted_at = Some(now);
            self.behind = waiting::count(&self.orders, self.core.read_to()).await.unwrap_or(self.behind);
        }
        let mut status = self.board.lock();
        status.paused = self.core.is_paused();
        status.stuck = self.core.stuck() as u64;
        status.waiting = self.core.unsettled() as u64 + self.behind;
        status.oldest_ms = self.core.oldest_at_ms();
        status.next_try = self.core.next_try();
    }
}

/// Waits for a task's end for so long; what it left half-done is done again after the next start.
pub(super) async fn end(task: tokio::task::JoinHandle<()>) {
    task.abort();
    let _ = tokio::select! {
        ended = task => ended,
        () = sleep(Duration::from_secs(1)) => Ok(()),
    };
}
