//! What a master leaves to the program that it becomes: a record in memory without a name, and the
//! descriptors that the record names.
//!
//! The process stays the same, so its children, its pid and the locks that it holds stay its own;
//! everything else that the next program must know is in here.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use rackrs_sys::{
    inherited::{self, InheritError},
    listen::{AdoptError, FileNumbers, Listener},
};
use serde::{Deserialize, Serialize};

use super::{
    command::{Command, StopEnding},
    fleet::{Fleet, GenerationId, WorkerId},
    moment::Moment,
    restart_log::RestartLog,
};
use crate::{
    config::{Bind, Config},
    wire::Failure,
};

/// The variable that names the record's descriptor, and the pid it is meant for.
pub(super) const VARIABLE: &str = "RACKRS_HANDOVER";

/// The record's version. A program that does not know it refuses to take over, and says so while
/// the one before still serves.
const VERSION: u32 = 1;

/// Longest record: 16 MiB, a thousand workers many times over.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Everything that is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) fleet: Fleet,
    pub(super) configs: BTreeMap<GenerationId, Config>,
    pub(super) births: u64,
    pub(super) molds: Vec<MoldRecord>,
    pub(super) workers: Vec<WorkerRecord>,
    pub(super) board: RawFd,
    pub(super) listeners: Vec<ListenerRecord>,
    pub(super) pid_file: Option<PidFileRecord>,
    #[serde(default)]
    pub(super) control: Option<SocketRecord>,
    #[serde(default)]
    pub(super) restarts: RestartLog,
    /// Seconds since 1970.
    pub(super) started_at: u64,
    /// Signals that had arrived and were not obeyed yet.
    #[serde(default)]
    pub(super) commands: Vec<Command>,
    pub(super) ending: StopEnding,
}

/// A mold's process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MoldRecord {
    pub(super) generation: GenerationId,
    pub(super) birth: u64,
    pub(super) pid: i32,
    pub(super) channel: Option<RawFd>,
    pub(super) started: Moment,
    /// Channel and row from its time as a worker.
    pub(super) former: Option<(RawFd, usize)>,
    /// What it said before its end, which has not come yet.
    #[serde(default)]
    pub(super) failure: Option<Failure>,
}

/// A worker's process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerRecord {
    pub(super) id: WorkerId,
    pub(super) birth: u64,
    pub(super) slot: u16,
    pub(super) generation: GenerationId,
    pub(super) pid: Option<i32>,
    pub(super) channel: RawFd,
    pub(super) asked: Moment,
    pub(super) row: usize,
    /// What it said before its end, which has not come yet.
    #[serde(default)]
    pub(super) failure: Option<Failure>,
}

/// A listening socket of the site.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenerRecord {
    /// The setting it was opened for, if there is one.
    pub(super) bind: Option<Bind>,
    pub(super) passed: bool,
    pub(super) socket: SocketRecord,
}

/// A listening socket.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SocketRecord {
    fd: RawFd,
    /// Device and inode of the socket file that is ours to unlink.
    file: Option<(u64, u64)>,
}

/// The pid file, locked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PidFileRecord {
    pub(super) fd: RawFd,
    pub(super) path: PathBuf,
}

/// Why a record, or something that it names, could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// A descriptor is not there.
    #[error(transparent)]
    Descriptor(#[from] InheritError),
    /// The record cannot be read.
    #[error("cannot read what the program before has left")]
    Read(#[source] io::Error),
    /// It is of another kind.
    #[error(
        "cannot understand what the program before has left; start the server anew for this version"
    )]
    Decode(#[source] serde_json::Error),
    /// It is of a later kind.
    #[error(
        "cannot take over from a program with records of version {0}; start the server anew for this version"
    )]
    Version(u32),
    /// Something is no listening socket.
    #[error("cannot take over a listening socket")]
    Adopt(#[source] AdoptError),
    /// Anything else.
    #[error("cannot take over {what}")]
    Part {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SocketRecord {
    /// Describes `listener`.
    pub(super) fn of(listener: &Listener) -> Self {
        let file = listener.file_numbers().map(|file| (file.device, file.inode));
        Self { fd: listener.as_fd().as_raw_fd(), file }
    }

    /// Takes the socket that it describes.
    pub(super) fn take(self) -> Result<Listener, TakeOverError> {
        let file = self.file.map(|(device, inode)| FileNumbers { device, inode });
        Listener::adopt(inherited::take(self.fd)?, file).map_err(TakeOverError::Adopt)
    }
}

impl Record {
    /// What every record of this program begins with.
    pub(super) fn version() -> u32 {
        VERSION
    }

    /// Writes it where only the next program finds it.
    ///
    /// # Errors
    ///
    /// When the system has no memory or descriptor for it.
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        let memory = memfd_create(c"rackrs handover", MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(&serde_json::to_vec(self)?)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file.into())
    }

    /// Reads what [`Record::write`] has written, perhaps in another version.
    pub(super) fn read(descriptor: OwnedFd) -> Result<Self, TakeOverError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let mut file = File::from(descriptor);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.take(RECORD_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(TakeOverError::Read)?;
        let head: Head = serde_json::from_slice(&bytes).map_err(TakeOverError::Decode)?;
        if head.version != VERSION {
            return Err(TakeOverError::Version(head.version));
        }
        serde_json::from_slice(&bytes).map_err(TakeOverError::Decode)
    }
}

/// The value of [`VARIABLE`] for a record at this descriptor.
pub(super) fn variable(record: BorrowedFd<'_>) -> String {
    format!("{}:{}", record.as_raw_fd(), std::process::id())
}

/// The descriptor of the record that was left to this very process.
#[must_use]
pub fn left_to_us() -> Option<RawFd> {
    let value = env::var(VARIABLE).ok()?;
    let (number, pid) = value.split_once(':')?;
    (pid.parse() == Ok(std::process::id())).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as the first version wrote it. A program that cannot read it cannot take over from
    /// servers that run.
    #[test]
    fn an_old_record_is_understood() {
        let mut memory = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        memory.write_all(include_bytes!("handover/record-1.json")).unwrap();
        let record = Record::read(memory.into()).unwrap();
        assert_eq!((record.workers.len(), record.molds.len(), record.listeners.len()), (2, 1, 1));
        assert!(record.configs.contains_key(&record.fleet.serving()));
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let mut memory = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        memory.write_all(br#"{"version": 99, "fleet": {"unknown": 1}}"#).unwrap();
        let refused = Record::read(memory.into()).unwrap_err();
        assert!(matches!(refused, TakeOverError::Version(99)), "{refused:?}");
    }
}
