//! For tests: runs a body in a child of its own, where it is alone with the process-wide state.
//!
//! The test harness has many threads, and tests that change the umask, the signals, descriptors
//! 0-2 or the working directory, that wait for any child, or that need [`SingleThreaded`], would
//! disturb each other in it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::fd::AsFd,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    fork::{self, Side, SingleThreaded},
    process::PidFd,
};

/// Patience for one child, milliseconds.
const CHILD_LIMIT_MS: u16 = 30_000;

/// Runs `body` in a forked child; a panic there is a panic here, with its place and text.
#[track_caller]
pub(crate) fn in_child(body: impl FnOnce(&SingleThreaded)) {
    let mut report = tempfile::tempfile().unwrap();
    // SAFETY: glibc's fork takes the allocator's locks itself, so the child may allocate although
    // other tests run in other threads; and the child leaves by `_exit` without using stdio.
    match unsafe { fork::fork_masked() }.unwrap() {
        Side::Child { previous } => {
            previous.thread_set_mask().unwrap();
            fork::exit_now(run(&report, body));
        }
        Side::Parent { child } => {
            let status = wait(child);
            let mut text = String::new();
            report.seek(SeekFrom::Start(0)).unwrap();
            report.read_to_string(&mut text).unwrap();
            assert_eq!(status, WaitStatus::Exited(child, 0), "in the child: {text}");
        }
    }
}

fn run(report: &File, body: impl FnOnce(&SingleThreaded)) -> u8 {
    let copy = report.try_clone().unwrap();
    panic::set_hook(Box::new(move |info| writeln!(&copy, "{info}").unwrap()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| body(&SingleThreaded::prove().unwrap())));
    u8::from(outcome.is_err())
}

/// Waits for one child by its pid, and kills it if it hangs.
#[track_caller]
pub(crate) fn wait(child: Pid) -> WaitStatus {
    let handle = PidFd::open(child).unwrap();
    let mut ends = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ends, PollTimeout::from(CHILD_LIMIT_MS)).unwrap() == 0 {
        handle.send(Signal::SIGKILL).unwrap();
    }
    waitpid(child, None).unwrap()
}

/// Asks until the answer is yes, for at most 30 s.
#[track_caller]
pub(crate) fn until(what: &str, mut answer: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_millis(u64::from(CHILD_LIMIT_MS));
    while !answer() {
        assert!(Instant::now() < deadline, "still not: {what}");
        poll(&mut [], PollTimeout::from(5_u16)).unwrap();
    }
}
