//! The block that a body's `each` yields its pieces to.
//!
//! The application may keep the block and call it after `each` has returned, so it borrows nothing:
//! it holds an object of Ruby's, which shares the transmission.

use std::{ffi::c_int, panic::AssertUnwindSafe, ptr, sync::Arc};

use bytes::Bytes;
use magnus::{
    Error, RModule, RString, Ruby, TryConvert, Value,
    prelude::*,
    rb_sys::{AsRawId, AsRawValue, FromRawValue, protect},
    typed_data::Obj,
    value::{IntoId, LazyId},
};
use rb_sys::VALUE;

use super::{entry, failure::Refusal, raw, response::class_of, stream, transmission::Transmission};

static EACH: LazyId = LazyId::new("each");

/// What the block holds.
#[magnus::wrap(class = "Rackrs::Sink", free_immediately, size)]
#[derive(Debug)]
struct Sink {
    transmission: Arc<Transmission>,
}

/// Calls `body.each`, and sends what it yields.
///
/// # Errors
///
/// What `each` raised, or what the block raised to stop it.
pub(super) fn each(
    ruby: &Ruby,
    body: Value,
    transmission: &Arc<Transmission>,
) -> Result<(), Error> {
    let sink = raw::wrapped(ruby, Sink { transmission: Arc::clone(transmission) })?;
    let (body, sink, each) = (body.as_raw(), sink.as_raw(), EACH.into_id_with(ruby).as_raw());
    protect(|| {
        // SAFETY: both are live objects, and the block keeps the sink alive; a raise is caught.
        unsafe { rb_sys::rb_block_call(body, each, 0, ptr::null(), Some(yielded), sink) }
    })
    .map(drop)
}

unsafe extern "C" fn yielded(
    piece: VALUE,
    sink: VALUE,
    _argc: c_int,
    _argv: *const VALUE,
    _block: VALUE,
) -> VALUE {
    // SAFETY: Ruby calls blocks with the GVL held.
    let ruby = unsafe { Ruby::get_unchecked() };
    entry::result_or_raise(
        &ruby,
        AssertUnwindSafe(|| {
            // SAFETY: the block that runs keeps its data alive.
            let sink = Obj::<Sink>::try_convert(unsafe { Value::from_raw(sink) })?;
            // SAFETY: what is being yielded is alive.
            send(&ruby, unsafe { Value::from_raw(piece) }, &sink.transmission)?;
            Ok(raw::NIL)
        }),
    )
}

fn send(ruby: &Ruby, piece: Value, transmission: &Transmission) -> Result<(), Error> {
    let Some(string) = RString::from_value(piece) else {
        if piece.is_nil() {
            return Ok(());
        }
        let refusal = Refusal::Chunk(class_of(piece));
        let error = Error::new(ruby.exception_type_error(), refusal.to_string());
        transmission.refuse(refusal);
        return Err(error);
    };
    // SAFETY: the bytes are copied before any Ruby code can run.
    let piece = Bytes::copy_from_slice(unsafe { string.as_slice() });
    transmission.write(ruby, piece).map_err(|not_sent| stream::exception(ruby, not_sent))
}

/// Defines `Rackrs::Sink` in `module`.
pub(super) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Sink", ruby.class_object())?;
    class.undef_default_alloc_func();
    Ok(())
}
