//! Threads of this process: their kernel ids, and a signal to exactly one.

use nix::{
    errno::Errno,
    libc,
    unistd::{self, Pid},
};

/// The kernel's id of the calling thread, as `/proc/self/task` shows it.
#[must_use]
pub fn current_thread_id() -> i32 {
    unistd::gettid().as_raw()
}

/// Sends a signal to one thread of this process: `tgkill(2)`. Number 0 only asks whether the
/// thread is there.
///
/// Who handles the signal, and what the default action does to the whole process, is as for any
/// signal. An id belongs to its thread until that ends; after that it may come to mean another
/// thread of this process, never one of another process.
///
/// # Errors
///
/// `ESRCH` when this process has no such thread, `EINVAL` for numbers that are no thread's or
/// signal's.
pub fn signal_thread(tid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: the call takes three integers and touches no memory of ours; a handler that runs
    // because of it was installed by somebody for this very signal.
    let outcome = unsafe { libc::syscall(libc::SYS_tgkill, Pid::this().as_raw(), tid, signal) };
    Errno::result(outcome).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use nix::{
        errno::Errno,
        sys::signal::{SigSet, Signal},
    };

    use super::{current_thread_id, signal_thread};
    use crate::forked::in_child;

    #[test]
    fn only_the_thread_that_is_meant_gets_it() {
        in_child(|_| {
            let only = SigSet::from(Signal::SIGUSR1);
            only.thread_block().unwrap();
            let (say, hear) = mpsc::channel();
            let other = thread::spawn(move || {
                say.send(current_thread_id()).unwrap();
                only.wait().unwrap()
            });
            let tid = hear.recv().unwrap();
            assert_ne!(tid, current_thread_id());
            // Blocked everywhere, it waits for this thread alone if it was sent to it.
            signal_thread(current_thread_id(), Signal::SIGUSR1 as i32).unwrap();
            assert!(signal_thread(tid, 0).is_ok());
            assert!(!other.is_finished());
            signal_thread(tid, Signal::SIGUSR1 as i32).unwrap();
            assert_eq!(other.join().unwrap(), Signal::SIGUSR1);
            assert_eq!(only.wait(), Ok(Signal::SIGUSR1));
        });
    }

    #[test]
    fn there_is_no_such_thread() {
        assert_eq!(signal_thread(0, 0), Err(Errno::EINVAL));
        assert_eq!(signal_thread(i32::MAX, 0), Err(Errno::ESRCH));
        // A thread of another process.
        let parent = crate::process::parent_pid().as_raw();
        assert_eq!(signal_thread(parent, 0), Err(Errno::ESRCH));
        assert_eq!(signal_thread(current_thread_id(), 9999), Err(Errno::EINVAL));
    }
}
