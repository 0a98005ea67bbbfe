//! Becoming another program in the same process, with the descriptors that are named.

#[cfg(test)]
mod tests;

use std::{
    ffi::{CString, NulError, OsString},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::stat::Mode,
    unistd::{chdir, fchdir},
};

use crate::{
    image::{self, Image, TextError},
    sysexits,
};

/// A program that this process becomes.
///
/// The pid, the parent, the children, the limits and the umask stay, and so does what a new
/// program inherits: ignored signals stay ignored, handlers become the default action, the
/// signal mask is left alone and blocked signals that wait keep waiting. A signal that must not
/// be lost is blocked over the call and unblocked by the new program.
///
/// Descriptors without CLOEXEC that nobody named are left open. None of them is ours: our own
/// parent left them, for example the lock of `flock --no-fork`, which must hold as long as the
/// process lives.
#[derive(Debug)]
pub struct Exec<'fd> {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    kept: Vec<BorrowedFd<'fd>>,
}

/// Why this process did not become the program. It goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// A NUL byte cannot be passed to a program.
    #[error("cannot become {program}: {what} has a NUL byte", program = program.display())]
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
    #[error("cannot become {program}: {name:?} cannot name an environment variable", program = program.display())]
    Variable {
        /// The program.
        program: PathBuf,
        /// The name.
        name: OsString,
    },
    /// A descriptor's flags cannot be read or changed.
    #[error("cannot become {program}: descriptor {number} cannot be kept open", program = program.display())]
    Descriptor {
        /// The program.
        program: PathBuf,
        /// The descriptor.
        number: RawFd,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// There would be no way back to where we are, should the program not execute.
    #[error("cannot become {program}: the present directory cannot be opened", program = program.display())]
    Present {
        /// The program.
        program: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// The working directory could not be entered.
    #[error("cannot become {program} in {directory}; check that the directory exists", program = program.display(), directory = directory.display())]
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

impl ExecError {
    /// The exit status, from sysexits(3): 70 for what only a caller's mistake can cause, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Nul { .. } | Self::Variable { .. } => sysexits::SOFTWARE,
            Self::Descriptor { .. } | Self::Present { .. } => sysexits::OSERR,
            Self::Directory { .. } | Self::Execute { .. } => sysexits::OSERR,
        }
    }
}

/// Everything that is needed, made before anything is changed.
struct Plan<'fd> {
    image: Image,
    /// The directory to enter, and the way back.
    directory: Option<(CString, OwnedFd)>,
    /// The descriptors to keep, each with the flags it has now.
    kept: Vec<(BorrowedFd<'fd>, FdFlag)>,
}

impl<'fd> Exec<'fd> {
    /// `program` is a path, not searched in `$PATH`; `arguments` start with `argv[0]`. The
    /// environment is empty until [`Exec::environment`].
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments,
            environment: Vec::new(),
            directory: None,
            kept: Vec::new(),
        }
    }

    /// The program's whole environment; nothing of ours is added.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.environment = variables;
        self
    }

    /// Where the program starts; without it, where we are. A relative path of the program is
    /// looked up there.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The program has `descriptor` under its present number; see [`crate::inherited::take`] for
    /// how it takes it over.
    #[must_use]
    pub fn keep(mut self, descriptor: BorrowedFd<'fd>) -> Self {
        self.kept.push(descriptor);
        self
    }

    /// Becomes the program. Comes back only with the reason why not; then the descriptors' flags
    /// and the working directory are as they were.
    ///
    /// Every other thread ends at the moment of success, whatever it was doing, and no destructor
    /// runs. A thread that spawns a program at the same time might pass the kept descriptors on
    /// to it, so the caller should be the only thread.
    #[must_use = "an error that nobody looks at is a restart that never came"]
    pub fn run(&self) -> ExecError {
        match self.plan() {
            Ok(plan) => self.attempt(&plan),
            Err(error) => error,
        }
    }

    fn plan(&self) -> Result<Plan<'fd>, ExecError> {
        let image = Image::new(&self.program, &self.arguments, &self.environment)
            .map_err(|error| self.text(error))?;
        let directory = match &self.directory {
            Some(path) => Some(self.directories(path)?),
            None => None,
        };
        let mut kept = Vec::with_capacity(self.kept.len());
        for &descriptor in &self.kept {
            let flags = fcntl(descriptor, FcntlArg::F_GETFD)
                .map_err(|source| self.descriptor(descriptor, source))?;
            kept.push((descriptor, FdFlag::from_bits_retain(flags)));
        }
        Ok(Plan { image, directory, kept })
    }

    /// Where to go, and where to come back to.
    fn directories(&self, path: &Path) -> Result<(CString, OwnedFd), ExecError> {
        let there = image::text("the working directory", path.into());
        let there = there.map_err(|error| self.text(error))?;
        // O_PATH needs no right to read the directory.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let here = nix::fcntl::open(".", flags, Mode::empty())
            .map_err(|source| ExecError::Present { program: self.program.clone(), source })?;
        Ok((there, here))
    }

    fn attempt(&self, plan: &Plan<'fd>) -> ExecError {
        let error = match self.change(plan) {
            Ok(()) => {
                let source = plan.image.execute();
                ExecError::Execute { program: self.program.clone(), source }
            }
            Err(error) => error,
        };
        for &(descriptor, flags) in &plan.kept {
            fcntl(descriptor, FcntlArg::F_SETFD(flags))
                .expect("an open descriptor takes back flags that it had");
        }
        if let Some((_, here)) = &plan.directory {
            // Refused only if its permissions changed this moment; the first error is the one
            // to tell.
            let _ = fchdir(here);
        }
        error
    }

    fn change(&self, plan: &Plan<'fd>) -> Result<(), ExecError> {
        if let (Some((there, _)), Some(path)) = (&plan.directory, &self.directory) {
            chdir(there.as_c_str()).map_err(|source| ExecError::Directory {
                program: self.program.clone(),
                directory: path.clone(),
                source,
            })?;
        }
        for &(descriptor, flags) in &plan.kept {
            fcntl(descriptor, FcntlArg::F_SETFD(flags - FdFlag::FD_CLOEXEC))
                .map_err(|source| self.descriptor(descriptor, source))?;
        }
        Ok(())
    }

    fn descriptor(&self, descriptor: BorrowedFd<'_>, source: Errno) -> ExecError {
        let number = descriptor.as_raw_fd();
        ExecError::Descriptor { program: self.program.clone(), number, source }
    }

    fn text(&self, error: TextError) -> ExecError {
        let program = self.program.clone();
        match error {
            TextError::Nul { what, source } => ExecError::Nul { program, what, source },
            TextError::Variable { name } => ExecError::Variable { program, name },
        }
    }
}
