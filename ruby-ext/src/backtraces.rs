//! Where the Ruby threads of this process are, for somebody who wonders why it does not answer.
//!
//! The gentle way is [`Pool::ask_for_backtraces`](crate::pool::Pool::ask_for_backtraces): the main
//! Ruby thread asks Ruby. It works as long as that thread can take the GVL, so for threads that wait
//! for each other and for endless loops in Ruby. For C code that keeps the GVL there is
//! [`last_resort`].

pub mod last_resort;

use std::fmt::Write;

use magnus::{Error, RArray, Ruby, Value, value::ReprValue};

use crate::exception::{self, Exception, Kind};

/// Most frames told of one thread, the innermost.
pub const FRAMES_MAX: usize = 100;

/// About the most bytes told of all threads together.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Where every living Ruby thread of this process is, told by the thread that asks.
///
/// # Errors
///
/// What Ruby raised, or delivered to this thread meanwhile.
pub fn of_this_process(ruby: &Ruby) -> Result<String, Exception> {
    of_all_threads(ruby, |_| None).map_err(|error| Exception::read(ruby, &error))
}

/// Name, state and frames of every living Ruby thread. `seat_of` tells a thread of the pool by its
/// seat.
///
/// # Errors
///
/// What Ruby delivered to this thread meanwhile.
pub(crate) fn of_all_threads(
    ruby: &Ruby,
    seat_of: impl Fn(Value) -> Option<usize>,
) -> Result<String, Error> {
    let threads: RArray = ruby.class_thread().funcall("list", ())?;
    let mut text = format!("{} Ruby threads\n", threads.len());
    for number in 0..threads.len() {
        if text.len() > TEXT_BYTES_MAX {
            text.push_str("[cut]\n");
            break;
        }
        let thread: Value = threads.entry(isize::try_from(number).unwrap_or(isize::MAX))?;
        describe(ruby, thread, seat_of(thread), &mut text)?;
    }
    Ok(text)
}

fn describe(
    ruby: &Ruby,
    thread: Value,
    seat: Option<usize>,
    text: &mut String,
) -> Result<(), Error> {
    let name = match read(ruby, thread, "name")? {
        Some(name) => Some(name),
        None => read(ruby, thread, "inspect")?,
    };
    let name = name.unwrap_or_else(|| "a thread without a name".to_owned());
    let status = read(ruby, thread, "status")?.unwrap_or_else(|| "dead".to_owned());
    let seat = seat.map(|seat| format!(", seat {seat} of the pool")).unwrap_or_default();
    // Writing to a `String` does not fail.
    let _ = writeln!(text, "{name}{seat}, {status}:");
    let frames = ask(ruby, thread.funcall("backtrace", (0, FRAMES_MAX)))?;
    // `nil` of a thread that has ended just now.
    let Some(frames) = frames.and_then(RArray::from_value) else {
        text.push_str("  (no backtrace)\n");
        return Ok(());
    };
    for number in 0..frames.len() {
        let frame: Value = frames.entry(isize::try_from(number).unwrap_or(isize::MAX))?;
        let frame = exception::text(frame);
        let _ = writeln!(text, "  {}", frame.as_deref().unwrap_or("(a frame without a text)"));
    }
    Ok(())
}

/// The string that `method` returns, if it does. The application may have its own subclass.
fn read(ruby: &Ruby, thread: Value, method: &str) -> Result<Option<String>, Error> {
    Ok(ask(ruby, thread.funcall(method, ()))?.and_then(exception::text))
}

/// Lets what concerns this thread pass, and takes any other exception for no answer.
fn ask(ruby: &Ruby, answer: Result<Value, Error>) -> Result<Option<Value>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) => match Exception::read(ruby, &error).kind {
            Kind::Raise | Kind::Throw => Ok(None),
            Kind::Exit(_) | Kind::Signal(_) | Kind::Kill => Err(error),
        },
    }
}
