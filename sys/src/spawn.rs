//! Starting a program as a child: exactly the arguments, environment and descriptors named.

mod child;
#[cfg(test)]
mod tests;

use std::{
    ffi::{NulError, OsString},
    fs,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::{signal::Signal, wait::waitpid},
    unistd::{self, Pid},
};

use crate::{
    fork::{self, Side},
    image::{self, Image, TextError},
    signals, sysexits,
};

use child::{Failure, Plan, Step};

/// A program to be started.
///
/// The child has default signal actions (only an ignored SIGHUP stays ignored, as nohup(1) and
/// supervisors want it), an empty signal mask, standard streams as ours unless a descriptor is
/// put there, and beyond them only the descriptors passed with [`Spawn::inherit`].
#[derive(Debug)]
pub struct Spawn<'fd> {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    inherited: Vec<(BorrowedFd<'fd>, RawFd)>,
}

/// Why a program could not be started. No child is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A NUL byte cannot be passed to a program.
    #[error("cannot start {program}: {what} has a NUL byte", program = program.display())]
    Nul {
        /// The program.
        program: PathBuf,
        /// Which text it is.
        what: &'static str,
        /// Where the byte is.
        #[source]
        source: NulError,
    },
    /// The name of an environment variable is empty or has a `=`.
    #[error("cannot start {program}: {name:?} cannot name an environment variable", program = program.display())]
    Variable {
        /// The program.
        program: PathBuf,
        /// The name.
        name: OsString,
    },
    /// Two descriptors for one number, or a number below 0.
    #[error("cannot start {program}: descriptor {number} is asked for twice or cannot exist", program = program.display())]
    Descriptor {
        /// The program.
        program: PathBuf,
        /// The number in the child.
        number: RawFd,
    },
    /// Something failed before there was a child.
    #[error("cannot start {program}: {doing} failed", program = program.display())]
    Prepare {
        /// The program.
        program: PathBuf,
        /// The step.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The child could not be set up as asked.
    #[error("cannot start {program}: {doing} failed in the child", program = program.display())]
    SetUp {
        /// The program.
        program: PathBuf,
        /// The step.
        doing: &'static str,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// The working directory could not be entered.
    #[error("cannot start {program} in {directory}; check that the directory exists", program = program.display(), directory = directory.display())]
    Directory {
        /// The program.
        program: PathBuf,
        /// The directory.
        directory: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// `execve(2)` refused the program.
    #[error("cannot execute {program}; check that it exists and may be executed", program = program.display())]
    Execute {
        /// The program.
        program: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
}

impl SpawnError {
    /// The exit status, from sysexits(3): 70 for what only a caller's mistake can cause, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Nul { .. } | Self::Variable { .. } | Self::Descriptor { .. } => {
                sysexits::SOFTWARE
            }
            Self::Prepare { .. } | Self::SetUp { .. } => sysexits::OSERR,
            Self::Directory { .. } | Self::Execute { .. } => sysexits::OSERR,
        }
    }
}

