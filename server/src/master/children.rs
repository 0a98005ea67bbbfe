//! The processes and channels behind the fleet's molds and workers.
//!
//! - [`process`]: what is known of one, and what can be heard of it
//! - [`tell`]: telling them what to do, and ending them

mod process;
mod tell;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use rackrs_sys::{channel::Channel, process::Exit, spawn::Spawn};
use tokio::sync::mpsc;

use super::{
    fleet::{GenerationId, WorkerId},
    moment::Moment,
    rows::Rows,
};
use crate::wire::{self, AsyncChannel, Delivery, Failure, Orders, ToMold, ToWorker};

pub(crate) use process::ChildError;
use process::Stranger;
pub(super) use process::{Ended, Former, Mold, Report, Worker};
use tell::kill;

/// Reports that may wait for the master's loop before their readers are held up.
const REPORTS_MAX: usize = 256;

/// Ended children kept in mind until a worker claims to have been one of them.
const STRANGERS_MAX: usize = 64;

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
