//! The servers that the oracle can start and restart by itself: rackrs and its peers.

mod command;
mod kind;
mod running;

pub use kind::Kind;
pub use running::{Running, Setup};
