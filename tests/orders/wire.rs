//! What happens on the wire: pages of other sites, methods, connections that go on after an error, slow and long bodies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::shop::{self, ask, order, put, said};
use super::support::{Footlight, Request};

const ORDERS: &str = "/api/v1/orders";

#[test]
fn pages_of_other_sites_may_order_and_read_the_answer() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    let page = ("Origin", "https://shop.example");
    let asked_first = [page, ("Access-Control-Request-Method", "POST")];
    let may = ask(&box_, "OPTIONS", ORDERS, &asked_first, "");
    assert_eq!((may.status, may.header("access-control-allow-origin")), (204, Some("*")));
    assert!(may.header("access-control-allow-methods").unwrap().contains("POST"));
    let headers = may.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
    for wanted in ["content-type", "idempotency-key", "authorization", "if-match", "last-event-id"] {
        assert!(headers.contains(wanted), "{wanted}: {headers}");
    }
    let body = r#"{"sku":"CUP-1","quantity":1,"buyer":"li"}"#;
    let ordered = ask(&box_, "POST", ORDERS, &[page, ("Idempotency-Key", "k")], body);
    assert_eq!((ordered.status, ordered.header("access-control-allow-origin")), (201, Some("*")));
    assert!(ordered.header("access-control-expose-headers").unwrap().contains("Idempotency-Replayed"));
    assert_eq!(ordered.header("access-control-allow-credentials"), None);
    let refused = ask(&box_, "POST", ORDERS, &[page], body);
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (400, Some("*")));
    assert_eq!(ask(&box_, "GET", "/api/v1/summary", &[], "").header("access-control-allow-origin"), None);
}

#[test]
fn every_place_says_what_can_be_done_there() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    for (path, allowed) in [
        (ORDERS, "GET, HEAD, POST, OPTIONS"),
        ("/api/v1/orders/x", "GET, HEAD, OPTIONS"),
        ("/api/v1/orders/x/cancel", "POST, OPTIONS"),
        ("/api/v1/products", "GET, HEAD, OPTIONS"),
        ("/api/v1/products/CUP-1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/api/v1/products/CUP-1/lease", "PUT, DELETE, OPTIONS"),
        ("/api/v1/reservations", "POST, OPTIONS"),
        ("/api/v1/summary", "GET, HEAD, OPTIONS"),
    ] {
        let told = ask(&box_, "OPTIONS", path, &[], "");
        assert_eq!((told.status, told.header("allow")), (204, Some(allowed)), "{path}");
        let wrong = ask(&box_, "PATCH", path, &[], "");
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some(allowed)), "{path}");
    }
    let head = ask(&box_, "HEAD", "/api/v1/products", &[], "");
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for nowhere in ["/api/v1", "/api/v1/", "/api/v1/product", "/api/v2/products", "/api/v1/products/a/b"] {
        assert_eq!(ask(&box_, "GET", nowhere, &[], "").status, 404, "{nowhere}");
    }
}

#[test]
fn what_everybody_may_read_is_read_whatever_a_page_adds_to_the_address_and_nothing_else_is() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    put(&box_, "HAT-1", 5);
    let at = order(&box_, "k", "CUP-1", 1, "li").header("location").unwrap().to_owned();
    for path in ["/api/v1/products", "/api/v1/products/CUP-1", "/api/v1/openapi.json", &at] {
        let plain = ask(&box_, "GET", path, &[], "");
        let busted = ask(&box_, "GET", &format!("{path}?_=1700000000&utm_source=qr"), &[], "");
        assert_eq!((busted.status, &busted.text), (200, &plain.text), "{path}");
    }
    let product = r#"{"title":"Cup","price":{"amount":1,"currency":"CNY"}}"#;
    for (method, path, body) in [
        ("GET", "/api/v1/orders", ""),
        ("GET", "/api/v1/products/export", ""),
        ("GET", "/api/v1/summary", ""),
        ("PUT", "/api/v1/products/CUP-1", product),
        ("POST", ORDERS, "{}"),
    ] {
        let unknown = ask(&box_, method, &format!("{path}?colour=red"), &[], body);
        assert_eq!(
            (unknown.status, &unknown.json()["errors"][0]["field"]),
            (422, &"colour".into()),
            "{path}"
        );
    }
    let twice = ask(&box_, "GET", "/api/v1/products?product=A&_=1&product=B", &[], "");
    assert_eq!((twice.status, &twice.json()["errors"][0]["field"]), (422, &"product".into()));
}

