//! SRT as a caller that sends a live stream (draft-sharabayko-srt-01), far ends being libsrt and its kin.
//!
//! ```text
//!   payloads of 1,316 bytes ──> Sender: waiting ──pace──> flight ──datagrams──> far end
//!                                 │ Keys: AES-CTR          ▲  │ ACK: gone     │
//!                                 │                        │  │ NAK: again    │
//!   Caller: induction, conclusion, then ACK, NAK, keep-alive, shutdown <────────┘
//! ```
//!
//! Pure: [`Caller`] is handed datagrams, payloads and the time, and gives back datagrams and the time it wants to be
//! asked again; the shell owns the UDP socket. Randomness comes in as [`Dice`].
//!
//! It differs from libsrt's own sender in what a live uplink with a standby needs. It takes no more payloads while
//! the far end is silent, so that what would be sent into a hole waits where another line can have it, and it never
//! drops a packet for its age. It paces to what the stream needs, not to a gigabit. And it counts what was
//! acknowledged, what arrived out of order, and what came too late for the far end to use.
//!
//! Not here, since no uplink of ours needs it: listening, receiving, rendezvous, file mode, bonding, packet filters,
//! AES-GCM, handshakes of version 4.

mod caller;
mod crypto;
mod handshake;
mod packet;
mod reason;
mod sender;

pub use caller::{Caller, Phase, Settings, SrtError};
pub use crypto::{PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN};
pub use handshake::{Dice, STREAM_ID_BYTES_MAX};
pub use packet::PAYLOAD_BYTES_MAX;
pub use reason::Reason;
pub use sender::Figures;

#[cfg(test)]
mod tests;
