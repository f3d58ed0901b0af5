//! What pages follow, over real sockets: stock, orders and cues as they happen, with nothing lost and nothing doubled.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use footlight::base::{clock, threads};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Footlight, Request, Response, wait_until};

const DEADLINE: Duration = Duration::from_secs(30);

/// What pages hear at once, with room for a machine that has much else to do.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Pages in the crowd, and what they hear being sold.
const CROWD: usize = 50;
const UNITS: i64 = 300;

fn config(data: &Path) -> String {
    format!(
        "[box]\ndata_dir = '{}'\n[http]\nmax_viewers_per_address = 0\n[orders]\nrate_per_address = 0\n\
         [[stream]]\nname = \"main\"\nsize = \"320x180\"\nbitrate = \"300kbit/s\"\n",
        data.display()
    )
}

/// One server-sent event.
#[derive(Debug)]
struct Event {
    id: Option<i64>,
    name: String,
    data: Value,
}

/// A page that follows.
struct Page {
    lines: BufReader<Response>,
    last_id: Option<i64>,
}

fn ask(last: Option<i64>, token: Option<&str>) -> Request {
    let mut request = Request::new("GET", "/api/v1/events").patience(DEADLINE);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", &last.to_string());
    }
    if let Some(token) = token {
        request = request.header("Authorization", &format!("Bearer {token}"));
    }
    request
}

impl Page {
    #[track_caller]
    fn open(server: SocketAddr, last: Option<i64>, token: Option<&str>) -> Page {
        Page::of(ask(last, token).send(server).unwrap())
    }

    #[track_caller]
    fn of(answer: Response) -> Page {
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
            ("access-control-allow-origin", "*"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        Page { lines: BufReader::new(answer), last_id: None }
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event { id: None, name: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                // An id counts without an event as well.
                _ if line == "\n" => {
                    self.last_id = event.id.or(self.last_id);
                    if !event.name.is_empty() {
                        return Ok(Some(event));
                    }
                    event.id = None;
                }
                // `retry` and comments.
                _ => {}
            }
        }
    }

    /// Reads until `wanted`, and hands back everything up to it.
    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let end = clock::now() + DEADLINE;
        let mut heard = Vec::new();
        while heard.last().is_none_or(|event| !wanted(event)) {
            assert!(clock::now() < end, "not heard: {what}; heard: {heard:?}");
            match self.next() {
                Ok(Some(event)) => heard.push(event),
                other => panic!("not heard: {what}: {other:?}; heard: {heard:?}"),
            }
        }
        heard
    }
}

fn numbers(events: &[Event]) -> Vec<i64> {
    let orders = events.iter().filter(|event| event.name == "order");
    orders.map(|event| event.data["number"].as_i64().unwrap()).collect()
}

fn is_stock(event: &Event, sku: &str, available: i64) -> bool {
    event.name == "stock" && event.data["sku"] == sku && event.data["available"] == available
}

