//! Processes: who they are, whether they live, what they use, signalling and reaping them.

mod memory;
mod pid_fd;
mod reap;
mod thread;

use nix::{errno::Errno, sys::prctl, unistd::Pid};
use procfs::ProcError;

use crate::sysexits;

pub use memory::{proportional_bytes, resident_bytes};
pub use pid_fd::{PidFd, PidFdError};
pub use reap::{Exit, reap_any};
pub use thread::{current_thread_id, signal_thread};

/// One process, told apart from every other that ever had its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The process id, in our pid namespace.
    pub pid: Pid,
    /// Clock ticks between the machine's boot and the start of the process: field 22 of
    /// `/proc/PID/stat`, proc(5). It does not change over `execve`.
    pub start_time: u64,
    /// The owner of `/proc/PID`: the effective user, or 0 where the program may not be dumped.
    pub uid: u32,
}

/// Why nothing could be learnt about a process. That it is gone is not an error.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// `/proc` did not answer.
    #[error("cannot look at process {pid}; is /proc mounted?")]
    Proc {
        /// The process asked for.
        pid: Pid,
        /// The reason.
        #[source]
        source: ProcError,
    },
}

impl IdentityError {
    /// The exit status, from sysexits(3): 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Proc { .. } => sysexits::OSERR,
        }
    }
}

impl Identity {
    /// Reads the identity of `pid`; `None` when there is no such process or it is a zombie, and
    /// for the numbers that are no process's: 0 and below.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read for another reason than that the process is gone.
    pub fn of(pid: Pid) -> Result<Option<Self>, IdentityError> {
        if pid.as_raw() <= 0 {
            return Ok(None);
        }
        match Self::read(pid) {
            Ok(identity) => Ok(identity),
            Err(ProcError::NotFound(_)) => Ok(None),
            // It ended while we were reading.
            Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {
                Ok(None)
            }
            Err(source) => Err(IdentityError::Proc { pid, source }),
        }
    }

    /// This process.
    ///
    /// # Errors
    ///
    /// Those of [`Identity::of`].
    pub fn of_self() -> Result<Self, IdentityError> {
        let pid = Pid::this();
        let gone = || ProcError::Other("this process is not in /proc".to_owned());
        Self::of(pid)?.ok_or_else(|| IdentityError::Proc { pid, source: gone() })
    }

    /// Whether this very process lives: a zombie is dead, and so is one whose pid has passed to
    /// another.
    ///
    /// # Errors
    ///
    /// Those of [`Identity::of`].
    pub fn is_alive(&self) -> Result<bool, IdentityError> {
        let now = Self::of(self.pid)?;
        // The user is left out: a process may change it.
        Ok(now.is_some_and(|now| now.start_time == self.start_time))
    }

    fn read(pid: Pid) -> Result<Option<Self>, ProcError> {
        let process = procfs::process::Process::new(pid.as_raw())?;
        let status = process.stat()?;
        // Z: ended, not reaped; X and x: being reaped, proc(5).
        if matches!(status.state, 'Z' | 'X' | 'x') {
            return Ok(None);
        }
        Ok(Some(Self { pid, start_time: status.starttime, uid: process.uid()? }))
    }
}

/// Whether some process has this pid and is not a zombie.
///
/// # Errors
///
/// Those of [`Identity::of`].
pub fn is_alive(pid: Pid) -> Result<bool, IdentityError> {
    Identity::of(pid).map(|identity| identity.is_some())
}

/// Makes orphaned descendants children of this process, `PR_SET_CHILD_SUBREAPER` of prctl(2).
///
/// It holds over `execve` and is not inherited by children. From then on [`reap_any`] may report
/// pids that this process never forked.
///
/// # Errors
///
/// `EINVAL` on kernels before 3.4.
pub fn become_subreaper() -> Result<(), Errno> {
    prctl::set_child_subreaper(true)
}

/// The parent now: it changes to the nearest subreaper, or pid 1, when the parent ends.
#[must_use]
pub fn parent_pid() -> Pid {
    Pid::parent()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::{
        sys::wait::{Id, WaitPidFlag, waitid},
        unistd::Pid,
    };

    use super::{Identity, is_alive, parent_pid};

    #[test]
    fn a_process_is_itself() {
        let this = Identity::of_self().unwrap();
        assert_eq!(Identity::of(this.pid).unwrap(), Some(this));
        assert!(this.is_alive().unwrap());
        assert_eq!(this.uid, nix::unistd::geteuid().as_raw());
        assert!(is_alive(parent_pid()).unwrap());
    }

    #[test]
    fn a_pid_that_passed_to_another_is_dead() {
        let mut stranger = Identity::of_self().unwrap();
        stranger.start_time -= 1;
        assert!(!stranger.is_alive().unwrap());
    }

    #[test]
    fn numbers_that_are_no_process_are_dead() {
        for number in [0, -1, i32::MIN, i32::MAX] {
            assert_eq!(Identity::of(Pid::from_raw(number)).unwrap(), None, "{number}");
        }
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert!(!is_alive(pid).unwrap());
        child.wait().unwrap();
        assert!(!is_alive(pid).unwrap());
    }
}
