//! A descriptor for a process: a signal through it cannot reach a later owner of the pid.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::{errno::Errno, libc, sys::signal::Signal, unistd::Pid};

use super::{Identity, IdentityError};
use crate::sysexits;

/// The pidfd of `pidfd_open(2)`, CLOEXEC; readable in `poll(2)` once the process has ended.
#[derive(Debug)]
pub struct PidFd {
    descriptor: OwnedFd,
}

/// Why a process could not be taken hold of.
#[derive(Debug, thiserror::Error)]
pub enum PidFdError {
    /// `pidfd_open(2)` failed, other than because the process is gone.
    #[error("cannot take hold of process {pid}")]
    Open {
        /// The process.
        pid: Pid,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// Its identity could not be compared.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl PidFdError {
    /// The exit status, from sysexits(3): 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open { .. } | Self::Identity(_) => sysexits::OSERR,
        }
    }
}

impl PidFd {
    /// Takes hold of whatever process has `pid` now.
    ///
    /// Sure only for a child that has not been reaped, whose pid cannot be used again; for any
    /// other process use [`PidFd::of`].
    ///
    /// # Errors
    ///
    /// `ESRCH` when there is no such process, `EINVAL` for 0 and below, `EMFILE`, `ENOSYS` on
    /// kernels before 5.3.
    pub fn open(pid: Pid) -> Result<Self, Errno> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let raw = i32::try_from(Errno::result(raw)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { descriptor })
    }

    /// Takes hold of this very process; `None` when it has ended, even if its pid is in use.
    ///
    /// # Errors
    ///
    /// When the kernel gives no pidfd, or `/proc` does not answer.
    pub fn of(identity: &Identity) -> Result<Option<Self>, PidFdError> {
        let pid = identity.pid;
        let handle = match Self::open(pid) {
            Ok(handle) => handle,
            Err(Errno::ESRCH) => return Ok(None),
            Err(source) => return Err(PidFdError::Open { pid, source }),
        };
        // Asked after the descriptor exists: if the pid means the right process now, it did then.
        Ok(identity.is_alive()?.then_some(handle))
    }

    /// Sends a signal to this process and to no other.
    ///
    /// # Errors
    ///
    /// `ESRCH` when it has ended and was reaped, `EPERM` when it is not ours to signal.
    pub fn send(&self, signal: Signal) -> Result<(), Errno> {
        let descriptor = self.descriptor.as_raw_fd();
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: `descriptor` is open as long as `self`; a null info asks the kernel to fill in
        // what kill(2) would.
        let outcome = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal as i32, info, 0)
        };
        Errno::result(outcome).map(drop)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use nix::{
        errno::Errno,
        fcntl::{FcntlArg, FdFlag, fcntl},
        sys::signal::Signal,
        unistd::Pid,
    };

    use super::{Identity, PidFd};

    #[test]
    fn signals_reach_the_process_and_end_with_it() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let identity =
            Identity::of(Pid::from_raw(child.id().try_into().unwrap())).unwrap().unwrap();
        let handle = PidFd::of(&identity).unwrap().unwrap();
        handle.send(Signal::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(handle.send(Signal::SIGKILL), Err(Errno::ESRCH));
        assert!(PidFd::of(&identity).unwrap().is_none());
    }

    #[test]
    fn another_process_with_the_pid_is_not_taken() {
        let mut identity = Identity::of_self().unwrap();
        identity.start_time -= 1;
        assert!(PidFd::of(&identity).unwrap().is_none());
    }

    #[test]
    fn the_descriptor_is_not_inherited() {
        let handle = PidFd::open(Pid::this()).unwrap();
        let flags = fcntl(&handle, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        assert_eq!(PidFd::open(Pid::from_raw(0)).unwrap_err(), Errno::EINVAL);
    }
}
