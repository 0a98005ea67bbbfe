//! A client that is there during the whole storm.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, bail};

use crate::{Connection, patience::pause};

/// It asks on new connections, all the time.
#[derive(Debug)]
pub(super) struct Client {
    /// From here on it may be refused.
    ending: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Client {
    /// From the first answer on it must be answered until [`Client::may_lose`]; where processes
    /// are killed it must at least never be refused.
    pub(super) fn start(socket: &Path, demand: Demand) -> Self {
        let (ending, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = Task {
            socket: socket.to_owned(),
            demand,
            ending: Arc::clone(&ending),
            answered: Arc::clone(&answered),
        };
        Self { ending, answered, thread: thread::spawn(move || task.ask()) }
    }

    /// The server is about to be told to stop.
    pub(super) fn may_lose(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// How often it was answered; an error when once it was not.
    pub(super) fn finish(self) -> anyhow::Result<u64> {
        self.may_lose();
        match self.thread.join() {
            Ok(result) => result.map(|()| self.answered.load(Ordering::SeqCst)),
            Err(_panic) => bail!("an answer did not come; see above"),
        }
    }
}

/// What must be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Answer,
    Connection,
}

struct Task {
    socket: PathBuf,
    demand: Demand,
    ending: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Task {
    fn ask(&self) -> anyhow::Result<()> {
        let is_ending = || self.ending.load(Ordering::SeqCst);
        while !is_ending() {
            match self.ask_once() {
                Ok(()) => {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) if !is_ending() && self.answered.load(Ordering::SeqCst) > 0 => {
                    return Err(error);
                }
                Err(_not_yet_or_no_more) => {}
            }
            pause();
        }
        Ok(())
    }

    fn ask_once(&self) -> anyhow::Result<()> {
        let mut connection = Connection::try_unix(&self.socket).context("a client was refused")?;
        connection.offer("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        match connection.try_receive() {
            Some(response) if response.status == 200 => Ok(()),
            _ if self.demand == Demand::Connection => Ok(()),
            Some(response) => bail!("a client was answered {}", response.status),
            None => bail!("a client was not answered"),
        }
    }
}
