//! The memory of the process arguments, which becomes the title that `ps` shows.
//!
//! `std` copies the arguments and does not say where they lie; glibc gives the addresses to the
//! functions of `.init_array`, which run before `main`.

use std::{
    ffi::{c_char, c_int},
    ptr,
    sync::atomic::{AtomicI32, AtomicPtr, Ordering},
};

static COUNT: AtomicI32 = AtomicI32::new(0);
static ARGUMENTS: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static ENVIRONMENT: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

type Initializer = extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char);

// SAFETY: glibc calls the functions of this section with `argc, argv, envp`, which is the signature
// of `remember`; it runs before `main` and uses nothing that must be initialised.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: Initializer = remember;

extern "C" fn remember(count: c_int, arguments: *mut *mut c_char, environment: *mut *mut c_char) {
    COUNT.store(count, Ordering::Relaxed);
    ARGUMENTS.store(arguments, Ordering::Relaxed);
    ENVIRONMENT.store(environment, Ordering::Relaxed);
}

unsafe extern "C" {
    /// Exported by libruby (missing/setproctitle.c) on systems without a `setproctitle` of their
    /// own, which is to say with glibc.
    fn ruby_init_setproctitle(argc: c_int, argv: *mut *mut c_char);

    static mut environ: *mut *mut c_char;
}

/// Tells Ruby where it started, and lets it open descriptors 0, 1 and 2 if they are closed.
pub(super) fn announce() {
    let mut count = COUNT.load(Ordering::Relaxed);
    let mut arguments = ARGUMENTS.load(Ordering::Relaxed);
    // SAFETY: both are out-parameters on this frame; what they hold is the process's own argument
    // vector, which lives as long as the process.
    unsafe { rb_sys::ruby_sysinit(&raw mut count, &raw mut arguments) };
}

/// Gives Ruby the memory of the arguments and of the environment behind them for `$0=` and
/// `Process.setproctitle`.
///
/// Starting the VM has given it the memory of the made-up arguments instead, and has replaced the
/// environment by a copy, so that the real one is shown to it again for the duration of the call.
/// Call before another thread exists.
pub(super) fn offer_title_memory() {
    let count = COUNT.load(Ordering::Relaxed);
    let arguments = ARGUMENTS.load(Ordering::Relaxed);
    let original = ENVIRONMENT.load(Ordering::Relaxed);
    if count <= 0 || arguments.is_null() || original.is_null() {
        return;
    }
    // SAFETY: this is the only thread, so nobody else reads or writes the variable.
    let current = unsafe { environ };
    // SAFETY: as above; `original` is the vector that the kernel made, still NULL-terminated.
    unsafe { environ = original };
    // SAFETY: Ruby measures the strings of both vectors, which nobody has freed, because they lie
    // on the process's initial stack, and leaves a copy in `environ`.
    unsafe { ruby_init_setproctitle(count, arguments) };
    // SAFETY: this is the only thread; `current` is the environment with all later changes.
    unsafe { environ = current };
}
