//! What became of one request.

use std::time::{Duration, Instant};

/// The time since a load began. Every thread of one load reads the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time on it.
    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 200, whole, with its own id, from this release.
    Answered {
        /// The release.
        marker: u32,
    },
    /// Written, at least in part, and not answered so.
    Lost(Box<str>),
    /// No connection could be made.
    Refused(Box<str>),
}

/// One request of one client.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// When it began: before the connection was made, where it has a new one.
    pub(super) begin: Duration,
    /// When its answer was whole, or its failure known.
    pub(super) end: Duration,
    /// Whether it had a connection of its own.
    pub(super) fresh: bool,
    /// How it ended.
    pub(super) outcome: Outcome,
}
