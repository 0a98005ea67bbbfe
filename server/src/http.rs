//! The HTTP side of a worker: connections in, requests to an [`Application`], responses out.
//!
//! Everything here runs on one native thread, in a tokio `current_thread` runtime and a
//! [`LocalSet`](tokio::task::LocalSet), and never touches Ruby. hyper parses and writes HTTP/1;
//! around it stand what hyper leaves to others: [`check`] for requests that must be refused,
//! [`phase`] for time-outs, [`upload`] for request bodies, [`outgoing`] for response bodies,
//! [`connection`] for hijacking, early hints and the end of a connection.

mod accept;
mod access;
mod alarm;
mod answer;
mod application;
mod check;
mod connection;
mod counters;
mod drain;
mod file_body;
mod host;
mod linger;
mod link;
mod outgoing;
mod phase;
mod refusal;
mod reply_head;
mod request;
mod server;
mod settings;
mod socket;
mod upload;
mod warm_up;
mod worker;

#[cfg(test)]
mod trial;

pub use accept::Source;
pub use access::{AccessLog, Entry};
pub use application::Application;
pub use counters::{Counters, Snapshot};
pub use drain::{Drained, Manner};
pub use server::Server;
pub use settings::{OpenTempFile, Settings};
pub use warm_up::{WarmUp, WarmUpError};
