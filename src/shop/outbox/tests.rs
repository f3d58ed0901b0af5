//! The outbox with a real store and a real HTTPS cloud.

use std::path::Path;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::config::schema::{HttpsUrl, ShopCloud};
use crate::shop::fields::Fields;
use crate::shop::order::{OrderState, Purpose, Wish};
use crate::shop::product::{ProductEdit, Sku};
use crate::shop::{By, Running as Writing};

use super::shop_cloud::{Fault, ShopCloud as Cloud};
use super::*;

/// Longer than any step takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

struct Shop {
    orders: Orders,
    writing: Writing,
    outbox: Outbox,
    placed: usize,
}

fn config(cloud: &Cloud, folder: &Path) -> schema::Orders {
    let target = Secret::new("/orders");
    let url = HttpsUrl { tls: true, host: "localhost".into(), port: cloud.port(), target };
    let secret = Some(Secret::new("known-to-both"));
    let ca_file = Some(cloud.write_authority(folder));
    schema::Orders {
        cloud: Some(ShopCloud { secret, ca_file, ..ShopCloud::new(url) }),
        ..schema::Orders::default()
    }
}

impl Shop {
    async fn open(folder: &Path, config: &schema::Orders) -> Shop {
        let (orders, writing) = Orders::start(folder, config).expect("a thread");
        until("the store opens", || orders.trouble().is_none()).await;
        let document = br#"{"title":"Cup","price":{"amount":1999,"currency":"CNY"},"stock":1000}"#;
        let sku = Sku::parse("CUP").expect("a SKU");
        if orders.product(&sku).is_none() {
            let edit =
                ProductEdit::read(Some("CUP"), Fields::of(document).expect("an object")).expect("right");
            orders.put(vec![edit], None).await.expect("put");
        }
        let outbox = Outbox::new(orders.clone(), "studio-3", "hangzhou");
        outbox.start(config);
        Shop { orders, writing, outbox, placed: 0 }
    }

    async fn order(&mut self, buyer: &str) -> String {
        let sku = Sku::parse("CUP").expect("a SKU");
        let (buyer, contact) = (buyer.to_owned(), "12 Long Street".to_owned());
        let wish = Wish { sku, quantity: 2, buyer, contact, reservation: None, version: None };
        self.placed += 1;
        let key = wish.key(&format!("{}-{}", wish.buyer, self.placed), Purpose::Order).expect("a key");
        self.orders.place(wish, key).await.expect("accepted").it.id.clone()
    }

