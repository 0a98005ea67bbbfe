//! Telling children what to do, and ending them.

use nix::{sys::signal::Signal, unistd::Pid};
use rackrs_sys::{channel::SendError, process::PidFd};
use serde::Serialize;

use super::{ChildError, Children};
use crate::{
    http::Manner,
    master::fleet::{GenerationId, WorkerId},
    wire::{AsyncChannel, ToMold, ToWorker, WireError},
};

impl Children {
    /// Tells a mold; one that is not there, or has been dismissed, needs nothing.
    pub(in crate::master) fn tell_mold(
        &self,
        generation: GenerationId,
        message: &ToMold,
    ) -> Result<(), ChildError> {
        match self.molds.get(&generation).and_then(|mold| mold.channel.as_ref()) {
            Some(channel) => tell(channel, message).map_err(ChildError::Wire),
            None => Ok(()),
        }
    }

    /// Tells a worker; one that is not there needs nothing.
    pub(in crate::master) fn tell_worker(
        &self,
        id: WorkerId,
        message: &ToWorker,
    ) -> Result<(), ChildError> {
        match self.workers.get(&id) {
            Some(worker) => tell(&worker.channel, message).map_err(ChildError::Wire),
            None => Ok(()),
        }
    }

    /// Tells all molds and workers; gives what went wrong.
    pub(in crate::master) fn tell_all(
        &self,
        to_mold: &impl Serialize,
        to_worker: &impl Serialize,
    ) -> Vec<WireError> {
        let molds = self.molds.values().filter_map(|mold| mold.channel.as_ref());
        let told_molds = molds.filter_map(|channel| tell(channel, to_mold).err());
        let workers = self.workers.values().filter(|worker| worker.pid.is_some());
        let told = workers.filter_map(|worker| tell(&worker.channel, to_worker).err());
        told_molds.chain(told).collect()
    }

    /// Closes the mold's channel after a last word: it leaves when it sees that.
    pub(in crate::master) fn dismiss_mold(&mut self, generation: GenerationId, restarted: bool) {
        let Some(mold) = self.molds.get_mut(&generation) else { return };
        if let Some(channel) = mold.channel.take() {
            // A mold that does not hear sees the closing.
            let _ = channel.send(&ToMold::Leave { restarted }, &[]);
            channel.shut_down();
        }
        if let Some(former) = &mold.former {
            // One that still serves finishes that first; one that does not hear is killed later.
            let _ = former.channel.send(&ToWorker::Drain(Manner::Promptly), &[]);
        }
    }

    /// Sends SIGKILL to the mold; it is our child and not reaped yet, so the pid is its own.
    pub(in crate::master) fn kill_mold(&self, generation: GenerationId) {
        if let Some(mold) = self.molds.get(&generation) {
            kill(mold.pid);
        }
    }

    /// Sends SIGKILL to the worker if it still is `pid`.
    pub(in crate::master) fn kill_worker(&self, id: WorkerId, pid: i32) {
        if self.workers.get(&id).is_some_and(|worker| worker.pid == Some(pid)) {
            kill(pid);
        }
    }
}

/// Tells a child that may have closed its end already: it is leaving, of which SIGCHLD tells.
fn tell(channel: &AsyncChannel, message: &impl Serialize) -> Result<(), WireError> {
    match channel.send(message, &[]) {
        Err(WireError::Send(SendError::Closed)) => Ok(()),
        result => result,
    }
}

pub(super) fn kill(pid: i32) {
    // A child that has gone meanwhile is what was wanted.
    let _ = PidFd::open(Pid::from_raw(pid)).and_then(|pidfd| pidfd.send(Signal::SIGKILL));
}
