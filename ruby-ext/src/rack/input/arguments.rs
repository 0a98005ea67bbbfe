//! Arguments and errors of the methods of `Rackrs::Input`, as `IO` has them.

use std::ffi::c_int;

use magnus::{
    Error, RString, Ruby, Symbol, TryConvert, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
    typed_data::Obj,
};

use super::Input;
use crate::rack::raw;

/// The second argument of `seek`.
#[derive(Clone, Copy)]
pub(super) enum Whence {
    Start,
    Position,
    End,
}

impl TryConvert for Whence {
    fn try_convert(value: Value) -> Result<Self, Error> {
        let ruby = Ruby::get_with(value);
        if let Some(symbol) = Symbol::from_value(value) {
            return match &*symbol.name()? {
                "SET" => Ok(Self::Start),
                "CUR" => Ok(Self::Position),
                "END" => Ok(Self::End),
                other => {
                    let text = format!("unknown whence: {other}");
                    Err(Error::new(ruby.exception_arg_error(), text))
                }
            };
        }
        match i64::try_convert(value)? {
            0 => Ok(Self::Start),
            1 => Ok(Self::Position),
            2 => Ok(Self::End),
            _ => Err(invalid_argument(&ruby)),
        }
    }
}

/// The buffer that the caller gave, when it can be written to.
pub(super) fn writable(ruby: &Ruby, buffer: Option<Value>) -> Result<Option<RString>, Error> {
    let Some(buffer) = buffer else { return Ok(None) };
    let string = RString::try_convert(buffer)?;
    if string.is_frozen() {
        let text = format!("can't modify frozen String: {:?}", string.as_value());
        return Err(Error::new(ruby.exception_frozen_error(), text));
    }
    Ok(Some(string))
}

pub(super) fn non_negative(ruby: &Ruby, length: i64) -> Result<u64, Error> {
    u64::try_from(length).map_err(|_| {
        let text = format!("negative length {length} given");
        Error::new(ruby.exception_arg_error(), text)
    })
}

/// What a method gives that was called without its block: an enumerator of the same call.
pub(super) fn enumerator(
    ruby: &Ruby,
    this: Obj<Input>,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    // SAFETY: asks about the method of ours that runs.
    let has_keywords = unsafe { rb_sys::rb_keyword_given_p() };
    let this = this.as_raw();
    let name = ruby.to_symbol(name).as_raw();
    let count = c_int::try_from(args.len()).unwrap_or(0);
    let enumerator = protect(|| {
        // SAFETY: `args` are the live arguments of that method, `count` of them; a raise is caught.
        unsafe {
            rb_sys::rb_enumeratorize_with_size_kw(
                this,
                name,
                count,
                args.as_ptr().cast(),
                None,
                has_keywords,
            )
        }
    })?;
    // SAFETY: it is the object just made, and on this stack.
    Ok(unsafe { Value::from_raw(enumerator) })
}

pub(super) fn end_of_file(ruby: &Ruby) -> Error {
    Error::new(ruby.exception_eof_error(), "end of file reached")
}

pub(super) fn invalid_argument(ruby: &Ruby) -> Error {
    raw::system_call_error(ruby, nix::errno::Errno::EINVAL)
}
