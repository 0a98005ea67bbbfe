//! Why an application did not load, in words for the operator, with Ruby's own beside them.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use magnus::{Error, ExceptionClass, Module, Ruby, error::OpaqueError};

use crate::{
    exception::{Exception, Kind},
    vm::Ending,
};

/// sysexits(3): the input file cannot be read.
const EX_NOINPUT: u8 = 66;
/// The status of a Ruby program that an exception ended.
const RAISED: u8 = 1;
/// Longest part of Ruby's message that is quoted in one line.
const QUOTED_CHARS_MAX: usize = 500;
/// Ends the text where Ruby's message tells the rest.
const SEE_RUBY: &str = "; see Ruby's message";
/// What shells add to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// The application did not load.
pub struct LoadError {
    /// What happened.
    pub kind: LoadErrorKind,
    /// The rackup file.
    pub rackup: PathBuf,
    /// What Ruby would print, without colours: message and backtrace. Empty when Ruby has nothing
    /// to say, or has said it: `exit` prints nothing, `abort` has printed its message.
    pub ruby_message: String,
    /// The status to end the process with; never 0.
    pub status: u8,
    /// The exception, for `$!` and for whoever lets Ruby print it.
    raised: Option<OpaqueError>,
}

/// Why the application did not load.
#[derive(Debug)]
pub enum LoadErrorKind {
    /// The rackup file cannot be opened.
    Unreadable(io::Error),
    /// There is no Rack library.
    RackMissing(Box<Exception>),
    /// The file, or what it requires, is no Ruby.
    Syntax(Box<Exception>),
    /// It raised.
    Raised(Box<Exception>),
    /// It called `exit` or `abort`.
    Exited(Box<Exception>),
    /// It was interrupted by a signal.
    Signalled(Box<Exception>),
}

impl LoadError {
    pub(super) fn unreadable(rackup: &Path, source: io::Error) -> Self {
        Self {
            kind: LoadErrorKind::Unreadable(source),
            rackup: rackup.to_owned(),
            ruby_message: String::new(),
            status: EX_NOINPUT,
            raised: None,
        }
    }

    /// Something else than a missing library may have gone wrong while it was required.
    pub(super) fn rack_missing(ruby: &Ruby, rackup: &Path, error: Error) -> Self {
        let is_missing = class(ruby, "LoadError").is_some_and(|class| error.is_kind_of(class));
        let mut failure = Self::raised(ruby, rackup, error);
        failure.kind = match (is_missing, failure.kind) {
            (true, LoadErrorKind::Raised(exception)) => LoadErrorKind::RackMissing(exception),
            (_, kind) => kind,
        };
        failure
    }

    pub(super) fn raised(ruby: &Ruby, rackup: &Path, error: Error) -> Self {
        let exception = Box::new(Exception::read(ruby, &error));
        // From here on the error is on the heap, where the collector does not look.
        if let Some(value) = error.value() {
            ruby.gc_register_mark_object(value);
        }
        let is_script_error =
            class(ruby, "SyntaxError").is_some_and(|class| error.is_kind_of(class));
        let status = status(exception.kind);
        let mut ruby_message = exception.full_message.clone();
        let kind = match exception.kind {
            Kind::Exit(_) => {
                ruby_message.clear();
                LoadErrorKind::Exited(exception)
            }
            Kind::Signal(_) => LoadErrorKind::Signalled(exception),
            Kind::Raise if is_script_error => LoadErrorKind::Syntax(exception),
            Kind::Raise | Kind::Throw | Kind::Kill => LoadErrorKind::Raised(exception),
        };
        Self { kind, rackup: rackup.to_owned(), ruby_message, status, raised: Some(error.into()) }
    }

