//! The Ruby thread's end of an exchange.
//!
//! Nothing here touches Ruby. The methods named `wait_…` block and must be called without the GVL;
//! [`Interrupter::interrupt`] is what an unblock function calls, from any thread.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    STREAM_QUEUED_BYTES_MAX,
    state::{End, HandedSocket, HijackRefused, Response, ResponseBody, Shared, Stage},
};

/// The client, or its connection, is gone; nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot send to the client: it is gone")]
pub struct Gone;

/// Why a forked child gets no socket.
const FOREIGN: HijackRefused = HijackRefused("it belongs to the parent of this process");

/// What became of a pushed chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// Queued, and there is room for more.
    Taken,
    /// Queued, and the queue is now full: [`Answer::wait_for_room`] before the next.
    TakenAndFull,
    /// Not queued: nobody reads any more.
    Gone,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// What was waited for is there.
    Ready,
    /// The I/O side is gone.
    Gone,
    /// [`Interrupter::interrupt`] was called: let Ruby check its interrupts, then wait again.
    Interrupted,
}

/// Where a Ruby thread puts the answer to one request.
///
/// Dropping it without an answer makes the client see a 500, or an unfinished body. In a child that
/// the application forks, the client is gone and dropping it does nothing.
#[derive(Debug)]
pub struct Answer {
    shared: Arc<Shared>,
}

