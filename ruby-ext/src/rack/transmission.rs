//! A response body on its way out in pieces: the delayed head, the declared length, the end.
//!
//! The head waits for the first piece, so that a body that raises before it still gets a 500. No
//! more than the declared length is ever sent, and a body that misses it is aborted, so that its
//! bytes, or those of the next response, are never taken for something else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONNECTION, HeaderValue},
};
use magnus::{Error, Ruby};

use super::{
    app_chunks::AppChunks,
    client::{Client, Outcome},
    failure::Refusal,
};
use crate::exchange::{Push, Response, ResponseBody};

/// Status and headers that have not been sent.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Why no more is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// All was sent.
    Finished,
    /// It was cut short: the application raised.
    Aborted,
    /// The client is gone.
    Gone,
    /// The body broke a rule.
    Refused(Refusal),
}

/// Why a piece was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    Stopped(Stop),
    /// This thread was interrupted while the client was behind.
    Interrupted(Error),
}

/// One body on its way out. Shared with what the application may keep: blocks and streams.
#[derive(Debug)]
pub(super) struct Transmission {
    client: Arc<Client>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once it was sent or given up.
    head: Option<Head>,
    /// A first piece that is all of the declared length: if no more comes, it goes with the head.
    held: Option<Bytes>,
    /// What is left of the declared length.
    left: Option<u64>,
    /// Undoes the framing of an application that does its own.
    chunks: Option<AppChunks>,
    stop: Option<Stop>,
}

impl Transmission {
    pub(super) fn new(
        client: &Arc<Client>,
        head: Head,
        declared_bytes: Option<u64>,
        is_chunked: bool,
    ) -> Self {
        let chunks = is_chunked.then(AppChunks::default);
        let state =
            State { head: Some(head), held: None, left: declared_bytes, chunks, stop: None };
        Self { client: Arc::clone(client), state: Mutex::new(state) }
    }

