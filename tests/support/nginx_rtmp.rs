//! nginx with its RTMP module, as the cloud: takes pushes, records what it got, can be killed, brought back and
//! frozen.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{tool, wait};

const INSTALL: &str = "apt-get install nginx-light libnginx-mod-rtmp";

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

const START: Duration = Duration::from_secs(10);

/// A server on a free port of 127.0.0.1 with one application, `live`, in a folder of its own. Killed when
/// dropped.
pub struct NginxRtmp {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl NginxRtmp {
    /// Starts one and returns once it takes connections.
    #[track_caller]
    pub fn start() -> NginxRtmp {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::Builder::new().prefix("footlight-nginx-").tempdir().unwrap();
        let mut nginx = NginxRtmp { child: None, port, folder };
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
        let config = format!(
            "load_module {MODULE};
            daemon off;
            master_process off;
            pid {pid};
            error_log {log} info;
            events {{ worker_connections 64; }}
            rtmp {{
                server {{
                    listen 127.0.0.1:{port};
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
            port = self.port,
            recordings = recordings.display(),
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let child = Command::new(nginx)
            .arg("-c")
            .arg(&path)
            .arg("-p")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let port = self.port;
        wait::until(START, "nginx takes connections", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// `rtmp://127.0.0.1:PORT/live/key`.
    pub fn url(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{key}", self.port)
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

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
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
