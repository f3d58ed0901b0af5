//! The order cache through its handle, on a real file.

use std::path::Path;
use std::time::Duration;

use crate::config::schema;
use crate::shop::fields::Fields;
use crate::shop::order::{OrderState, Purpose, Wish};
use crate::shop::product::{ProductEdit, Sku};
use crate::shop::{By, No, OrderError, Orders, Running};

pub(super) fn sku(text: &str) -> Sku {
    Sku::parse(text).expect("a SKU")
}

pub(super) fn edit(sku: &str, stock: i64, more: &str) -> ProductEdit {
    let document =
        format!(r#"{{"title":"Cup","price":{{"amount":1999,"currency":"CNY"}},"stock":{stock}{more}}}"#);
    ProductEdit::read(Some(sku), Fields::of(document.as_bytes()).expect("an object")).expect("right")
}

pub(super) fn wish(sku_text: &str, quantity: u32, buyer: &str) -> Wish {
    Wish {
        sku: sku(sku_text),
        quantity,
        buyer: buyer.to_owned(),
        contact: String::new(),
        reservation: None,
        version: None,
    }
}

pub(super) async fn open(folder: &Path, config: &schema::Orders) -> (Orders, Running) {
    let (orders, running) = Orders::start(folder, config).expect("a thread");
    tokio::time::timeout(Duration::from_secs(10), async {
        while orders.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the store opens");
    (orders, running)
}

pub(super) async fn place(
    orders: &Orders,
    wish: Wish,
    key: &str,
) -> Result<crate::shop::Placed<crate::shop::order::Order>, OrderError> {
    let key = wish.key(key, Purpose::Order).expect("a key");
    orders.place(wish, key).await
}

fn counts(orders: &Orders, sku_text: &str) -> (i64, i64, i64) {
    let stock = orders.product(&sku(sku_text)).expect("it is there").stock;
    (stock.available, stock.held, stock.sold)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_goes_to_one_and_the_same_key_hears_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let (orders, running) = open(folder.path(), &schema::Orders::default()).await;
    assert!(orders.put(vec![edit("A", 1, "")], None).await.expect("put")[0].1);
    let first = place(&orders, wish("A", 1, "b1"), "k1").await.expect("it is there");
    let second = place(&orders, wish("A", 1, "b2"), "k2").await;
    assert!(
        matches!(&second, Err(OrderError::No(No::Refused { name, .. })) if name == "sold-out"),
        "{second:?}"
    );
    let again = place(&orders, wish("A", 1, "b1"), "k1").await.expect("the same");
    assert_eq!((&again.it.id, again.again), (&first.it.id, true));
    assert_eq!(place(&orders, wish("A", 1, "b3"), "k1").await, Err(OrderError::No(No::KeyReused)));
    assert_eq!(counts(&orders, "A"), (0, 0, 1));
    running.stop(Duration::from_secs(5)).await;

    // Over a restart, and with new stock: who was refused under a key stays refused under it.
    let (orders, _running) = open(folder.path(), &schema::Orders::default()).await;
    orders.add_stock(sku("A"), 5, None).await.expect("added");
    assert_eq!(place(&orders, wish("A", 1, "b2"), "k2").await, second);
    assert_eq!(place(&orders, wish("A", 1, "b1"), "k1").await.expect("the same").it.id, first.it.id);
    assert_eq!(place(&orders, wish("A", 1, "b2"), "k4").await.expect("there is more").it.number, 2);
    assert_eq!(counts(&orders, "A"), (4, 0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_for_a_hundred_units_gets_a_hundred() {
    let folder = tempfile::tempdir().expect("a folder");
    let (orders, _running) = open(folder.path(), &schema::Orders::default()).await;
    orders.put(vec![edit("HOT", 100, "")], None).await.expect("put");
    let crowd: Vec<_> = (0..5_000)
        .map(|buyer| {
            let orders = orders.clone();
            tokio::spawn(async move {
                place(&orders, wish("HOT", 1, &buyer.to_string()), &format!("k{buyer}")).await
            })
        })
        .collect();
    let (mut sold, mut out) = (0, 0);
    for buyer in crowd {
        match buyer.await.expect("no panic") {
            Ok(_) => sold += 1,
            Err(OrderError::No(No::Refused { name, .. })) if name == "sold-out" => out += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sold, out), (100, 4_900));
    assert_eq!(counts(&orders, "HOT"), (0, 0, 100));
    assert_eq!(orders.counters().expect("on")["units"], 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_holds_its_units_until_it_becomes_an_order_or_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = schema::Orders { hold: Duration::from_millis(300), ..schema::Orders::default() };
    let (orders, _running) = open(folder.path(), &config).await;
    orders.put(vec![edit("A", 2, "")], None).await.expect("put");
    let one = wish("A", 1, "b1");
    let held = orders
        .reserve(one.clone(), one.key("r1", Purpose::Reservation).expect("a key"))
        .await
        .expect("held")
        .it;
    let two = wish("A", 1, "b2");
    let other = orders
        .reserve(two.clone(), two.key("r2", Purpose::Reservation).expect("a key"))
        .await
        .expect("held")
        .it;
    assert_eq!(counts(&orders, "A"), (0, 2, 0));
    let taken = Wish { reservation: Some(held.id.clone()), ..one };
    place(&orders, taken, "o1").await.expect("it was kept");
    assert_eq!(counts(&orders, "A"), (0, 1, 1));
    tokio::time::timeout(Duration::from_secs(10), async {
        while counts(&orders, "A") != (1, 0, 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the other one ends by itself");
    let late = Wish { reservation: Some(other.id.clone()), ..two };
    let refused = place(&orders, late, "o2").await;
    assert!(
        matches!(&refused, Err(OrderError::No(No::Refused { name, .. })) if name == "reservation-over"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_can_be_bought_again_and_what_is_confirmed_is_the_shops() {
    let folder = tempfile::tempdir().expect("a folder");
    let (orders, _running) = open(folder.path(), &schema::Orders::default()).await;
    orders.put(vec![edit("A", 1, r#","buyer_limit":1"#)], None).await.expect("put");
    let first = place(&orders, wish("A", 1, "b1"), "k1").await.expect("bought").it;
    let cancelled = orders.cancel(first.id.clone(), By::Buyer, None).await.expect("cancelled");
    assert_eq!(cancelled.it.state, OrderState::Cancelled);
    assert!(orders.cancel(first.id.clone(), By::Buyer, None).await.expect("told as it is").again);
    let second = place(&orders, wish("A", 1, "b1"), "k2").await.expect("bought again").it;
    let confirmed = crate::shop::News {
        orders: vec![
            (second.id.clone(), OrderState::Confirmed, None),
            (first.id.clone(), OrderState::Paid, None),
        ],
        ..crate::shop::News::default()
    };
    assert_eq!(orders.take_news(confirmed).await, Ok(1));
    let late = orders.cancel(second.id.clone(), By::Buyer, None).await;
    assert_eq!(late, Err(OrderError::No(No::TooLate(OrderState::Confirmed))));
    orders.cancel(second.id.clone(), By::Shop, Some("broken".into())).await.expect("the shop may");
    assert_eq!(counts(&orders, "A"), (1, 0, 0));
    assert_eq!(
        orders.order(second.id.clone()).await.expect("read").expect("there").reason.as_deref(),
        Some("broken")
    );
}