    /// Sends `piece`, after the head if it is the first. Blocks, without the GVL, while the client
    /// is behind.
    pub(super) fn write(&self, ruby: &Ruby, piece: Bytes) -> Result<(), NotSent> {
        let push = self.lock().accept(&self.client, piece).map_err(NotSent::Stopped)?;
        if push == Push::TakenAndFull {
            match self.client.wait_for_room(ruby) {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Gone) => return Err(NotSent::Stopped(self.lock().end(Stop::Gone))),
                Err(interrupted) => return Err(NotSent::Interrupted(interrupted)),
            }
        }
        Ok(())
    }

    /// Sends the head, if it was not sent.
    pub(super) fn flush(&self) -> Result<(), Stop> {
        let mut state = self.lock();
        if let Some(stop) = &state.stop {
            return Err(stop.clone());
        }
        state.start(&self.client)
    }

    /// Ends the body; sends the head if it was not sent. Ending it twice does nothing.
    pub(super) fn finish(&self) -> Stop {
        self.lock().finish(&self.client)
    }

    /// Cuts the body short, because of `stop`. Gives the head back if it was not sent: the client
    /// can then have another answer.
    pub(super) fn abort(&self, stop: Stop) -> Option<Head> {
        let mut state = self.lock();
        let head = state.head.take();
        if head.is_none() && !matches!(state.stop, Some(Stop::Finished)) {
            self.client.abort();
        }
        state.end(stop);
        head
    }

    /// Takes no more, because the application broke a rule. What became of the head is seen when
    /// it is aborted.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.lock().end(Stop::Refused(refusal));
    }

    /// Why no more is taken, if so.
    pub(super) fn stop(&self) -> Option<Stop> {
        self.lock().stop.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock calls Ruby or panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transmission {
    /// A stream that the application dropped without closing it ends as if closed. Touches no
    /// Ruby: the collector may be what drops it.
    fn drop(&mut self) {
        self.finish();
    }
}

impl State {
    fn accept(&mut self, client: &Client, piece: Bytes) -> Result<Push, Stop> {
        if let Some(stop) = &self.stop {
            return Err(stop.clone());
        }
        let piece = match &mut self.chunks {
            None => piece,
            Some(chunks) => match chunks.decode(piece) {
                Ok(piece) => piece,
                Err(refusal) => return Err(self.refuse(client, refusal)),
            },
        };
        self.send(client, piece)
    }

    fn send(&mut self, client: &Client, mut piece: Bytes) -> Result<Push, Stop> {
        if piece.is_empty() {
            return Ok(Push::Taken);
        }
        let is_first = self.head.is_some() && self.held.is_none();
        let mut is_too_long = false;
        if let Some(left) = &mut self.left {
            is_too_long = piece.len() as u64 > *left;
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
            if is_first && *left == 0 && !is_too_long {
                self.held = Some(piece);
                return Ok(Push::Taken);
            }
        }
        if is_too_long && let Some(head) = &mut self.head {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.start(client)?;
        let push = client.offer(piece);
        if push == Push::Gone {
            return Err(self.end(Stop::Gone));
        }
        if is_too_long {
            return Err(self.refuse(client, Refusal::TooLong));
        }
        Ok(push)
    }

    /// Sends the head and what was held with it.
    fn start(&mut self, client: &Client) -> Result<(), Stop> {
        let Some(Head { status, headers }) = self.head.take() else { return Ok(()) };
        let body = ResponseBody::Stream;
        if client.respond(Response { status, headers, body }) == Outcome::Gone {
            return Err(self.end(Stop::Gone));
        }
        if let Some(held) = self.held.take()
            && client.offer(held) == Push::Gone
        {
            return Err(self.end(Stop::Gone));
        }
        Ok(())
    }

    fn finish(&mut self, client: &Client) -> Stop {
        if let Some(stop) = &self.stop {
            return stop.clone();
        }
        if let Some(mut chunks) = self.chunks.take() {
            let rest = match chunks.finish() {
                Ok(rest) => rest,
                Err(refusal) => return self.refuse(client, refusal),
            };
            if let Err(stop) = self.send(client, rest) {
                return stop;
            }
        }
        if let Some(left @ 1..) = self.left {
            return self.refuse(client, Refusal::TooShort(left));
        }
        match self.head.take() {
            None => client.finish(),
            Some(Head { status, headers }) => {
                let body = ResponseBody::Whole(self.held.take().unwrap_or_default());
                if client.respond(Response { status, headers, body }) == Outcome::Gone {
                    return self.end(Stop::Gone);
                }
            }
        }
        self.end(Stop::Finished)
    }

    /// Aborts a body whose head is out, or goes out now: what was right of it was promised.
    fn refuse(&mut self, client: &Client, refusal: Refusal) -> Stop {
        if let Err(stop) = self.start(client) {
            return stop;
        }
        client.abort();
        self.end(Stop::Refused(refusal))
    }

    fn end(&mut self, stop: Stop) -> Stop {
        self.held = None;
        self.stop.get_or_insert(stop).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::exchange::{Event, Reply, exchange};

    fn transmission(declared_bytes: Option<u64>) -> (Transmission, Reply) {
        let (answer, reply) = exchange();
        let client = Arc::new(Client::new(answer));
        let head = Head { status: StatusCode::OK, headers: HeaderMap::new() };
        (Transmission::new(&client, head, declared_bytes, false), reply)
    }

    fn accept(transmission: &Transmission, piece: &'static [u8]) -> Result<Push, Stop> {
        transmission.lock().accept(&transmission.client, Bytes::from_static(piece))
    }

    fn body(mut reply: Reply) -> (Vec<u8>, &'static str) {
        let context = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Event::Response(response)) = reply.poll_event(context) else {
            return (Vec::new(), "no response");
        };
        if let ResponseBody::Whole(bytes) = response.body {
            return (bytes.to_vec(), "whole");
        }
        let mut chunks = reply.into_body();
        let mut body = Vec::new();
        loop {
            match chunks.poll_chunk(context) {
                Poll::Ready(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
                Poll::Ready(Some(Err(_))) => return (body, "aborted"),
                Poll::Ready(None) => return (body, "complete"),
                Poll::Pending => return (body, "open"),
            }
        }
    }

    #[test]
    fn a_dropped_stream_ends_as_if_closed() {
        let (unused, reply) = transmission(None);
        drop(unused);
        assert_eq!(body(reply), (vec![], "whole"));
        let (used, reply) = transmission(None);
        assert_eq!(accept(&used, b"a"), Ok(Push::Taken));
        drop(used);
        assert_eq!(body(reply), (b"a".to_vec(), "complete"));
        let (short, reply) = transmission(Some(2));
        assert_eq!(accept(&short, b"a"), Ok(Push::Taken));
        drop(short);
        assert_eq!(body(reply), (b"a".to_vec(), "aborted"));
    }

    #[test]
    fn a_first_piece_goes_out_at_once_unless_it_is_all() {
        let (open, reply) = transmission(None);
        assert_eq!(accept(&open, b"a"), Ok(Push::Taken));
        assert_eq!(body(reply), (b"a".to_vec(), "open"));
        let (all, reply) = transmission(Some(1));
        assert_eq!(accept(&all, b"a"), Ok(Push::Taken));
        assert_eq!(all.finish(), Stop::Finished);
        assert_eq!(body(reply), (b"a".to_vec(), "whole"));
    }

    #[test]
    fn an_abort_gives_the_head_back_only_before_it_is_sent() {
        let (early, _reply) = transmission(Some(1));
        assert_eq!(accept(&early, b"a"), Ok(Push::Taken));
        assert!(early.abort(Stop::Aborted).is_some());
        assert_eq!(accept(&early, b"a"), Err(Stop::Aborted));
        let (late, reply) = transmission(None);
        assert_eq!(accept(&late, b"a"), Ok(Push::Taken));
        assert!(late.abort(Stop::Aborted).is_none());
        assert_eq!(body(reply), (b"a".to_vec(), "aborted"));
    }
}
