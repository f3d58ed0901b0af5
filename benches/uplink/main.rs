//! What the uplink is worth beside two ordinary senders, over lines that break and lines that grow narrow.
//!
//! ```text
//!   footlight ─────────────── warm standby ───────────┬─ line ─> cloud A (nginx-rtmp in its own namespace)
//!   footlight ─HTTP-FLV─> ffmpeg, started again ──────┤
//!   footlight ─HTTP-FLV─> naive sender, dialling again┴─ line ─> cloud B
//! ```
//! Each sender has two clouds of its own, behind lines of 50 ms round trip. The far end's side of each line is
//! watched packet by packet: a switch has happened when the first media packet reaches the other cloud, a picture
//! has arrived when its last byte has. What the clouds recorded is held against what the box served on the LAN.
//!
//! Repeat: `cargo bench --bench uplink` (as root: it makes network namespaces and TUN devices; it takes half an hour).
//! `-- switch` and `-- line` for a part, `--quick` for a first look; `-- switch freeze footlight` for one of the
//! faults `reset`, `kill`, `port`, `silence` and `freeze`, and one of the senders `footlight`, `ffmpeg` and `naive`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]
#![allow(unreachable_pub, missing_docs, reason = "a program of its own")]

mod naive;
mod rig;
mod senders;
mod steps;
mod switch;

#[path = "../../tests/support/mod.rs"]
mod support;

use rig::Fault;
use senders::Kind;
use support::net::Net;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let (quick, all) = (has("--quick"), !has("switch") && !has("line"));
    println!("repeat: cargo bench --bench uplink{}", if quick { " -- --quick" } else { "" });
    let mut net = Net::new();
    if all || has("switch") {
        let faults = chosen(&Fault::ALL, Fault::name, &has);
        let senders = chosen(&Kind::ALL, Kind::name, &has);
        switch::measure(&mut net, if quick { 5 } else { 30 }, &faults, &senders);
    }
    if all || has("line") {
        steps::measure(&mut net, if quick { 12 } else { 30 });
    }
}

/// Those that are named; all, where none is.
fn chosen<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, has: &impl Fn(&str) -> bool) -> Vec<T> {
    let named: Vec<T> = all.iter().copied().filter(|one| has(name(*one))).collect();
    if named.is_empty() { all.to_vec() } else { named }
}
