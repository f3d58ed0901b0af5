//! What pages follow: stock, orders and cues as they happen, rendered once for all of them.
//!
//! ```text
//!   writer ──each commit──> [what came since the last pulse] ──every 200 ms──> Pulse (bytes for buyers, bytes for the
//!                                                                              shop, stock) ──> pages
//!   a page that comes back, or is late ──> log.rs: the same from the database
//!   a page that begins ──> catalogue.rs: the stock of everything; shown.rs: the show, and the newest cue in it
//! ```
//! The writer only adds what it committed and never waits: what waits to be told is bounded by merging, not by a
//! queue that could overflow. A pulse holds the newest stock of each SKU once, and so many orders and no more: what a
//! rush leaves out is counted in a `skipped` event, and pages can read it from the API. More news than any page can
//! use become one `reset`. The first news after a quiet time go out at once.

mod catalogue;
mod log;
mod shown;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::event::{Event, Kind};
use super::order::Order;
use super::product::{Product, Sku};
use super::times::rfc3339;

pub use catalogue::Piece;
pub(super) use catalogue::{Catalogue, Moment};
pub(super) use log::render as render_log;
pub(super) use shown::Shown;

/// How long news are gathered into one pulse while they come without a pause.
const GATHERED_FOR: Duration = Duration::from_millis(200);

/// Orders told in one pulse.
const ORDERS_TOLD: usize = 50;

/// Other events told in one pulse, and products whose stock is. An import or an audit's correction that moves more
/// is told as a `reset`: pages read the catalogue again, which is shorter.
const EVENTS_TOLD: usize = 500;
const PRODUCTS_TOLD: usize = 1_000;

/// Pulses kept for pages that are a little late; who is later reads the log.
const PULSES_KEPT: usize = 64;

/// What one commit did.
#[derive(Debug, Clone, Default)]
pub(super) struct Commit {
    /// In the log's order.
    pub(super) events: Vec<Event>,
    /// Products that changed, as they are now.
    pub(super) products: Vec<Arc<Product>>,
    /// Orders that were accepted or changed, each with its event's place in the log.
    pub(super) orders: Vec<(i64, Arc<Order>)>,
    pub(super) at_ms: i64,
}

/// Some news, ready to be sent as server-sent events (HTML, "Server-sent events").
#[derive(Debug, Default)]
pub struct Pulse {
    /// Counts pulses.
    pub number: u64,
    /// Where the log stood before it: the pulse tells what came after this place,
    pub from: i64,
    /// up to this one: what a page says when it comes back.
    pub seq: i64,
    /// It tells nothing of what happened: there was too much of it, or the store is another one.
    pub is_reset: bool,
    /// What everybody may read.
    pub public: Bytes,
    /// What who has a token may read: orders whole.
    pub full: Bytes,
    /// The stock alone, with which both of them end.
    pub stock: Bytes,
}

/// How far the feed is.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// The newest pulse; 0: the store was never open.
    number: u64,
    /// Its place in the log.
    seq: i64,
}

type Kept = Arc<Mutex<VecDeque<Arc<Pulse>>>>;

/// What waits for the next pulse. Its lock is held for a few instructions, and never together with that of the pulses.
type Waiting = Arc<Mutex<Gathered>>;

/// The feed; clonable.
#[derive(Debug, Clone)]
pub struct Feed {
    waiting: Waiting,
    /// Holds one ring: who is being woken needs no second one.
    bell: mpsc::Sender<()>,
    kept: Kept,
    newest: watch::Receiver<Mark>,
}

/// The end that gathers and renders, to be run as a task.
#[derive(Debug)]
pub(super) struct Gathering {
    waiting: Waiting,
    bell: mpsc::Receiver<()>,
    kept: Kept,
    newest: watch::Sender<Mark>,
}

/// What a page reads next.
#[derive(Debug)]
pub struct Page {
    kept: Kept,
    newest: watch::Receiver<Mark>,
    seen: u64,
}

/// What [`Page::next`] found.
#[derive(Debug)]
pub enum Next {
    /// News.
    Pulse(Arc<Pulse>),
    /// The page was so late that pulses are gone: it reads the log, from where it was up to this place.
    Late(i64),
    /// The box stops.
    Over,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    pub(super) fn new() -> (Feed, Gathering) {
        let (to, from) = mpsc::channel(1);
        let (newest, seen) = watch::channel(Mark::default());
        let (waiting, kept) = (Waiting::default(), Kept::default());
        let feed = Feed { waiting: waiting.clone(), bell: to, kept: kept.clone(), newest: seen };
        (feed, Gathering { waiting, bell: from, kept, newest })
    }

