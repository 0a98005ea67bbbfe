//! Building Ruby objects fast: many calls that may raise, under one protection.
//!
//! Protecting each call would cost more than the calls. A raise (out of memory) jumps over the
//! frames between the raising call and [`protected`], so those frames must own nothing: the closure
//! is `Copy`, which only borrows and plain values are, and what it calls keeps to that too.

use magnus::{
    Error, Exception, RString, Ruby, TryConvert, TypedData, Value,
    rb_sys::{AsRawValue, FromRawValue, protect},
    typed_data::Obj,
};
use nix::errno::Errno;
use rb_sys::VALUE;

/// Ruby's `nil` as a raw value.
pub(super) const NIL: VALUE = rb_sys::Qnil as VALUE;

/// Leave to call Ruby functions that may raise.
#[derive(Debug)]
pub(super) struct Raw(());

/// Runs `build` so that an exception in it becomes an error here.
pub(super) fn protected<F>(_ruby: &Ruby, build: F) -> Result<VALUE, Error>
where
    F: FnOnce(&Raw) -> VALUE + Copy,
{
    protect(|| build(&Raw(())))
}

#[allow(clippy::unused_self, reason = "`self` is the proof that a raise is caught")]
impl Raw {
    /// A new unfrozen binary string.
    #[allow(clippy::cast_possible_wrap, reason = "no slice is longer than `isize::MAX`")]
    pub(super) fn bytes(&self, bytes: &[u8]) -> VALUE {
        // SAFETY: the slice is readable for its length and copied before the call returns; the GVL
        // is held and raising is allowed, both because of `self`.
        unsafe { rb_sys::rb_str_new(bytes.as_ptr().cast(), bytes.len() as _) }
    }

    /// A new unfrozen string marked as UTF-8.
    #[allow(clippy::cast_possible_wrap, reason = "no slice is longer than `isize::MAX`")]
    pub(super) fn utf8(&self, text: &[u8]) -> VALUE {
        // SAFETY: as in `bytes`.
        unsafe { rb_sys::rb_utf8_str_new(text.as_ptr().cast(), text.len() as _) }
    }

    /// The one frozen string of this VM with the contents of `string`, the same that a literal of
    /// these contents gives: comparing it with the application's own needs no look at the bytes.
    pub(super) fn interned(&self, string: VALUE) -> VALUE {
        // SAFETY: `string` was made by this type; GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_str_to_interned_str(string) }
    }

    /// Freezes `object`.
    pub(super) fn freeze(&self, object: VALUE) -> VALUE {
        // SAFETY: `object` was made by this type; GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_obj_freeze(object) }
    }

    /// Keeps `object` alive, and where it is, until the process ends.
    pub(super) fn keep(&self, object: VALUE) {
        // SAFETY: `object` was made by this type; GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_gc_register_mark_object(object) };
    }

    /// Appends to a string that [`Raw::bytes`] made.
    #[allow(clippy::cast_possible_wrap, reason = "no slice is longer than `isize::MAX`")]
    pub(super) fn append(&self, string: VALUE, bytes: &[u8]) {
        // SAFETY: `string` is an unfrozen string, the slice is readable; the rest as in `bytes`.
        unsafe { rb_sys::rb_str_cat(string, bytes.as_ptr().cast(), bytes.len() as _) };
    }

    /// A new empty array.
    pub(super) fn array(&self) -> VALUE {
        // SAFETY: GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_ary_new() }
    }

    /// Appends to an array that [`Raw::array`] made.
    pub(super) fn push(&self, array: VALUE, element: VALUE) {
        // SAFETY: `array` is an unfrozen array; GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_ary_push(array, element) };
    }

    /// A float.
    pub(super) fn float(&self, number: f64) -> VALUE {
        // SAFETY: GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_float_new(number) }
    }

    /// A new empty hash.
    pub(super) fn hash(&self) -> VALUE {
        // SAFETY: GVL and raising as in `bytes`.
        unsafe { rb_sys::rb_hash_new() }
    }

    /// Whether `hash` has `key`.
    pub(super) fn has_key(&self, hash: VALUE, key: VALUE) -> bool {
        // SAFETY: `hash` is a hash made by this type, `key` a string; GVL and raising as above.
        let found = unsafe { rb_sys::rb_hash_lookup2(hash, key, rb_sys::Qundef as VALUE) };
        found != rb_sys::Qundef as VALUE
    }

