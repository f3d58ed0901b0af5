//! What every room may use. Knows nothing of footlight's own subjects.

pub mod backoff;
pub mod clock;
pub mod dial;
pub mod exit;
pub mod loggate;
pub mod metrics;
pub mod quantity;
pub mod queue;
pub mod rate;
pub mod secret;
pub mod tcp_info;
pub mod threads;
pub mod ticks;
pub mod tls;
pub mod units;
