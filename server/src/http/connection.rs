//! One connection's task: drives hyper, keeps the time, takes the socket away, closes.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rackrs_ruby::{
    exchange::{HandedSocket, HijackRefused, Peer},
    fork::Private,
};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    alarm::{Alarm, Ring},
    application::Application,
    drain::{Manner, Seat},
    linger,
    link::{Link, Takeover},
    phase::{Action, Event},
    refusal::Refusal,
    request,
    socket::{Socket, Stream},
    worker::Worker,
};

/// An idle connection gives up its buffers after this long, at the next round of its alarm.
const REST_AFTER: Duration = Duration::from_secs(1);

/// Why hyper's part in a connection is over.
#[derive(Debug)]
enum End {
    /// hyper is done, and has shut the sending side.
    Done,
    /// hyper gave up.
    Failed(hyper::Error),
    /// The application wants the socket, and all before it is flushed.
    TakenOver(Takeover),
    /// The last response is flushed, though hyper would go on.
    Last,
    /// Nothing is due to the client.
    Idle,
    /// Nothing is due to the client, but the connection is kept; hyper's buffers are not needed.
    Resting,
    /// The client sends empty lines and no request.
    Flooded,
    /// A request was begun and not finished in time.
    TimedOut,
    /// The client takes nothing of the response.
    Stuck,
    /// The client has gone.
    Gone,
}

/// Serves one connection to its end.
pub(super) async fn run<A: Application>(
    worker: Rc<Worker<A>>,
    stream: Private<Stream>,
    peer: Peer,
) {
    let link = Rc::new(Link::new(Rc::clone(&worker.settings), stream, peer));
    let _presence = Presence::new(Rc::clone(&link));
    let mut task = Task {
        seat: worker.roll.enter(),
        worker: Rc::clone(&worker),
        link: Rc::clone(&link),
        alarm: Alarm::default(),
        looked_for_end: false,
    };
    let (end, leftover) = loop {
        // hyper and its buffers are not made before there is something to read: a connection that
        // only waits costs little.
        if poll_fn(|context| task.poll_first_byte(context)).await == First::Never {
            return;
        }
        // Boxed, so that a connection without hyper is without the room for it.
        let (end, leftover) = Box::pin(drive(&worker, &link, &mut task)).await;
        if !matches!(end, End::Resting) {
            break (end, leftover);
        }
        *link.leftover.borrow_mut() = leftover;
    };
    Box::pin(finish(&link, end, leftover)).await;
}

/// Has hyper serve requests until the connection ends or rests; gives what it had read beyond
/// them.
async fn drive<A: Application>(
    worker: &Rc<Worker<A>>,
    link: &Rc<Link>,
    task: &mut Task<A>,
) -> (End, Bytes) {
    let io = TokioIo::new(Socket::new(Rc::clone(link)));
    let service = service_fn(|request| request::serve(Rc::clone(worker), Rc::clone(link), request));
    let mut connection = worker.http.serve_connection(io, service);
    let end = poll_fn(|context| {
        // First, so that a response that begins in this turn says how the connection goes on.
        task.notice_drain(context);
        let polled = Pin::new(&mut connection).poll(context);
        task.poll_end(polled, context)
    })
    .await;
    (end, connection.into_parts().read_buf)
}

/// Whether a first byte came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Came,
    Never,
}

/// What the task of a connection needs at each poll.
struct Task<A> {
    worker: Rc<Worker<A>>,
    link: Rc<Link>,
    seat: Seat,
    alarm: Alarm,
    /// During the present wait for the application, the socket became readable without the client
    /// being gone; it tells no more.
    looked_for_end: bool,
}

