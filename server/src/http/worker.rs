//! The HTTP side as a whole: accepts until told to drain, then sees its connections off.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    rc::Rc,
    sync::Arc,
};

use hyper::server::conn::http1;
use tokio::{sync::Semaphore, task::JoinSet, time};

use super::{
    accept::{self, Source},
    application::Application,
    drain::{Drained, Manner, Roll},
    settings::Settings,
    upload,
};

/// Smallest buffer that hyper works with, in bytes.
const HYPER_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// What the connections of one worker share.
pub(super) struct Worker<A> {
    pub(super) application: A,
    pub(super) settings: Rc<Settings>,
    pub(super) roll: Rc<Roll>,
    /// One permit per open connection.
    pub(super) connections: Arc<Semaphore>,
    /// Bounds the bodies that are written to disk at once.
    pub(super) spool_writes: Semaphore,
    pub(super) http: http1::Builder,
}

impl<A: Application> Worker<A> {
    pub(super) fn new(application: A, settings: Settings) -> Rc<Self> {
        let limits = &settings.limits;
        let head_bytes_max = limits.head_bytes_max.max(HYPER_BUFFER_BYTES_MIN);
        let mut http = http1::Builder::new();
        http.half_close(true)
            .header_read_timeout(None)
            .max_buf_size(head_bytes_max)
            .max_header_size(head_bytes_max);
        Rc::new(Self {
            application,
            roll: Rc::default(),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            spool_writes: Semaphore::new(upload::SPOOL_WRITES_MAX),
            http,
            settings: Rc::new(settings),
        })
    }
}

/// Serves every connection of `sources` until the first of `orders`, then finishes those in hand
/// within `settings.limits.shutdown_timeout`.
///
/// Must run inside a [`LocalSet`](tokio::task::LocalSet). The listening sockets are shared with
/// other workers: each takes a connection only while it has room for it. While draining, no
/// connection is accepted, and every response says `connection: close`. Idle connections go as the
/// [`Manner`] says; a request whose bytes have arrived on one is still served. What is open when
/// the limit passes goes down with the `LocalSet`.
///
/// `orders` is asked for the next order after [`Manner::Gently`]: [`Manner::Promptly`] hurries a
/// gentle drain, and nothing can follow it. Its futures may be dropped before they are ready.
pub async fn serve<A: Application>(
    sources: Vec<Source>,
    application: A,
    settings: Settings,
    mut orders: impl AsyncFnMut() -> Manner,
) -> Drained {
    let patience = settings.limits.shutdown_timeout;
    let worker = Worker::new(application, settings);
    let mut loops = JoinSet::new();
    for source in sources {
        loops.spawn_local(accept::run(source, Rc::clone(&worker)));
    }
    let manner = orders().await;
    loops.shutdown().await;
    let roll = &worker.roll;
    roll.ask(manner);
    tokio::select! {
        biased;
        () = poll_fn(|context| roll.poll_empty(context)) => Drained::Fully,
        () = time::sleep(patience) => Drained::Cut { connections: roll.open() },
        never = obey(roll, manner, orders) => match never {},
    }
}

/// Passes orders on to the roll, as long as there is one that could change anything.
async fn obey(
    roll: &Roll,
    mut manner: Manner,
    mut orders: impl AsyncFnMut() -> Manner,
) -> Infallible {
    while manner == Manner::Gently {
        manner = orders().await;
        roll.ask(manner);
    }
    pending().await
}
