//! What the foreman does next, as a pure function.

use std::time::{Duration, Instant};

use super::{BEAT, KILL_GRACE, PoolEnd};

/// The numbers the plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Threads that exist.
    pub(super) spawned: usize,
    /// Of these, threads that have not begun to look for work.
    pub(super) starting: usize,
    /// Requests in the queue.
    pub(super) queued: usize,
    /// Threads that wait for one.
    pub(super) waiting: usize,
    /// Whether the queue takes no more.
    pub(super) closed: bool,
}

/// Where the pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Open for requests.
    Serving,
    /// Closed; what was queued is being served, until `deadline` if there is one.
    Draining { deadline: Option<Instant> },
    /// The last `killed` threads were killed, and have until `deadline` to end.
    Killing { deadline: Instant, killed: usize },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Create a thread.
    Spawn,
    /// Wait until the queue sees a shortage, at most for [`BEAT`].
    AwaitShortage,
    /// Wait for a thread to begin or end, or the closing; never longer than [`BEAT`].
    AwaitBell(Duration),
    /// Kill every thread.
    Kill,
    /// Return.
    End(PoolEnd),
}

/// The limits the plan keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) threads_min: usize,
    pub(super) threads_max: usize,
    pub(super) drain: Option<Duration>,
}

impl Phase {
    /// The next phase, and what to do in it.
    pub(super) fn next(self, counts: Counts, limits: Limits, now: Instant) -> (Self, Step) {
        match self {
            Self::Serving if counts.closed => {
                // A drain too long for the clock is one without a limit.
                let deadline = limits.drain.and_then(|drain| now.checked_add(drain));
                Self::Draining { deadline }.next(counts, limits, now)
            }
            Self::Serving => (self, serve(counts, limits)),
            Self::Draining { deadline } => drain(deadline, counts, limits, now),
            Self::Killing { deadline, killed } => {
                let step = match (counts.spawned, deadline.saturating_duration_since(now)) {
                    (0, _) => Step::End(PoolEnd::Killed(killed)),
                    (left, Duration::ZERO) => Step::End(PoolEnd::Hanging(left)),
                    (_, patience) => Step::AwaitBell(patience.min(BEAT)),
                };
                (self, step)
            }
        }
    }
}

fn serve(counts: Counts, limits: Limits) -> Step {
    if counts.spawned >= limits.threads_max {
        return Step::AwaitBell(BEAT);
    }
    // A thread on its way will take one request; without it every burst would spawn up to MAX.
    let is_short = counts.queued > counts.waiting + counts.starting;
    if is_short || counts.spawned < limits.threads_min {
        return Step::Spawn;
    }
    if counts.starting > 0 { Step::AwaitBell(BEAT) } else { Step::AwaitShortage }
}

fn drain(deadline: Option<Instant>, counts: Counts, limits: Limits, now: Instant) -> (Phase, Step) {
    let draining = Phase::Draining { deadline };
    let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
    if counts.spawned == 0 && counts.queued == 0 {
        return (draining, Step::End(PoolEnd::Drained));
    }
    if left == Some(Duration::ZERO) {
        let killing = Phase::Killing { deadline: now + KILL_GRACE, killed: counts.spawned };
        return (killing, Step::Kill);
    }
    // The queue may still be long, and its threads may have been killed.
    let wanted = limits.threads_min.min(counts.queued);
    if counts.spawned < wanted {
        return (draining, Step::Spawn);
    }
    (draining, Step::AwaitBell(left.unwrap_or(BEAT).min(BEAT)))
}

#[cfg(test)]
mod tests;
