//! The meeting point of one request between the I/O thread and a Ruby thread.
//!
//! The I/O side holds a [`Reply`] and polls it as a task; the Ruby side holds an [`Answer`] and
//! blocks on it without the GVL. Both see one locked state, which holds no Ruby object, so that no
//! Ruby value ever crosses to the I/O thread.

mod answer;
pub(crate) mod process;
mod queue;
mod reply;
mod request;
mod state;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Gone, Interrupter, Push, Wait};
pub use queue::{Full, Load, Queue, Taken};
pub use reply::{Aborted, Event, Reply, ReplyBody};
pub use request::{Body, Peer, Request, Scheme};
pub use state::{HandedSocket, HijackRefused, Response, ResponseBody};

/// Makes the two ends of one exchange.
#[must_use]
pub fn exchange() -> (Answer, Reply) {
    let shared = state::Shared::new();
    (Answer::new(std::sync::Arc::clone(&shared)), Reply::new(shared))
}

/// Most bytes of a streamed response that wait for the client before the application is held up.
///
/// The channel takes one chunk beyond it, of any size, because a chunk is never split.
pub const STREAM_QUEUED_BYTES_MAX: usize = 64 * 1024;
