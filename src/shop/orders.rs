//! The handle of this room.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tracing::error;

use crate::base::metrics::Exposition;
use crate::base::{clock, threads};
use crate::config::schema;

use super::event::{Event, Kind};
use super::feed::{self, Feed, Moment, Page, Piece};
use super::ids::new_id;
use super::intent::{By, Done, Grant, Image, Intent, News, No, Noted, Placed, What};
use super::order::{Key, Order, Reservation, Wish};
use super::product::{Product, ProductEdit, Sku};
use super::readers::{Readers, Unread};
use super::rules::Limits;
use super::shared::{Settings, Shared};
use super::store::{Trouble, TroubleKind, rows};
use super::writer::Writer;

/// Why a request of this room got no yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderError {
    /// The store works, and says no.
    No(No),
    /// As many requests wait for the disk as may: come again in a moment.
    Busy,
    /// The store cannot be used. A request with a key may be sent again with it.
    Unavailable(Trouble),
    /// Orders are switched off in the configuration.
    Off,
    /// The box stops, or has no randomness to make an id of.
    Stopping,
}

impl From<Trouble> for OrderError {
    fn from(trouble: Trouble) -> OrderError {
        OrderError::Unavailable(trouble)
    }
}

/// The order cache; clonable.
#[derive(Debug, Clone)]
pub struct Orders(Option<Room>);

#[derive(Debug, Clone)]
struct Room {
    intents: SyncSender<Intent>,
    shared: Arc<Shared>,
    readers: Readers,
}

/// The thread that writes. Ended by [`Running::stop`], or when every handle is gone.
#[derive(Debug)]
pub struct Running {
    room: Room,
    thread: JoinHandle<()>,
    feed: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Waits until what was asked for is written. What is asked for from now on may find nobody.
    pub async fn stop(self, within: Duration) {
        self.room.shared.stop();
        // Something to do wakes it up. A full queue does as well.
        let _ = self.room.intents.try_send(Intent::new(What::News(News::default())).0);
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        if tokio::time::timeout(within, joined).await.is_err() {
            error!("the order store did not close in time; what was answered is on the disk all the same");
        }
        self.feed.abort();
    }
}

fn settings(orders: &schema::Orders) -> Settings {
    let limits = Limits { buyer_limit: orders.buyer_limit, low_stock: orders.low_stock };
    Settings { limits, hold: orders.hold }
}

impl Orders {
    /// Orders that are switched off.
    pub fn off() -> Orders {
        Orders(None)
    }

