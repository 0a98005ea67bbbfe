//! Tells a forked child from the process whose requests it has copies of.
//!
//! An application may fork while it serves. The child has no I/O thread, and a lock that this thread
//! held at that moment stays locked there for ever; yet the child ends by freeing every Ruby object,
//! and with them its copies of the exchanges. So it must leave them alone.

use std::sync::{
    Once,
    atomic::{AtomicU64, Ordering},
};

use nix::libc;

/// Forks between the first process of this program and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// A process of this program, and no other one alive with a copy of this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    /// The one that calls.
    pub(crate) fn current() -> Self {
        static WATCHED: Once = Once::new();
        WATCHED.call_once(watch_forks);
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this is another process than that.
    pub(crate) fn is_left(self) -> bool {
        self != Self(FORKS.load(Ordering::Relaxed))
    }
}

fn watch_forks() {
    unsafe extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only adds to an atomic, which is allowed after a fork of any process.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    // It fails for want of a few bytes of memory only.
    assert_eq!(refused, 0, "no memory to be told of forks");
}
