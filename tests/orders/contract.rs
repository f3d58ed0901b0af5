//! The contract of orders and reservations, and every way to be told no.

use std::time::Duration;

use serde_json::json;

use super::shop::{self, ask, order, put, reserve, stock, token};
use super::support::{Footlight, wait_until};

const ORDERS: &str = "/api/v1/orders";

#[test]
fn an_order_is_accepted_once_and_the_same_key_gets_the_same_answer() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 10);
    let first = order(&box_, "key-1", "CUP-1", 2, "li");
    assert_eq!(first.status, 201, "{first:?}");
    let told = first.json();
    assert_eq!(
        (&told["state"], &told["sku"], &told["quantity"]),
        (&"accepted".into(), &"CUP-1".into(), &2.into())
    );
    assert_eq!(told["total"], json!({ "amount": 3_998, "currency": "CNY" }));
    let at = first.header("location").unwrap().to_owned();
    assert_eq!(at, format!("{ORDERS}/{}", told["id"].as_str().unwrap()));
    assert_eq!(first.header("idempotency-replayed"), None);

    let again = order(&box_, "key-1", "CUP-1", 2, "li");
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(stock(&box_, "CUP-1"), (8, 0, 2));

    let cancelled = ask(&box_, "POST", &format!("{at}/cancel"), &[], "");
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &"cancelled".into()));
    assert_eq!(stock(&box_, "CUP-1"), (10, 0, 0));
    assert_eq!(order(&box_, "key-1", "CUP-1", 2, "li").text, first.text, "whatever became of it");
}

#[test]
fn who_has_the_id_sees_the_order_and_only_the_shops_people_whom_to_reach() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 10);
    let at = order(&box_, "k", "CUP-1", 1, "li").header("location").unwrap().to_owned();
    let open = ask(&box_, "GET", &at, &[], "");
    assert_eq!((open.status, open.json().get("contact"), open.json().get("buyer")), (200, None, None));
    for (role, sees) in [("viewer", false), ("anchor", true), ("admin", true)] {
        let told = ask(&box_, "GET", &at, &[("Authorization", &token(&box_, role))], "").json();
        assert_eq!(told["contact"] == "Lane 7" && told["buyer"] == "li", sees, "{role}: {told}");
    }
    let wrong = ask(&box_, "GET", &at, &[("Authorization", "Bearer flt_nobody")], "");
    assert_eq!((wrong.status, wrong.problem().as_str()), (401, "token-unknown"));
}

#[test]
fn every_wish_that_cannot_be_granted_is_told_why_by_name() {
    let box_ = shop::open("buyer_limit = 3\n");
    put(&box_, "CUP-1", 5);
    put(&box_, "OFF-1", 5);
    let off = r#"{"title":"Off","price":{"amount":1,"currency":"CNY"},"on_sale":false}"#;
    assert_eq!(ask(&box_, "PUT", "/api/v1/products/OFF-1", &[], off).status, 200);
    put(&box_, "DEAR", 5_000);
    let dear = r#"{"title":"Dear","price":{"amount":1000000000000,"currency":"CNY"},"buyer_limit":0}"#;
    assert_eq!(ask(&box_, "PUT", "/api/v1/products/DEAR", &[], dear).status, 200);
    for (key, body, status, name) in [
        ("a", json!({"sku":"CUP-1","quantity":9,"buyer":"a"}), 409, "buyer-limit"),
        ("b", json!({"sku":"CUP-1","quantity":1,"buyer":"a","version":9}), 409, "product-changed"),
        ("c", json!({"sku":"OFF-1","quantity":1,"buyer":"a"}), 409, "not-on-sale"),
        ("d", json!({"sku":"DEAR","quantity":2,"buyer":"a"}), 409, "total-too-large"),
        ("e", json!({"sku":"NONE","quantity":1,"buyer":"a"}), 404, "no-such-product"),
        (
            "f",
            json!({"sku":"CUP-1","quantity":1,"buyer":"a","reservation":"00000000000000000000000000"}),
            409,
            "no-such-reservation",
        ),
    ] {
        for _ in 0..2 {
            let said = ask(&box_, "POST", ORDERS, &[("Idempotency-Key", key)], &body.to_string());
            assert_eq!((said.status, said.problem().as_str()), (status, name), "{body}: {said:?}");
            assert_eq!(said.header("content-type"), Some("application/problem+json"));
        }
    }
    assert_eq!(order(&box_, "g", "CUP-1", 3, "a").status, 201);
    let out = order(&box_, "h", "CUP-1", 3, "b");
    assert_eq!((out.status, out.problem().as_str()), (409, "sold-out"));
    put(&box_, "CUP-1", 50);
    let out = order(&box_, "h", "CUP-1", 3, "b");
    assert_eq!((out.status, out.problem().as_str()), (409, "sold-out"), "the same key, the same answer");
    let reused = order(&box_, "h", "CUP-1", 2, "b");
    assert_eq!((reused.status, reused.problem().as_str()), (422, "key-reused"));
}

