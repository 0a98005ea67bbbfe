//! What the foreman listens for while the queue has nothing to tell it.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A count of rings; a ring before the wait is not lost, because the listener says what it heard.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rings: Mutex<u64>,
    listener: Condvar,
}

impl Bell {
    /// Wakes the listener. Takes one short lock and runs no Ruby code, so an unblock function may
    /// call it.
    pub(super) fn ring(&self) {
        *self.lock() += 1;
        self.listener.notify_all();
    }

    /// The number of rings so far, to give to a wait.
    pub(super) fn rings(&self) -> u64 {
        *self.lock()
    }

    /// Waits for the first ring after `heard`, at most `patience`. Call without the GVL.
    pub(super) fn wait(&self, heard: u64, patience: Duration) {
        let rings = self.lock();
        let waited = self.listener.wait_timeout_while(rings, patience, |rings| *rings == heard);
        drop(waited);
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // Nothing that can panic runs under the lock, so poison tells nothing.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_heard() {
        let bell = Bell::default();
        let heard = bell.rings();
        bell.ring();
        bell.wait(heard, Duration::MAX);
        assert_eq!(bell.rings(), heard + 1);
    }
}
