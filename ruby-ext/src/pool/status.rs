//! Counters of a pool, for the I/O thread and the statistics.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads there are and what they do. Ruby threads write, any thread reads.
#[derive(Debug, Default)]
pub struct PoolStatus {
    spawned: AtomicUsize,
    starting: AtomicUsize,
    busy: AtomicUsize,
    /// Of `spawned`, threads that take no more work and end soon.
    retiring: AtomicUsize,
}

/// The counters of about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatusNow {
    /// Threads that exist (Puma's `running`).
    pub spawned: usize,
    /// Of these, threads that have not begun to look for work.
    pub starting: usize,
    /// Of these, threads with a request (Puma's `busy_threads`, less the queue).
    pub busy: usize,
}

impl PoolStatus {
    /// The counters now.
    #[must_use]
    pub fn now(&self) -> PoolStatusNow {
        PoolStatusNow {
            spawned: self.spawned.load(Ordering::SeqCst),
            starting: self.starting.load(Ordering::SeqCst),
            busy: self.busy.load(Ordering::SeqCst),
        }
    }

    pub(super) fn thread_created(&self) {
        self.spawned.fetch_add(1, Ordering::SeqCst);
        self.starting.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn thread_began(&self) {
        self.starting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn thread_ended(&self) {
        self.spawned.fetch_sub(1, Ordering::SeqCst);
    }

    /// Marks one thread as retiring if more than `keep` stay then; `false` if not. Of two that ask
    /// at once only one may go.
    pub(super) fn retire_above(&self, keep: usize) -> bool {
        let more = |retiring: usize| {
            let stay = self.spawned.load(Ordering::SeqCst).saturating_sub(retiring);
            (stay > keep).then(|| retiring + 1)
        };
        self.retiring.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// A retiring thread has ended; call it behind `thread_ended`, so that a thread that asks in
    /// between stays.
    pub(super) fn thread_retired(&self) {
        self.retiring.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts a thread as busy for as long as the guard lives.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self)
    }
}

pub(super) struct Busy<'a>(&'a PoolStatus);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_threads_above_the_minimum_retire() {
        let status = PoolStatus::default();
        for _ in 0..3 {
            status.thread_created();
        }
        assert!(status.retire_above(2));
        assert!(!status.retire_above(2));
        assert_eq!(status.now().spawned, 3, "it has not ended yet");
        status.thread_ended();
        assert!(!status.retire_above(2));
        status.thread_retired();
        assert!(!status.retire_above(2));
        assert_eq!(status.now().spawned, 2);
    }

    #[test]
    fn a_thread_is_busy_as_long_as_its_guard_lives() {
        let status = PoolStatus::default();
        let guard = status.busy();
        assert_eq!(status.now().busy, 1);
        drop(guard);
        assert_eq!(status.now().busy, 0);
    }
}
