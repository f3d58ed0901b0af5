//! An RTMP session on a wire.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::Socket;
use tokio::time::timeout;
use tracing::debug;

use crate::base::tcp_info::TcpInfo;
use crate::base::ticks::Ticks;
use crate::config::schema::{Destination, PushPath};
use crate::hub::{Tag, TagKind};
use crate::media::flv::TagType;
use crate::media::rtmp::{Phase as Stage, Publisher, SessionError, Target};
use crate::uplink::error::LinkError;
use crate::uplink::failover::Phase;
use crate::uplink::lines::Sample;
use crate::uplink::wire::{Read, Wire, WireError};

use super::{Hello, Name};

/// Our own buffer is filled up to here, by one tag more at most: what stands in it can be sent by no other line.
const PENDING_BYTES_FULL: usize = 16 << 10;

/// Bytes read from the far end in one go; it has little to say.
const READ_BYTES: usize = 4 << 10;

/// Reads in one go, so that a far end that talks without end does not keep the other lines waiting.
const READS_MAX: usize = 16;

/// How long a good-bye may take.
const FINISH_MAX: Duration = Duration::from_secs(2);

pub(in crate::uplink) struct RtmpLink {
    wire: Wire,
    session: Publisher,
    name: Name,
}

impl RtmpLink {
    pub(super) fn open(
        wire: Wire,
        destination: &Destination,
        name: &Name,
        hello: Hello,
    ) -> Result<RtmpLink, LinkError> {
        let PushPath::Rtmp { app, key } = &destination.url.path else {
            return Err(LinkError::NotSpoken { host: name.host.clone() });
        };
        let target = Target {
            tc_url: format!("{}/{}", destination.url, app.reveal()),
            app: app.reveal().to_owned(),
            key: key.reveal().to_owned(),
        };
        let mut session = Publisher::new(target).map_err(|cause| broken_session(name, cause))?;
        session.log_in(hello.login);
        if hello.offers_h265 {
            session.offer_h265();
        }
        Ok(RtmpLink { wire, session, name: name.clone() })
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pushes = !self.session.output().is_empty() && !self.wire.is_handshaking();
        if pushes { Poll::Ready(()) } else { self.wire.poll_ready(cx) }
    }

    pub(super) fn drive(&mut self) -> Result<(), LinkError> {
        let mut heard = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            match self.wire.read(&mut heard) {
                Ok(Read::Bytes(bytes)) => {
                    self.session
                        .receive(&heard[..bytes])
                        .map_err(|cause| broken_session(&self.name, cause))?;
                }
                Ok(Read::Nothing) => break,
                Ok(Read::End) => return Err(self.closed()),
                Err(WireError::Broken(cause)) => return Err(self.broken(cause)),
                Err(WireError::Tls(cause)) => return Err(LinkError::tls(&self.name, cause)),
            }
        }
        self.wire.push(self.session.output());
        self.wire.flush().map_err(|cause| self.broken(cause))
    }

    pub(super) fn dialing(&self) -> Option<Phase> {
        match self.session.phase() {
            _ if self.wire.is_handshaking() => Some(Phase::Tls),
            Stage::Handshake | Stage::Connect => Some(Phase::Handshake),
            Stage::CreateStream | Stage::Publish => Some(Phase::Publish),
            Stage::Live | Stage::Finished => None,
        }
    }

    pub(super) fn may_lack_h265(&self) -> bool {
        self.session.may_lack_h265()
    }

    pub(super) fn has_room(&self) -> bool {
        self.wire.pending_bytes() < PENDING_BYTES_FULL
    }

    pub(super) fn put(&mut self, tag: &Tag, at: Ticks) -> Result<(), LinkError> {
        let sent = self.session.send(tag_type(tag.kind), at.millis() as u32, &tag.body());
        sent.map_err(|cause| broken_session(&self.name, cause))?;
        self.wire.push(self.session.output());
        Ok(())
    }

    pub(super) fn end(&self) -> u64 {
        self.wire.end()
    }

    pub(super) fn acknowledged(&self) -> Option<u32> {
        self.session.far_acks().last()
    }

    pub(super) fn sample(&self) -> Result<Sample, LinkError> {
        let info = TcpInfo::of(self.wire.socket()).map_err(|cause| self.broken(cause))?;
        Ok(Sample {
            acked_bytes: info.bytes_acked,
            owed_bytes: self.wire.written().saturating_sub(info.bytes_acked),
            unsent_bytes: info.bytes_not_sent.into(),
            waiting_bytes: self.wire.pending_bytes() as u64,
            rtt: info.rtt,
            delivered_segments: info.delivered.map(u64::from),
            sent_segments: info.data_segments_sent.into(),
            retransmitted_segments: info.retransmits.into(),
            window_bytes: info.window_bytes.map(u64::from),
            ..Sample::default()
        })
    }

    pub(super) fn hold(&self) -> Option<Socket> {
        self.wire.hold().ok()
    }

    pub(super) async fn finish(mut self) {
        let _ = self.session.finish();
        self.wire.push(self.session.output());
        match timeout(FINISH_MAX, self.wire.close()).await {
            Ok(Ok(())) => debug!("said good-bye"),
            Ok(Err(error)) => debug!(%error, "the line broke during the good-bye"),
            Err(_) => debug!("the far end did not hang up in time"),
        }
    }

    fn closed(&self) -> LinkError {
        let Name { host, field } = self.name.clone();
        LinkError::Closed { host, field, phase: self.session.phase() }
    }

    fn broken(&self, cause: io::Error) -> LinkError {
        // A server that closes with our bytes unread resets the line: the same thing to a person.
        if cause.kind() == io::ErrorKind::ConnectionReset && self.session.phase() < Stage::Live {
            return self.closed();
        }
        LinkError::Broken { host: self.name.host.clone(), cause }
    }
}

fn broken_session(name: &Name, cause: SessionError) -> LinkError {
    LinkError::Session { host: name.host.clone(), field: name.field, cause }
}

fn tag_type(kind: TagKind) -> TagType {
    match kind {
        TagKind::Script => TagType::Script,
        TagKind::VideoHeader | TagKind::Video { .. } => TagType::Video,
        TagKind::AudioHeader | TagKind::Audio => TagType::Audio,
    }
}
