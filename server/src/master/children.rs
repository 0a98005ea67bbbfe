//! The processes and channels behind the fleet's molds and workers.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use nix::{sys::signal::Signal, unistd::Pid};
use rackrs_sys::{
    channel::{Channel, ChannelError, SendError},
    process::{Exit, PidFd},
    spawn::{Spawn, SpawnError},
};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    fleet::{GenerationId, WorkerId},
    moment::Moment,
    rows::Rows,
};
use crate::{
    http::Manner,
    wire::{
        self, AsyncChannel, Delivery, Failure, FromMold, FromWorker, Orders, ToMold, ToWorker,
        WireError,
    },
};

/// Reports that may wait for the master's loop before their readers are held up.
const REPORTS_MAX: usize = 256;

/// Ended children kept in mind until a worker claims to have been one of them.
const STRANGERS_MAX: usize = 64;

/// Something a child said, or that its channel closed.
#[derive(Debug)]
pub(super) enum Report {
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
    Hold(#[source] nix::errno::Errno),
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
pub(super) struct Mold {
    pub(super) birth: u64,
    pub(super) pid: i32,
    /// `None` once it has been dismissed.
    pub(super) channel: Option<Rc<AsyncChannel>>,
    pub(super) started: Moment,
    pub(super) failure: Option<Failure>,
    /// What it was before a refork made it a mold.
    pub(super) former: Option<Former>,
}

/// A worker that has become, or will become, a mold.
#[derive(Debug)]
pub(super) struct Former {
    /// Closed, it would take the master for gone.
    pub(super) channel: Rc<AsyncChannel>,
    pub(super) row: usize,
}

/// A worker's process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) birth: u64,
    pub(super) slot: u16,
    pub(super) generation: GenerationId,
    /// Known once it has spoken.
    pub(super) pid: Option<i32>,
    pub(super) channel: Rc<AsyncChannel>,
    pub(super) asked: Moment,
    pub(super) failure: Option<Failure>,
    pub(super) row: usize,
}

/// A child that ended and was nobody's.
#[derive(Debug)]
struct Stranger {
    pid: i32,
    exit: Exit,
    /// When it was reaped: from then on the pid can be another's.
    ended: Moment,
}

/// Whose process ended.
#[derive(Debug)]
pub(super) enum Ended {
    Mold { generation: GenerationId, pid: i32, exit: Exit, failure: Option<Failure> },
    Worker { id: WorkerId, worker: Worker, pid: i32, exit: Exit },
}

/// The book of child processes.
#[derive(Debug)]
pub(super) struct Children {
    pub(super) births: u64,
    pub(super) molds: HashMap<GenerationId, Mold>,
    pub(super) workers: HashMap<WorkerId, Worker>,
    pub(super) rows: Rows,
    /// Children that ended and were nobody's: perhaps workers that have not been heard yet.
    strangers: VecDeque<Stranger>,
    sender: mpsc::Sender<Report>,
}

impl Children {
    /// An empty book, and where its reports come out.
    pub(super) fn new(rows: Rows) -> (Self, mpsc::Receiver<Report>) {
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let book = Self {
            births: 0,
            molds: HashMap::new(),
            workers: HashMap::new(),
            rows,
            strangers: VecDeque::new(),
            sender,
        };
        (book, reports)
    }