    /// What happened and the first line of what Ruby says of it, for somebody who does not see
    /// [`LoadError::ruby_message`].
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let text = self.to_string();
        let message = match &self.kind {
            LoadErrorKind::Syntax(exception) | LoadErrorKind::Raised(exception) => {
                exception.message.lines().find(|line| !line.trim().is_empty())
            }
            LoadErrorKind::Unreadable(_)
            | LoadErrorKind::RackMissing(_)
            | LoadErrorKind::Exited(_)
            | LoadErrorKind::Signalled(_) => None,
        };
        match message {
            Some(message) => {
                let quoted: String = message.trim().chars().take(QUOTED_CHARS_MAX).collect();
                text.replacen(SEE_RUBY, &format!(": {quoted}"), 1)
            }
            None => text,
        }
    }

    /// The exception as Ruby gave it.
    #[must_use]
    pub fn exception(&self) -> Option<&Exception> {
        match &self.kind {
            LoadErrorKind::Unreadable(_) => None,
            LoadErrorKind::RackMissing(exception)
            | LoadErrorKind::Syntax(exception)
            | LoadErrorKind::Raised(exception)
            | LoadErrorKind::Exited(exception)
            | LoadErrorKind::Signalled(exception) => Some(exception),
        }
    }

    /// Ends the VM as a program whose main script failed so: `at_exit` blocks see the exception in
    /// `$!`, and then Ruby prints its message. For who has printed [`LoadError::ruby_message`]
    /// already there is [`Ending::Status`].
    #[must_use]
    pub fn into_ending(self, ruby: &Ruby) -> Ending {
        match (self.kind, self.raised) {
            // `exit` with 0 is a failure here: nothing is served.
            (LoadErrorKind::Exited(_), _) | (_, None) => Ending::Status(i32::from(self.status)),
            (_, Some(error)) => Ending::Uncaught(OpaqueError::into_error_with(error, ruby)),
        }
    }
}

fn status(kind: Kind) -> u8 {
    let status = match kind {
        Kind::Raise | Kind::Throw | Kind::Kill => i32::from(RAISED),
        // As the kernel cuts it.
        Kind::Exit(status) => status & 0xff,
        Kind::Signal(number) => SIGNALLED + number,
    };
    u8::try_from(status).unwrap_or(RAISED).max(RAISED)
}

fn class(ruby: &Ruby, name: &str) -> Option<ExceptionClass> {
    ruby.class_object().const_get(name).ok()
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot load {}: ", self.rackup.display())?;
        match &self.kind {
            LoadErrorKind::Unreadable(_) => {
                formatter.write_str("the file cannot be read; give the path of a rackup file")
            }
            LoadErrorKind::RackMissing(_) => formatter.write_str(
                "the rack library is missing; add `gem \"rack\"` to the Gemfile, run `gem install \
                 rack`, or install the package ruby-rack",
            ),
            LoadErrorKind::Syntax(_) => {
                write!(formatter, "it is not valid Ruby{SEE_RUBY}")
            }
            LoadErrorKind::Raised(exception) => {
                write!(formatter, "it raised {}{SEE_RUBY}", exception.class)
            }
            LoadErrorKind::Exited(exception) => {
                let status = match exception.kind {
                    Kind::Exit(status) => status,
                    Kind::Raise | Kind::Signal(_) | Kind::Throw | Kind::Kill => RAISED.into(),
                };
                let place = exception.backtrace.iter().find(|line| !line.contains("`exit'"));
                let place = place.map_or("an unknown place", String::as_str);
                write!(formatter, "it called exit with status {status} at {place}")
            }
            LoadErrorKind::Signalled(exception) => {
                write!(formatter, "it was interrupted by {}", exception.message)
            }
        }
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoadError")
            .field("kind", &self.kind)
            .field("rackup", &self.rackup)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            LoadErrorKind::Unreadable(source) => Some(source),
            LoadErrorKind::RackMissing(_)
            | LoadErrorKind::Syntax(_)
            | LoadErrorKind::Raised(_)
            | LoadErrorKind::Exited(_)
            | LoadErrorKind::Signalled(_) => None,
        }
    }
}
