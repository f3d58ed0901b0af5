//! HTTP-FLV: live streams over one long answer.
//!
//! ```text
//!   request ──mod.rs──> gate (a place?) ──> Taken ── the connection leaves hyper ──> audience ──> shard
//!                                                                                     per stream   per core
//! ```
//!
//! hyper reads the request and answers what goes wrong. What goes right leaves it: the socket itself is given to
//! the stream's audience, whose shards write to hundreds of viewers from one task, since what a viewer costs is
//! wake-ups, buffers and writes, and not bytes. The answer has no length and no chunks; its end is the
//! connection's end.
//!
//! `policy.rs` decides (pure), `batch.rs` builds what is written (pure), `viewer.rs` and `shard.rs` write,
//! The gate beside this room counts places. Nothing in here knows what a picture is beyond the hub's tags.

mod audience;
mod batch;
mod figures;
mod policy;
mod shard;
mod viewer;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::{StatusCode, Version};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::base::metrics::Exposition;
use crate::config::schema::Http;
use crate::hub::{Channel, Start};

use self::audience::Audiences;
use self::figures::{Figures, Refusal};
use self::policy::Bounds;
use self::shard::{Newcomer, Settings};
use super::gate::{Full, Gate, Places, Ticket};
use super::house::Seat;

/// How long a viewer waits for a stream to say what it is: a camera takes a second to come up.
const DESCRIPTION_WAITS: Duration = Duration::from_secs(3);

/// The media type of an answer.
pub(super) const CONTENT_TYPE: &str = "video/x-flv";

/// A viewer that may watch: the connection it came by belongs to it from here on.
#[derive(Debug)]
pub(super) struct Taken {
    channel: Channel,
    start: Start,
    version: Version,
    place: Ticket,
}

/// Why somebody may not watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) detail: &'static str,
    /// Seconds after which another try makes sense.
    pub(super) retry_after: Option<u32>,
}

/// All viewing.
pub(super) struct Viewing {
    gate: Gate,
    figures: Figures,
    audiences: Audiences,
    settings: watch::Sender<Settings>,
}

impl Viewing {
    pub(super) fn new(http: &Http) -> Viewing {
        Viewing {
            gate: Gate::default(),
            figures: Figures::default(),
            audiences: Audiences::new(),
            settings: watch::Sender::new(settings(http)),
        }
    }

    /// Other bounds, for those who watch already too.
    pub(super) fn reconfigure(&self, http: &Http) {
        self.settings.send_replace(settings(http));
    }

    /// Decides whether somebody from `address` may watch `channel`; waits a while for a stream that has not begun.
    pub(super) async fn admit(
        &self,
        http: &Http,
        channel: Channel,
        address: IpAddr,
        start: Start,
        version: Version,
    ) -> Result<Taken, Refused> {
        let places = Places { box_max: http.max_viewers, address_max: http.max_viewers_per_address };
        let place = self.gate.enter(address, places).map_err(|full| match full {
            Full::Box => self.refuse(Refusal::Box),
            Full::Address => self.refuse(Refusal::Address),
        })?;
        match tokio::time::timeout(DESCRIPTION_WAITS, channel.described()).await {
            Ok(true) => Ok(Taken { channel, start, version, place }),
            Ok(false) | Err(_) => Err(self.refuse(Refusal::NotReady)),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Refused {
        self.figures.refused(refusal);
        let (status, detail, retry_after) = match refusal {
            Refusal::Box => (
                StatusCode::SERVICE_UNAVAILABLE,
                "all places for viewers are taken (http.max_viewers)",
                Some(5),
            ),
            Refusal::Address => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many viewers from this address (http.max_viewers_per_address)",
                Some(5),
            ),
            Refusal::NotReady => {
                (StatusCode::SERVICE_UNAVAILABLE, "this stream has not begun: its camera is not up", Some(1))
            }
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many viewers join at once", Some(1)),
        };
        Refused { status, detail, retry_after }
    }

    /// Takes over the connection of somebody who may watch. Everything that hyper wrote to it has been sent.
    pub(super) async fn take(&self, stream: TcpStream, seat: Seat, taken: Taken) {
        let Taken { channel, start, version, place } = taken;
        let newcomer = Newcomer { stream, head: head(version), start, place, seat };
        let figures = self.figures.stream(channel.name());
        if !self.audiences.join(&channel, newcomer, &self.settings, &figures).await {
            self.figures.refused(Refusal::Busy);
        }
    }

    /// Ends all viewers.
    pub(super) async fn shutdown(&self) {
        self.audiences.shutdown().await;
    }

    /// Viewers now.
    pub(super) fn viewers(&self) -> u32 {
        self.gate.viewers()
    }

    /// Writes the figures; of `streams` also where nobody has watched yet.
    pub(super) fn describe_metrics(&self, streams: &[String], page: &mut Exposition) {
        for stream in streams {
            self.figures.stream(stream);
        }
        self.figures.describe(page);
    }
}

fn settings(http: &Http) -> Settings {
    Settings { merge: http.merge, bounds: Bounds { lag: http.viewer_lag, stall: http.viewer_stall } }
}

/// The head of a live answer. Without a length and without chunks it lasts until the connection ends
/// (RFC 9112 §6.3), which every client of either version can read.
fn head(version: Version) -> Bytes {
    let version = if version == Version::HTTP_10 { "1.0" } else { "1.1" };
    Bytes::from(format!(
        "HTTP/{version} 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\ncache-control: no-store\r\n\
         connection: close\r\naccess-control-allow-origin: *\r\nx-content-type-options: nosniff\r\n\r\n"
    ))
}
