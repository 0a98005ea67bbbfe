//! Leaving and checking in with Ruby's global lock.
//!
//! `&Ruby` is the proof of holding the lock. No exception leaves [`without_gvl`]: it uses the form
//! of Ruby's call that does not raise, and [`check_interrupts`] raises under protection instead,
//! because a `longjmp` over Rust frames would skip their destructors.

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
};

use magnus::{Error, Ruby, rb_sys::protect};

struct Call<F, T> {
    operation: Option<F>,
    result: Option<Result<T, Box<dyn Any + Send>>>,
}

/// Runs `operation` without the GVL, so that other Ruby threads run meanwhile.
///
/// Ruby calls `wake`, from any thread, when this thread should look up (`Thread#kill`, `Timeout`, a
/// signal, shutdown); it must make `operation` return soon, must not block and must not touch Ruby.
/// `None` means that an interrupt was pending already and `operation` was not run: call
/// [`check_interrupts`], then try again. A panic in `operation` goes on here.
pub fn without_gvl<T, F>(_ruby: &Ruby, operation: F, wake: &(dyn Fn() + Sync)) -> Option<T>
where
    F: FnOnce() -> T,
{
    unsafe extern "C" fn run<T, F: FnOnce() -> T>(data: *mut c_void) -> *mut c_void {
        // SAFETY: `data` is the `Call` below, which outlives the call and is used by nobody else.
        let call = unsafe { &mut *data.cast::<Call<F, T>>() };
        if let Some(operation) = call.operation.take() {
            // A panic must not unwind through Ruby's frames; it is resumed above them.
            call.result = Some(catch_unwind(AssertUnwindSafe(operation)));
        }
        ptr::null_mut()
    }
    unsafe extern "C" fn unblock(data: *mut c_void) {
        // SAFETY: `data` is the `wake` below, which lives until the call has returned, and Ruby
        // clears the unblock function before that.
        let wake = unsafe { &*data.cast::<&(dyn Fn() + Sync)>() };
        // A panic in a wake-up has nowhere to go; the waiter has a limit of its own.
        drop(catch_unwind(AssertUnwindSafe(wake)));
    }

    let mut call = Call { operation: Some(operation), result: None };
    let mut wake = wake;
    // SAFETY: this thread holds the GVL (`_ruby`); both pointers live on this frame, which stays
    // until the call returns, and the `2` form never raises, so it always returns.
    unsafe {
        rb_sys::rb_thread_call_without_gvl2(
            Some(run::<T, F>),
            (&raw mut call).cast(),
            Some(unblock),
            (&raw mut wake).cast(),
        )
    };
    call.result.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
}

/// Lets Ruby act on what interrupted this thread.
///
/// # Errors
///
/// The exception, or the jump of a killed thread, that was delivered; the caller must end its work
/// and pass it on.
pub fn check_interrupts(_ruby: &Ruby) -> Result<(), Error> {
    protect(|| {
        // SAFETY: this thread holds the GVL, and `protect` catches the jump if one is raised.
        unsafe { rb_sys::rb_thread_check_ints() };
        rb_sys::Qnil as rb_sys::VALUE
    })
    .map(drop)
}
