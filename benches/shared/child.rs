//! A server under measure: this program once more, as a process of its own on a core of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::cores::{SERVER, pin};

/// The argument that makes this program a server; what it shall serve follows.
const SERVE: &str = "--serve";

/// What this program shall serve, where it was begun as a server. It ends once nobody holds its standard input any
/// more.
pub fn to_serve() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != SERVE);
    arguments.next()?;
    pin(SERVER);
    let until_closed = || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    };
    std::thread::Builder::new().spawn(until_closed).unwrap();
    Some(arguments.collect())
}

pub struct Child {
    process: std::process::Child,
    address: SocketAddr,
}

impl Child {
    /// Serves `what`, and prints its address first.
    pub fn start(what: &[&str]) -> Child {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .args(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Child { process, address: line.trim().parse().unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all its threads have run for.
    pub fn cpu_seconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanos = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        nanos.sum::<u64>() as f64 * 1e-9
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Closing its standard input ends it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
