//! Why there is no configuration.

use std::{io, path::PathBuf};

use super::Source;

/// The settings cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One value is wrong.
    #[error("cannot use {}: {reason}", named(name, value, *from))]
    Refused {
        /// The setting, by the long name of its flag where it has one.
        name: &'static str,
        /// As it was given.
        value: String,
        /// Who gave it.
        from: Source,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// Neither `$PWD` nor `getcwd(2)` names a directory (it was removed).
    #[error("cannot find the working directory: it has been removed; give --dir with a full path")]
    NoDirectory,
    /// The rackup file is there, but its first line cannot be read.
    #[error("cannot read the rackup file {}; name a readable file", path.display())]
    OptionLine {
        /// The rackup file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ConfigError {
    /// sysexits(3): 64 (usage) for the command line, 78 (configuration) for a value from elsewhere, 66 (no
    /// input) for the rackup file, 71 (system) for the working directory.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { from: Source::Flag(_) | Source::Argument, .. } => 64,
            Self::Refused { .. } => 78,
            Self::NoDirectory => 71,
            Self::OptionLine { .. } => 66,
        }
    }
}

fn named(name: &str, value: &str, from: Source) -> String {
    match from {
        Source::Flag(flag) => format!("--{flag} = {value} (the flag)"),
        Source::Default | Source::Environment(_) | Source::OptionLine | Source::Argument => {
            format!("{name} = {value} ({from})")
        }
    }
}
