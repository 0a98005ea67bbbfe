//! The `rackrs` binary: flags to a command, a command to an exit status.

use std::{
    env,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, raise},
    unistd::Pid,
};
use rackrs::{
    cli::{self, Command},
    config::{Config, Environment},
    master::{self, Ending, Invocation},
    mold, telemetry,
    wire::{self, Failure},
};
use rackrs_sys::{
    daemon::{self, Daemon, DaemonError, ReadyNotifier, Verdict},
    fork::SingleThreaded,
    signals, streams,
};

/// sysexits(3): used in a way that it is not meant to be.
const EX_USAGE: u8 = 64;
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
    match env::args_os().nth(1) {
        Some(first) if first == wire::MOLD_ARGUMENT => return mold::main().into(),
        Some(first) if first == master::PROOF_ARGUMENT => return prove().into(),
        _ => {}
    }
    let environment = Environment::of_process();
    let invocation = invocation(&environment);
    let parsed = cli::parse(env::args_os(), &environment);
    if let Some(record) = master::left_to_us() {
        let resolved = parsed.map_err(|error| failure(&error, error.exit_code()));
        return end(master::resume(resolved.and_then(settled), &invocation, record));
    }
    match parsed {
        Ok(command) => run(command, &invocation),
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn invocation(environment: &Environment) -> Invocation {
    Invocation {
        arguments: env::args_os().collect(),
        directory: environment.working_directory.clone().unwrap_or_else(|| "/".into()),
        launched_as: Pid::this(),
    }
}

/// Shows to a master that this program could take over from it.
fn prove() -> u8 {
    let program = env::args_os().next().unwrap_or_else(|| "rackrs".into());
    let arguments = std::iter::once(program).chain(env::args_os().skip(2));
    let parsed = cli::parse(arguments, &Environment::of_process());
    let resolved = parsed.map_err(|error| failure(&error, error.exit_code())).and_then(settled);
    master::prove(resolved.map(drop))
}

/// What the program before served by, it may want to do otherwise now.
fn settled(command: Command) -> Result<Config, Failure> {
    let refused = |reason: String| Failure { reason, status: EX_USAGE };
    match command {
        Command::Serve(resolved) => {
            enter(&resolved.config.directory)?;
            warn(&resolved.warnings);
            Ok(resolved.config)
        }
        Command::Check(_) | Command::Print(_) | Command::ShowConfig { .. } => {
            Err(refused("the command line is not one that serves".to_owned()))
        }
    }
}

fn failure(error: &dyn std::error::Error, status: u8) -> Failure {
    Failure { reason: telemetry::chain(error), status }
}

fn run(command: Command, invocation: &Invocation) -> ExitCode {
    match command {
        // A closed pipe (`rackrs --help | head -1`) is no failure.
        Command::Print(text) => drop(io::stdout().write_all(text.as_bytes())),
        Command::ShowConfig { text, warnings } => {
            warn(&warnings);
            drop(io::stdout().write_all(text.as_bytes()));
        }
        Command::Check(resolved) => {
            warn(&resolved.warnings);
            return match enter(&resolved.config.directory) {
                Ok(()) => end(master::check(resolved.config, invocation)),
                Err(failure) => give_up(&failure),
            };
        }
        Command::Serve(resolved) => {
            warn(&resolved.warnings);
            return serve(resolved.config, invocation);
        }
    }
    ExitCode::SUCCESS
}

fn serve(config: Config, invocation: &Invocation) -> ExitCode {
    if let Err(failure) = enter(&config.directory) {
        return give_up(&failure);
    }
    if !config.daemon {
        return end(master::serve(config, invocation, None));
    }
    match detach() {
        Ok(Detached::Daemon(notifier)) => end(master::serve(config, invocation, Some(notifier))),
        Ok(Detached::Launcher(status)) => status,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// Goes to the application's directory.
fn enter(directory: &Path) -> Result<(), Failure> {
    env::set_current_dir(directory).map_err(|error| Failure {
        reason: format!("cannot enter {}: {error}; check --dir", directory.display()),
        status: EX_NOINPUT,
    })
}

fn give_up(failure: &Failure) -> ExitCode {
    telemetry::events::complain(&failure.reason);
    ExitCode::from(failure.status)
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
