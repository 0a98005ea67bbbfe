//! What the server tells people and tools: life-cycle lines, diagnostics, the access log, error
//! chains.

pub mod access;
pub mod diagnostics;
pub mod events;

use rackrs_sys::local_time::LocalTime;

/// Prints an error and each of its causes on one line, outermost first.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

/// A moment as ISO 8601 in UTC, to the second: `2026-11-24T22:14:12Z`, as Puma's `started_at`.
pub(crate) fn iso8601(time: std::time::SystemTime) -> String {
    let Some(time) = LocalTime::utc(time) else { return "-".to_owned() };
    let LocalTime { year, month, day, hour, minute, second, offset_minutes: _ } = time;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::iso8601;

    #[test]
    fn moments_are_dates_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_558_452, "2026-11-24T22:14:12Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso8601(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
