//! Signal masks and dispositions. No handler of ours is ever installed here.

use std::{marker::PhantomData, mem::MaybeUninit};

use nix::{
    errno::Errno,
    libc,
    sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal},
};

/// Signals whose disposition cannot be changed, signal(7).
const FIXED: [Signal; 2] = [Signal::SIGKILL, Signal::SIGSTOP];

/// Rust's own handlers for these print "stack overflow" and then die by the default action; they
/// stay right after a fork.
const FAULTS: [Signal; 2] = [Signal::SIGSEGV, Signal::SIGBUS];

/// What happens when a signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignored,
    /// A function of this process.
    Handled,
}

/// Signals blocked in this thread; the mask from before comes back when this is dropped.
///
/// Blocked signals are not lost: they wait, one of each kind.
#[derive(Debug)]
#[must_use = "the signals are blocked only while this value lives"]
pub struct Blocked {
    previous: SigSet,
    /// Not `Send`: the mask belongs to the thread.
    thread: PhantomData<*const ()>,
}

impl Blocked {
    /// Blocks every signal that can be blocked.
    ///
    /// # Errors
    ///
    /// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
    pub fn all() -> Result<Self, Errno> {
        Self::new(SigSet::all())
    }

    /// Blocks these signals beside the ones already blocked.
    ///
    /// # Errors
    ///
    /// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
    pub fn only(signals: &[Signal]) -> Result<Self, Errno> {
        Self::new(set_of(signals))
    }

    fn new(signals: SigSet) -> Result<Self, Errno> {
        let previous = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { previous, thread: PhantomData })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.previous.thread_set_mask().expect("the kernel takes back a mask that it gave");
    }
}

/// Blocks these signals in this thread until [`unblock`].
///
/// # Errors
///
/// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
pub fn block(signals: &[Signal]) -> Result<(), Errno> {
    set_of(signals).thread_block()
}

/// Unblocks these signals in this thread; those that waited arrive now.
///
/// # Errors
///
/// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
pub fn unblock(signals: &[Signal]) -> Result<(), Errno> {
    set_of(signals).thread_unblock()
}

/// Unblocks every signal in this thread, whatever mask the parent process left us.
///
/// # Errors
///
/// `pthread_sigmask(3)` has none for these arguments; what it says is passed on.
pub fn unblock_all() -> Result<(), Errno> {
    SigSet::empty().thread_set_mask()
}

/// Makes the whole process ignore a signal; it stays ignored over `execve`.
///
/// # Errors
///
/// `EINVAL` for SIGKILL and SIGSTOP.
pub fn ignore(signal: Signal) -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: `SIG_IGN` runs no code, so no handler can break async-signal-safety. A handler
    // that is replaced is only a number to the kernel: nothing is freed under it.
    unsafe { signal::sigaction(signal, &action) }.map(drop)
}

/// Gives a signal its default action back.
///
/// # Errors
///
/// `EINVAL` for SIGKILL and SIGSTOP.
pub fn set_default(signal: Signal) -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: `SIG_DFL` runs no code, so no handler can break async-signal-safety. A handler
    // that is replaced is only a number to the kernel: nothing is freed under it.
    unsafe { signal::sigaction(signal, &action) }.map(drop)
}

/// What happens now when `signal` arrives. Changes nothing.
///
/// # Errors
///
/// `sigaction(2)` has none for a known signal; what it says is passed on.
pub fn disposition(signal: Signal) -> Result<Disposition, Errno> {
    let mut current = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action means "only ask", and `current` is writable and large enough
    // for the answer.
    let outcome = unsafe { libc::sigaction(signal as i32, std::ptr::null(), current.as_mut_ptr()) };
    Errno::result(outcome)?;
    // SAFETY: the call succeeded, so the kernel and libc filled the whole structure.
    let current = unsafe { current.assume_init() };
    Ok(match current.sa_sigaction {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    })
}

