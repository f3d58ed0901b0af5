//! Orders over a slow disk: every sync below SQLite takes as long as an SD card's.
//!
//! A few lines of C, compiled here by `cc` and preloaded into the box (which is linked dynamically in this build),
//! make `fsync` and `fdatasync` wait before they do what they do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::buyers::Buyers;
use crate::disk;
use crate::http::row;
use crate::names::STOCK;
use crate::rig::Rig;
use crate::support::{output_within, require};

const SHIM: &str = r"
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
static void wait_a_while(void) {
    struct timespec span = { 0, MILLISECONDS * 1000000L };
    nanosleep(&span, 0);
}
int fsync(int file) { wait_a_while(); return syscall(SYS_fsync, file); }
int fdatasync(int file) { wait_a_while(); return syscall(SYS_fdatasync, file); }
";

const SYNC: Duration = Duration::from_millis(20);

/// The goal, and buyers enough for it.
const RATE: u32 = 5_000;
const CONNECTIONS: usize = 1_024;

pub fn measure(quick: bool) {
    let span = Duration::from_secs(if quick { 3 } else { 10 });
    let folder = disk::folder();
    let shim = compile(folder.path());
    println!("\nEvery sync below SQLite takes {SYNC:?} longer (LD_PRELOAD), ms from due to answer");
    println!(
        "{:>14} {:>9} {:>10} {:>8} {:>8} {:>9} {:>11}",
        "disk", "offered/s", "accepted/s", "p50", "p99", "p99.9", "turned away"
    );
    for (name, environment) in [("as it is", vec![]), ("slow", vec![("LD_PRELOAD", shim.to_str().unwrap())])]
    {
        let rig = Rig::with(STOCK, &environment);
        let mut crowd = Buyers::connect(rig.address(), CONNECTIONS, 0);
        crowd.at_rate(RATE, Duration::from_secs(1));
        println!("{name:>14} {}", row(RATE, crowd.at_rate(RATE, span)));
        let most = crowd.as_fast_as_answered(span);
        println!(
            "{name:>14} {:>9} {:>10.0}   as fast as {CONNECTIONS} buyers are answered",
            "-",
            most.per_second()
        );
    }
}

fn compile(folder: &Path) -> PathBuf {
    let (source, shim) = (folder.join("slow.c"), folder.join("slow.so"));
    std::fs::write(&source, SHIM).unwrap();
    let mut command = Command::new(require("cc", "apt install gcc"));
    command.args(["-shared", "-fPIC", "-O1", &format!("-DMILLISECONDS={}", SYNC.as_millis()), "-o"]);
    let output = output_within(Duration::from_secs(30), command.arg(&shim).arg(&source));
    assert!(output.status.success(), "{}", output.stderr);
    shim
}