    async fn wait_for(&self, id: &str, state: OrderState) {
        let end = clock::now() + DEADLINE;
        loop {
            let order = self.orders.order(id.to_owned()).await.expect("readable").expect("there");
            if order.state == state {
                return;
            }
            assert!(
                clock::now() < end,
                "order {id} is {:?}, not {state:?}: {:?}",
                order.state,
                self.outbox.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for it, without the waits between tries.
    async fn hurry_until(&self, id: &str, state: OrderState) {
        let end = clock::now() + DEADLINE;
        while self.orders.order(id.to_owned()).await.expect("readable").expect("there").state != state {
            assert!(clock::now() < end, "order {id} is not {state:?}: {:?}", self.outbox.status());
            let _ = self.outbox.hurry();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn close(self) {
        self.outbox.stop().await;
        self.writing.stop(DEADLINE).await;
    }
}

async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = clock::now() + DEADLINE;
    while !happened() {
        assert!(clock::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_reach_the_cloud_and_what_it_says_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    cloud.demand(Some("known-to-both"), None);
    let mut shop = Shop::open(folder.path(), &config(&cloud, folder.path())).await;
    let first = shop.order("ann").await;
    shop.wait_for(&first, OrderState::Synced).await;
    let told = cloud.books()[&format!("{first}:accepted")].clone();
    assert_eq!(told["what"], "accepted");
    let order = &told["order"];
    let said = ["sku", "quantity", "buyer", "contact", "state"].map(|field| order[field].clone());
    assert_eq!(
        said,
        ["CUP".into(), 2.into(), "ann".into(), "12 Long Street".into(), serde_json::Value::from("accepted")]
    );
    assert_eq!(order["total"], serde_json::json!({ "amount": 3998, "currency": "CNY" }));
    assert_eq!(order["unit_price"]["amount"], 1999);

    cloud.update(&first, "paid", None);
    cloud.grant("CUP", "show-7", 500, None);
    let second = shop.order("ben").await;
    shop.wait_for(&first, OrderState::Paid).await;
    shop.wait_for(&second, OrderState::Synced).await;
    let product = shop.orders.product(&Sku::parse("CUP").expect("a SKU")).expect("there");
    assert_eq!(product.lease.as_ref().map(|lease| lease.units), Some(500));

    cloud.verdict(":accepted", "rejected");
    let third = shop.order("cat").await;
    shop.wait_for(&third, OrderState::Rejected).await;
    let product = shop.orders.product(&Sku::parse("CUP").expect("a SKU")).expect("there");
    assert_eq!((product.stock.available, product.stock.sold), (996, 4), "its units are free again");

    shop.orders.cancel(second.clone(), By::Shop, None).await.expect("cancelled");
    until("the cloud hears of it", || cloud.books().contains_key(&format!("{second}:cancelled"))).await;
    cloud.assert_in_order();
    until("all is told", || shop.outbox.status().waiting == 0).await;
    assert_eq!(shop.outbox.status().word(), "ok");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_an_answer_each_order_is_in_the_books_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cloud = Cloud::start();
    let mut shop = Shop::open(folder.path(), &config(&cloud, folder.path())).await;
    let calm = shop.order("calm").await;
    shop.wait_for(&calm, OrderState::Synced).await;
    let faults = [
        Fault::LoseAnswer,
        Fault::HalfAnswer,
        Fault::AnswerTwice,
        Fault::TakenThen500,
        Fault::NotJson,
        Fault::Slow(Duration::from_millis(300)),
        Fault::Status(500),
        Fault::Status(422),
        Fault::Busy(429, 1),
    ];
    for fault in faults {
        cloud.next(&[fault]);
        let id = shop.order("storm").await;
        let has_it = |seen: &shop_cloud::Seen| seen.items.iter().any(|key| key.starts_with(&id));
        until("the fault happens", || cloud.requests().iter().any(has_it)).await;
        shop.hurry_until(&id, OrderState::Synced).await;
        let of_it: Vec<_> = cloud
            .requests()
            .into_iter()
            .filter(|seen| seen.items.iter().any(|key| key.starts_with(&id)))
            .collect();
        // What the cloud answered so is no repeat: it may remember that answer by the name.
        let is_answer = fault == Fault::Status(422);
        assert!(
            of_it.windows(2).all(|two| (two[0].key == two[1].key) != is_answer),
            "{fault:?}: a repeat has another name, or a new try the old one"
        );
        let same = |two: &[shop_cloud::Seen]| is_answer || two[0].document == two[1].document;
        assert!(of_it.windows(2).all(same), "{fault:?}: one name for two bodies");
    }
    cloud.go();
    let id = shop.order("gone").await;
    until("the trouble is told", || shop.outbox.status().trouble.is_some()).await;
    let status = shop.outbox.status();
    assert_eq!((status.word(), status.waiting), ("trouble", 1));
    assert!(status.oldest_ms.is_some());
    cloud.come_back();
    shop.outbox.hurry().expect("it runs");
    shop.wait_for(&id, OrderState::Synced).await;
    assert_eq!(cloud.taken().len(), 2 + faults.len());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_order_stands_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let mut shop = Shop::open(folder.path(), &config(&cloud, folder.path())).await;
    shop.outbox.pause().await.expect("paused");
    let mut ids = Vec::new();
    for at in 0..20 {
        ids.push(shop.order(&format!("b{at}")).await);
    }
    cloud.refuse(&ids[7]);
    shop.outbox.resume().await.expect("goes on");
    for (at, id) in ids.iter().enumerate().filter(|(at, _)| *at != 7) {
        shop.wait_for(id, OrderState::Synced).await;
        assert!(at != 7);
    }
    assert_eq!(shop.outbox.status().waiting, 1);
    cloud.refuse_nothing();
    shop.outbox.hurry().expect("it runs");
    shop.wait_for(&ids[7], OrderState::Synced).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_what_waits_survive_a_restart_and_a_repeat_keeps_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let config = config(&cloud, folder.path());
    let mut shop = Shop::open(folder.path(), &config).await;
    cloud.always(Some(Fault::LoseAnswer));
    let id = shop.order("ann").await;
    until("the cloud has it", || cloud.taken().len() == 1).await;
    shop.close().await;
    cloud.always(None);

    let shop = Shop::open(folder.path(), &config).await;
    shop.wait_for(&id, OrderState::Synced).await;
    let names: std::collections::BTreeSet<_> =
        cloud.requests().into_iter().filter(|seen| !seen.items.is_empty()).map(|seen| seen.key).collect();
    assert_eq!(names.len(), 1, "the cloud can tell that it is the same batch");
    assert_eq!(cloud.taken().len(), 1);
    shop.outbox.pause().await.expect("paused");
    shop.close().await;

    let mut shop = Shop::open(folder.path(), &config).await;
    until("it is paused still", || shop.outbox.status().paused).await;
    let id = shop.order("ben").await;
    until("it waits", || shop.outbox.status().waiting == 1).await;
    assert_eq!(cloud.taken().len(), 1);
    shop.outbox.resume().await.expect("goes on");
    shop.wait_for(&id, OrderState::Synced).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloud_may_speak_first_if_it_signs() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let mut shop = Shop::open(folder.path(), &config(&cloud, folder.path())).await;
    let id = shop.order("ann").await;
    shop.wait_for(&id, OrderState::Synced).await;
    let body = format!(r#"{{"updates":[{{"id":"{id}","state":"confirmed"}}]}}"#);
    let now_s = clock::unix_millis() / 1_000;
    let signed = |secret: &str, now_s| sign::sign(&Secret::new(secret), body.as_bytes(), now_s);
    for wrong in [None, Some(signed("guessed", now_s)), Some(signed("known-to-both", now_s - 3_600))] {
        let heard = shop.outbox.hear(wrong.as_deref(), body.as_bytes()).await;
        assert!(matches!(heard, Err(OutboxError::Signature(_))), "{heard:?}");
    }
    let heard = shop.outbox.hear(Some(&signed("known-to-both", now_s)), body.as_bytes()).await;
    assert_eq!(heard.expect("known"), Heard { changed: 1, left_alone: 0 });
    shop.wait_for(&id, OrderState::Confirmed).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_follow_is_counted_and_a_recorded_document_counts_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let mut shop = Shop::open(folder.path(), &config(&cloud, folder.path())).await;
    let id = shop.order("ann").await;
    shop.wait_for(&id, OrderState::Synced).await;
    shop.orders.cancel(id.clone(), By::Shop, None).await.expect("cancelled");
    let now_s = clock::unix_millis() / 1_000;
    let signed = |body: &str| sign::sign(&Secret::new("known-to-both"), body.as_bytes(), now_s);
    let odd = format!(
        r#"{{"updates":[{{"id":"{id}","state":"paid"}},{{"id":"{id}","state":"confirmed"}},{{"id":"nobody","state":"paid"}},7],
            "leases":[{{"sku":"HAT","id":"show","units":5}}]}}"#
    );
    let heard = shop.outbox.hear(Some(&signed(&odd)), odd.as_bytes()).await.expect("known");
    assert_eq!(heard, Heard { changed: 0, left_alone: 4 }, "confirmed is merely late");
    assert_eq!(shop.outbox.status().left_alone, 4);

    let units = || {
        let product = shop.orders.product(&Sku::parse("CUP").expect("a SKU")).expect("there");
        product.lease.as_ref().map(|lease| lease.units)
    };
    let grants =
        [500, 100, 500].map(|units| format!(r#"{{"leases":[{{"sku":"CUP","id":"show","units":{units}}}]}}"#));
    for grant in &grants {
        shop.outbox.hear(Some(&signed(grant)), grant.as_bytes()).await.expect("known");
    }
    assert_eq!(units(), Some(100), "who recorded the first cannot say it again");
    let later = sign::sign(&Secret::new("known-to-both"), grants[0].as_bytes(), now_s + 1);
    shop.outbox.hear(Some(&later), grants[0].as_bytes()).await.expect("known");
    assert_eq!(units(), Some(500), "the cloud may");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_whose_answer_is_cut_off_come_again_until_the_box_says_that_it_has_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let config = config(&cloud, folder.path());
    let mut shop = Shop::open(folder.path(), &config).await;
    let id = shop.order("ann").await;
    shop.wait_for(&id, OrderState::Synced).await;
    cloud.update(&id, "paid", None);
    cloud.grant("CUP", "show", 500, None);
    let before = cloud.requests().len();
    cloud.next(&[Fault::HalfAnswer, Fault::HalfAnswer]);
    shop.hurry_until(&id, OrderState::Paid).await;
    let asked: Vec<String> = cloud.requests()[before..].iter().map(|seen| seen.key.clone()).collect();
    assert!(asked.len() >= 3 && asked[0] == asked[1] && asked[1] == asked[2], "{asked:?}");
    until("the box says so", || {
        let _ = shop.outbox.hurry();
        cloud.unacknowledged() == 0
    })
    .await;
    assert_ne!(cloud.requests().last().expect("asked").key, asked[0], "the next question is a new one");
    shop.close().await;

    let before = cloud.requests().len();
    let shop = Shop::open(folder.path(), &config).await;
    until("it asks", || cloud.requests().len() > before).await;
    assert!(cloud.requests()[before].last_news.is_some(), "it knows after a restart, too");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_sees_at_once_that_it_is_paused() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let shop = Shop::open(folder.path(), &config(&cloud, folder.path())).await;
    for _ in 0..30 {
        shop.outbox.pause().await.expect("paused");
        assert!(shop.outbox.status().paused);
        shop.outbox.resume().await.expect("goes on");
        assert!(!shop.outbox.status().paused);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_that_is_put_back_while_running_has_its_new_orders_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start();
    let config = config(&cloud, folder.path());
    let mut shop = Shop::open(folder.path(), &config).await;
    let first = shop.order("ann").await;
    shop.wait_for(&first, OrderState::Synced).await;
    shop.close().await;
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(file("footlight.db"), file("older.db")).expect("copied");

    let mut shop = Shop::open(folder.path(), &config).await;
    let mut last = String::new();
    for at in 0..30 {
        last = shop.order(&format!("b{at}")).await;
    }
    shop.wait_for(&last, OrderState::Synced).await;
    std::fs::rename(file("older.db"), file("footlight.db")).expect("put back");
    for rest in ["footlight.db-wal", "footlight.db-shm"] {
        let _ = std::fs::remove_file(file(rest));
    }
    // The first who writes finds out.
    assert!(shop.orders.set_lease(Sku::parse("CUP").expect("a SKU"), None).await.is_err());
    until("it is shut", || shop.orders.trouble().is_some()).await;
    until("the store is open again", || shop.orders.trouble().is_none()).await;
    shop.placed += 100;
    let new = shop.order("cat").await;
    shop.wait_for(&new, OrderState::Synced).await;
    assert!(cloud.books().contains_key(&format!("{new}:accepted")));
    shop.close().await;
}
