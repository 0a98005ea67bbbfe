//! What is known of a child process, and what can be heard of it.

use std::rc::Rc;

use nix::errno::Errno;
use rackrs_sys::{channel::ChannelError, process::Exit, spawn::SpawnError};

use crate::{
    master::{
        fleet::{GenerationId, WorkerId},
        moment::Moment,
    },
    wire::{AsyncChannel, Failure, FromMold, FromWorker, WireError},
};

/// Something a child said, or that its channel closed.
#[derive(Debug)]
pub(in crate::master) enum Report {
    /// From the mold of this generation with this birth number.
    Mold(GenerationId, u64, Option<FromMold>),
    /// From this worker's process with this birth number.
    Worker(WorkerId, u64, Option<FromWorker>),
}

/// A child process could not be made or reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// No channel to give to it.
    #[error("cannot make a channel for a child process")]
    Channel(#[source] ChannelError),
    /// The mold could not be started.
    #[error("cannot start the process that loads the application")]
    Spawn(#[source] SpawnError),
    /// The new program could not be started to show that it can take over.
    #[error("cannot start the new program")]
    Proof(#[source] SpawnError),
    /// It cannot be signalled.
    #[error("cannot take hold of a child process")]
    Hold(#[source] Errno),
    /// It does not hear.
    #[error("cannot reach a child process")]
    Wire(#[source] WireError),
    /// It has gone, or has not been started.
    #[error("cannot reach a child process: it is not there")]
    Gone,
    /// Every row of the scoreboard is taken.
    #[error("cannot make a worker: too many are still on their way out; wait for them")]
    NoRow,
}

/// A mold's process.
#[derive(Debug)]
pub(in crate::master) struct Mold {
    pub(in crate::master) birth: u64,
    pub(in crate::master) pid: i32,
    /// `None` once it has been dismissed.
    pub(in crate::master) channel: Option<Rc<AsyncChannel>>,
    pub(in crate::master) started: Moment,
    pub(in crate::master) failure: Option<Failure>,
    /// What it was before a refork made it a mold.
    pub(in crate::master) former: Option<Former>,
}

/// A worker that has become, or will become, a mold.
#[derive(Debug)]
pub(in crate::master) struct Former {
    /// Closed, it would take the master for gone.
    pub(in crate::master) channel: Rc<AsyncChannel>,
    pub(in crate::master) row: usize,
}

/// A worker's process.
#[derive(Debug)]
pub(in crate::master) struct Worker {
    pub(in crate::master) birth: u64,
    pub(in crate::master) slot: u16,
    pub(in crate::master) generation: GenerationId,
    /// Known once it has spoken.
    pub(in crate::master) pid: Option<i32>,
    pub(in crate::master) channel: Rc<AsyncChannel>,
    pub(in crate::master) asked: Moment,
    pub(in crate::master) failure: Option<Failure>,
    pub(in crate::master) row: usize,
}

/// A child that ended and was nobody's.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) pid: i32,
    pub(super) exit: Exit,
    /// When it was reaped: from then on the pid can be another's.
    pub(super) ended: Moment,
}

/// Whose process ended.
#[derive(Debug)]
pub(in crate::master) enum Ended {
    Mold { generation: GenerationId, pid: i32, exit: Exit, failure: Option<Failure> },
    Worker { id: WorkerId, worker: Worker, pid: i32, exit: Exit },
}