#[test]
fn what_is_wrong_with_an_order_is_named_by_field_all_at_once() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    let body = r#"{"sku":"a/b","quantity":0,"contact":7,"qantity":1}"#;
    let said = ask(&box_, "POST", ORDERS, &[("Idempotency-Key", "k")], body);
    assert_eq!((said.status, said.problem().as_str()), (422, "invalid"));
    let told = said.json();
    let named: Vec<&str> =
        told["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(named, ["sku", "quantity", "buyer", "contact", "qantity"], "{told}");

    let good = r#"{"sku":"CUP-1","quantity":1,"buyer":"b"}"#;
    let send = |headers: &[(&str, &str)], body: &str| {
        let said = ask(&box_, "POST", ORDERS, headers, body);
        (said.status, said.problem())
    };
    assert_eq!(send(&[], good), (400, "key-missing".into()));
    for key in ["", "two words", &"x".repeat(129)] {
        assert_eq!(send(&[("Idempotency-Key", key)], good), (422, "invalid".into()), "{key}");
    }
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")];
    assert_eq!(send(&twice, good), (422, "invalid".into()));
    assert_eq!(send(&[("Idempotency-Key", "k")], "[1"), (422, "invalid".into()));
    assert_eq!(send(&[("Idempotency-Key", "k")], ""), (422, "invalid".into()));
    let long = format!("{good}{}", " ".repeat(17_000));
    assert_eq!(send(&[("Idempotency-Key", "k")], &long).0, 413);
    assert_eq!(stock(&box_, "CUP-1"), (5, 0, 0));
}

#[test]
fn a_reservation_holds_its_units_and_becomes_an_order_at_its_price() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 3);
    let held = reserve(&box_, "r1", "CUP-1", 2, "li");
    assert_eq!((held.status, &held.json()["state"]), (201, &"held".into()));
    let id = held.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(stock(&box_, "CUP-1"), (1, 2, 0));
    assert_eq!(order(&box_, "o1", "CUP-1", 2, "other").problem(), "sold-out");
    assert_eq!(reserve(&box_, "r1", "CUP-1", 2, "li").text, held.text);
    assert_eq!(order(&box_, "r1", "CUP-1", 2, "li").problem(), "key-reused");

    let dearer = r#"{"title":"Cup","price":{"amount":9999,"currency":"CNY"}}"#;
    assert_eq!(ask(&box_, "PUT", "/api/v1/products/CUP-1", &[], dearer).status, 200);
    let body = json!({ "sku": "CUP-1", "quantity": 2, "buyer": "li", "reservation": id }).to_string();
    let ordered = ask(&box_, "POST", ORDERS, &[("Idempotency-Key", "o2")], &body);
    assert_eq!((ordered.status, &ordered.json()["total"]["amount"]), (201, &3_998.into()), "{ordered:?}");
    let over = ask(&box_, "POST", ORDERS, &[("Idempotency-Key", "o3")], &body);
    assert_eq!((over.status, over.problem().as_str()), (409, "reservation-over"));
    let at = format!("/api/v1/reservations/{id}");
    assert_eq!(ask(&box_, "GET", &at, &[], "").json()["state"], "ordered");
    assert_eq!(ask(&box_, "DELETE", &at, &[], "").json()["state"], "ordered", "it holds nothing any more");
    assert_eq!(stock(&box_, "CUP-1"), (1, 0, 2));

    let other = reserve(&box_, "r2", "CUP-1", 1, "li").header("location").unwrap().to_owned();
    let released = ask(&box_, "DELETE", &other, &[], "");
    assert_eq!((released.status, &released.json()["state"]), (200, &"released".into()));
    assert_eq!(stock(&box_, "CUP-1"), (1, 0, 2));
    for nobody in ["/api/v1/reservations/x", "/api/v1/reservations/00000000000000000000000000"] {
        assert_eq!(ask(&box_, "GET", nobody, &[], "").problem(), "no-such-reservation");
        assert_eq!(ask(&box_, "DELETE", nobody, &[], "").problem(), "no-such-reservation");
    }
}

