//! The I/O thread's end of an exchange.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;

use super::state::{End, HandedSocket, HijackRefused, Response, Shared, Stage};

/// What the application did.
#[derive(Debug)]
pub enum Event {
    /// It wants a 103 sent now; more events follow.
    EarlyHints(HeaderMap),
    /// It answered.
    Response(Box<Response>),
    /// It wants the socket: give it by [`Reply::hand_over`].
    Hijack,
    /// Its thread ended without an answer; the client gets a 500.
    Lost,
}

/// The body was cut short; the client must be able to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the application did not finish the response body")]
pub struct Aborted;

/// Where the I/O side awaits the answer to one request. Dropping it tells the application's side
/// that the client is gone.
#[derive(Debug)]
pub struct Reply {
    shared: Arc<Shared>,
}

impl Reply {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next event. After `Response`, `Hijack` or `Lost` there is none.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.shared.lock();
        if let Some(headers) = state.early_hints.pop_front() {
            return Poll::Ready(Event::EarlyHints(headers));
        }
        match std::mem::replace(&mut state.stage, Stage::Taken) {
            Stage::Answered(response) => Poll::Ready(Event::Response(response)),
            Stage::HijackWanted => Poll::Ready(Event::Hijack),
            Stage::Lost => Poll::Ready(Event::Lost),
            unchanged @ (Stage::Waiting | Stage::Taken) => {
                state.stage = unchanged;
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Gives the socket, or the reason why not, to the waiting Ruby thread.
    pub fn hand_over(self, socket: Result<HandedSocket, HijackRefused>) {
        let mut state = self.shared.lock();
        if state.socket_unwanted {
            // Not to be kept until the application's objects are collected.
            drop(state);
            drop(socket);
            return;
        }
        state.socket = Some(socket);
        drop(state);
        self.shared.ruby.notify_all();
    }

    /// The chunks of a response with [`ResponseBody::Stream`](super::ResponseBody::Stream).
    #[must_use]
    pub fn into_body(self) -> ReplyBody {
        ReplyBody { reply: self }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.reader_gone = true;
        state.chunks.clear();
        state.queued_bytes = 0;
        // The other end lives as long as the application's objects: a response that nobody will
        // read, with its file, must not.
        let unread = std::mem::replace(&mut state.stage, Stage::Taken);
        let waker = state.waker.take();
        drop(state);
        drop((unread, waker));
        self.shared.ruby.notify_all();
    }
}

/// The reading end of a streamed response body.
#[derive(Debug)]
pub struct ReplyBody {
    reply: Reply,
}

impl ReplyBody {
    /// The next chunk, `None` at the end.
    pub fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Aborted>>> {
        let mut state = self.reply.shared.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.queued_bytes -= chunk.len();
            drop(state);
            self.reply.shared.ruby.notify_all();
            return Poll::Ready(Some(Ok(chunk)));
        }
        match state.end {
            Some(End::Complete) => Poll::Ready(None),
            Some(End::Aborted) => Poll::Ready(Some(Err(Aborted))),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
