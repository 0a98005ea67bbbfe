//! What happens between fork and exec: system calls only, on memory the parent prepared.

use std::{
    ffi::CString,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use nix::{errno::Errno, libc, sys::signal::SigSet, unistd};

use crate::{
    fork,
    image::Image,
    signals::{self, Disposition},
};

/// The shell's status for a program that could not be executed; nobody sees it, the parent reaps.
const NOT_EXECUTED: u8 = 127;

/// Everything the child needs, made before the fork.
pub(super) struct Plan {
    pub(super) image: Image,
    pub(super) directory: Option<CString>,
    /// Each numbered above every target.
    pub(super) sources: Vec<(OwnedFd, RawFd)>,
    /// Open without CLOEXEC, though nobody asked for them to be passed on.
    pub(super) unlisted: Vec<RawFd>,
    pub(super) hangup: Disposition,
    /// CLOEXEC, numbered above every target.
    pub(super) report: OwnedFd,
}

/// The part of the child's set-up that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Signals,
    Descriptors,
    Directory,
    Execute,
}

/// What the child writes to the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

impl Failure {
    /// One byte for the step, four for errno.
    pub(super) const BYTES: usize = 5;

    fn encode(self) -> [u8; Self::BYTES] {
        let step = match self.step {
            Step::Signals => 1,
            Step::Descriptors => 2,
            Step::Directory => 3,
            Step::Execute => 4,
        };
        let [a, b, c, d] = (self.errno as i32).to_ne_bytes();
        [step, a, b, c, d]
    }

    /// `None` for an empty message: the program executes. A short or unknown one cannot come
    /// from [`Failure::encode`] and counts as a failed exec.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let (&step, errno) = message.split_first()?;
        let errno = errno
            .try_into()
            .map_or(Errno::UnknownErrno, |bytes| Errno::from_raw(i32::from_ne_bytes(bytes)));
        let step = match step {
            1 => Step::Signals,
            2 => Step::Descriptors,
            3 => Step::Directory,
            _ => Step::Execute,
        };
        Some(Self { step, errno })
    }
}

impl Plan {
    /// Becomes the program, or tells the parent why not and ends. Allocates nothing.
    pub(super) fn run(&self) -> ! {
        let message = self.execute().encode();
        // Without a reader there is nobody to tell; the status below remains.
        let _ = unistd::write(&self.report, &message);
        fork::exit_now(NOT_EXECUTED)
    }

    /// Returns only when something failed.
    fn execute(&self) -> Failure {
        let failed = |step| move |errno| Failure { step, errno };
        let set_up = || {
            self.place_descriptors().map_err(failed(Step::Descriptors))?;
            if let Some(directory) = &self.directory {
                unistd::chdir(directory.as_c_str()).map_err(failed(Step::Directory))?;
            }
            signals::reset_for_exec(self.hangup).map_err(failed(Step::Signals))?;
            SigSet::empty().thread_set_mask().map_err(failed(Step::Signals))
        };
        if let Err(failure) = set_up() {
            return failure;
        }
        Failure { step: Step::Execute, errno: self.image.execute() }
    }

    fn place_descriptors(&self) -> Result<(), Errno> {
        for &number in &self.unlisted {
            // SAFETY: only a flag of the number is set; no memory is involved. A number that is
            // no longer open is an error which changes nothing.
            let outcome = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
            match Errno::result(outcome) {
                Ok(_) | Err(Errno::EBADF) => {}
                Err(errno) => return Err(errno),
            }
        }
        for (source, number) in &self.sources {
            // SAFETY: `source` is open. Whatever had the target number is replaced: this process
            // image is about to be replaced too and uses no descriptor but `self`'s, which are
            // numbered above every target.
            Errno::result(unsafe { libc::dup2(source.as_raw_fd(), *number) })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::{Failure, Step};

    #[test]
    fn a_failure_survives_the_pipe() {
        for step in [Step::Signals, Step::Descriptors, Step::Directory, Step::Execute] {
            let failure = Failure { step, errno: Errno::ENOENT };
            assert_eq!(Failure::decode(&failure.encode()), Some(failure));
        }
        assert_eq!(Failure::decode(&[]), None);
        let cut = Failure { step: Step::Execute, errno: Errno::UnknownErrno };
        assert_eq!(Failure::decode(&[4, 1]), Some(cut));
    }
}
