//! A server under measure: a process of its own, on a core of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The argument that makes this program a server.
pub const SERVE: &str = "--serve";

const SERVER_CORE: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Footlight,
    Merged,
}

const NAMES: [(Kind, &str); 3] =
    [(Kind::Floor, "floor"), (Kind::Footlight, "footlight"), (Kind::Merged, "merged")];

/// Runs as the server `name` until nobody holds its standard input any more.
pub fn be(name: &str) {
    pin(SERVER_CORE);
    let kind = NAMES.iter().find(|(_, known)| *known == name).unwrap().0;
    std::thread::Builder::new()
        .spawn(move || match kind {
            Kind::Floor => super::floor::run(),
            Kind::Footlight => super::server::run(std::time::Duration::ZERO),
            Kind::Merged => super::server::run(std::time::Duration::from_millis(100)),
        })
        .unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// Keeps this process to one core.
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores).unwrap();
}

pub struct Contender {
    child: Child,
    address: SocketAddr,
}

impl Contender {
    pub fn start(kind: Kind) -> Contender {
        let name = NAMES.iter().find(|(known, _)| *known == kind).unwrap().1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([SERVE, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Contender { child, address: line.trim().parse().unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all its threads have run for.
    pub fn cpu_seconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        nanos.sum::<u64>() as f64 * 1e-9
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // Closing its standard input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
