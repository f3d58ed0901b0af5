//! Two clouds, each behind a line of its own.

use std::time::{Duration, Instant};

use footlight::base::clock;

use crate::support::net::{Line, Net, Shape};
use crate::support::nginx_rtmp::NginxRtmp;
use crate::support::{wait, wait_until};

const PORT: u16 = 1_935;
const RTT: Duration = Duration::from_millis(50);

/// A connection that has come past handshake and commands has brought more bytes than this.
const PUBLISHED_BYTES: usize = 3_500;

pub struct Cloud {
    pub nginx: NginxRtmp,
    pub line: Line,
}

/// What strikes a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Reset,
    Kill,
    ClosedPort,
    Silence,
    Freeze,
}

impl Fault {
    pub const ALL: [Fault; 5] = [Fault::Reset, Fault::Kill, Fault::ClosedPort, Fault::Silence, Fault::Freeze];

    pub fn name(self) -> &'static str {
        match self {
            Fault::Reset => "reset",
            Fault::Kill => "kill",
            Fault::ClosedPort => "port",
            Fault::Silence => "silence",
            Fault::Freeze => "freeze",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Fault::Reset => "connection reset",
            Fault::Kill => "server killed (-9)",
            Fault::ClosedPort => "reset, port closed",
            Fault::Silence => "line silent",
            Fault::Freeze => "server frozen (SIGSTOP)",
        }
    }
}

impl Cloud {
    pub fn new(net: &mut Net, device: &str) -> Cloud {
        let (place, line) = net.line(device, Shape::default().rtt(RTT));
        Cloud { nginx: NginxRtmp::start_in(place), line }
    }

    /// Strikes; hands back when.
    pub fn strike(&mut self, fault: Fault) -> Instant {
        let struck = clock::now();
        match fault {
            Fault::Reset => self.nginx.place().reset_connections(PORT),
            Fault::Kill => self.nginx.kill(),
            Fault::ClosedPort => {
                self.nginx.place().close_port(PORT);
                let struck = clock::now();
                self.nginx.place().reset_connections(PORT);
                return struck;
            }
            Fault::Silence => return self.line.fall_silent(),
            Fault::Freeze => self.nginx.freeze(),
        }
        struck
    }

    pub fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Reset => {}
            Fault::Kill => self.nginx.start_again(),
            Fault::ClosedPort => self.nginx.place().open_port(PORT),
            Fault::Silence => {
                self.line.heal();
            }
            Fault::Freeze => self.nginx.thaw(),
        }
    }

    fn last_media(&self) -> Option<Instant> {
        self.line.tap(|tap| tap.flows.iter().filter_map(|flow| flow.media_at.last().copied()).max())
    }

    fn is_published(&self) -> bool {
        let open =
            |flow: &crate::support::net::Flow| flow.ended.is_none() && flow.bytes.len() > PUBLISHED_BYTES;
        self.line.tap(|tap| tap.flows.last().is_some_and(open))
    }
}

/// Which of two carries: the one that got media last.
pub fn carrier(clouds: &[Cloud; 2]) -> usize {
    usize::from(clouds[1].last_media() > clouds[0].last_media())
}

/// Waits until the stream has been on one cloud for this long, and the other one is ready where `warm`.
pub fn settle(clouds: &[Cloud; 2], span: Duration, warm: bool) {
    let mut since = clock::now();
    let mut carries = carrier(clouds);
    wait_until(Duration::from_secs(90), "the stream has settled", || {
        let other = 1 - carrier(clouds);
        let rests = clouds[other].last_media().is_none_or(|at| at.elapsed() > Duration::from_millis(500));
        let flows =
            clouds[1 - other].last_media().is_some_and(|at| at.elapsed() < Duration::from_millis(200));
        if carries == other || !rests || !flows || (warm && !clouds[other].is_published()) {
            (since, carries) = (clock::now(), 1 - other);
        }
        since.elapsed() >= span
    });
}

/// Waits for the first media after `struck` at this cloud; `None` where none comes in time.
pub fn first_media(cloud: &Cloud, struck: Instant, patience: Duration) -> Option<Duration> {
    loop {
        if let Some(at) = cloud.line.tap(|tap| tap.first_media_after(struck)) {
            return Some(at - struck);
        }
        if struck.elapsed() > patience {
            return None;
        }
        wait::pause(Duration::from_millis(5));
    }
}
