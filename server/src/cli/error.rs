//! Why a command line cannot be obeyed.

use crate::config::ConfigError;

/// The command line, or a value from another source, cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No such flag.
    #[error("cannot use {flag}: there is no such flag; {}", advice(nearest.as_deref()))]
    UnknownFlag {
        /// As it was typed, without its value.
        flag: String,
        /// The known flag that it resembles, with its dashes.
        nearest: Option<String>,
    },
    /// More words than one that are no flags.
    #[error("cannot use {word}: one rackup file can be served; leave out the others")]
    ExtraArgument {
        /// The word that was too many.
        word: String,
    },
    /// A flag stands alone that needs a value.
    #[error("cannot use {flag}: it needs a value; write {usage}")]
    MissingValue {
        /// With its dashes.
        flag: String,
        /// The flag with the name of its value.
        usage: String,
    },
    /// A flag was given a value and takes none.
    #[error("cannot use {flag} = {value} (the flag): it takes no value; write {flag}")]
    UnwantedValue {
        /// With its dashes.
        flag: String,
        /// What was given.
        value: String,
    },
    /// A flag takes one of some words, and this is none of them.
    #[error("cannot use {flag} = {value} (the flag): it takes {known}")]
    UnknownWord {
        /// With its dashes.
        flag: String,
        /// What was given.
        value: String,
        /// The words that it takes.
        known: String,
    },
    /// The word is Puma's and known, but this version cannot do it.
    #[error("cannot use --{flag}: {reason}")]
    NotYet {
        /// The long name, without dashes.
        flag: &'static str,
        /// What is missing, and what to do.
        reason: &'static str,
    },
    /// A word is not text.
    #[error("cannot use {word}: it is not UTF-8; give it a plain name")]
    NotUtf8 {
        /// As far as it can be shown.
        word: String,
    },
    /// The parser met something that it has no other word for.
    #[error("cannot read the command line: {reason}; see rackrs --help")]
    Unreadable {
        /// The parser's own first line.
        reason: String,
    },
    /// A value cannot be obeyed.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl CliError {
    /// sysexits(3): 64 (usage) for what was typed; see [`ConfigError::exit_code`] for the rest.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::UnknownFlag { .. }
            | Self::ExtraArgument { .. }
            | Self::MissingValue { .. }
            | Self::UnwantedValue { .. }
            | Self::UnknownWord { .. }
            | Self::NotYet { .. }
            | Self::NotUtf8 { .. }
            | Self::Unreadable { .. } => 64,
        }
    }
}

fn advice(nearest: Option<&str>) -> String {
    match nearest {
        Some(flag) => format!("the nearest is {flag}"),
        None => "rackrs --help lists them all".to_owned(),
    }
}
