//! What pages follow: stock, orders and cues as they happen, rendered once for all of them.
//!
//! ```text
//!   writer ──each commit──> Feed ──gathered for 200 ms──> Pulse (bytes for buyers, bytes for the shop) ──> pages
//! ```
//! The writer only hands over what it committed. A pulse holds the newest stock of each SKU once, and so many orders
//! and no more: what a rush leaves out is counted in a `skipped` event, and pages can read it from the API. The first
//! news after a quiet time goes out at once.

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

/// Commits that may wait to be rendered; beyond, their orders are counted as skipped. Their stock comes with the next.
const COMMITS_WAITING: usize = 256;

/// How long news are gathered into one pulse while they come without a pause.
const GATHERED_FOR: Duration = Duration::from_millis(200);

/// Orders told in one pulse.
const ORDERS_TOLD: usize = 50;

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
#[derive(Debug)]
pub struct Pulse {
    /// Counts pulses.
    pub number: u64,
    /// The newest event in it: what a page says when it comes back.
    pub seq: i64,
    /// What everybody may read.
    pub public: Bytes,
    /// What who has a token may read: orders whole.
    pub full: Bytes,
}

#[derive(Debug)]
struct Kept {
    pulses: VecDeque<Arc<Pulse>>,
}

/// The feed; clonable.
#[derive(Debug, Clone)]
pub struct Feed {
    commits: mpsc::Sender<Commit>,
    kept: Arc<Mutex<Kept>>,
    newest: watch::Receiver<u64>,
}

/// The end that gathers and renders, to be run as a task.
#[derive(Debug)]
pub(super) struct Gathering {
    commits: mpsc::Receiver<Commit>,
    kept: Arc<Mutex<Kept>>,
    newest: watch::Sender<u64>,
}

/// What a page reads next.
#[derive(Debug)]
pub struct Page {
    feed: Feed,
    seen: u64,
}

/// What [`Page::next`] found.
#[derive(Debug)]
pub enum Next {
    /// News.
    Pulse(Arc<Pulse>),
    /// The page was so late that news are gone: it reads the log from where it was.
    Late,
    /// The box stops.
    Over,
}

impl Feed {
    pub(super) fn new() -> (Feed, Gathering) {
        let (to, from) = mpsc::channel(COMMITS_WAITING);
        let (newest, seen) = watch::channel(0);
        let kept = Arc::new(Mutex::new(Kept { pulses: VecDeque::new() }));
        (Feed { commits: to, kept: kept.clone(), newest: seen }, Gathering { commits: from, kept, newest })
    }

    /// Hands a commit over. Never waits: where too many wait already this one is told by the next one's stock.
    pub(super) fn publish(&self, commit: Commit) {
        let _ = self.commits.try_send(commit);
    }

    /// A page that hears everything from now on.
    pub fn page(&self) -> Page {
        Page { seen: *self.newest.borrow(), feed: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// Waits for news. Safe to be given up at any time.
    pub async fn next(&mut self) -> Next {
        let seen = self.seen;
        if self.feed.newest.wait_for(|newest| *newest > seen).await.is_err() {
            return Next::Over;
        }
        let found = {
            let kept = self.feed.lock();
            let found = kept.pulses.iter().find(|pulse| pulse.number > seen).cloned();
            found.filter(|pulse| pulse.number == seen + 1)
        };
        if let Some(pulse) = found {
            self.seen = pulse.number;
            return Next::Pulse(pulse);
        }
        self.seen = *self.feed.newest.borrow();
        Next::Late
    }
}

impl Gathering {
    /// Gathers and renders until the writer is gone.
    pub(super) async fn run(mut self) {
        let mut number = 0;
        while let Some(first) = self.commits.recv().await {
            let mut gathered = Gathered::default();
            gathered.add(first);
            while let Ok(more) = self.commits.try_recv() {
                gathered.add(more);
            }
            number += 1;
            let pulse = Arc::new(gathered.render(number));
            {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.pulses.len() == PULSES_KEPT {
                    kept.pulses.pop_front();
                }
                kept.pulses.push_back(pulse);
            }
            self.newest.send_replace(number);
            tokio::time::sleep(GATHERED_FOR).await;
        }
    }
}

#[derive(Debug, Default)]
struct Gathered {
    events: Vec<Event>,
    products: BTreeMap<Sku, Arc<Product>>,
    orders: Vec<(i64, Arc<Order>)>,
    skipped: u64,
    seq: i64,
    at_ms: i64,
}

impl Gathered {
    fn add(&mut self, commit: Commit) {
        self.at_ms = self.at_ms.max(commit.at_ms);
        for event in commit.events {
            self.seq = self.seq.max(event.seq);
            if is_told_alone(event.kind) {
                self.events.push(event);
            }
        }
        self.products.extend(commit.products.into_iter().map(|product| (product.sku.clone(), product)));
        let room = ORDERS_TOLD.saturating_sub(self.orders.len());
        self.skipped += commit.orders.len().saturating_sub(room) as u64;
        self.orders.extend(commit.orders.into_iter().take(room));
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
        for product in self.products.values() {
            let stock = stock_json(product, self.at_ms);
            write_both(&mut public, &mut full, "stock", Some(self.seq), &stock);
        }
        Pulse { number, seq: self.seq, public: public.into(), full: full.into() }
    }
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
