//! The command line: from words and surroundings to what is to be done.
//!
//! Nothing here prints or exits: [`parse`] gives a [`Command`] or a [`CliError`], and `main` does the
//! rest. All flags are in one table (`flags`); the parser, both helps, the man page, the completions
//! and `docs/reference/options.md` are made from it.

mod error;
mod flag;
mod flags;
mod generate;
mod parser;

use std::ffi::OsString;

pub use crate::config::{Environment, Resolved, Row, ShowFormat};
pub use error::CliError;

use crate::config::{Given, Settings, Source, path, print_rows, resolve};
use flag::{Action, Effect};
use parser::{Parsed, Words};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve the application.
    Serve(Box<Resolved>),
    /// `--check`: everything short of serving; the exit status says whether it would work.
    Check(Box<Resolved>),
    /// `--show-config`: print `text` on standard output and end well.
    ShowConfig {
        /// Every value with its source, with a line break at the end.
        text: String,
        /// For standard error, one line each.
        warnings: Vec<String>,
    },
    /// Help, version, man page, completions or reference: print it on standard output and end well.
    Print(String),
}

/// Reads the command line.
///
/// `args` begins with the program's name, as `std::env::args_os` gives it.
///
/// # Errors
///
/// The first word or value that cannot be obeyed, wherever it came from; see
/// [`CliError::exit_code`].
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Command, CliError> {
    let words = match parser::parse(args)? {
        Parsed::Print(text) => return Ok(Command::Print(text)),
        Parsed::Words(words) => words,
    };
    let asked = take(&words)?;
    match asked.action {
        Action::Generate(what) => Ok(Command::Print(generate::generate(what))),
        Action::Serve => Ok(Command::Serve(Box::new(asked.resolve(environment)?))),
        Action::Check => Ok(Command::Check(Box::new(asked.resolve(environment)?))),
        Action::Show(format) => {
            let Resolved { warnings, rows, .. } = asked.resolve(environment)?;
            Ok(Command::ShowConfig { text: print_rows(&rows, format), warnings })
        }
    }
}

/// What was typed, before the other sources have spoken.
struct Asked {
    settings: Settings,
    action: Action,
    warnings: Vec<String>,
}

impl Asked {
    fn resolve(self, environment: &Environment) -> Result<Resolved, CliError> {
        let mut resolved = resolve(self.settings, environment)?;
        resolved.warnings.splice(0..0, self.warnings);
        Ok(resolved)
    }
}

/// Carries the words out in the order they were typed, so that the later of two wins.
fn take(words: &Words) -> Result<Asked, CliError> {
    let mut asked =
        Asked { settings: Settings::default(), action: Action::Serve, warnings: Vec::new() };
    for word in &words.flags {
        let name = word.flag.long;
        let given = Given { name, text: &word.value, source: Source::Flag(name) };
        match word.flag.effect {
            Effect::Set(set) => set(&mut asked.settings, &given)?,
            Effect::Act(act) => asked.action = act(&word.value),
            Effect::Ignored(why) => asked.warnings.push(format!("--{name} is ignored: {why}")),
            Effect::NotYet(reason) => return Err(CliError::NotYet { flag: name, reason }),
            // The parser answers these itself, and an accepted word changes nothing.
            Effect::Help | Effect::Version | Effect::Accepted => {}
        }
    }
    if let Some(rackup) = &words.rackup {
        let given = Given { name: "rackup", text: rackup, source: Source::Argument };
        given.fill(&mut asked.settings.rackup, path)?;
    }
    Ok(asked)
}

#[cfg(test)]
mod tests;
