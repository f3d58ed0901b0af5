//! What the order store says of itself: audited, exported, damaged and recovered, by the built binary.
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use footlight::base::threads;
use rusqlite::Connection;
use serde_json::{Value, json};
use support::{Builder, Exit, Footlight, Request, wait_for, wait_until};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

const CONFIG: &str = "[box]\ndata_dir = \"data\"\n[orders]\nrate_per_address = 0\n";

fn shop() -> Footlight {
    let shop = Footlight::start(CONFIG);
    wait_until(DEADLINE, "the store opens", || shop.metric("footlight_store_up", "") == Some(1.0));
    shop
}

#[track_caller]
fn ask(server: SocketAddr, method: &str, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = Request::new(method, &format!("/api/v1/{path}"));
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = request.json(&body.to_string()).send(server).unwrap();
    (answer.status, serde_json::from_str(&answer.text()).unwrap_or_default())
}

#[track_caller]
fn put(server: SocketAddr, sku: &str, stock: i64) {
    let product = json!({ "title": sku, "price": { "amount": 1999, "currency": "CNY" }, "stock": stock });
    let (status, said) = ask(server, "PUT", &format!("products/{sku}"), None, &product);
    assert!(status == 200 || status == 201, "{status} {said}");
}

#[track_caller]
fn order(server: SocketAddr, sku: &str, quantity: u32, key: &str) -> (u16, Value) {
    let wish = json!({ "sku": sku, "quantity": quantity, "buyer": format!("b-{key}"), "contact": "=1+1" });
    ask(server, "POST", "orders", Some(key), &wish)
}

/// The data folder of a box that sold for a while: orders, one of them cancelled, one of a reservation, refusals.
fn sold() -> &'static Path {
    static SOLD: OnceLock<TempDir> = OnceLock::new();
    let folder = SOLD.get_or_init(|| {
        let mut shop = shop();
        let server = shop.http();
        put(server, "CUP", 20);
        put(server, "HAT", 3);
        for number in 1..=60 {
            let (sku, quantity) = if number % 3 == 0 { ("HAT", 1) } else { ("CUP", 1) };
            let (status, said) = order(server, sku, quantity, &format!("k{number}"));
            assert!(status == 201 || status == 409, "{status} {said}");
        }
        put(server, "CUP", 1_000);
        for number in 61..=400 {
            assert_eq!(order(server, "CUP", 1, &format!("k{number}")).0, 201);
        }
        let (_, first) = order(server, "CUP", 1, "k1");
        let id = first["id"].as_str().unwrap();
        let (status, said) = ask(server, "POST", &format!("orders/{id}/cancel"), None, &json!({}));
        assert_eq!(status, 200, "{said}");
        let wish = json!({ "sku": "CUP", "quantity": 2, "buyer": "holder" });
        let (status, held) = ask(server, "POST", "reservations", Some("r1"), &wish);
        assert_eq!(status, 201, "{held}");
        let mut taken = wish.clone();
        taken["reservation"] = held["id"].clone();
        assert_eq!(ask(server, "POST", "orders", Some("o-r1"), &taken).0, 201);
        assert_eq!(ask(server, "POST", "reservations", Some("r2"), &wish).0, 201);
        shop.terminate(DEADLINE);
        let kept = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(shop.folder().join("data")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), kept.path().join(entry.file_name())).unwrap();
            }
        }
        kept
    });
    folder.path()
}

/// A box's folder with that store in it.
fn copy_of_sold() -> Builder {
    let builder = Footlight::with(CONFIG);
    let data = builder.folder().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::copy(sold().join("footlight.db"), data.join("footlight.db")).unwrap();
    builder
}

fn database(builder: &Builder) -> std::path::PathBuf {
    builder.folder().join("data/footlight.db")
}

#[track_caller]
fn run(builder: &Builder, arguments: &[&str]) -> Exit {
    let all = [arguments, &["--config", "footlight.toml"]].concat();
    builder.run_to_end(DEADLINE, &all)
}