#[test]
fn an_order_moves_forward_by_hand_and_never_back() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 10);
    let at = order(&box_, "k", "CUP-1", 1, "li").header("location").unwrap().to_owned();
    let set =
        |state: &str| ask(&box_, "POST", &format!("{at}/state"), &[], &json!({ "state": state }).to_string());
    assert_eq!(set("sent").problem(), "invalid");
    assert_eq!(set("accepted").problem(), "invalid");
    assert_eq!(set("confirmed").json()["state"], "confirmed");
    assert_eq!(set("confirmed").problem(), "wrong-state");
    let late = ask(&box_, "POST", &format!("{at}/cancel"), &[], r#"{"reason":"changed my mind"}"#);
    assert_eq!((late.status, late.problem().as_str()), (409, "wrong-state"), "the buyer is too late");
    assert_eq!(late.json()["state"], "confirmed");
    let anchor = token(&box_, "anchor");
    let denied =
        ask(&box_, "POST", &format!("{at}/state"), &[("Authorization", &anchor)], r#"{"state":"paid"}"#);
    assert_eq!((denied.status, denied.problem().as_str()), (403, "role-too-low"));
    let by_shop = [("Authorization", anchor.as_str())];
    let cancelled = ask(&box_, "POST", &format!("{at}/cancel"), &by_shop, r#"{"reason":"broken"}"#).json();
    assert_eq!((&cancelled["state"], &cancelled["reason"]), (&"cancelled".into(), &"broken".into()));
    assert_eq!(set("paid").problem(), "wrong-state");
    assert_eq!(stock(&box_, "CUP-1"), (10, 0, 0));
    let nobody = format!("{ORDERS}/00000000000000000000000000");
    assert_eq!(ask(&box_, "GET", &nobody, &[], "").problem(), "no-such-order");
    assert_eq!(ask(&box_, "POST", &format!("{nobody}/cancel"), &[], "").problem(), "no-such-order");
    let state = ask(&box_, "POST", &format!("{nobody}/state"), &[], r#"{"state":"paid"}"#);
    assert_eq!(state.problem(), "no-such-order");
}

#[test]
fn orders_are_listed_newest_first_page_by_page() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 10);
    for number in 0..5 {
        assert_eq!(order(&box_, &format!("k{number}"), "CUP-1", 1, "li").status, 201);
    }
    let (mut numbers, mut path) = (Vec::new(), format!("{ORDERS}?limit=2"));
    loop {
        let page = ask(&box_, "GET", &path, &[], "").json();
        let orders = page["orders"].as_array().unwrap();
        assert!(orders.iter().all(|order| order["contact"] == "Lane 7"), "{page}");
        numbers.extend(orders.iter().map(|order| order["number"].as_i64().unwrap()));
        match page["next"].as_i64() {
            Some(next) => path = format!("{ORDERS}?limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    for (query, field) in [("limit=0", "limit"), ("before=x", "before"), ("limt=2", "limt")] {
        let said = ask(&box_, "GET", &format!("{ORDERS}?{query}"), &[], "");
        assert_eq!((said.status, &said.json()["errors"][0]["field"]), (422, &field.into()), "{query}");
    }
    let summary = ask(&box_, "GET", "/api/v1/summary", &[], "").json();
    assert_eq!((&summary["orders"], &summary["waiting"]), (&5.into(), &0.into()), "{summary}");
    assert_eq!(summary["revenue"], json!([{ "amount": 9_995, "currency": "CNY" }]));
    let shown = ask(&box_, "POST", "/api/v1/show", &[], r#"{"name":"Friday"}"#);
    assert_eq!((shown.status, &shown.json()["orders"]), (200, &0.into()), "counters start over");
}

#[test]
fn one_address_is_bounded_and_told_when_to_come_again() {
    let box_ = shop::started(Footlight::with(&format!("{}[orders]\nrate_per_address = 1\n", shop::SMALL)));
    put(&box_, "CUP-1", 100);
    let mut seconds = Vec::new();
    wait_until(Duration::from_secs(20), "five orders over the bound", || {
        let said = order(&box_, "k", "CUP-1", 1, "li");
        if said.status == 429 {
            assert_eq!(said.problem(), "too-many-orders");
            seconds.push(said.header("retry-after").unwrap().parse::<u32>().unwrap());
        }
        seconds.len() == 5
    });
    assert_eq!(seconds, [1, 2, 3, 4, 5], "who is refused together does not come back together");
    assert_eq!(ask(&box_, "GET", "/api/v1/products", &[], "").status, 200, "looking is not bounded");
}

#[test]
fn who_takes_back_what_never_was_is_bounded_as_who_orders_and_the_shop_is_not() {
    let box_ = shop::started(Footlight::with(&format!("{}[orders]\nrate_per_address = 1\n", shop::SMALL)));
    let nobody = "00000000000000000000000000";
    let (order, held) = (format!("{ORDERS}/{nobody}/cancel"), format!("/api/v1/reservations/{nobody}"));
    for (method, path, missing) in
        [("POST", &order, "no-such-order"), ("DELETE", &held, "no-such-reservation")]
    {
        wait_until(Duration::from_secs(20), "429", || {
            let said = ask(&box_, method, path, &[], "");
            let problem = said.problem();
            assert!([missing, "too-many-orders"].contains(&problem.as_str()), "{said:?}");
            said.status == 429
        });
    }
    let by_shop = token(&box_, "anchor");
    for _ in 0..20 {
        let said = ask(&box_, "POST", &order, &[("Authorization", &by_shop)], "");
        assert_eq!((said.status, said.problem().as_str()), (404, "no-such-order"));
    }
}

#[test]
fn what_the_cloud_sells_is_cancelled_here_and_not_rejected() {
    let set = |box_: &Footlight, at: &str, state: &str| {
        ask(box_, "POST", &format!("{at}/state"), &[], &json!({ "state": state }).to_string())
    };
    // Nobody listens there: what counts is that orders go to a cloud.
    let with_cloud = shop::open("cloud = \"https://127.0.0.1:9/orders\"\n");
    put(&with_cloud, "CUP-1", 5);
    let at = order(&with_cloud, "k", "CUP-1", 2, "li").header("location").unwrap().to_owned();
    let refused = set(&with_cloud, &at, "rejected");
    assert_eq!((refused.status, refused.problem().as_str()), (409, "cloud-decides"), "{refused:?}");
    assert_eq!(stock(&with_cloud, "CUP-1"), (3, 0, 2), "the units are not sold again");
    assert_eq!(set(&with_cloud, &at, "confirmed").json()["state"], "confirmed");
    let by_shop = token(&with_cloud, "anchor");
    let cancelled = ask(&with_cloud, "POST", &format!("{at}/cancel"), &[("Authorization", &by_shop)], "");
    assert_eq!(cancelled.json()["state"], "cancelled");
    assert_eq!(stock(&with_cloud, "CUP-1"), (5, 0, 0));

    let alone = shop::open("");
    put(&alone, "CUP-1", 5);
    let told = order(&alone, "k", "CUP-1", 2, "li");
    let at = told.header("location").unwrap().to_owned();
    assert_eq!(set(&alone, &at, "rejected").json()["state"], "rejected");
    assert_eq!(stock(&alone, "CUP-1"), (5, 0, 0));
    alone.wait_for_log(Duration::from_secs(20), "an order's state was set by hand");
    let id = told.json()["id"].as_str().unwrap().to_owned();
    assert!(!alone.logs().contains(&id), "who has the id may cancel the order: {}", alone.logs());
}

#[test]
fn a_shop_that_is_off_or_whose_store_is_broken_says_so_while_the_stream_goes_on() {
    let off = Footlight::start(&format!("{}[orders]\nenabled = false\n", shop::SMALL));
    for (method, path) in [("GET", "/api/v1/products"), ("POST", ORDERS), ("GET", "/api/v1/summary")] {
        let said = ask(&off, method, path, &[], "");
        assert_eq!((said.status, said.problem().as_str()), (404, "orders-off"), "{method} {path}");
    }
    let builder = Footlight::with(shop::SMALL);
    std::fs::create_dir(builder.folder().join("data")).unwrap();
    let broken = builder.file("data/footlight.db", "this is no database, but somebody's notes").start();
    let said = order(&broken, "k", "CUP-1", 1, "li");
    assert_eq!((said.status, said.problem().as_str()), (503, "store-unavailable"), "{said:?}");
    assert!(said.header("retry-after").is_some() && said.json()["reason"].is_string(), "{said:?}");
    assert!(!said.text.contains("footlight.db"), "no paths: {said:?}");
    assert_eq!(ask(&broken, "GET", "/api/v1/summary", &[], "").json()["store"]["up"], false);
    broken.wait_for_picture("main");
}
