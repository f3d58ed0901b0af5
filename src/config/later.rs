//! What the configuration's contract names and this version does not do yet.
//!
//! An installer's file stays valid: tables are accepted with a warning that nothing comes of them.
//! A source cannot be accepted like that (there would be no picture), so it is refused, naming those there
//! are. Whoever builds one of these deletes its line here.

/// Tables that are accepted and ignored.
pub(super) const TABLES: &[&str] = &["mqtt"];

/// `video = ...` by its beginning, up to the colon.
pub(super) const VIDEO: &[&str] = &["rtsp", "rtmp"];

/// `audio = ...` by its beginning, up to the colon.
pub(super) const AUDIO: &[&str] = &["alsa"];