/// What an audit says of the store once this was done to it.
#[track_caller]
fn tampered(words: &str) -> String {
    let builder = copy_of_sold();
    let store = Connection::open(database(&builder)).unwrap();
    store
        .execute_batch(&format!("PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1; {words}"))
        .unwrap();
    drop(store);
    let exit = run(&builder, &["audit"]);
    assert_eq!(exit.code, Some(4), "{words}: {exit:?}");
    assert!(exit.stdout.lines().last().unwrap().starts_with("violated: "), "{exit:?}");
    exit.stdout
}

#[test]
fn an_honest_store_is_proven_and_nothing_is_written() {
    let builder = copy_of_sold();
    let before = std::fs::read(database(&builder)).unwrap();
    let exit = run(&builder, &["audit"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let cup = exit.stdout.lines().find(|line| line.starts_with("CUP ")).unwrap();
    let words: Vec<&str> = cup.split_whitespace().collect();
    assert_eq!(words[1], "20", "{cup}");
    assert!(exit.stdout.lines().last().unwrap().starts_with("proven: 2 SKUs, "), "{exit:?}");
    assert_eq!(std::fs::read(database(&builder)).unwrap(), before);

    let exit = run(&builder, &["audit", "--json"]);
    let told: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!((exit.code, &told["proven"]), (Some(0), &json!(true)));
    for sku in told["skus"].as_array().unwrap() {
        let count = |name: &str| sku[name].as_i64().unwrap();
        let has = count("available") + count("held") + count("sold");
        assert_eq!(count("initial") + count("restocked"), has, "{sku}");
    }
}

#[test]
fn whatever_is_tampered_with_is_named() {
    for (words, named) in [
        ("DELETE FROM orders WHERE number = 5", "stands in the log and nowhere else"),
        ("UPDATE product SET available = available + 1 WHERE sku = 'CUP'", "SKU CUP: available is"),
        (
            "UPDATE product SET sold = sold - 1, available = available + 1 WHERE sku = 'HAT'",
            "SKU HAT: sold is 2",
        ),
        ("UPDATE product SET held = -2 WHERE sku = 'CUP'", "SKU CUP: held is -2"),
        ("DELETE FROM event WHERE seq = 9", "event 9: is missing in the log"),
        ("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event WHERE kind = 'hold')", "has no event"),
        (
            "INSERT INTO answer SELECT 'again', fingerprint, kind, of, detail, at FROM answer \
                WHERE of = (SELECT id FROM orders WHERE number = 7)",
            "order 7: has 2 keys",
        ),
        (
            "UPDATE answer SET of = 'nobody' WHERE of = (SELECT id FROM orders WHERE number = 7)",
            "order nobody: was answered to a key and is not there",
        ),
        (
            "UPDATE orders SET state = 'accepted' WHERE number = 1",
            "order 1: is accepted, and by the log cancelled",
        ),
        ("UPDATE orders SET state = 'paid' WHERE number = 2", "order 2: is paid, and by the log accepted"),
        ("UPDATE orders SET total = 1 WHERE number = 3", "order 3: costs 1"),
        ("UPDATE orders SET quantity = 2, total = 3998 WHERE number = 3", "order 3, event"),
        ("UPDATE orders SET sku = 'HAT' WHERE number = 1", "its event is of another SKU than HAT"),
        ("UPDATE event SET available = available + 1 WHERE kind = 'restock'", "SKU CUP: available is"),
        ("UPDATE event SET sku = 'HAT' WHERE kind = 'cancelled'", "order 1, event"),
        (
            "INSERT INTO event SELECT max(seq) + 1, 0, 'paid', 'CUP', 'nobody', 0, 0, 0, NULL FROM event",
            "nobody",
        ),
        (
            "UPDATE reservation SET state = 'released' WHERE state = 'held'",
            "is released, and by the log held",
        ),
        ("DELETE FROM reservation WHERE state = 'held'", "stands in the log and nowhere else"),
        ("DELETE FROM product WHERE sku = 'HAT'", "SKU HAT: its product is missing"),
    ] {
        let told = tampered(words);
        assert!(told.contains(named), "{words}: {named:?} is not in\n{told}");
    }
}

#[test]
fn what_cannot_be_audited_says_so_by_its_exit_code() {
    let nothing = Footlight::with(CONFIG);
    let exit = run(&nothing, &["audit"]);
    assert_eq!(exit.code, Some(3), "{exit:?}");
    assert!(exit.stderr.contains("no order was taken here yet"), "{exit:?}");
    let wrong = Footlight::with("[box]\ndata_dri = \"data\"\n");
    assert_eq!(run(&wrong, &["audit"]).code, Some(2));

    let newer = copy_of_sold();
    Connection::open(database(&newer)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let exit = run(&newer, &["audit"]);
    assert_eq!(exit.code, Some(3), "{exit:?}");
    assert!(exit.stderr.contains("newer version"), "{exit:?}");

    let damaged = copy_of_sold();
    damage(&database(&damaged), "event");
    let exit = run(&damaged, &["audit"]);
    assert_eq!(exit.code, Some(3), "{exit:?}");
    assert!(exit.stderr.contains("footlight orders recover"), "{exit:?}");
    let help = damaged.run_to_end(DEADLINE, &["--help"]).stdout;
    assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains("4 an audit found"), "{help}");
}

#[test]
fn an_audit_beside_a_box_in_a_rush_sees_one_moment() {
    let shop = shop();
    let server = shop.http();
    put(server, "CUP", 1_000_000);
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let crowd: Vec<_> = (0..4)
        .map(|buyer| {
            let (stop, taken) = (stop.clone(), taken.clone());
            let sell = move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    assert_eq!(order(server, "CUP", 1, &format!("{buyer}-{number}")).0, 201);
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            };
            threads::spawn("test", &format!("buyer-{buyer}"), sell).unwrap()
        })
        .collect();
    let beside = Footlight::with(&format!("[box]\ndata_dir = '{}'\n", shop.folder().join("data").display()));
    for round in 0..6 {
        let before = taken.load(Ordering::Relaxed);
        let exit = run(&beside, &["audit"]);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        wait_until(DEADLINE, "orders go on", || taken.load(Ordering::Relaxed) > before + round);
    }
    stop.store(true, Ordering::Relaxed);
    for buyer in crowd {
        buyer.join().unwrap();
    }
    let exit = run(&beside, &["audit", "--json"]);
    let told: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(told["orders"].as_u64(), Some(taken.load(Ordering::Relaxed)));
}

#[test]
fn orders_are_exported_whole_for_their_owner_alone() {
    let builder = copy_of_sold();
    let exit = run(&builder, &["orders", "export", "--out", "orders.csv"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let file = builder.folder().join("orders.csv");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let count: i64 = Connection::open(database(&builder))
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap();
    assert_eq!(text.lines().count() as i64, count + 1);
    assert!(text.contains(",b-k1,'=1+1,"), "{}", &text[..300]);
    let names: Vec<_> =
        std::fs::read_dir(builder.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{names:?}");

    let after = (count - 2).to_string();
    let exit = run(&builder, &["orders", "export", "--format", "json", "--after", &after]);
    let told: Value = serde_json::from_str(&exit.stdout).unwrap();
    let numbers: Vec<_> =
        told["orders"].as_array().unwrap().iter().map(|order| order["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [count - 1, count]);
    let exit = run(&builder, &["orders", "export", "--out", "nowhere/orders.csv"]);
    assert_eq!(exit.code, Some(3), "{exit:?}");
}

/// Fills a page with nonsense: the table's leaf with its first rows.
fn damage(path: &Path, table: &str) {
    let store = Connection::open(path).unwrap();
    let root: i64 = store
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .unwrap();
    drop(store);
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut page = [0; 4_096];
    let mut number = root as u64;
    loop {
        file.read_exact_at(&mut page, (number - 1) * 4_096).unwrap();
        // An inner page of a table has the first child's number in its first cell.
        if page[0] != 5 {
            break;
        }
        let cell = usize::from(u16::from_be_bytes([page[12], page[13]]));
        number = u64::from(u32::from_be_bytes(page[cell..cell + 4].try_into().unwrap()));
    }
    file.write_all_at(&[0xa5; 4_096], (number - 1) * 4_096).unwrap();
}

#[test]
fn a_box_with_a_damaged_store_streams_on_and_sells_again_once_it_is_recovered() {
    let builder = copy_of_sold();
    let orders: i64 = Connection::open(database(&builder))
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap();
    damage(&database(&builder), "product");
    let damaged = std::fs::read(database(&builder)).unwrap();
    let shop = builder.start();
    let server = shop.http();
    shop.wait_for_picture("main");
    let (status, said) = wait_for(DEADLINE, "orders are refused", || {
        Some(order(server, "CUP", 1, "new")).filter(|(_, said)| said.to_string().contains("damaged"))
    });
    assert_eq!(status, 503, "{said}");
    let data = shop.folder().join("data");
    let beside = Footlight::with(&format!("[box]\ndata_dir = '{}'\n", data.display()));
    let exit = run(&beside, &["orders", "recover"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.contains(&format!("saved: {orders} rows of orders")), "{exit:?}");
    assert!(exit.stdout.contains("look at: product CUP was lost and made anew"), "{exit:?}");
    let kept = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> = kept.filter(|path| path.to_string_lossy().contains(".damaged-")).collect();
    assert!(kept.iter().any(|path| std::fs::read(path).unwrap() == damaged), "{kept:?}");
    assert_eq!(run(&beside, &["audit"]).code, Some(0));

    // Its price is what it was; somebody says that it is right, and the box sells on.
    wait_until(DEADLINE, "the box opens it", || shop.metric("footlight_store_up", "") == Some(1.0));
    put(server, "CUP", 5);
    let (status, said) = order(server, "CUP", 1, "new");
    assert_eq!(status, 201, "{said}");
    assert_eq!(order(server, "CUP", 1, "k2").0, 201, "who asks again with an old key is answered as before");
    assert_eq!(run(&beside, &["audit"]).code, Some(0));
    let exit = run(&beside, &["orders", "recover"]);
    assert_eq!(exit.code, Some(3), "a box works with it: {exit:?}");
    shop.wait_for_picture("main");
}

#[test]
fn orders_that_only_the_log_still_knows_keep_their_numbers_and_answers() {
    let builder = copy_of_sold();
    damage(&database(&builder), "orders");
    let exit = run(&builder, &["orders", "recover"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.contains("lost: rows of orders after the beginning and up to"), "{exit:?}");
    assert!(exit.stdout.contains("look at: order 2 (1 x CUP, id "), "{exit:?}");
    assert_eq!(run(&builder, &["audit"]).code, Some(0));
    let shop = builder.start();
    wait_until(DEADLINE, "the store opens", || shop.metric("footlight_store_up", "") == Some(1.0));
    let (status, said) = order(shop.http(), "CUP", 1, "k2");
    assert_eq!((status, &said["number"], &said["total"]["amount"]), (201, &json!(2), &json!(1999)), "{said}");
}

#[test]
fn what_is_lost_for_good_is_said() {
    let builder = copy_of_sold();
    damage(&database(&builder), "event");
    let exit = run(&builder, &["orders", "recover"]);
    assert_eq!(exit.code, Some(4), "{exit:?}");
    assert!(exit.stdout.contains("lost: rows of event after the beginning and up to"), "{exit:?}");
    assert!(exit.stdout.contains("look at: event 1: is missing in the log"), "{exit:?}");
    assert_eq!(run(&builder, &["audit"]).code, Some(4));
    let exit = run(&builder, &["orders", "recover"]);
    assert_eq!(exit.code, Some(0), "nothing is damaged any more: {exit:?}");
}

#[test]
fn a_first_page_that_is_gone_costs_no_order() {
    let builder = copy_of_sold();
    let file = std::fs::File::options().write(true).open(database(&builder)).unwrap();
    file.write_all_at(&[0; 4_096], 0).unwrap();
    drop(file);
    let exit = run(&builder, &["orders", "recover"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.contains("lost: the pages by which the tables are found"), "{exit:?}");
}
