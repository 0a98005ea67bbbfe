//! Messages between master, mold and workers, and the two channels that carry them.
//!
//! A message is one datagram of a `SOCK_SEQPACKET` pair: whole or not at all, with a limit
//! ([`rackrs_sys::channel::MESSAGE_BYTES_MAX`]). After a restart the master may be of another version
//! than its older children: a message that one of them does not know is logged and skipped, and a
//! field that is added has a default.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rackrs_ruby::fork::Private;
use rackrs_sys::channel::{
    Channel, ChannelError, MESSAGE_BYTES_MAX, ReceiveError, Received, SendError,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    config::Config,
    http::Manner,
    telemetry::{chain, events},
};

/// The hidden first argument of the process that becomes the mold.
pub const MOLD_ARGUMENT: &str = "__mold";

/// The descriptor on which a mold finds its channel.
pub const MOLD_CHANNEL: i32 = 3;

/// What the master tells the mold.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMold {
    /// Boot Ruby and load the application. Carries the scoreboard and the listening descriptors.
    Boot(Box<Orders>),
    /// Fork a worker. Carries the worker's end of its channel.
    Fork {
        /// The master's number of it.
        worker: u64,
        /// The slot to fill.
        slot: u16,
        /// Its row of the scoreboard.
        row: usize,
    },
    /// All workers of this generation serve.
    Booted,
    /// A worker of this generation ended.
    WorkerExited {
        /// The slot it had.
        slot: u16,
        /// Its pid.
        pid: i32,
        /// Its exit status, 128 and the signal's number for a killed one.
        status: i32,
    },
    /// A worker of this generation is killed because it makes no progress.
    WorkerTimeout {
        /// The slot it has.
        slot: u16,
        /// Its pid.
        pid: i32,
    },
    /// Open the log files anew.
    ReopenLogs,
    /// Run the last hooks and end; so does a closed channel.
    Leave {
        /// Because a newer generation serves, not because the server stops.
        restarted: bool,
    },
}

/// Everything a mold is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The configuration, as the master settled it.
    pub config: Config,
    /// How the user named the program; `$0`.
    pub program: String,
    /// The master's pid, for process titles.
    pub master: i32,
    /// The generation that it brings, from 1.
    pub generation: u32,
}

/// What the mold tells the master.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromMold {
    /// The application is loaded; forks may be asked for.
    Loaded {
        /// `RUBY_DESCRIPTION`, shortened.
        ruby: String,
        /// Rack's release.
        rack: String,
    },
    /// Ruby did not boot, or the application did not load.
    Failed(Failure),
    /// A worker could not be forked.
    ForkFailed {
        /// The master's number of it.
        worker: u64,
        /// The operating system's or Ruby's reason.
        reason: String,
    },
}

/// What the master tells a worker. A closed channel means a prompt [`ToWorker::Drain`] as well.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Accept nothing more, finish what is in hand, leave.
    Drain(Manner),
    /// Log where every thread stands, whatever it takes: the process will be killed.
    Confess,
    /// Tell where every Ruby thread stands.
    Backtraces,
    /// Open the log files anew.
    ReopenLogs,
    /// Finish what is in hand, then become the mold of this generation. Carries the mold's channel
    /// and the listening descriptors.
    Promote {
        /// The generation that it brings.
        generation: u32,
    },
}

/// What a worker tells the master.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// It exists.
    Forked {
        /// Its pid.
        pid: i32,
    },
    /// It accepts connections.
    Ready,
    /// It cannot serve and leaves.
    Failed(Failure),
    /// It has logged where its threads stand.
    Confessed,
    /// Where its Ruby threads stand.
    Backtraces {
        /// As Ruby writes backtraces, many lines; cut to [`BACKTRACES_BYTES_MAX`].
        text: String,
    },
}

/// Longest text of [`FromWorker::Backtraces`], bytes: JSON may double it, and it must fit a message.
pub const BACKTRACES_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;

/// Why a mold or worker gives up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One line: "cannot load …".
    pub reason: String,
    /// Exit status that fits it.
    pub status: u8,
}

