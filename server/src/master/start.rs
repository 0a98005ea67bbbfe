//! From a configuration to a running master, and from its end to an exit status.

use std::{ffi::OsString, io, mem};

use rackrs_sys::{
    daemon::ReadyNotifier,
    limits,
    pid_file::{Claim, PidFile, PidFileError},
    process,
    streams::{self, Existing, Stream, StreamError},
};
use tokio::task::LocalSet;

use super::{
    command::{self, Commands, StopEnding},
    fleet::Outcome,
    listeners::{ListenError, Listeners},
    run::{Announce, Announced, LoopEnd, Master, Start},
};
use crate::{
    config::Config,
    telemetry::{self, chain, events::Events},
    wire::Failure,
};

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;
/// sysexits(3): a failure that may pass.
const EX_TEMPFAIL: u8 = 75;

/// What the launcher of a daemon is told when a signal ended the daemon's boot.
const STOPPED_TOO_EARLY: &str = "cannot start: it was told to stop before it served";

/// How the master ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this status.
    Status(u8),
    /// Gracefully, after TERM: the process should end by that signal, as Puma's does.
    ByTerm,
}

/// Why a master did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another master, or a path that cannot be a pid file.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// An address that cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A log file that cannot be opened.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// No signal handlers, no runtime.
    #[error("cannot prepare the master process")]
    Prepare(#[source] io::Error),
    /// The application, or a worker, said why.
    #[error("{}", .0.reason)]
    Failed(Failure),
}

impl StartError {
    /// The exit status that fits: sysexits(3), or what the application asked for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PidFile(error) => error.exit_code(),
            Self::Listen(error) => error.exit_code(),
            Self::Stream(error) => error.exit_code(),
            Self::Prepare(_) => EX_OSERR,
            Self::Failed(failure) => failure.status,
        }
    }
}

/// Serves until told to stop. `notifier` tells the launcher of a daemon how the start went.
#[must_use]
pub fn serve(config: &Config, program: OsString, notifier: Option<ReadyNotifier>) -> Ending {
    let events = Events::new(config);
    let mut notifier = notifier;
    match start(config, program, &events, &mut notifier) {
        Ok(ending) => {
            events.goodbye();
            if let Some(notifier) = notifier {
                // The launcher that was killed meanwhile waits for nothing.
                let _ = notifier.failed(EX_TEMPFAIL, STOPPED_TOO_EARLY);
            }
            match ending {
                StopEnding::Success => Ending::Status(0),
                StopEnding::ByTerm => Ending::ByTerm,
            }
        }
        Err(error) => {
            let status = error.exit_code();
            match notifier {
                // The launcher that was killed meanwhile waits for nothing.
                Some(notifier) => drop(notifier.failed(status, &chain(&error))),
                None => telemetry::events::complain(&chain(&error)),
            }
            Ending::Status(status)
        }
    }
}

fn start(
    config: &Config,
    program: OsString,
    events: &Events,
    notifier: &mut Option<ReadyNotifier>,
) -> Result<StopEnding, StartError> {
    command::hold_signals().map_err(StartError::Prepare)?;
    // Before the logs are touched: a second start must not empty those of the running master.
    let claim = PidFile::claim(&config.pid_file)?;
    redirect(config)?;
    events.starting(config);
    if let Err(error) = limits::raise_open_files() {
        // The limit that there is holds fewer connections; that is no reason not to serve.
        events.error(&error);
    }
    let listeners = Listeners::open(config)?;
    for address in listeners.addresses() {
        events.listening(address);
    }
    let pid_file = PidFileStage::Claimed(claim);
    let announcement = Announcement { config, events, pid_file, notifier };
    let start = Start { program, workers: config.workers.max(1) };
    let end = run(config, listeners, events, announcement, start)?;
    match end.outcome {
        Outcome::Stopped => Ok(end.ending),
        Outcome::FailedToStart(failure) => Err(StartError::Failed(failure)),
    }
}

