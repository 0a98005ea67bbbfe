//! The HTTP side as a whole: accepts until told to drain, then sees its connections off.

use std::{
    convert::Infallible,
    fmt,
    future::{pending, poll_fn},
    rc::Rc,
    time::Duration,
};

use tokio::{task::JoinSet, time};

use super::{
    accept::{self, Source},
    application::Application,
    drain::{Drained, Manner, Roll},
    settings::Settings,
    warm_up::{self, WarmUp, WarmUpError},
    worker::Worker,
};

/// The HTTP side of one worker. Must be used inside a [`LocalSet`](tokio::task::LocalSet).
pub struct Server<A> {
    worker: Rc<Worker<A>>,
}

impl<A: Application> Server<A> {
    /// A server that has no connection yet.
    pub fn new(application: A, settings: Settings) -> Self {
        Self { worker: Worker::new(application, settings) }
    }

    /// Has the application answer one `GET path`, before there are clients: what a first request
    /// loads or compiles is then there. The request goes the way of every other one, on a
    /// connection of its own that is gone afterwards.
    ///
    /// Dropping the future gives the warm-up up.
    ///
    /// # Errors
    ///
    /// When no whole answer comes within `limit`, or it is a refusal of ours or a 5xx.
    pub async fn warm_up(&self, path: &str, limit: Duration) -> Result<WarmUp, WarmUpError> {
        warm_up::run(&self.worker, path, limit).await
    }

    /// Serves every connection of `sources` until the first of `orders`, then finishes those in
    /// hand within `settings.limits.shutdown_timeout`.
    ///
    /// The listening sockets are shared with other workers: each takes a connection only while it
    /// has room for it. While draining, no connection is accepted, and every response says
    /// `connection: close`. Idle connections go as the [`Manner`] says; a request whose bytes have
    /// arrived on one is still served. What is open when the limit passes goes down with the
    /// `LocalSet`.
    ///
    /// `orders` is asked for the next order after [`Manner::Gently`]: [`Manner::Promptly`] hurries
    /// a gentle drain, and nothing can follow it. Its futures may be dropped before they are ready.
    pub async fn serve(
        self,
        sources: Vec<Source>,
        mut orders: impl AsyncFnMut() -> Manner,
    ) -> Drained {
        let Self { worker } = self;
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
            () = time::sleep(worker.settings.limits.shutdown_timeout) => {
                Drained::Cut { connections: roll.open() }
            }
            never = obey(roll, manner, orders) => match never {},
        }
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

impl<A> fmt::Debug for Server<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("settings", &self.worker.settings)
            .field("roll", &self.worker.roll)
            .finish_non_exhaustive()
    }
}