/// Whether `signal` is ignored, for example SIGHUP under nohup(1) or a supervisor.
///
/// # Errors
///
/// Those of [`disposition`].
pub fn is_ignored(signal: Signal) -> Result<bool, Errno> {
    disposition(signal).map(|disposition| disposition == Disposition::Ignored)
}

/// After a fork without exec: handlers become the default, ignored signals stay ignored.
///
/// This is what `execve(2)` does. SIGPIPE in particular stays ignored as Rust programs expect it:
/// a write to a closed socket must be an error and not the end.
pub(crate) fn drop_handlers() -> Result<(), Errno> {
    for signal in Signal::iterator() {
        let ours = !FIXED.contains(&signal) && !FAULTS.contains(&signal);
        if ours && disposition(signal)? == Disposition::Handled {
            set_default(signal)?;
        }
    }
    Ok(())
}

/// Between fork and exec: every signal gets its default action, only an ignored SIGHUP stays so.
///
/// Allocates nothing, so it may run in the child of a process with threads.
pub(crate) fn reset_for_exec(hangup: Disposition) -> Result<(), Errno> {
    for signal in Signal::iterator() {
        let kept = signal == Signal::SIGHUP && hangup == Disposition::Ignored;
        if !kept && !FIXED.contains(&signal) {
            set_default(signal)?;
        }
    }
    Ok(())
}

fn set_of(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SigSet, Signal, raise};

    use super::{Blocked, Disposition, block, disposition, ignore, is_ignored, unblock};
    use super::{drop_handlers, reset_for_exec, set_default, unblock_all};
    use crate::forked::in_child;

    #[test]
    fn dispositions_are_set_and_told() {
        in_child(|_| {
            assert_eq!(disposition(Signal::SIGUSR1).unwrap(), Disposition::Default);
            ignore(Signal::SIGUSR1).unwrap();
            assert!(is_ignored(Signal::SIGUSR1).unwrap());
            raise(Signal::SIGUSR1).unwrap();
            set_default(Signal::SIGUSR1).unwrap();
            assert!(!is_ignored(Signal::SIGUSR1).unwrap());
            ignore(Signal::SIGKILL).unwrap_err();
        });
    }

    #[test]
    fn a_guard_gives_the_mask_back() {
        in_child(|_| {
            unblock_all().unwrap();
            let guard = Blocked::only(&[Signal::SIGTERM]).unwrap();
            raise(Signal::SIGTERM).unwrap();
            assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
            // The waiting signal is thrown away, else the guard's end would be ours.
            ignore(Signal::SIGTERM).unwrap();
            drop(guard);
            assert_eq!(SigSet::thread_get_mask().unwrap(), SigSet::empty());
            let everything = Blocked::all().unwrap();
            assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGCHLD));
            drop(everything);
        });
    }

    #[test]
    fn block_and_unblock_are_opposites() {
        in_child(|_| {
            unblock_all().unwrap();
            block(&[Signal::SIGINT, Signal::SIGQUIT]).unwrap();
            unblock(&[Signal::SIGINT]).unwrap();
            let mask = SigSet::thread_get_mask().unwrap();
            assert!(!mask.contains(Signal::SIGINT) && mask.contains(Signal::SIGQUIT));
        });
    }

    #[test]
    fn only_an_ignored_hangup_survives_into_a_new_program() {
        in_child(|_| {
            for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGPIPE] {
                ignore(signal).unwrap();
            }
            reset_for_exec(Disposition::Ignored).unwrap();
            assert!(is_ignored(Signal::SIGHUP).unwrap());
            assert!(!is_ignored(Signal::SIGUSR2).unwrap());
            assert!(!is_ignored(Signal::SIGPIPE).unwrap());
            reset_for_exec(Disposition::Default).unwrap();
            assert!(!is_ignored(Signal::SIGHUP).unwrap());
        });
    }

    #[test]
    fn what_is_ignored_stays_ignored_in_a_fork() {
        in_child(|_| {
            ignore(Signal::SIGPIPE).unwrap();
            drop_handlers().unwrap();
            assert!(is_ignored(Signal::SIGPIPE).unwrap());
        });
    }
}
