//! What benchmarks share: cores, figures, children of their own program, a stream, its server, and its viewers.
#![allow(dead_code, reason = "each benchmark uses its own part of this module")]

pub mod child;
pub mod cores;
pub mod crowd;
pub mod figures;
pub mod server;
pub mod stream;
