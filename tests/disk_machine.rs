//! The order store on a real kernel's disk: the power goes in mid-write and the disk loses what was in its cache; the
//! kernel makes the disk read-only.
//!
//! In the emulated machine, by `make test-machine`. The disk is one of the tests' own ([`support::power_disk`]): sectors that were written and
//! not flushed are kept or lost at random.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is test code, outside #[test] functions")]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use footlight::base::clock;
use support::http::metric;
use support::machine::{Machine, empty_disk};
use support::power_disk::PowerDisk;
use support::shop::{Ask, order, product, put_product_by};
use support::{wait_for, wait_until};

/// Generous: the machine is emulated instruction by instruction.
const PATIENCE: Duration = Duration::from_secs(60);
const CUTS: u64 = 4;
const BUYERS: u32 = 4;

const CONFIG: &str = "[box]\ndata_dir = \"/data/box\"\n\n[[stream]]\nname = \"main\"\nvideo = \"pattern\"\n\
    size = \"160x90\"\nfps = 5\naudio = \"none\"\n\n[orders]\nrate_per_address = 0\n";

fn start(disk: &PowerDisk) -> Machine {
    let mut machine = Machine::boot_on(disk);
    machine.start_footlight(CONFIG);
    wait_until(PATIENCE, "the store is open", || {
        metric(machine.http(), "footlight_store_up", "") == Some(1.0)
    });
    machine
}

/// A token to edit products with from outside of the machine.
#[track_caller]
fn token(machine: &mut Machine) -> String {
    machine.run("footlight token new --role admin --config /tmp/footlight.toml 2>/dev/null")
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn what_was_accepted_outlives_the_machines_power() {
    let folder = tempfile::tempdir().unwrap();
    empty_disk(&folder.path().join("disk"));
    let disk = PowerDisk::new(std::fs::read(folder.path().join("disk")).unwrap());
    let seed = clock::unix_millis();
    println!("seed {seed}");
    let mut accepted: Vec<(String, String)> = Vec::new();
    for cut in 0..CUTS {
        let mut machine = start(&disk);
        let server = machine.http();
        if cut == 0 {
            put_product_by(&token(&mut machine), server, "MANY", 1_000_000);
        }
        for (key, id) in &accepted {
            assert!(
                order(server, id).is_some(),
                "order {id} of key {key} was accepted and is gone (seed {seed})"
            );
        }
        assert_eq!(machine.try_run("footlight audit --config /tmp/footlight.toml").code, 0);
        let (is_over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
        let buyer = |buyer: u32| {
            let mut heard = Vec::new();
            for turn in 0.. {
                let ask = Ask::one(format!("{cut}-{buyer}-{turn}"), "MANY");
                // The line out of the machine may hold an answer that it gave before it died.
                match ask.send(server, PATIENCE / 4) {
                    Ok((201, told)) => {
                        heard.push((ask.key, told["id"].as_str().unwrap().to_owned()));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(other) => panic!("{ask:?}: {other:?}"),
                    Err(_) => break,
                }
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
            heard
        };
        let after = 30 + (seed.rotate_left(cut as u32 * 7) % 60) as u32;
        let heard = std::thread::scope(|scope| {
            let buyers: Vec<_> = (0..BUYERS).map(|number| scope.spawn(move || buyer(number))).collect();
            wait_until(PATIENCE, "orders are answered", || answered.load(Ordering::Relaxed) >= after);
            machine.cut_the_power();
            is_over.store(true, Ordering::Relaxed);
            buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect::<Vec<_>>()
        });
        let lost = disk.cut(seed ^ cut);
        println!(
            "cut {cut}: {} orders accepted; {lost:?}; flushes and writes so far {:?}",
            heard.len(),
            disk.asked()
        );
        accepted.extend(heard);
    }
    let mut machine = start(&disk);
    for (key, id) in &accepted {
        assert!(
            order(machine.http(), id).is_some(),
            "order {id} of key {key} was accepted and is gone (seed {seed})"
        );
    }
    let sold = product(machine.http(), "MANY")["sold"].as_u64().unwrap();
    assert!(sold >= accepted.len() as u64, "{sold} sold, {} accepted", accepted.len());
    let audit = machine.try_run("footlight audit --config /tmp/footlight.toml");
    assert_eq!(audit.code, 0, "{}", audit.output);
}

#[test]
#[ignore = "boots an emulated machine: make test-machine"]
fn a_disk_that_turns_read_only_refuses_orders_and_the_stream_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    empty_disk(&folder.path().join("disk"));
    let disk = PowerDisk::new(std::fs::read(folder.path().join("disk")).unwrap());
    let mut machine = start(&disk);
    let server = machine.http();
    put_product_by(&token(&mut machine), server, "CUP", 1_000);
    let (status, before) = Ask::one("before", "CUP").send(server, PATIENCE).unwrap();
    assert_eq!(status, 201, "{before}");
    // What a kernel does to a disk that fails: all of its file systems are read-only from here on.
    machine.run(
        "echo u >/proc/sysrq-trigger; for i in $(seq 100); do touch /data/x 2>/dev/null || exit 0; \
                 usleep 50000; done; exit 1",
    );
    let (status, refused) = Ask::one("refused", "CUP").send(server, PATIENCE).unwrap();
    assert_eq!(status, 503, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("cannot be written"), "{refused}");
    assert!(order(server, before["id"].as_str().unwrap()).is_some(), "what was accepted can be read");
    machine.wait_for_picture("main");
    assert!(machine.logs().contains("no orders are taken: the disk cannot be written"), "{}", machine.logs());

    machine.run("mount -o remount,rw /data");
    let id = wait_for(PATIENCE, "orders are taken again", || {
        match Ask::one("refused", "CUP").send(server, PATIENCE).unwrap() {
            (201, told) => Some(told["id"].as_str().unwrap().to_owned()),
            (503, _) => None,
            other => panic!("{other:?}"),
        }
    });
    assert!(order(server, &id).is_some());
    assert_eq!(product(server, "CUP")["sold"], 2);
    assert_eq!(machine.try_run("footlight audit --config /tmp/footlight.toml").code, 0);
}
