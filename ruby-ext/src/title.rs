//! The title that `ps` shows for this process.

use magnus::{Ruby, Value, value::ReprValue};

use crate::exception::Exception;

/// Sets the title by `Process.setproctitle`, so that `$0` stays the program name. Ruby cuts it at
/// 1023 bytes, and at the room that arguments and environment took at the start of the process.
///
/// # Errors
///
/// What Ruby raised, as for a zero byte in `title`.
pub fn set_title(ruby: &Ruby, title: &str) -> Result<(), Exception> {
    let set: Result<Value, _> = ruby.module_process().funcall("setproctitle", (title,));
    set.map(drop).map_err(|error| Exception::read(ruby, &error))
}
