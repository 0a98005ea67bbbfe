//! The locked state behind an [`Answer`](super::Answer) and its [`Reply`](super::Reply).

use std::{
    collections::VecDeque,
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::process::Process;

/// The head of a response, and where its body comes from.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// Headers, checked: no CR, LF or NUL, no `rack.*` name; no `transfer-encoding` unless the body
    /// is [`ResponseBody::Hijack`].
    pub headers: HeaderMap,
    /// The body.
    pub body: ResponseBody,
}

/// Where the bytes of a response body come from.
#[derive(Debug)]
pub enum ResponseBody {
    /// All of it, now.
    Whole(Bytes),
    /// The first `len` bytes of a file, sent without passing through Ruby.
    File {
        /// The open file, at offset 0.
        file: File,
        /// How many bytes of it to send.
        len: u64,
    },
    /// Chunks that follow through [`ReplyBody`](super::ReplyBody).
    Stream,
    /// Nothing: after the head the application takes the socket (partial hijack, or 101 with a
    /// streaming body) and the I/O side must call [`Reply::hand_over`](super::Reply::hand_over).
    Hijack,
}

/// The client's socket, given to the application.
#[derive(Debug)]
pub struct HandedSocket {
    /// The socket itself, in non-blocking mode.
    pub fd: OwnedFd,
    /// Bytes that were read from it beyond the request; the application must see them first.
    pub leftover: Bytes,
}

/// The socket cannot be had: the connection is gone, or its transport has no single socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot hijack the connection: {0}")]
pub struct HijackRefused(pub &'static str);

/// How a streamed body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Aborted,
}

/// Where the application's side of the exchange stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// The application has said nothing yet.
    Waiting,
    /// It wants the socket instead of a response.
    HijackWanted,
    /// It has answered; the I/O side has not taken the answer yet.
    Answered(Box<Response>),
    /// The I/O side has what it needs.
    Taken,
    /// The answer was dropped without a word.
    Lost,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) stage: Stage,
    pub(super) early_hints: VecDeque<HeaderMap>,
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) queued_bytes: usize,
    pub(super) end: Option<End>,
    pub(super) socket: Option<Result<HandedSocket, HijackRefused>>,
    /// The I/O side dropped its end: nothing more will reach the client.
    pub(super) reader_gone: bool,
    /// Nobody waits any more for the socket that was asked for.
    pub(super) socket_unwanted: bool,
    pub(super) waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Where both ends are; a child of it has copies that it must not touch.
    process: Process,
    state: Mutex<State>,
    /// Wakes the Ruby thread.
    pub(super) ruby: Condvar,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            process: Process::current(),
            state: Mutex::new(State {
                stage: Stage::Waiting,
                early_hints: VecDeque::new(),
                chunks: VecDeque::new(),
                queued_bytes: 0,
                end: None,
                socket: None,
                reader_gone: false,
                socket_unwanted: false,
                waker: None,
            }),
            ruby: Condvar::new(),
        })
    }

    /// The state. No code that can panic runs under the lock, so poison tells nothing.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process is a child of the one whose exchange it is. The lock may then be held by
    /// a thread that is not here, and nothing reaches the client.
    pub(super) fn is_foreign(&self) -> bool {
        self.process.is_left()
    }

    /// Waits on `ruby` with the lock that `state` holds.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.ruby.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the I/O side after the lock is released.
    pub(super) fn tell_io<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }
}
