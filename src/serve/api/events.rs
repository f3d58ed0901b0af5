//! `GET /api/v1/events`: what pages follow, as server-sent events (HTML, "Server-sent events").
//!
//! ```text
//!   a new page:         retry, stock of everything ──────────────────────> news as they come
//!   one that was here:  retry, the log since then (or reset), stock ─────> news as they come
//!   one that is late:          the log since then (or reset), stock ─────> news as they come
//! ```
//! Where a page stands is a place in the log. A pulse of the feed says from which place to which it tells, so that it is
//! sent where it fits on, left out where the page knows it, and replaced by the log where it overlaps: nothing comes
//! twice and nothing is left out. Everybody gets the same bytes; a page's own part is its place, and the piece
//! that waits for it. A page that takes none for half a minute is let go by its connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use tokio::sync::watch;

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::config::schema::Http;
use crate::serve::answers::{Answer, content, problem_of, told, with};
use crate::serve::body::{Body, Gone, Teller};
use crate::serve::gate::{Full, Gate, Places, Ticket};
use crate::serve::house;
use crate::shop::Orders;
use crate::shop::feed::{Next, Page, write_event, write_stock};
use crate::shop::fields::Fault;
use crate::shop::product::Sku;

use super::asked::Asked;
use super::problems::{self, Missing};

const CONTENT_TYPE: &str = "text/event-stream";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Proxies of the nginx family hold answers back unless they are told not to.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Event pages at once. Each costs its connection's buffers, and all get each pulse: at five a second this many keep a
/// small core half busy.
const PAGES_MAX: u32 = 2_000;

/// What a browser waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

/// Something is said this often, so that either end notices when the other is gone.
const QUIET_AT_MOST: Duration = Duration::from_secs(15);
const STILL_HERE: &str = ":\n\n";

/// A page that hears orders whole is ended after this long and comes back at once, where it was: its token may have been
/// revoked meanwhile.
const WHOLE_FOR: Duration = Duration::from_secs(600);

/// Events that a page may have missed and still get from the log; who missed more reads the lists, which is less.
const CAUGHT_UP_MAX: i64 = 2_000;

/// Events in one piece of that, and products in one piece of stock: some ten KiB, which is what a page that takes
/// nothing costs.
const LOG_ROWS: usize = 100;
const STOCK_ROWS: usize = 64;

/// All event pages.
#[derive(Debug)]
pub(in crate::serve) struct Pages {
    gate: Gate,
    refused: AtomicU64,
    ending: watch::Sender<bool>,
}

impl Default for Pages {
    fn default() -> Pages {
        let ending = watch::Sender::new(false);
        Pages { gate: Gate::default(), refused: AtomicU64::new(0), ending }
    }
}

impl Pages {
    fn enter(&self, http: &Http, peer: IpAddr) -> Result<Ticket, Answer> {
        let places = Places { box_max: PAGES_MAX, address_max: http.max_viewers_per_address };
        self.gate.enter(peer, places).map_err(|full| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let words = match full {
                Full::Box => format!("{PAGES_MAX} pages follow the events, as many as can."),
                Full::Address => "As many pages follow the events from this address as may \
                    (http.max_viewers_per_address)."
                    .to_owned(),
            };
            let title = "Too many pages";
            let answer = problem_of(StatusCode::SERVICE_UNAVAILABLE, "too-many-pages", title, &words);
            with(answer, header::RETRY_AFTER, "5")
        })
    }

    /// Ends all pages.
    pub(in crate::serve) fn shutdown(&self) {
        self.ending.send_replace(true);
    }

    pub(in crate::serve) fn describe_metrics(&self, page: &mut Exposition) {
        let pages = f64::from(self.gate.viewers());
        page.gauge("footlight_event_pages", "Pages that follow the events now.", &[], pages);
        page.counter(
            "footlight_event_pages_refused_total",
            "Pages that could not follow the events: there were as many as can be.",
            &[],
            self.refused.load(Ordering::Relaxed),
        );
    }
}

/// `GET /events`
pub(super) async fn follow(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let is_full = asked.is_by_shop().await?;
    let last = last_event_id(asked)?;
    if asked.method() == Method::HEAD {
        return Ok(headers(content(StatusCode::OK, CONTENT_TYPE, "")));
    }
    let house = asked.house;
    let page = house.parts.orders.page().map_err(|error| problems::of(error, Missing::Order))?;
    let place = house.pages.enter(&house.http(), asked.peer)?;
    let (teller, body) = Body::told();
    let ending = house.pages.ending.subscribe();
    let follower = Follower { orders: house.parts.orders.clone(), page, is_full, told: 0, _place: place };
    tokio::spawn(follower.run(teller, last, ending));
    Ok(headers(told(CONTENT_TYPE, body)))
}

fn headers(answer: Answer) -> Answer {
    with(with(answer, header::CACHE_CONTROL, "no-store"), BUFFERING, "no")
}

