//! Orders over HTTP, from outside: what a shop's page sends and gets.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
#![allow(unreachable_pub, reason = "every test file is a crate of its own")]
mod support;

#[path = "orders/contract.rs"]
mod contract;
#[path = "orders/crowds.rs"]
mod crowds;
#[path = "orders/described.rs"]
mod described;
#[path = "orders/products.rs"]
mod products;
#[path = "orders/shop.rs"]
mod shop;
#[path = "orders/wire.rs"]
mod wire;
