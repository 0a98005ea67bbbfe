//! Sockets that a service manager has opened for us: the protocol of `sd_listen_fds(3)`.

#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    sys::socket::{SockType, getsockopt, sockopt},
    unistd::Pid,
};

use crate::{
    inherited::{self, InheritError},
    sysexits,
};

/// Most sockets that are taken.
pub const PASSED_MAX: usize = 64;

/// The first number, `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;

/// What a socket without a name is called, as `sd_listen_fds_with_names(3)` has it.
const NAMELESS: &str = "unknown";

/// A listening stream socket that was passed to us; CLOEXEC.
#[derive(Debug)]
pub struct Passed {
    /// The socket.
    pub fd: OwnedFd,
    /// What the manager calls it (`FileDescriptorName=`); often the name of its socket unit.
    pub name: String,
}

/// Why the sockets were not taken. Those that were taken already are closed again.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// A variable does not have the form that the protocol asks for.
    #[error(
        "cannot take the passed sockets: {variable} is {value:?}; start through the service manager, or unset it"
    )]
    Variable {
        /// Which variable.
        variable: &'static str,
        /// What it is.
        value: OsString,
    },
    /// More than [`PASSED_MAX`].
    #[error("cannot take {count} passed sockets; the limit is {PASSED_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// There are not as many names as sockets.
    #[error("cannot take {count} passed sockets: LISTEN_FDNAMES has {names} names")]
    Names {
        /// How many sockets.
        count: usize,
        /// How many names.
        names: usize,
    },
    /// A descriptor is no socket that listens for streams.
    #[error(
        "cannot serve passed descriptor {number} ({name}): it is {what}; pass listening stream sockets only"
    )]
    NotAListener {
        /// Its number.
        number: RawFd,
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A descriptor cannot be taken over.
    #[error(transparent)]
    Descriptor(#[from] InheritError),
}

impl ActivationError {
    /// The exit status, from sysexits(3): 78, because the service manager's configuration must
    /// change, or what [`InheritError`] says.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Variable { .. } | Self::TooMany { .. } => sysexits::CONFIG,
            Self::Names { .. } | Self::NotAListener { .. } => sysexits::CONFIG,
            Self::Descriptor(error) => error.exit_code(),
        }
    }
}

/// Takes the sockets that were passed to `addressee`, from the values of `LISTEN_PID`,
/// `LISTEN_FDS` and `LISTEN_FDNAMES`. None, when `LISTEN_PID` is absent or another process's.
///
/// The addressee is this process, or the one that it was forked from to be a daemon: it has the
/// descriptors as well then.
///
/// Call it before this process opens or spawns anything, and pass on none of the three variables:
/// after an exec in the same process they would still seem to be meant for us.
///
/// # Errors
///
/// When a variable is garbled, there are too many sockets, or one of them is something else than
/// a listening stream socket; for a start that was meant to serve them, the end.
pub fn passed(
    addressee: Pid,
    pid_variable: Option<&OsStr>,
    count_variable: Option<&OsStr>,
    names_variable: Option<&OsStr>,
) -> Result<Vec<Passed>, ActivationError> {
    let (Some(pid), Some(count)) = (pid_variable, count_variable) else { return Ok(Vec::new()) };
    let pid: i32 = number("LISTEN_PID", pid)?;
    if pid != addressee.as_raw() {
        return Ok(Vec::new());
    }
    let count: usize = number("LISTEN_FDS", count)?;
    if count > PASSED_MAX {
        return Err(ActivationError::TooMany { count });
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    take(FIRST, names(names_variable, count)?)
}

fn number<N: std::str::FromStr>(
    variable: &'static str,
    value: &OsStr,
) -> Result<N, ActivationError> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| ActivationError::Variable { variable, value: value.to_owned() })
}

/// One name for each socket; they are separated by colons and may be empty.
fn names(variable: Option<&OsStr>, count: usize) -> Result<Vec<String>, ActivationError> {
    let Some(value) = variable else { return Ok(vec![NAMELESS.to_owned(); count]) };
    let bad = || ActivationError::Variable { variable: "LISTEN_FDNAMES", value: value.to_owned() };
    let text = value.to_str().ok_or_else(bad)?;
    let names: Vec<String> = text.split(':').map(str::to_owned).collect();
    if names.len() != count {
        return Err(ActivationError::Names { count, names: names.len() });
    }
    Ok(names)
}

/// Takes the descriptors from `first` on, one for each name.
fn take(first: RawFd, names: Vec<String>) -> Result<Vec<Passed>, ActivationError> {
    let mut passed = Vec::with_capacity(names.len());
    for (number, name) in (first..).zip(names) {
        let fd = inherited::take_if(number, |descriptor| check(descriptor, number, &name))?;
        passed.push(Passed { fd, name });
    }
    Ok(passed)
}

fn check(descriptor: BorrowedFd<'_>, number: RawFd, name: &str) -> Result<(), ActivationError> {
    let listens = getsockopt(&descriptor, sockopt::AcceptConn);
    let what = match (getsockopt(&descriptor, sockopt::SockType), listens) {
        (Ok(SockType::Stream), Ok(true)) => return Ok(()),
        (Ok(SockType::Stream), _) => "a socket that does not listen",
        (Ok(_), _) => "a socket of another type",
        (Err(_), _) => "no socket",
    };
    Err(ActivationError::NotAListener { number, name: name.to_owned(), what })
}
