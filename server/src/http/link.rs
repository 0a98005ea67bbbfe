//! What the parts of one connection share: its socket, its phase, and the request in hand.
//!
//! hyper owns the reader and writer, the service future and the response body, and calls them at
//! times of its own; the connection's task must know what they did. All of it is on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use rackrs_ruby::{
    exchange::{Peer, Reply},
    fork::Private,
};
use tokio::time::Instant;

use super::{
    access::{Outcome, Record},
    drain::Manner,
    phase::{Action, Event, Phase, Timeouts},
    settings::Settings,
    socket::Stream,
};

/// Most bytes of empty lines that a client may send in front of a request. RFC 9112 section 2.2
/// asks for patience with one line.
const EMPTY_LINE_BYTES_MAX: usize = 1024;

/// The application wants the socket.
#[derive(Debug)]
pub(super) struct Takeover {
    /// Where the socket goes.
    pub(super) reply: Reply,
    /// The head of a response to send first; empty when there is none.
    pub(super) head: BytesMut,
}

/// The shared state of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) settings: Rc<Settings>,
    pub(super) peer: Arc<Peer>,
    /// `None` once it was taken for a hijack or for closing.
    pub(super) stream: RefCell<Option<Private<Stream>>>,
    /// Bytes that an earlier hyper had read and not used; to be read before the stream.
    pub(super) leftover: RefCell<Bytes>,
    timeouts: Cell<Timeouts>,
    phase: Cell<Phase>,
    /// Something was given to hyper or to us that the kernel has not taken.
    unflushed: Cell<bool>,
    /// Wakes whoever waits in [`Link::poll_flushed`].
    flush_waker: RefCell<Option<Waker>>,
    /// Raw bytes to send as soon as hyper has nothing to send.
    pub(super) interim: RefCell<BytesMut>,
    takeover: RefCell<Option<Takeover>>,
    /// Requests begun on this connection.
    requests: Cell<u32>,
    current: RefCell<Option<Current>>,
    /// The present response's body has been given to hyper to its end.
    body_given: Cell<bool>,
    /// No further request is served on this connection.
    last: Cell<bool>,
    /// The client can send no request beyond what it has sent.
    input_shut: Cell<bool>,
    /// The body of the present request has not been read to its end.
    body_unread: Cell<bool>,
    /// Bytes of empty lines in front of the present head, until its first other byte.
    empty_line_bytes: Cell<Option<usize>>,
    flooded: Cell<bool>,
    drain: Cell<Option<Manner>>,
}

/// The request in hand.
#[derive(Debug)]
struct Current {
    record: Option<Record>,
    outcome: Outcome,
    in_flight: bool,
}

impl Link {
    pub(super) fn new(settings: Rc<Settings>, stream: Private<Stream>, peer: Peer) -> Self {
        let timeouts = Timeouts::from(&settings.limits);
        Self {
            settings,
            peer: Arc::new(peer),
            stream: RefCell::new(Some(stream)),
            leftover: RefCell::default(),
            timeouts: Cell::new(timeouts),
            phase: Cell::new(Phase::accepted(Instant::now(), &timeouts)),
            unflushed: Cell::new(false),
            flush_waker: RefCell::default(),
            interim: RefCell::default(),
            takeover: RefCell::default(),
            requests: Cell::new(0),
            current: RefCell::default(),
            body_given: Cell::new(false),
            last: Cell::new(false),
            input_shut: Cell::new(false),
            body_unread: Cell::new(false),
            empty_line_bytes: Cell::new(None),
            flooded: Cell::new(false),
            drain: Cell::new(None),
        }
    }