impl<A> Task<A> {
    /// Waits, without hyper, for a request to begin.
    fn poll_first_byte(&mut self, context: &mut Context<'_>) -> Poll<First> {
        self.notice_drain(context);
        if !self.link.leftover.borrow().is_empty() {
            return Poll::Ready(First::Came);
        }
        let readable = match self.link.stream.borrow().as_ref() {
            Some(stream) => stream.poll_input(context),
            None => return Poll::Ready(First::Never),
        };
        match readable {
            Poll::Ready(Ok(())) => return Poll::Ready(First::Came),
            Poll::Ready(Err(_)) => return Poll::Ready(First::Never),
            Poll::Pending if self.has_rested_enough() => return Poll::Ready(First::Never),
            Poll::Pending => {}
        }
        loop {
            match self.alarm.poll_ring(self.link.phase().deadline(), context) {
                Poll::Ready(Ring::Deadline) if self.link.shut_if_quiet() => {
                    return Poll::Ready(First::Never);
                }
                Poll::Ready(Ring::Deadline) => return Poll::Ready(First::Came),
                Poll::Ready(Ring::Round) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether an idle connection is to be closed because the worker stops.
    fn has_rested_enough(&self) -> bool {
        self.link.phase().is_idle()
            && self.link.drain() == Some(Manner::Promptly)
            && self.link.shut_if_quiet()
    }

    /// Decides after each turn of hyper whether, and how, the connection ends.
    fn poll_end(&mut self, hyper: Poll<hyper::Result<()>>, context: &mut Context<'_>) -> Poll<End> {
        match hyper {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Done),
            Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
            Poll::Pending => {}
        }
        if let Some(takeover) = self.link.takeover_due() {
            return Poll::Ready(End::TakenOver(takeover));
        }
        if self.link.phase().is_idle() {
            if self.link.is_last() {
                return Poll::Ready(End::Last);
            }
            if self.has_rested_enough() {
                return Poll::Ready(End::Idle);
            }
        }
        if self.link.is_flooded() {
            return Poll::Ready(End::Flooded);
        }
        if self.poll_gone(context).is_ready() {
            return Poll::Ready(End::Gone);
        }
        self.poll_time(context)
    }

    fn notice_drain(&self, context: &Context<'_>) {
        self.seat.watch(context);
        if let Some(manner) = self.worker.roll.drain()
            && self.link.drain() != Some(manner)
        {
            self.link.set_drain(manner);
        }
    }

    /// While the application works, hyper does not read; a client that goes away is noticed here.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.link.phase().awaits_application() {
            self.looked_for_end = false;
            return Poll::Pending;
        }
        if self.looked_for_end {
            return Poll::Pending;
        }
        let stream = self.link.stream.borrow();
        let Some(stream) = stream.as_ref() else { return Poll::Pending };
        let Poll::Ready(input) = stream.poll_input(context) else { return Poll::Pending };
        self.looked_for_end = true;
        if input.is_err() || stream.is_gone() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.alarm.poll_ring(self.link.phase().deadline(), context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ring::Round) if self.link.is_idle_for(REST_AFTER) => {
                    return Poll::Ready(End::Resting);
                }
                Poll::Ready(Ring::Round) => {}
                Poll::Ready(Ring::Deadline) => break,
            }
        }
        match self.link.on(Event::Tick) {
            Action::Continue => Poll::Pending,
            Action::Close if self.link.shut_if_quiet() => Poll::Ready(End::Idle),
            // The bytes that have come will wake hyper.
            Action::Close => Poll::Pending,
            Action::AnswerTimeout => Poll::Ready(End::TimedOut),
            Action::Cut => Poll::Ready(End::Stuck),
        }
    }
}

/// Carries out the end of a connection. hyper is gone by now; the socket is ours.
async fn finish(link: &Link, end: End, leftover: Bytes) {
    let Some(stream) = link.stream.borrow_mut().take() else { return };
    let counters = &link.settings.counters;
    match end {
        End::Idle | End::Resting | End::Gone => {}
        End::Done if link.is_body_unread() || (link.is_last() && stream.has_input()) => {
            linger::close(stream).await;
        }
        End::Done => {}
        End::Last => linger::close(stream).await,
        End::Failed(error) => {
            tracing::debug!(%error, "connection ended early");
            if !error.is_parse() {
                return;
            }
            counters.malformed();
            if error.is_parse_version_h2() {
                say(stream, Refusal::HTTP2).await;
            } else {
                // hyper has answered.
                linger::close(stream).await;
            }
        }
        End::TakenOver(takeover) => hand_over(link, takeover, stream, leftover).await,
        End::Flooded => {
            counters.malformed();
            say(stream, Refusal::EMPTY_LINES).await;
        }
        End::TimedOut => {
            counters.timed_out();
            link.set_status(Refusal::TIMED_OUT.status);
            if link.is_flushed() {
                link.finish(false);
                say(stream, Refusal::TIMED_OUT).await;
            }
        }
        End::Stuck => counters.timed_out(),
    }
}

/// Sends a refusal past hyper, if the kernel takes it at once, and closes.
async fn say(mut stream: Private<Stream>, refusal: Refusal) {
    let bytes = refusal.to_bytes();
    let written = poll_fn(|context| {
        let write = tokio::io::AsyncWrite::poll_write(Pin::new(&mut *stream), context, &bytes);
        // A client that left no room for a few bytes does not read.
        Poll::Ready(matches!(write, Poll::Ready(Ok(count)) if count == bytes.len()))
    });
    if written.await {
        linger::close(stream).await;
    }
}

/// Gives the socket to the application, after the head of a response if there is one.
async fn hand_over(link: &Link, takeover: Takeover, mut stream: Private<Stream>, leftover: Bytes) {
    let Takeover { reply, head } = takeover;
    if !head.is_empty() {
        let written = timeout(link.settings.limits.write_timeout, stream.write_all(&head)).await;
        if !matches!(written, Ok(Ok(()))) {
            reply.hand_over(Err(HijackRefused("the client is gone")));
            return;
        }
    }
    let socket = match stream.into_inner().into_fd() {
        Ok(fd) => Ok(HandedSocket { fd, leftover }),
        Err(error) => {
            tracing::error!(%error, "cannot take a socket out of the event loop");
            Err(HijackRefused("the socket cannot be taken out of the event loop"))
        }
    };
    link.finish(socket.is_err());
    reply.hand_over(socket);
}

/// Counts a connection while it is open, and ends its request when it goes down.
struct Presence {
    link: Rc<Link>,
}

impl Presence {
    fn new(link: Rc<Link>) -> Self {
        link.settings.counters.connection_opened();
        Self { link }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.link.finish(true);
        self.link.settings.counters.connection_closed();
    }
}
