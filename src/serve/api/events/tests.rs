use std::path::Path;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::HeaderValue;

use super::*;
use crate::config::schema;
use crate::shop::Running;
use crate::shop::event::Kind;
use crate::shop::fields::Fields;
use crate::shop::product::{ProductEdit, Sku};

/// Nothing here takes this long.
const DEADLINE: Duration = Duration::from_secs(20);

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

async fn open(folder: &Path) -> (Orders, Running) {
    let (orders, running) = Orders::start(folder, &schema::Orders::default()).expect("a thread");
    let opening = async {
        while orders.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, opening).await.expect("the store opens");
    (orders, running)
}

/// Puts so many products in, all at once.
async fn fill(orders: &Orders, count: usize, stock: i64) {
    let text = format!(r#"{{"title":"Cup","price":{{"amount":1999,"currency":"CNY"}},"stock":{stock}}}"#);
    let edit = |number: usize| {
        let fields = Fields::of(text.as_bytes()).expect("an object");
        ProductEdit::read(Some(&format!("P{number:04}")), fields).expect("right")
    };
    orders.put((0..count).map(edit).collect(), None).await.expect("put");
}

async fn cue(orders: &Orders, sku: &str) -> i64 {
    orders.note(Kind::Cue, Sku::parse(sku), None, "{}".to_owned()).await.expect("noted")
}

/// Waits until pages that begin are told of all that happened.
async fn settle(orders: &Orders) {
    let settling = async {
        let wanted = orders.seq();
        while orders.page().expect("on").begin().await < wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, settling).await.expect("the feed comes after");
}

/// A page that was let in.
struct Followed {
    body: Body,
    _ending: watch::Sender<bool>,
}

impl Followed {
    fn new(orders: &Orders, last: Option<i64>) -> Followed {
        let place = Gate::default().enter(PEER, Places { box_max: 0, address_max: 0 }).expect("a place");
        let page = orders.page().expect("on");
        let is_new = last.is_none();
        let follower =
            Follower { orders: orders.clone(), page, is_full: false, told: 0, is_new, _place: place };
        let (teller, body) = Body::told();
        let (ending, ends) = watch::channel(false);
        tokio::spawn(follower.run(teller, "retry: 1\n\n".to_owned(), last, ends));
        Followed { body, _ending: ending }
    }

    async fn piece(&mut self) -> Bytes {
        let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("in time");
        frame.expect("not over").expect("no error").into_data().expect("data")
    }

    /// Everything up to the piece that has this in it.
    async fn until(&mut self, wanted: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(wanted) {
            heard.push_str(std::str::from_utf8(&self.piece().await).expect("text"));
        }
        heard
    }
}

#[test]
fn a_place_in_the_log_is_a_number_or_nothing_yet() {
    assert_eq!(place(""), Ok(None));
    assert_eq!(place("0"), Ok(Some(0)));
    assert_eq!(place("999999999999999999"), Ok(Some(999_999_999_999_999_999)));
    for text in ["-1", "+1", " 1", "1 ", "1.0", "x", "9999999999999999999", "١"] {
        assert!(place(text).is_err(), "{text}");
    }
}

#[test]
fn an_event_source_is_known_by_what_it_accepts() {
    for (accept, is_one) in [
        ("text/event-stream", true),
        ("application/json, Text/Event-Stream;q=0.9", true),
        ("*/*", false),
        ("text/event-streams", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(is_event_source(&headers), is_one, "{accept}");
    }
    assert!(!is_event_source(&HeaderMap::new()));
}

#[tokio::test]
async fn an_audience_behind_one_address_finds_room_and_who_is_turned_away_is_told_when_to_come_back() {
    let (pages, http) = (Pages::default(), Http { max_viewers_per_address: 50, ..Http::default() });
    let inside: Vec<Ticket> =
        (0..PAGES_PER_ADDRESS_MAX).map(|_| pages.enter(&http, PEER, true).expect("a place")).collect();
    // A browser comes back after an answer that is over, and never after an error.
    let answer = pages.enter(&http, PEER, true).expect_err("full");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    let body = answer.into_body().collect().await.expect("it ends").to_bytes();
    let text = std::str::from_utf8(&body).expect("text");
    assert!(text.contains("500 pages") && text.contains("\nretry: ") && text.ends_with("\n\n"), "{text}");
    let answer = pages.enter(&http, PEER, false).expect_err("full");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
    assert!(pages.enter(&http, [10, 0, 0, 1].into(), true).is_ok(), "others have room");
    let any = Http { max_viewers_per_address: 0, ..http };
    assert!(pages.enter(&any, PEER, true).is_ok());
    drop(inside);
    assert!(pages.enter(&http, PEER, true).is_ok());
}

#[test]
fn pages_that_were_cut_off_together_come_back_one_by_one() {
    let pages = Pages::default();
    let mut tenths = [0; 10];
    for _ in 0..1_000 {
        let line = pages.retry(RETRY);
        let millis: u32 = line.trim_start_matches("retry: ").trim_end().parse().expect("a number");
        assert!(RETRY.contains(&millis), "{millis}");
        tenths[((millis - RETRY.start) * 10 / (RETRY.end - RETRY.start)) as usize] += 1;
    }
    assert!(tenths.iter().all(|&count| (90..=110).contains(&count)), "{tenths:?}");
}

#[tokio::test]
async fn who_joins_late_or_missed_too_much_hears_what_is_shown_and_who_was_there_hears_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (orders, _running) = open(folder.path()).await;
    fill(&orders, 3, 1).await;
    cue(&orders, "P0000").await;
    let seq = cue(&orders, "P0001").await;
    settle(&orders).await;
    let heard = Followed::new(&orders, None).until("event: cue").await;
    let (stock, cue_told) = heard.split_once("event: cue").expect("a cue");
    assert_eq!(stock.matches("event: stock").count(), 3, "{heard}");
    assert!(
        cue_told.contains(r#""sku":"P0001""#) && cue_told.contains(&format!(r#""seq":{seq}"#)),
        "{heard}"
    );
    // Its place is the newest, told once and before anything that a broken line could cut off.
    assert_eq!(heard.matches("id: ").count(), 1, "{heard}");
    assert!(stock.starts_with(&format!("retry: 1\n\nid: {seq}\n\n")), "{heard}");

    let mut back = Followed::new(&orders, Some(seq - 1));
    cue(&orders, "P0002").await;
    let heard = back.until(r#""sku":"P0002"}"#).await;
    assert_eq!(
        heard.matches(r#""sku":"P0001""#).count(),
        2,
        "once in the log and once in the stock: {heard}"
    );

    // More than anybody is told one by one.
    fill(&orders, CAUGHT_UP_MAX as usize, 2).await;
    settle(&orders).await;
    let heard = Followed::new(&orders, Some(seq)).until("event: cue").await;
    assert!(heard.contains("event: reset"), "{heard}");
    assert!(heard.split_once("event: cue").is_some_and(|(_, cue)| cue.contains(r#""sku":"P0002""#)));
}

#[tokio::test]
async fn the_cue_outlives_a_restart_and_ends_with_its_show() {
    let folder = tempfile::tempdir().expect("a folder");
    let (orders, running) = open(folder.path()).await;
    fill(&orders, 2, 1).await;
    orders.note(Kind::Show, None, None, r#"{"name":"morning"}"#.to_owned()).await.expect("noted");
    cue(&orders, "P0001").await;
    drop(orders);
    running.stop(DEADLINE).await;

    let (orders, _running) = open(folder.path()).await;
    let heard = Followed::new(&orders, None).until("event: cue").await;
    assert!(heard.contains(r#""name":"morning""#), "{heard}");
    orders.note(Kind::Show, None, None, r#"{"name":"evening"}"#.to_owned()).await.expect("noted");
    settle(&orders).await;
    let heard = Followed::new(&orders, None).until("evening").await;
    assert!(!heard.contains("event: cue") && !heard.contains("morning"), "{heard}");
}

#[tokio::test]
async fn pages_that_begin_together_share_the_bytes_of_the_catalogue() {
    let folder = tempfile::tempdir().expect("a folder");
    let (orders, _running) = open(folder.path()).await;
    fill(&orders, 200, 1).await;
    settle(&orders).await;
    // A rendering may grow old between two pages, hardly in ten times one after the other.
    let is_shared = |first: Bytes, second: Bytes| first.as_ptr() == second.as_ptr();
    let mut shared = false;
    for _ in 0..10 {
        let told = orders.seq().expect("open");
        let ask = || orders.stock_after(None, told).expect("products").told;
        shared |= is_shared(ask(), ask());
    }
    assert!(shared);
}
