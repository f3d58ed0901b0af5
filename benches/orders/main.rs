//! What an order costs that is on the disk before the buyer hears yes.
//!
//! ```text
//!   writer   shop::Orders alone, beside raw SQLite that writes the same rows in groups of the same sizes
//!   http     buyers on keep-alive connections ──> the release box: the most that are accepted in a second
//!   latency  the same by the clock: how soon they are answered at 1,000, 5,000 a second and nearly the most
//!   burst    10,000 buyers at the same moment for 100 units
//!   slow     the same with every sync 20 ms slower
//!   stream   200 viewers of 4 Mbit/s while 5,000 orders come in a second, beside 200 viewers and no orders
//! ```
//! What is measured has core 0, what loads it core 1. What is compared takes turns, on the same file system, so that
//! a busy machine disturbs both alike; medians of the rounds and of the ratios within a round are printed.
//!
//! Repeat: `cargo bench --bench orders` (`-- --quick` for a first look, `-- writer` and so on for a part).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]
#![allow(unreachable_pub, missing_docs, reason = "a program of its own")]

use http::Plan;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shared::cores::{LOAD, pin};

mod buyers;
mod disk;
mod http;
mod names;
mod postgres;
mod raw;
mod rig;
mod slow;
mod stream;
mod writer;

#[path = "../shared/mod.rs"]
mod shared;

#[path = "../../tests/support/mod.rs"]
mod support;

fn main() {
    if let Some(what) = shared::child::to_serve() {
        return stream::serve(&what);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let quick = has("--quick");
    let parts: [(&str, &dyn Fn()); 6] = [
        ("writer", &|| writer::measure(quick)),
        ("http", &|| http::highest(&Plan::new(quick))),
        ("latency", &|| http::latency(&Plan::new(quick))),
        ("burst", &http::burst),
        ("slow", &|| slow::measure(quick)),
        ("stream", &|| stream::measure(quick)),
    ];
    let all = !parts.iter().any(|(name, _)| has(name));
    // A crowd has a connection each.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    pin(LOAD);
    println!("fsync of this disk: {}", disk::Fsync::measure());
    for (name, measure) in parts {
        if all || has(name) {
            println!("\nrepeat: cargo bench --bench orders -- {name}{}", if quick { " --quick" } else { "" });
            measure();
        }
    }
}