#[test]
fn an_order_is_read_as_json_whatever_type_it_comes_with() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 50);
    let body = r#"{"sku":"CUP-1","quantity":1,"buyer":"li"}"#;
    let types =
        [None, Some("application/x-www-form-urlencoded"), Some("text/plain"), Some("application/json")];
    for path in [ORDERS, "/api/v1/reservations"] {
        for (number, kind) in types.into_iter().enumerate() {
            let key = format!("{path}-{number}");
            let kind = kind.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nIdempotency-Key: {key}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
                box_.http(),
                body.len()
            );
            let told = exchange(&mut connect(&box_), request.as_bytes());
            assert!(told.starts_with("HTTP/1.1 201 "), "{path} {kind}: {told}");
        }
    }
    let form = "sku=CUP-1&quantity=1&buyer=li";
    let request = Request::new("POST", ORDERS).header("Idempotency-Key", "form");
    let form = said(&box_, &request.body("application/x-www-form-urlencoded", form.as_bytes()));
    assert_eq!((form.status, form.problem().as_str()), (422, "invalid"), "{form:?}");
}

#[test]
fn an_address_that_cannot_be_read_is_answered_as_every_error_is() {
    let box_ = shop::open("");
    let long = format!("/api/v1/products/{}", "x".repeat(3_000));
    for (path, status) in [("/api/v1/products/%zz", 400), ("/api/v1/products/%ff", 400), (&long, 414)] {
        // Which place is meant nobody knows, so that none is described to answer it.
        let answer =
            Request::new("GET", path).header("Origin", "https://shop.example").send(box_.http()).unwrap();
        assert_eq!(answer.status, status, "{path:.80}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let told: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(told["status"], status, "{told}");
    }
}

/// Sends bytes over a socket and reads one answer's head and body.
fn exchange(socket: &mut TcpStream, bytes: &[u8]) -> String {
    socket.write_all(bytes).unwrap();
    let mut read = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match socket.read(&mut chunk).unwrap() {
            0 => return text,
            count => read.extend_from_slice(&chunk[..count]),
        }
    }
}

fn connect(box_: &Footlight) -> TcpStream {
    let socket = TcpStream::connect(box_.http()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

#[test]
fn a_connection_goes_on_after_every_kind_of_no() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 100);
    let body = r#"{"sku":"CUP-1","quantity":1,"buyer":"li"}"#;
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {length}\r\n\r\n{body}",
            box_.http()
        )
    };
    let json = "Content-Type: application/json\r\n";
    let long = format!("{body}{}", " ".repeat(60_000));
    let mut socket = connect(&box_);
    for (request, status) in [
        (post(ORDERS, json, body), 400),
        (post("/api/v1/show", "", body), 415),
        (post(ORDERS, &format!("{json}Idempotency-Key: k\r\n"), &long), 413),
        (post("/api/v1/nowhere", json, &long), 404),
        (post("/api/v1/summary", json, body), 405),
        (post(ORDERS, &format!("{json}Idempotency-Key: k\r\n"), "{"), 422),
        (post(ORDERS, &format!("{json}Idempotency-Key: k\r\n"), body), 201),
    ] {
        let (head, rest) = request.split_at(request.len() - 20);
        socket.write_all(head.as_bytes()).unwrap();
        let told = exchange(&mut socket, rest.as_bytes());
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {told}");
        assert!(!told.contains("connection: close"), "{status}: {told}");
    }
}

#[test]
fn a_body_in_chunks_is_read_and_an_endless_one_is_not() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 100);
    let head = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        box_.http()
    );
    let chunk = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
    let whole =
        format!("{head}{}{}0\r\n\r\n", chunk(r#"{"sku":"CUP-1","#), chunk(r#""quantity":1,"buyer":"li"}"#));
    assert!(exchange(&mut connect(&box_), whole.as_bytes()).starts_with("HTTP/1.1 201 "));
    let endless = format!("{head}{}", chunk(&" ".repeat(10_000)).repeat(200));
    let mut socket = connect(&box_);
    // It may close before all is written.
    let _ = socket.write_all(endless.as_bytes());
    let told = exchange(&mut socket, b"");
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert!(told.contains("connection: close"), "{told}");
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let box_ = shop::open("");
    let mut socket = connect(&box_);
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n\
         Content-Length: 100\r\n\r\n{{\"sku\"",
        box_.http()
    );
    let told = exchange(&mut socket, request.as_bytes());
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("connection: close"), "{told}");
    assert_eq!(socket.read(&mut [0; 16]).unwrap(), 0, "the connection ends");
}
