//! From a configuration to a running master, and from its end to an exit status.

use std::{env, io, ops::ControlFlow, rc::Rc};

use rackrs_sys::{
    activation,
    daemon::ReadyNotifier,
    limits,
    pid_file::{PidFile, PidFileError},
    process,
    streams::{Existing, StreamError},
};
use tokio::task::LocalSet;

use super::{
    announcement::{Announcement, Check, PidFileStage, write_again},
    command::{self, Commands, StopEnding},
    fleet::Outcome,
    handover::TakeOverError,
    listeners::{ListenError, Listeners},
    logs::{redirect, reopen_logs},
    predecessor,
    program::{Invocation, PASSED_SOCKETS},
    run::{LoopEnd, Master},
    site::Site,
    take_over::{self, Inheritance},
};
use crate::{
    config::Config,
    control::{ControlError, ControlServer},
    telemetry::{self, chain, events::Events},
    wire::Failure,
};

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;
/// sysexits(3): a bug of ours.
const EX_SOFTWARE: u8 = 70;
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
    /// The control socket cannot be had.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What the program before has left cannot be taken over.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// No memory to share with workers.
    #[error("cannot make the memory that the master shares with its workers")]
    Shared(#[from] rackrs_sys::shared_words::SharedError),
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
            Self::Control(error) => error.exit_code(),
            Self::TakeOver(_) => EX_SOFTWARE,
            Self::Shared(error) => error.exit_code(),
            Self::Prepare(_) => EX_OSERR,
            Self::Failed(failure) => failure.status,
        }
    }
}

/// Serves until told to stop. `notifier` tells the launcher of a daemon how the start went.
#[must_use]
pub fn serve(config: Config, invocation: &Invocation, notifier: Option<ReadyNotifier>) -> Ending {
    let config = Rc::new(config);
    let events = Events::new(&config);
    let mut notifier = notifier;
    let end = start(&config, invocation, &events, &mut notifier);
    conclude(end, &events, notifier)
}

/// Goes on, as another program, with what the one before has left at descriptor `record`. `resolved`
/// is what came of the flags and the environment; whatever it is, the old code is served on.
#[must_use]
pub fn resume(resolved: Result<Config, Failure>, invocation: &Invocation, record: i32) -> Ending {
    let inheritance = match command::hold_signals()
        .map_err(StartError::Prepare)
        .and_then(|()| Ok(Inheritance::read(record)?))
    {
        Ok(inheritance) => inheritance,
        Err(error) => {
            telemetry::events::complain(&chain(&error));
            return Ending::Status(error.exit_code());
        }
    };
    let events = Events::new(inheritance.config());
    let mut nobody = None;
    let end = go_on(inheritance, resolved, invocation, &events, &mut nobody);
    conclude(end, &events, nobody)
}

fn conclude(
    end: Result<StopEnding, StartError>,
    events: &Events,
    notifier: Option<ReadyNotifier>,
) -> Ending {
    match end {
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
    config: &Rc<Config>,
    invocation: &Invocation,
    events: &Events,
    notifier: &mut Option<ReadyNotifier>,
) -> Result<StopEnding, StartError> {
    command::hold_signals().map_err(StartError::Prepare)?;
    // Before the logs are touched: a second start must not empty those of the running master.
    let claim = PidFile::claim(&config.pid_file)?;
    let existing = if config.redirect.append { Existing::Append } else { Existing::Truncate };
    redirect(config, existing)?;
    events.starting(config);
    if let Err(error) = limits::raise_open_files() {
        // The limit that there is holds fewer connections; that is no reason not to serve.
        events.error(&error);
    }
    let [count, pid, names] = PASSED_SOCKETS.map(env::var_os);
    let passed = activation::passed(
        invocation.launched_as,
        pid.as_deref(),
        count.as_deref(),
        names.as_deref(),
    )
    .map_err(ListenError::from)?;
    let mut listeners = Listeners::activated(config, passed)?;
    predecessor::open_after(&claim, &mut listeners, config, events)?;
    for (address, is_passed) in listeners.addresses() {
        if is_passed { events.activated(address) } else { events.listening(address) }
    }
    let control = ControlServer::open(&config.control)?;
    let pid_file = PidFileStage::Claimed(claim);
    let announcement =
        Announcement { config: Rc::clone(config), events, pid_file, notifier, state_file: None };
    let end = run(async {
        let commands = Commands::listen(config).map_err(StartError::Prepare)?;
        let mut site = Site::new(config, listeners, config.workers.max(1))?;
        site.control = Some(control);
        Ok(Master::new(site, invocation, events, announcement, commands).run().await)
    })?;
    match end.outcome {
        Outcome::Stopped => Ok(end.ending),
        Outcome::FailedToStart(failure) => Err(StartError::Failed(failure)),
    }
}

fn go_on(
    inheritance: Inheritance,
    resolved: Result<Config, Failure>,
    invocation: &Invocation,
    events: &Events,
    notifier: &mut Option<ReadyNotifier>,
) -> Result<StopEnding, StartError> {
    let old = Rc::clone(inheritance.config());
    let resolved = resolved.and_then(with_its_logs).map(Rc::new);
    let end = run(async {
        let mut commands =
            Commands::listen(resolved.as_deref().unwrap_or(&old)).map_err(StartError::Prepare)?;
        let take_over::Estate { site, pid_file, pending } = inheritance.enter()?;
        commands.put_back(pending);
        let pid_file = match pid_file {
            Some(Ok(pid_file)) => PidFileStage::Written(pid_file),
            Some(Err(error)) => {
                events.error(&error);
                write_again(&old.pid_file, events)
            }
            None => PidFileStage::None,
        };
        let state_file = old.state_file.clone();
        let announcement = Announcement { config: old, events, pid_file, notifier, state_file };
        let mut master = Master::new(site, invocation, events, announcement, commands);
        if let ControlFlow::Break(outcome) = master.take_over(resolved) {
            return Ok(LoopEnd { outcome, ending: StopEnding::Success });
        }
        Ok(master.run().await)
    })?;
    match end.outcome {
        Outcome::Stopped => Ok(end.ending),
        Outcome::FailedToStart(failure) => Err(StartError::Failed(failure)),
    }
}

/// The same name may mean another file now, behind a link that a deploy has switched.
fn with_its_logs(config: Config) -> Result<Config, Failure> {
    match reopen_logs(&config) {
        Ok(()) => Ok(config),
        Err(error) => Err(Failure { reason: chain(&error), status: error.exit_code() }),
    }
}

/// Does everything short of serving: loads the application without opening a listener.
#[must_use]
pub fn check(config: Config, invocation: &Invocation) -> Ending {
    let config = Rc::new(config);
    let events = Events::new(&config);
    let mut loaded = false;
    let announce = Check { loaded: &mut loaded };
    let end = run(async {
        let commands = Commands::listen(&config).map_err(StartError::Prepare)?;
        let site = Site::new(&config, Listeners::default(), 0)?;
        Ok(Master::new(site, invocation, &events, announce, commands).run().await)
    });
    let error = match end {
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
fn run(master: impl Future<Output = Result<LoopEnd, StartError>>) -> Result<LoopEnd, StartError> {
    process::become_subreaper().map_err(|errno| StartError::Prepare(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Prepare)?;
    LocalSet::new().block_on(&runtime, master)
}
