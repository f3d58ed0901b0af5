//! Who sends: footlight, ffmpeg in a wrapper that starts it again, and the naive sender.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use footlight::base::threads;

use crate::naive;
use crate::support::{Footlight, films, require, wait};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Footlight,
    Ffmpeg,
    Naive,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Footlight, Kind::Ffmpeg, Kind::Naive];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Footlight => "footlight",
            Kind::Ffmpeg => "ffmpeg",
            Kind::Naive => "naive",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Kind::Footlight => "footlight",
            Kind::Ffmpeg => "ffmpeg, restarted",
            Kind::Naive => "naive sender",
        }
    }
}

/// The stream that all of them send.
pub struct Stream {
    pub bitrate: &'static str,
    /// A sender that cannot follow is given time before the box moves it to the live edge.
    pub patient: bool,
}

/// A box; for the references only a source on the LAN.
pub fn start_box(stream: &Stream, outputs: &str) -> Footlight {
    let (Stream { bitrate, patient }, clip) = (stream, films::busy_clip());
    let http = if *patient { "[http]\nviewer_lag = \"1m\"\nviewer_stall = \"2m\"\n\n" } else { "" };
    Footlight::with(&format!(
        "{http}[[stream]]\nname = \"main\"\nvideo = \"file:{}\"\nsize = \"640x360\"\nfps = 25\nbitrate = \"{bitrate}\"\n\
         gop = \"1s\"\ngop_cache = \"128MiB\"\n\n{outputs}",
        clip.display()
    ))
    .start()
}

/// The lines of a configuration that push to these clouds, the first being the primary, and stay where they are.
pub fn output(clouds: &[String], adaptive: bool) -> String {
    let standby: Vec<String> = clouds[1..].iter().map(|url| format!("{{ url = \"{url}\" }}")).collect();
    format!(
        "[[output]]\nname = \"cloud\"\nstream = \"main\"\nmode = \"warm\"\nfailback = \"1h\"\nadaptive = {adaptive}\n\
         primary = \"{}\"\nstandby = [{}]\n",
        clouds[0],
        standby.join(", ")
    )
}

/// A sender beside the box; ends when dropped.
pub struct Reference {
    stop: Arc<AtomicBool>,
    runner: Option<JoinHandle<()>>,
}

impl Reference {
    pub fn start(kind: Kind, source: &Footlight, clouds: Vec<SocketAddr>) -> Reference {
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, http) = (stop.clone(), source.http());
        let runner = threads::spawn("bench", "sender", move || match kind {
            Kind::Footlight => unreachable!("it is no reference"),
            Kind::Ffmpeg => ffmpeg(http, &clouds, &theirs),
            Kind::Naive => naive::run(http, &clouds, &theirs),
        });
        Reference { stop, runner: Some(runner.unwrap()) }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(runner) = self.runner.take() {
            let _ = runner.join();
        }
    }
}

/// The wrapper that every guide shows: when ffmpeg ends, it is started again, here with the next destination. The
/// time limit is what guides advise against a far end that takes nothing; RTMP's own socket does not hear of it.
fn ffmpeg(source: SocketAddr, clouds: &[SocketAddr], stop: &AtomicBool) {
    let program = require("ffmpeg", "apt-get install ffmpeg");
    for cloud in clouds.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut child = Command::new(&program)
            .args(["-v", "quiet", "-nostdin", "-fflags", "nobuffer", "-analyzeduration", "500000"])
            .args(["-fpsprobesize", "0", "-i", &format!("http://{source}/live/main.flv"), "-c", "copy"])
            .args(["-rw_timeout", "5000000", "-flush_packets", "1", "-f", "flv"])
            .arg(format!("rtmp://{cloud}/live/k3y"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if stop.load(Ordering::Relaxed) {
                let _ = child.kill();
            }
            wait::pause(Duration::from_millis(5));
        }
    }
}
