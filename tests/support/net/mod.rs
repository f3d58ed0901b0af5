//! A network of the tests' own: the box in one namespace, each cloud in another, a line of its own to each.
//!
//! ```text
//!   Net: the box's namespace                                Place: a cloud's namespace
//!   ┌────────────────┐   IP packets    ┌────────────┐        ┌──────────────────────────┐
//!   │ test, footlight├──tun device────>│    Line    ├──tun──>│ nginx on 10.77.1.2:1935  │
//!   │ 10.77.1.1      │<────────────────┤ (a thread) │<───────┤                          │
//!   └────────────────┘                  └─────┬──────┘        └──────────────────────────┘
//!                                   delay, rate, queue, loss, silence; a Tap that sees all
//! ```
//! The line is a thread between two TUN devices, so every packet of both kernels' TCP passes through it: round
//! trips, queues and losses are what the kernels see them to be, and the tap knows to the millisecond and the byte
//! what was delivered and what was acknowledged.
//!
//! Nothing is left behind: no namespace has a name, so the kernel takes all of it away with the last process and
//! file that uses it, also when a run is killed.

pub mod dns;
pub mod line;
pub mod tap;
mod tun;

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use footlight::base::threads;
use nix::sched::{CloneFlags, setns, unshare};

use super::tool::{output_within, require};

pub use line::{Line, Shape};
pub use tap::{Flow, Tap};

/// The namespace that the calling thread, and what it starts, live in until this is dropped.
pub struct Net {
    /// Where the thread came from.
    home: File,
    lines: u8,
}

/// The namespace of a far end.
pub struct Place {
    namespace: File,
    /// Its address on its line.
    pub address: String,
}

impl Net {
    /// Moves the calling thread into a fresh network namespace.
    #[track_caller]
    pub fn new() -> Net {
        let home = namespace_of_this_thread();
        unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| {
            panic!(
                "no network namespace ({error}): this test needs root, or CAP_SYS_ADMIN: sudo -E make test"
            )
        });
        ip("link set lo up");
        Net { home, lines: 0 }
    }

    /// How many lines there are so far.
    pub fn lines_made(&self) -> u8 {
        self.lines
    }

    /// A far end, with a line to it that goes out by a device of this name: `10.77.N.1` here, `10.77.N.2` there.
    #[track_caller]
    pub fn line(&mut self, device: &str, shape: Shape) -> (Place, Line) {
        self.lines += 1;
        let number = self.lines;
        let (near_address, far_address) = (format!("10.77.{number}.1"), format!("10.77.{number}.2"));
        let near = tun::open(device).unwrap_or_else(|error| {
            panic!("no TUN device ({error}): this test needs root and /dev/net/tun (modprobe tun)")
        });
        ip(&format!("addr add {near_address} peer {far_address} dev {device}"));
        ip(&format!("link set {device} up"));
        let (there, device) = (far_address.clone(), device.to_owned());
        let (namespace, far) = threads::spawn("test", "place", move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let far = tun::open(&device).unwrap();
            ip("link set lo up");
            ip(&format!("addr add {there} peer {near_address} dev {device}"));
            ip(&format!("link set {device} up"));
            (namespace_of_this_thread(), far)
        })
        .unwrap()
        .join()
        .unwrap();
        (Place { namespace, address: far_address }, Line::start(near, far, shape))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = setns(&self.home, CloneFlags::CLONE_NEWNET);
    }
}

impl Place {
    /// Runs `body` inside: what it starts and which sockets it opens belong there.
    #[track_caller]
    pub fn run<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = self.namespace.try_clone().unwrap();
        let inside = threads::spawn("test", "inside", move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        });
        match inside.unwrap().join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Resets every connection to `port` in here: both ends hear of it, as when a server's process is restarted.
    #[track_caller]
    pub fn reset_connections(&self, port: u16) {
        let filter = format!("sport = :{port}");
        self.command("ss", "apt-get install iproute2", &["-K", "state", "established", &filter]);
    }

    /// Refuses whoever knocks at `port` from now on, as a server does that does not listen.
    #[track_caller]
    pub fn close_port(&self, port: u16) {
        self.port_rule("-I", port);
    }

    /// Undoes [`Place::close_port`].
    #[track_caller]
    pub fn open_port(&self, port: u16) {
        self.port_rule("-D", port);
    }

    #[track_caller]
    fn port_rule(&self, what: &str, port: u16) {
        let port = port.to_string();
        self.command(
            "iptables",
            "apt-get install iptables",
            &["-w", what, "INPUT", "-p", "tcp", "--syn", "--dport", &port]
                .into_iter()
                .chain(["-j", "REJECT", "--reject-with", "tcp-reset"])
                .collect::<Vec<_>>(),
        );
    }

    #[track_caller]
    fn command(&self, program: &str, install: &str, arguments: &[&str]) {
        let program = require(program, install);
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let shown = format!("{} {}", program.display(), arguments.join(" "));
        let done =
            self.run(move || output_within(Duration::from_secs(10), Command::new(program).args(arguments)));
        assert!(done.status.success(), "{shown}: {}", done.stderr);
    }
}

/// Runs `ip` in the calling thread's namespace.
#[track_caller]
fn ip(arguments: &str) {
    let ip = require("ip", "apt-get install iproute2");
    let done = output_within(Duration::from_secs(10), Command::new(ip).args(arguments.split(' ')));
    assert!(done.status.success(), "ip {arguments}: {}", done.stderr);
}

fn namespace_of_this_thread() -> File {
    File::open("/proc/thread-self/ns/net").expect("a thread has a network namespace")
}
