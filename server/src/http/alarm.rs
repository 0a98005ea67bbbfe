//! One timer per connection, set again only when it must be.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The alarm rings at least this often while there is a deadline, so that a connection that has
/// come to rest can be noticed without a timer operation per request.
pub(super) const ROUND: Duration = Duration::from_secs(5);

/// Fires at a deadline that moves often, mostly into the future.
///
/// A later deadline leaves the timer as it is: when it rings early, it is set again then. So a
/// request on a kept-alive connection costs no timer operation.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Why the alarm rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// The deadline has passed.
    Deadline,
    /// It has not; time to look around. The caller must poll again.
    Round,
}

impl Alarm {
    /// Ready when `deadline` has passed, or before it in rounds.
    pub(super) fn poll_ring(
        &mut self,
        deadline: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Ring> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let next = || deadline.min(Instant::now() + ROUND);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(next())));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        if deadline <= Instant::now() {
            return Poll::Ready(Ring::Deadline);
        }
        sleep.as_mut().reset(next());
        Poll::Ready(Ring::Round)
    }
}
