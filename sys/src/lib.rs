//! The operating system, safely: processes, signals, sockets, descriptors, pid files.
//!
//! Everything that needs `unsafe` outside the Ruby bridge is here, behind functions that cannot be
//! misused from safe code. Nothing in this crate knows Ruby, HTTP, the configuration or tokio, and
//! nothing keeps state of its own: what a call needs is passed to it.
//!
//! # Layout
//!
//! - Processes: [`fork`], [`spawn`], [`exec`], [`daemon`], [`process`], [`signals`], [`limits`]
//! - Sockets: [`listen`], [`activation`], [`channel`], [`peer`], [`notify`]
//! - Between processes, and over an exec: [`inherited`], [`shared_words`], [`monotonic`]
//! - Files: [`pid_file`], [`streams`], [`directory`], [`temp_file`]

pub mod exec;
pub mod fork;
pub mod signals;
pub mod spawn;

pub mod daemon;
pub mod limits;
pub mod monotonic;
pub mod process;

pub mod activation;
pub mod channel;
pub mod inherited;
pub mod listen;
pub mod notify;
pub mod peer;
pub mod shared_words;

pub mod directory;
pub mod local_time;
pub mod pid_file;
pub mod streams;
pub mod temp_file;

mod directory_lock;
mod file_id;
mod image;
mod unpredictable;

#[cfg(test)]
mod forked;

/// sysexits(3) values that the errors of this crate end a program with.
mod sysexits {
    /// A host name that nobody knows.
    pub(crate) const NOHOST: u8 = 68;
    /// A service or file that is needed is taken by another process.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// A bug of ours: an invariant does not hold.
    pub(crate) const SOFTWARE: u8 = 70;
    /// The operating system refused something that it normally grants.
    pub(crate) const OSERR: u8 = 71;
    /// A file that was asked for cannot be made.
    pub(crate) const CANTCREAT: u8 = 73;
    /// What was asked for makes no sense here.
    pub(crate) const CONFIG: u8 = 78;
}
