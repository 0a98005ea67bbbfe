//! The processes and channels behind the fleet's mold and slots.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::Instant,
};

use nix::{sys::signal::Signal, unistd::Pid};
use rackrs_sys::{
    channel::{Channel, ChannelError},
    process::{Exit, PidFd},
    spawn::{Spawn, SpawnError},
};
use tokio::sync::mpsc;

use crate::{
    config::Config,
    wire::{
        self, AsyncChannel, Delivery, Failure, FromMold, FromWorker, ToMold, ToWorker, WireError,
    },
};

/// Reports that may wait for the master's loop before their readers are held up.
const REPORTS_MAX: usize = 256;

/// Ended children kept in mind until a worker claims to have been one of them.
const STRANGERS_MAX: usize = 64;

/// Something a child said, or that its channel closed.
#[derive(Debug)]
pub(super) enum Report {
    /// From the mold with this birth number.
    Mold(u64, Option<FromMold>),
    /// From the worker with this birth number in this slot.
    Worker(u16, u64, Option<FromWorker>),
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
    /// It does not hear.
    #[error("cannot reach a child process")]
    Wire(#[source] WireError),
}

/// The mold's process.
#[derive(Debug)]
struct Mold {
    birth: u64,
    pid: i32,
    /// `None` once it has been dismissed.
    channel: Option<Rc<AsyncChannel>>,
    started: Instant,
    failure: Option<Failure>,
}

/// A worker's process.
#[derive(Debug)]
struct Worker {
    birth: u64,
    /// Known once it has spoken.
    pid: Option<i32>,
    channel: Rc<AsyncChannel>,
    asked: Instant,
    failure: Option<Failure>,
}

/// A child that ended and was nobody's.
#[derive(Debug)]
struct Stranger {
    pid: i32,
    exit: Exit,
    /// When it was reaped: from then on the pid can be another's.
    ended: Instant,
}

/// Whose process ended.
#[derive(Debug)]
pub(super) enum Ended {
    Mold { pid: i32, exit: Exit, failure: Option<Failure> },
    Worker { slot: u16, pid: i32, exit: Exit, failure: Option<Failure> },
}

/// The book of child processes.
#[derive(Debug)]
pub(super) struct Children {
    program: OsString,
    births: u64,
    mold: Option<Mold>,
    workers: HashMap<u16, Worker>,
    /// Children that ended and were nobody's: perhaps workers that have not been heard yet.
    strangers: VecDeque<Stranger>,
    sender: mpsc::Sender<Report>,
}

impl Children {
    /// An empty book, and where its reports come out.
    pub(super) fn new(program: OsString) -> (Self, mpsc::Receiver<Report>) {
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        (
            Self {
                program,
                births: 0,
                mold: None,
                workers: HashMap::new(),
                strangers: VecDeque::new(),
                sender,
            },
            reports,
        )
    }

