//! The parser made from the table of flags, and its errors in our words.

use std::ffi::{OsStr, OsString};

use clap::{
    Arg, ArgAction, ArgMatches, ValueHint,
    builder::{PossibleValuesParser, ValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{
    CliError,
    flag::{Effect, Flag, Kind, Takes},
    flags,
};
use crate::config::nearest;

/// Columns of the help, whatever the terminal's width.
const COLUMNS: usize = 80;
/// The one argument that is no flag.
const RACKUP: &str = "RACKUP";
/// Stands where a flag without a value was typed.
const PRESENT: &str = "yes";

/// The words of a command line.
#[derive(Debug)]
pub(super) struct Words {
    /// In the order typed.
    pub(super) flags: Vec<TypedFlag>,
    /// The rackup file, if one was named.
    pub(super) rackup: Option<String>,
}

/// One flag as it was typed.
#[derive(Debug)]
pub(super) struct TypedFlag {
    pub(super) flag: &'static Flag,
    /// A fixed word for a flag that takes none.
    pub(super) value: String,
}

/// What a command line turned out to be.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Help or version: to be printed.
    Print(String),
    Words(Words),
}

/// Splits a command line, the program's name first, into the words of the table.
///
/// # Errors
///
/// A word that is not in the table, or not with such a value.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, CliError> {
    match command().try_get_matches_from(args) {
        Ok(matches) => words(&matches).map(Parsed::Words),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Ok(Parsed::Print(error.render().to_string()))
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            Ok(Parsed::Print(format!("rackrs version {}\n", env!("CARGO_PKG_VERSION"))))
        }
        Err(error) => Err(in_our_words(&error)),
    }
}

/// The parser, which also knows how to describe itself.
pub(super) fn command() -> clap::Command {
    clap::Command::new("rackrs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serve a Rack application")
        .override_usage("rackrs [OPTIONS] [RACKUP]")
        .after_long_help(super::generate::environment_help())
        .term_width(COLUMNS)
        // Ruby's OptionParser, which reads Puma's command line, takes unique beginnings too.
        .infer_long_args(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new(RACKUP)
                .help("Rackup file [default: config.ru]")
                .value_hint(ValueHint::FilePath)
                .value_parser(ValueParser::os_string()),
        )
        .args(flags::all().map(argument))
}

fn argument(flag: &Flag) -> Arg {
    let argument = Arg::new(flag.long)
        .long(flag.long)
        .short(flag.short)
        .visible_aliases(flag.aliases)
        .visible_short_aliases(flag.short_aliases.to_vec())
        .help(flag.short_help())
        .long_help(flag.long_help())
        .help_heading(flag.heading.title())
        .hide_short_help(!flag.heading.in_short_help());
    match flag.effect {
        Effect::Help => return argument.action(ArgAction::Help),
        Effect::Version => return argument.action(ArgAction::Version),
        Effect::Set(_)
        | Effect::Act(_)
        | Effect::Accepted
        | Effect::Ignored(_)
        | Effect::NotYet(_) => {}
    }
    // Everything is collected, so that the order of the words can be kept.
    let argument = argument.action(ArgAction::Append);
    match flag.takes {
        Takes::Nothing => argument.num_args(0).default_missing_value(PRESENT),
        Takes::Value(name, kind) => of_kind(argument.num_args(1), kind)
            .value_name(name)
            // So that a negative number is refused as a value.
            .allow_negative_numbers(true),
        Takes::Optional { name, missing, kind } => {
            of_kind(argument.num_args(0..=1).require_equals(flag.short.is_none()), kind)
                .value_name(name)
                .default_missing_value(missing)
        }
    }
}

fn of_kind(argument: Arg, kind: Kind) -> Arg {
    match kind {
        Kind::Text => argument.value_parser(ValueParser::os_string()).value_hint(ValueHint::Other),
        Kind::File => {
            argument.value_parser(ValueParser::os_string()).value_hint(ValueHint::FilePath)
        }
        Kind::Directory => {
            argument.value_parser(ValueParser::os_string()).value_hint(ValueHint::DirPath)
        }
        Kind::OneOf(words) => argument
            .value_parser(PossibleValuesParser::new(words))
            // The help of the flag says them, in fewer lines.
            .hide_possible_values(true),
    }
}

fn words(matches: &ArgMatches) -> Result<Words, CliError> {
    let mut typed = Vec::new();
    for flag in flags::all() {
        if matches.try_contains_id(flag.long).is_err()
            || matches.value_source(flag.long) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        let places = matches.indices_of(flag.long).into_iter().flatten();
        let values = matches.get_raw(flag.long).into_iter().flatten();
        for (place, value) in places.zip(values) {
            typed.push((place, TypedFlag { flag, value: text(value)? }));
        }
    }
    typed.sort_by_key(|(place, _)| *place);
    let rackup = matches.get_raw(RACKUP).and_then(|mut values| values.next());
    Ok(Words {
        flags: typed.into_iter().map(|(_, word)| word).collect(),
        rackup: rackup.map(text).transpose()?,
    })
}

/// Every value is text, because the configuration travels to the mold as JSON.
fn text(word: &OsStr) -> Result<String, CliError> {
    word.to_str()
        .map(str::to_owned)
        .ok_or_else(|| CliError::NotUtf8 { word: word.to_string_lossy().into_owned() })
}

fn in_our_words(error: &clap::Error) -> CliError {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let kind = error.kind();
    let word = said(ContextKind::InvalidArg);
    let value = said(ContextKind::InvalidValue).unwrap_or_default();
    match word {
        Some(word) if kind == ErrorKind::UnknownArgument => unknown(&word),
        Some(usage) if kind == ErrorKind::InvalidValue && value.is_empty() => {
            CliError::MissingValue { flag: bare(&usage), usage: shown(&usage) }
        }
        Some(usage) if kind == ErrorKind::InvalidValue => CliError::UnknownWord {
            flag: bare(&usage),
            value,
            known: said(ContextKind::ValidValue).unwrap_or_default(),
        },
        Some(usage) if kind == ErrorKind::TooManyValues => {
            CliError::UnwantedValue { flag: bare(&usage), value }
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            CliError::Unreadable { reason: line.trim_start_matches("error: ").to_owned() }
        }
    }
}

/// `--threads <MIN:MAX>` to `--threads`.
fn bare(usage: &str) -> String {
    usage.split([' ', '[', '=']).next().unwrap_or_default().to_owned()
}

/// The table's own way of writing a flag.
fn shown(usage: &str) -> String {
    let flag = bare(usage);
    flags::all()
        .find(|known| flag.strip_prefix("--") == Some(known.long))
        .map_or_else(|| usage.to_owned(), Flag::usage)
}

fn unknown(word: &str) -> CliError {
    if !word.starts_with('-') {
        return CliError::ExtraArgument { word: word.to_owned() };
    }
    let flag = bare(word);
    let near = match flag.trim_start_matches('-') {
        letter if letter.len() <= 1 => other_case(letter),
        // A single dash before a word is most likely a lost second one.
        name => {
            let names = flags::all().flat_map(|known| known.aliases.iter().chain([&known.long]));
            nearest(name, names.copied()).map(|name| format!("--{name}"))
        }
    };
    CliError::UnknownFlag { flag, nearest: near }
}

/// Unicorn's and rackup's `-E` is Puma's `-e`.
fn other_case(letter: &str) -> Option<String> {
    flags::all()
        .filter_map(|known| known.short)
        .find(|short| letter.eq_ignore_ascii_case(&short.to_string()))
        .map(|short| format!("-{short}"))
}
