//! What stands behind the HTTP side: whoever takes complete requests.

use std::sync::Arc;

use rackrs_ruby::exchange::{Full, Queue, Request};

/// Takes complete requests and answers them, from any thread, through their
/// [`Answer`](rackrs_ruby::exchange::Answer).
pub trait Application: 'static {
    /// Hands over one request. Must not block: it is called on the I/O thread.
    ///
    /// # Errors
    ///
    /// [`Full`] when there is no room; the client gets a 503.
    fn call(&self, request: Box<Request>) -> Result<(), Full>;

    /// Whether another worker should rather take the next connection.
    ///
    /// Only asked when [`Settings::yield_when_busy`](super::Settings::yield_when_busy) is set.
    fn is_busy(&self) -> bool {
        false
    }
}

impl Application for Arc<Queue> {
    fn call(&self, request: Box<Request>) -> Result<(), Full> {
        self.try_push(request)
    }

    fn is_busy(&self) -> bool {
        self.load().queued > 0
    }
}
