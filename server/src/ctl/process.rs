//! The server's process, by the kernel's word, and waiting for its end.

use std::{os::fd::AsFd, time::Duration};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::Pid,
};
use rackrs_sys::process::{Identity, PidFd};

use super::deadline::Deadline;

/// A process that cannot be mistaken for a later one with its pid.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    handle: PidFd,
}

impl Process {
    /// Takes hold of the process at the other end of a connection, while it is open. `None` when the
    /// process cannot be seen from here, as from inside another container.
    pub(super) fn hold(pid: Option<Pid>) -> Option<Self> {
        let identity = Identity::of(pid?).ok()??;
        let handle = PidFd::of(&identity).ok()??;
        Some(Self { pid: identity.pid, handle })
    }

    /// Waits for its end; whether it came before the deadline.
    pub(super) fn ends_before(&self, deadline: &Deadline) -> bool {
        let mut handle = [PollFd::new(self.handle.as_fd(), PollFlags::POLLIN)];
        wait(&mut handle, deadline)
    }
}

/// Lets `time` pass, or less if `process` ends meanwhile, which is what it returns.
pub(super) fn pause(process: Option<&Process>, time: Duration) -> bool {
    let deadline = Deadline::after(time);
    match process {
        Some(process) => process.ends_before(&deadline),
        None => wait(&mut [], &deadline),
    }
}

fn wait(handles: &mut [PollFd<'_>], deadline: &Deadline) -> bool {
    loop {
        // Rounded up: a rest of less than a millisecond must not become a busy loop.
        let left = deadline.left().saturating_add(Duration::from_micros(999));
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(handles, left) {
            Ok(count) if count > 0 => return true,
            Ok(_) | Err(Errno::EINTR) if !deadline.is_over() => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use nix::unistd::Pid;

    use super::{Process, pause};
    use crate::ctl::deadline::Deadline;

    #[test]
    fn the_end_of_a_process_is_seen_and_its_life_too() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let process = Process::hold(Some(pid)).unwrap();
        assert!(!pause(Some(&process), Duration::from_millis(2)));
        child.kill().unwrap();
        assert!(process.ends_before(&Deadline::after(Duration::from_secs(10))));
        child.wait().unwrap();
        assert!(Process::hold(Some(pid)).is_none());
        assert!(Process::hold(None).is_none());
        assert!(!pause(None, Duration::from_millis(2)));
    }
}