    /// The store is open, and its log stands here.
    pub(super) fn opened(&self, seq: i64) {
        lock(&self.waiting).open(seq);
        self.ring();
    }

    /// Takes a commit over. Never waits for a page.
    pub(super) fn publish(&self, commit: Commit) {
        lock(&self.waiting).add(commit);
        self.ring();
    }

    fn ring(&self) {
        // Full: it rings already. Closed: the box stops, and nobody listens.
        let _ = self.bell.try_send(());
    }

    /// The newest event that is on the disk; `None` until the store was opened.
    pub(super) fn seq(&self) -> Option<i64> {
        let waiting = lock(&self.waiting);
        waiting.is_open.then_some(waiting.seq)
    }

    /// A page; see [`Page::begin`].
    pub(super) fn page(&self) -> Page {
        Page { kept: self.kept.clone(), newest: self.newest.clone(), seen: 0 }
    }
}

impl Page {
    /// From here on the page hears everything that comes after the place in the log that this answers with; waits for
    /// a store that is not open yet. `None`: the box stops. Safe to be given up at any time.
    pub async fn begin(&mut self) -> Option<i64> {
        let mark = *self.newest.wait_for(|newest| newest.number > 0).await.ok()?;
        self.seen = mark.number;
        Some(mark.seq)
    }

    /// Waits for news. Safe to be given up at any time.
    pub async fn next(&mut self) -> Next {
        let seen = self.seen;
        let Ok(mark) = self.newest.wait_for(|newest| newest.number > seen).await.map(|mark| *mark) else {
            return Next::Over;
        };
        let found = {
            let kept = lock(&self.kept);
            let oldest = kept.front().map_or(u64::MAX, |pulse| pulse.number);
            let place = (seen + 1).checked_sub(oldest);
            place.and_then(|place| kept.get(place as usize).cloned())
        };
        if let Some(pulse) = found {
            self.seen = pulse.number;
            return Next::Pulse(pulse);
        }
        self.seen = mark.number;
        Next::Late(mark.seq)
    }
}

impl Gathering {
    /// Gathers and renders until every feed is gone.
    pub(super) async fn run(mut self) {
        let mut number = 0;
        while self.bell.recv().await.is_some() {
            let gathered = lock(&self.waiting).take();
            // The first one tells only that the store is open.
            if number > 0 && gathered.is_empty() {
                continue;
            }
            number += 1;
            let pulse = Arc::new(gathered.render(number));
            let mark = Mark { number, seq: pulse.seq };
            {
                let mut kept = lock(&self.kept);
                if kept.len() == PULSES_KEPT {
                    kept.pop_front();
                }
                kept.push_back(pulse);
            }
            self.newest.send_replace(mark);
            tokio::time::sleep(GATHERED_FOR).await;
        }
    }
}

#[derive(Debug, Default)]
struct Gathered {
    is_open: bool,
    from: i64,
    seq: i64,
    is_reset: bool,
    events: Vec<Event>,
    products: BTreeMap<Sku, Arc<Product>>,
    orders: Vec<(i64, Arc<Order>)>,
    skipped: u64,
    at_ms: i64,
}

impl Gathered {
    fn open(&mut self, seq: i64) {
        if !self.is_open {
            *self = Gathered { is_open: true, from: seq, seq, ..Gathered::default() };
        } else if self.seq != seq {
            // The log has more than was told, or less: somebody else wrote it, or it is another one.
            self.seq = seq;
            self.reset();
        }
    }

    fn add(&mut self, commit: Commit) {
        self.at_ms = self.at_ms.max(commit.at_ms);
        self.seq = commit.events.iter().fold(self.seq, |seq, event| seq.max(event.seq));
        if self.is_reset {
            return;
        }
        self.events.extend(commit.events.into_iter().filter(|event| is_told_alone(event.kind)));
        self.products.extend(commit.products.into_iter().map(|product| (product.sku.clone(), product)));
        let room = ORDERS_TOLD.saturating_sub(self.orders.len());
        self.skipped += commit.orders.len().saturating_sub(room) as u64;
        self.orders.extend(commit.orders.into_iter().take(room));
        if self.events.len() > EVENTS_TOLD || self.products.len() > PRODUCTS_TOLD {
            self.reset();
        }
    }