    /// Opens the store in `folder` and takes orders from then on. Returns at once: a store that cannot be used is
    /// tried again and again, while every request is told why. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(folder: &Path, orders: &schema::Orders) -> std::io::Result<(Orders, Running)> {
        let (feed, gathering) = Feed::new();
        let opening =
            Trouble { kind: TroubleKind::Opening, path: folder.to_owned(), cause: "it begins".to_owned() };
        let shared = Arc::new(Shared::new(settings(orders), feed, opening));
        let (intents, waiting) = sync_channel(orders.queue as usize);
        let readers = Readers::new(folder);
        let writer = Writer::new(folder, waiting, shared.clone(), readers.clone());
        let thread = threads::spawn("db", "writer", move || writer.run())?;
        let feed = tokio::spawn(gathering.run());
        let room = Room { intents, shared, readers };
        Ok((Orders(Some(room.clone())), Running { room, thread, feed }))
    }

    /// Takes over what may change while running.
    pub fn reconfigure(&self, orders: &schema::Orders) {
        if let Some(room) = &self.0 {
            room.shared.reconfigure(settings(orders));
        }
    }

    /// Whether orders are switched on at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn room(&self) -> Result<&Room, OrderError> {
        self.0.as_ref().ok_or(OrderError::Off)
    }

    /// Has it done, and returns once it is on the disk. Where the queue is full nobody waits: [`OrderError::Busy`].
    async fn ask(&self, what: What) -> Result<Done, OrderError> {
        let room = self.room()?;
        if let Some(trouble) = room.shared.trouble() {
            return Err(trouble.into());
        }
        let (intent, answer) = Intent::new(what);
        room.shared.entered_queue();
        if let Err(refused) = room.intents.try_send(intent) {
            room.shared.left_queue(1);
            return Err(match refused {
                TrySendError::Full(_) => {
                    room.shared.turned_away();
                    OrderError::Busy
                }
                TrySendError::Disconnected(_) => OrderError::Stopping,
            });
        }
        match answer.await {
            Ok(done) => Ok(done?),
            Err(_) => Err(OrderError::Stopping),
        }
    }

    /// Orders. The same key and wish get the same answer for ever.
    ///
    /// # Errors
    /// [`No::Refused`], [`No::KeyReused`], [`No::Unknown`] product, and what keeps the store from answering.
    pub async fn place(&self, wish: Wish, key: Key) -> Result<Placed<Order>, OrderError> {
        let id = new_id().ok_or(OrderError::Stopping)?;
        match self.ask(What::Order { wish, key, id }).await? {
            Done::Order(done) => done.map_err(OrderError::No),
            _ => Err(OrderError::Stopping),
        }
    }

    /// Reserves.
    ///
    /// # Errors
    /// As for [`Orders::place`].
    pub async fn reserve(&self, wish: Wish, key: Key) -> Result<Placed<Reservation>, OrderError> {
        let id = new_id().ok_or(OrderError::Stopping)?;
        self.reservation(What::Reserve { wish, key, id }).await
    }

    /// Gives a reservation back; one that holds nothing any more is told as it is.
    ///
    /// # Errors
    /// [`No::Unknown`], and what keeps the store from answering.
    pub async fn release(&self, id: String) -> Result<Placed<Reservation>, OrderError> {
        self.reservation(What::Release { id }).await
    }

    async fn reservation(&self, what: What) -> Result<Placed<Reservation>, OrderError> {
        match self.ask(what).await? {
            Done::Reservation(done) => done.map_err(OrderError::No),
            _ => Err(OrderError::Stopping),
        }
    }

    /// Cancels an order; one that is cancelled already is told as it is.
    ///
    /// # Errors
    /// [`No::Unknown`], [`No::TooLate`], and what keeps the store from answering.
    pub async fn cancel(
        &self,
        id: String,
        by: By,
        reason: Option<String>,
    ) -> Result<Placed<Order>, OrderError> {
        match self.ask(What::Cancel { id, by, reason }).await? {
            Done::Order(done) => done.map_err(OrderError::No),
            _ => Err(OrderError::Stopping),
        }
    }

    /// Makes or edits products, all or none; says of each whether it is new. With `if_version` only if that is the
    /// version now.
    ///
    /// # Errors
    /// [`No::Version`], [`No::TooMany`], [`No::Unknown`], and what keeps the store from answering.
    pub async fn put(
        &self,
        edits: Vec<ProductEdit>,
        if_version: Option<i64>,
    ) -> Result<Vec<(Arc<Product>, bool)>, OrderError> {
        self.products_done(What::Put { edits, if_version }).await
    }

    /// Adds units to what is available, or takes some away.
    ///
    /// # Errors
    /// [`No::TooFew`], [`No::Unknown`], and what keeps the store from answering.
    pub async fn add_stock(
        &self,
        sku: Sku,
        add: i64,
        reason: Option<String>,
    ) -> Result<Arc<Product>, OrderError> {
        self.product_done(What::Stock { sku, add, reason }).await
    }

    /// Takes a product out of the catalogue. Its orders stay, and reservations of it may still become orders.
    ///
    /// # Errors
    /// [`No::Version`], [`No::Unknown`], and what keeps the store from answering.
    pub async fn remove(&self, sku: Sku, if_version: Option<i64>) -> Result<Arc<Product>, OrderError> {
        self.product_done(What::Remove { sku, if_version }).await
    }

    /// Gives a product a picture, or takes it away.
    ///
    /// # Errors
    /// [`No::Unknown`], and what keeps the store from answering.
    pub async fn set_image(&self, sku: Sku, image: Option<Image>) -> Result<Arc<Product>, OrderError> {
        self.product_done(What::Image { sku, image }).await
    }

    /// Bounds what of a product may be sold, or takes the bound away.
    ///
    /// # Errors
    /// [`No::Unknown`], and what keeps the store from answering.
    pub async fn set_lease(&self, sku: Sku, grant: Option<Grant>) -> Result<Arc<Product>, OrderError> {
        self.product_done(What::Lease { sku, grant }).await
    }

    async fn product_done(&self, what: What) -> Result<Arc<Product>, OrderError> {
        let mut done = self.products_done(what).await?;
        done.pop().map(|(product, _)| product).ok_or(OrderError::Stopping)
    }

    async fn products_done(&self, what: What) -> Result<Vec<(Arc<Product>, bool)>, OrderError> {
        match self.ask(what).await? {
            Done::Products(done) => done.map_err(OrderError::No),
            _ => Err(OrderError::Stopping),
        }
    }

    /// Takes over what the cloud, or the shop's people, say about orders; says how many changed.
    ///
    /// # Errors
    /// What keeps the store from answering.
    pub async fn take_news(&self, news: News) -> Result<usize, OrderError> {
        Ok(self.take_news_of_cloud(news).await?.changed)
    }

    /// As [`Orders::take_news`], and tells what could not be followed.
    ///
    /// # Errors
    /// What keeps the store from answering.
    pub(in crate::shop) async fn take_news_of_cloud(&self, news: News) -> Result<Noted, OrderError> {
        match self.ask(What::News(news)).await? {
            Done::News(noted) => Ok(noted),
            _ => Err(OrderError::Stopping),
        }
    }

    /// Appends to the log what happened elsewhere: a cue, or that a show began. `data` is a JSON object. Hands back
    /// its place in the log.
    ///
    /// # Errors
    /// What keeps the store from answering.
    pub async fn note(
        &self,
        kind: Kind,
        sku: Option<Sku>,
        of: Option<String>,
        data: String,
    ) -> Result<i64, OrderError> {
        match self.ask(What::Note { kind, sku, of, data }).await? {
            Done::Noted { seq } => Ok(seq),
            _ => Err(OrderError::Stopping),
        }
    }

    /// The product of this SKU, as it was last committed.
    pub fn product(&self, sku: &Sku) -> Option<Arc<Product>> {
        self.0.as_ref()?.shared.product(sku)
    }

    /// The catalogue, in the order of lists.
    pub fn products(&self) -> Vec<Arc<Product>> {
        self.0.as_ref().map(|room| room.shared.products()).unwrap_or_default()
    }

    /// A product's picture: its type and its bytes.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn image(&self, sku: Sku) -> Result<Option<(String, Vec<u8>)>, OrderError> {
        self.look(move |from| rows::image(from, &sku)).await
    }

    /// The order of this id.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn order(&self, id: String) -> Result<Option<Order>, OrderError> {
        self.look(move |from| rows::order_by_id(from, &id)).await
    }

    /// The reservation of this id.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn reservation_of(&self, id: String) -> Result<Option<Reservation>, OrderError> {
        self.look(move |from| rows::reservation_by_id(from, &id)).await
    }

    /// Orders with numbers below `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn orders_before(&self, before: i64, limit: usize) -> Result<Vec<Order>, OrderError> {
        self.look(move |from| rows::orders_before(from, before, limit)).await
    }

    /// Orders with numbers above `after`, in their order, at most `limit`.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn orders_after(&self, after: i64, limit: usize) -> Result<Vec<Order>, OrderError> {
        self.look(move |from| rows::orders_after(from, after, limit)).await
    }

    /// Events after `seq`, at most `limit`.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn events_after(&self, seq: i64, limit: usize) -> Result<Vec<Event>, OrderError> {
        self.look(move |from| rows::events_after(from, seq, limit)).await
    }

    /// Asks the store anything, over a connection that can only look.
    pub(in crate::shop) async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OrderError> {
        let room = self.room()?;
        room.readers.ask(room.shared.epoch(), question).await.map_err(|unread| match unread {
            Unread::Busy => OrderError::Busy,
            Unread::Trouble(trouble) => trouble.into(),
        })
    }

    /// Events after `after` up to `upto`, of so many rows at most, as pages hear them, and the place in the log that
    /// they reach. `is_full`: orders whole.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub async fn told_after(
        &self,
        after: i64,
        upto: i64,
        rows_max: usize,
        is_full: bool,
    ) -> Result<(String, i64), OrderError> {
        self.look(move |from| feed::render_log(from, after, upto, rows_max, is_full)).await
    }

    /// The newest event that is on the disk; `None` while the store was never open.
    pub fn seq(&self) -> Option<i64> {
        self.0.as_ref()?.shared.feed.seq()
    }

    /// The stock of some products with SKUs after `after`, for a page that was told the log up to `told`; `None`: there
    /// are no more. Pages that ask at about the same time share the bytes.
    pub fn stock_after(&self, after: Option<&Sku>, told: i64) -> Option<Piece> {
        let shared = &self.0.as_ref()?.shared;
        let (seq, unix_ms) = (shared.feed.seq()?, clock::unix_millis() as i64);
        shared.stock_after(Moment { now: clock::now(), unix_ms, seq }, after, told)
    }

    /// The show that began last and the newest cue in it, as pages hear them, up to that place in the log.
    pub fn told_shown(&self, upto: i64) -> String {
        self.0.as_ref().map(|room| room.shared.told_shown(upto)).unwrap_or_default()
    }

    /// Tells whenever something was committed, with the log's newest entry.
    pub(in crate::shop) fn log_end(&self) -> Result<watch::Receiver<i64>, OrderError> {
        Ok(self.room()?.shared.log_end())
    }

    /// Another number whenever the store's file may be another one.
    pub(in crate::shop) fn epoch(&self) -> u64 {
        self.0.as_ref().map_or(0, |room| room.shared.epoch())
    }

    /// A page that hears all news from where it begins.
    ///
    /// # Errors
    /// [`OrderError::Off`].
    pub fn page(&self) -> Result<Page, OrderError> {
        Ok(self.room()?.shared.feed.page())
    }

    /// What the anchor sees of the sale.
    pub fn counters(&self) -> Option<Value> {
        let room = self.0.as_ref()?;
        let told = room.shared.counters().to_json(clock::unix_millis() as i64);
        Some(told)
    }

    /// Requests that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |room| room.shared.waiting())
    }

    /// Why no orders can be taken now; none: they can, or are switched off.
    pub fn trouble(&self) -> Option<Trouble> {
        self.0.as_ref().and_then(|room| room.shared.trouble())
    }

    /// Figures for `/metrics`.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        if let Some(room) = &self.0 {
            room.shared.describe_metrics(clock::unix_millis() as i64, page);
        }
    }
}
