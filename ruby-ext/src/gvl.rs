//! Leaving and checking in with Ruby's global lock.
//!
//! `&Ruby` is the proof of holding the lock. Whatever Ruby raises on the way is caught under
//! protection, because a `longjmp` over Rust frames would skip their destructors.

use std::{
    any::Any,
    ffi::c_void,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    time::Duration,
};

use magnus::{Error, Ruby, rb_sys::protect};

struct Call<F, T> {
    operation: Option<F>,
    result: Option<Result<T, Box<dyn Any + Send>>>,
}

/// How a waiting thread can be woken.
#[derive(Clone, Copy)]
pub enum Wake<'a> {
    /// By a call that may take a lock, which Ruby makes from any thread, but not for a signal: the
    /// main thread, which gets the signals, waits by [`wait_readable`].
    Anywhere(&'a (dyn Fn() + Sync)),
    /// Not at all: the operation ends soon by itself.
    Never,
}

impl std::fmt::Debug for Wake<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anywhere(_) => "Anywhere",
            Self::Never => "Never",
        })
    }
}

/// Runs `operation` without the GVL, so that other Ruby threads run meanwhile.
///
/// Ruby calls `wake` when this thread should look up (`Thread#kill`, `Timeout`, a signal, shutdown);
/// it must make `operation` return soon, must not block and must not touch Ruby. `None` means that
/// an interrupt was pending already and `operation` was not run: call [`check_interrupts`], then try
/// again. A panic in `operation` goes on here.
///
/// # Errors
///
/// An exception that arrived while Ruby ended its helper thread; only on the main thread, and the
/// result of `operation` is lost then.
pub fn without_gvl<T, F>(_ruby: &Ruby, operation: F, wake: Wake<'_>) -> Result<Option<T>, Error>
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
    let (mut wake, flags) = match wake {
        Wake::Anywhere(wake) => (wake, rb_sys::RB_NOGVL_INTR_FAIL),
        Wake::Never => {
            let nothing: &(dyn Fn() + Sync) = &|| {};
            (nothing, rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE)
        }
    };
    let call_data: *mut c_void = (&raw mut call).cast();
    let wake_data: *mut c_void = (&raw mut wake).cast();
    protect(|| {
        // SAFETY: this thread holds the GVL (`_ruby`); both pointers are to this function's frame,
        // which stays until the call has returned or `protect` has caught what it raised.
        unsafe {
            rb_sys::rb_nogvl(
                Some(run::<T, F>),
                call_data,
                Some(unblock),
                wake_data,
                flags.cast_signed(),
            )
        };
        rb_sys::Qnil as rb_sys::VALUE
    })?;
    Ok(call.result.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))))
}

/// Waits until `descriptor` can be read, at most `patience`, or for ever; says whether it can.
/// Other Ruby threads run meanwhile, and on the main thread signal traps.
///
/// # Errors
///
/// What Ruby delivered to this thread.
pub fn wait_readable(
    _ruby: &Ruby,
    descriptor: BorrowedFd<'_>,
    patience: Option<Duration>,
) -> Result<bool, Error> {
    let mut limit = patience.map(|patience| rb_sys::timeval {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_usec: i64::from(patience.subsec_micros()),
    });
    let limit = limit.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let number = descriptor.as_raw_fd();
    let mut set = FdSet::new();
    let mut ready = 0;
    let waited = protect(|| {
        // SAFETY: this thread holds the GVL (`_ruby`), and the set was initialised; a raise for
        // want of memory is caught.
        unsafe { rb_sys::rb_fd_set(number, &raw mut set.0) };
        // SAFETY: as above; the descriptor is open while it is borrowed, and the limit is null or
        // on this function's frame.
        ready = unsafe {
            rb_sys::rb_thread_fd_select(
                number + 1,
                &raw mut set.0,
                ptr::null_mut(),
                ptr::null_mut(),
                limit,
            )
        };
        rb_sys::Qnil as rb_sys::VALUE
    });
    waited.map(|_| ready > 0)
}

/// Ruby's descriptor set, which also holds numbers beyond `FD_SETSIZE`.
struct FdSet(rb_sys::rb_fdset_t);

impl FdSet {
    fn new() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `rb_fd_init` fills in the whole structure; it allocates with `malloc`-like calls
        // that end the process rather than return null.
        unsafe { rb_sys::rb_fd_init(set.as_mut_ptr()) };
        // SAFETY: it has just been filled in.
        Self(unsafe { set.assume_init() })
    }
}

impl Drop for FdSet {
    fn drop(&mut self) {
        // SAFETY: the set was initialised and is not used again; this frees plain memory and runs
        // no Ruby code.
        unsafe { rb_sys::rb_fd_term(&raw mut self.0) };
    }
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
