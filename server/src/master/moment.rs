//! Points in time that outlive an exec: the machine's monotonic clock, not a value of one program.
//!
//! The state machines of the master use it in place of `Instant`, so that a master that becomes
//! another program (a restart) goes on with the same deadlines.

use std::{
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

use rackrs_sys::monotonic;
use serde::{Deserialize, Serialize};

/// Milliseconds of `CLOCK_MONOTONIC`, the same for every process of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Moment(u64);

impl Moment {
    /// This moment.
    pub(crate) fn now() -> Self {
        Self(monotonic::now_ms())
    }

    /// A moment as another process wrote it into shared memory.
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// From `earlier` to this one; zero when that lies later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// How long it has been.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(ms(duration)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(ms(duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let start = Moment::from_ms(1000);
        assert_eq!((start + Duration::from_secs(2)).since(start), Duration::from_secs(2));
        assert_eq!(start.since(start + Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(start - Duration::from_secs(2), Moment::from_ms(0));
        assert_eq!(start + Duration::MAX, Moment::from_ms(u64::MAX));
    }
}
