//! Wall-clock time as people and machines read it.
//!
//! Pure.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Unix milliseconds as RFC 3339, in UTC, with milliseconds only where there are any.
pub fn rfc3339(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// RFC 3339 as Unix milliseconds.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc_and_read_with_any_offset() {
        assert_eq!(rfc3339(1_795_276_800_123), "2026-11-21T16:00:00.123Z");
        assert_eq!(from_rfc3339("2026-11-22T00:00:00.123+08:00"), Some(1_795_276_800_123));
        assert_eq!(from_rfc3339("yesterday"), None);
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
