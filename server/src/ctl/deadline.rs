//! A moment after which no more is waited.

use std::time::{Duration, Instant};

/// A limit that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// As it was given.
    pub(super) limit: Duration,
    from: Instant,
}

impl Deadline {
    /// The limit runs from now on.
    pub(super) fn after(limit: Duration) -> Self {
        Self { limit, from: Instant::now() }
    }

    /// What is left of it; zero once it is over.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.from.elapsed())
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How long it has run.
    pub(super) fn elapsed(&self) -> Duration {
        self.from.elapsed()
    }
}
