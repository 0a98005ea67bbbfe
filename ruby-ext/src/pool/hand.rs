//! One thread of the pool: takes requests, serves them, waits for more.

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use magnus::{
    Error, Ruby, Thread,
    rb_sys::{FromRawValue, protect},
};
use rb_sys::VALUE;

use super::Pool;
use crate::{
    exception::{Exception, Kind},
    exchange::{Request, Taken, process::Process},
    gvl::{Wake, check_interrupts, without_gvl},
};

const STARTING: u8 = 0;
const WORKING: u8 = 1;
const ENDED: u8 = 2;

/// Where one thread stands, for the counters; each change is counted once, whoever makes it.
#[derive(Debug, Default)]
pub(super) struct Seat(AtomicU8);

impl Seat {
    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Ordering::SeqCst) == ENDED
    }

    fn begin(&self, pool: &Pool) {
        self.0.store(WORKING, Ordering::SeqCst);
        pool.status.thread_began();
        pool.bell.ring();
    }

    /// The thread is off the books already, by `retire_above`.
    fn retire(&self, pool: &Pool) {
        self.0.store(ENDED, Ordering::SeqCst);
        pool.tell_foreman();
    }

    /// Counts the thread as gone, if it is not yet.
    pub(super) fn end(&self, pool: &Pool) {
        match self.0.swap(ENDED, Ordering::SeqCst) {
            ENDED => return,
            STARTING => pool.status.thread_began(),
            _ => {}
        }
        pool.status.thread_ended();
        pool.tell_foreman();
    }
}

impl Pool {
    /// Wakes the foreman wherever it waits.
    fn tell_foreman(&self) {
        self.bell.ring();
        self.queue.interrupt();
    }
}

/// What the native side of a thread owns. All of it is dropped when the thread ends, however it
/// ends, because no Ruby jump leaves the functions that are called here.
struct Hand {
    pool: Arc<Pool>,
    seat: Arc<Seat>,
    process: Process,
}

/// Creates the Ruby thread for `seat`.
///
/// # Errors
///
/// `ThreadError` at the limit of the system; `seat` is then unused.
pub(super) fn spawn(ruby: &Ruby, pool: &Arc<Pool>, seat: &Arc<Seat>) -> Result<Thread, Error> {
    let hand = Hand { pool: Arc::clone(pool), seat: Arc::clone(seat), process: Process::current() };
    let hand = Box::into_raw(Box::new(hand));
    pool.status.thread_created();
    let created = protect(|| {
        // SAFETY: this thread holds the GVL; `entry` takes over the box; what is raised here,
        // `protect` catches.
        unsafe { rb_sys::rb_thread_create(Some(entry), hand.cast()) }
    });
    let thread = created.inspect_err(|_| {
        // SAFETY: no thread was created, so the box has no other owner; its drop ends the seat.
        drop(unsafe { Box::from_raw(hand) });
    })?;
    // SAFETY: Ruby has just returned it, and the caller roots it before Ruby runs again.
    let thread = unsafe { magnus::Value::from_raw(thread) };
    Thread::from_value(thread)
        .ok_or_else(|| Error::new(ruby.exception_type_error(), "a thread is no Thread"))
}

/// The bottom of a thread. A kill before it begins leaks the box: the foreman ends the seat then.
unsafe extern "C" fn entry(data: *mut c_void) -> VALUE {
    // SAFETY: `data` is the box of `spawn`, given to this thread alone, and entered once.
    let hand = unsafe { Box::from_raw(data.cast::<Hand>()) };
    // SAFETY: Ruby calls this on the new thread, with the GVL held.
    let ruby = unsafe { Ruby::get_unchecked() };
    // A panic outside of a request would be a bug of ours: the foreman replaces the thread.
    drop(catch_unwind(AssertUnwindSafe(|| hand.work(&ruby))));
    drop(hand);
    rb_sys::Qnil as VALUE
}

impl Drop for Hand {
    fn drop(&mut self) {
        // In a forked child the locks may be held by threads that are not there.
        if !self.process.is_left() {
            self.seat.end(&self.pool);
        }
    }
}

/// Whether a thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    Leave,
}

impl Hand {
    fn work(&self, ruby: &Ruby) {
        self.seat.begin(&self.pool);
        loop {
            // While there is work it stays on the GVL: handing it over costs more than a request.
            let Some(request) = self.pool.queue.try_take().or_else(|| self.wait(ruby)) else {
                return;
            };
            // What came between two requests must not hit the second.
            if self.look_up(ruby) == Next::Leave {
                // A full or closed queue drops it, and the client sees a 500.
                drop(self.pool.queue.try_push(request));
                return;
            }
            if self.serve(ruby, request) == Next::Leave {
                return;
            }
        }
    }

    fn serve(&self, ruby: &Ruby, request: Box<Request>) -> Next {
        let pool = &*self.pool;
        let busy = pool.status.busy();
        let served = catch_unwind(AssertUnwindSafe(|| pool.serve.serve(ruby, request)));
        drop(busy);
        // The application forked and came back in the child, where no I/O thread is.
        if self.process.is_left() {
            return Next::Leave;
        }
        match served {
            Ok(Ok(())) => Next::Continue,
            Ok(Err(error)) => self.after(ruby, &error),
            Err(panic) => {
                let exception = Exception::bare("panic".to_owned(), panic_message(&*panic));
                pool.serve.stray(ruby, &exception);
                Next::Continue
            }
        }
    }

    /// The next request, waiting for it without the GVL; `None` when the thread shall end.
    fn wait(&self, ruby: &Ruby) -> Option<Box<Request>> {
        let queue = &*self.pool.queue;
        loop {
            let seen = queue.interrupts();
            let interrupt = || queue.interrupt();
            let wait = || queue.wait(seen, self.pool.idle);
            match without_gvl(ruby, wait, Wake::Anywhere(&interrupt)) {
                Ok(Some(Taken::Request(request))) => return Some(request),
                Ok(Some(Taken::Closed)) => return None,
                Ok(Some(Taken::TimedOut)) => {
                    if self.pool.status.retire_above(self.pool.threads_min) {
                        self.seat.retire(&self.pool);
                        return None;
                    }
                }
                Ok(Some(Taken::Interrupted) | None) => {
                    if self.look_up(ruby) == Next::Leave {
                        return None;
                    }
                }
                Err(error) => {
                    if self.after(ruby, &error) == Next::Leave {
                        return None;
                    }
                }
            }
        }
    }

    /// Lets Ruby deliver what waits for this thread.
    fn look_up(&self, ruby: &Ruby) -> Next {
        match check_interrupts(ruby) {
            Ok(()) => Next::Continue,
            Err(error) => self.after(ruby, &error),
        }
    }

    /// A kill ends the thread. Any other jump has been caught, and the thread is as good as new.
    fn after(&self, ruby: &Ruby, error: &Error) -> Next {
        let exception = Exception::read(ruby, error);
        match exception.kind {
            Kind::Kill => Next::Leave,
            Kind::Raise | Kind::Exit(_) | Kind::Signal(_) | Kind::Throw => {
                self.pool.serve.stray(ruby, &exception);
                Next::Continue
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
