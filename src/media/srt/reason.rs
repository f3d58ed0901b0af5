//! Why a listener would not have us, in words that say what to do.

use std::fmt;

/// The code of a refusal: libsrt's own from 1,000 on, its application's in the manner of HTTP from 2,000 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u32);

impl Reason {
    /// The reason that a handshake gives. gosrt (MediaMTX, Restreamer) sends its application's codes without the
    /// thousand that libsrt adds to all.
    pub(super) fn from_wire(code: u32) -> Reason {
        Reason(if (1_400..1_600).contains(&code) { code + 1_000 } else { code })
    }

    /// Refusals whose code a decision hangs on.
    pub const BAD_SECRET: Reason = Reason(1010);
    /// One side encrypts and the other does not.
    pub const UNSECURE: Reason = Reason(1011);

    /// The passphrase is not theirs, or we are not known: a person is needed.
    pub fn is_auth(self) -> bool {
        self.is_secret() || matches!(self.0, 2401 | 2403)
    }

    /// It is about the passphrase.
    pub fn is_secret(self) -> bool {
        matches!(self.0, 1010 | 1011 | 1017)
    }

    /// Somebody sends there already.
    pub fn is_busy(self) -> bool {
        matches!(self.0, 2407 | 2409 | 2423)
    }

    fn words(self) -> &'static str {
        match self.0 {
            1002 => "it would not have the stream",
            1003 => "it has no room for another connection",
            1004 => "it found our handshake unfit",
            1005 => "too many wait to be accepted",
            1007 => "it is closing",
            1008 => "it wants a newer SRT",
            1010 => "the passphrase is not the one it has",
            1011 => "one side has a passphrase and the other has none",
            1012 | 1013 => "it is not set to live mode",
            1014 => "it wants a packet filter",
            1015 => "it wants a group of connections",
            1016 => "it gave up waiting",
            1017 => "it wants another kind of encryption",
            2400 => "it cannot read the stream id",
            2401 => "it wants a login in the stream id",
            2402 | 2503 => "it is overloaded or down",
            2403 => "the stream id is not allowed to publish",
            2404 => "it does not know what the stream id names",
            2405 | 2406 => "it does not take a stream in this mode (m=publish)",
            2407 | 2409 | 2423 => "somebody else sends there",
            2500..=2599 => "it has a fault of its own",
            _ => "it gave no reason that is known",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.words(), self.0)
    }
}
