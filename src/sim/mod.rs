//! Simulated lines, servers, encoders and time, for property tests and benchmarks.
//!
//! ```text
//!   Encoder ──tags──> (a core under test and its small shell) ──bytes──> Conn over a Path ──> Server
//!      everything moves when told the time, and by a seed that a failure prints
//! ```
//!
//! Nothing here sleeps or asks the clock twice. The lines are rough, and rough where it hurts a sender: a narrow
//! place with a queue of its own, loss, silence, and a TCP that repeats ever more slowly into it.

pub mod encoder;
pub mod line;
pub mod server;

use std::time::{Duration, Instant};

use crate::base::clock;

/// Milliseconds.
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Where a simulation's time starts: the one look at a clock.
pub fn epoch() -> Instant {
    clock::now()
}

/// Numbers by chance, the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// By this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` on, below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.any() % (high - low).max(1)
    }

    /// Whether something happens that happens with this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && (self.any() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }
}
