//! The bounded queue between the I/O thread and the Ruby threads of a worker.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use super::Request;
use crate::bell::Bell;

/// The queue is at its limit; the request comes back so that it can be refused with a 503.
#[derive(Debug)]
pub struct Full(pub Box<Request>);

/// What a Ruby thread got from [`Queue::wait`].
#[derive(Debug)]
pub enum Taken {
    /// A request to serve.
    Request(Box<Request>),
    /// Nothing came for the whole time.
    TimedOut,
    /// [`Queue::interrupt`] was called: let Ruby check its interrupts, then wait again.
    Interrupted,
    /// [`Queue::close`] was called and nothing is left.
    Closed,
}

/// Counts of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests in the queue.
    pub queued: usize,
    /// Ruby threads that wait for one.
    pub waiting: usize,
}

/// Requests that wait for a Ruby thread, first come first served.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// Wakes threads in [`Queue::wait`].
    takers: Condvar,
    /// Rung when the foreman shall look.
    foreman: OnceLock<Arc<Bell>>,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Box<Request>>,
    waiting: usize,
    closed: bool,
    /// The foreman waits for a shortage.
    tell_foreman: bool,
    /// Raised by every interrupt; a waiter compares it with the count at its start.
    interrupts: u64,
}

impl State {
    fn is_short(&self) -> bool {
        self.requests.len() > self.waiting
    }
}

impl Queue {
    /// A queue for at most `limit` requests.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), takers: Condvar::new(), foreman: OnceLock::new(), limit }
    }

    /// Adds a request. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Full`] at the limit or when the queue is closed.
    pub fn try_push(&self, request: Box<Request>) -> Result<(), Full> {
        let mut state = self.lock();
        if state.closed || state.requests.len() >= self.limit {
            return Err(Full(request));
        }
        state.requests.push_back(request);
        let tell_foreman = state.is_short() && std::mem::take(&mut state.tell_foreman);
        let anyone_waiting = state.waiting > 0;
        drop(state);
        if anyone_waiting {
            self.takers.notify_one();
        }
        if tell_foreman {
            self.ring();
        }
        Ok(())
    }

    /// The next request if there is one now; for a thread that stays on the GVL.
    #[must_use]
    pub fn try_take(&self) -> Option<Box<Request>> {
        self.lock().requests.pop_front()
    }

    /// The number of interrupts so far; read it before releasing the GVL and give it to a wait.
    #[must_use]
    pub fn interrupts(&self) -> u64 {
        self.lock().interrupts
    }

    /// Waits for a request, at most `patience`. Call without the GVL.
    #[must_use]
    pub fn wait(&self, seen_interrupts: u64, patience: Duration) -> Taken {
        let mut state = self.lock();
        loop {
            if let Some(request) = state.requests.pop_front() {
                return Taken::Request(request);
            }
            if state.closed {
                return Taken::Closed;
            }
            if state.interrupts != seen_interrupts {
                return Taken::Interrupted;
            }
            state.waiting += 1;
            let (woken, timeout) =
                self.takers.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.waiting -= 1;
            if timeout.timed_out() && state.requests.is_empty() && !state.closed {
                return Taken::TimedOut;
            }
        }
    }

    /// Has `bell` rung when [`Queue::is_short_or_will_tell`] asked for it, and at the closing.
    /// Only the first call counts.
    pub(crate) fn announce_shortage_by(&self, bell: Arc<Bell>) {
        // A queue has one pool.
        let _ = self.foreman.set(bell);
    }

    /// Whether more requests are queued than threads wait; if not, the bell rings once when they
    /// are. The I/O thread pays for a ring only when somebody listens.
    pub(crate) fn is_short_or_will_tell(&self) -> bool {
        let mut state = self.lock();
        let is_short = state.is_short();
        state.tell_foreman = !is_short;
        is_short
    }

    /// The load of this moment.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.lock();
        Load { queued: state.requests.len(), waiting: state.waiting }
    }

    /// Makes every wait return, so that Ruby can check its interrupts. An unblock function calls
    /// it, from any thread; it takes one short lock and runs no Ruby code.
    pub fn interrupt(&self) {
        self.lock().interrupts += 1;
        self.takers.notify_all();
    }

    /// Takes no more requests; threads leave when what is queued has been served.
    pub fn close(&self) {
        self.lock().closed = true;
        self.takers.notify_all();
        self.ring();
    }

    /// Whether [`Queue::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn ring(&self) {
        if let Some(bell) = self.foreman.get() {
            bell.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so poison tells nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
