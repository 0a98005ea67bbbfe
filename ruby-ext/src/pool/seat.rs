//! Where one thread of the pool stands; each change is counted once, whoever makes it.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Pool;

const STARTING: u8 = 0;
const WORKING: u8 = 1;
/// Above the minimum and without work: it takes no more, and ends soon.
const RETIRING: u8 = 2;
const ENDED: u8 = 3;

/// The place of one thread, for the counters.
#[derive(Debug, Default)]
pub(super) struct Seat(AtomicU8);

impl Seat {
    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Ordering::SeqCst) == ENDED
    }

    pub(super) fn begin(&self, pool: &Pool) {
        self.0.store(WORKING, Ordering::SeqCst);
        pool.status.thread_began();
        pool.bell.ring();
    }

    /// Whether the thread may go, because enough others stay.
    pub(super) fn may_retire(&self, pool: &Pool) -> bool {
        let may = pool.status.retire_above(pool.threads_min);
        if may {
            self.0.store(RETIRING, Ordering::SeqCst);
        }
        may
    }

    /// Counts the thread as gone, if it is not yet.
    pub(super) fn end(&self, pool: &Pool) {
        let before = self.0.swap(ENDED, Ordering::SeqCst);
        if before == ENDED {
            return;
        }
        pool.status.thread_ended();
        match before {
            STARTING => pool.status.thread_began(),
            RETIRING => pool.status.thread_retired(),
            _ => {}
        }
        pool.tell_foreman();
    }
}
