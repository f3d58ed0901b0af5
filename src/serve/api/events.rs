//! `GET /api/v1/events`: what pages follow, as server-sent events (HTML, "Server-sent events").
//!
//! ```text
//!   a new page:         retry, stock of everything, what is shown ───────> news as they come
//!   one that was here:  retry, the log since then (or reset), stock ─────> news as they come
//!   one that is late:          the log since then (or reset), stock ─────> news as they come
//! ```
//! After a reset a page is told what is shown, as a new one.
//!
//! Where a page stands is a place in the log. A pulse of the feed says from which place to which it tells, so that it is
//! sent where it fits on, left out where the page knows it, and replaced by the log where it overlaps: nothing comes
//! twice and nothing is left out. Everybody gets the same bytes; a page's own part is its place, and the piece
//! that waits for it. A page that takes none for half a minute is let go by its connection.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};
use tokio::sync::watch;

use crate::base::metrics::Exposition;
use crate::config::schema::Http;
use crate::serve::answers::{Answer, content, problem_of, told, with};
use crate::serve::body::{Body, Gone, Teller};
use crate::serve::gate::{Full, Gate, Places, Ticket};
use crate::serve::house;
use crate::shop::Orders;
use crate::shop::feed::{Next, Page, write_event};
use crate::shop::fields::Fault;

use super::asked::Asked;
use super::problems::{self, Missing};

const CONTENT_TYPE: &str = "text/event-stream";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Proxies of the nginx family hold answers back unless they are told not to.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Event pages at once. Each costs its connection's buffers, and all get each pulse: at five a second this many keep a
/// small core half busy.
const PAGES_MAX: u32 = 2_000;

/// Of these from one address: behind a router, or a proxy, much of the audience has the same one.
const PAGES_PER_ADDRESS_MAX: u32 = 500;

/// What a browser waits before it comes back, in milliseconds: each another time, so that pages which were cut off
/// together, by a restart of the box or of an access point, do not come back together.
const RETRY: Range<u32> = 1_000..3_000;

/// The same for one that was turned away.
const RETRY_LATER: Range<u32> = 5_000..10_000;

/// Something is said this often, so that either end notices when the other is gone.
const QUIET_AT_MOST: Duration = Duration::from_secs(15);
const STILL_HERE: &str = ":\n\n";

/// A page that hears orders whole is ended after this long and comes back at once, where it was: its token may have been
/// revoked meanwhile.
const WHOLE_FOR: Duration = Duration::from_secs(600);

/// Events that a page may have missed and still get from the log; who missed more reads the lists, which is less.
const CAUGHT_UP_MAX: i64 = 2_000;

/// Events in one piece of that: some ten KiB, which is what a page that takes nothing costs.
const LOG_ROWS: usize = 100;

/// All event pages.
#[derive(Debug)]
pub(in crate::serve) struct Pages {
    gate: Gate,
    refused: AtomicU64,
    turns: AtomicU32,
    ending: watch::Sender<bool>,
}

impl Default for Pages {
    fn default() -> Pages {
        let ending = watch::Sender::new(false);
        Pages { gate: Gate::default(), refused: AtomicU64::new(0), turns: AtomicU32::new(0), ending }
    }
}