/// Does everything short of serving: loads the application without opening a listener.
#[must_use]
pub fn check(config: &Config, program: OsString) -> Ending {
    let events = Events::new(config);
    let mut loaded = false;
    let start = Start { program, workers: 0 };
    let error = match run(config, Listeners::none(), &events, Check { loaded: &mut loaded }, start)
    {
        Ok(LoopEnd { outcome: Outcome::Stopped, .. }) if loaded => {
            events.checked();
            return Ending::Status(0);
        }
        Ok(LoopEnd { outcome: Outcome::Stopped, .. }) => {
            StartError::Failed(Failure { reason: "the check was stopped".into(), status: 1 })
        }
        Ok(LoopEnd { outcome: Outcome::FailedToStart(failure), .. }) => StartError::Failed(failure),
        Err(error) => error,
    };
    telemetry::events::complain(&chain(&error));
    Ending::Status(error.exit_code())
}

/// Runs the master's loop in a runtime of its own, which has one thread: this one.
fn run<A: Announce>(
    config: &Config,
    listeners: Listeners,
    events: &Events,
    announce: A,
    start: Start,
) -> Result<LoopEnd, StartError> {
    process::become_subreaper().map_err(|errno| StartError::Prepare(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Prepare)?;
    LocalSet::new().block_on(&runtime, async {
        let commands = Commands::listen(config).map_err(StartError::Prepare)?;
        Ok(Master::new(config, listeners, events, announce, start).run(commands).await)
    })
}

fn redirect(config: &Config) -> Result<(), StreamError> {
    let existing = if config.redirect.append { Existing::Append } else { Existing::Truncate };
    if let Some(path) = &config.redirect.stdout {
        streams::redirect(Stream::Output, path, existing)?;
    }
    if let Some(path) = &config.redirect.stderr {
        streams::redirect(Stream::Error, path, existing)?;
    }
    Ok(())
}

/// The pid file on its way.
enum PidFileStage {
    /// Nobody else has it; it is not written.
    Claimed(Claim),
    /// It names this master.
    Written(PidFile),
    /// It could not be written, or has been taken away.
    None,
}

/// Says to the world that all workers serve; dropped at the end, it takes the pid file away.
struct Announcement<'a> {
    config: &'a Config,
    events: &'a Events,
    pid_file: PidFileStage,
    notifier: &'a mut Option<ReadyNotifier>,
}

impl Announce for Announcement<'_> {
    fn serving(&mut self) -> Announced {
        if let PidFileStage::Claimed(claim) = mem::replace(&mut self.pid_file, PidFileStage::None) {
            match claim.write(nix::unistd::getpid()) {
                Ok(pid_file) => self.pid_file = PidFileStage::Written(pid_file),
                Err(error) => {
                    let status = error.exit_code();
                    return Announced::Refuse(Failure { reason: chain(&error), status });
                }
            }
        }
        if let Some(notifier) = self.notifier.take() {
            leave_terminal(self.config);
            // A launcher that was killed meanwhile waits for nothing.
            let _ = notifier.ready();
        } else {
            self.events.serving();
        }
        Announced::GoOn
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        if let PidFileStage::Written(pid_file) =
            mem::replace(&mut self.pid_file, PidFileStage::None)
            && let Err(error) = pid_file.remove()
        {
            self.events.error(&error);
        }
    }
}

/// Lets go of the terminal's streams that were not redirected. The mold does the same.
pub(crate) fn leave_terminal(config: &Config) {
    let mut unneeded = vec![Stream::Input];
    if config.redirect.stdout.is_none() {
        unneeded.push(Stream::Output);
    }
    if config.redirect.stderr.is_none() {
        unneeded.push(Stream::Error);
    }
    for stream in unneeded {
        // Without /dev/null the terminal's stream stays open: nothing is lost.
        let _ = streams::to_null(stream);
    }
}

/// Notes that the application loaded.
struct Check<'a> {
    loaded: &'a mut bool,
}

impl Announce for Check<'_> {
    fn serving(&mut self) -> Announced {
        *self.loaded = true;
        Announced::Stop
    }
}
