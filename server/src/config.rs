//! What the server will do: [`Config`], made once from every source and passed down by reference.

mod bind;
mod environment;
mod error;
mod layers;
mod limits;
mod nearest;
mod resolve;
mod setting;
mod settings;
mod show;
mod upkeep;
mod value;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use bind::{Bind, UnixOptions};
pub use environment::Environment;
pub use error::ConfigError;
pub use limits::Limits;
pub use resolve::Resolved;
pub use setting::Source;
pub use show::{Row, ShowFormat};
pub use upkeep::Upkeep;

pub(crate) use bind::{decode as decode_uri, parse as parse_bind};
pub(crate) use layers::VARIABLES;
pub(crate) use nearest::nearest;
pub(crate) use resolve::resolve;
pub(crate) use setting::Given;
pub(crate) use settings::{ConfigFile, DEFAULT_PID_FILE, Listen, Settings};
pub(crate) use show::print as print_rows;
pub(crate) use value::{
    ROOM_MAX, WORKERS_MAX, bytes, count_or_none, path, port, request_path, seconds,
    seconds_or_none, threads, whole, word, workers,
};

/// Checked configuration. The master hands it to the mold as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own, as its flag is")]
pub struct Config {
    /// The rackup file, absolute.
    pub rackup: PathBuf,
    /// The working directory, through symlinks as the user named it (`$PWD`), not resolved.
    pub directory: PathBuf,
    /// Puma's `-e`: `RACK_ENV` for the application.
    pub environment: String,
    /// Where to listen, in the order given.
    pub binds: Vec<Bind>,
    /// Nobody named a place to listen.
    pub default_binds: bool,
    /// Puma's `--bind-to-activated-sockets`.
    pub activated_sockets: ActivatedSockets,
    /// Puma's `-w`; 0 is Puma's single mode, served by one worker.
    pub workers: u16,
    /// Puma's `-t`.
    pub threads: Threads,
    /// Holds the master's pid from ready to stop.
    pub pid_file: PathBuf,
    /// Shown in process titles; empty for none.
    pub tag: String,
    /// Puma's `-I`, prepended to `$LOAD_PATH`.
    pub load_paths: Vec<PathBuf>,
    /// Kept for Puma's flag: the mold always loads the application before it forks.
    pub preload: bool,
    /// Leave the terminal once workers serve.
    pub daemon: bool,
    /// What goes to the log.
    pub log: LogLevel,
    /// Puma's `-v`: a line for each request.
    pub log_requests: bool,
    /// Where standard output and error go.
    pub redirect: Redirect,
    /// Turn YJIT on where the Ruby has it.
    pub yjit: bool,
    /// Puma's `--early-hints`: offer `rack.early_hints`.
    pub early_hints: bool,
    /// `SCRIPT_NAME`: the mount prefix, or empty.
    pub script_name: String,
    /// Whose meanings the signals have.
    pub personality: Personality,
    /// The control socket, absolute.
    pub control: PathBuf,
    /// Puma's state file: where the pid and the control socket are told.
    pub state_file: Option<PathBuf>,
    /// How workers are watched, replaced and restarted.
    pub upkeep: Upkeep,
    /// Every limit and time-out.
    pub limits: Limits,
}

/// Whose habits the server follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Personality {
    /// Puma's.
    Puma,
    /// Unicorn's.
    Unicorn,
}

impl Personality {
    /// As `--compat` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Puma => "puma",
            Self::Unicorn => "unicorn",
        }
    }
}

/// Which sockets of a service manager are used; always those that a bind names, and all of them
/// where there is no bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivatedSockets {
    /// No others.
    Named,
    /// All, besides what the binds name.
    Also,
    /// All, and the binds name nothing more.
    Only,
}

impl ActivatedSockets {
    /// As `--bind-to-activated-sockets` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Also => "also",
            Self::Only => "only",
        }
    }
}

/// Ruby threads of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    /// Kept even when idle.
    pub min: u16,
    /// Never more than this.
    pub max: u16,
}

impl Redirect {
    /// Whether any stream goes to a file.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }
}

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// Puma's `-s`: errors only.
    Silent,
    /// Life-cycle lines and errors.
    Normal,
}

/// Puma's `--redirect-*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// File for standard output.
    pub stdout: Option<PathBuf>,
    /// File for standard error.
    pub stderr: Option<PathBuf>,
    /// Append instead of truncating.
    pub append: bool,
}
