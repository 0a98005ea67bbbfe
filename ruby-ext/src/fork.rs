//! Forking a worker that belongs to our parent, by Ruby's own `Process.fork`.
//!
//! Ruby's fork and not fork(2): the VM repairs its threads and timers in the child, and libraries
//! hook it to drop what must not be shared (Rails' `ForkTracker`, `Process._fork`).
//!
//! ```text
//! parent ──fork──► intermediate ──fork──► child
//!   │ waits for it      │ writes the child's pid, `_exit`
//!   │ ◄─────────────────┘                   │ waits for the go-ahead
//!   └───────────────────────────────────────► runs
//! ```
//!
//! The go-ahead makes sure that no child runs whose parent was told of a failure, and that the
//! child has been re-parented before it looks.
//!
//! What the application forks by itself is neither: see [`Private`].

mod private;
pub(crate) mod process;

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use crate::{exception::Exception, vm::Vm};
pub use private::{DESCRIPTORS_MAX, Private, between_forks, is_stranger, watch_forks};
use process::Forked;

/// Longest that a new child waits for the go-ahead; its parent gives it at once, or dies.
const GO_AHEAD_MAX: Duration = Duration::from_secs(10);

/// Most bytes of the intermediate's report.
const REPORT_BYTES_MAX: usize = 4096;

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;
/// sysexits(3): a failure that may pass.
const EX_TEMPFAIL: u8 = 75;

/// In which process [`fork_orphan`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// In the one that called it.
    Parent {
        /// The child, which is not this process's child but that of its nearest subreaper.
        child: Pid,
    },
    /// In the new one.
    Child,
}

/// Why there is no new process. Always returned in the parent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// No channel for the report.
    #[error("cannot fork: no socket pair for the report; check the limit of open files")]
    Channel(#[source] io::Error),
    /// `Process.fork` raised.
    #[error("cannot fork; check the limits of processes and memory, and the fork hooks")]
    First(#[source] Exception),
    /// `Process.fork` raised in the intermediate process.
    #[error("cannot fork a second time: {0}; check the limits of processes and memory")]
    Second(String),
    /// The intermediate process ended without a report, as by the out-of-memory killer.
    #[error("cannot fork: the intermediate process ended without a report ({0})")]
    Unreported(String),
    /// The child ended before it could be told to go on.
    #[error("cannot fork: the child {child} ended at once")]
    ChildGone {
        /// Its pid.
        child: Pid,
        /// Why it could not be told.
        #[source]
        source: io::Error,
    },
}

impl ForkError {
    /// The exit status if this ends the program: sysexits(3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        EX_OSERR
    }
}

/// Forks a child that re-parents to this process's subreaper. Call on the main Ruby thread of a
/// process with no other thread: a mold, or a worker whose pool has ended
/// ([`PoolEnd::Drained`](crate::pool::PoolEnd)) and whose I/O thread has been joined. Ruby's own
/// idle threads are no matter.
///
/// A hook that raises in the new process ends it, with Ruby's message on stderr. The `at_exit`
/// blocks run in neither of the short-lived processes.
///
/// # Errors
///
/// [`ForkError`], in the parent only.
pub fn fork_orphan(vm: &Vm) -> Result<Fork, ForkError> {
    let (parents_end, childs_end) = UnixStream::pair().map_err(ForkError::Channel)?;
    match process::fork(vm.ruby()) {
        Forked::Failed(exception) => Err(ForkError::First(exception)),
        Forked::Parent(intermediate) => {
            drop(childs_end);
            adopt(parents_end, intermediate)
        }
        Forked::Child => {
            drop(parents_end);
            fork_again(vm, childs_end)
        }
    }
}

/// In the intermediate process: returns in the child only.
fn fork_again(vm: &Vm, mut channel: UnixStream) -> Result<Fork, ForkError> {
    let (report, status) = match process::fork(vm.ruby()) {
        Forked::Child => return await_go_ahead(channel),
        Forked::Parent(child) => (format!("child {child}"), 0),
        Forked::Failed(exception) => (format!("error {exception}"), EX_OSERR),
    };
    let report = &report.as_bytes()[..report.len().min(REPORT_BYTES_MAX)];
    match channel.write_all(report) {
        Ok(()) => process::leave(status),
        Err(_) => process::leave(EX_OSERR),
    }
}

fn await_go_ahead(mut channel: UnixStream) -> Result<Fork, ForkError> {
    let told =
        channel.set_read_timeout(Some(GO_AHEAD_MAX)).and_then(|()| channel.read_exact(&mut [0]));
    match told {
        Ok(()) => Ok(Fork::Child),
        // The parent has returned an error, or died: nobody knows of this process.
        Err(_) => process::leave(EX_TEMPFAIL),
    }
}

/// In the parent: waits for the intermediate process, reads its report, lets the child run.
fn adopt(mut channel: UnixStream, intermediate: Pid) -> Result<Fork, ForkError> {
    let ended = wait_for(intermediate);
    match read_report(&mut channel) {
        Report::Child(child) => match channel.write_all(b"g") {
            Ok(()) => Ok(Fork::Parent { child }),
            Err(source) => Err(ForkError::ChildGone { child, source }),
        },
        Report::Error(message) => Err(ForkError::Second(message)),
        Report::None => Err(ForkError::Unreported(ended)),
    }
}

/// Waits for the end of `intermediate`, which comes at once, and says how it was, for a message.
/// When the application's own `wait` was faster, its report tells all the same.
fn wait_for(intermediate: Pid) -> String {
    loop {
        match waitpid(intermediate, None) {
            Err(Errno::EINTR) => {}
            Err(errno) => return format!("its status is unknown: {errno}"),
            Ok(WaitStatus::Exited(_, status)) => return format!("exit status {status}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => return format!("{signal}"),
            Ok(other) => return format!("{other:?}"),
        }
    }
}

/// What the intermediate process had to say.
#[derive(Debug, PartialEq, Eq)]
enum Report {
    Child(Pid),
    Error(String),
    None,
}

/// What is there now: the writer is dead, but the child may hold the channel open.
fn read_report(channel: &mut UnixStream) -> Report {
    let mut buffer = [0; REPORT_BYTES_MAX];
    let read = channel
        .set_nonblocking(true)
        .and_then(|()| channel.read(&mut buffer))
        .map_or(0, |count| count);
    parse_report(&String::from_utf8_lossy(&buffer[..read]))
}

fn parse_report(report: &str) -> Report {
    match report.split_once(' ') {
        Some(("child", pid)) => {
            pid.parse().map_or(Report::None, |pid| Report::Child(Pid::from_raw(pid)))
        }
        Some(("error", message)) => Report::Error(message.to_owned()),
        Some(_) | None => Report::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_child_an_error_or_nothing() {
        assert_eq!(parse_report("child 42"), Report::Child(Pid::from_raw(42)));
        assert_eq!(parse_report("error no memory"), Report::Error("no memory".to_owned()));
        for broken in ["", "child", "child x", "nonsense 1"] {
            assert_eq!(parse_report(broken), Report::None, "{broken:?}");
        }
    }
}
