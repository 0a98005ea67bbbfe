//! The command line of `rackrsctl`: the parser and the meaning of its words.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, ValueHint, builder::ValueParser, error::ErrorKind};

use super::error::CtlError;
use crate::{
    config::{seconds, whole},
    control::{Request, WorkerChange},
};

/// Columns of the help, whatever the terminal's width.
const COLUMNS: usize = 80;
/// How long a restart is waited for when the user does not say.
const RESTART_LIMIT: Duration = Duration::from_mins(10);
/// How long the end of the server is waited for when the user does not say.
const END_LIMIT: Duration = Duration::from_mins(1);

/// Over the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

const AFTER_HELP: &str = "\
Exit status:
   0  done; status: it serves
   1  refused or failed
   3  rackrs is not running
   4  status: it runs and does not serve, or nothing can be told
  64  the words cannot be obeyed
  75  a time limit was reached
  77  not permitted

The control socket is beside the pid file, with the extension ctl. Only root
and the user that the server runs as may use it.";

/// What a command line turned out to be.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Help or version: to be printed.
    Print(String),
    Asked(Asked),
}

/// What is asked for, of whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) command: Command,
    pub(super) which: Which,
    /// Print JSON.
    pub(super) json: bool,
}

/// Which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// That of a pid file.
    PidFile(PathBuf),
    /// That of a state file.
    StateFile(PathBuf),
    /// That behind a control URL.
    Url(String),
}

/// A command, by what it needs to wait for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Status,
    Stats,
    Restart {
        request: Request,
        /// Wait for the end, so long.
        wait: Option<Duration>,
    },
    End {
        request: Request,
        limit: Duration,
    },
    /// Done when it is answered.
    Simple(Request),
}

/// Reads a command line, the program's name first.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, CtlError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Parsed::Print(error.render().to_string()));
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            return Ok(Parsed::Print(format!("rackrsctl version {}\n", env!("CARGO_PKG_VERSION"))));
        }
        Err(error) => return Err(in_our_words(&error)),
    };
    let (name, words) = matches.subcommand().expect("the parser demands a command");
    Ok(Parsed::Asked(Asked {
        command: meaning(name, words),
        which: which(words)?,
        json: words.get_flag("json"),
    }))
}

fn command() -> clap::Command {
    clap::Command::new("rackrsctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Control a running rackrs")
        .override_usage("rackrsctl [OPTIONS] COMMAND")
        .after_help(AFTER_HELP)
        .term_width(COLUMNS)
        .subcommand_required(true)
        .subcommand_value_name("COMMAND")
        .disable_help_subcommand(true)
        .args(options())
        .subcommands(commands())
}

fn options() -> [Arg; 4] {
    let option = |name: &'static str, letter, value| {
        Arg::new(name)
            .long(name)
            .short(letter)
            .value_name(value)
            .global(true)
            .help_heading(EVERYWHERE)
    };
    [
        option("pidfile", 'P', "PATH")
            .help("The server with this pid file [default: /tmp/web_server.pid]")
            .value_parser(ValueParser::path_buf())
            .value_hint(ValueHint::FilePath),
        option("control-url", 'C', "URL").help("The server with this control socket: unix://PATH"),
        option("state", 'S', "PATH")
            .help("The server of this state file, with its lines pid and control_url")
            .value_parser(ValueParser::path_buf())
            .value_hint(ValueHint::FilePath),
        Arg::new("json")
            .long("json")
            .short('j')
            .global(true)
            .help_heading(EVERYWHERE)
            .action(ArgAction::SetTrue)
            .help("Print one line of JSON, errors too"),
    ]
}