    /// Puts keys and values, which alternate in `pairs`, into `hash` at once.
    #[allow(clippy::cast_possible_wrap, reason = "a slice of pairs is short")]
    pub(super) fn insert(&self, hash: VALUE, pairs: &[VALUE]) {
        // SAFETY: `pairs` holds live objects, of an even number, and is on the stack of a caller,
        // where the collector sees them; `hash` is an unfrozen hash; GVL and raising as above.
        unsafe { rb_sys::rb_hash_bulk_insert(pairs.len() as _, pairs.as_ptr(), hash) };
    }
}

/// A new unfrozen binary string.
pub(super) fn binary(ruby: &Ruby, bytes: &[u8]) -> Result<RString, Error> {
    let string = protected(ruby, |raw| raw.bytes(bytes))?;
    // SAFETY: it is the string just made, and on this stack.
    RString::try_convert(unsafe { Value::from_raw(string) })
}

/// A new empty binary string with room for `bytes`.
pub(super) fn roomy(ruby: &Ruby, bytes: usize) -> Result<RString, Error> {
    let room = std::ffi::c_long::try_from(bytes).unwrap_or(std::ffi::c_long::MAX);
    let string = protect(|| {
        // SAFETY: the GVL is held (`ruby`), and raising, out of memory, is caught.
        unsafe { rb_sys::rb_str_buf_new(room) }
    })?;
    let _ = ruby;
    // SAFETY: it is the string just made, and on this stack.
    RString::try_convert(unsafe { Value::from_raw(string) })
}

/// Makes `string`, which is not ours, hold `bytes` and no more.
///
/// # Errors
///
/// `FrozenError`, `NoMemoryError`, or that `string` is locked by a call of its own.
pub(super) fn replace(ruby: &Ruby, string: RString, bytes: &[u8]) -> Result<(), Error> {
    let target = string.as_raw();
    protect(|| {
        // SAFETY: `target` is a live string; a raise is caught above this frame.
        unsafe { rb_sys::rb_str_modify(target) };
        // SAFETY: as above, and 0 is no more than the length.
        unsafe { rb_sys::rb_str_resize(target, 0) }
    })?;
    append(ruby, string, bytes)
}

/// Appends `bytes` to `string` whatever its encoding is.
pub(super) fn append(ruby: &Ruby, string: RString, bytes: &[u8]) -> Result<(), Error> {
    let target = string.as_raw();
    protected(ruby, |raw| {
        raw.append(target, bytes);
        target
    })
    .map(drop)
}

/// Tells the collector of memory that an object of ours gives back as it is freed.
///
/// Only for `free` functions: the collector calls them, with the GVL held.
pub(super) fn adjust_memory_while_freeing(bytes: isize) {
    // SAFETY: it changes counters of the collector, which it may do during a collection, and
    // neither allocates nor raises; the GVL is held, as the collector is the caller.
    unsafe { rb_sys::rb_gc_adjust_memory_usage(bytes as _) };
}

/// Sets `$_` of the Ruby method that called us.
pub(super) fn set_last_line(line: Value) -> Result<(), Error> {
    let line = line.as_raw();
    protect(|| {
        // SAFETY: `line` is a live object; the GVL is held, as a `Value` exists.
        unsafe { rb_sys::rb_lastline_set(line) };
        line
    })
    .map(drop)
}

/// The `SystemCallError` for `errno`.
pub(super) fn system_call_error(ruby: &Ruby, errno: Errno) -> Error {
    let made = protect(|| {
        // SAFETY: without a text the call only looks the class up and makes the exception.
        unsafe { rb_sys::rb_syserr_new(errno as i32, std::ptr::null()) }
    });
    let _ = ruby;
    match made {
        // SAFETY: it is the exception just made, and on this stack.
        Ok(exception) => match Exception::from_value(unsafe { Value::from_raw(exception) }) {
            Some(exception) => exception.into(),
            None => Error::new(ruby.exception_io_error(), errno.desc()),
        },
        Err(error) => error,
    }
}

/// A Ruby object that owns `data`.
///
/// # Errors
///
/// `NoMemoryError`; `data` is then lost.
pub(super) fn wrapped<T: TypedData>(ruby: &Ruby, data: T) -> Result<Obj<T>, Error> {
    let object = protect(|| ruby.obj_wrap(data).as_raw())?;
    // SAFETY: it is the object just made, and on this stack.
    let object = unsafe { Value::from_raw(object) };
    Obj::try_convert(object)
}
