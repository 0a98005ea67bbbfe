//! The `rackrs` binary: flags to a command, a command to an exit status.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, raise},
};
use rackrs::{
    cli::{self, Command},
    config::{Config, Environment},
    master::{self, Ending},
    mold, telemetry, wire,
};
use rackrs_sys::{
    daemon::{self, Daemon, DaemonError, ReadyNotifier, Verdict},
    fork::SingleThreaded,
    signals, streams,
};

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;
/// sysexits(3): something that is to be read is not there.
const EX_NOINPUT: u8 = 66;

fn main() -> ExitCode {
    // A supervisor may start us with closed streams; a socket must never become descriptor 2.
    if let Err(error) = streams::ensure_open() {
        return fail(&error, EX_OSERR);
    }
    telemetry::diagnostics::install();
    let program = env::args_os().next().unwrap_or_else(|| "rackrs".into());
    if env::args_os().nth(1).is_some_and(|first| first == wire::MOLD_ARGUMENT) {
        return mold::main().into();
    }
    match cli::parse(env::args_os(), &Environment::of_process()) {
        Ok(command) => run(command, program),
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn run(command: Command, program: OsString) -> ExitCode {
    match command {
        // A closed pipe (`rackrs --help | head -1`) is no failure.
        Command::Print(text) => drop(io::stdout().write_all(text.as_bytes())),
        Command::ShowConfig { text, warnings } => {
            warn(&warnings);
            drop(io::stdout().write_all(text.as_bytes()));
        }
        Command::Check(resolved) => {
            warn(&resolved.warnings);
            return enter(&resolved.config.directory)
                .unwrap_or_else(|| end(master::check(&resolved.config, program)));
        }
        Command::Serve(resolved) => {
            warn(&resolved.warnings);
            return serve(&resolved.config, program);
        }
    }
    ExitCode::SUCCESS
}

fn serve(config: &Config, program: OsString) -> ExitCode {
    if let Some(status) = enter(&config.directory) {
        return status;
    }
    if !config.daemon {
        return end(master::serve(config, program, None));
    }
    match detach() {
        Ok(Detached::Daemon(notifier)) => end(master::serve(config, program, Some(notifier))),
        Ok(Detached::Launcher(status)) => status,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// Goes to the application's directory; the exit status when it cannot be entered.
fn enter(directory: &Path) -> Option<ExitCode> {
    env::set_current_dir(directory).err().map(|error| {
        telemetry::events::complain(&format!(
            "cannot enter {}: {error}; check --dir",
            directory.display()
        ));
        ExitCode::from(EX_NOINPUT)
    })
}

/// Which side of the daemon's fork this is.
enum Detached {
    Daemon(ReadyNotifier),
    /// The launcher's exit status, once the daemon serves or has failed.
    Launcher(ExitCode),
}

fn detach() -> Result<Detached, DaemonError> {
    let proof = SingleThreaded::prove().map_err(|error| {
        DaemonError::Fork(Errno::from_raw(error.raw_os_error().unwrap_or_default()))
    })?;
    match daemon::daemonize(&proof)? {
        Daemon::Daemon(notifier) => Ok(Detached::Daemon(notifier)),
        Daemon::Launcher(waiter) => Ok(Detached::Launcher(match waiter.wait() {
            Verdict::Ready => ExitCode::SUCCESS,
            Verdict::Failed { status, message } => {
                telemetry::events::complain(&message);
                ExitCode::from(status)
            }
            Verdict::Died => {
                telemetry::events::complain(
                    "cannot start: the daemon ended without a word; look above for its output, \
                     or run it without -d",
                );
                ExitCode::FAILURE
            }
        })),
    }
}

fn end(ending: Ending) -> ExitCode {
    match ending {
        Ending::Status(status) => ExitCode::from(status),
        Ending::ByTerm => {
            // Where whoever started us has blocked the signal, the status says the same.
            let _ = signals::set_default(Signal::SIGTERM).and_then(|()| raise(Signal::SIGTERM));
            ExitCode::from(128 + 15)
        }
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        telemetry::events::complain(warning);
    }
}

fn fail(error: &dyn std::error::Error, status: u8) -> ExitCode {
    telemetry::events::complain(&telemetry::chain(error));
    ExitCode::from(status)
}
