//! What all connections share: the handles they answer from, the bounds in force, the figures.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::sync::watch;

use crate::base::metrics::Exposition;
use crate::base::rate::Rate;
use crate::config::schema::Http;
use crate::hub::Hub;
use crate::shop::Orders;
use crate::shop::outbox::Outbox;
use crate::uplink::Outputs;

use super::api::Pages;
use super::auth::{Door, Tokens};
use super::flv::Viewing;

/// Who is told to come again is told so in so many different seconds, in turn: those who were refused at one moment would
/// else come back at one moment, and all but a few be refused again.
const SPREAD_SECONDS: u64 = 5;

/// Describes a room's figures.
pub type Describe = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// Says why the box is not ready, a sentence each.
pub type Ready = Box<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>;

/// What the server answers from.
pub struct Parts {
    /// The streams.
    pub hub: Hub,
    /// What they are pushed by.
    pub outputs: Outputs,
    /// The order cache.
    pub orders: Orders,
    /// What sends its orders to the cloud.
    pub outbox: Outbox,
    /// New orders a second from one address; 0: no bound.
    pub order_rate: u32,
    /// Who may tell them something.
    pub tokens: Tokens,
    /// What stands on `/metrics` beside the server's own figures, the hub's included.
    pub describe: Vec<Describe>,
    /// What `/readyz` asks.
    pub ready: Ready,
}

pub(super) struct House {
    pub(super) parts: Parts,
    pub(super) door: Door,
    pub(super) viewing: Viewing,
    pub(super) pages: Pages,
    pub(super) requests: Requests,
    pub(super) seats: Seats,
    http: RwLock<Arc<Http>>,
    order_rate: Mutex<Rate>,
    /// Orders over that rate so far.
    over_rate: AtomicU64,
}

impl House {
    pub(super) fn new(http: &Http, parts: Parts) -> House {
        House {
            door: Door::new(parts.tokens.clone()),
            order_rate: Mutex::new(Rate::per_second(parts.order_rate)),
            over_rate: AtomicU64::new(0),
            parts,
            viewing: Viewing::new(http),
            pages: Pages::default(),
            requests: Requests::default(),
            seats: Seats::default(),
            http: RwLock::new(Arc::new(http.clone())),
        }
    }

    /// The bounds in force.
    pub(super) fn http(&self) -> Arc<Http> {
        self.http.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reconfigure(&self, http: &Http) {
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(http.clone());
        self.viewing.reconfigure(http);
    }

    /// Another bound for orders from one address; what addresses have used up counts on.
    pub(super) fn set_order_rate(&self, per_second: u32) {
        self.order_rate().set_per_second(per_second);
    }

    /// Counts one more order or reservation from there, or one taken back.
    ///
    /// # Errors
    /// The time after which it is worth another try: when there may be one again, and up to [`SPREAD_SECONDS`] more.
    pub(super) fn take_order_from(&self, now: Instant, peer: IpAddr) -> Result<(), Duration> {
        let taken = self.order_rate().take(now, peer);
        taken.map_err(|wait| {
            let turn = self.over_rate.fetch_add(1, Ordering::Relaxed) % SPREAD_SECONDS;
            wait + Duration::from_secs(turn)
        })
    }

    fn order_rate(&self) -> MutexGuard<'_, Rate> {
        self.order_rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page of all figures.
    pub(super) fn describe(&self) -> String {
        let mut page = Exposition::default();
        self.parts.describe.iter().for_each(|describe| describe(&mut page));
        self.viewing.describe_metrics(&self.parts.hub.names(), &mut page);
        self.pages.describe_metrics(&mut page);
        self.requests.describe_metrics(&mut page);
        self.seats.describe_metrics(&mut page);
        page.render()
    }
}

/// Returns once the server stops.
pub(super) async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    // A server that is gone without a word stops as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Connections of any kind, counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<SeatCount>);

#[derive(Debug, Default)]
struct SeatCount {
    taken: AtomicU32,
    refused: AtomicU64,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat(Seats);

impl Seats {
    /// A place, if fewer than `max` are taken.
    pub(super) fn take(&self, max: u32) -> Option<Seat> {
        let count = &self.0;
        if count.taken.fetch_add(1, Ordering::Relaxed) >= max {
            count.taken.fetch_sub(1, Ordering::Relaxed);
            count.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Seat(self.clone()))
    }

    fn describe_metrics(&self, page: &mut Exposition) {
        let taken = self.0.taken.load(Ordering::Relaxed);
        page.gauge(
            "footlight_http_connections",
            "HTTP connections now, viewers included.",
            &[],
            f64::from(taken),
        );
        page.counter(
            "footlight_http_connections_refused_total",
            "Connections refused at http.max_connections.",
            &[],
            self.0.refused.load(Ordering::Relaxed),
        );
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Live,
    Page,
    Probe,
    Api,
    Other,
}

const CLASSES: [(Class, &str); 5] = [
    (Class::Live, "live"),
    (Class::Page, "page"),
    (Class::Probe, "probe"),
    (Class::Api, "api"),
    (Class::Other, "other"),
];

const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests by what was asked and how it was answered.
#[derive(Debug, Default)]
pub(super) struct Requests([[AtomicU64; STATUSES.len()]; CLASSES.len()]);

impl Requests {
    pub(super) fn note(&self, class: Class, status: StatusCode) {
        let hundred = usize::from(status.as_u16() / 100).clamp(1, STATUSES.len()) - 1;
        self.0[class as usize][hundred].fetch_add(1, Ordering::Relaxed);
    }

    fn describe_metrics(&self, page: &mut Exposition) {
        for (class, name) in CLASSES {
            for (counter, status) in self.0[class as usize].iter().zip(STATUSES) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    page.counter(
                        "footlight_http_requests_total",
                        "Requests by what was asked and how it was answered.",
                        &[("class", name), ("status", status)],
                        count,
                    );
                }
            }
        }
    }
}
