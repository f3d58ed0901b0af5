//! The FFmpeg calls that this room makes, spoken in safe types.
//!
//! Everything here owns what it opens and gives it back in `Drop`; nothing outside this folder sees a raw
//! pointer. One file for each FFmpeg library: [`codec`] (libavcodec), [`picture`] (frames of libavutil),
//! [`scale`] (libswscale), [`sound`] (libswresample), [`log`] (its messages).
#![allow(unsafe_code, reason = "FFmpeg is a C library; each block says what keeps its promise")]

pub(super) mod codec;
pub(super) mod log;
pub(super) mod picture;
pub(super) mod scale;
pub(super) mod sound;

use std::ffi::{CStr, CString};

use ffmpeg_next::sys;

/// A codec, a converter or FFmpeg itself refused something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {cause}")]
pub(in crate::encode) struct CodecError {
    /// What was tried.
    pub(in crate::encode) what: &'static str,
    /// Why it was refused, in FFmpeg's or our words.
    pub(in crate::encode) cause: String,
}

impl CodecError {
    pub(in crate::encode) fn new(what: &'static str, cause: impl Into<String>) -> CodecError {
        CodecError { what, cause: cause.into() }
    }
}

/// Turns FFmpeg's return code into a result; negative ones are errors.
fn check(what: &'static str, code: i32) -> Result<i32, CodecError> {
    if code >= 0 { Ok(code) } else { Err(CodecError::new(what, error_text(code))) }
}

fn error_text(code: i32) -> String {
    let mut text = [0 as libc::c_char; 128];
    // SAFETY: av_strerror writes at most `text.len()` bytes and always a terminating zero.
    unsafe {
        sys::av_strerror(code, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

/// A C string; a NUL inside ends it (no caller has one: all strings are ours).
fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

fn no_memory(what: &'static str) -> CodecError {
    CodecError::new(what, "out of memory")
}
