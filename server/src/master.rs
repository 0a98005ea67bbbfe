//! The master: owns listeners, pid file and slots; never runs Ruby.
//!
//! - [`fleet`]: what should happen, pure; made of [`slot`] and [`mold_state`]
//! - [`command`]: which signal means what
//! - [`start`]: from a configuration to a running loop, and back
//! - [`run`]: the loop, the one place where effects happen
//! - [`children`]: the processes and channels behind the fleet

mod children;
mod command;
mod fleet;
mod listeners;
mod mold_state;
mod run;
mod slot;
mod start;

pub use listeners::ListenError;
pub(crate) use start::leave_terminal;
pub use start::{Ending, StartError, check, serve};