/// The place in the log where the page was: what browsers send when they come back, or the same in the address, for
/// clients that cannot set headers. The header is newer where both are there.
fn last_event_id(asked: &Asked<'_>) -> Result<Option<i64>, Answer> {
    let invalid = |fault| problems::invalid(&[fault]);
    let [query] = asked.query(["last_event_id"])?;
    let in_header = LAST_EVENT_ID;
    let header = asked.header_once(&in_header).map_err(invalid)?;
    let (name, text) = match (header, query.as_deref()) {
        (Some(text), _) => (in_header.as_str(), text),
        (None, Some(text)) => ("last_event_id", text),
        (None, None) => return Ok(None),
    };
    place(text).map_err(|detail| invalid(Fault::new(name, detail)))
}

/// A place in the log as an id of ours is written; an empty one is what a browser has before the first.
fn place(text: &str) -> Result<Option<i64>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_ours = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_ours).map(Some).ok_or("must be the id of the last event, a whole number")
}

/// One page's life.
struct Follower {
    orders: Orders,
    page: Page,
    is_full: bool,
    /// Up to here in the log the page was told.
    told: i64,
    _place: Ticket,
}

impl Follower {
    async fn run(mut self, teller: Teller, last: Option<i64>, mut ending: watch::Receiver<bool>) {
        let is_full = self.is_full;
        tokio::select! {
            // Either way nobody is there any more.
            _ = self.follow(&teller, last) => {}
            () = teller.gone() => {}
            () = house::told_to_stop(&mut ending) => {}
            () = tokio::time::sleep(WHOLE_FOR), if is_full => {}
        }
    }

    async fn follow(&mut self, teller: &Teller, last: Option<i64>) -> Result<(), Gone> {
        teller.tell(RETRY.into()).await?;
        let Some(base) = self.begin(teller).await? else { return Ok(()) };
        match last {
            None => self.told = base,
            Some(last) => {
                self.told = last;
                // What came since the last pulse comes with the next one.
                let newest = self.orders.seq().unwrap_or(base);
                self.catch_up(teller, if last > newest { base } else { base.max(last) }).await?;
            }
        }
        self.tell_stock(teller).await?;
        loop {
            match tokio::time::timeout(QUIET_AT_MOST, self.page.next()).await {
                Err(_) => teller.tell(STILL_HERE.into()).await?,
                Ok(Next::Over) => return Ok(()),
                Ok(Next::Late(upto)) => {
                    self.catch_up(teller, upto).await?;
                    self.tell_stock(teller).await?;
                }
                Ok(Next::Pulse(pulse)) if pulse.is_reset => {
                    self.reset(teller, pulse.seq).await?;
                    self.tell_stock(teller).await?;
                }
                Ok(Next::Pulse(pulse)) if pulse.seq <= self.told => {}
                Ok(Next::Pulse(pulse)) => {
                    if pulse.from == self.told {
                        let news = if self.is_full { &pulse.full } else { &pulse.public };
                        teller.tell(news.clone()).await?;
                        self.told = pulse.seq;
                    } else {
                        self.catch_up(teller, pulse.seq).await?;
                        teller.tell(pulse.stock.clone()).await?;
                    }
                }
            }
        }
    }

    /// Waits for a store that is not open yet: a page that asks while the box starts must not be sent away, since
    /// browsers come back after a broken connection and not after an error.
    async fn begin(&mut self, teller: &Teller) -> Result<Option<i64>, Gone> {
        loop {
            match tokio::time::timeout(QUIET_AT_MOST, self.page.begin()).await {
                Ok(begun) => return Ok(begun),
                Err(_) => teller.tell(STILL_HERE.into()).await?,
            }
        }
    }

    /// Tells from the log what the page has not heard, up to there. Where that is too much, or the log is not the one
    /// that the page knows, or cannot be read, the page is told to read the lists.
    async fn catch_up(&mut self, teller: &Teller, upto: i64) -> Result<(), Gone> {
        if upto < self.told || upto - self.told > CAUGHT_UP_MAX {
            return self.reset(teller, upto).await;
        }
        while self.told < upto {
            let (after, is_full) = (self.told, self.is_full);
            match self.orders.told_after(after, upto, LOG_ROWS, is_full).await {
                Ok((text, reached)) if reached > after => {
                    teller.tell(text.into()).await?;
                    self.told = reached;
                }
                Ok(_) | Err(_) => return self.reset(teller, upto).await,
            }
        }
        Ok(())
    }

    async fn reset(&mut self, teller: &Teller, upto: i64) -> Result<(), Gone> {
        let mut text = String::new();
        write_event(&mut text, "reset", Some(upto), &serde_json::json!({ "seq": upto }));
        self.told = upto;
        teller.tell(text.into()).await
    }

    /// Tells the stock of every product, as it is at the moment when the page takes it.
    async fn tell_stock(&mut self, teller: &Teller) -> Result<(), Gone> {
        let mut after: Option<Sku> = None;
        loop {
            let some = self.orders.products_after(after.as_ref(), STOCK_ROWS);
            let Some(last) = some.last() else { return Ok(()) };
            after = Some(last.sku.clone());
            teller.tell(write_stock(&some, self.told, clock::unix_millis() as i64).into()).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_log_is_a_number_or_nothing_yet() {
        assert_eq!(place(""), Ok(None));
        assert_eq!(place("0"), Ok(Some(0)));
        assert_eq!(place("999999999999999999"), Ok(Some(999_999_999_999_999_999)));
        for text in ["-1", "+1", " 1", "1 ", "1.0", "x", "9999999999999999999", "١"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
