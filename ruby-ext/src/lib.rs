//! Ruby, safely: the VM, the GVL, the Rack environment, request and response bodies, hijack.
//!
//! This crate knows neither tokio nor the listening sockets: it takes and gives `http` and `bytes`
//! types, and meets the I/O side in [`exchange`]. With `sys` it is the only crate with `unsafe`.

pub mod backtraces;
pub mod bell;
pub mod exception;
pub mod exchange;
pub mod fork;
pub mod gvl;
pub mod hooks;
pub mod load;
pub mod pool;
pub mod rack;
pub mod signals;
pub mod title;
pub mod vm;

// The two types of magnus that stand in this crate's API, so that nobody else needs magnus.
pub use magnus::{Error as RubyError, Ruby};
