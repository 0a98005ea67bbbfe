//! What the fleet is told, and what it wants done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    GenerationId, Kind, RestartEnd, Ticket, WorkerId, WorkersChange, mold_state,
    worker_state::{self, KillReason},
};
use crate::{http::Manner, master::watch::Stuck, wire::Failure};

/// How the master ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It was told to.
    Stopped,
    /// It never served.
    FailedToStart(Failure),
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The mold of this generation loaded the application.
    MoldLoaded(GenerationId),
    /// The mold's process ended; with the reason, should it be the end of a start or restart.
    MoldExited(GenerationId, Failure),
    /// Something happened to a worker.
    Worker(WorkerId, worker_state::Event),
    /// A worker's process ended; with what it said before, if it spoke.
    WorkerExited {
        /// Which.
        worker: WorkerId,
        /// Status 0.
        clean: bool,
        /// Why it gave up.
        failure: Option<Failure>,
    },
    /// The new program has shown that it can take over.
    Proved,
    /// It has not, or it could not be executed.
    NotProved(Failure),
    /// This worker has used up its requests or memory: put another in its place.
    Recycle(WorkerId),
    /// Another number of slots.
    Workers(WorkersChange),
    /// Drain, then end.
    StopGracefully,
    /// End without draining.
    StopNow,
    /// Time has passed.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a mold process.
    SpawnMold(GenerationId),
    /// Have the mold run its last hooks, and close its channel.
    DismissMold(GenerationId),
    /// Send the mold SIGKILL.
    KillMold(GenerationId),
    /// Make a channel and ask the worker's mold for it.
    AskForFork(WorkerId),
    /// Should it be born all the same, this worker must find that nobody wants it.
    Disown(WorkerId),
    /// Tell the worker to drain.
    Drain(WorkerId, Manner),
    /// Have the worker log where its threads stand.
    AskForConfession(WorkerId, i32, Stuck),
    /// Send the worker SIGKILL.
    Kill(WorkerId, i32, KillReason),
    /// Have the worker finish what it holds and become the mold of this generation.
    Promote(WorkerId, GenerationId),
    /// Nothing of this generation is left.
    Forget(GenerationId),
    /// Have a new program show in a child that it can take over.
    Prove,
    /// Give that up.
    KillProof,
    /// Become the new program.
    Become,
    /// A restart was begun.
    RestartBegun(Ticket, Kind),
    /// A restart is over.
    RestartEnded(RestartEnd),
    /// All slots serve: write the pid file, tell whoever waits for the start.
    AnnounceServing,
    /// Nothing is left: end.
    Finish(Outcome),
}

/// Limits and numbers of one generation, from its configuration.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Loading of the application by the mold.
    pub(crate) load: Duration,
    /// From a worker's fork to its first accept.
    pub(crate) boot: Duration,
    /// From the order to drain to the end.
    pub(crate) drain: Duration,
    /// Slots to fill.
    pub(crate) workers: u16,
    /// Slots that are swapped at a time in a restart, at least 1.
    pub(crate) batch: u16,
}

/// How long a dismissed mold may take for its `at_exit` blocks before it is killed.
const MOLD_LEAVE_MAX: Duration = Duration::from_secs(5);

/// How much longer than its own limit a worker has before the master kills it: it must get the
/// chance to cut its connections and run its `at_exit` blocks itself.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(3);

impl Plan {
    pub(super) fn mold_limits(&self) -> mold_state::Limits {
        mold_state::Limits { boot: self.load, leave: MOLD_LEAVE_MAX }
    }

    pub(super) fn worker_limits(&self) -> worker_state::Limits {
        worker_state::Limits { boot: self.boot, drain: self.drain + DRAIN_GRACE }
    }
}
