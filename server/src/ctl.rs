//! The `rackrsctl` program: asks a running server for something and says what came of it.
//!
//! [`run`] goes from words to an exit status. In between, every command returns a [`Report`] or a
//! [`CtlError`], so that there is one place that prints.
//!
//! - [`parser`]: the words
//! - [`target`]: which server, found by [`trust`], [`pid_file`] and [`state_file`]
//! - [`connection`]: one question to it and its answer
//! - [`restart`], [`stop`]: the commands that wait for something; [`process`], [`deadline`]: for what,
//!   and how long
//! - [`status`], [`table`], [`words`]: what people read

mod connection;
mod deadline;
mod error;
mod parser;
mod pid_file;
mod process;
mod report;
mod restart;
mod state_file;
mod status;
mod stop;
mod table;
mod target;
mod trust;
mod words;

use std::{
    ffi::OsString,
    io::{self, Write},
};

use crate::{
    control::{Reply, Request, Stats},
    telemetry::chain,
};
use connection::AskError;
use error::CtlError;
use parser::{Asked, Command, Parsed};
use report::Report;
use target::Target;
use words::printable;

/// How often a question that changes nothing is asked, when the server went away in between: it execs
/// itself at a restart.
const ATTEMPTS_MAX: u32 = 3;

/// Does what the words ask for, prints what came of it, and returns the exit status.
///
/// `args` begins with the program's name, as `std::env::args_os` gives it.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    // Words that cannot be parsed may still say how their error should be written.
    let style = Style::of_json(args.iter().any(|word| word == "-j" || word == "--json"));
    match parser::parse(args) {
        Ok(Parsed::Print(text)) => {
            print(&text);
            0
        }
        Ok(Parsed::Asked(asked)) => {
            let style = Style::of_json(asked.json);
            match carry_out(&asked) {
                Ok(report) => {
                    print(style.of(&report));
                    report.status
                }
                // Its statuses are those of init scripts.
                Err(error) if asked.command == Command::Status => {
                    fail(&error, error.status_exit_code(), style)
                }
                Err(error) => fail(&error, error.exit_code(), style),
            }
        }
        Err(error) => fail(&error, error.exit_code(), style),
    }
}

/// For whom to print.
#[derive(Clone, Copy, Debug)]
enum Style {
    People,
    Programs,
}

impl Style {
    fn of_json(json: bool) -> Self {
        if json { Self::Programs } else { Self::People }
    }

    fn of(self, report: &Report) -> &str {
        match self {
            Self::People => &report.text,
            Self::Programs => &report.json,
        }
    }
}

fn fail(error: &CtlError, status: u8, style: Style) -> u8 {
    match style {
        // Standard output is what programs read.
        Style::Programs => print(&Report::of_error(error, status)),
        Style::People => {
            let line = format!("rackrsctl: {}\n", printable(&chain(error)));
            // Nobody is left to be told.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
    status
}

/// A closed pipe (`rackrsctl status | head -1`) is no failure.
fn print(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
}

fn carry_out(asked: &Asked) -> Result<Report, CtlError> {
    let target = Target::find(&asked.which)?;
    match &asked.command {
        Command::Status => Report::status(&*stats(&target, &Request::Status)?),
        Command::Stats => Report::stats(&*stats(&target, &Request::Stats)?),
        Command::Restart { request, wait } => restart::ask(&target, request, *wait),
        Command::End { request, limit } => stop::ask(&target, request, *limit),
        Command::Simple(request) => Report::of_reply(&target.connect()?.ask(request)?),
    }
}

/// The state of the server.
fn stats(target: &Target, request: &Request) -> Result<Box<Stats>, CtlError> {
    let mut attempt = 1;
    loop {
        match target.connect()?.ask(request) {
            Ok(Reply::Stats(stats)) => return Ok(stats),
            Ok(other) => return Err(CtlError::of_reply(&other)),
            Err(AskError::NoAnswer) if attempt < ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
