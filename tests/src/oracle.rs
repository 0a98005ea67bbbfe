//! The restart oracle: clients of many kinds use a server while it is restarted again and again,
//! and a report says what they lost.
//!
//! It knows no server: what it needs is a [`Subject`] that serves `tests/apps/release.ru`, and a
//! function that restarts it. [`watch`] first puts the load on the server without any restart, the
//! base line, then with restarts, and gives a [`Report`]. What it promises to see:
//!
//! - A request that was written, wholly or in part, and was not answered with 200 and its own id
//!   is *lost*. A connection that cannot be made is *refused*.
//! - A kept connection that the server closed *before* a request was written loses nothing: every
//!   HTTP client connects again. It is counted. "Before" means that the end is there to be read
//!   before the request is written, or that the kernel takes not one byte of it.
//! - The pid file, read every millisecond, names a process that lives. A zombie does not.
//! - No request that begins after a restart began (on a kept connection, a moment after it) is
//!   answered by a release older than the one that was current then; once a restart is complete, no request on a new connection is answered by
//!   the old release; no release answers before its restart began. While a restart is under way
//!   old and new may answer in turns, as a swap of one worker after the other must; that a client's
//!   own answers never step back is promised by [`Plan::monotonic`] alone.
//! - The longest gap between two answers to fast requests, of all clients and of each, with the
//!   load's begin and end as its outer marks.

mod address;
mod answer;
mod client;
mod judge;
mod load;
mod mix;
mod pid_watch;
mod record;
mod release;
mod report;
mod restart;
pub mod servers;
mod stop;
mod summary;
mod table;
mod wire;

pub use address::Address;
pub use judge::Markers;
pub use pid_watch::PidFile;
pub use release::Release;
pub use report::{Phase, Report};
pub use restart::{Plan, Restart, Round, Subject, watch};
pub use summary::{Client, Fast};
