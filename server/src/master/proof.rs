//! A new program shows that it can take over, in a child, while the old one serves.
//!
//! It is started just as the master will become it: same file, arguments, environment, directory.
//! It reads the record that it would take over from, and settles its configuration; then it says
//! what it thinks, and ends. A file that is missing, broken or of another machine, a library that
//! it lacks, flags that it does not know: all of that is noticed here.

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use nix::sys::signal::Signal;
use rackrs_sys::{
    channel::{self, Channel},
    inherited,
    process::PidFd,
    spawn::Spawn,
};
use serde::{Deserialize, Serialize};

use super::{children::ChildError, handover::Record, program::Invocation};
use crate::{
    telemetry::{chain, events},
    wire::{self, AsyncChannel, Failure},
};

/// The hidden first argument of the process that shows it.
pub const ARGUMENT: &str = "__prove";

/// Where it finds the channel for its answer, and the record.
const CHANNEL: i32 = 3;
const RECORD: i32 = 4;

/// sysexits(3): the other end said something else than agreed.
const EX_PROTOCOL: u8 = 76;

/// What the new program says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It can take over.
    Yes {
        /// Its version, for the log.
        version: String,
    },
    /// It cannot.
    No(Failure),
}

/// The child that shows it. Dropped, it is ended: whatever it does then, nobody waits for it.
#[derive(Debug)]
pub(super) struct Proof {
    process: PidFd,
}

impl Proof {
    /// Starts `file` to show that it can take over from `record`.
    pub(super) fn start(
        file: &Path,
        invocation: &Invocation,
        environment: Vec<(OsString, OsString)>,
        record: BorrowedFd<'_>,
    ) -> Result<(Self, AsyncChannel), ChildError> {
        let (ours, theirs) = Channel::pair().map_err(ChildError::Channel)?;
        let mut arguments = vec![invocation.program(), ARGUMENT.into()];
        arguments.extend(invocation.arguments.iter().skip(1).cloned());
        let pid = Spawn::new(file, arguments)
            .environment(environment)
            .directory(&invocation.directory)
            .inherit(theirs.as_fd(), CHANNEL)
            .inherit(record, RECORD)
            .spawn()
            .map_err(ChildError::Proof)?;
        // It is our child and not reaped yet, so the pid is its own.
        let process = PidFd::open(pid).map_err(ChildError::Hold)?;
        Ok((Self { process }, AsyncChannel::new(ours).map_err(ChildError::Wire)?))
    }
}

/// What comes through the channel of a proof; an answer for it when it ends without.
pub(super) async fn answer(channel: AsyncChannel) -> Answer {
    let reason = match channel.next::<Answer>().await {
        Ok(Some(delivery)) => return delivery.message,
        Ok(None) => "it ended without a word; look above for its output".to_owned(),
        Err(error) => chain(&error),
    };
    Answer::No(Failure { reason, status: EX_PROTOCOL })
}

impl Drop for Proof {
    fn drop(&mut self) {
        // One that has ended is what is wanted.
        let _ = self.process.send(Signal::SIGKILL);
    }
}

/// The main function of the child. `resolved` is what came of the flags and the environment.
/// Returns its exit status.
#[must_use]
pub fn main(resolved: Result<(), Failure>) -> u8 {
    let channel = match channel::inherited(CHANNEL) {
        Ok(descriptor) => Channel::from_fd(descriptor),
        Err(error) => {
            events::complain(&format!(
                "cannot show that this program can take over: {}; only a master asks for it",
                chain(&error)
            ));
            return 64;
        }
    };
    let readable = inherited::take(RECORD).map_err(Into::into).and_then(Record::read);
    let answer = match (readable, resolved) {
        (Err(error), _) => Answer::No(Failure { reason: chain(&error), status: EX_PROTOCOL }),
        (Ok(_), Err(failure)) => Answer::No(failure),
        (Ok(_), Ok(())) => Answer::Yes { version: env!("CARGO_PKG_VERSION").to_owned() },
    };
    match wire::send(&channel, &answer, &[]) {
        Ok(()) => 0,
        // The master has given it up.
        Err(_) => EX_PROTOCOL,
    }
}
