//! The wall clock as a date: in the host's time zone, for log lines, and in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc;

/// A moment as a date and a time of day, in the zone of the host or in UTC.
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
    /// The moment `time` in the host's zone (`TZ`, else `/etc/localtime`), to the second; `None`
    /// when the year is beyond what the host can tell.
    #[must_use]
    pub fn of(time: SystemTime) -> Option<Self> {
        // SAFETY: both pointers are to live locals of our caller, and the `_r` form keeps no state
        // of its own.
        Self::by(time, |seconds, broken| unsafe { libc::localtime_r(seconds, broken) })
    }

    /// The moment `time` in UTC.
    #[must_use]
    pub fn utc(time: SystemTime) -> Option<Self> {
        // SAFETY: as in `of`.
        Self::by(time, |seconds, broken| unsafe { libc::gmtime_r(seconds, broken) })
    }

    fn by(
        time: SystemTime,
        tell: impl FnOnce(*const libc::time_t, *mut libc::tm) -> *mut libc::tm,
    ) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let seconds = libc::time_t::try_from(seconds).ok()?;
        // SAFETY: `tm` is plain data for which all bits zero is a value.
        let mut broken: libc::tm = unsafe { std::mem::zeroed() };
        if tell(&raw const seconds, &raw mut broken).is_null() {
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

    #[test]
    fn utc_has_leap_days_and_no_offset() {
        let date = |seconds| {
            let utc = LocalTime::utc(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            assert_eq!(utc.offset_minutes, 0);
            (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second)
        };
        assert_eq!(date(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(date(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(date(951_868_800), (2000, 3, 1, 0, 0, 0));
        assert_eq!(date(4_107_542_400), (2100, 3, 1, 0, 0, 0));
    }
}
