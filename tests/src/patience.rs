//! Waiting for a thing itself, with one limit for all.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that a test waits for. Generous, because a loaded machine is no
/// failure; a passing test never waits for its end.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const STEP: Duration = Duration::from_millis(4);

/// How many looks [`holds_still`] takes.
const LOOKS: u32 = 50;

/// Polls `probe` until it gives something.
///
/// Panics with `what` when [`PATIENCE`] is over.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match within_patience(probe) {
        Some(value) => value,
        None => panic!("waited {PATIENCE:?} in vain for this: {what}"),
    }
}

/// Polls `probe` until it gives something or [`PATIENCE`] is over.
pub(crate) fn within_patience<T>(probe: impl FnMut() -> Option<T>) -> Option<T> {
    within_limit(PATIENCE, probe)
}

/// Polls `probe` until it gives something or `limit` is over.
pub(crate) fn within_limit<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > limit {
            return None;
        }
        pause();
    }
}

/// Looks many times, some milliseconds apart, and panics with `what` as soon as `still` is false.
///
/// For promises that something does not happen. Such a test can only fail to notice; it can never
/// fail by being slow.
pub fn holds_still(what: &str, mut still: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        assert!(still(), "this did not hold: {what}");
        pause();
    }
}

/// The time between two looks.
pub(crate) fn pause() {
    pass(STEP);
}

/// Lets time pass where that is what is wanted: between two looks, and in a storm between two
/// signals.
#[allow(clippy::disallowed_methods, reason = "the one place where the kit sleeps")]
pub(crate) fn pass(time: Duration) {
    thread::sleep(time);
}
