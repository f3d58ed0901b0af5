//! How long to wait before the next try.

use std::time::Duration;

/// Exponential waits with jitter, for ever: a cloud or a camera that comes back is taken up again.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
    seed: u64,
}

impl Backoff {
    /// Waits start at `first`, double, and stay at `cap`. `seed` tells boxes apart, so that a thousand of them
    /// do not come back in step.
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Backoff {
        Backoff { first, cap, tries: 0, seed: seed | 1 }
    }

    /// The wait before the next try: between three quarters and the whole of the step.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.tries.min(20)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        // xorshift64: spread, not secrecy.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        step.mul_f64(0.75 + (self.seed % 1_000) as f64 / 4_000.0)
    }

    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Tries since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_over_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), 7);
        for step_ms in [100u64, 200, 400, 800, 1_600, 2_000, 2_000] {
            let wait = backoff.next_wait().as_millis() as u64;
            assert!(wait >= step_ms * 3 / 4 && wait <= step_ms, "{wait} of {step_ms}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
