//! Resource limits: how many descriptors this process may open.

use nix::{
    errno::Errno,
    sys::resource::{self, Resource},
};

use crate::sysexits;

/// The soft limit is never raised above this many descriptors.
///
/// The kernel's table grows with the highest number in use, and programs that close "every
/// possible descriptor" before an exec take minutes where the hard limit is a billion.
pub const OPEN_FILES_MAX: u64 = 1_048_576;

/// Why the limit of open files could not be raised.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The limit could not be read.
    #[error("cannot read the limit of open files")]
    Read(#[source] Errno),
    /// The limit could not be set.
    #[error(
        "cannot raise the limit of open files to {wanted}; set it with ulimit -n or LimitNOFILE="
    )]
    Raise {
        /// The soft limit asked for.
        wanted: u64,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
}

impl LimitError {
    /// The exit status, from sysexits(3): 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read(_) | Self::Raise { .. } => sysexits::OSERR,
        }
    }
}

/// Raises `RLIMIT_NOFILE`'s soft limit to the hard limit, at most [`OPEN_FILES_MAX`], and returns
/// the soft limit now in force. A limit that is already higher is left alone.
///
/// # Errors
///
/// When the kernel refuses; the old limit is then still in force.
pub fn raise_open_files() -> Result<u64, LimitError> {
    let (soft, hard) = resource::getrlimit(Resource::RLIMIT_NOFILE).map_err(LimitError::Read)?;
    let wanted = wanted(soft, hard);
    if wanted != soft {
        resource::setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
            .map_err(|source| LimitError::Raise { wanted, source })?;
    }
    Ok(wanted)
}

fn wanted(soft: u64, hard: u64) -> u64 {
    soft.max(hard.min(OPEN_FILES_MAX))
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::{OPEN_FILES_MAX, raise_open_files, wanted};
    use crate::forked::in_child;

    #[test]
    fn the_hard_limit_is_reached() {
        in_child(|_| {
            setrlimit(Resource::RLIMIT_NOFILE, 100, 150).unwrap();
            assert_eq!(raise_open_files().unwrap(), 150);
            assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (150, 150));
            assert_eq!(raise_open_files().unwrap(), 150);
        });
    }

    #[test]
    fn the_cap_holds_and_nothing_is_lowered() {
        assert_eq!(wanted(1024, u64::MAX), OPEN_FILES_MAX);
        assert_eq!(wanted(OPEN_FILES_MAX + 1, u64::MAX), OPEN_FILES_MAX + 1);
        assert_eq!(wanted(1024, 1024), 1024);
    }
}
