//! The master: owns listeners, pid file and workers' places; never runs Ruby.
//!
//! - [`fleet`]: what should happen, pure; made of [`worker_state`] and [`mold_state`]
//! - [`command`]: which signal means what
//! - [`start`]: from a configuration to a running loop, and back
//! - [`announcement`]: saying that it serves
//! - [`site`]: what it is made of
//! - [`run`]: the loop, and the one place where effects happen
//! - [`children`]: the processes and channels behind the fleet
//! - [`proof`], [`handover`], [`take_over`]: becoming another program in the same process

mod announcement;
mod children;
mod command;
mod fleet;
mod handover;
mod listeners;
mod logs;
mod mold_state;
mod moment;
mod predecessor;
mod program;
mod proof;
mod restart_log;
mod rows;
mod run;
mod service_manager;
mod site;
mod start;
mod state_file;
mod take_over;
#[cfg(test)]
mod walk;
mod watch;
mod worker_state;

pub use handover::{TakeOverError, left_to_us};
pub use listeners::ListenError;
pub(crate) use logs::{leave_terminal, reopen_logs};
pub use program::Invocation;
pub use proof::{ARGUMENT as PROOF_ARGUMENT, main as prove};
pub use start::{Ending, StartError, check, resume, serve};
