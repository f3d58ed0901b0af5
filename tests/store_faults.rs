//! A disk that is full: orders are refused in clear words, the stream goes on, nothing that was
//! accepted is lost, and orders are taken again as soon as there is room. One that turns read-only is in `disk_machine.rs`.
//!
//! The data folder is a small file system of its own, mounted for the box alone (util-linux's `unshare`).
#![allow(clippy::unwrap_used, reason = "this is test code, outside #[test] functions")]
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::shop::{Ask, order, put_product};
use support::{Footlight, Viewer, get, require, wait_for, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = "[box]\ndata_dir = \"/mnt/box\"\n\n[[stream]]\nname = \"main\"\nvideo = \"pattern\"\n\
    size = \"320x180\"\nfps = 10\n\n[orders]\nrate_per_address = 0\n";

/// A box whose data lies on a file system of so many KiB, which it alone sees.
#[track_caller]
fn start(kib: u32) -> Footlight {
    let mount = format!("mount -t tmpfs -o size={kib}k,mode=700 footlight /mnt && exec \"$0\" \"$@\"");
    let box_ = Footlight::with(CONFIG)
        .program(&[&tool("unshare"), "--mount", "sh", "-c", &mount, support::process::BINARY])
        .start();
    wait_until(PATIENCE, "the store is open", || box_.metric("footlight_store_up", "") == Some(1.0));
    box_
}

fn tool(name: &str) -> String {
    require(name, "apt-get install util-linux").display().to_string()
}

/// Does something where the box sees its disk.
#[track_caller]
fn beside(box_: &Footlight, words: &str) -> String {
    let pid = box_.pid().to_string();
    let ran = Command::new(tool("nsenter")).args(["-t", &pid, "-m", "sh", "-c", words]).output().unwrap();
    assert!(ran.status.success(), "{words}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn big(key: String) -> Ask {
    Ask { contact: "x".repeat(1_000), ..Ask::one(key, "CUP") }
}

#[track_caller]
fn is_refused_for(box_: &Footlight, words: &str, problem: &(u16, Value)) {
    let (status, told) = problem;
    assert_eq!(*status, 503, "{told}");
    assert!(told["type"].as_str().unwrap().ends_with("/store-unavailable"), "{told}");
    assert!(told["detail"].as_str().unwrap().contains(words), "{told}");
    assert!(!told.to_string().contains("/mnt"), "a buyer is told no paths: {told}");
    let ready = get(box_.http(), "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains(words), "readyz says why");
}

/// Orders until one is refused for good, and hands back the accepted ids and that refusal.
#[track_caller]
fn order_until_refused(box_: &Footlight, name: &str) -> (Vec<String>, (u16, Value)) {
    let mut ids = Vec::new();
    for turn in 0..20_000 {
        let (status, told) = big(format!("{name}-{turn}")).send(box_.http(), PATIENCE).unwrap();
        if status != 201 {
            return (ids, (status, told));
        }
        ids.push(told["id"].as_str().unwrap().to_owned());
    }
    panic!("20,000 orders and no end");
}

#[track_caller]
fn streams(box_: &Footlight) {
    let mut viewer = Viewer::try_open(box_.http(), "/live/main.flv", PATIENCE).expect("the stream is served");
    (0..20).for_each(|_| drop(viewer.picture()));
}

#[test]
fn a_full_disk_refuses_orders_until_there_is_room_and_loses_none() {
    let box_ = start(6 << 10);
    beside(&box_, "head -c 2000000 /dev/zero >/mnt/ballast");
    put_product(box_.http(), "CUP", 1_000_000);
    let (mut ids, refused) = order_until_refused(&box_, "first");
    assert!(ids.len() > 100, "{}", ids.len());
    is_refused_for(&box_, "the disk is full", &refused);
    streams(&box_);
    box_.wait_for_log(PATIENCE, "no orders are taken: the disk is full");

    // What was accepted can be read on the full disk.
    for id in ids.iter().step_by(50) {
        assert!(order(box_.http(), id).is_some(), "{id}");
    }
    beside(&box_, "rm /mnt/ballast");
    let ask = big("after".into());
    let id =
        wait_for(PATIENCE, "orders are taken again", || match ask.send(box_.http(), PATIENCE).unwrap() {
            (201, told) => Some(told["id"].as_str().unwrap().to_owned()),
            (503, _) => None,
            other => panic!("{other:?}"),
        });
    ids.push(id);
    for id in &ids {
        assert!(order(box_.http(), id).is_some(), "{id} was accepted and is gone");
    }
    assert_eq!(get(box_.http(), "/readyz").status, 200);
    audit(&box_);
}

/// The audit passes where the box sees its disk.
#[track_caller]
fn audit(box_: &Footlight) {
    let config: PathBuf = box_.folder().join("footlight.toml");
    beside(box_, &format!("{} audit --config {}", support::process::BINARY, config.display()));
}
