//! One thread of the pool: takes requests, serves them, waits for more.

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use magnus::{
    Error, Ruby, Thread,
    rb_sys::{FromRawValue, protect},
};
use rb_sys::VALUE;

use super::{Pool, seat::Seat};
use crate::{
    backtraces::last_resort,
    exception::{Exception, Kind},
    exchange::{Request, Taken, process::Process},
    gvl::{Wake, check_interrupts, without_gvl},
    hooks::{self, Hook},
};

/// What the native side of a thread owns. All of it is dropped when the thread ends, however it
/// ends, because no Ruby jump leaves the functions that are called here.
struct Hand {
    pool: Arc<Pool>,
    seat: Arc<Seat>,
    /// The number of the seat.
    number: usize,
    process: Process,
}

/// Creates the Ruby thread for `seat`, which is the one with `number`.
///
/// # Errors
///
/// `ThreadError` at the limit of the system; `seat` is then unused.
pub(super) fn spawn(
    ruby: &Ruby,
    pool: &Arc<Pool>,
    seat: &Arc<Seat>,
    number: usize,
) -> Result<Thread, Error> {
    let (process, seat) = (Process::current(), Arc::clone(seat));
    let hand = Hand { pool: Arc::clone(pool), seat, number, process };
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

/// Tells who watches that there is a hand on the seat, for as long as it lives.
struct Presence<'a>(&'a Hand);

impl<'a> Presence<'a> {
    fn new(hand: &'a Hand) -> Self {
        last_resort::enlist();
        if let Some(watch) = hand.pool.watch() {
            watch.hand_began(hand.number, nix::unistd::gettid().as_raw());
        }
        Self(hand)
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        // Ruby may use the kernel thread for another of its threads.
        last_resort::dismiss();
        if let Some(watch) = self.0.pool.watch() {
            watch.hand_ended(self.0.number);
        }
    }
}

/// Tells who watches that the hand has a request, for as long as it lives.
struct Attendance<'a>(&'a Hand);

impl<'a> Attendance<'a> {
    fn new(hand: &'a Hand, work: &Work) -> Self {
        if let Some(watch) = hand.pool.watch() {
            let gvl_wait = work.taken_without_gvl.map_or(Duration::ZERO, |taken| taken.elapsed());
            watch.request_began(hand.number, &work.request, gvl_wait);
        }
        Self(hand)
    }
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.0.pool.watch() {
            watch.request_ended(self.0.number);
        }
    }
}

/// A request that a hand has taken.
struct Work {
    request: Box<Request>,
    /// When it was taken, if that was done while the thread did not have the GVL.
    taken_without_gvl: Option<Instant>,
}

/// Whether a thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    Leave,
}

impl Hand {
    fn work(&self, ruby: &Ruby) {
        let _presence = Presence::new(self);
        if self.run_hook(ruby, Hook::BeforeThreadStart) == Next::Continue {
            self.seat.begin(&self.pool);
            self.take_and_serve(ruby);
        }
        // Of a killed thread too: this is its `ensure`. The copy in a forked child is no hand.
        if !self.process.is_left() {
            self.run_hook(ruby, Hook::BeforeThreadExit);
        }
    }

    fn run_hook(&self, ruby: &Ruby, hook: Hook) -> Next {
        let exceptions = hooks::run(ruby, hook, &[]);
        let serve = &self.pool.serve;
        let judged = exceptions
            .iter()
            .map(|exception| judge(exception, || serve.hook_failed(ruby, hook, exception)));
        judged.fold(Next::Continue, |all, one| if one == Next::Leave { one } else { all })
    }

    fn take_and_serve(&self, ruby: &Ruby) {
        loop {
            // While there is work it stays on the GVL: handing it over costs more than a request.
            let at_hand = self.pool.queue.try_take();
            let at_hand = at_hand.map(|request| Work { request, taken_without_gvl: None });
            let Some(work) = at_hand.or_else(|| self.wait(ruby)) else {
                return;
            };
            // What came between two requests must not hit the second.
            if self.look_up(ruby) == Next::Leave {
                // A full or closed queue drops it, and the client sees a 500.
                drop(self.pool.queue.try_push(work.request));
                return;
            }
            if self.serve(ruby, work) == Next::Leave {
                return;
            }
        }
    }

    fn serve(&self, ruby: &Ruby, work: Work) -> Next {
        let pool = &*self.pool;
        let busy = pool.status.busy();
        let attendance = Attendance::new(self, &work);
        let served = catch_unwind(AssertUnwindSafe(|| pool.serve.serve(ruby, work.request)));
        drop(attendance);
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
    fn wait(&self, ruby: &Ruby) -> Option<Work> {
        let queue = &*self.pool.queue;
        loop {
            let seen = queue.interrupts();
            let interrupt = || queue.interrupt();
            let wait = || (queue.wait(seen, self.pool.idle), Instant::now());
            match without_gvl(ruby, wait, Wake::Anywhere(&interrupt)) {
                Ok(Some((Taken::Request(request), taken))) => {
                    return Some(Work { request, taken_without_gvl: Some(taken) });
                }
                Ok(Some((Taken::Closed, _))) => return None,
                Ok(Some((Taken::TimedOut, _))) => {
                    if self.seat.may_retire(&self.pool) {
                        return None;
                    }
                }
                Ok(Some((Taken::Interrupted, _)) | None) => {
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
        judge(&exception, || self.pool.serve.stray(ruby, &exception))
    }
}

/// What follows an exception: `report`, unless it is a kill.
fn judge(exception: &Exception, report: impl FnOnce()) -> Next {
    match exception.kind {
        Kind::Kill => Next::Leave,
        Kind::Raise | Kind::Exit(_) | Kind::Signal(_) | Kind::Throw => {
            report();
            Next::Continue
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
