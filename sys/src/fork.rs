//! `fork(2)` for a process that has shown it has one thread.

use std::{
    fs, io,
    panic::{self, AssertUnwindSafe},
};

use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow},
    unistd::{self, ForkResult, Pid},
};

use crate::{signals, sysexits};

/// Proof that this process had exactly one thread when it was made.
///
/// The child of a fork has only the thread that forked. A lock that another thread holds at that
/// moment (the allocator's, stdio's, Ruby's) is held in the child for ever. Make the proof right
/// before forking, and let it go before starting a thread or a tokio runtime that has some.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the threads of this process in `/proc/self/task`.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is more than one thread; the error of reading `/proc`, where it is not
    /// mounted.
    pub fn prove() -> io::Result<Self> {
        let mut threads = 0_u32;
        for task in fs::read_dir("/proc/self/task")? {
            task?;
            threads += 1;
        }
        if threads == 1 { Ok(Self(())) } else { Err(Errno::EBUSY.into()) }
    }
}

/// Where the caller of a fork finds itself.
#[derive(Debug)]
pub(crate) enum Side {
    /// In the process that called; its signal mask is as it was.
    Parent { child: Pid },
    /// In the new process, with every signal blocked until it sets a mask.
    Child { previous: SigSet },
}

/// Forks and runs `body` in the child, which ends with the status that `body` returns.
///
/// The child never returns into the caller's code: it leaves by `_exit`, so no destructor and no
/// `atexit` handler of the parent runs in it, and a panic in `body` ends it with status 70
/// (`EX_SOFTWARE`). It starts with the parent's signal mask, handlers turned into the default
/// action, ignored signals ignored. Its end must be reaped by the caller.
///
/// # Errors
///
/// Those of `fork(2)`, in the parent only: `EAGAIN` at the limit of processes, `ENOMEM`. A fork
/// that failed is never mistaken for the child.
pub fn fork_child(proof: &SingleThreaded, body: impl FnOnce() -> u8) -> Result<Pid, Errno> {
    match fork_here(proof)? {
        Side::Parent { child } => Ok(child),
        Side::Child { previous } => {
            if enter_child(&previous).is_err() {
                exit_now(sysexits::OSERR);
            }
            // The process ends below whatever happens, so nobody sees what a panic left undone.
            let status = panic::catch_unwind(AssertUnwindSafe(body));
            exit_now(status.unwrap_or(sysexits::SOFTWARE))
        }
    }
}

/// Forks and returns on both sides; the child must call [`enter_child`].
pub(crate) fn fork_here(proof: &SingleThreaded) -> Result<Side, Errno> {
    let SingleThreaded(()) = proof;
    // SAFETY: `proof` shows that this is the only thread, so no lock is held by a thread that the
    // child lacks, and the child may do whatever the parent may.
    unsafe { fork_masked() }
}

/// The child's first act: no handler of the parent's, and then the parent's mask.
///
/// In this order a signal that came during the fork gets the default action, not a handler that
/// would write to a pipe shared with the parent.
pub(crate) fn enter_child(previous: &SigSet) -> Result<(), Errno> {
    signals::drop_handlers()?;
    previous.thread_set_mask()
}

/// `fork(2)` with every signal blocked meanwhile; the parent gets its mask back.
///
/// # Safety
///
/// Either the process has one thread, or the child calls only async-signal-safe functions until
/// it executes a program or leaves by [`exit_now`].
#[expect(clippy::disallowed_methods, reason = "the one place that calls fork(2)")]
pub(crate) unsafe fn fork_masked() -> Result<Side, Errno> {
    let previous = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // SAFETY: our caller keeps the promise that `fork` asks for; it is the same as ours.
    let outcome = unsafe { unistd::fork() };
    if let Ok(ForkResult::Child) = outcome {
        return Ok(Side::Child { previous });
    }
    previous.thread_set_mask().expect("the kernel takes back a mask that it gave");
    match outcome? {
        ForkResult::Parent { child } => Ok(Side::Parent { child }),
        ForkResult::Child => unreachable!("the child has returned above"),
    }
}

/// Ends the process at once, without destructors, `atexit` handlers or flushing: for a child that
/// must not run what its parent prepared, and for a VM that would wait for ever.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: `_exit` takes every integer, needs no state of ours and does not return.
    unsafe { nix::libc::_exit(i32::from(status)) }
}

#[cfg(test)]
mod tests {
    use std::{panic, sync::mpsc, thread};

    use nix::{
        sys::{
            signal::{SigSet, Signal},
            wait::{WaitStatus, waitpid},
        },
        unistd::{getpid, getppid},
    };

    use super::{SingleThreaded, fork_child};
    use crate::{forked::in_child, signals, signals::Blocked};

    #[test]
    fn a_second_thread_is_noticed() {
        let (keep, hold) = mpsc::channel::<()>();
        let second = thread::spawn(move || hold.recv());
        assert_eq!(SingleThreaded::prove().unwrap_err().raw_os_error(), Some(nix::libc::EBUSY));
        drop(keep);
        second.join().unwrap().unwrap_err();
    }

    #[test]
    fn the_childs_status_is_the_bodys_value() {
        in_child(|proof| {
            let parent = getpid();
            let child = fork_child(proof, || if getppid() == parent { 42 } else { 1 }).unwrap();
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 42));
        });
    }

    #[test]
    fn a_panic_ends_the_child_and_only_the_child() {
        in_child(|proof| {
            let child = fork_child(proof, || {
                panic::set_hook(Box::new(|_| ()));
                panic!("on purpose")
            });
            let child = child.unwrap();
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 70));
        });
    }

    #[test]
    fn the_mask_is_the_parents_on_both_sides() {
        in_child(|proof| {
            signals::unblock_all().unwrap();
            let _blocked = Blocked::only(&[Signal::SIGUSR2]).unwrap();
            let mask = SigSet::thread_get_mask().unwrap();
            let child = fork_child(proof, || u8::from(SigSet::thread_get_mask() != Ok(mask)));
            let child = child.unwrap();
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
        });
    }
}