impl Pages {
    /// Takes a place. `waits`: who asks is an `EventSource`, for which an error is the end for good: it is told to come
    /// back, by an answer that is over at once.
    fn enter(&self, http: &Http, peer: IpAddr, waits: bool) -> Result<Ticket, Answer> {
        let full = match self.gate.enter(peer, places(http)) {
            Ok(place) => return Ok(place),
            Err(full) => full,
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        let words = match full {
            Full::Box => format!("{PAGES_MAX} pages follow the events, as many as can."),
            Full::Address => {
                let max = places(http).address_max;
                format!(
                    "{max} pages follow the events from this address, as many as may \
                    (http.max_viewers_per_address)."
                )
            }
        };
        if waits {
            let told = format!(": {words}\n{}", self.retry(RETRY_LATER));
            return Err(headers(content(StatusCode::OK, CONTENT_TYPE, told)));
        }
        let title = "Too many pages";
        let answer = problem_of(StatusCode::SERVICE_UNAVAILABLE, "too-many-pages", title, &words);
        Err(with(answer, header::RETRY_AFTER, "5"))
    }

    /// The line that says when to come back: spread evenly over the span, whoever asks.
    fn retry(&self, span: Range<u32>) -> String {
        // Multiples of the golden ratio lie evenly (Knuth, The Art of Computer Programming, 6.4).
        let turn = self.turns.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
        let part = (u64::from(turn) * u64::from(span.end - span.start)) >> 32;
        format!("retry: {}\n\n", u64::from(span.start) + part)
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

/// Who lets any number of viewers in from one address lets any number of pages in as well.
fn places(http: &Http) -> Places {
    let address_max = match http.max_viewers_per_address {
        0 => 0,
        viewers => viewers.max(PAGES_PER_ADDRESS_MAX),
    };
    Places { box_max: PAGES_MAX, address_max }
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
    let place = house.pages.enter(&house.http(), asked.peer, is_event_source(asked.headers()))?;
    let (teller, body) = Body::told();
    let ending = house.pages.ending.subscribe();
    let retry = house.pages.retry(RETRY);
    let orders = house.parts.orders.clone();
    let follower = Follower { orders, page, is_full, told: 0, is_new: last.is_none(), _place: place };
    tokio::spawn(follower.run(teller, retry, last, ending));
    Ok(headers(told(CONTENT_TYPE, body)))
}

fn headers(answer: Answer) -> Answer {
    with(with(answer, header::CACHE_CONTROL, "no-store"), BUFFERING, "no")
}

/// Browsers' `EventSource` says what it wants; who fetches the same by other means reads errors, or says it as well.
fn is_event_source(headers: &HeaderMap) -> bool {
    let wanted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    wanted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE)))
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
    /// It does not know what is shown.
    is_new: bool,
    _place: Ticket,
}

impl Follower {
    async fn run(
        mut self,
        teller: Teller,
        retry: String,
        last: Option<i64>,
        mut ending: watch::Receiver<bool>,
    ) {
        let is_full = self.is_full;
        tokio::select! {
            // Either way nobody is there any more.
            _ = self.follow(&teller, retry, last) => {}
            () = teller.gone() => {}
            () = house::told_to_stop(&mut ending) => {}
            () = tokio::time::sleep(WHOLE_FOR), if is_full => {}
        }
    }

    async fn follow(&mut self, teller: &Teller, retry: String, last: Option<i64>) -> Result<(), Gone> {
        teller.tell(retry.into()).await?;
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
        self.tell_now(teller).await?;
        loop {
            match tokio::time::timeout(QUIET_AT_MOST, self.page.next()).await {
                Err(_) => teller.tell(STILL_HERE.into()).await?,
                Ok(Next::Over) => return Ok(()),
                Ok(Next::Late(upto)) => {
                    self.catch_up(teller, upto).await?;
                    self.tell_now(teller).await?;
                }
                Ok(Next::Pulse(pulse)) if pulse.is_reset => {
                    self.reset(teller, pulse.seq).await?;
                    self.tell_now(teller).await?;
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
        self.is_new = true;
        teller.tell(text.into()).await
    }

    /// Tells the stock of every product, as it is at the moment when the page takes it, and what is shown to who cannot
    /// know.
    async fn tell_now(&mut self, teller: &Teller) -> Result<(), Gone> {
        // Everybody gets the same stock, so the place stands before it: an id counts without an event as well.
        teller.tell(format!("id: {}\n\n", self.told).into()).await?;
        let mut after = None;
        while let Some(piece) = self.orders.stock_after(after.as_ref(), self.told) {
            teller.tell(piece.told).await?;
            after = Some(piece.last);
        }
        if std::mem::take(&mut self.is_new) {
            teller.tell(self.orders.told_shown(self.told).into()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
