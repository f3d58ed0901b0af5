//! Orders to the cloud: the built binary against a real HTTPS commerce system that breaks in every way it can.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::shop_cloud::{Fault, ShopCloud};
use support::{Footlight, Request, wait_until};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(40);

const SECRET: &str = "a secret of sixteen bytes and more";
const TOKEN: &str = "token-of-the-cloud";

/// A box whose data outlives its process.
struct Shop {
    folder: TempDir,
    config: String,
    footlight: Footlight,
    placed: usize,
}

fn config(folder: &Path, cloud: &ShopCloud, more: &str) -> String {
    let data = folder.join("data").display().to_string();
    let authority = cloud.write_authority(folder).display().to_string();
    format!(
        "[box]\nname = 'studio-3'\nsite = 'hangzhou'\ndata_dir = '{data}'\n\
         [[stream]]\nname = 'main'\nvideo = 'pattern'\nsize = '160x120'\nfps = 5\n\
         [orders]\nrate_per_address = 0\ncloud = {{ url = '{}', token = '{TOKEN}', secret = '{SECRET}', ca_file = \
         '{authority}' }}\n{more}\n",
        cloud.url()
    )
}

impl Shop {
    #[track_caller]
    fn open(cloud: &ShopCloud) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        cloud.demand(Some(SECRET), Some(TOKEN));
        let config = config(folder.path(), cloud, "");
        let footlight = Footlight::start(&config);
        let mut shop = Shop { folder, config, footlight, placed: 0 };
        shop.wait_for_store(r#"{"title":"Cup","price":{"amount":1999,"currency":"CNY"},"stock":100000}"#);
        shop
    }

    #[track_caller]
    fn wait_for_store(&mut self, product: &str) {
        wait_until(DEADLINE, "the store takes a product", || {
            matches!(self.ask("PUT", "/api/v1/products/CUP", product).0, 200 | 201)
        });
    }

