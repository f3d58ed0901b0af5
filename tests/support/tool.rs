//! Programs that tests run beside footlight.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use footlight::base::{clock, threads};

use super::wait;

/// The path of program `name`; panics with the command that installs it where it is missing.
#[track_caller]
pub fn require(name: &str, install: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("`{name}` is not installed, and this test needs it; bring it by: {install}")
        })
}

/// What a program said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs `command` to its end; kills it and panics, showing what it said, when it takes longer than `deadline`.
#[track_caller]
pub fn output_within(deadline: Duration, command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let stdout = slurp(child.stdout.take().unwrap());
    let stderr = slurp(child.stderr.take().unwrap());
    let end = clock::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if clock::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        wait::pause(Duration::from_millis(10));
    };
    let stdout = stdout.join().unwrap();
    let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
    match status {
        Some(status) => Output { status, stdout, stderr },
        None => {
            panic!("not done within {deadline:?}: {shown}\n{}\n{stderr}", String::from_utf8_lossy(&stdout))
        }
    }
}

fn slurp(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    threads::spawn("test", "slurp", move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        all
    })
    .unwrap()
}
