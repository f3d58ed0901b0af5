//! The writer alone, against raw SQLite in groups of the same size.
//!
//! The writer's thread has core 0; those who order, tasks of one thread, have core 1. Raw SQLite has core 0 for
//! itself.

use std::time::Duration;

use footlight::base::clock;
use footlight::base::metrics::Exposition;
use footlight::config::schema;
use footlight::shop::Orders;
use footlight::shop::fields::Fields;
use footlight::shop::order::{Purpose, Wish};
use footlight::shop::product::{ProductEdit, Sku};

use crate::names::{self, HOT, STOCK};
use crate::shared::cores::{LOAD, SERVER, cpu_of, pin};
use crate::shared::figures::median;
use crate::{disk, raw};

struct Plan {
    rounds: usize,
    /// Orders in one run, where groups are small and where they are large.
    few: usize,
    many: usize,
}

/// What one run came to.
struct Run {
    per_second: f64,
    /// Processor time of the thread that writes, for each order.
    cpu_micros: f64,
    /// Orders in one transaction, on the average.
    group: f64,
}

pub fn measure(quick: bool) {
    let plan = if quick {
        Plan { rounds: 3, few: 2_000, many: 20_000 }
    } else {
        Plan { rounds: 5, few: 10_000, many: 100_000 }
    };
    println!("\nDurable orders a second of one hot product (medians of {} rounds)", plan.rounds);
    println!(
        "{:>9} {:>8} {:>9} {:>9} {:>6} {:>13} {:>9} {:>6} {:>15} {:>6}",
        "ordering",
        "a group",
        "writer",
        "raw",
        "ratio",
        "CPU us each",
        "raw",
        "ratio",
        "raw one by one",
        "times"
    );
    for ordering in [1, 64, 256, 1_024, 4_096] {
        let orders = if ordering == 1 { plan.few } else { plan.many };
        let rounds: Vec<[Run; 3]> = (0..plan.rounds)
            .map(|_| {
                let run = writer(ordering, orders);
                let same = raw(orders, (run.group.round() as usize).max(1));
                [run, same, raw(plan.few, 1)]
            })
            .collect();
        let of = |pick: &dyn Fn(&[Run; 3]) -> f64| median(rounds.iter().map(pick).collect());
        println!(
            "{ordering:>9} {:>8.1} {:>9.0} {:>9.0} {:>6.2} {:>13.1} {:>9.1} {:>6.2} {:>15.0} {:>6.1}",
            of(&|[run, ..]| run.group),
            of(&|[run, ..]| run.per_second),
            of(&|[_, same, _]| same.per_second),
            of(&|[run, same, _]| run.per_second / same.per_second),
            of(&|[run, ..]| run.cpu_micros),
            of(&|[_, same, _]| same.cpu_micros),
            of(&|[run, same, _]| run.cpu_micros / same.cpu_micros),
            of(&|[.., alone]| alone.per_second),
            of(&|[run, _, alone]| run.per_second / alone.per_second),
        );
    }
    for group in [1, 64, 1_024] {
        let orders = if group == 1 { plan.few } else { plan.many };
        let rate = median((0..plan.rounds).map(|_| raw(orders, group).per_second).collect());
        println!("raw SQLite in groups of {group:>5}: {rate:>8.0} a second");
    }
}

/// Raw SQLite, in groups of this size.
fn raw(orders: usize, group: usize) -> Run {
    pin(SERVER);
    let (took, cpu) = raw::run(orders, group);
    Run {
        per_second: orders as f64 / took.as_secs_f64(),
        cpu_micros: cpu.as_secs_f64() * 1e6 / orders as f64,
        group: group as f64,
    }
}

/// So many tasks order again and again, until there are so many orders.
fn writer(ordering: usize, orders: usize) -> Run {
    let folder = disk::folder();
    // One worker as on a box with one core for it, which stays where it is begun, as the writer's thread does.
    pin(LOAD);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    pin(SERVER);
    let guard = runtime.enter();
    let (room, running) = Orders::start(folder.path(), &schema::Orders::default()).unwrap();
    drop(guard);
    pin(LOAD);
    let (took, cpu, group) = runtime.block_on(async {
        while room.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        room.put(vec![product()], None).await.unwrap();
        let (before, cpu) = (commits(&room), cpu_of("db-writer"));
        let began = clock::now();
        let buyers: Vec<_> = (0..ordering)
            .map(|buyer| {
                let room = room.clone();
                tokio::spawn(async move {
                    for number in (buyer..orders).step_by(ordering) {
                        order(&room, number as u64).await;
                    }
                })
            })
            .collect();
        for buyer in buyers {
            buyer.await.unwrap();
        }
        let took = began.elapsed();
        let after = commits(&room);
        (took, cpu_of("db-writer").saturating_sub(cpu), (after[0] - before[0]) / (after[1] - before[1]))
    });
    drop(room);
    runtime.block_on(running.stop(Duration::from_secs(20)));
    Run {
        per_second: orders as f64 / took.as_secs_f64(),
        cpu_micros: cpu.as_secs_f64() * 1e6 / orders as f64,
        group,
    }
}

async fn order(room: &Orders, number: u64) {
    let wish = Wish {
        sku: Sku::parse(HOT).unwrap(),
        quantity: 1,
        buyer: names::buyer(number),
        contact: names::contact(number),
        reservation: None,
        version: None,
    };
    let key = wish.key(&names::key(number), Purpose::Order).unwrap();
    room.place(wish, key).await.unwrap();
}

fn product() -> ProductEdit {
    let text = format!(r#"{{"title":"Cup","price":{{"amount":1999,"currency":"CNY"}},"stock":{STOCK}}}"#);
    ProductEdit::read(Some(HOT), Fields::of(text.as_bytes()).unwrap()).unwrap()
}

/// Requests that were committed, and commits.
fn commits(room: &Orders) -> [f64; 2] {
    let mut page = Exposition::default();
    room.describe_metrics(&mut page);
    let page = page.render();
    ["footlight_store_committed_total ", "footlight_store_commits_total "]
        .map(|name| page.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap())
}
