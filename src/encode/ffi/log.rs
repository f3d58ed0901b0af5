//! FFmpeg's messages, into the journal instead of onto stderr.

use std::cell::RefCell;
use std::ffi::CStr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use ffmpeg_next::sys;

use crate::base::clock;

/// A broken camera makes FFmpeg complain for each picture: this many lines in ten seconds say enough.
const LINES_PER_WINDOW: u64 = 10;
const WINDOW_MS: u64 = 10_000;

#[cfg(target_arch = "x86_64")]
type VaList = *mut sys::__va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type VaList = sys::va_list;

static INSTALLED: Once = Once::new();
static WINDOW: AtomicU64 = AtomicU64::new(0);
static LINES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LAST_COMPLAINT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on FFmpeg's warnings and errors go to `tracing`. Process-wide; the second call does nothing.
pub(in crate::encode) fn install() {
    INSTALLED.call_once(|| {
        // SAFETY: the callback is a plain function that lives for ever and does not unwind: it formats into
        // its own buffer and calls tracing.
        unsafe { sys::av_log_set_callback(Some(on_message)) };
    });
}

/// The last warning or error that FFmpeg uttered on this thread since the last call.
pub(in crate::encode) fn take_complaint() -> Option<String> {
    LAST_COMPLAINT.with(|last| last.borrow_mut().take())
}

unsafe extern "C" fn on_message(
    source: *mut libc::c_void,
    level: libc::c_int,
    format: *const libc::c_char,
    args: VaList,
) {
    if level > sys::AV_LOG_WARNING {
        return;
    }
    let mut line = [0 as libc::c_char; 512];
    let mut print_prefix: libc::c_int = 1;
    // SAFETY: FFmpeg hands us a valid format with its arguments and a context or null, which
    // av_log_format_line2 is made for; it writes at most `line.len()` bytes including the zero.
    let text = unsafe {
        sys::av_log_format_line2(
            source,
            level,
            format,
            args,
            line.as_mut_ptr(),
            line.len() as libc::c_int,
            &raw mut print_prefix,
        );
        CStr::from_ptr(line.as_ptr()).to_string_lossy()
    };
    let text = without_address(text.trim());
    let _ = LAST_COMPLAINT.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(text.clone());
        }
    });
    report(level, &text);
}

fn report(level: libc::c_int, text: &str) {
    let window = clock::monotonic_ticks().millis() as u64 / WINDOW_MS;
    let held_back = if WINDOW.swap(window, Ordering::Relaxed) == window {
        0
    } else {
        LINES.swap(0, Ordering::Relaxed).saturating_sub(LINES_PER_WINDOW)
    };
    if LINES.fetch_add(1, Ordering::Relaxed) >= LINES_PER_WINDOW {
        return;
    }
    // Nothing that FFmpeg says wants a person by itself: who called it decides that.
    if level <= sys::AV_LOG_ERROR {
        tracing::warn!(held_back, "ffmpeg: {text}");
    } else {
        tracing::debug!(held_back, "ffmpeg: {text}");
    }
}

/// `[libx264 @ 0x55d0c0ffee] text` without the address, which says nothing to anyone.
fn without_address(text: &str) -> String {
    match (text.starts_with('['), text.find(" @ 0x"), text.find("] ")) {
        (true, Some(at), Some(end)) if at < end => format!("{}: {}", &text[1..at], &text[end + 2..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_loses_its_address_and_keeps_its_source() {
        assert_eq!(without_address("[libx264 @ 0x55d0c0ffee] bad thing"), "libx264: bad thing");
        assert_eq!(without_address("[plain] bad"), "[plain] bad");
    }
}
