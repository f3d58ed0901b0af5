//! A box with a shop, and what is asked of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::described;
use crate::support::{Builder, Footlight, Request, wait_until};

/// A stream that leaves the processors to the buyers.
pub const SMALL: &str =
    "[box]\ndata_dir = \"data\"\n[[stream]]\nname = \"main\"\nsize = \"320x180\"\nfps = 5\n";

/// What was answered.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Said {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The end of the problem's type; empty if it is none.
    #[track_caller]
    pub fn problem(&self) -> String {
        let told = self.json();
        let kind = told["type"].as_str().unwrap_or_default();
        kind.strip_prefix("https://footlight.dev/problems/").unwrap_or_default().to_owned()
    }
}

/// A box whose addresses have no bound, with more lines below `[orders]`.
pub fn open(more: &str) -> Footlight {
    started(Footlight::with(&format!("{SMALL}[orders]\nrate_per_address = 0\n{more}")))
}

/// Starts it, and returns once it takes orders.
pub fn started(builder: Builder) -> Footlight {
    let box_ = builder.start();
    wait_until(Duration::from_secs(20), "the order store is open", || {
        ask(&box_, "GET", "/api/v1/summary", &[], "").json()["store"]["up"] == true
    });
    box_
}

/// Asks; a body is JSON. Without one there is no content type either.
#[track_caller]
pub fn ask(box_: &Footlight, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
    let mut request = Request::new(method, path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if !body.is_empty() {
        request = request.json(body);
    } else if matches!(method, "POST" | "PUT" | "DELETE") {
        request = request.header("Content-Length", "0");
    }
    said(box_, &request)
}

/// Asks; the answer must be as `openapi.json` describes it.
#[track_caller]
pub fn said(box_: &Footlight, request: &Request) -> Said {
    let answer = request.send(box_.http()).unwrap();
    let (status, headers) = (answer.status, answer.headers.clone());
    let said = Said { status, headers, text: String::from_utf8_lossy(&answer.bytes()).into_owned() };
    described::check(request.method(), request.path(), &said);
    said
}

#[track_caller]
pub fn put(box_: &Footlight, sku: &str, stock: i64) -> Value {
    let body = json!({ "title": sku, "price": { "amount": 1_999, "currency": "CNY" }, "stock": stock });
    let said = ask(box_, "PUT", &format!("/api/v1/products/{sku}"), &[], &body.to_string());
    assert!(matches!(said.status, 200 | 201), "{said:?}");
    said.json()
}

#[track_caller]
pub fn order(box_: &Footlight, key: &str, sku: &str, quantity: i64, buyer: &str) -> Said {
    let body = json!({ "sku": sku, "quantity": quantity, "buyer": buyer, "contact": "Lane 7" });
    ask(box_, "POST", "/api/v1/orders", &[("Idempotency-Key", key)], &body.to_string())
}

#[track_caller]
pub fn reserve(box_: &Footlight, key: &str, sku: &str, quantity: i64, buyer: &str) -> Said {
    let body = json!({ "sku": sku, "quantity": quantity, "buyer": buyer });
    ask(box_, "POST", "/api/v1/reservations", &[("Idempotency-Key", key)], &body.to_string())
}

/// Available, held and sold.
#[track_caller]
pub fn stock(box_: &Footlight, sku: &str) -> (i64, i64, i64) {
    let told = ask(box_, "GET", &format!("/api/v1/products/{sku}"), &[], "").json();
    let count = |name: &str| told[name].as_i64().unwrap_or_else(|| panic!("{told}"));
    (count("available"), count("held"), count("sold"))
}

/// Makes a token by the command line; a running box takes it over.
#[track_caller]
pub fn token(box_: &Footlight, role: &str) -> String {
    let mut command = std::process::Command::new(crate::support::process::BINARY);
    command.args(["token", "new", "--role", role, "--config", "footlight.toml"]).current_dir(box_.folder());
    let made = crate::support::output_within(Duration::from_secs(20), &mut command);
    format!("Bearer {}", String::from_utf8_lossy(&made.stdout).trim_end())
}
