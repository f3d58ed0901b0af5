//! Orders under sudden death: the process killed at any moment, again and again, while a crowd orders.
//!
//! What was answered "accepted" is there after the restart, none is there twice, and the audit passes. The power cut of
//! a whole machine is in `power_cut.rs`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is test code, outside #[test] functions")]
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use footlight::base::clock;
use serde_json::Value;
use support::shop::{Ask, order, product, put_product};
use support::{Footlight, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);
const BUYERS: u32 = 6;
const SKUS: [&str; 3] = ["MANY", "SOME", "FEW"];

/// What a crowd heard in one life of the box.
#[derive(Debug, Default)]
struct Heard {
    /// Accepted orders by their key: the id.
    accepted: BTreeMap<String, String>,
    /// Refused ones, and how.
    refused: BTreeMap<String, Value>,
    /// Asked, and the box died before it answered.
    unanswered: Vec<Ask>,
}

struct Shop {
    folder: tempfile::TempDir,
    dice: u64,
}

impl Shop {
    fn new() -> Shop {
        let dice = clock::unix_millis() | 1;
        println!("seed {dice}");
        Shop { folder: tempfile::Builder::new().prefix("footlight-shop-").tempdir().unwrap(), dice }
    }

    fn config(&self) -> String {
        format!(
            "[box]\ndata_dir = \"{}\"\n\n[[stream]]\nname = \"main\"\nvideo = \"pattern\"\nsize = \"160x90\"\nfps = 5\n\
             audio = \"none\"\n\n[orders]\nrate_per_address = 0\n",
            self.folder.path().display()
        )
    }

    fn open(&self) -> Footlight {
        let box_ = Footlight::start(&self.config());
        wait_until(PATIENCE, "the store is open", || box_.metric("footlight_store_up", "") == Some(1.0));
        box_
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % sides
    }

    #[track_caller]
    fn audit(&self) {
        let audit = Footlight::with(&self.config());
        let told = audit.run_to_end(Duration::from_secs(60), &["audit", "--config", "footlight.toml"]);
        assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    }
}

/// Buyers order as fast as they are answered, until the box dies.
fn crowd(server: SocketAddr, life: u32, is_over: &AtomicBool, answered: &AtomicU32) -> Heard {
    let one = |buyer: u32| {
        let mut heard = Heard::default();
        for turn in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let sku = SKUS[(turn % 3) as usize];
            let ask = Ask::one(format!("{life}-{buyer}-{turn}"), sku);
            match ask.send(server, PATIENCE) {
                Ok((201, told)) => {
                    heard.accepted.insert(ask.key, told["id"].as_str().unwrap().to_owned());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok((409, told)) => {
                    heard.refused.insert(ask.key, told["type"].clone());
                }
                Ok(other) => panic!("{ask:?}: {other:?}"),
                Err(_) => {
                    heard.unanswered.push(ask);
                    break;
                }
            }
        }
        heard
    };
    std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..BUYERS).map(|buyer| scope.spawn(move || one(buyer))).collect();
        buyers.into_iter().fold(Heard::default(), |mut all, buyer| {
            let heard = buyer.join().unwrap();
            all.accepted.extend(heard.accepted);
            all.refused.extend(heard.refused);
            all.unanswered.extend(heard.unanswered);
            all
        })
    })
}

/// After a death: all that was answered stands, and who was not answered is by asking again.
fn judge(server: SocketAddr, heard: &mut Heard) {
    for (key, id) in &heard.accepted {
        let there =
            order(server, id).unwrap_or_else(|| panic!("order {id} of key {key} was accepted and is gone"));
        assert_eq!(there["id"], **id);
    }
    // The same key hears the same, whether the first answer arrived or not.
    let sample: Vec<(String, String)> =
        heard.accepted.iter().take(5).map(|(key, id)| (key.clone(), id.clone())).collect();
    for (key, id) in sample {
        let sku = SKUS[key.rsplit('-').next().unwrap().parse::<usize>().unwrap() % 3];
        let (status, told) = Ask::one(key.clone(), sku).send(server, PATIENCE).unwrap();
        assert_eq!((status, told["id"].as_str()), (201, Some(&*id)), "key {key}");
    }
    for ask in std::mem::take(&mut heard.unanswered) {
        let (status, told) = ask.send(server, PATIENCE).unwrap();
        let (again, same) = ask.send(server, PATIENCE).unwrap();
        assert_eq!((status, &told), (again, &same), "key {} is answered in one way", ask.key);
        match status {
            201 => drop(heard.accepted.insert(ask.key, told["id"].as_str().unwrap().to_owned())),
            409 => drop(heard.refused.insert(ask.key, told["type"].clone())),
            other => panic!("{other}: {told}"),
        }
    }
}

fn die_and_live(lives: u32) {
    let mut shop = Shop::new();
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut heard = Heard::default();
    for life in 0..lives {
        let mut box_ = shop.open();
        let server = box_.http();
        if life == 0 {
            put_product(server, "MANY", 1_000_000);
            put_product(server, "SOME", 2_000);
            put_product(server, "FEW", 50);
        }
        judge(server, &mut heard);
        for (key, id) in std::mem::take(&mut heard.accepted) {
            if let Some(other) = all.insert(key.clone(), id.clone()) {
                assert_eq!(other, id, "key {key} got two orders");
            }
        }
        let (after, grace) = (shop.dice(60) as u32, shop.dice(20));
        let (is_over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
        heard = std::thread::scope(|scope| {
            let crowd = scope.spawn(|| crowd(server, life, &is_over, &answered));
            wait_until(PATIENCE, "some orders are answered", || answered.load(Ordering::Relaxed) >= after);
            support::wait::pause(Duration::from_millis(grace));
            box_.kill9();
            is_over.store(true, Ordering::Relaxed);
            crowd.join().unwrap()
        });
    }
    let box_ = shop.open();
    judge(box_.http(), &mut heard);
    all.extend(heard.accepted);
    let ids: std::collections::BTreeSet<&String> = all.values().collect();
    assert_eq!(ids.len(), all.len(), "two keys share an order");
    let sold: i64 = SKUS.iter().map(|sku| product(box_.http(), sku)["sold"].as_i64().unwrap()).sum();
    assert_eq!(sold, all.len() as i64, "as many units are sold as were accepted");
    assert!(product(box_.http(), "FEW")["sold"].as_i64().unwrap() <= 50);
    println!("{} orders accepted over {lives} lives", all.len());
    shop.audit();
}

#[test]
fn what_was_accepted_outlives_a_box_that_is_killed() {
    die_and_live(10);
}

#[test]
#[ignore = "takes some minutes: make test-slow"]
fn what_was_accepted_outlives_a_box_that_is_killed_two_hundred_times() {
    die_and_live(200);
}
