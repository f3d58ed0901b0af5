//! Crowds: everybody wants it at once, asks twice, gives up, comes again; and no unit is sold twice.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

use super::shop::{self, ask, put, stock};
use super::support::crowd::{self, Ask, Dice, Told};
use super::support::wait_until;

const CONNECTIONS: usize = 400;

/// How many answers of each status and problem.
fn tally(told: &[Option<Told>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for told in told {
        let name = match told {
            None => "no answer".to_owned(),
            Some(Told { status: 201, .. }) => "201".to_owned(),
            Some(Told { status, body, .. }) => {
                let problem: Value = serde_json::from_str(body).unwrap_or_default();
                let kind = problem["type"].as_str().unwrap_or_default();
                format!("{status} {}", kind.rsplit('/').next().unwrap_or_default())
            }
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Each key was told one thing, whatever happened on the way; hands back what.
#[track_caller]
fn one_answer_each(asks: &[Ask], told: &[Option<Told>]) -> HashMap<String, (u16, String)> {
    let mut answers = HashMap::new();
    for (ask, told) in asks.iter().zip(told) {
        let (Some(key), Some(Told { status: status @ (201 | 409), body, .. })) = (&ask.key, told) else {
            continue;
        };
        let answer = (*status, body.clone());
        let first = answers.entry(key.clone()).or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "key {key} was told two things");
    }
    answers
}

#[test]
fn ten_thousand_buyers_for_a_hundred_units_and_exactly_a_hundred_get_one() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 100);
    let asks: Vec<Ask> = (0..10_000)
        .map(|buyer| Ask::order(format!("key-{buyer}"), "CUP-1", 1, &format!("b{buyer}")))
        .collect();
    let told = crowd::send(box_.http(), CONNECTIONS, &asks);
    let counts = tally(&told);
    assert_eq!(counts, BTreeMap::from([("201".to_owned(), 100), ("409 sold-out".to_owned(), 9_900)]));
    assert_eq!(stock(&box_, "CUP-1"), (0, 0, 100));
    let ids: std::collections::HashSet<String> = told
        .iter()
        .flatten()
        .filter(|told| told.status == 201)
        .map(|told| serde_json::from_str::<Value>(&told.body).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 100, "each order has an id of its own");
}

#[test]
fn buyers_who_ask_twice_give_up_and_come_again_in_any_order_get_one_answer() {
    let mut dice = Dice::new();
    let box_ = shop::open("");
    put(&box_, "CUP-1", 100);
    let mut asks = Vec::new();
    for buyer in 0..3_000 {
        let order = Ask::order(format!("key-{buyer}"), "CUP-1", 1, &format!("b{buyer}"));
        for _ in 0..=dice.below(4) {
            let patience = dice.percent(20).then(|| Duration::from_micros(100 + dice.below(20_000) as u64));
            asks.push(Ask { patience, ..order.clone() });
        }
    }
    dice.shuffle(&mut asks);
    let mut told = crowd::send(box_.http(), CONNECTIONS, &asks);
    // Who heard nothing asks again until there is an answer, with the same key.
    let mut again: Vec<Ask> = asks.iter().map(|ask| Ask { patience: None, ..ask.clone() }).collect();
    dice.shuffle(&mut again);
    told.extend(crowd::send(box_.http(), CONNECTIONS, &again));
    asks.extend(again);
    let answers = one_answer_each(&asks, &told);
    let sold = answers.values().filter(|(status, _)| *status == 201).count();
    assert_eq!((answers.len(), sold), (3_000, 100));
    assert_eq!(stock(&box_, "CUP-1"), (0, 0, 100));
}

/// Of an order or a reservation.
fn quantity(told: &Told) -> i64 {
    serde_json::from_str::<Value>(&told.body).unwrap()["quantity"].as_i64().unwrap()
}

#[test]
fn stock_adds_up_while_products_are_edited_and_reservations_run_out() {
    let mut dice = Dice::new();
    let box_ = shop::open("hold = \"5s\"\n");
    put(&box_, "CUP-1", 200);
    let (mut asks, mut added, mut price) = (Vec::new(), 0, 1_000);
    for number in 0..4_000 {
        let key = Some(format!("key-{number}"));
        let wish = json!({ "sku": "CUP-1", "quantity": 1 + dice.below(3), "buyer": format!("b{number}") });
        asks.push(match dice.below(100) {
            0..60 => Ask::post("/api/v1/orders", key, wish.to_string()),
            60..90 => Ask::post("/api/v1/reservations", key, wish.to_string()),
            90..95 => {
                let add = 1 + dice.below(5);
                added += add as i64;
                let body = json!({ "add": add, "reason": "found" }).to_string();
                Ask::post("/api/v1/products/CUP-1/stock", None, body)
            }
            _ => {
                price += 1;
                let money = json!({ "amount": price, "currency": "CNY" });
                let body = json!({ "title": format!("Cup at {price}"), "price": money }).to_string();
                Ask { method: "PUT", ..Ask::post("/api/v1/products/CUP-1", None, body) }
            }
        });
    }
    let told = crowd::send(box_.http(), CONNECTIONS, &asks);
    let counts = tally(&told);
    assert_eq!(counts.get("no answer"), None, "{counts:?}");
    let (mut sold, mut reserved) = (0, 0);
    for (ask, told) in asks.iter().zip(told.iter().flatten()) {
        if ask.path == "/api/v1/orders" && told.status == 201 {
            sold += quantity(told);
        } else if ask.path == "/api/v1/reservations" && told.status == 201 {
            reserved += quantity(told);
        } else if ask.key.is_none() {
            assert_eq!(told.status, 200, "{ask:?}: {told:?}");
        }
    }
    // Some time runs out while orders come: they go on until one of the reservations is over.
    assert!(reserved > 0, "{counts:?}");
    let mut late = 0;
    wait_until(Duration::from_secs(20), "a reservation's time is over while orders come", || {
        let over = stock(&box_, "CUP-1").1 < reserved;
        late += 1;
        let said = shop::order(&box_, &format!("late-{late}"), "CUP-1", 1, &format!("late-{late}"));
        assert!(said.status == 201 || said.problem() == "sold-out", "{said:?}");
        sold += i64::from(said.status == 201);
        over
    });
    // What was only held comes back by itself, and can be bought.
    wait_until(Duration::from_secs(20), "every reservation's time is over", || stock(&box_, "CUP-1").1 == 0);
    assert_eq!(stock(&box_, "CUP-1"), (200 + added - sold, 0, sold), "{counts:?}");
    let left = 200 + added - sold;
    if left > 0 {
        let all = shop::order(&box_, "all", "CUP-1", left, "last");
        assert_eq!(all.status, 201, "{all:?}");
    }
    assert_eq!(shop::order(&box_, "more", "CUP-1", 1, "last").problem(), "sold-out");
    let summary = ask(&box_, "GET", "/api/v1/summary", &[], "").json();
    assert_eq!(summary["units"], 200 + added, "{summary}");
}
