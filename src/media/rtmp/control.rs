//! Who has received how much: acknowledgements both ways (§5.4.3, §5.4.4).

/// The far end's window until it sets one: what Adobe's server does.
const WINDOW_BYTES_DEFAULT: u32 = 2_500_000;

/// What we owe the far end: a message each time another window of its bytes came in.
#[derive(Debug, Clone)]
pub struct OwnAcks {
    window_bytes: u32,
    received: u64,
    told: u64,
}

impl Default for OwnAcks {
    fn default() -> OwnAcks {
        OwnAcks { window_bytes: WINDOW_BYTES_DEFAULT, received: 0, told: 0 }
    }
}

impl OwnAcks {
    /// The far end wants to hear after each `bytes`; 0 is not a window and changes nothing.
    pub fn set_window(&mut self, bytes: u32) {
        if bytes > 0 {
            self.window_bytes = bytes;
        }
    }

    /// Counts bytes off the wire; the sequence number to tell the far end, if one is due. It wraps.
    pub fn received(&mut self, bytes: usize) -> Option<u32> {
        self.received += bytes as u64;
        // Half the window: a far end that stops at a full one never has to.
        if self.received - self.told < u64::from(self.window_bytes / 2).max(1) {
            return None;
        }
        self.told = self.received;
        Some(self.received as u32)
    }
}

/// What the far end said it has received.
#[derive(Debug, Clone, Default)]
pub struct FarAcks {
    last: Option<u32>,
    total: u64,
    counts_differently: bool,
}

impl FarAcks {
    /// Takes one acknowledgement.
    ///
    /// The number is the count of all bytes and wraps after 4 GiB. Some servers send the count since their last
    /// message instead: a number that goes backwards, other than by wrapping, or stands still, means that, and
    /// never loss.
    pub fn acknowledge(&mut self, sequence: u32) {
        let step = sequence.wrapping_sub(self.last.unwrap_or(0));
        if step > u32::MAX / 2 || self.last == Some(sequence) {
            self.counts_differently = true;
        }
        self.last = Some(sequence);
        self.total += u64::from(step);
    }

    /// Bytes that the far end has received, handshake included; nothing before its first word, and nothing from
    /// one that counts differently.
    pub fn total(&self) -> Option<u64> {
        if self.counts_differently { None } else { self.last.map(|_| self.total) }
    }

    /// Its last word, as it stood.
    pub fn last(&self) -> Option<u32> {
        self.last
    }

    /// Whether the far end counts otherwise than the specification says.
    pub fn counts_differently(&self) -> bool {
        self.counts_differently
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_due_before_the_window_is_full() {
        let mut acks = OwnAcks::default();
        acks.set_window(1_000);
        acks.set_window(0);
        assert_eq!(acks.received(499), None);
        assert_eq!(acks.received(1), Some(500));
        assert_eq!(acks.received(10), None);
        assert_eq!(acks.received(5_000), Some(5_510));
    }

    #[test]
    fn the_far_ends_count_goes_on_over_its_wrap() {
        let mut acks = FarAcks::default();
        assert_eq!(acks.total(), None);
        for step in 1..=5u64 {
            acks.acknowledge((step * 0x4000_0000) as u32);
        }
        assert_eq!(acks.total(), Some(5 * 0x4000_0000));
    }

    #[test]
    fn a_number_that_goes_backwards_means_that_the_far_end_counts_differently() {
        let mut acks = FarAcks::default();
        acks.acknowledge(2_500_000);
        acks.acknowledge(2_400_000);
        assert!(acks.counts_differently());
        assert_eq!(acks.total(), None);
    }
}
