//! footlight: a streaming appliance for live commerce, in one binary.
//!
//! ```text
//!   camera ──> capture ──frames──> encode ──packets──> hub ──tags──> serve   (viewers on the LAN)
//!                 └──────packets (already H.264/AAC)────┘ └─────────> uplink  (the cloud)
//!   buyers ──> serve ──intents──> shop (SQLite) ──orders──> the shop's cloud
//! ```
//!
//! Each folder is a room. [`base`] is what every room may use; [`media`] and [`config`] stand on it;
//! [`capture`], [`encode`], [`hub`], [`uplink`], [`shop`] stand on those and do not know each other (a reader of a
//! channel may take a [`hub::Reader`]); [`serve`] stands above them and speaks to their handles; [`app`]
//! joins all rooms together. `tests/layering.rs` holds this rule against the `use` lines.

pub mod app;
pub mod base;
pub mod capture;
pub mod config;
pub mod encode;
pub mod hub;
pub mod media;
pub mod serve;
pub mod shop;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod uplink;
