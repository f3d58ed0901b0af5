//! Which core is whose: what is measured has one, and what loads it another.

use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What is measured.
pub const SERVER: usize = 0;

/// What loads it.
pub const LOAD: usize = 1;

/// Keeps this thread, and those that it begins from now on, to one core.
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores).unwrap();
}

/// Processor time that this process's thread of that name has used; nothing, while there is none.
pub fn cpu_of(thread: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| -> Option<u64> {
        let task = task.ok()?.path();
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let used = std::fs::read_to_string(task.join("schedstat")).ok()?;
        if name.trim() == thread { used.split(' ').next()?.parse().ok() } else { None }
    });
    Duration::from_nanos(nanos.sum())
}