fn commands() -> [clap::Command; 10] {
    let plain = |name, about| clap::Command::new(name).about(about).disable_version_flag(true);
    let restart = |name, about| {
        plain(name, about)
            .arg(
                Arg::new("wait")
                    .long("wait")
                    .action(ArgAction::SetTrue)
                    .help("Return when it has succeeded (status 0) or failed (1)"),
            )
            .arg(time_limit("Longest wait [default: 600]").requires("wait"))
    };
    let end = |name, about| plain(name, about).arg(time_limit("Longest wait [default: 60]"));
    [
        plain("status", "Show what the server and its workers do"),
        plain("stats", "Print everything that is known, as JSON"),
        restart("restart", "Restart with new code, in place; nothing is lost"),
        restart("phased-restart", "Load the new code, replace worker after worker"),
        restart("refork", "Replace worker after worker by new forks of the loaded code"),
        end("stop", "Finish the requests in hand, end, and wait for the end"),
        end("halt", "End at once, and wait for the end"),
        plain("reload-logs", "Open the log files anew"),
        plain("workers", "Have more, less or so many workers").arg(
            Arg::new("change")
                .value_name("+N|-N|N")
                .help("So many more, so many less, or so many")
                .required(true)
                .allow_negative_numbers(true)
                .value_parser(worker_change),
        ),
        plain("backtraces", "Show where the Ruby threads are")
            .visible_alias("thread-backtraces")
            .arg(
                Arg::new("slot")
                    .value_name("SLOT")
                    .help("Of one worker [default: all]")
                    .value_parser(|text: &str| whole(text, 0..=u16::MAX)),
            ),
    ]
}

fn time_limit(help: &'static str) -> Arg {
    Arg::new("timeout").long("timeout").value_name("SECONDS").help(help).value_parser(seconds)
}

/// `+2`, `-2` or `2`.
fn worker_change(text: &str) -> Result<WorkerChange, String> {
    let count = |text| whole(text, 1..=u16::MAX);
    match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(more), _) => count(more).map(WorkerChange::Add),
        (None, Some(less)) => count(less).map(WorkerChange::Remove),
        (None, None) => count(text).map(WorkerChange::Set),
    }
}

fn meaning(name: &str, words: &ArgMatches) -> Command {
    let limit = |default| words.get_one("timeout").copied().unwrap_or(default);
    let restart = |request| Command::Restart {
        request,
        wait: words.get_flag("wait").then(|| limit(RESTART_LIMIT)),
    };
    match name {
        "status" => Command::Status,
        "stats" => Command::Stats,
        "restart" => restart(Request::Restart),
        "phased-restart" => restart(Request::PhasedRestart),
        "refork" => restart(Request::Refork),
        "stop" => Command::End { request: Request::Stop, limit: limit(END_LIMIT) },
        "halt" => Command::End { request: Request::Halt, limit: limit(END_LIMIT) },
        "reload-logs" => Command::Simple(Request::ReloadLogs),
        "workers" => {
            let change = words.get_one("change").expect("the parser demands it");
            Command::Simple(Request::Workers(*change))
        }
        "backtraces" => {
            Command::Simple(Request::Backtraces { worker: words.get_one("slot").copied() })
        }
        other => unreachable!("the parser knows the command {other} and its meaning is missing"),
    }
}

fn which(words: &ArgMatches) -> Result<Which, CtlError> {
    let path = |name| words.get_one::<PathBuf>(name).cloned();
    let url = words.get_one::<String>("control-url").cloned();
    match (path("pidfile"), url, path("state")) {
        (None, None, None) => Ok(Which::PidFile(crate::config::DEFAULT_PID_FILE.into())),
        (Some(path), None, None) => Ok(Which::PidFile(path)),
        (None, Some(url), None) => Ok(Which::Url(url)),
        (None, None, Some(path)) => Ok(Which::StateFile(path)),
        _ => Err(CtlError::Usage {
            reason: "--pidfile, --control-url and --state exclude each other".to_owned(),
        }),
    }
}

/// The parser's first line, which names the word.
fn in_our_words(error: &clap::Error) -> CtlError {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let kind = error.kind();
    let reason = if kind == ErrorKind::MissingSubcommand {
        "a command is missing"
    } else if kind == ErrorKind::MissingRequiredArgument {
        // Its first line only announces the next.
        "an argument of the command is missing"
    } else {
        line
    };
    CtlError::Usage { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
