//! What the tests share: a footlight process, a small HTTP client, an FLV reader of its own, and the peers.
//!
//! ```text
//!   test ──starts──> process::Footlight ──logs, signals, /proc
//!     ├──asks──────> http::get / http::Request   (raw TCP: also for requests that no client would send)
//!     ├──watches───> flv::Viewer                 (reads tags by the specification, knows nothing of our writer)
//!     ├──crowds────> crowd: thousands of buyers over keep-alive connections
//!     ├──peers─────> probe::ffprobe, probe::decode, tool::require, nginx_rtmp
//!     ├──breaks────> net: lines to clouds in namespaces of their own, which can be narrow, long, lossy, silent
//!     └──holds─────> judge: what the clouds recorded against what the box made
//! ```
//! Nobody here sleeps for luck: [`wait::until`] awaits an event with a deadline and says what never came.
//! A missing peer is a failure that names the command which installs it.
#![allow(dead_code, reason = "each test file uses its own part of this module")]
#![allow(unreachable_pub, reason = "every test file is a crate of its own")]
#![allow(unused_imports, reason = "each test file uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is test code, outside #[test] functions")]

pub mod crowd;
pub mod films;
pub mod flv;
pub mod http;
pub mod judge;
pub mod machine;
pub mod media;
pub mod mock_rtmp;
pub mod net;
pub mod nginx_rtmp;
pub mod power_disk;
pub mod probe;
pub mod process;
pub mod rtmp;
pub mod shop;
pub mod shop_cloud;
pub mod srt_listener;
pub mod tls_front;
pub mod tool;
pub mod wait;

pub use flv::{Tag, Viewer};
pub use http::{Request, Response, get, head};
pub use probe::{Decoded, Probe, assert_decodes, assert_monotonic, decode, ffprobe};
pub use process::{Builder, Exit, Footlight};
pub use tool::{output_within, require};
pub use wait::{for_some as wait_for, until as wait_until};