/// A message could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The message has no encoding; a bug.
    #[error("cannot encode a message")]
    Encode(#[source] serde_json::Error),
    /// The other end sent something else.
    #[error("cannot understand a message of {len} bytes; the two programs differ")]
    Decode {
        /// Its length.
        len: usize,
        /// Where it went wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The channel refused it.
    #[error("cannot send a message")]
    Send(#[source] SendError),
    /// The channel broke.
    #[error("cannot receive a message")]
    Receive(#[source] ReceiveError),
    /// The first message lacks it.
    #[error("cannot start: the scoreboard was not passed")]
    NoScoreboard,
    /// It is not what it should be.
    #[error("cannot start: the scoreboard cannot be used")]
    Scoreboard(#[source] rackrs_sys::shared_words::SharedError),
    /// The channel cannot be made non-blocking.
    #[error("cannot prepare a channel")]
    Prepare(#[source] ChannelError),
    /// The channel cannot be watched.
    #[error("cannot watch a channel")]
    Watch(#[source] io::Error),
}

/// One message and the descriptors that came with it.
#[derive(Debug)]
pub struct Delivery<M> {
    /// The message.
    pub message: M,
    /// Its descriptors, in the sender's order.
    pub descriptors: Vec<OwnedFd>,
}

/// What came out of a receive.
#[derive(Debug)]
pub enum Incoming<M> {
    /// A message.
    Delivery(Delivery<M>),
    /// The other end is gone.
    Closed,
    /// Nothing yet, or a signal came first.
    Nothing,
    /// A message that this version does not know; it is logged.
    Unknown,
}

/// Sends one message with descriptors.
///
/// # Errors
///
/// When it cannot be encoded or the channel refuses it.
pub fn send<M: Serialize>(
    channel: &Channel,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(message).map_err(WireError::Encode)?;
    channel.send(&bytes, descriptors).map_err(WireError::Send)
}

/// Receives one message: waits for it on a blocking channel, looks for it on a non-blocking one.
///
/// # Errors
///
/// When the channel breaks.
pub fn receive<M: DeserializeOwned>(channel: &Channel) -> Result<Incoming<M>, WireError> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    match channel.receive(&mut buffer).map_err(WireError::Receive)? {
        Received::Closed => Ok(Incoming::Closed),
        Received::NotYet | Received::Interrupted => Ok(Incoming::Nothing),
        Received::Message { bytes, descriptors } => {
            match serde_json::from_slice(&buffer[..bytes]) {
                Ok(message) => Ok(Incoming::Delivery(Delivery { message, descriptors })),
                Err(source) => {
                    // What it was about is lost; the conversation is not.
                    events::complain(&chain(&WireError::Decode { len: bytes, source }));
                    Ok(Incoming::Unknown)
                }
            }
        }
    }
}

/// A channel inside a tokio runtime; no process that the application forks keeps it.
#[derive(Debug)]
pub struct AsyncChannel {
    channel: AsyncFd<Private<Channel>>,
}

impl AsyncChannel {
    /// Puts `channel` in non-blocking mode and watches it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses either.
    pub fn new(channel: Channel) -> Result<Self, WireError> {
        channel.set_nonblocking(true).map_err(WireError::Prepare)?;
        #[allow(
            deprecated,
            reason = "its successor is unsafe because some types change their descriptor or do not \
                      own it; a Channel owns one and keeps it"
        )]
        let channel = AsyncFd::with_interest(Private::new(channel), Interest::READABLE)
            .map_err(WireError::Watch)?;
        Ok(Self { channel })
    }

    /// The next message; `None` when the other end is gone. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the channel breaks.
    pub async fn next<M: DeserializeOwned>(&self) -> Result<Option<Delivery<M>>, WireError> {
        loop {
            let mut guard = self.channel.readable().await.map_err(WireError::Watch)?;
            match receive(guard.get_inner())? {
                Incoming::Delivery(delivery) => return Ok(Some(delivery)),
                Incoming::Closed => return Ok(None),
                Incoming::Unknown => {}
                // After a signal the next look finds what is there.
                Incoming::Nothing => guard.clear_ready(),
            }
        }
    }

    /// Every message that is there now, without its descriptors; for a peer that has ended.
    #[must_use]
    pub fn rest<M: DeserializeOwned>(&self) -> Vec<M> {
        let mut messages = Vec::new();
        while let Ok(Incoming::Delivery(delivery)) = receive(self.channel.get_ref()) {
            messages.push(delivery.message);
        }
        messages
    }

    /// Sends one message without waiting: a full channel is an error, because its reader is stuck.
    ///
    /// # Errors
    ///
    /// As [`send`].
    pub fn send<M: Serialize>(
        &self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        send(self.channel.get_ref(), message, descriptors)
    }
}

impl AsFd for AsyncChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.get_ref().as_fd()
    }
}

impl AsyncChannel {
    /// Ends the conversation from this side: the other end reads that the channel is closed.
    pub fn shut_down(&self) {
        // It fails only when the other end is gone, which is what is wanted.
        let _ =
            nix::sys::socket::shutdown(self.channel.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}
