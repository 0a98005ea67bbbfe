//! Signals that would by default stop or end a mold or worker, and must not: what is meant for the
//! master reaches its children too, by `pkill` or from a terminal.

use nix::sys::signal::Signal;
use rackrs_ruby::{
    Ruby, backtraces,
    signals::{self, TrapError},
};

use crate::telemetry::events;

/// From before the application is loaded; workers inherit it.
///
/// TTIN and TTOU are ignored, not trapped: a read from a terminal in whose background we are would
/// else be tried for ever, and each time tell the master to start one more worker.
pub(super) fn take(ruby: &Ruby) -> Result<(), TrapError> {
    signals::disregard(ruby, Signal::SIGINT)?;
    for signal in [Signal::SIGTTIN, Signal::SIGTTOU] {
        signals::ignore(ruby, signal)?;
    }
    signals::trap(ruby, Signal::SIGPWR, tell_threads)
}

/// As Puma's workers do at PWR.
fn tell_threads(ruby: &Ruby) {
    let pid = std::process::id();
    match backtraces::of_this_process(ruby) {
        Ok(text) => events::complain(&format!("process {pid} has {}", text.trim_end())),
        Err(exception) => events::complain(&format!(
            "cannot tell where the threads of process {pid} are: {}",
            exception.full_message
        )),
    }
}
