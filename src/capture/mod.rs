//! Sources of pictures and sound: the pattern, clips, cameras.
//!
//! ```text
//!   Camera (handle) ── orders ──> watcher thread ── obeys policy ──> source thread ──frames──> outlet ──> encoder
//!                                      ^                                  │
//!                                      └────── frames moved, ended ───────┘
//! ```
//!
//! - [`policy`] decides (pure) when a source is started, stopped and given up on; `camera` obeys with threads.
//! - `pattern`, `file`, `v4l2` are the sources; `source` chooses one, `outlet` is their common way out.
//! - `pacer`, `tone`, `status`, `stop` are what sources are made of.
//!
//! A camera's trouble is its own: it is restarted for ever and never ends the process, and no camera waits for
//! another. This room never encodes; what already is H.264 or AAC it hands on untouched when nothing asks for a change.

mod camera;
mod decode;
mod ffi;
mod file;
mod outlet;
mod pacer;
mod pass;
mod pattern;
pub mod policy;
mod source;
mod status;
mod stop;
mod tone;
mod v4l2;

pub use camera::{Camera, Cameras};
pub use status::{CameraState, CameraStatus};
pub use v4l2::{CameraDevice, CameraMode, devices, table};
