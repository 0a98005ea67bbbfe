//! Signals, by Ruby's own `Signal.trap`, so that the application sees and may replace what we set.
//!
//! No code of ours runs in a signal handler (but for [`last_resort`](crate::backtraces::last_resort),
//! in a process that is about to be killed): Ruby notes the signal and calls back on its main
//! thread when that next looks up, so a callback may use Ruby.

use magnus::{Error, IntoValue, Module, RModule, Ruby, TryConvert, Value, value::ReprValue};
use nix::sys::signal::Signal;

use crate::{exception::Exception, fork};

/// Ruby refuses to trap `signal`: it is one that it, or the kernel, keeps.
#[derive(Debug, thiserror::Error)]
#[error("cannot trap {signal}; choose another signal")]
pub struct TrapError {
    /// The signal.
    pub signal: Signal,
    /// What Ruby raised.
    #[source]
    pub source: Exception,
}

/// Calls `callback` on the main Ruby thread each time `signal` has arrived. Arrivals before the
/// thread looks up count as one. A previous trap is replaced.
///
/// In a process that the application has forked the signal does what it does by default: there it
/// means that process, and nobody else would end it.
///
/// # Errors
///
/// [`TrapError`] when Ruby refuses.
pub fn trap<F>(ruby: &Ruby, signal: Signal, mut callback: F) -> Result<(), TrapError>
where
    F: FnMut(&Ruby) + Send + 'static,
{
    let block = ruby.proc_from_fn(move |ruby, _signal_number, _block| {
        if fork::is_stranger() {
            return act_by_default(ruby, signal);
        }
        callback(ruby);
        Ok(())
    });
    set(ruby, signal, block).map(drop)
}

/// Lets `signal` do nothing in this process; programs that it starts have the default action.
///
/// # Errors
///
/// [`TrapError`] when Ruby refuses.
pub fn disregard(ruby: &Ruby, signal: Signal) -> Result<(), TrapError> {
    trap(ruby, signal, |_| {})
}

/// As [`disregard`], but leaves a trap that the application has set.
///
/// # Errors
///
/// [`TrapError`] when Ruby refuses.
pub fn disregard_unless_trapped(ruby: &Ruby, signal: Signal) -> Result<(), TrapError> {
    let untrapped = ["DEFAULT", "SYSTEM_DEFAULT"];
    let previous = set(ruby, signal, "DEFAULT")?;
    let is_trapped = match String::try_convert(previous) {
        Ok(command) => !untrapped.contains(&command.as_str()),
        // A Proc; `nil` is what was set outside of Ruby.
        Err(_) => !previous.is_nil(),
    };
    if is_trapped { set(ruby, signal, previous).map(drop) } else { disregard(ruby, signal) }
}

/// Ignores `signal`, in this process and in the programs that it starts.
///
/// # Errors
///
/// [`TrapError`] when Ruby refuses.
pub fn ignore(ruby: &Ruby, signal: Signal) -> Result<(), TrapError> {
    set(ruby, signal, "IGNORE").map(drop)
}

/// Lets `signal` do what it does in a Ruby program that traps nothing.
///
/// # Errors
///
/// [`TrapError`] when Ruby refuses.
pub fn default(ruby: &Ruby, signal: Signal) -> Result<(), TrapError> {
    set(ruby, signal, "DEFAULT").map(drop)
}

/// # Errors
///
/// The exception that the signal is in a Ruby program.
fn act_by_default(ruby: &Ruby, signal: Signal) -> Result<(), Error> {
    trap_of(ruby, signal, "DEFAULT")?;
    let process = ruby.module_process();
    let own: i32 = process.funcall("pid", ())?;
    process.funcall::<_, _, Value>("kill", (signal.as_str(), own)).map(drop)
}

/// Sets the trap and returns what was set before.
fn set(ruby: &Ruby, signal: Signal, command: impl IntoValue) -> Result<Value, TrapError> {
    trap_of(ruby, signal, command)
        .map_err(|error| TrapError { signal, source: Exception::read(ruby, &error) })
}

fn trap_of(ruby: &Ruby, signal: Signal, command: impl IntoValue) -> Result<Value, Error> {
    let module: RModule = ruby.class_object().const_get("Signal")?;
    module.funcall("trap", (signal.as_str(), command))
}
