//! nginx with its RTMP module, as the cloud: takes pushes, records what it got, can be killed, brought back and
//! frozen.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use footlight::base::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::net::Place;
use super::{tool, wait};

const INSTALL: &str = "apt-get install nginx-light libnginx-mod-rtmp";

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

const START: Duration = Duration::from_secs(10);

/// A server on a free port of 127.0.0.1, or on port 1935 of a [`Place`] of its own, with one application, `live`, in
/// a folder of its own. Killed when dropped.
pub struct NginxRtmp {
    child: Option<Child>,
    place: Option<Place>,
    address: String,
    port: u16,
    folder: TempDir,
}

impl NginxRtmp {
    /// Starts one and returns once it takes connections.
    #[track_caller]
    pub fn start() -> NginxRtmp {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        NginxRtmp::new(None, "127.0.0.1".into(), port)
    }

    /// The same at the far end of a line.
    #[track_caller]
    pub fn start_in(place: Place) -> NginxRtmp {
        let address = place.address.clone();
        NginxRtmp::new(Some(place), address, 1935)
    }

    #[track_caller]
    fn new(place: Option<Place>, address: String, port: u16) -> NginxRtmp {
        let folder = tempfile::Builder::new().prefix("footlight-nginx-").tempdir().unwrap();
        let mut nginx = NginxRtmp { child: None, place, address, port, folder };
        nginx.start_again();
        nginx
    }

    /// Starts it again after [`NginxRtmp::kill`], on the same port.
    #[track_caller]
    pub fn start_again(&mut self) {
        let nginx = tool::require("nginx", INSTALL);
        assert!(PathBuf::from(MODULE).is_file(), "{MODULE} is missing; bring it by: {INSTALL}");
        let folder = self.folder.path();
        let recordings = folder.join("recordings");
        std::fs::create_dir_all(&recordings).unwrap();
        self.outlast_the_name_of_the_last_recording();
        let config = format!(
            "load_module {MODULE};
            daemon off;
            master_process off;
            pid {pid};
            error_log {log} info;
            events {{ worker_connections 64; }}
            rtmp {{
                server {{
                    listen {address}:{port};
                    chunk_size 4096;
                    application live {{
                        live on;
                        record all;
                        record_path {recordings};
                        record_unique on;
                    }}
                }}
            }}",
            pid = folder.join("pid").display(),
            log = folder.join("log").display(),
            address = self.address,
            port = self.port,
            recordings = recordings.display(),
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(nginx);
        command.arg("-c").arg(&path).arg("-p").arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let address = (self.address.clone(), self.port);
        let mut start = move || {
            let child = command.spawn().unwrap();
            wait::until(START, "nginx takes connections", || {
                TcpStream::connect((address.0.as_str(), address.1)).is_ok()
            });
            child
        };
        self.child = Some(match &self.place {
            Some(place) => place.run(start),
            None => start(),
        });
    }

    /// Where it stands, if it stands at the far end of a line.
    #[track_caller]
    pub fn place(&self) -> &Place {
        self.place.as_ref().expect("it was started in a place")
    }

    /// `rtmp://ADDRESS:PORT/live/key`.
    pub fn url(&self, key: &str) -> String {
        format!("rtmp://{}:{}/live/{key}", self.address, self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it hang: its connections stay open and nobody reads them.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// What it recorded, oldest first. The newest file may still grow.
    pub fn recordings(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.folder.path().join("recordings"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort_by_key(|file| std::fs::metadata(file).and_then(|file| file.created()).ok());
        files
    }

    /// Waits until the recording of number `at` has at least this many bytes.
    #[track_caller]
    pub fn wait_for_recording(&self, deadline: Duration, at: usize, bytes: u64) -> PathBuf {
        wait::for_some(deadline, &format!("recording {at} has {bytes} bytes\n{}", self.log()), || {
            let file = self.recordings().get(at).cloned()?;
            (std::fs::metadata(&file).ok()?.len() >= bytes).then_some(file)
        })
    }

    /// nginx names a recording by the second in which it begins: one that begins in the same second as the last would
    /// take its place.
    #[track_caller]
    fn outlast_the_name_of_the_last_recording(&self) {
        let second = |at: std::time::SystemTime| {
            at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        let last = self
            .recordings()
            .last()
            .and_then(|file| std::fs::metadata(file).ok()?.created().ok())
            .map(second);
        wait::until(Duration::from_secs(3), "the next second", || {
            last.is_none_or(|last| second(clock::wall()) > last)
        });
    }

    /// Its log, without what it says of the first connection of each run, which is our own knock.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().filter(|line| !line.contains(" *1 ")).flat_map(|line| [line, "\n"]).collect()
    }

    /// Whether it has stored all it got: since its last start, every connection has ended.
    pub fn is_idle(&self) -> bool {
        let log = self.log();
        let since_start = &log[log.rfind("using the \"epoll\"").unwrap_or(0)..];
        since_start.matches("client connected").count() == since_start.matches(" disconnect").count()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    }
}

impl Drop for NginxRtmp {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("--- nginx\n{}", self.log());
        }
    }
}