    // === phase ===

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether the connection has been idle for at least `time`.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let idle = self.phase.get().idle_for(Instant::now(), &self.timeouts.get());
        idle.is_some_and(|idle| time <= idle)
    }

    /// Moves to the next phase and says what must be done.
    pub(super) fn on(&self, event: Event) -> Action {
        let (next, action) = self.phase.get().on(event, Instant::now(), &self.timeouts.get());
        self.phase.set(next);
        action
    }

    /// The worker wants to end: the next response is the last.
    pub(super) fn set_drain(&self, manner: Manner) {
        self.drain.set(Some(manner));
        self.timeouts.set(self.timeouts.get().draining());
        self.on(Event::DrainAsked(manner));
    }

    /// How the connection has been asked to end, if it has.
    pub(super) fn drain(&self) -> Option<Manner> {
        self.drain.get()
    }

    /// Whether a connection without a request can be closed, because no byte of one has come. On a
    /// Unix socket none can slip in any more when this says so; one that just did is still served.
    pub(super) fn shut_if_quiet(&self) -> bool {
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref() else { return true };
        if stream.has_input() {
            return false;
        }
        // Not without the look before: a client in the middle of its request must not be stopped.
        self.input_shut.set(true);
        !stream.shut_input()
    }

    // === the socket's view ===

    pub(super) fn received(&self, bytes: &[u8]) {
        let begins = match self.phase.get() {
            Phase::Fresh { .. } | Phase::Idle { .. } => true,
            Phase::Head { .. } => false,
            Phase::Body { .. }
            | Phase::Spooling
            | Phase::Application
            | Phase::Responding
            | Phase::Blocked { .. } => {
                self.on(Event::Received);
                return;
            }
        };
        self.on(Event::Received);
        let before = if begins { Some(0) } else { self.empty_line_bytes.get() };
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let so_far = before.map(|before| before + empty);
        self.flooded.set(so_far.is_some_and(|so_far| so_far > EMPTY_LINE_BYTES_MAX));
        self.empty_line_bytes.set(so_far.filter(|_| empty == bytes.len()));
    }

    /// Whether a client sends empty lines instead of a head.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get() && matches!(self.phase.get(), Phase::Head { .. })
    }

    pub(super) fn writing(&self) {
        self.unflushed.set(true);
    }

    pub(super) fn written(&self) {
        if matches!(self.phase.get(), Phase::Blocked { .. }) {
            self.on(Event::Written);
        }
    }

    pub(super) fn write_blocked(&self) {
        self.on(Event::WriteBlocked);
    }

    /// The kernel has taken all that there was.
    pub(super) fn flushed(&self) {
        self.unflushed.set(false);
        if self.body_given.take() {
            self.finish(false);
            self.on(Event::ResponseFlushed);
        }
        if let Some(waker) = self.flush_waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed.get()
    }

    /// Ready when the kernel has taken all that there was.
    pub(super) fn poll_flushed(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_flushed() {
            return Poll::Ready(());
        }
        *self.flush_waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    // === the request's view ===

    /// A head is complete.
    pub(super) fn request_begun(&self, head: &http::request::Parts) {
        self.finish(false);
        self.body_given.set(false);
        self.on(Event::HeadComplete);
        self.requests.set(self.requests.get().saturating_add(1));
        self.settings.counters.request();
        let record = self.settings.access_log.as_ref().map(|_| Record::new(head, Instant::now()));
        *self.current.borrow_mut() =
            Some(Current { record, outcome: Outcome::default(), in_flight: false });
    }

    pub(super) fn set_body_unread(&self, unread: bool) {
        self.body_unread.set(unread);
    }

    /// Whether the client may still be sending the body of a request that was answered.
    pub(super) fn is_body_unread(&self) -> bool {
        self.body_unread.get()
    }

    pub(super) fn dispatched(&self) {
        self.on(Event::Dispatched);
        if let Some(current) = self.current.borrow_mut().as_mut() {
            current.in_flight = true;
            self.settings.counters.dispatched();
        }
    }

    /// Sends `head` in front of the response. Follow with [`Link::poll_flushed`].
    pub(super) fn send_interim(&self, head: &BytesMut) {
        self.unflushed.set(true);
        self.interim.borrow_mut().extend_from_slice(head);
    }

    /// The connection's task shall take the socket away from hyper.
    pub(super) fn take_over(&self, takeover: Takeover) {
        *self.takeover.borrow_mut() = Some(takeover);
    }

    /// The takeover that was asked for, once all before it is flushed.
    pub(super) fn takeover_due(&self) -> Option<Takeover> {
        if self.is_flushed() { self.takeover.borrow_mut().take() } else { None }
    }

    /// Whether the response to the present request must say `connection: close`.
    pub(super) fn must_close(&self) -> bool {
        self.drain.get().is_some()
            || self.last.get()
            || self.input_shut.get()
            || self.requests.get() >= self.settings.limits.max_keep_alive
    }

    pub(super) fn set_last(&self) {
        self.last.set(true);
    }

    pub(super) fn is_last(&self) -> bool {
        self.last.get()
    }

    // === the response's view ===

    /// A response's head goes to hyper, its body follows.
    pub(super) fn response_started(&self, status: StatusCode) {
        self.unflushed.set(true);
        self.on(Event::ResponseStarted);
        self.set_status(status);
    }

    /// The status of what answers the present request.
    pub(super) fn set_status(&self, status: StatusCode) {
        if let Some(current) = self.current.borrow_mut().as_mut() {
            current.outcome.status = Some(status);
        }
    }

    /// Bytes of the body go to hyper.
    pub(super) fn body_bytes(&self, bytes: usize) {
        self.unflushed.set(true);
        if let Some(current) = self.current.borrow_mut().as_mut() {
            current.outcome.body_bytes += bytes as u64;
        }
    }

    /// The body is over; the response is finished with the next flush.
    pub(super) fn body_given(&self) {
        self.body_given.set(true);
    }

    /// Ends the request in hand, if there is one: logs and counts it.
    pub(super) fn finish(&self, cut: bool) {
        let Some(current) = self.current.borrow_mut().take() else { return };
        let Current { record, mut outcome, in_flight } = current;
        outcome.cut = cut;
        self.settings.counters.finished();
        self.settings.counters.body_bytes_out(outcome.body_bytes);
        if in_flight {
            self.settings.counters.answered();
        }
        if let (Some(record), Some(log)) = (record, &self.settings.access_log) {
            record.finish(log.as_ref(), &self.peer, outcome);
        }
    }
}
