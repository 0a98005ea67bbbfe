//! One call of `Process.fork`, with its outcome told apart by the pid and not by what it returned.

use std::{fs::File, io::Write, mem::ManuallyDrop, os::fd::FromRawFd};

use magnus::{Error, Ruby, value::ReprValue};
use nix::{
    libc,
    unistd::{Pid, getpid},
};

use super::private::of_our_own;
use crate::exception::Exception;

/// sysexits(3): an internal software error.
const EX_SOFTWARE: u8 = 70;

/// What one fork came to.
pub(super) enum Forked {
    /// This is the process that called; the pid is that of its child.
    Parent(Pid),
    /// This is the new process.
    Child,
    /// This is the process that called, and something raised.
    Failed(Exception),
}

/// Forks by Ruby. A new process in which a hook raises prints the exception and ends here.
pub(super) fn fork(ruby: &Ruby) -> Forked {
    let caller = getpid();
    let returned: Result<Option<i32>, Error> =
        of_our_own(|| ruby.module_process().funcall("fork", ()));
    let in_child = getpid() != caller;
    match returned {
        Ok(_) if in_child => Forked::Child,
        Ok(Some(child)) => Forked::Parent(Pid::from_raw(child)),
        Ok(None) => Forked::Failed(Exception::bare(
            "TypeError".to_owned(),
            "Process.fork returned nil in the parent".to_owned(),
        )),
        Err(error) if in_child => {
            print_to_stderr(&Exception::read(ruby, &error).full_message);
            leave(EX_SOFTWARE)
        }
        Err(error) => Forked::Failed(Exception::read(ruby, &error)),
    }
}

/// Ends this process at once: no `at_exit` block, no flushing of buffers that the parent has too.
pub(crate) fn leave(status: u8) -> ! {
    // SAFETY: ends the process; nothing that this process owns outlives it.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Not through Ruby's `$stderr`, whose buffer is the parent's.
pub(crate) fn print_to_stderr(text: &str) {
    // SAFETY: descriptor 2 is open from the start of the VM on, and `ManuallyDrop` leaves it so.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDERR_FILENO) });
    // A process that is about to end has nobody to tell that stderr is closed.
    drop(stderr.write_all(text.as_bytes()));
}
