//! One open connection, whatever it speaks: it takes tags, and tells what arrived of them.
//!
//! Decides nothing: the failover core says who is fed, `cargo.rs` with what.

mod rtmp;
mod srt;

use std::io;
use std::ops::Range;
use std::task::{Context, Poll};

use socket2::Socket;

use crate::base::secret::Secret;
use crate::base::ticks::Ticks;
use crate::config::schema::Destination;
use crate::hub::Tag;

use super::error::LinkError;
use super::failover::Phase;
use super::lines::Sample;
use super::wire::Wire;

use rtmp::RtmpLink;

pub(super) use srt::SrtLink;

/// Where a destination stands in the configuration, by its line's number.
const FIELDS: [&str; 8] =
    ["primary", "standby 1", "standby 2", "standby 3", "standby 4", "standby 5", "standby 6", "standby 7"];

/// How a destination is named to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Scheme, host and port; never a key.
    pub(super) host: String,
    /// Where it stands in the configuration.
    pub(super) field: &'static str,
}

impl Name {
    /// The name of an output's destination number `at`.
    pub(super) fn new(at: usize, destination: &Destination) -> Name {
        Name { host: destination.url.to_string(), field: FIELDS.get(at).copied().unwrap_or("standby") }
    }

    /// Why no connection could be begun.
    pub(super) fn unreachable(&self, destination: &Destination, cause: io::Error) -> LinkError {
        let host = self.host.clone();
        match &destination.interface {
            Some(interface) if cause.raw_os_error() == Some(libc::ENODEV) => {
                LinkError::NoInterface { host, interface: interface.clone() }
            }
            _ => LinkError::Connect { host, cause },
        }
    }
}

/// What a connection begins with, besides what its destination says.
#[derive(Debug, Clone, Default)]
pub(super) struct Hello {
    /// Goes behind the application's name; empty unless the far end asked for a login.
    pub(super) login: Secret,
    /// The stream is H.265.
    pub(super) offers_h265: bool,
}

/// What dialling came to: somebody answered.
pub(super) enum Answered {
    /// By TCP; nothing was said yet.
    Wire(Wire),
    /// By SRT.
    Srt(Box<SrtLink>),
}

/// A connection, from the moment somebody answered.
pub(super) enum Link {
    /// RTMP, with or without TLS.
    Rtmp(Box<RtmpLink>),
    /// SRT.
    Srt(Box<SrtLink>),
}

impl Link {
    /// Begins to speak on a connection that stands.
    ///
    /// # Errors
    /// When not even the first word can be made.
    pub(super) fn open(
        answered: Answered,
        destination: &Destination,
        name: &Name,
        hello: Hello,
    ) -> Result<Link, LinkError> {
        Ok(match answered {
            Answered::Wire(wire) => Link::Rtmp(Box::new(RtmpLink::open(wire, destination, name, hello)?)),
            Answered::Srt(link) => Link::Srt(link),
        })
    }

    /// Whether H.265 goes to a far end that did not say that it takes it.
    pub(super) fn may_lack_h265(&self) -> bool {
        match self {
            Link::Rtmp(link) => link.may_lack_h265(),
            // The tables say what it is.
            Link::Srt(_) => false,
        }
    }

    /// Ready once [`Link::drive`] has something to do.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Link::Rtmp(link) => link.poll_ready(cx),
            Link::Srt(link) => link.poll_ready(cx),
        }
    }

    /// Moves bytes both ways, as far as that goes without waiting.
    ///
    /// # Errors
    /// The connection is over then.
    pub(super) fn drive(&mut self) -> Result<(), LinkError> {
        match self {
            Link::Rtmp(link) => link.drive(),
            Link::Srt(link) => link.drive(),
        }
    }

    /// How far dialling has come; `None` once the far end takes the stream.
    pub(super) fn dialing(&self) -> Option<Phase> {
        match self {
            Link::Rtmp(link) => link.dialing(),
            Link::Srt(link) => link.dialing(),
        }
    }

    /// Whether another tag may be put.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Link::Rtmp(link) => link.has_room(),
            Link::Srt(link) => link.has_room(),
        }
    }

    /// Puts a tag into the byte stream, for good, with the time `at` on the stream's timeline.
    ///
    /// # Errors
    /// If it cannot be framed.
    pub(super) fn put(&mut self, tag: &Tag, at: Ticks) -> Result<(), LinkError> {
        match self {
            Link::Rtmp(link) => link.put(tag, at),
            Link::Srt(link) => {
                link.put(tag, at);
                Ok(())
            }
        }
    }

    /// Says `header`, which the far end knows, once more, so that it hears something.
    ///
    /// # Errors
    /// If it cannot be framed.
    pub(super) fn repeat(&mut self, header: &Tag, at: Ticks) -> Result<(), LinkError> {
        match self {
            Link::Rtmp(link) => link.put(header, at),
            Link::Srt(link) => {
                link.repeat();
                Ok(())
            }
        }
    }

    /// Where the byte stream ends now, as [`Sample::acked_bytes`] counts.
    pub(super) fn end(&self) -> u64 {
        match self {
            Link::Rtmp(link) => link.end(),
            Link::Srt(link) => link.end(),
        }
    }

    /// A number that changes with each sign of life of the far end that a sample does not show: RTMP's
    /// acknowledgement, and SRT's repeated word that something is missing.
    pub(super) fn acknowledged(&self) -> Option<u32> {
        match self {
            Link::Rtmp(link) => link.acknowledged(),
            Link::Srt(link) => Some(link.signs_of_life()),
        }
    }

    /// Bytes, as [`Sample::acked_bytes`] counts, that the far end acknowledged and went on without: to be asked for
    /// before each sample, until there is nothing.
    pub(super) fn take_lost(&mut self) -> Option<Range<u64>> {
        match self {
            Link::Rtmp(_) => None,
            Link::Srt(link) => link.take_lost(),
        }
    }

    /// What the kernel knows of it, or SRT; the stream's own figures are left at 0.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) fn sample(&mut self) -> Result<Sample, LinkError> {
        match self {
            Link::Rtmp(link) => link.sample(),
            Link::Srt(link) => Ok(link.sample()),
        }
    }

    /// Another hold on the TCP connection, where it is one: while it lives the connection does.
    pub(super) fn hold(&self) -> Option<Socket> {
        match self {
            Link::Rtmp(link) => link.hold(),
            Link::Srt(_) => None,
        }
    }

    /// Says good-bye and hangs up, within two seconds.
    pub(super) async fn finish(self) {
        match self {
            Link::Rtmp(link) => link.finish().await,
            Link::Srt(link) => link.finish().await,
        }
    }
}