impl<'fd> Spawn<'fd> {
    /// `program` is a path, not searched in `$PATH`; `arguments` start with `argv[0]`. The
    /// environment is empty until [`Spawn::environment`].
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments,
            environment: Vec::new(),
            directory: None,
            inherited: Vec::new(),
        }
    }

    /// The child's whole environment; nothing of ours is added.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.environment = variables;
        self
    }

    /// Where the child starts; without it, where we are.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The child has `descriptor` as `number`, without CLOEXEC. Numbers 0 to 2 replace a standard
    /// stream. Our own descriptor, and its flags, stay as they are.
    #[must_use]
    pub fn inherit(mut self, descriptor: BorrowedFd<'fd>, number: RawFd) -> Self {
        self.inherited.push((descriptor, number));
        self
    }

    /// Starts the program and returns once it executes.
    ///
    /// May be called with threads about: the child allocates nothing before it executes. The
    /// caller reaps the child.
    ///
    /// # Errors
    ///
    /// When anything up to and including `execve(2)` fails; the child is reaped then.
    pub fn spawn(&self) -> Result<Pid, SpawnError> {
        let (report, child_end) =
            unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| self.prepare("pipe", errno))?;
        let plan = self.plan(child_end.as_fd())?;
        drop(child_end);
        // SAFETY: in the child `Plan::run` makes only system calls on memory prepared here, and
        // ends in execve or `_exit`; so the fork is sound whatever other threads hold.
        match unsafe { fork::fork_masked() }.map_err(|errno| self.prepare("fork", errno))? {
            Side::Child { .. } => plan.run(),
            Side::Parent { child } => {
                // The pipe must have no writer but the child, or its end is never seen.
                drop(plan);
                self.outcome(child, report)
            }
        }
    }

    /// Waits until the child executes (the pipe closes) or says what failed.
    fn outcome(&self, child: Pid, report: OwnedFd) -> Result<Pid, SpawnError> {
        let mut message = Vec::with_capacity(Failure::BYTES);
        fs::File::from(report)
            .read_to_end(&mut message)
            .map_err(|error| self.prepare("reading the child's report", error))?;
        let Some(failure) = Failure::decode(&message) else { return Ok(child) };
        // Its end is certain and near; an error only means that somebody else has reaped it.
        while waitpid(child, None) == Err(Errno::EINTR) {}
        Err(self.failed(failure))
    }

    fn failed(&self, Failure { step, errno: source }: Failure) -> SpawnError {
        let program = self.program.clone();
        match step {
            Step::Signals => SpawnError::SetUp { program, doing: "resetting signals", source },
            Step::Descriptors => {
                SpawnError::SetUp { program, doing: "passing descriptors", source }
            }
            Step::Directory => {
                let directory = self.directory.clone().unwrap_or_default();
                SpawnError::Directory { program, directory, source }
            }
            Step::Execute => SpawnError::Execute { program, source },
        }
    }

    fn plan(&self, child_end: BorrowedFd<'_>) -> Result<Plan, SpawnError> {
        let above = self.first_free_number()?;
        let moved = |descriptor: BorrowedFd<'_>| {
            duplicate(descriptor, above)
                .map_err(|errno| self.prepare("duplicating a descriptor", errno))
        };
        let mut sources = Vec::with_capacity(self.inherited.len());
        for &(descriptor, number) in &self.inherited {
            sources.push((moved(descriptor)?, number));
        }
        let report = moved(child_end)?;
        let hangup = signals::disposition(Signal::SIGHUP)
            .map_err(|errno| self.prepare("asking about SIGHUP", errno))?;
        let directory = self.directory.clone();
        let directory =
            directory.map(|path| image::text("the working directory", path.into())).transpose();
        let image = Image::new(&self.program, &self.arguments, &self.environment);
        Ok(Plan {
            image: image.map_err(|error| self.text(error))?,
            directory: directory.map_err(|error| self.text(error))?,
            sources,
            unlisted: inheritable()
                .map_err(|error| self.prepare("reading /proc/self/fd", error))?,
            hangup,
            report,
        })
    }

    /// Above every number asked for, so that placing one never overwrites another's source.
    fn first_free_number(&self) -> Result<RawFd, SpawnError> {
        let mut numbers: Vec<RawFd> = self.inherited.iter().map(|&(_, number)| number).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        let bad = |&number: &RawFd| number < 0 || number == RawFd::MAX;
        match twice.or_else(|| numbers.iter().copied().find(|number| bad(number))) {
            Some(number) => Err(SpawnError::Descriptor { program: self.program.clone(), number }),
            None => Ok(numbers.last().copied().unwrap_or(2).max(2) + 1),
        }
    }

    fn text(&self, error: TextError) -> SpawnError {
        let program = self.program.clone();
        match error {
            TextError::Nul { what, source } => SpawnError::Nul { program, what, source },
            TextError::Variable { name } => SpawnError::Variable { program, name },
        }
    }

    fn prepare(&self, doing: &'static str, source: impl Into<io::Error>) -> SpawnError {
        SpawnError::Prepare { program: self.program.clone(), doing, source: source.into() }
    }
}

fn duplicate(descriptor: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    let raw = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Descriptors beyond the standard streams that would survive an exec: what our own parent left
/// open for us. Everything that we open is CLOEXEC.
fn inheritable() -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let number: RawFd = number.ok_or(io::ErrorKind::InvalidData)?;
        // SAFETY: only the flags are asked for; a number that was closed meanwhile is an error.
        let flags = unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) };
        if number > 2 && flags >= 0 && !FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
        {
            numbers.push(number);
        }
    }
    Ok(numbers)
}
