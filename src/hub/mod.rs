//! The hub: one channel for each stream, from whoever makes its packets to all who carry them on.
//!
//! ```text
//!   encode ──Media──> Publisher ─┬─ framer: one timeline, each packet framed once as an FLV tag
//!                                └─> ring: the newest GOPs ──> Reader (cursor) ──> a viewer
//!                                                         ├──> Reader (cursor) ──> the uplink
//!                                                         └──> ...
//! ```
//!
//! Any number of readers walk the same ring: nothing is queued or copied for any of them, and none can hold
//! the publisher up. A source that dies and comes back does so on the same channel: its readers stay, time goes
//! on, and the next picture they get is a keyframe.
//!
//! The hub never decodes, never paces, and never asks who reads.

mod channel;
mod framer;
mod ring;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::metrics::Exposition;

pub use channel::{Channel, ChannelStats, Next, Publisher, Reader};
pub use ring::{Headers, Lag, Limits, Start, Tag, TagKind};

/// All channels of the box, by name.
#[derive(Clone, Default)]
pub struct Hub {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl Hub {
    /// A hub without channels.
    pub fn new() -> Hub {
        Hub::default()
    }

    /// Opens the channel of `stream`. If it is open already, the new publisher takes it over with the new limits:
    /// readers stay, and what the old publisher still says is not heard.
    pub fn open(&self, stream: &str, limits: Limits) -> Publisher {
        let mut channels = self.lock();
        if let Some(publisher) = channels.get(stream).and_then(|channel| channel.take_over(limits)) {
            return publisher;
        }
        let (channel, publisher) = Channel::open(stream, limits);
        channels.insert(stream.to_owned(), channel);
        publisher
    }

    /// The channel of `stream`, if it is open.
    pub fn channel(&self, stream: &str) -> Option<Channel> {
        self.lock().get(stream).filter(|channel| !channel.is_closed()).cloned()
    }

    /// The names of the open channels, in order.
    pub fn names(&self) -> Vec<String> {
        let mut channels = self.lock();
        channels.retain(|_, channel| !channel.is_closed());
        channels.keys().cloned().collect()
    }

    /// Writes the figures of all open channels.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        let channels: Vec<Channel> =
            self.lock().values().filter(|channel| !channel.is_closed()).cloned().collect();
        for channel in channels {
            channel.describe_metrics(page);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
