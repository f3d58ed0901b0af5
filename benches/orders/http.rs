//! Orders over HTTP, as buyers make them: how many a second, how soon they are answered, and what becomes of a crowd.

use std::time::Duration;

use crate::buyers::{Buyers, Heard};
use crate::disk::Fsync;
use crate::names::STOCK;
use crate::postgres::Postgres;
use crate::rig::Rig;
use crate::shared::figures::{median, quantiles};

/// What PostgreSQL 15 did when the goal was set (16 clients, one transaction for each order), for machines that have
/// none.
const POSTGRESQL: f64 = 3_000.0;

/// Connections that orders by the clock take turns on.
const CONNECTIONS: usize = 512;

/// Buyers that find out how much there can be.
const BUYERS: usize = 256;

/// A rate that can be kept up, of what closed loops reach.
const KEPT_UP: f64 = 0.9;

pub struct Plan {
    rounds: usize,
    warm: Duration,
    span: Duration,
}

impl Plan {
    pub fn new(quick: bool) -> Plan {
        let seconds = Duration::from_secs;
        if quick {
            Plan { rounds: 1, warm: seconds(1), span: seconds(3) }
        } else {
            Plan { rounds: 3, warm: seconds(2), span: seconds(10) }
        }
    }
}

/// The most that closed loops reach.
pub fn highest(plan: &Plan) {
    let postgres = Postgres::start();
    println!("\nAccepted orders a second over HTTP, each buyer ordering again once answered");
    println!(
        "{:>8} {:>10} {:>8} {:>11} {:>6} {:>12} {:>9} {:>9} {:>9}",
        "buyers", "orders/s", "a group", "PostgreSQL", "times", "CPU us each", "p50 ms", "p99 ms", "p99.9 ms"
    );
    for buyers in [16, 64, 256, 1_024] {
        let mut delays = Vec::new();
        let rounds: Vec<[f64; 4]> = (0..plan.rounds)
            .map(|_| {
                let peer = postgres.as_ref().map_or(POSTGRESQL, |postgres| postgres.orders(plan.span));
                let rig = Rig::start(STOCK);
                let mut crowd = Buyers::connect(rig.address(), buyers, 0);
                crowd.as_fast_as_answered(plan.warm);
                let before = rig.counted();
                let mut heard = crowd.as_fast_as_answered(plan.span);
                let after = rig.counted();
                assert_eq!(heard.accepted as usize, heard.delays.len(), "{heard:?}");
                delays.append(&mut heard.delays);
                let cpu = after.cpu_since(&before).as_secs_f64() * 1e6 / heard.accepted as f64;
                [heard.per_second(), after.group_since(&before), cpu, peer]
            })
            .collect();
        let of = |at: usize| median(rounds.iter().map(|round| round[at]).collect());
        let times = median(rounds.iter().map(|round| round[0] / round[3]).collect());
        let [p50, p99, p999] = quantiles(&mut delays, [0.5, 0.99, 0.999]);
        println!(
            "{buyers:>8} {:>10.0} {:>8.1} {:>11.0} {times:>6.1} {:>12.1} {p50:>9.2} {p99:>9.2} {p999:>9.2}",
            of(0),
            of(1),
            of(3),
            of(2),
        );
    }
    match postgres {
        Some(_) => {
            println!(
                "PostgreSQL: on the same core, 16 clients, one statement and transaction for each order"
            );
        }
        None => println!(
            "PostgreSQL is not installed here (apt install postgresql); quoted is what it did elsewhere"
        ),
    }
}

/// How soon orders are answered that come by the clock.
pub fn latency(plan: &Plan) {
    println!("\nFrom when an order was due to its answer, ms; orders come by the clock, whatever waits");
    println!(
        "{:>9} {:>10} {:>8} {:>8} {:>9} {:>11} {:>22}",
        "offered/s", "accepted/s", "p50", "p99", "p99.9", "turned away", "goal p99: 5 fsync + 5"
    );
    let top = {
        let rig = Rig::start(STOCK);
        let mut crowd = Buyers::connect(rig.address(), BUYERS, 0);
        crowd.as_fast_as_answered(plan.warm);
        crowd.as_fast_as_answered(plan.span).per_second()
    };
    for rate in [1_000, 5_000, (top * KEPT_UP) as u32 / 100 * 100] {
        let fsync = Fsync::measure();
        let rig = Rig::start(STOCK);
        let mut crowd = Buyers::connect(rig.address(), CONNECTIONS, 0);
        crowd.at_rate(rate, plan.warm);
        println!("{} {:>22.1}", row(rate, crowd.at_rate(rate, plan.span)), 5.0 * fsync.p50_ms + 5.0);
    }
    println!("the last rate is {KEPT_UP} of what {BUYERS} buyers reach in closed loops ({top:.0} a second)");
}

/// One line of a table: what was offered, and what was heard.
pub fn row(rate: u32, mut heard: Heard) -> String {
    let [p50, p99, p999] = quantiles(&mut heard.delays, [0.5, 0.99, 0.999]);
    let accepted = heard.per_second();
    format!("{rate:>9} {accepted:>10.0} {p50:>8.2} {p99:>8.2} {p999:>9.2} {:>11}", heard.turned_away)
}

/// A crowd for few units: all at once, each on a connection of its own.
pub fn burst() {
    const CROWD: usize = 10_000;
    const UNITS: i64 = 100;
    let rig = Rig::start(UNITS);
    let mut crowd = Buyers::connect(rig.address(), CROWD, 0);
    let mut heard = crowd.once();
    assert_eq!((heard.accepted as i64, rig.units_sold() as i64), (UNITS, UNITS), "{heard:?}");
    let [p50, p99] = quantiles(&mut heard.delays, [0.5, 0.99]);
    println!(
        "\n{} buyers at once for {UNITS} units: {} sold, {} refused, {} turned away; the last is answered after \
         {:.2} s (p50 {p50:.0} ms, p99 {p99:.0} ms)",
        CROWD,
        heard.accepted,
        heard.refused,
        heard.turned_away,
        heard.took.as_secs_f64(),
    );
}
