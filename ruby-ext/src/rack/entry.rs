//! Ruby methods of ours that take any arguments.
//!
//! Ruby calls such a method with a null pointer when there are no arguments and a C function is
//! the caller (`Enumerator#each`). magnus makes a slice of that pointer, which Rust forbids, so
//! these methods enter here instead.

use std::{
    ffi::{CStr, c_int},
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use magnus::{
    Error, IntoValue, RClass, Ruby, TryConvert, TypedData, Value,
    rb_sys::{AsRawValue, FromRawValue, protect, resume_error},
    typed_data::Obj,
};
use rb_sys::VALUE;

/// What Ruby calls.
pub(super) type Entry = unsafe extern "C" fn(c_int, *const VALUE, VALUE) -> VALUE;

/// The Rust function behind it.
pub(super) type Function<T, R> = fn(&Ruby, Obj<T>, &[Value]) -> Result<R, Error>;

/// The [`Entry`] for a [`Function`].
macro_rules! entry {
    ($function:path) => {{
        unsafe extern "C" fn entry(
            count: std::ffi::c_int,
            arguments: *const rb_sys::VALUE,
            this: rb_sys::VALUE,
        ) -> rb_sys::VALUE {
            // SAFETY: Ruby calls this as a method of arity -1, with what `enter` asks for.
            unsafe { $crate::rack::entry::enter(count, arguments, this, $function) }
        }
        entry
    }};
}
pub(super) use entry;

/// Defines the method `name` of `class`.
pub(super) fn define(class: RClass, name: &CStr, entry: Entry) -> Result<(), Error> {
    #[allow(
        clippy::missing_transmute_annotations,
        reason = "the headers of each Ruby give the pointer a type of their own"
    )]
    // SAFETY: Ruby casts it back to the type that belongs to arity -1, which `Entry` is.
    let entry = unsafe { std::mem::transmute::<Option<Entry>, _>(Some(entry)) };
    protect(|| {
        // SAFETY: `class` is a live class and `name` a C string; a raise is caught.
        unsafe { rb_sys::rb_define_method(class.as_raw(), name.as_ptr(), entry, -1) };
        class.as_raw()
    })
    .map(drop)
}

/// Calls `function` and turns its error, or its panic, into a Ruby exception.
///
/// # Safety
///
/// Must be called by Ruby, as a method of arity -1: with the GVL held, and `arguments` either
/// null or pointing to `count` live objects.
pub(super) unsafe fn enter<T, R>(
    count: c_int,
    arguments: *const VALUE,
    this: VALUE,
    function: Function<T, R>,
) -> VALUE
where
    T: TypedData,
    R: IntoValue,
{
    // SAFETY: Ruby calls methods with the GVL held.
    let ruby = unsafe { Ruby::get_unchecked() };
    let called = AssertUnwindSafe(|| {
        let arguments = match usize::try_from(count) {
            Ok(count @ 1..) => {
                // SAFETY: by the contract there are `count` objects; `Value` is one `VALUE`.
                unsafe { slice::from_raw_parts(arguments.cast::<Value>(), count) }
            }
            Ok(0) | Err(_) => &[],
        };
        // SAFETY: the receiver of a method that runs is alive.
        let this = Obj::<T>::try_convert(unsafe { Value::from_raw(this) })?;
        function(&ruby, this, arguments).map(|result| result.into_value_with(&ruby).as_raw())
    });
    result_or_raise(&ruby, called)
}

/// Runs `called` below a frame of Ruby's; a panic or an error goes on as an exception.
pub(super) fn result_or_raise(
    ruby: &Ruby,
    called: AssertUnwindSafe<impl FnOnce() -> Result<VALUE, Error>>,
) -> VALUE {
    let error = match catch_unwind(called) {
        Ok(Ok(result)) => return result,
        Ok(Err(error)) => error,
        Err(panic) => {
            drop(panic);
            Error::new(ruby.exception_fatal(), "a bug in rackrs: panicked")
        }
    };
    // SAFETY: the frames up to Ruby's own are this function's, its caller's and the entry's, which
    // own nothing any more.
    unsafe { resume_error(error) }
}
