//! `Rackrs::ClientGone`: what stops an application that still writes when nobody reads.

use magnus::{Error, ExceptionClass, RModule, Ruby, Value, prelude::*};

/// A kind of `Errno::EPIPE`, which code that writes to sockets knows how to rescue.
pub(super) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let errno: RModule = ruby.class_object().const_get("Errno")?;
    let broken_pipe: ExceptionClass = errno.const_get("EPIPE")?;
    module.define_error("ClientGone", broken_pipe).map(drop)
}

/// One such exception.
pub(super) fn exception(ruby: &Ruby) -> Error {
    let made = || -> Result<Error, Error> {
        let module: RModule = ruby.class_object().const_get("Rackrs")?;
        let class: ExceptionClass = module.const_get("ClientGone")?;
        Ok(class.new_instance(("the client is gone",))?.into())
    };
    made().unwrap_or_else(|error| error)
}

/// Whether `error` is of this class: raised by us, and perhaps passed on by the application.
pub(super) fn is_gone(ruby: &Ruby, error: &Error) -> bool {
    let class = || -> Result<ExceptionClass, Error> {
        let module: RModule = ruby.class_object().const_get("Rackrs")?;
        module.const_get("ClientGone")
    };
    class().is_ok_and(|class| error.value().is_some_and(|value: Value| value.is_kind_of(class)))
}
