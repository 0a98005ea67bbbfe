//! Ending the VM: `$!`, the `at_exit` blocks, the status.

use std::ffi::c_int;

use magnus::{
    Class, Error, ExceptionClass, Ruby, Value,
    error::{ErrorType, Tag},
    value::ReprValue,
};

/// Ruby's tag of a raised exception, in every version.
const TAG_RAISE: c_int = Tag::Raise as c_int;

/// How the body of [`run`](super::run) ended.
#[derive(Debug)]
pub enum Ending {
    /// As by `exit STATUS`; with 0 as if the script had reached its end.
    Status(i32),
    /// By an exception that nobody rescued. After the `at_exit` blocks Ruby prints it, ends with
    /// the status of a `SystemExit`, or dies of the signal of a `SignalException`.
    Uncaught(Error),
}

impl From<i32> for Ending {
    fn from(status: i32) -> Self {
        Self::Status(status)
    }
}

/// Runs the `at_exit` blocks with `$!` set, and destroys the VM. Uncaught signals do not return.
pub(super) fn end(ruby: &Ruby, ending: Ending) -> i32 {
    let (exception, fallback) = match ending {
        Ending::Status(0) => (None, 0),
        Ending::Status(status) => (system_exit(ruby, status), status),
        Ending::Uncaught(error) => (instance(ruby, &error), 1),
    };
    match exception {
        None => {
            // SAFETY: the VM is alive, this is its main thread, and nothing uses Ruby afterwards:
            // `run_body` returns at once.
            let status = unsafe { rb_sys::ruby_cleanup(0) };
            if status == 0 { fallback } else { status }
        }
        Some(exception) => {
            // SAFETY: `exception` is an instance of Exception, so nothing is raised.
            unsafe { rb_sys::rb_set_errinfo(magnus::rb_sys::AsRawValue::as_raw(exception)) };
            // SAFETY: as above; the tag says that the exception just set is on its way.
            unsafe { rb_sys::ruby_cleanup(TAG_RAISE) }
        }
    }
}

fn system_exit(ruby: &Ruby, status: i32) -> Option<Value> {
    let class: ExceptionClass = ruby.exception_system_exit();
    class.new_instance((status,)).ok().map(ReprValue::as_value)
}

fn instance(ruby: &Ruby, error: &Error) -> Option<Value> {
    match error.error_type() {
        ErrorType::Exception(exception) => Some(exception.as_value()),
        ErrorType::Error(class, message) => {
            class.new_instance((ruby.str_new(message),)).ok().map(ReprValue::as_value)
        }
        ErrorType::Jump(_) => None,
    }
}
