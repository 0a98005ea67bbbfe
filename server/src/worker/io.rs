//! The I/O thread of a worker: its runtime, its listeners, its channel to the master.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use nix::sys::{
    signal::SigSet,
    socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname},
};
use rackrs_ruby::{
    exchange::{Full, Queue, Request},
    pool::{Pool, PoolStatus},
};
use rackrs_sys::temp_file;
use tokio::{sync::Notify, task::LocalSet};

use super::{Birth, EX_OSERR};
use crate::{
    config::Config,
    http::{self, Counters, Drained, Manner, Server, Settings, Source},
    telemetry::{
        access::AccessLines,
        chain,
        events::{self, Events},
    },
    wire::{AsyncChannel, Failure, FromWorker, ToWorker, WireError},
};

/// With several workers, how long a busy one leaves a newcomer to the others: Puma's
/// `wait_for_less_busy_worker`.
const YIELD_WHEN_BUSY: Duration = Duration::from_millis(5);

/// What the I/O thread is started with.
pub(super) struct Io {
    pub(super) birth: Birth,
    pub(super) queue: Arc<Queue>,
    /// Notified by the worker's own TERM.
    pub(super) drain: Arc<Notify>,
    pub(super) pool: Arc<Pool>,
}

/// The Ruby threads as the HTTP side sees them.
struct Threads {
    queue: Arc<Queue>,
    status: Arc<PoolStatus>,
    most: usize,
}

impl http::Application for Threads {
    fn call(&self, request: Box<Request>) -> Result<(), Full> {
        self.queue.try_push(request)
    }

    /// Whether a request would have to wait for a thread.
    fn is_busy(&self) -> bool {
        self.status.now().busy + self.queue.load().queued >= self.most
    }
}

/// Closes the pool on every way out, a panic included: no worker stays without its I/O thread.
struct ClosePool(Arc<Pool>);

impl Drop for ClosePool {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Io {
    /// Serves until drained; returns the worker's exit status.
    pub(super) fn run(self) -> u8 {
        let close_pool = ClosePool(Arc::clone(&self.pool));
        // Signals are for the main thread, where Ruby's traps run.
        if let Err(errno) = SigSet::all().thread_block() {
            events::complain(&format!("cannot block signals in the I/O thread: {errno}"));
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                events::complain(&format!("cannot start the I/O runtime: {error}"));
                return EX_OSERR;
            }
        };
        let local = LocalSet::new();
        let status = local.block_on(&runtime, self.serve());
        // What is still open goes now, before Ruby's threads are told that nobody listens.
        drop(local);
        drop(close_pool);
        status
    }

    async fn serve(self) -> u8 {
        let Self { birth, queue, drain, pool } = self;
        let Birth { config, channel, listeners, .. } = birth;
        let log = Events::new(&config);
        let channel = match AsyncChannel::new(channel) {
            Ok(channel) => channel,
            Err(error) => {
                log.error(&error);
                return EX_OSERR;
            }
        };
        let sources = match listeners.into_iter().map(source).collect() {
            Ok(sources) => sources,
            Err(errno) => return fail(&channel, &log, errno),
        };
        // A message sent now is read after the accept loops have been polled for the first time at
        // the latest, and the kernel queues whoever connects before.
        if let Err(error) = channel.send(&FromWorker::Ready, &[]) {
            log.error(&error);
            return EX_OSERR;
        }
        let orders = async || {
            tokio::select! {
                manner = told_by_master(&channel) => manner,
                () = drain.notified() => Manner::Promptly,
            }
        };
        let application =
            Threads { queue, status: pool.status(), most: usize::from(config.threads.max) };
        let limit = config.limits.shutdown_timeout;
        let server = Server::new(application, settings(&config));
        let drained = server.serve(sources, orders).await;
        if let Drained::Cut { connections } = drained {
            log.drain_cut(connections, limit);
        }
        0
    }
}

/// Waits for the order to drain, or the master's end.
async fn told_by_master(channel: &AsyncChannel) -> Manner {
    match channel.next::<ToWorker>().await {
        Ok(Some(delivery)) => match delivery.message {
            ToWorker::Drain => return Manner::Promptly,
        },
        Ok(None) => tracing::debug!("the master is gone"),
        Err(error) => events::complain(&chain(&error)),
    }
    Manner::Promptly
}

fn fail(channel: &AsyncChannel, log: &Events, errno: nix::Error) -> u8 {
    let reason = format!("cannot use an inherited listening socket: {errno}");
    let failure = Failure { reason, status: EX_OSERR };
    let sent: Result<(), WireError> = channel.send(&FromWorker::Failed(failure), &[]);
    if let Err(error) = sent {
        log.error(&error);
    }
    EX_OSERR
}

/// A listening descriptor as the kind of socket that it is.
fn source(listener: OwnedFd) -> Result<Source, nix::Error> {
    use std::os::fd::AsRawFd;
    let address: SockaddrStorage = getsockname(listener.as_raw_fd())?;
    Ok(match address.family() {
        Some(AddressFamily::Unix) => Source::Unix(UnixListener::from(listener)),
        _ => Source::Tcp(TcpListener::from(listener)),
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        limits: config.limits.clone(),
        open_temp_file: || temp_file::anonymous().map_err(|error| error.source),
        yield_when_busy: (config.workers > 1).then_some(YIELD_WHEN_BUSY),
        counters: Arc::<Counters>::default(),
        access_log: config.log_requests.then(|| Rc::new(AccessLines::default()) as Rc<_>),
    }
}