    /// Starts a mold and tells it to boot with the listening descriptors.
    pub(super) fn spawn_mold(
        &mut self,
        orders: Orders,
        environment: Vec<(OsString, OsString)>,
        listeners: &[BorrowedFd<'_>],
    ) -> Result<(), ChildError> {
        let (ours, theirs) = Channel::pair().map_err(ChildError::Channel)?;
        let arguments = vec![OsString::from(&orders.program), wire::MOLD_ARGUMENT.into()];
        let generation = orders.generation;
        let pid = Spawn::new("/proc/self/exe", arguments)
            .environment(environment)
            .directory(orders.config.directory.clone())
            .inherit(theirs.as_fd(), wire::MOLD_CHANNEL)
            .spawn()
            .map_err(ChildError::Spawn)?;
        drop(theirs);
        let birth = self.next_birth();
        let channel = self.instruct(birth, orders, ours, listeners).inspect_err(|_| {
            // It waits for its orders in vain.
            kill(pid.as_raw());
        })?;
        let mold = Mold {
            birth,
            pid: pid.as_raw(),
            channel: Some(channel),
            started: Moment::now(),
            failure: None,
            former: None,
        };
        self.molds.insert(generation, mold);
        Ok(())
    }

    /// Gives a mold that was started its first message.
    fn instruct(
        &self,
        birth: u64,
        orders: Orders,
        channel: Channel,
        listeners: &[BorrowedFd<'_>],
    ) -> Result<Rc<AsyncChannel>, ChildError> {
        let channel = self.mold_channel(orders.generation, birth, channel)?;
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(self.rows.board().as_fd()).chain(listeners.iter().copied()).collect();
        channel.send(&ToMold::Boot(Box::new(orders)), &descriptors).map_err(ChildError::Wire)?;
        Ok(channel)
    }

    /// Asks the mold of a worker for its process.
    pub(super) fn ask_for_fork(
        &mut self,
        id: WorkerId,
        slot: u16,
        generation: GenerationId,
    ) -> Result<(), ChildError> {
        let (ours, theirs) = Channel::pair().map_err(ChildError::Channel)?;
        let row = self.rows.take().ok_or(ChildError::NoRow)?;
        let birth = self.next_birth();
        let channel = self.worker_channel(id, birth, ours)?;
        let fork = ToMold::Fork { worker: id, slot, row };
        let sent = match self.molds.get(&generation).and_then(|mold| mold.channel.as_ref()) {
            Some(mold) => mold.send(&fork, &[theirs.as_fd()]).map_err(ChildError::Wire),
            None => Err(ChildError::Gone),
        };
        if let Err(error) = sent {
            self.rows.give_back(row);
            return Err(error);
        }
        let asked = Moment::now();
        let worker =
            Worker { birth, slot, generation, pid: None, channel, asked, failure: None, row };
        self.disown(id);
        self.workers.insert(id, worker);
        Ok(())
    }

    /// Gives up a worker that was asked for and has not been born: should its process come all the
    /// same, it reads that nobody wants it, and leaves.
    pub(super) fn disown(&mut self, id: WorkerId) {
        if let Some(given_up) = self.workers.remove(&id) {
            given_up.channel.shut_down();
            self.rows.give_back(given_up.row);
        }
    }

    /// Has a worker finish what it holds and become the mold of `generation`.
    pub(super) fn promote(
        &mut self,
        id: WorkerId,
        generation: GenerationId,
        listeners: &[BorrowedFd<'_>],
    ) -> Result<(), ChildError> {
        let (ours, theirs) = Channel::pair().map_err(ChildError::Channel)?;
        let worker = self.workers.remove(&id).ok_or(ChildError::Gone)?;
        let pid = worker.pid.ok_or(ChildError::Gone)?;
        let birth = self.next_birth();
        let channel = self.mold_channel(generation, birth, ours)?;
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(theirs.as_fd()).chain(listeners.iter().copied()).collect();
        let sent = worker.channel.send(&ToWorker::Promote { generation }, &descriptors);
        let former = Some(Former { channel: worker.channel, row: worker.row });
        let channel = Some(channel);
        let mold = Mold { birth, pid, channel, started: Moment::now(), failure: None, former };
        // It is in the book also when it does not hear: its end must be known.
        self.molds.insert(generation, mold);
        sent.map_err(ChildError::Wire)
    }

    /// Tells a mold; one that is not there, or has been dismissed, needs nothing.
    pub(super) fn tell_mold(
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
    pub(super) fn tell_worker(&self, id: WorkerId, message: &ToWorker) -> Result<(), ChildError> {
        match self.workers.get(&id) {
            Some(worker) => tell(&worker.channel, message).map_err(ChildError::Wire),
            None => Ok(()),
        }
    }

    /// Tells all molds and workers; gives what went wrong.
    pub(super) fn tell_all(
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
    pub(super) fn dismiss_mold(&mut self, generation: GenerationId, restarted: bool) {
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
    pub(super) fn kill_mold(&self, generation: GenerationId) {
        if let Some(mold) = self.molds.get(&generation) {
            kill(mold.pid);
        }
    }

    /// Sends SIGKILL to the worker if it still is `pid`.
    pub(super) fn kill_worker(&self, id: WorkerId, pid: i32) {
        if self.workers.get(&id).is_some_and(|worker| worker.pid == Some(pid)) {
            kill(pid);
        }
    }

    /// Whether a report with this birth number is from the present mold of `generation`.
    pub(super) fn is_mold(&self, generation: GenerationId, birth: u64) -> bool {
        self.molds.get(&generation).is_some_and(|mold| mold.birth == birth)
    }

    /// Whether a report with this birth number is from the present process of this worker.
    pub(super) fn is_worker(&self, id: WorkerId, birth: u64) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.birth == birth)
    }

    /// Notes the pid of a worker; its exit, if its process ended before its first word was read.
    pub(super) fn worker_spoke(&mut self, id: WorkerId, pid: i32) -> Option<Exit> {
        let worker = self.workers.get_mut(&id)?;
        worker.pid = Some(pid);
        // One that was reaped before this worker was asked for had the same pid, no more.
        let asked = worker.asked;
        let same = |stranger: &Stranger| stranger.pid == pid && asked <= stranger.ended;
        let place = self.strangers.iter().position(same)?;
        self.strangers.remove(place).map(|stranger| stranger.exit)
    }

    pub(super) fn mold_failed(&mut self, generation: GenerationId, failure: Failure) {
        if let Some(mold) = self.molds.get_mut(&generation) {
            mold.failure = Some(failure);
        }
    }

    pub(super) fn worker_failed(&mut self, id: WorkerId, failure: Failure) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.failure = Some(failure);
        }
    }

    /// What the child with this pid said that nobody has read yet.
    pub(super) fn last_words(&self, pid: i32) -> Vec<Report> {
        if let Some((generation, mold)) = self.molds.iter().find(|(_, mold)| mold.pid == pid) {
            let channel = mold.channel.as_ref();
            let words = channel.map_or_else(Vec::new, |channel| channel.rest());
            let report = |word| Report::Mold(*generation, mold.birth, Some(word));
            return words.into_iter().map(report).collect();
        }
        let Some((id, worker)) = self.worker_of(pid) else { return Vec::new() };
        let words = worker.channel.rest();
        words.into_iter().map(|word| Report::Worker(id, worker.birth, Some(word))).collect()
    }

    /// What workers that nobody knows the pid of have said and nobody has read: one of them may have
    /// been reaped already, and only this program remembers the stranger that it was.
    pub(super) fn first_words(&self) -> Vec<Report> {
        let unknown = self.workers.iter().filter(|(_, worker)| worker.pid.is_none());
        let said = unknown.flat_map(|(id, worker)| {
            let words = worker.channel.rest().into_iter();
            words.map(|word| Report::Worker(*id, worker.birth, Some(word)))
        });
        said.collect()
    }

    /// Looks up and forgets the child that ended; `None` for one that is no child of the fleet's
    /// (the middle process of a double fork, an orphan of the application).
    ///
    /// The row of a worker is kept for whoever reads what it had in hand, until
    /// [`Rows::give_back`].
    pub(super) fn ended(&mut self, pid: i32, exit: Exit) -> Option<Ended> {
        let of_mold = self.molds.iter().find(|(_, mold)| mold.pid == pid);
        if let Some(generation) = of_mold.map(|(generation, _)| *generation) {
            let mold = self.molds.remove(&generation)?;
            if let Some(former) = mold.former {
                self.rows.give_back(former.row);
            }
            return Some(Ended::Mold { generation, pid, exit, failure: mold.failure });
        }
        let Some(id) = self.worker_of(pid).map(|(id, _)| id) else {
            if self.strangers.len() == STRANGERS_MAX {
                self.strangers.pop_front();
            }
            self.strangers.push_back(Stranger { pid, exit, ended: Moment::now() });
            return None;
        };
        let worker = self.workers.remove(&id)?;
        Some(Ended::Worker { id, worker, pid, exit })
    }

    fn worker_of(&self, pid: i32) -> Option<(WorkerId, &Worker)> {
        let found = self.workers.iter().find(|(_, worker)| worker.pid == Some(pid));
        found.map(|(id, worker)| (*id, worker))
    }

    fn next_birth(&mut self) -> u64 {
        self.births += 1;
        self.births
    }

    /// Takes a mold's channel into the loop.
    pub(super) fn mold_channel(
        &self,
        generation: GenerationId,
        birth: u64,
        channel: Channel,
    ) -> Result<Rc<AsyncChannel>, ChildError> {
        self.listen(channel, move |message| Report::Mold(generation, birth, message))
    }

    /// Takes a worker's channel into the loop.
    pub(super) fn worker_channel(
        &self,
        id: WorkerId,
        birth: u64,
        channel: Channel,
    ) -> Result<Rc<AsyncChannel>, ChildError> {
        self.listen(channel, move |message| Report::Worker(id, birth, message))
    }

    /// Forwards what comes through `channel` as reports, and its closing as the last one.
    fn listen<M, F>(&self, channel: Channel, report: F) -> Result<Rc<AsyncChannel>, ChildError>
    where
        M: serde::de::DeserializeOwned + 'static,
        F: Fn(Option<M>) -> Report + 'static,
    {
        let channel = Rc::new(AsyncChannel::new(channel).map_err(ChildError::Wire)?);
        let ears = Rc::clone(&channel);
        let sender = self.sender.clone();
        tokio::task::spawn_local(async move {
            loop {
                let message = match ears.next::<M>().await {
                    Ok(Some(Delivery { message, .. })) => Some(message),
                    Ok(None) => None,
                    Err(error) => {
                        tracing::warn!(error = crate::telemetry::chain(&error), "channel broke");
                        None
                    }
                };
                let closed = message.is_none();
                // The receiver lives as long as the loop; without it nobody wants reports.
                if sender.send(report(message)).await.is_err() || closed {
                    return;
                }
            }
        });
        Ok(channel)
    }
}

/// Tells a child that may have closed its end already: it is leaving, of which SIGCHLD tells.
fn tell(channel: &AsyncChannel, message: &impl Serialize) -> Result<(), WireError> {
    match channel.send(message, &[]) {
        Err(WireError::Send(SendError::Closed)) => Ok(()),
        result => result,
    }
}

fn kill(pid: i32) {
    // A child that has gone meanwhile is what was wanted.
    let _ = PidFd::open(Pid::from_raw(pid)).and_then(|pidfd| pidfd.send(Signal::SIGKILL));
}