    fn reset(&mut self) {
        let Gathered { is_open, from, seq, at_ms, .. } = *self;
        *self = Gathered { is_open, from, seq, at_ms, is_reset: true, ..Gathered::default() };
    }

    /// Hands everything over; what comes from now on comes after it.
    fn take(&mut self) -> Gathered {
        let Gathered { is_open, seq, at_ms, .. } = *self;
        std::mem::replace(self, Gathered { is_open, from: seq, seq, at_ms, ..Gathered::default() })
    }

    fn is_empty(&self) -> bool {
        self.from == self.seq && !self.is_reset
    }

    fn render(self, number: u64) -> Pulse {
        let (mut public, mut full) = (String::new(), String::new());
        let mut events = self.events.iter().peekable();
        for (seq, order) in &self.orders {
            while let Some(event) = events.next_if(|event| event.seq < *seq) {
                write_both(&mut public, &mut full, event.kind.as_str(), Some(event.seq), &event_json(event));
            }
            write_event(&mut public, "order", Some(*seq), &public_order(order));
            write_event(&mut full, "order", Some(*seq), &order.to_full_json());
        }
        for event in events {
            write_both(&mut public, &mut full, event.kind.as_str(), Some(event.seq), &event_json(event));
        }
        if self.skipped > 0 {
            write_both(&mut public, &mut full, "skipped", None, &json!({ "orders": self.skipped }));
        }
        let stock = write_stock(self.products.values(), Some(self.seq), self.at_ms);
        public.push_str(&stock);
        full.push_str(&stock);
        let public = Bytes::from(public);
        let stock = public.slice(public.len() - stock.len()..);
        Pulse {
            number,
            from: self.from,
            seq: self.seq,
            is_reset: self.is_reset,
            public,
            full: full.into(),
            stock,
        }
    }
}

/// The stock of these, each an event of the place `seq`.
fn write_stock<'p>(
    products: impl IntoIterator<Item = &'p Arc<Product>>,
    seq: Option<i64>,
    now_ms: i64,
) -> String {
    let mut told = String::new();
    for product in products {
        write_event(&mut told, "stock", seq, &stock_json(product, now_ms));
    }
    told
}

/// Whether pages hear of such an event by itself; what others did shows in the stock or in the order.
fn is_told_alone(kind: Kind) -> bool {
    matches!(kind, Kind::SoldOut | Kind::LowStock | Kind::Cue | Kind::Show | Kind::Product | Kind::Removed)
}

/// One server-sent event.
pub fn write_event(to: &mut String, name: &str, id: Option<i64>, data: &Value) {
    if let Some(id) = id {
        let _ = writeln!(to, "id: {id}");
    }
    // JSON has no line feeds outside of escapes.
    let _ = write!(to, "event: {name}\ndata: {data}\n\n");
}

fn write_both(public: &mut String, full: &mut String, name: &str, id: Option<i64>, data: &Value) {
    write_event(public, name, id, data);
    write_event(full, name, id, data);
}

/// What everybody may know of an order: not whose it is, nor the id by which it could be read or cancelled.
pub fn public_order(order: &Order) -> Value {
    json!({
        "number": order.number,
        "state": order.state.as_str(),
        "sku": order.sku.as_str(),
        "quantity": order.quantity,
        "at": rfc3339(order.changed_ms),
    })
}

/// A SKU's units.
pub fn stock_json(product: &Product, now_ms: i64) -> Value {
    json!({
        "sku": product.sku.as_str(),
        "stock": product.sellable(now_ms),
        "available": product.stock.available,
        "held": product.stock.held,
        "sold": product.stock.sold,
        "version": product.version,
        "on_sale": product.card.on_sale && !product.removed,
    })
}

/// An event of the log as pages hear it.
pub fn event_json(event: &Event) -> Value {
    let data = event.data.as_deref().and_then(|data| serde_json::from_str::<Value>(data).ok());
    let mut told = json!({ "seq": event.seq, "at": rfc3339(event.at_ms) });
    if let Some(sku) = &event.sku {
        told["sku"] = sku.as_str().into();
    }
    if let Some(Value::Object(data)) = data {
        for (name, value) in data {
            told[name] = value;
        }
    }
    told
}

#[cfg(test)]
mod tests;
