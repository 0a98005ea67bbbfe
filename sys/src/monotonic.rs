//! The clock that all processes of the machine share, for times in shared memory and in messages.

use nix::libc;

/// Milliseconds of `CLOCK_MONOTONIC`: never backwards, not set by anybody, the same in every
/// process and after an exec; only within one boot and one time namespace.
///
/// `std::time::Instant` is the same clock, but cannot be passed to another process. No system
/// call: the vDSO answers.
#[must_use]
pub fn now_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live local that the call may write to.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(outcome, 0, "Linux has this clock");
    let whole = u64::try_from(now.tv_sec).expect("the clock starts near 0 at boot");
    let part = u64::try_from(now.tv_nsec).expect("nanoseconds are 0 to 999,999,999");
    whole * 1_000 + part / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nix::sys::wait::WaitStatus;

    use super::now_ms;
    use crate::{
        fork::fork_child,
        forked::{in_child, until, wait},
    };

    #[test]
    fn it_runs_as_the_standard_librarys_clock() {
        let (start, instant) = (now_ms(), Instant::now());
        until("20 ms passed", || instant.elapsed() >= Duration::from_millis(20));
        let passed = instant.elapsed().as_millis();
        let ours = u128::from(now_ms() - start);
        assert!(ours + 1 >= passed, "{ours} ms of {passed} ms");
        assert!(ours >= 19, "{ours} ms");
    }

    #[test]
    fn processes_agree() {
        in_child(|proof| {
            let before = now_ms();
            let child = fork_child(proof, || u8::from(now_ms() < before)).unwrap();
            assert_eq!(wait(child), WaitStatus::Exited(child, 0));
        });
    }
}
