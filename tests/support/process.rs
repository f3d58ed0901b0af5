//! The built binary as a process: started on a configuration, watched, signalled, ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use footlight::base::{clock, threads};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::http::{self, Response};
use super::tool::{self, output_within};
use super::wait;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_footlight");

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(20);

/// The log kept for a failure to show; older lines go first.
const LOG_LINES_MAX: usize = 20_000;

/// A footlight on a free port of 127.0.0.1, in a folder of its own. Killed when dropped; a failing test shows
/// its log.
pub struct Footlight {
    child: Child,
    logs: Arc<Mutex<Vec<String>>>,
    http: SocketAddr,
    folder: TempDir,
}

/// A footlight to be started.
pub struct Builder {
    folder: TempDir,
    program: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// How a footlight ended that was not meant to run for long.
#[derive(Debug)]
pub struct Exit {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Footlight {
    /// Starts `footlight run` on this configuration and returns once `/healthz` answers 200. It listens on a free
    /// port, whatever the configuration says.
    #[track_caller]
    pub fn start(config: &str) -> Footlight {
        Footlight::with(config).start()
    }

    /// The same with more to be said first.
    pub fn with(config: &str) -> Builder {
        let folder = tempfile::Builder::new().prefix("footlight-test-").tempdir().unwrap();
        std::fs::write(folder.path().join("footlight.toml"), config).unwrap();
        let listen = ("FOOTLIGHT_HTTP__LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        Builder { folder, program: vec![BINARY.into()], arguments: vec![], environment: vec![listen] }
    }

    /// The address that HTTP really listens on.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// `http://127.0.0.1:PORT` + `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// `GET path`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        http::get(self.http, path)
    }

    /// The sum of a metric's samples whose labels contain `labels`; `None` while there are none.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &str) -> Option<f64> {
        http::metric(self.http, name, labels)
    }

    /// Waits until a stream's `/live` answers with pictures.
    #[track_caller]
    pub fn wait_for_picture(&self, stream: &str) {
        let path = format!("/live/{stream}.flv");
        wait::until(START, &format!("a picture of stream {stream}"), || {
            super::Viewer::try_open(self.http, &path, Duration::from_secs(2))
                .is_ok_and(|mut viewer| (0..50).any(|_| viewer.next_tag().is_ok_and(|tag| tag.is_picture())))
        });
    }

    /// Everything it has written to standard output and error so far.
    pub fn logs(&self) -> String {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits for a line that contains `text`, and hands it back.
    #[track_caller]
    pub fn wait_for_log(&self, deadline: Duration, text: &str) -> String {
        wait::for_some(deadline, &format!("a log line with {text:?}"), || {
            let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            logs.iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// Its folder: `footlight.toml` stands in it and it is the working directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the configuration file; [`Footlight::signal`] with `SIGHUP` makes it read.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.folder.path().join("footlight.toml"), config).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = clock::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(clock::now() < end, "footlight did not end within {deadline:?}\n{}", self.logs());
            wait::pause(Duration::from_millis(5));
        }
    }

    /// `SIGTERM`, and waits for the end.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(deadline)
    }

    /// `SIGKILL`.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Memory that it holds in RAM (`VmRSS`).
    #[track_caller]
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it runs");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap() * 1_024
    }

    /// How many files and sockets it has open.
    #[track_caller]
    pub fn open_fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Names of its threads.
    #[track_caller]
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect()
    }

    /// Processor time that it has used, user and system.
    #[track_caller]
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let fields: Vec<u64> =
            after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        // Fields 14 and 15 of proc(5), in ticks of 1/100 s on every Linux we run on; the state is field 3.
        Duration::from_millis((fields[11] + fields[12]) * 10)
    }
}

impl Builder {
    /// Puts a file into its folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Builder {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Builder {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Leaves the choice of the address to the configuration.
    pub fn listen_as_configured(mut self) -> Builder {
        self.environment.retain(|(key, _)| key != "FOOTLIGHT_HTTP__LISTEN");
        self
    }

    /// Adds an argument after `run --config FILE`.
    pub fn arg(mut self, argument: &str) -> Builder {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it by these words instead of [`BINARY`].
    pub fn program(mut self, words: &[&str]) -> Builder {
        self.program = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Its folder, to name files in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and returns once `/healthz` answers 200.
    #[track_caller]
    pub fn start(self) -> Footlight {
        let mut command = self.command(&["run", "--config", "footlight.toml"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.program));
        let logs = Arc::new(Mutex::new(Vec::new()));
        keep_lines(child.stdout.take().unwrap(), logs.clone());
        keep_lines(child.stderr.take().unwrap(), logs.clone());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut footlight = Footlight { child, logs, http: nowhere, folder: self.folder };
        footlight.http = wait::for_some(START, "a log line with `serving HTTP` and its address", || {
            assert!(footlight.is_running(), "footlight ended at its start");
            footlight.logs().lines().find_map(listening_address)
        });
        wait::until(START, "200 from /healthz", || {
            let answer = http::Request::new("GET", "/healthz").send(footlight.http);
            answer.is_ok_and(|answer| answer.status == 200)
        });
        footlight
    }

    /// Runs it with these arguments to its end.
    #[track_caller]
    pub fn run_to_end(&self, deadline: Duration, arguments: &[&str]) -> Exit {
        let output = output_within(deadline, &mut self.command(arguments));
        Exit {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: output.stderr,
        }
    }

    /// The command line as it would be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(arguments)
            .args(&self.arguments)
            .current_dir(self.folder.path());
        let inherited = std::env::vars_os().map(|(key, _)| key);
        for key in inherited.filter(|key| key.to_string_lossy().starts_with("FOOTLIGHT_")) {
            command.env_remove(key);
        }
        command.env_remove("STATE_DIRECTORY").env_remove("NOTIFY_SOCKET").env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

impl Drop for Footlight {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- what footlight said ---\n{}\n---", self.logs());
        }
    }
}

/// The address in the log line `serving HTTP address=127.0.0.1:8080`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("serving HTTP")?;
    rest.split([' ', '=', '"', '/', ',', '\u{1b}']).find_map(|word| word.parse().ok())
}

fn keep_lines(pipe: impl std::io::Read + Send + 'static, logs: Arc<Mutex<Vec<String>>>) {
    let keep = move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
            if logs.len() >= LOG_LINES_MAX {
                logs.remove(0);
            }
            logs.push(String::from_utf8_lossy(&line).into_owned());
        }
    };
    threads::spawn("test", "logs", keep).unwrap();
}