    /// Starts a mold and tells it to boot with the listening descriptors.
    pub(super) fn spawn_mold(
        &mut self,
        config: &Config,
        listeners: &[BorrowedFd<'_>],
    ) -> Result<(), ChildError> {
        let (ours, theirs) = Channel::pair().map_err(ChildError::Channel)?;
        let arguments = vec![self.program.clone(), wire::MOLD_ARGUMENT.into()];
        let pid = Spawn::new("/proc/self/exe", arguments)
            .environment(mold_environment(config))
            .inherit(theirs.as_fd(), wire::MOLD_CHANNEL)
            .spawn()
            .map_err(ChildError::Spawn)?;
        drop(theirs);
        let channel = Rc::new(AsyncChannel::new(ours).map_err(ChildError::Wire)?);
        let boot = ToMold::Boot {
            config: Box::new(config.clone()),
            program: self.program.to_string_lossy().into_owned(),
            master: nix::unistd::getpid().as_raw(),
        };
        channel.send(&boot, listeners).map_err(ChildError::Wire)?;
        let birth = self.next_birth();
        self.listen(Rc::clone(&channel), move |message| Report::Mold(birth, message));
        self.mold = Some(Mold {
            birth,
            pid: pid.as_raw(),
            channel: Some(channel),
            started: Instant::now(),
            failure: None,
        });
        Ok(())
    }

    /// Asks the mold for a worker in `slot`.
    pub(super) fn ask_for_fork(&mut self, slot: u16) -> Result<(), ChildError> {
        let (ours, theirs) = Channel::pair().map_err(ChildError::Channel)?;
        let channel = Rc::new(AsyncChannel::new(ours).map_err(ChildError::Wire)?);
        if let Some(mold) = self.mold.as_ref().and_then(|mold| mold.channel.as_ref()) {
            mold.send(&ToMold::Fork { slot }, &[theirs.as_fd()]).map_err(ChildError::Wire)?;
        }
        let birth = self.next_birth();
        self.listen(Rc::clone(&channel), move |message| Report::Worker(slot, birth, message));
        let worker = Worker { birth, pid: None, channel, asked: Instant::now(), failure: None };
        if let Some(given_up) = self.workers.insert(slot, worker) {
            // Should its process be born all the same, it reads that nobody wants it, and leaves.
            given_up.channel.shut_down();
        }
        Ok(())
    }

    /// Closes the mold's channel: an idle mold leaves when it sees that.
    pub(super) fn dismiss_mold(&mut self) {
        if let Some(channel) = self.mold.as_mut().and_then(|mold| mold.channel.take()) {
            channel.shut_down();
        }
    }

    /// Tells the worker of `slot` to drain.
    pub(super) fn drain(&self, slot: u16) -> Result<(), ChildError> {
        match self.workers.get(&slot) {
            Some(worker) => worker.channel.send(&ToWorker::Drain, &[]).map_err(ChildError::Wire),
            None => Ok(()),
        }
    }

    /// Sends SIGKILL to the mold; it is our child and not reaped yet, so the pid is its own.
    pub(super) fn kill_mold(&self) {
        if let Some(mold) = &self.mold {
            kill(mold.pid);
        }
    }

    /// Sends SIGKILL to the worker of `slot` if it still is `pid`.
    pub(super) fn kill_worker(&self, slot: u16, pid: i32) {
        if self.workers.get(&slot).is_some_and(|worker| worker.pid == Some(pid)) {
            kill(pid);
        }
    }

    /// Whether a report with this birth number is from the present mold.
    pub(super) fn is_mold(&self, birth: u64) -> bool {
        self.mold.as_ref().is_some_and(|mold| mold.birth == birth)
    }

    /// Whether a report with this birth number is from the present worker of `slot`.
    pub(super) fn is_worker(&self, slot: u16, birth: u64) -> bool {
        self.workers.get(&slot).is_some_and(|worker| worker.birth == birth)
    }

    pub(super) fn mold_pid(&self) -> Option<i32> {
        self.mold.as_ref().map(|mold| mold.pid)
    }

    pub(super) fn mold_started(&self) -> Option<Instant> {
        self.mold.as_ref().map(|mold| mold.started)
    }

    pub(super) fn worker_asked(&self, slot: u16) -> Option<Instant> {
        self.workers.get(&slot).map(|worker| worker.asked)
    }

    pub(super) fn worker_pid(&self, slot: u16) -> Option<i32> {
        self.workers.get(&slot).and_then(|worker| worker.pid)
    }

    /// Notes who fills `slot`; its exit, if its process ended before its first word was read.
    pub(super) fn worker_spoke(&mut self, slot: u16, pid: i32) -> Option<Exit> {
        let worker = self.workers.get_mut(&slot)?;
        worker.pid = Some(pid);
        // One that was reaped before this worker was asked for had the same pid, no more.
        let asked = worker.asked;
        let same = |stranger: &Stranger| stranger.pid == pid && asked <= stranger.ended;
        let place = self.strangers.iter().position(same)?;
        self.strangers.remove(place).map(|stranger| stranger.exit)
    }

    pub(super) fn mold_failed(&mut self, failure: Failure) {
        if let Some(mold) = &mut self.mold {
            mold.failure = Some(failure);
        }
    }

    pub(super) fn worker_failed(&mut self, slot: u16, failure: Failure) {
        if let Some(worker) = self.workers.get_mut(&slot) {
            worker.failure = Some(failure);
        }
    }

    /// What the child with this pid said that nobody has read yet.
    pub(super) fn last_words(&self, pid: i32) -> Vec<Report> {
        if let Some(mold) = self.mold.as_ref().filter(|mold| mold.pid == pid) {
            let channel = mold.channel.as_ref();
            let words = channel.map_or_else(Vec::new, |channel| channel.rest());
            return words.into_iter().map(|word| Report::Mold(mold.birth, Some(word))).collect();
        }
        let Some(slot) = self.slot_of(pid) else { return Vec::new() };
        let Some(worker) = self.workers.get(&slot) else { return Vec::new() };
        let words = worker.channel.rest();
        words.into_iter().map(|word| Report::Worker(slot, worker.birth, Some(word))).collect()
    }

    /// Looks up and forgets the child that ended; `None` for one that is no child of the fleet's
    /// (the middle process of a double fork, an orphan of the application).
    pub(super) fn ended(&mut self, pid: i32, exit: Exit) -> Option<Ended> {
        if self.mold_pid() == Some(pid) {
            let failure = self.mold.take().and_then(|mold| mold.failure);
            return Some(Ended::Mold { pid, exit, failure });
        }
        let Some(slot) = self.slot_of(pid) else {
            if self.strangers.len() == STRANGERS_MAX {
                self.strangers.pop_front();
            }
            self.strangers.push_back(Stranger { pid, exit, ended: Instant::now() });
            return None;
        };
        let failure = self.workers.remove(&slot).and_then(|worker| worker.failure);
        Some(Ended::Worker { slot, pid, exit, failure })
    }

    fn slot_of(&self, pid: i32) -> Option<u16> {
        self.workers.iter().find(|(_, worker)| worker.pid == Some(pid)).map(|(slot, _)| *slot)
    }

    fn next_birth(&mut self) -> u64 {
        self.births += 1;
        self.births
    }

    /// Forwards what comes through `channel` as reports, and its closing as the last one.
    fn listen<M, F>(&self, channel: Rc<AsyncChannel>, report: F)
    where
        M: serde::de::DeserializeOwned + 'static,
        F: Fn(Option<M>) -> Report + 'static,
    {
        let sender = self.sender.clone();
        tokio::task::spawn_local(async move {
            loop {
                let message = match channel.next::<M>().await {
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
    }
}

fn kill(pid: i32) {
    // A child that has gone meanwhile is what was wanted.
    let _ = PidFd::open(Pid::from_raw(pid)).and_then(|pidfd| pidfd.send(Signal::SIGKILL));
}

/// The environment of the mold, and so of the application: ours, with `RACK_ENV` as Puma sets it,
/// without what was meant for the master alone.
fn mold_environment(config: &Config) -> Vec<(OsString, OsString)> {
    const FOR_THE_MASTER: [&str; 6] = [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
    ];
    std::env::vars_os()
        .filter(|(name, _)| {
            name != "RACK_ENV"
                && name != "PWD"
                && !FOR_THE_MASTER.iter().any(|internal| name == internal)
        })
        .chain([
            ("RACK_ENV".into(), config.environment.clone().into()),
            ("PWD".into(), config.directory.clone().into()),
        ])
        .collect()
}
