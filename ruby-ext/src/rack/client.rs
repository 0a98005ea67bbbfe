//! The client of one request, as its Ruby thread and the objects in env reach it.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use magnus::{Error, Ruby};

use crate::{
    exchange::{Answer, Gone, HandedSocket, HijackRefused, Interrupter, Push, Response, Wait},
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
            Err(interrupted) => {
                self.answer.refuse_socket();
                Err(HijackError::Interrupted(interrupted))
            }
        }
    }

    fn blocked(
        &self,
        ruby: &Ruby,
        wait: fn(&Answer, &Interrupter) -> Wait,
    ) -> Result<Outcome, Error> {
        let interrupter = self.answer.interrupter();
        loop {
            let wait = || wait(&self.answer, &interrupter);
            let interrupt = || interrupter.interrupt();
            match gvl::without_gvl(ruby, wait, Wake::Anywhere(&interrupt))? {
                Some(Wait::Ready) => return Ok(Outcome::Done),
                Some(Wait::Gone) => return Ok(Outcome::Gone),
                Some(Wait::Interrupted) | None => gvl::check_interrupts(ruby)?,
            }
        }
    }
}

/// Lets the client see the end when a bug of ours unwinds this thread: the application's objects
/// would hold the exchange open until they are collected.
pub(super) struct LoseOnPanic<'a>(pub(super) &'a Client);

impl Drop for LoseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.answer.lose();
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

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::exchange::{Event, exchange};

    #[test]
    fn a_panic_ends_the_exchange_of_a_client_that_is_kept() {
        let (answer, mut reply) = exchange();
        let client = Client::new(answer);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _on_panic = LoseOnPanic(&client);
            panic!("a bug");
        }));
        assert!(unwound.is_err());
        let event = reply.poll_event(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(event, Poll::Ready(Event::Lost)));
    }
}
