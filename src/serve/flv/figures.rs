//! What viewing came to, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::metrics::Exposition;

/// One stream's figures.
#[derive(Debug, Default)]
pub(super) struct StreamFigures {
    joined: AtomicU64,
    left: AtomicU64,
    bytes: AtomicU64,
    jumps: AtomicU64,
    cuts: AtomicU64,
}

impl StreamFigures {
    pub(super) fn joined(&self) {
        self.joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self, viewers: usize) {
        self.left.fetch_add(viewers as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64, jumps: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.jumps.fetch_add(jumps, Ordering::Relaxed);
    }

    pub(super) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    fn viewers(&self) -> u64 {
        let left = self.left.load(Ordering::Relaxed);
        self.joined.load(Ordering::Relaxed).saturating_sub(left)
    }
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `max_viewers`
    Box,
    /// `max_viewers_per_address`
    Address,
    /// The stream has not said what it is.
    NotReady,
    /// More join than can be let in.
    Busy,
}

const REFUSALS: [(Refusal, &str); 4] = [
    (Refusal::Box, "max_viewers"),
    (Refusal::Address, "max_viewers_per_address"),
    (Refusal::NotReady, "not_ready"),
    (Refusal::Busy, "busy"),
];

/// All figures of viewing. A stream keeps its own while the process lives: counters never run backwards.
#[derive(Debug, Default)]
pub(super) struct Figures {
    streams: Mutex<BTreeMap<String, Arc<StreamFigures>>>,
    refused: [AtomicU64; REFUSALS.len()],
}

impl Figures {
    /// The figures of a stream; only ever asked for streams that exist.
    pub(super) fn stream(&self, name: &str) -> Arc<StreamFigures> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.entry(name.to_owned()).or_default().clone()
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn describe(&self, page: &mut Exposition) {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, figures) in &*streams {
            let labels = [("stream", name.as_str())];
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            page.gauge("footlight_viewers", "HTTP-FLV viewers now.", &labels, figures.viewers() as f64);
            page.counter(
                "footlight_viewers_joined_total",
                "Viewers that were let in.",
                &labels,
                count(&figures.joined),
            );
            page.counter(
                "footlight_viewer_bytes_total",
                "Bytes sent to viewers.",
                &labels,
                count(&figures.bytes),
            );
            page.counter(
                "footlight_viewer_jumps_total",
                "Times that a slow viewer jumped to the newest keyframe.",
                &labels,
                count(&figures.jumps),
            );
            page.counter(
                "footlight_viewer_cuts_total",
                "Viewers that were cut because they took nothing.",
                &labels,
                count(&figures.cuts),
            );
        }
        for (refusal, reason) in REFUSALS {
            page.counter(
                "footlight_viewers_refused_total",
                "Viewers that were not let in.",
                &[("reason", reason)],
                self.refused[refusal as usize].load(Ordering::Relaxed),
            );
        }
    }
}
