//! What went wrong with one request: the page the client gets and the lines in the log.

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use magnus::{
    Error, Ruby, Value, error::ErrorType, prelude::*, rb_sys::FromRawValue, value::LazyId,
};

use super::gone;
use crate::{
    exception::Exception,
    exchange::{Response, ResponseBody},
};

/// Most lines of one backtrace that are logged or shown. A stack overflow has ten thousand.
const BACKTRACE_LINES_MAX: usize = 200;

/// Most exceptions of a chain of causes that are logged or shown.
const CAUSES_MAX: usize = 5;

static CAUSE: LazyId = LazyId::new("cause");
static WRITE: LazyId = LazyId::new("write");

/// Why a request did not go as the application meant.
#[derive(Debug)]
pub(super) enum Failure {
    /// It raised, or its thread is being ended.
    Raised(Error),
    /// What it returned cannot be sent.
    Refused(Refusal),
    /// The client went away. Nobody's fault; not logged.
    ClientGone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Raised(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A rule of the Rack SPEC or of HTTP that a response breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("cannot send the response: it is of class {0}; return [status, headers, body]")]
    NotATriple(String),
    #[error("cannot send the response: status {0} is not 101 or 200..999; return a final status")]
    Status(String),
    #[error("cannot send the response: header name \"{0}\" is not a token (RFC 9110 section 5.1)")]
    HeaderName(String),
    #[error(
        "cannot send the response: the value of header \"{0}\" holds CR, NUL or another control \
         character; remove it"
    )]
    HeaderValue(HeaderName),
    #[error("cannot send the response: too many headers; return at most {0}")]
    HeaderCount(usize),
    #[error("cannot send the response: its content-length is not one number of bytes")]
    ContentLength,
    #[error("cannot send the response: the body, of class {0}, has neither each nor call")]
    Body(String),
    #[error("cannot send the response body: it yielded an object of class {0}, not a String")]
    Chunk(String),
    #[error("cannot send the whole response body: it is longer than its content-length")]
    TooLong,
    #[error("cannot complete the response body: it ended {0} bytes short of its content-length")]
    TooShort(u64),
    #[error("cannot send the response body: its transfer-encoding is chunked, its chunks are not")]
    Chunks,
    #[error("cannot hand over the connection: {0}")]
    Hijack(&'static str),
}

impl Failure {
    /// The jump that must go on once the request is answered: the thread is being killed, or the
    /// application threw past us.
    pub(super) fn into_jump(self) -> Option<Error> {
        match self {
            Self::Raised(error) if matches!(error.error_type(), ErrorType::Jump(_)) => Some(error),
            Self::Raised(_) | Self::Refused(_) | Self::ClientGone => None,
        }
    }

    /// The exception for `rack.response_finished`; `nil` when there is none.
    pub(super) fn exception(&self, ruby: &Ruby) -> Value {
        let exception = |class: magnus::ExceptionClass, text: String| {
            class
                .new_instance((text,))
                .map_or_else(|_| ruby.qnil().as_value(), magnus::value::ReprValue::as_value)
        };
        match self {
            Self::Raised(error) => match error.error_type() {
                ErrorType::Exception(raised) => raised.as_value(),
                ErrorType::Error(class, text) => exception(*class, text.to_string()),
                ErrorType::Jump(_) => ruby.qnil().as_value(),
            },
            Self::Refused(refusal) => {
                exception(ruby.exception_runtime_error(), refusal.to_string())
            }
            Self::ClientGone => {
                gone::exception(ruby).value().unwrap_or_else(|| ruby.qnil().as_value())
            }
        }
    }

    /// What is logged, and shown in development.
    fn text(&self, ruby: &Ruby) -> String {
        match self {
            Self::Raised(error) => exception_text(ruby, error),
            Self::Refused(refusal) => refusal.to_string(),
            Self::ClientGone => "the client is gone".to_owned(),
        }
    }
}

/// The answer to a request that failed before anything was sent.
pub(super) fn page(ruby: &Ruby, failure: &Failure, shows_details: bool) -> Response {
    let body = if shows_details {
        Bytes::from(format!("Internal Server Error\n\n{}\n", failure.text(ruby)))
    } else {
        Bytes::from_static(b"Internal Server Error\n")
    };
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Response { status: StatusCode::INTERNAL_SERVER_ERROR, headers, body: ResponseBody::Whole(body) }
}

/// Logs `failure` once, to `$stderr` as it is now.
pub(super) fn log(ruby: &Ruby, head: &http::request::Parts, failure: &Failure) {
    if matches!(failure, Failure::ClientGone) {
        return;
    }
    let path = escaped(head.uri.path());
    let line = format!("{} {path}: {}\n", head.method, failure.text(ruby));
    // SAFETY: a static of the VM that always holds an object; the GVL is held (`ruby`).
    let stderr = unsafe { rb_sys::rb_stderr };
    // SAFETY: as above, and the object is on this stack while it is used.
    let stderr = unsafe { Value::from_raw(stderr) };
    if stderr.funcall::<_, _, Value>(*WRITE, (line.as_str(),)).is_err() {
        // `$stderr` of the application is broken; the process's own is left, and after it nothing.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
}

fn exception_text(ruby: &Ruby, error: &Error) -> String {
    let mut text = one_exception(ruby, error);
    let mut next = cause(error);
    for _ in 0..CAUSES_MAX {
        let Some(this) = next else { break };
        text.push_str("\n  caused by ");
        text.push_str(&one_exception(ruby, &this));
        next = cause(&this);
    }
    text
}

fn cause(error: &Error) -> Option<Error> {
    let cause = error.value()?.funcall::<_, _, Option<magnus::Exception>>(*CAUSE, ());
    cause.ok().flatten().map(Error::from)
}

fn one_exception(ruby: &Ruby, error: &Error) -> String {
    let read = Exception::read(ruby, error);
    let mut text = format!("{}: {}", read.class, escaped(&read.message));
    for line in read.backtrace.iter().take(BACKTRACE_LINES_MAX) {
        text.push_str("\n    ");
        text.push_str(&escaped(line));
    }
    let left_out = read.backtrace.len().saturating_sub(BACKTRACE_LINES_MAX);
    if left_out > 0 {
        text.push_str("\n    ...");
    }
    text
}

/// Text that cannot forge lines of a log or talk to a terminal.
fn escaped(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    for character in raw.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_are_escaped() {
        assert_eq!(escaped("a\r\nGET /forged\x1b[31m\0"), "a\\r\\nGET /forged\\u{1b}[31m\\u{0}");
        assert_eq!(escaped("gr\u{fc}n"), "gr\u{fc}n");
    }
}