impl Answer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What one thread gives to its wait, and to the unblock function that may end it.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { shared: Arc::clone(&self.shared), is_rung: AtomicBool::new(false) }
    }

    /// Sends a 103 with `headers` before the response.
    ///
    /// # Errors
    ///
    /// [`Gone`] when nobody reads any more or the response has been sent.
    pub fn early_hints(&self, headers: HeaderMap) -> Result<(), Gone> {
        if self.shared.is_foreign() {
            return Err(Gone);
        }
        self.shared.tell_io(|state| {
            if state.reader_gone || !matches!(state.stage, Stage::Waiting) {
                return Err(Gone);
            }
            state.early_hints.push_back(headers);
            Ok(())
        })
    }

    /// Gives the response. With [`ResponseBody::Stream`] its chunks follow by [`Answer::push`].
    ///
    /// # Errors
    ///
    /// [`Gone`] when nobody reads any more, or the exchange was answered or hijacked before.
    pub fn respond(&self, response: Response) -> Result<(), Gone> {
        if self.shared.is_foreign() {
            return Err(Gone);
        }
        self.shared.tell_io(|state| {
            if state.reader_gone || !matches!(state.stage, Stage::Waiting) {
                return Err(Gone);
            }
            if !matches!(response.body, ResponseBody::Stream) {
                state.end = Some(End::Complete);
            }
            state.stage = Stage::Answered(Box::new(response));
            Ok(())
        })
    }

    /// Queues one chunk of a streamed body. Never blocks.
    #[must_use]
    pub fn push(&self, chunk: Bytes) -> Push {
        if self.shared.is_foreign() {
            return Push::Gone;
        }
        self.shared.tell_io(|state| {
            if state.reader_gone || state.end.is_some() {
                return Push::Gone;
            }
            if !chunk.is_empty() {
                state.queued_bytes += chunk.len();
                state.chunks.push_back(chunk);
            }
            if state.queued_bytes < STREAM_QUEUED_BYTES_MAX {
                Push::Taken
            } else {
                Push::TakenAndFull
            }
        })
    }

    /// Blocks until the queue has room. Call without the GVL.
    #[must_use]
    pub fn wait_for_room(&self, interrupter: &Interrupter) -> Wait {
        if self.shared.is_foreign() {
            return Wait::Gone;
        }
        let mut state = self.shared.lock();
        loop {
            if state.reader_gone {
                return Wait::Gone;
            }
            if state.queued_bytes < STREAM_QUEUED_BYTES_MAX {
                return Wait::Ready;
            }
            if interrupter.take() {
                return Wait::Interrupted;
            }
            state = self.shared.wait(state);
        }
    }

    /// Ends a streamed body as complete.
    pub fn finish(&self) {
        self.end(End::Complete);
    }

    /// Ends a streamed body as cut short: the client must be able to tell.
    pub fn abort(&self) {
        self.end(End::Aborted);
    }

    /// Whether the I/O side has gone away.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.shared.is_foreign() || self.shared.lock().reader_gone
    }

    /// Asks for the client's socket; follow with [`Answer::wait_for_socket`].
    ///
    /// # Errors
    ///
    /// [`HijackRefused`] when the exchange was answered before or the client is gone.
    pub fn request_hijack(&self) -> Result<(), HijackRefused> {
        if self.shared.is_foreign() {
            return Err(FOREIGN);
        }
        self.shared.tell_io(|state| {
            if state.reader_gone {
                return Err(HijackRefused("the client is gone"));
            }
            if !matches!(state.stage, Stage::Waiting) {
                return Err(HijackRefused("the request was answered before"));
            }
            state.stage = Stage::HijackWanted;
            state.end = Some(End::Complete);
            Ok(())
        })
    }

    /// Blocks until the socket is handed over, after [`Answer::request_hijack`] or a response with
    /// [`ResponseBody::Hijack`]. Call without the GVL, then [`Answer::take_socket`].
    #[must_use]
    pub fn wait_for_socket(&self, interrupter: &Interrupter) -> Wait {
        if self.shared.is_foreign() {
            return Wait::Gone;
        }
        let mut state = self.shared.lock();
        loop {
            if state.socket.is_some() {
                return Wait::Ready;
            }
            if state.reader_gone {
                return Wait::Gone;
            }
            if interrupter.take() {
                return Wait::Interrupted;
            }
            state = self.shared.wait(state);
        }
    }

    /// The socket, once.
    ///
    /// # Errors
    ///
    /// [`HijackRefused`] when it could not be handed over or was taken before.
    pub fn take_socket(&self) -> Result<HandedSocket, HijackRefused> {
        if self.shared.is_foreign() {
            return Err(FOREIGN);
        }
        let socket = self.shared.lock().socket.take();
        socket.unwrap_or(Err(HijackRefused("the socket was taken before")))
    }

    /// Gives up waiting for the socket: it is closed when it comes, or now.
    pub fn refuse_socket(&self) {
        if self.shared.is_foreign() {
            return;
        }
        let mut state = self.shared.lock();
        state.socket_unwanted = true;
        let socket = state.socket.take();
        drop(state);
        drop(socket);
    }

    /// Ends the exchange without an answer, as dropping does: the client sees a 500, or an
    /// unfinished body. After an answer that is complete it does nothing.
    pub fn lose(&self) {
        if self.shared.is_foreign() {
            return;
        }
        self.shared.tell_io(|state| {
            if matches!(state.stage, Stage::Waiting) {
                state.stage = Stage::Lost;
            }
            state.end.get_or_insert(End::Aborted);
        });
    }

    fn end(&self, end: End) {
        if self.shared.is_foreign() {
            return;
        }
        self.shared.tell_io(|state| {
            state.end.get_or_insert(end);
        });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.lose();
    }
}

/// Makes the thread that waits in an [`Answer`] with it return [`Wait::Interrupted`], and no other:
/// several threads may write to one client.
#[derive(Debug)]
pub struct Interrupter {
    shared: Arc<Shared>,
    /// Set and cleared under the lock of `shared`, which orders it.
    is_rung: AtomicBool,
}

impl Interrupter {
    /// Takes one short lock; runs no Ruby code, so an unblock function may call it.
    pub fn interrupt(&self) {
        let state = self.shared.lock();
        self.is_rung.store(true, Ordering::Relaxed);
        drop(state);
        self.shared.ruby.notify_all();
    }

    /// Whether it was rung since it was last asked. Asked under the lock only.
    fn take(&self) -> bool {
        self.is_rung.swap(false, Ordering::Relaxed)
    }
}
