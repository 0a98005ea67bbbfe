//! Tells threads to stop; their pauses end with it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One switch, off until [`Stop::stop`], shared by its clones.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Tells everybody.
    pub(super) fn stop(&self) {
        *self.lock() = true;
        self.0.1.notify_all();
    }

    /// Pauses for `time`, or until told to stop; says whether it was.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let waited = self.0.1.wait_timeout_while(self.lock(), time, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A bool is whole whatever the thread that set it did next.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
