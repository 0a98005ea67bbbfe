//! The wall clock in the host's time zone, for log lines.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc;

/// A moment in the time zone of the host (`TZ`, else `/etc/localtime`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Year, as 2026.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// Minutes east of UTC.
    pub offset_minutes: i32,
}

impl LocalTime {
    /// The moment `time`, to the second; `None` when the year is beyond what the host can tell.
    #[must_use]
    pub fn of(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let seconds = libc::time_t::try_from(seconds).ok()?;
        // SAFETY: `tm` is plain data for which all bits zero is a value.
        let mut broken: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live locals, and the `_r` form keeps no state of its own.
        let told = unsafe { libc::localtime_r(&raw const seconds, &raw mut broken) };
        if told.is_null() {
            return None;
        }
        let small = |number: libc::c_int| u8::try_from(number).ok();
        Some(Self {
            year: broken.tm_year + 1900,
            month: small(broken.tm_mon + 1)?,
            day: small(broken.tm_mday)?,
            hour: small(broken.tm_hour)?,
            minute: small(broken.tm_min)?,
            second: small(broken.tm_sec)?,
            offset_minutes: i32::try_from(broken.tm_gmtoff / 60).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whatever the zone, taking its offset away gives UTC.
    #[test]
    fn agrees_with_utc() {
        let local = LocalTime::of(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        let minutes = i32::from(local.hour) * 60 + i32::from(local.minute) - local.offset_minutes;
        assert_eq!(minutes.rem_euclid(24 * 60), 60 + 46);
        assert_eq!((local.year, local.month, local.second), (2001, 9, 40));
    }
}