#[track_caller]
fn put(server: SocketAddr, sku: &str, stock: i64) {
    let body = format!(r#"{{"title":"Cup","price":{{"amount":1999,"currency":"CNY"}},"stock":{stock}}}"#);
    let answer = Request::new("PUT", &format!("/api/v1/products/{sku}")).json(&body).send(server).unwrap();
    let status = answer.status;
    assert!(matches!(status, 200 | 201), "{status}: {}", answer.text());
}

fn order(server: SocketAddr, sku: &str, key: &str) -> (u16, Value) {
    let body = format!(
        r#"{{"sku":"{sku}","quantity":1,"buyer":"buyer-{key}","contact":"call secret-number-{key}"}}"#
    );
    let request = Request::new("POST", "/api/v1/orders").header("Idempotency-Key", key).json(&body);
    let answer = request.send(server).unwrap();
    (answer.status, serde_json::from_str(&answer.text()).unwrap())
}

#[track_caller]
fn accepted(server: SocketAddr, sku: &str, key: &str) -> Value {
    let (status, said) = order(server, sku, key);
    assert_eq!(status, 201, "{said}");
    said
}

/// A box whose order store is open.
#[track_caller]
fn start(config: &str) -> Footlight {
    let box_ = Footlight::start(config);
    wait_for_store(&box_);
    box_
}

#[track_caller]
fn wait_for_store(box_: &Footlight) {
    wait_until(DEADLINE, "the store", || box_.metric("footlight_store_up", "") == Some(1.0));
}

/// A token of that role for the box that keeps its data there.
#[track_caller]
fn token(data: &Path, role: &str) -> String {
    let builder = Footlight::with(&config(data));
    let made = builder.run_to_end(DEADLINE, &["token", "new", "--role", role, "--config", "footlight.toml"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    made.stdout.trim().to_owned()
}

#[test]
fn a_page_sees_the_stock_fall_at_once_and_only_the_shop_sees_whose_order_it_was() {
    let data = tempfile::tempdir().unwrap();
    let token = token(data.path(), "anchor");
    let box_ = start(&config(data.path()));
    put(box_.http(), "CUP-1", 5);
    let mut buyer = Page::open(box_.http(), None, None);
    let mut shop = Page::open(box_.http(), None, Some(&token));
    for page in [&mut buyer, &mut shop] {
        page.until("the stock of now", |event| is_stock(event, "CUP-1", 5));
    }
    let asked_at = clock::now();
    let said = accepted(box_.http(), "CUP-1", "k1");
    let heard = buyer.until("the stock after", |event| is_stock(event, "CUP-1", 4));
    let took = clock::now() - asked_at;
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(numbers(&heard), [said["number"].as_i64().unwrap()]);
    let told = format!("{heard:?}");
    for secret in ["secret-number", "buyer-k1", said["id"].as_str().unwrap()] {
        assert!(!told.contains(secret), "{told}");
    }
    let heard = shop.until("the order", |event| event.name == "order");
    let whole = &heard.last().unwrap().data;
    assert_eq!((&whole["id"], &whole["buyer"]), (&said["id"], &"buyer-k1".into()));
    assert_eq!(whole["contact"], "call secret-number-k1");
    // The same for who was away meanwhile.
    for (token, is_whole) in [(None, false), (Some(&*token), true)] {
        let mut late = Page::open(box_.http(), Some(0), token);
        let heard = late.until("the order", |event| event.name == "order");
        assert_eq!(format!("{heard:?}").contains("secret-number"), is_whole, "{heard:?}");
    }
}

#[test]
fn a_page_that_comes_back_after_a_power_cut_gets_what_it_missed_once() {
    let data = tempfile::tempdir().unwrap();
    let mut box_ = start(&config(data.path()));
    put(box_.http(), "CUP-1", 1_000);
    let mut page = Page::open(box_.http(), None, None);
    page.until("the stock of now", |event| is_stock(event, "CUP-1", 1_000));
    let mut heard = Vec::new();
    for count in 1..=30 {
        accepted(box_.http(), "CUP-1", &format!("a{count}"));
        if count == 20 {
            heard.extend(page.until("some orders", |event| is_stock(event, "CUP-1", 980)));
        }
    }
    let last = page.last_id;
    box_.kill9();

    // The page may be back before the store is open.
    let box_ = Footlight::start(&config(data.path()));
    let mut page = Page::open(box_.http(), last, None);
    wait_for_store(&box_);
    for count in 1..=20 {
        accepted(box_.http(), "CUP-1", &format!("b{count}"));
    }
    heard.extend(page.until("the newest stock", |event| is_stock(event, "CUP-1", 950)));
    let last = page.last_id;
    // An order that is repeated is none.
    accepted(box_.http(), "CUP-1", "b20");
    accepted(box_.http(), "CUP-1", "c1");
    heard.extend(page.until("the last", |event| event.name == "order"));
    assert!(page.last_id > last);
    assert_eq!(numbers(&heard), (1..=51).collect::<Vec<i64>>());
    let ids: Vec<i64> = heard.iter().filter_map(|event| event.id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(heard.iter().all(|event| event.name != "reset"));
}

#[test]
fn a_page_whose_place_the_log_does_not_know_is_told_to_read_the_lists() {
    let data = tempfile::tempdir().unwrap();
    let box_ = start(&config(data.path()));
    put(box_.http(), "CUP-1", 5);
    let mut page = Page::open(box_.http(), Some(1_000_000), None);
    let heard = page.until("the stock", |event| is_stock(event, "CUP-1", 5));
    assert_eq!(heard[0].name, "reset");
    let newest = heard[0].id.unwrap();
    assert_eq!(heard[0].data["seq"], newest);
    accepted(box_.http(), "CUP-1", "k");
    let heard = page.until("the order", |event| event.name == "order");
    assert!(heard.last().unwrap().id > Some(newest), "{heard:?}");
    for (request, field) in [
        (Request::new("GET", "/api/v1/events").header("Last-Event-ID", "x"), "last-event-id"),
        (Request::new("GET", "/api/v1/events?last_event_id=-1"), "last_event_id"),
    ] {
        let answer = request.send(box_.http()).unwrap();
        assert_eq!(answer.status, 422, "{field}");
        let said: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(said["errors"][0]["field"], field, "{said}");
    }
    // Names that tools between add to get past caches are no mistake of the page's.
    for path in ["/api/v1/events", "/api/v1/events?_=1700000000"] {
        assert_eq!(support::head(box_.http(), path).status, 200, "{path}");
    }
}

#[test]
fn a_cue_goes_to_all_pages_with_the_time_of_the_stream() {
    let data = tempfile::tempdir().unwrap();
    let (anchor, viewer) = (token(data.path(), "anchor"), token(data.path(), "viewer"));
    let box_ = start(&config(data.path()));
    put(box_.http(), "CUP-1", 5);
    box_.wait_for_picture("main");
    let mut page = Page::open(box_.http(), None, None);
    page.until("the stock", |event| event.name == "stock");
    let post = |token: &str, body: &str| {
        let authorization = format!("Bearer {token}");
        let request = Request::new("POST", "/api/v1/cues").header("Authorization", &authorization).json(body);
        let answer = request.send(box_.http()).unwrap();
        (answer.status, serde_json::from_str::<Value>(&answer.text()).unwrap())
    };
    let (status, said) = post(&anchor, r#"{"sku":"CUP-1"}"#);
    assert_eq!(status, 201, "{said}");
    assert!(said["stream_time_ms"].as_i64().is_some_and(|millis| millis >= 0), "{said}");
    let heard = page.until("the cue", |event| event.name == "cue");
    let cue = heard.last().unwrap();
    for field in ["id", "sku", "stream", "stream_time_ms", "seq"] {
        assert_eq!(cue.data[field], said[field], "{field}");
    }
    assert_eq!((cue.id, &said["stream"]), (said["seq"].as_i64(), &"main".into()));
    // Who joins now was not there, and sees what is shown all the same, after what there is of it.
    let mut late = Page::open(box_.http(), None, None);
    let heard = late.until("the cue that stands", |event| event.name == "cue");
    assert_eq!(heard.last().unwrap().data, cue.data);
    assert!(heard.iter().any(|event| is_stock(event, "CUP-1", 5)), "{heard:?}");
    assert_eq!(late.last_id, cue.id);
    for (token, body, status, says) in [
        (&viewer, r#"{"sku":"CUP-1"}"#, 403, "anchor"),
        (&anchor, r#"{"sku":"CUP-2"}"#, 404, "SKU"),
        (&anchor, r#"{"sku":"a/b"}"#, 422, "sku"),
        (&anchor, r#"{"sku":"CUP-1","stream":"other"}"#, 422, "main"),
        (&anchor, r#"{"sku":"CUP-1","steam":"main"}"#, 422, "steam"),
    ] {
        let (got, said) = post(token, body);
        assert_eq!(got, status, "{body}: {said}");
        assert!(said["detail"].as_str().is_some_and(|words| words.contains(says)), "{body}: {said}");
    }
}

#[test]
fn a_crowd_of_pages_hears_that_it_is_sold_out_and_no_order_twice() {
    let data = tempfile::tempdir().unwrap();
    let box_ = start(&config(data.path()));
    let server = box_.http();
    put(server, "CUP-1", UNITS);
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut page = Page::open(server, None, None);
            threads::spawn("test", "page", move || {
                let heard = page.until("sold out", |event| event.name == "sold-out");
                assert_eq!(heard.last().unwrap().data["sku"], "CUP-1");
                let left = page.until("the last stock", |event| is_stock(event, "CUP-1", 0));
                numbers(&heard).into_iter().chain(numbers(&left)).collect::<Vec<_>>()
            })
            .unwrap()
        })
        .collect();
    wait_until(DEADLINE, "the crowd", || box_.metric("footlight_event_pages", "") == Some(CROWD as f64));
    let buyers: Vec<_> = (0..2)
        .map(|buyer| {
            threads::spawn("test", "buyer", move || {
                (0..UNITS)
                    .filter(|count| order(server, "CUP-1", &format!("{buyer}-{count}")).0 == 201)
                    .count()
            })
            .unwrap()
        })
        .collect();
    let sold: usize = buyers.into_iter().map(|buyer| buyer.join().unwrap()).sum();
    assert_eq!(sold as i64, UNITS);
    for page in crowd {
        let numbers = page.join().unwrap();
        let different: BTreeSet<i64> = numbers.iter().copied().collect();
        assert_eq!(different.len(), numbers.len(), "an order was told twice");
        assert!(numbers.is_sorted());
    }
    wait_until(DEADLINE, "their leaving", || box_.metric("footlight_event_pages", "") == Some(0.0));
}

#[test]
fn pages_end_when_the_box_does_and_one_too_many_is_told_to_come_back() {
    let data = tempfile::tempdir().unwrap();
    let some = config(data.path()).replace("max_viewers_per_address = 0", "max_viewers_per_address = 2");
    let mut box_ = start(&some);
    put(box_.http(), "CUP-1", 5);
    let mut pages = [0, 1].map(|_| Page::open(box_.http(), None, None));
    for page in &mut pages {
        page.until("the stock", |event| event.name == "stock");
    }
    // An audience behind one router has one address, so that far more pages than viewers may come from it.
    let crowd: Vec<TcpStream> = (pages.len()..500)
        .map(|_| {
            let mut socket = TcpStream::connect(box_.http()).unwrap();
            socket.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: box\r\n\r\n").unwrap();
            socket
        })
        .collect();
    wait_until(DEADLINE, "the audience", || box_.metric("footlight_event_pages", "") == Some(500.0));
    let refused = ask(None, None).send(box_.http()).unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.text().contains("max_viewers_per_address"));
    // What a browser's EventSource sends: it would take an error for the end.
    let refused = ask(None, None).header("Accept", "text/event-stream").send(box_.http()).unwrap();
    assert_eq!((refused.status, refused.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    let told = refused.text();
    assert!(told.contains("\nretry: ") && !told.contains("data: "), "{told}");
    assert_eq!(box_.metric("footlight_event_pages_refused_total", ""), Some(2.0));
    drop(crowd);
    let asked_at = clock::now();
    box_.signal(Signal::SIGTERM);
    for page in &mut pages {
        assert!(page.next().unwrap().is_none(), "it ends whole");
    }
    let took = clock::now() - asked_at;
    assert!(took < AT_ONCE, "{took:?}");
    box_.wait(DEADLINE);
}