    #[track_caller]
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = Request::new(method, path).json(body).send(self.footlight.http()).unwrap();
        let status = answer.status;
        (status, serde_json::from_str(&answer.text()).unwrap())
    }

    /// Orders, and hands back the id.
    #[track_caller]
    fn order(&mut self) -> String {
        self.placed += 1;
        let body = json!({ "sku": "CUP", "quantity": 1, "buyer": format!("buyer-{}", self.placed), "contact": "12 Long St" });
        let request =
            Request::new("POST", "/api/v1/orders").header("Idempotency-Key", &format!("key-{}", self.placed));
        let answer = request.json(&body.to_string()).send(self.footlight.http()).unwrap();
        assert_eq!(answer.status, 201);
        let order: Value = serde_json::from_str(&answer.text()).unwrap();
        order["id"].as_str().unwrap().to_owned()
    }

    fn state(&self, id: &str) -> String {
        let order: Value =
            serde_json::from_str(&self.footlight.get(&format!("/api/v1/orders/{id}")).text()).unwrap();
        order["state"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, id: &str, state: &str) {
        wait_until(DEADLINE, &format!("order {id} is {state}"), || self.state(id) == state);
    }

    fn outbox(&self) -> Value {
        serde_json::from_str(&self.footlight.get("/api/v1/outbox").text()).unwrap()
    }

    #[track_caller]
    fn tell(&mut self, verb: &str) -> Value {
        let (status, told) = self.ask("POST", &format!("/api/v1/outbox/{verb}"), "{}");
        assert_eq!(status, 200, "{told}");
        told
    }

    /// Power goes, and comes back.
    #[track_caller]
    fn kill_and_start(&mut self) {
        self.footlight.kill9();
        self.footlight = Footlight::start(&self.config);
        self.wait_for_store(r#"{"title":"Cup","price":{"amount":1999,"currency":"CNY"}}"#);
    }
}

#[test]
fn an_order_is_at_the_cloud_signed_within_a_second_and_its_payment_comes_back() {
    let cloud = ShopCloud::start();
    let mut shop = Shop::open(&cloud);
    cloud.verdict(":accepted", "confirmed");
    let id = shop.order();
    shop.wait_for(&id, "confirmed");
    let seen = cloud.requests().into_iter().find(|seen| !seen.items.is_empty()).unwrap();
    assert_eq!(seen.signature, Some(true));
    assert_eq!(seen.authorization.as_deref(), Some("Bearer token-of-the-cloud"));
    assert_eq!((&seen.document["box"], &seen.document["site"]), (&json!("studio-3"), &json!("hangzhou")));
    assert_eq!(seen.document["batch"], json!(seen.key));
    let order = &seen.document["items"][0]["order"];
    assert_eq!(order["contact"], "12 Long St");
    cloud.update(&id, "paid", None);
    shop.tell("retry");
    shop.wait_for(&id, "paid");
    wait_until(DEADLINE, "all is well", || shop.outbox()["state"] == "ok");
    assert_eq!(shop.footlight.metric("footlight_outbox_up", ""), Some(1.0));
    assert_eq!(shop.footlight.metric("footlight_outbox_lag_seconds", ""), Some(0.0));
    let logs = shop.footlight.logs() + &shop.footlight.get("/metrics").text() + &shop.outbox().to_string();
    for secret in [SECRET, TOKEN, "path-secret", "12 Long St"] {
        assert!(!logs.contains(secret), "{secret} is told");
    }
}

#[test]
fn whatever_the_cloud_does_and_whenever_power_goes_each_order_is_in_its_books_once() {
    let mut cloud = ShopCloud::start();
    let mut shop = Shop::open(&cloud);
    let mut ids = Vec::new();
    let rounds: [&[Fault]; 6] = [
        &[Fault::LoseAnswer, Fault::HalfAnswer],
        &[Fault::Hang],
        &[Fault::TakenThen500, Fault::Status(500), Fault::NotJson],
        &[Fault::AnswerTwice, Fault::Slow(Duration::from_millis(500))],
        &[Fault::Status(422), Fault::Status(413), Fault::Busy(503, 1)],
        &[Fault::Status(401), Fault::LoseAnswer],
    ];
    for (round, faults) in rounds.iter().enumerate() {
        let asked = cloud.requests().len();
        cloud.next(faults);
        ids.extend((0..7).map(|_| shop.order()));
        let cancelled = ids[round * 7].clone();
        let (status, told) = shop.ask("POST", &format!("/api/v1/orders/{cancelled}/cancel"), "{}");
        assert_eq!(status, 200, "{told}");
        if round % 2 == 1 {
            wait_until(DEADLINE, "a request is under way", || cloud.requests().len() > asked);
        }
        shop.kill_and_start();
        // What did not happen in this round would fall into one that waits for something else.
        cloud.forget_faults();
    }
    cloud.go();
    ids.extend((0..7).map(|_| shop.order()));
    wait_until(DEADLINE, "the trouble is told", || {
        let told = shop.outbox();
        let words = told["trouble"].as_str().unwrap_or_default();
        told["state"] == "trouble" && words.contains("nobody listens there")
    });
    assert!(shop.footlight.metric("footlight_outbox_lag_seconds", "").unwrap() > 0.0);
    shop.kill_and_start();
    cloud.come_back();
    wait_until(DEADLINE, "everything is told", || {
        shop.tell("retry");
        shop.outbox()["waiting"] == 0
    });
    let taken: BTreeSet<String> = cloud.taken().into_iter().collect();
    assert_eq!(taken.len(), cloud.taken().len(), "nothing stands twice in the books");
    let want: BTreeSet<String> = ids.iter().map(|id| format!("{id}:accepted")).collect();
    assert_eq!(want.difference(&taken).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(taken.len(), ids.len() + rounds.len(), "each cancellation is there as well");
    cloud.assert_in_order();
    for (at, id) in ids.iter().enumerate() {
        let state = shop.state(id);
        let want = if at % 7 == 0 && at / 7 < rounds.len() { "cancelled" } else { "synced" };
        assert_eq!(state, want, "order {at}");
    }
}

#[test]
fn a_pause_outlives_a_power_cut_and_what_waited_goes_in_batches() {
    let cloud = ShopCloud::start();
    let mut shop = Shop::open(&cloud);
    assert_eq!(shop.tell("pause")["state"], "paused");
    let ids: Vec<String> = (0..250).map(|_| shop.order()).collect();
    shop.kill_and_start();
    wait_until(DEADLINE, "it is paused, and all wait", || {
        let told = shop.outbox();
        told["state"] == "paused" && told["waiting"] == 250
    });
    assert!(cloud.taken().is_empty());
    shop.tell("resume");
    wait_until(DEADLINE, "all are told", || cloud.taken().len() == 250);
    let batches: Vec<usize> =
        cloud.requests().iter().map(|seen| seen.items.len()).filter(|len| *len > 0).collect();
    assert_eq!(batches, [100, 100, 50]);
    shop.wait_for(&ids[249], "synced");
}

#[test]
fn another_cloud_in_the_configuration_gets_the_orders_from_then_on() {
    let (first, second) = (ShopCloud::start(), ShopCloud::start());
    let mut shop = Shop::open(&first);
    let id = shop.order();
    shop.wait_for(&id, "synced");
    shop.footlight.rewrite(&config(shop.folder.path(), &second, "batch = 7"));
    shop.footlight.signal(Signal::SIGHUP);
    shop.footlight.wait_for_log(DEADLINE, "the sending of orders starts again");
    let later = shop.order();
    shop.wait_for(&later, "synced");
    assert_eq!(first.taken(), [format!("{id}:accepted")]);
    assert_eq!(second.taken(), [format!("{later}:accepted")]);
}

#[test]
fn the_cloud_may_speak_first_if_it_signs_and_nobody_else() {
    let cloud = ShopCloud::start();
    let mut shop = Shop::open(&cloud);
    let id = shop.order();
    shop.wait_for(&id, "synced");
    let body =
        json!({ "updates": [{ "id": id, "state": "rejected", "reason": "not in this city" }] }).to_string();
    let now = footlight::base::clock::unix_millis() / 1_000;
    let secret = footlight::base::secret::Secret::new(SECRET);
    let sign = |seconds| footlight::shop::outbox::sign::sign(&secret, body.as_bytes(), seconds);
    let say = |signature: Option<String>| {
        let request = Request::new("POST", "/api/v1/outbox/news");
        let request = match &signature {
            Some(signature) => request.header("Footlight-Signature", signature),
            None => request,
        };
        request.json(&body).send(shop.footlight.http()).unwrap().status
    };
    assert_eq!(say(None), 401);
    assert_eq!(say(Some(sign(now - 3_600))), 401);
    assert_eq!(say(Some(sign(now).replace("v1=", "v1=0"))), 401);
    assert_eq!(shop.state(&id), "synced");
    assert_eq!(say(Some(sign(now))), 200);
    assert_eq!(shop.state(&id), "rejected");
}
