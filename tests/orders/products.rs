//! The catalogue: edited by who may, seen by everybody.

use serde_json::json;

use super::shop::{self, ask, order, put, said, stock, token};
use super::support::Request;

const CUP: &str = "/api/v1/products/CUP-1";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and the rest of a picture";

#[test]
fn a_product_is_made_seen_edited_and_taken_out() {
    let box_ = shop::open("");
    let body = r#"{"title":"Cup","product":"CUP","variant":"red, L","price":{"amount":1999,"currency":"CNY"},"stock":100}"#;
    let made = ask(&box_, "PUT", CUP, &[], body);
    assert_eq!((made.status, made.header("etag")), (201, Some("\"1\"")), "{made:?}");
    let told = made.json();
    assert_eq!((&told["version"], &told["stock"], &told["title"]), (&1.into(), &100.into(), &"Cup".into()));
    assert_eq!(ask(&box_, "GET", "/api/v1/products/CUP%2D1", &[], "").json(), told);
    put(&box_, "HAT", 1);
    let list = |query: &str| {
        let told = ask(&box_, "GET", &format!("/api/v1/products{query}"), &[], "").json();
        let all = told["products"].as_array().unwrap().iter();
        all.map(|product| product["sku"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((list(""), list("?product=CUP")), (vec!["CUP-1".into(), "HAT".into()], vec!["CUP-1".into()]));
    let same = ask(&box_, "PUT", CUP, &[], &told.to_string());
    assert_eq!((same.status, &same.json()["version"]), (200, &1.into()), "what was read may be sent back");

    let edit = r#"{"title":"Mug","price":{"amount":2999,"currency":"CNY"}}"#;
    let edited = ask(&box_, "PUT", CUP, &[("If-Match", "\"1\"")], edit);
    assert_eq!((edited.status, edited.header("etag")), (200, Some("\"2\"")));
    for stale in ["\"1\"", "W/\"2\"", "\"nothing\""] {
        let refused = ask(&box_, "PUT", CUP, &[("If-Match", stale)], edit);
        assert_eq!((refused.status, refused.problem().as_str()), (412, "version"), "{stale}");
    }
    assert_eq!(ask(&box_, "PUT", CUP, &[("If-Match", "*")], edit).status, 200);
    assert_eq!(ask(&box_, "PUT", CUP, &[("If-Match", "2")], edit).problem(), "invalid");
    let none = ask(&box_, "PUT", "/api/v1/products/NEW", &[("If-Match", "\"1\"")], edit);
    assert_eq!((none.status, none.problem().as_str()), (412, "version"));

    assert_eq!(ask(&box_, "DELETE", CUP, &[("If-Match", "\"1\"")], "").status, 412);
    assert_eq!(ask(&box_, "DELETE", CUP, &[], "").status, 204);
    for (method, path) in [("GET", CUP), ("DELETE", CUP), ("GET", "/api/v1/products/a%20b")] {
        assert_eq!(ask(&box_, method, path, &[], "").problem(), "no-such-product", "{method} {path}");
    }
    assert_eq!(order(&box_, "k", "CUP-1", 1, "li").problem(), "no-such-product");
}

#[test]
fn units_are_added_and_taken_but_never_below_none() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    let add = |body: &str| ask(&box_, "POST", &format!("{CUP}/stock"), &[], body);
    assert_eq!(add(r#"{"add":3,"reason":"found a box"}"#).json()["stock"], 8);
    assert_eq!(add(r#"{"add":-8}"#).json()["stock"], 0);
    let few = add(r#"{"add":-1}"#);
    assert_eq!((few.status, few.problem().as_str(), &few.json()["available"]), (409, "too-few", &0.into()));
    assert_eq!(
        (add("{}").problem().as_str(), add(r#"{"add":"3"}"#).problem().as_str()),
        ("invalid", "invalid")
    );
    let none = ask(&box_, "POST", "/api/v1/products/NONE/stock", &[], r#"{"add":1}"#);
    assert_eq!(none.problem(), "no-such-product");
    assert_eq!(stock(&box_, "CUP-1"), (0, 0, 0));
}

#[test]
fn a_lease_bounds_what_is_sold_until_it_is_taken_away() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 50);
    let lease = format!("{CUP}/lease");
    let set =
        ask(&box_, "PUT", &lease, &[], r#"{"id":"friday","units":2,"until":"2099-01-01T00:00:00+08:00"}"#);
    assert_eq!((set.status, &set.json()["stock"]), (200, &2.into()), "{set:?}");
    assert_eq!(set.json()["lease"]["until"], "2098-12-31T16:00:00Z");
    assert_eq!(order(&box_, "a", "CUP-1", 2, "li").status, 201);
    assert_eq!(order(&box_, "b", "CUP-1", 1, "li").problem(), "sold-out");
    assert_eq!(ask(&box_, "DELETE", &lease, &[], "").status, 204);
    assert_eq!(order(&box_, "c", "CUP-1", 1, "li").status, 201);
    let wrong = ask(&box_, "PUT", &lease, &[], r#"{"id":"friday","units":2,"until":"tomorrow"}"#);
    assert_eq!(wrong.json()["errors"][0]["field"], "until");
}

#[test]
fn a_picture_is_what_it_says_and_is_fetched_once() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    let image = format!("{CUP}/image");
    let send = |kind: &str, bytes: &[u8]| said(&box_, &Request::new("PUT", &image).body(kind, bytes));
    assert_eq!(ask(&box_, "GET", &image, &[], "").problem(), "no-such-image");
    for (kind, bytes) in
        [("image/svg+xml", PNG), ("image/jpeg", PNG), ("image/png", b"GIF89a"), ("text/html", b"<p>")]
    {
        let refused = send(kind, bytes);
        assert_eq!((refused.status, refused.problem().as_str()), (415, "content-type"), "{kind}");
    }
    let mut large = PNG.to_vec();
    large.resize((512 << 10) + 1, 0);
    assert_eq!(send("image/png", &large).status, 413);
    large.truncate(512 << 10);
    assert_eq!(send("image/png", &large).status, 204);
    let put = send("image/png", PNG);
    let at = ask(&box_, "GET", CUP, &[], "").json()["image"].as_str().unwrap().to_owned();
    assert_eq!((put.status, put.header("location")), (204, Some(at.as_str())));

    let got = said(&box_, &Request::new("GET", &at));
    assert_eq!((got.status, got.header("content-type")), (200, Some("image/png")));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    assert!(got.header("content-security-policy").unwrap().contains("sandbox"));
    assert!(got.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(
        ask(&box_, "GET", &format!("{image}?v=old"), &[], "").header("cache-control"),
        Some("no-cache")
    );
    let etag = got.header("etag").unwrap();
    assert_eq!(ask(&box_, "GET", &image, &[("If-None-Match", etag)], "").status, 304);
    assert_eq!(ask(&box_, "DELETE", &image, &[], "").status, 204);
    assert_eq!(ask(&box_, "GET", &at, &[], "").problem(), "no-such-image");
}

#[test]
fn only_who_may_edits_and_no_page_of_another_site_for_them() {
    let box_ = shop::open("");
    put(&box_, "CUP-1", 5);
    let body = json!({ "title": "T", "price": { "amount": 1, "currency": "CNY" } }).to_string();
    let shop_page = ("Origin", "https://shop.example");
    let (anchor, admin) = (token(&box_, "anchor"), token(&box_, "admin"));
    for (headers, status) in [
        (vec![("Authorization", anchor.as_str())], 403),
        (vec![("Authorization", admin.as_str())], 200),
        (vec![shop_page], 401),
        (vec![shop_page, ("Authorization", admin.as_str())], 200),
        (vec![("X-Forwarded-For", "192.0.2.7")], 401),
    ] {
        assert_eq!(ask(&box_, "PUT", CUP, &headers, &body).status, status, "{headers:?}");
    }
    assert_eq!(ask(&box_, "GET", "/api/v1/orders", &[shop_page], "").status, 401);
    assert_eq!(ask(&box_, "GET", "/api/v1/summary", &[shop_page], "").status, 401);
    let add = ask(&box_, "POST", &format!("{CUP}/stock"), &[("Authorization", &anchor)], r#"{"add":1}"#);
    assert_eq!(add.status, 200);
}
