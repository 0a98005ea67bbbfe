//! In the new program: from the record of the one before to a site that goes on.

use std::{
    os::fd::RawFd,
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use rackrs_sys::{
    channel::Channel,
    inherited,
    pid_file::{PidFile, PidFileError},
    shared_words::SharedWords,
};

use super::{
    children::{ChildError, Children, Former, Mold, Worker},
    command::Command,
    handover::{MoldRecord, PidFileRecord, Record, TakeOverError, WorkerRecord},
    listeners::Listeners,
    rows::Rows,
    site::Site,
};
use crate::{config::Config, control::ControlServer};

/// What the program before has left, read but not taken yet.
pub(super) struct Inheritance {
    record: Record,
    config: Rc<Config>,
}

/// The same, in our hands.
pub(super) struct Estate {
    pub(super) site: Site,
    /// A file that somebody has removed or replaced meanwhile is no reason to end.
    pub(super) pid_file: Option<Result<PidFile, PidFileError>>,
    /// Signals that the program before did not obey any more.
    pub(super) pending: Vec<Command>,
}

impl Inheritance {
    /// Reads the record at this descriptor.
    pub(super) fn read(descriptor: RawFd) -> Result<Self, TakeOverError> {
        let record = Record::read(inherited::take(descriptor)?)?;
        let serving = record.fleet.serving();
        let config = record.configs.get(&serving).cloned().ok_or_else(|| part("settings", Lost))?;
        Ok(Self { record, config: Rc::new(config) })
    }

    /// The configuration of the generation that serves.
    pub(super) fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// Takes everything into this program's runtime.
    pub(super) fn enter(self) -> Result<Estate, TakeOverError> {
        let Record {
            version: _,
            fleet,
            configs,
            births,
            molds,
            workers,
            board,
            listeners,
            pid_file,
            control,
            restarts,
            started_at,
            commands,
            ending,
        } = self.record;
        let board = SharedWords::from_fd(inherited::take(board)?)
            .map_err(|error| part("the scoreboard", error))?;
        let former = molds.iter().filter_map(|mold| mold.former.map(|(_, row)| row));
        let rows = Rows::inherited(board, workers.iter().map(|worker| worker.row).chain(former));
        let (mut children, reports) = Children::new(rows);
        children.births = births;
        for mold in molds {
            take_mold(&mut children, mold)?;
        }
        for worker in workers {
            take_worker(&mut children, worker)?;
        }
        let site = Site {
            fleet,
            configs: configs
                .into_iter()
                .map(|(number, config)| (number, Rc::new(config)))
                .collect(),
            children,
            reports,
            listeners: Listeners::take_over(listeners)?,
            control: control
                .map(|socket| socket.take().map(ControlServer::from_listener))
                .transpose()?,
            restarts,
            started: UNIX_EPOCH + Duration::from_secs(started_at),
            ending,
        };
        let pid_file = pid_file.as_ref().map(take_pid_file).transpose()?;
        Ok(Estate { site, pid_file, pending: commands })
    }
}

fn take_channel(number: RawFd) -> Result<Channel, TakeOverError> {
    Ok(Channel::from_fd(inherited::take(number)?))
}

fn take_mold(children: &mut Children, record: MoldRecord) -> Result<(), TakeOverError> {
    let MoldRecord { generation, birth, pid, channel, started, former, failure } = record;
    let no_channel = |error: ChildError| part("the channel of a mold", error);
    let channel = match channel {
        Some(number) => Some(
            children.mold_channel(generation, birth, take_channel(number)?).map_err(no_channel)?,
        ),
        None => None,
    };
    let former = match former {
        Some((number, row)) => {
            // Nobody waits for what it said as a worker.
            let channel = crate::wire::AsyncChannel::new(take_channel(number)?)
                .map_err(|error| part("the channel of a mold", error))?;
            Some(Former { channel: Rc::new(channel), row })
        }
        None => None,
    };
    let mold = Mold { birth, pid, channel, started, failure, former };
    children.molds.insert(generation, mold);
    Ok(())
}

fn take_worker(children: &mut Children, record: WorkerRecord) -> Result<(), TakeOverError> {
    let WorkerRecord { id, birth, slot, generation, pid, channel, asked, row, failure } = record;
    let channel = children
        .worker_channel(id, birth, take_channel(channel)?)
        .map_err(|error| part("the channel of a worker", error))?;
    let worker = Worker { birth, slot, generation, pid, channel, asked, failure, row };
    children.workers.insert(id, worker);
    Ok(())
}

fn take_pid_file(record: &PidFileRecord) -> Result<Result<PidFile, PidFileError>, TakeOverError> {
    Ok(PidFile::from_fd(inherited::take(record.fd)?, &record.path))
}

fn part(
    what: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TakeOverError {
    TakeOverError::Part { what, source: source.into() }
}

/// The record lacks something that it names.
#[derive(Debug, thiserror::Error)]
#[error("the record does not have it")]
struct Lost;
