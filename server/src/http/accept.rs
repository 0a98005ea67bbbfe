//! The accept loop of one listening socket.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::libc;
use rackrs_ruby::{
    exchange::{Peer, Scheme},
    fork::{Private, between_forks},
};
use tokio::time::sleep;

use super::{application::Application, connection, socket::Stream, worker::Worker};

/// How long accepting pauses when the system has no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound and listening socket, shared with other processes.
#[derive(Debug)]
pub enum Source {
    /// A Unix socket, by path or abstract.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

#[derive(Debug)]
enum Listener {
    Unix(Private<tokio::net::UnixListener>),
    Tcp(Private<tokio::net::TcpListener>),
}

impl Listener {
    fn new(source: Source) -> io::Result<Self> {
        match source {
            Source::Unix(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener).map(Private::new).map(Self::Unix)
            }
            Source::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener).map(Private::new).map(Self::Tcp)
            }
        }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Private<Stream>, Peer)>> {
        // A process that the application forks just now must not keep the connection open.
        between_forks(|| match self {
            Self::Unix(listener) => listener.poll_accept(context).map_ok(|(stream, _)| {
                let peer = Peer { remote: None, local: None, scheme: Scheme::Http };
                (Private::new(Stream::Unix(stream)), peer)
            }),
            Self::Tcp(listener) => {
                let (stream, remote) = ready!(listener.poll_accept(context))?;
                // Small responses must not wait for the acknowledgement of earlier ones.
                stream.set_nodelay(true)?;
                let local = stream.local_addr().ok();
                let peer = Peer { remote: Some(canonical(remote)), local, scheme: Scheme::Http };
                Poll::Ready(Ok((Private::new(Stream::Tcp(stream)), peer)))
            }
        })
    }
}

/// An IPv4 client of an IPv6 socket is told to the application as an IPv4 client.
fn canonical(remote: SocketAddr) -> IpAddr {
    remote.ip().to_canonical()
}

/// Accepts and serves connections until it is dropped.
pub(super) async fn run<A: Application>(source: Source, worker: Rc<Worker<A>>) {
    match Listener::new(source) {
        Ok(listener) => match accept_all(&listener, &worker).await {},
        Err(error) => {
            tracing::error!(%error, "cannot listen on an inherited socket; it is left to others");
        }
    }
}

async fn accept_all<A: Application>(listener: &Listener, worker: &Rc<Worker<A>>) -> Infallible {
    loop {
        // The permit comes first: at the limit, the kernel's backlog holds the newcomers.
        let permit = Arc::clone(&worker.connections)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, peer) = accept_one(listener, worker).await;
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            connection::run(worker, stream, peer).await;
            drop(permit);
        });
    }
}

/// Accepts one connection, waiting out what passes by itself.
async fn accept_one<A: Application>(
    listener: &Listener,
    worker: &Worker<A>,
) -> (Private<Stream>, Peer) {
    let mut pausing = false;
    loop {
        match accept_in_turn(listener, worker).await {
            Ok(accepted) => return accepted,
            Err(error) if is_want_of_room(&error) => {
                worker.settings.counters.accept_paused();
                if !std::mem::replace(&mut pausing, true) {
                    tracing::error!(%error, "cannot accept connections; trying until it passes");
                }
                sleep(PAUSE).await;
            }
            // The client gave up in the backlog; the next one is not to blame.
            Err(error) => tracing::debug!(%error, "connection not accepted"),
        }
    }
}

/// Accepts when there is a connection, after leaving it to idle siblings for a moment.
async fn accept_in_turn<A: Application>(
    listener: &Listener,
    worker: &Worker<A>,
) -> io::Result<(Private<Stream>, Peer)> {
    loop {
        if let Some(pause) = worker.settings.yield_when_busy
            && worker.application.is_busy()
        {
            sleep(pause).await;
        }
        // Not a plain await: between the wake-up and the accept there must be room for the pause.
        let polled = poll_fn(|context| Poll::Ready(listener.poll_accept(context))).await;
        match polled {
            Poll::Ready(result) => return result,
            Poll::Pending => woken().await,
        }
    }
}

/// Ready when the task is polled again, which the listener has been told to see to.
async fn woken() {
    let mut polled = false;
    poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever else does not say that the client is to blame:
/// trying again at once would spin a core. (`EINVAL` is a client that went before `TCP_NODELAY`.)
fn is_want_of_room(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NotConnected
    ) && !matches!(error.raw_os_error(), Some(libc::EPROTO | libc::EINVAL))
}
