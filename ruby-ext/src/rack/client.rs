//! The client of one request, as its Ruby thread and the objects in env reach it.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use magnus::{Error, Ruby};

use crate::{
    exchange::{Answer, Gone, HandedSocket, HijackRefused, Push, Response, Wait},
    gvl::{self, Wake},
};

/// Shared by the serving thread and by what the application may keep: the hijack object, the
/// stream. Holds no Ruby object.
#[derive(Debug)]
pub(super) struct Client {
    answer: Answer,
    is_hijacked: AtomicBool,
}

/// How a blocking step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Nobody reads any more.
    Gone,
}

impl Client {
    pub(super) fn new(answer: Answer) -> Self {
        Self { answer, is_hijacked: AtomicBool::new(false) }
    }

    /// Whether the application has taken the socket (full hijack): its return value is then void.
    pub(super) fn is_hijacked(&self) -> bool {
        self.is_hijacked.load(Ordering::Relaxed)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.answer.is_gone()
    }

    pub(super) fn early_hints(&self, headers: http::HeaderMap) -> Result<(), Gone> {
        self.answer.early_hints(headers)
    }

    pub(super) fn respond(&self, response: Response) -> Outcome {
        match self.answer.respond(response) {
            Ok(()) => Outcome::Done,
            Err(Gone) => Outcome::Gone,
        }
    }

    /// Queues `chunk`. Never blocks.
    pub(super) fn offer(&self, chunk: Bytes) -> Push {
        self.answer.push(chunk)
    }

    /// Holds this thread up, without the GVL, until the client has caught up.
    pub(super) fn wait_for_room(&self, ruby: &Ruby) -> Result<Outcome, Error> {
        self.blocked(ruby, Answer::wait_for_room)
    }

    pub(super) fn finish(&self) {
        self.answer.finish();
    }

    pub(super) fn abort(&self) {
        self.answer.abort();
    }

    /// Takes the socket before any response.
    pub(super) fn hijack(&self, ruby: &Ruby) -> Result<HandedSocket, HijackError> {
        self.answer.request_hijack()?;
        // From here on no response can be given, whether or not the socket arrives.
        self.is_hijacked.store(true, Ordering::Relaxed);
        self.socket(ruby)
    }

    /// Takes the socket after the head of a response with `ResponseBody::Hijack`.
    pub(super) fn socket(&self, ruby: &Ruby) -> Result<HandedSocket, HijackError> {
        match self.blocked(ruby, Answer::wait_for_socket) {
            Ok(Outcome::Done) => Ok(self.answer.take_socket()?),
            Ok(Outcome::Gone) => Err(HijackRefused("the client is gone").into()),
            Err(interrupted) => Err(HijackError::Interrupted(interrupted)),
        }
    }

    fn blocked(&self, ruby: &Ruby, wait: fn(&Answer) -> Wait) -> Result<Outcome, Error> {
        let interrupter = self.answer.interrupter();
        loop {
            let interrupt = || interrupter.interrupt();
            match gvl::without_gvl(ruby, || wait(&self.answer), Wake::Anywhere(&interrupt))? {
                Some(Wait::Ready) => return Ok(Outcome::Done),
                Some(Wait::Gone) => return Ok(Outcome::Gone),
                Some(Wait::Interrupted) | None => gvl::check_interrupts(ruby)?,
            }
        }
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub(super) enum HijackError {
    /// It cannot be had.
    Refused(HijackRefused),
    /// This thread was interrupted while it waited.
    Interrupted(Error),
}

impl From<HijackRefused> for HijackError {
    fn from(refused: HijackRefused) -> Self {
        Self::Refused(refused)
    }
}

impl HijackError {
    /// The exception for the application.
    pub(super) fn into_exception(self, ruby: &Ruby) -> Error {
        match self {
            Self::Refused(refused) => Error::new(ruby.exception_io_error(), refused.to_string()),
            Self::Interrupted(error) => error,
        }
    }
}
