//! A listener of libsrt's own, as the cloud: keeps what it got, can be killed, brought back and frozen.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::net::Place;
use super::{tool, wait};

const INSTALL: &str = "apt-get install srt-tools";

const START: Duration = Duration::from_secs(10);

/// A listener on a free port of 127.0.0.1, or on port 9000 of a [`Place`] of its own. Killed when dropped.
pub struct SrtListener {
    child: Option<Child>,
    place: Option<Place>,
    address: String,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
    /// Recordings of runs before this one.
    earlier: usize,
}

impl SrtListener {
    /// Starts one and returns once it listens. `options` are those of `srt_listener.py`.
    #[track_caller]
    pub fn start(options: &[&str]) -> SrtListener {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        SrtListener::new(None, "127.0.0.1".into(), port, options)
    }

    /// The same at the far end of a line.
    #[track_caller]
    pub fn start_in(place: Place, options: &[&str]) -> SrtListener {
        let address = place.address.clone();
        SrtListener::new(Some(place), address, 9000, options)
    }

    #[track_caller]
    fn new(place: Option<Place>, address: String, port: u16, options: &[&str]) -> SrtListener {
        tool::require("srt-live-transmit", INSTALL);
        let folder = tempfile::Builder::new().prefix("footlight-srt-").tempdir().unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut listener = SrtListener { child: None, place, address, port, options, folder, earlier: 0 };
        listener.start_again();
        listener
    }

    /// Starts it again after [`SrtListener::kill`], on the same port.
    #[track_caller]
    pub fn start_again(&mut self) {
        let python = tool::require("python3", "apt-get install python3");
        self.earlier = std::fs::read_dir(self.folder.path()).unwrap().count();
        let folder = self.run_folder();
        std::fs::create_dir_all(&folder).unwrap();
        let said = folder.join("said");
        let mut command = Command::new(python);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/srt_listener.py");
        let out = std::fs::File::create(&said).unwrap();
        command.arg(script).args([&self.address, &self.port.to_string()]).arg(&folder).args(&self.options);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = match &self.place {
            Some(place) => place.run(move || command.spawn()),
            None => command.spawn(),
        };
        self.child = Some(child.unwrap());
        wait::until(START, "an SRT listener listens", || {
            let said = std::fs::read_to_string(&said).unwrap();
            assert!(said.is_empty() || said.contains("listening"), "the listener: {said}");
            said.contains("listening")
        });
    }

    /// Its URL, with what follows the port.
    pub fn url(&self, query: &str) -> String {
        format!("srt://{}:{}{query}", self.address, self.port)
    }

    /// Ends it as by `kill -9`; does nothing if it is not running.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in its tracks: its socket stays, and nobody reads from it.
    #[track_caller]
    pub fn freeze(&self) {
        kill(Pid::from_raw(self.child.as_ref().unwrap().id() as i32), Signal::SIGSTOP).unwrap();
    }

    /// What connection number `at` of this run brought, once that is so many bytes.
    #[track_caller]
    pub fn wait_for_recording(&self, deadline: Duration, at: usize, bytes: u64) -> PathBuf {
        let path = self.run_folder().join(format!("{at}.ts"));
        wait::until(deadline, &format!("{bytes} bytes in recording {at}"), || {
            path.metadata().is_ok_and(|about| about.len() >= bytes)
        });
        path
    }

    /// Waits until connection number `at` of this run is over.
    #[track_caller]
    pub fn wait_for_end(&self, deadline: Duration, at: usize) {
        let path = self.run_folder().join(format!("{at}.end"));
        wait::until(deadline, &format!("the end of connection {at}"), || path.exists());
    }

    /// The stream id that connection number `at` of this run came with.
    #[track_caller]
    pub fn stream_id(&self, at: usize) -> String {
        std::fs::read_to_string(self.run_folder().join(format!("{at}.id"))).unwrap()
    }

    /// All recordings of all runs.
    pub fn recordings(&self) -> Vec<PathBuf> {
        let runs = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        let files = runs.flat_map(|run| std::fs::read_dir(run.path()).unwrap().flatten());
        let mut found: Vec<_> =
            files.map(|file| file.path()).filter(|path| path.extension() == Some("ts".as_ref())).collect();
        found.sort();
        found
    }

    fn run_folder(&self) -> PathBuf {
        self.folder.path().join(format!("run-{}", self.earlier))
    }
}

impl Drop for SrtListener {
    fn drop(&mut self) {
        self.kill();
    }
}
