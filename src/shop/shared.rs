//! What the writer shows to everybody else: the stock of now, counters, whether the store works.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::metrics::Exposition;

use super::counters::Counters;
use super::desk::{Board, Outcome};
use super::event::Kind;
use super::feed::{Catalogue, Commit, Feed, Moment, Piece, Shown};
use super::product::{Product, Sku};
use super::rules::Limits;
use super::store::Trouble;

/// What of the configuration applies to each intent; may change while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) hold: Duration,
}

#[derive(Debug)]
pub(super) struct Shared {
    settings: RwLock<Settings>,
    products: RwLock<BTreeMap<Sku, Arc<Product>>>,
    counters: Mutex<Counters>,
    shown: Mutex<Shown>,
    /// Its lock is held while a piece is rendered, and that of the products within it.
    catalogue: Mutex<Catalogue>,
    /// Why the store cannot be used; none: it can.
    trouble: RwLock<Option<Trouble>>,
    pub(super) feed: Feed,
    /// Where the log ends; 0 until the store is open.
    log_end: watch::Sender<i64>,
    waiting: AtomicUsize,
    stopping: AtomicBool,
    /// Counts up whenever the file may be another one.
    epoch: AtomicU64,
    figures: Figures,
}

/// Counted since the process began.
#[derive(Debug, Default)]
struct Figures {
    accepted: AtomicU64,
    refused: AtomicU64,
    turned_away: AtomicU64,
    commits: AtomicU64,
    committed: AtomicU64,
    commit_micros: AtomicU64,
    failed: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: Settings, feed: Feed, trouble: Trouble) -> Shared {
        Shared {
            settings: RwLock::new(settings),
            products: RwLock::default(),
            counters: Mutex::new(Counters::new(0)),
            shown: Mutex::default(),
            catalogue: Mutex::default(),
            trouble: RwLock::new(Some(trouble)),
            feed,
            log_end: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            figures: Figures::default(),
        }
    }

    pub(super) fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reconfigure(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The store works, and this is what stands in it.
    pub(super) fn opened(&self, board: &Board, counters: Counters, shown: Shown) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.products.write().unwrap_or_else(PoisonError::into_inner).clone_from(&board.products);
        *self.counters() = counters;
        *self.shown() = shown;
        self.catalogue().forget();
        self.feed.opened(board.seq());
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = None;
        // Last, and whatever the place: who follows the log looks whether it is the one that was there before.
        self.log_end.send_replace(board.seq());
    }

    /// The store does not work. What was known of the stock stays to be seen.
    pub(super) fn shut(&self, trouble: &Trouble) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.figures.failed.fetch_add(1, Ordering::Relaxed);
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
    }

    /// What was opened under another number may look into a file that is gone.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a group did is on the disk.
    pub(super) fn publish(&self, done: Outcome) {
        let Outcome { products, events, orders, sales, show_ms, refused, at_ms, .. } = done;
        if !products.is_empty() {
            let mut all = self.products.write().unwrap_or_else(PoisonError::into_inner);
            all.extend(products.iter().map(|product| (product.sku.clone(), product.clone())));
        }
        let accepted = sales.iter().filter(|sale| !sale.back).count() as u64;
        self.figures.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.figures.refused.fetch_add(refused, Ordering::Relaxed);
        if !sales.is_empty() || show_ms.is_some() {
            let mut counters = self.counters();
            if let Some(began_ms) = show_ms {
                *counters = Counters::new(began_ms);
            }
            for sale in &sales {
                counters.note(sale);
            }
        }
        if let Some(last) = events.last() {
            self.log_end.send_replace(last.seq);
            if events.iter().any(|event| matches!(event.kind, Kind::Show | Kind::Cue)) {
                let mut shown = self.shown();
                for event in &events {
                    shown.take(event);
                }
            }
            self.feed.publish(Commit { events, products, orders, at_ms });
        }
    }

    /// Tells whenever something was committed or the store was opened, with the log's newest entry.
    pub(super) fn log_end(&self) -> watch::Receiver<i64> {
        self.log_end.subscribe()
    }

    /// One commit of so many intents took so long.
    pub(super) fn committed(&self, intents: usize, took: Duration) {
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        self.figures.committed.fetch_add(intents as u64, Ordering::Relaxed);
        self.figures.commit_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn entered_queue(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left_queue(&self, count: usize) {
        let left = |waiting: usize| Some(waiting.saturating_sub(count));
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn turned_away(&self) {
        self.figures.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn product(&self, sku: &Sku) -> Option<Arc<Product>> {
        let all = self.products.read().unwrap_or_else(PoisonError::into_inner);
        all.get(sku).filter(|product| !product.removed).cloned()
    }

    /// The catalogue, in the order of lists.
    pub(super) fn products(&self) -> Vec<Arc<Product>> {
        let mut listed: Vec<Arc<Product>> = {
            let all = self.products.read().unwrap_or_else(PoisonError::into_inner);
            all.values().filter(|product| !product.removed).cloned().collect()
        };
        listed.sort_by_key(|product| product.card.position);
        listed
    }

    /// The stock of some products with SKUs after `after`, as it is at the place `told` in the log or later.
    pub(super) fn stock_after(&self, at: Moment, after: Option<&Sku>, told: i64) -> Option<Piece> {
        self.catalogue().piece(at, after, told, |limit| self.products_after(after, limit))
    }

    /// The show and the cue that stand, for pages.
    pub(super) fn told_shown(&self, upto: i64) -> String {
        let shown = self.shown().clone();
        shown.render(upto, |sku| self.product(sku).is_some())
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Products of the catalogue with SKUs after `after`, by SKU, at most `limit`.
    fn products_after(&self, after: Option<&Sku>, limit: usize) -> Vec<Arc<Product>> {
        let all = self.products.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = all.range::<Sku, _>((from, Bound::Unbounded)).map(|(_, product)| product);
        range.filter(|product| !product.removed).take(limit).cloned().collect()
    }

    pub(super) fn describe_metrics(&self, now_ms: i64, page: &mut Exposition) {
        let trouble = self.trouble();
        let up = if trouble.is_none() { 1.0 } else { 0.0 };
        page.gauge("footlight_store_up", "1 while orders can be written to the disk.", &[], up);
        if let Some(trouble) = &trouble {
            let reason = [("reason", trouble.name())];
            page.gauge("footlight_store_trouble", "Why orders cannot be written.", &reason, 1.0);
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = &self.figures;
        for (result, count) in [
            ("accepted", &figures.accepted),
            ("refused", &figures.refused),
            ("turned_away", &figures.turned_away),
        ] {
            let help = "Orders by what became of them; turned away: the queue was full.";
            page.counter("footlight_orders_total", help, &[("result", result)], load(count));
        }
        page.gauge(
            "footlight_orders_waiting",
            "Requests that wait for the disk.",
            &[],
            self.waiting() as f64,
        );
        page.counter(
            "footlight_store_commits_total",
            "Transactions on the disk.",
            &[],
            load(&figures.commits),
        );
        page.counter(
            "footlight_store_committed_total",
            "Requests answered by those transactions.",
            &[],
            load(&figures.committed),
        );
        page.gauge(
            "footlight_store_commit_seconds_sum",
            "Time that all transactions took, to be held against their number.",
            &[],
            load(&figures.commit_micros) as f64 / 1e6,
        );
        page.counter(
            "footlight_store_failures_total",
            "Times that the store could not be opened or written.",
            &[],
            load(&figures.failed),
        );
        let counters = self.counters();
        page.gauge(
            "footlight_orders_per_minute",
            "Orders accepted in the last minute.",
            &[],
            f64::from(counters.orders_a_minute(now_ms)),
        );
        page.gauge("footlight_show_orders", "Orders since the show began.", &[], counters.orders() as f64);
        page.gauge("footlight_show_units", "Units sold since the show began.", &[], counters.units() as f64);
        drop(counters);
        let all = self.products.read().unwrap_or_else(PoisonError::into_inner);
        let listed = all.values().filter(|product| !product.removed);
        let (mut count, mut out, mut low) = (0u32, 0u32, 0u32);
        let limits = self.settings().limits;
        for product in listed {
            count += 1;
            match product.sellable(now_ms) {
                0 => out += 1,
                left if left <= i64::from(product.card.low_stock.unwrap_or(limits.low_stock)) => low += 1,
                _ => {}
            }
        }
        page.gauge("footlight_products", "Products in the catalogue.", &[], f64::from(count));
        page.gauge("footlight_products_sold_out", "Products with nothing left to sell.", &[], f64::from(out));
        page.gauge("footlight_products_low", "Products with little left to sell.", &[], f64::from(low));
    }
}
