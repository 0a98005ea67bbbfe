//! The stream that a streaming body gets (Rack SPEC 3.0, "Streaming Body"): it reads the request
//! body and writes the response.
//!
//! It may outlive `call`, in a thread of the application's own; the response ends when it is
//! closed, or when nothing refers to it any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use magnus::{
    DataTypeFunctions, Error, RModule, RString, Ruby, TypedData, Value,
    gc::Marker,
    method,
    prelude::*,
    typed_data::Obj,
    value::{LazyId, Opaque},
};

use super::{
    entry::{self, entry},
    gone,
    input::Input,
    transmission::{NotSent, Stop, Transmission},
};

static READ: LazyId = LazyId::new("read");

/// The class of the stream.
#[derive(TypedData)]
#[magnus(class = "Rackrs::Stream", free_immediately, mark, size)]
pub(super) struct Stream {
    transmission: Arc<Transmission>,
    input: Opaque<Obj<Input>>,
    is_read_closed: AtomicBool,
    is_write_closed: AtomicBool,
}

impl DataTypeFunctions for Stream {
    fn mark(&self, marker: &Marker) {
        marker.mark(self.input);
    }
}

impl Stream {
    pub(super) fn new(transmission: &Arc<Transmission>, input: Obj<Input>) -> Self {
        Self {
            transmission: Arc::clone(transmission),
            input: input.into(),
            is_read_closed: AtomicBool::new(false),
            is_write_closed: AtomicBool::new(false),
        }
    }

    fn read(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<Value, Error> {
        if this.is_read_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ruby.exception_io_error(), "not opened for reading"));
        }
        ruby.get_inner(this.input).funcall(*READ, args)
    }

    fn write(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<usize, Error> {
        let mut written = 0;
        for arg in args {
            let piece = match RString::from_value(*arg) {
                Some(string) => string,
                None => arg.to_r_string()?,
            };
            // SAFETY: the bytes are copied before any Ruby code can run.
            let piece = Bytes::copy_from_slice(unsafe { piece.as_slice() });
            written += piece.len();
            this.open(ruby)?;
            this.transmission.write(ruby, piece).map_err(|not_sent| exception(ruby, not_sent))?;
        }
        Ok(written)
    }

    fn append(ruby: &Ruby, this: Obj<Self>, arg: Value) -> Result<Obj<Self>, Error> {
        Self::write(ruby, this, &[arg])?;
        Ok(this)
    }

    fn flush(ruby: &Ruby, this: Obj<Self>) -> Result<Obj<Self>, Error> {
        this.open(ruby)?;
        this.transmission.flush().map_err(|stop| exception(ruby, NotSent::Stopped(stop)))?;
        Ok(this)
    }

    fn open(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_write_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ruby.exception_io_error(), "not opened for writing"));
        }
        Ok(())
    }

    fn close(ruby: &Ruby, this: &Self) {
        Self::close_read(ruby, this);
        this.close_write();
    }

    fn close_read(ruby: &Ruby, this: &Self) {
        this.is_read_closed.store(true, Ordering::Relaxed);
        ruby.get_inner(this.input).end_keeping();
    }

    fn close_write(&self) {
        self.is_write_closed.store(true, Ordering::Relaxed);
        self.transmission.finish();
    }

    fn is_closed(&self) -> bool {
        self.is_read_closed.load(Ordering::Relaxed) && self.is_write_closed.load(Ordering::Relaxed)
    }
}

/// What a writer sees when no more is taken.
pub(super) fn exception(ruby: &Ruby, not_sent: NotSent) -> Error {
    match not_sent {
        NotSent::Interrupted(error) => error,
        NotSent::Stopped(Stop::Gone) => gone::exception(ruby),
        NotSent::Stopped(Stop::Refused(refusal)) => {
            Error::new(ruby.exception_io_error(), refusal.to_string())
        }
        NotSent::Stopped(Stop::Finished | Stop::Aborted) => {
            Error::new(ruby.exception_io_error(), "closed stream")
        }
    }
}

/// Defines `Rackrs::Stream` in `module`.
pub(super) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Stream", ruby.class_object())?;
    class.undef_default_alloc_func();
    entry::define(class, c"read", entry!(Stream::read))?;
    entry::define(class, c"write", entry!(Stream::write))?;
    class.define_method("<<", method!(Stream::append, 1))?;
    class.define_method("flush", method!(Stream::flush, 0))?;
    class.define_method("close", method!(Stream::close, 0))?;
    class.define_method("close_read", method!(Stream::close_read, 0))?;
    class.define_method("close_write", method!(Stream::close_write, 0))?;
    class.define_method("closed?", method!(Stream::is_closed, 0))
}
