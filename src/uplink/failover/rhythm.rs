//! What RTMP acknowledgements tell of a far end's program.
//!
//! Pure. The kernel's offers are no proof that a program reads: a receive buffer that was once large is offered more
//! and more of for seconds after its program froze (Linux 6: 4.7 MB after one burst, half a minute of a stream). The
//! program's own acknowledgements are: a far end that sent one every so many bytes and sends none any more, while
//! its kernel takes more and more, does not read. What stands in them counts for nothing, since servers count
//! differently, and who never found a rhythm is not judged by one.

use std::time::Duration;

/// Acknowledgements from one to the next that make a rhythm.
const GAPS: usize = 4;

/// Bytes beyond the rhythm that are forgiven: what is under way, and a keyframe.
const SLACK_BYTES: u64 = 32 << 10;

/// The rhythm of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Rhythm {
    /// What the kernel had acknowledged when the program last did.
    at: u64,
    /// Bytes from one acknowledgement to the next, the last few of them.
    gaps: [u64; GAPS],
    heard: usize,
    overdue: Duration,
}

impl Rhythm {
    /// The program acknowledged; its kernel had acknowledged `acked_bytes`.
    pub(super) fn heard(&mut self, acked_bytes: u64) {
        if self.heard > 0 {
            self.gaps[(self.heard - 1) % GAPS] = acked_bytes.saturating_sub(self.at);
        }
        self.heard = self.heard.saturating_add(1);
        (self.at, self.overdue) = (acked_bytes, Duration::ZERO);
    }

    /// So much the kernel has acknowledged now, and somebody looked for so long since he last did.
    pub(super) fn sampled(&mut self, acked_bytes: u64, step: Duration) {
        let longest = self.gaps.iter().max().copied().unwrap_or_default();
        let silent_bytes = acked_bytes.saturating_sub(self.at);
        let late = self.heard > GAPS && silent_bytes > longest * 2 + SLACK_BYTES;
        self.overdue = if late { self.overdue + step } else { Duration::ZERO };
    }

    /// For how long an acknowledgement has been overdue.
    pub(super) fn overdue(&self) -> Duration {
        self.overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(25);

    /// One acknowledgement every 64 KiB of a megabyte.
    fn steady() -> Rhythm {
        let mut rhythm = Rhythm::default();
        for bytes in (0..=1 << 20).step_by(4 << 10) {
            if bytes % (64 << 10) == 0 {
                rhythm.heard(bytes);
            }
            rhythm.sampled(bytes, STEP);
            assert_eq!(rhythm.overdue(), Duration::ZERO);
        }
        rhythm
    }

    #[test]
    fn who_acknowledged_steadily_and_stops_is_overdue_after_twice_as_much() {
        let mut rhythm = steady();
        rhythm.sampled((1 << 20) + (160 << 10), STEP);
        assert_eq!(rhythm.overdue(), Duration::ZERO);
        for step in 1..=8 {
            rhythm.sampled((1 << 20) + (160 << 10) + step, STEP);
        }
        assert_eq!(rhythm.overdue(), STEP * 8);
        rhythm.heard((1 << 20) + (170 << 10));
        assert_eq!(rhythm.overdue(), Duration::ZERO);
    }

    #[test]
    fn who_is_sent_nothing_owes_no_acknowledgement() {
        let mut rhythm = steady();
        for _ in 0..1_000 {
            rhythm.sampled((1 << 20) + (40 << 10), STEP);
        }
        assert_eq!(rhythm.overdue(), Duration::ZERO);
    }

    #[test]
    fn who_never_found_a_rhythm_is_not_judged_by_it() {
        let mut rhythm = Rhythm::default();
        for bytes in [3_000, 3_100, 3_200, 3_300] {
            rhythm.heard(bytes);
        }
        for step in 0..1_000 {
            rhythm.sampled(step * 10_000, STEP);
        }
        assert_eq!(rhythm.overdue(), Duration::ZERO);
    }
}
