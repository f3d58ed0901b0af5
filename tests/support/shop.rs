//! A buyer's and a shopkeeper's side of the orders API, one request a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Request, get};

/// One order as a buyer sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub key: String,
    pub sku: String,
    pub quantity: u32,
    pub buyer: String,
    pub contact: String,
}

impl Ask {
    pub fn one(key: impl Into<String>, sku: &str) -> Ask {
        let key = key.into();
        Ask { buyer: format!("buyer-{key}"), key, sku: sku.to_owned(), quantity: 1, contact: String::new() }
    }

    /// Sends it, and hands back the answer if there is one within `patience`.
    ///
    /// # Errors
    /// When the box is gone before it has answered.
    pub fn send(&self, server: SocketAddr, patience: Duration) -> io::Result<(u16, Value)> {
        let body = json!({
            "sku": self.sku, "quantity": self.quantity, "buyer": self.buyer, "contact": self.contact,
        });
        let request = Request::new("POST", "/api/v1/orders").header("Idempotency-Key", &self.key);
        let answer = request.patience(patience).json(&body.to_string()).send(server)?;
        let status = answer.status;
        let mut text = String::new();
        io::Read::read_to_string(&mut { answer }, &mut text)?;
        let told =
            serde_json::from_str(&text).map_err(|error| io::Error::other(format!("{error}: {text:?}")))?;
        Ok((status, told))
    }
}

/// Makes or edits a product, as somebody on the box itself may.
#[track_caller]
pub fn put_product(server: SocketAddr, sku: &str, stock: i64) -> Value {
    put(Request::new("PUT", &format!("/api/v1/products/{sku}")), server, sku, stock)
}

/// The same from elsewhere, with an admin's token.
#[track_caller]
pub fn put_product_by(token: &str, server: SocketAddr, sku: &str, stock: i64) -> Value {
    let request = Request::new("PUT", &format!("/api/v1/products/{sku}"));
    put(request.header("Authorization", &format!("Bearer {}", token.trim())), server, sku, stock)
}

#[track_caller]
fn put(request: Request, server: SocketAddr, sku: &str, stock: i64) -> Value {
    let body = json!({ "title": sku, "price": { "amount": 1_999, "currency": "CNY" }, "stock": stock });
    let answer = request.json(&body.to_string()).send(server).unwrap();
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

/// A product as it is now.
#[track_caller]
pub fn product(server: SocketAddr, sku: &str) -> Value {
    serde_json::from_str(&get(server, &format!("/api/v1/products/{sku}")).text()).unwrap()
}

/// An order as who has its id sees it; none where there is no such order.
#[track_caller]
pub fn order(server: SocketAddr, id: &str) -> Option<Value> {
    let answer = get(server, &format!("/api/v1/orders/{id}"));
    (answer.status == 200).then(|| serde_json::from_str(&answer.text()).unwrap())
}
