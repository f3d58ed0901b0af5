//! The configuration: what `footlight.toml` means.

pub mod schema;
