//! What a viewer costs, against the floor: a bare `write()` for each tag and viewer.
//!
//! ```text
//!   core 0: one server, a process of its own            core 1: this process
//!     floor     one thread, one write() per tag, viewer    N viewers on one epoll, woken by the clock
//!     footlight hub and HTTP server, nothing held back     (never by the server, which would pay for it)
//!     merged    the same with merge = "100ms"
//! ```
//! All carry the same stream, 1080p30 at 4 Mbit/s with AAC at 128 kbit/s, a GOP of 2 s. They take turns, and
//! medians are compared, so that a busy machine disturbs all alike. Repeat: `cargo bench --bench fanout`
//! (`-- --quick` for a first look, `-- cpu`, `-- delay`, `-- join`, `-- memory` for a part).
//!
//! Delay is read from the kernel's receive time stamps, not from when this process got to look.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]
#![allow(unreachable_pub, missing_docs, reason = "a program of its own")]

mod contender;
mod floor;

#[path = "../shared/mod.rs"]
mod shared;

use std::time::Duration;

use contender::Kind;
use shared::child;
use shared::cores::{LOAD, pin};
use shared::crowd::{Crowd, Reading};
use shared::figures::{median, quantiles};
use shared::stream;

struct Plan {
    rounds: usize,
    window: Duration,
    settle: Duration,
    crowds: Vec<usize>,
    joins: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if let Some(what) = child::to_serve() {
        return Kind::be(&what[0]);
    }
    let plan = if has("--quick") {
        Plan { rounds: 1, window: secs(4), settle: secs(2), crowds: vec![200], joins: 30 }
    } else {
        Plan { rounds: 3, window: secs(8), settle: secs(3), crowds: vec![50, 200, 500], joins: 100 }
    };
    let parts = ["cpu", "delay", "join", "memory"];
    let all = !parts.iter().any(|part| has(part));
    pin(LOAD);
    println!("repeat: cargo bench --bench fanout{}", if has("--quick") { " -- --quick" } else { "" });
    if all || has("cpu") {
        cpu(&plan);
    }
    if all || has("delay") {
        delay(&plan);
    }
    if all || has("join") {
        join(&plan);
    }
    if all || has("memory") {
        memory(&plan);
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cpu(plan: &Plan) {
    println!(
        "\nCPU seconds per Gbit delivered (median of {} rounds; ratio to the floor of the same round)",
        plan.rounds
    );
    println!(
        "{:>8} {:>9} {:>11} {:>7} {:>11} {:>7}",
        "viewers", "floor", "footlight", "ratio", "merge 100ms", "ratio"
    );
    for &viewers in &plan.crowds {
        let kinds = [Kind::Floor, Kind::Footlight, Kind::Merged];
        let rounds: Vec<[Cost; 3]> =
            (0..plan.rounds).map(|_| kinds.map(|kind| cost(kind, viewers, plan))).collect();
        let of = |pick: &dyn Fn(&[Cost; 3]) -> f64| median(rounds.iter().map(pick).collect());
        println!(
            "{viewers:>8} {:>9.4} {:>11.4} {:>7.2} {:>11.4} {:>7.2}",
            of(&|round| round[0].cpu_per_gbit),
            of(&|round| round[1].cpu_per_gbit),
            of(&|round| round[1].cpu_per_gbit / round[0].cpu_per_gbit),
            of(&|round| round[2].cpu_per_gbit),
            of(&|round| round[2].cpu_per_gbit / round[0].cpu_per_gbit),
        );
        for (at, kind) in kinds.into_iter().enumerate() {
            let share = of(&|round| round[at].share);
            if !(0.97..1.03).contains(&share) {
                println!(
                    "{:>9}{kind:?} delivered {share:.2} of the stream: its core was too slow for it",
                    ""
                );
            }
        }
    }
}

struct Cost {
    cpu_per_gbit: f64,
    /// What was delivered, of what should have been.
    share: f64,
}

fn cost(kind: Kind, viewers: usize, plan: &Plan) -> Cost {
    let contender = kind.start();
    let mut crowd = Crowd::new(contender.address());
    crowd.add(viewers, Reading::Discarded);
    crowd.run(plan.settle);
    let (cpu, bytes) = (contender.cpu_seconds(), crowd.bytes());
    let elapsed = crowd.run(plan.window);
    let (cpu, bytes) = (contender.cpu_seconds() - cpu, crowd.bytes() - bytes);
    assert!(kind == Kind::Floor || crowd.open() == viewers, "{kind:?} lost viewers");
    let share = bytes as f64 / (stream::BYTES_PER_SECOND * elapsed.as_secs_f64() * viewers as f64);
    Cost { cpu_per_gbit: cpu / (bytes as f64 * 8e-9), share }
}

fn delay(plan: &Plan) {
    println!("\nRelay delay of pictures, published -> in the viewer's socket, ms");
    println!("{:>8} {:>10} {:>7} {:>7} {:>7} {:>7}", "viewers", "server", "p50", "p90", "p99", "max");
    for &viewers in &plan.crowds {
        for kind in [Kind::Floor, Kind::Footlight] {
            let contender = kind.start();
            let mut crowd = Crowd::new(contender.address());
            crowd.add(viewers, Reading::Timed);
            crowd.run(plan.settle);
            crowd.take_delays();
            crowd.run(plan.window);
            let mut delays = crowd.take_delays();
            let [p50, p90, p99, max] = quantiles(&mut delays, [0.5, 0.9, 0.99, 1.0]);
            println!("{viewers:>8} {:>10} {p50:>7.2} {p90:>7.2} {p99:>7.2} {max:>7.2}", format!("{kind:?}"));
        }
    }
}

fn join(plan: &Plan) {
    println!("\nJoining, connect -> the first keyframe complete in the viewer's socket, ms");
    println!("{:>8} {:>7} {:>7} {:>7} {:>7}", "beside", "p50", "p90", "p99", "max");
    for &viewers in &plan.crowds {
        let contender = Kind::Footlight.start();
        let mut crowd = Crowd::new(contender.address());
        crowd.add(viewers, Reading::Discarded);
        crowd.run(plan.settle);
        for _ in 0..plan.joins {
            crowd.add(1, Reading::Joining);
            crowd.run(Duration::from_millis(37));
        }
        crowd.run(secs(1));
        let mut joins = crowd.take_joins();
        assert_eq!(joins.len(), plan.joins);
        let [p50, p90, p99, max] = quantiles(&mut joins, [0.5, 0.9, 0.99, 1.0]);
        println!("{viewers:>8} {p50:>7.2} {p90:>7.2} {p99:>7.2} {max:>7.2}");
    }
}

fn memory(plan: &Plan) {
    println!("\nMemory of the server's process, KiB");
    println!("{:>8} {:>10} {:>10} {:>12}", "viewers", "before", "with", "each viewer");
    for &viewers in &plan.crowds {
        let contender = Kind::Footlight.start();
        let mut crowd = Crowd::new(contender.address());
        // What the first few cost is the server's own, and the stream's GOPs fill up meanwhile.
        crowd.add(5, Reading::Discarded);
        crowd.run(secs(12));
        let before = contender.resident_kib();
        crowd.add(viewers, Reading::Discarded);
        crowd.run(plan.settle + plan.window);
        let with = contender.resident_kib();
        println!(
            "{viewers:>8} {before:>10} {with:>10} {:>12.1}",
            (with as f64 - before as f64) / viewers as f64
        );
    }
}
