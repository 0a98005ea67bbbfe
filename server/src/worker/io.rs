//! The I/O thread of a worker: its runtime, its listeners, its channel to the master.

use std::{
    cell::Cell,
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
    fork::Private,
    pool::{Pool, PoolStatus},
};
use rackrs_sys::temp_file;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

use super::{
    Birth, EX_OSERR,
    confession::Confession,
    orders::{self, Promotion},
};
use crate::{
    config::Config,
    http::{self, Counters, Drained, Server, Settings, Source},
    scoreboard::{Load, Row},
    telemetry::{
        access::AccessLines,
        chain,
        events::{self, Events},
    },
    wire::{AsyncChannel, Failure, FromWorker, WireError},
};

/// With several workers, how long a busy one leaves a newcomer to the others: Puma's
/// `wait_for_less_busy_worker`.
const YIELD_WHEN_BUSY: Duration = Duration::from_millis(5);

/// How often the I/O thread shows that it runs; see `--worker-timeout`.
const BEAT: Duration = Duration::from_secs(1);

/// What the I/O thread is started with.
pub(super) struct Io {
    pub(super) birth: Birth,
    pub(super) queue: Arc<Queue>,
    /// Notified by the worker's own TERM.
    pub(super) drain: Arc<Notify>,
    pub(super) pool: Arc<Pool>,
    pub(super) row: Row,
    /// Where Ruby tells where its threads stand.
    pub(super) backtraces: mpsc::UnboundedReceiver<String>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct IoEnd {
    /// The worker's exit status.
    pub(super) status: u8,
    /// What it is to be instead of ending.
    pub(super) promotion: Option<Promotion>,
}

impl From<u8> for IoEnd {
    fn from(status: u8) -> Self {
        Self { status, promotion: None }
    }
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
    /// Serves until drained.
    pub(super) fn run(self) -> IoEnd {
        let close_pool = ClosePool(Arc::clone(&self.pool));
        // Signals are for the main thread, where Ruby's traps run.
        if let Err(errno) = SigSet::all().thread_block() {
            events::complain(&format!("cannot block signals in the I/O thread: {errno}"));
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                events::complain(&format!("cannot start the I/O runtime: {error}"));
                return EX_OSERR.into();
            }
        };
        let local = LocalSet::new();
        let end = local.block_on(&runtime, self.serve());
        // What is still open goes now, before Ruby's threads are told that nobody listens.
        drop(local);
        drop(close_pool);
        end
    }

    async fn serve(self) -> IoEnd {
        let Self { birth, queue, drain, pool, row, backtraces } = self;
        let Birth { config, channel, listeners, .. } = birth;
        let config = Rc::new(config);
        let log = Events::new(&config);
        let channel = match AsyncChannel::new(channel.into_inner()) {
            Ok(channel) => Rc::new(channel),
            Err(error) => {
                log.error(&error);
                return EX_OSERR.into();
            }
        };
        let application = Threads {
            queue: Arc::clone(&queue),
            status: pool.status(),
            most: usize::from(config.threads.max),
        };
        let settings = settings(&config);
        let beating = beat(row.clone(), Arc::clone(&settings.counters), queue, pool.status());
        spawn_local(beating);
        let server = Server::new(application, settings);
        for path in &config.upkeep.warmup {
            if let Err(error) = server.warm_up(path, config.upkeep.warmup_timeout).await {
                return fail(&channel, &log, chain(&error), error.exit_code()).into();
            }
        }
        let listeners = listeners.into_iter().map(Private::into_inner);
        let sources = match listeners.map(source).collect() {
            Ok(sources) => sources,
            Err(errno) => {
                let reason = format!("cannot use an inherited listening socket: {errno}");
                return fail(&channel, &log, reason, EX_OSERR).into();
            }
        };
        // A message sent now is read after the accept loops have been polled for the first time at
        // the latest, and the kernel queues whoever connects before.
        if let Err(error) = channel.send(&FromWorker::Ready, &[]) {
            log.error(&error);
            return EX_OSERR.into();
        }
        let (tell, mut told) = watch::channel(None);
        let promotion = Rc::new(Cell::new(None));
        let confession = Confession { pool, row, answers: backtraces };
        let ears = orders::Ears { channel, config: Rc::clone(&config), confession };
        spawn_local(ears.hear(tell, Rc::clone(&promotion)));
        let mut last = None;
        let next = async || {
            let manner = orders::next_manner(&mut told, last, &drain).await;
            last = Some(manner);
            manner
        };
        let drained = server.serve(sources, next).await;
        if let Drained::Cut { connections } = drained {
            log.drain_cut(connections, config.limits.shutdown_timeout);
        }
        IoEnd { status: 0, promotion: promotion.take() }
    }
}

/// Shows for ever that this thread runs, and what it has to do.
async fn beat(row: Row, counters: Arc<Counters>, queue: Arc<Queue>, status: Arc<PoolStatus>) {
    let widen = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let mut interval = interval(BEAT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (http, ruby) = (counters.snapshot(), status.now());
        row.beat_io(Load {
            connections: http.connections_open,
            requests: http.requests,
            threads: widen(ruby.spawned),
            busy: widen(ruby.busy),
            queue: widen(queue.load().queued),
        });
    }
}

fn fail(channel: &AsyncChannel, log: &Events, reason: String, status: u8) -> u8 {
    let failure = Failure { reason, status };
    let sent: Result<(), WireError> = channel.send(&FromWorker::Failed(failure), &[]);
    if let Err(error) = sent {
        log.error(&error);
    }
    status
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
