//! The life of one worker slot, as a pure state machine.
//!
//! Nothing here forks, kills or reads a clock: [`Slot::on`] takes an [`Event`] and the time, and
//! returns the [`Action`] the master must carry out. `docs/states.md` draws the same machine.

use std::time::{Duration, Instant};

/// Where a slot stands. Each variant holds what exists only in that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No process; one is asked for as soon as `until` has passed and the mold is ready.
    Waiting { until: Instant, failures: u32 },
    /// The mold was asked to fork; the worker has not spoken.
    Forking { deadline: Instant, failures: u32 },
    /// Alive; not accepting yet.
    Booting { pid: i32, deadline: Instant, failures: u32 },
    /// Accepting connections since then. `failures` are those before it, should it end soon too.
    Ready { pid: i32, since: Instant, failures: u32 },
    /// Told to finish what it has in hand; no longer accepting.
    Draining { pid: i32, deadline: Instant },
    /// Sent SIGKILL; only its exit is awaited.
    Killing { pid: i32, wanted: bool, failures: u32 },
    /// Asked for, then not wanted before it spoke.
    Unwanted { deadline: Instant },
    /// Stopped for good.
    Gone,
}

/// What can happen to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The mold can fork.
    MoldReady,
    /// The mold could not fork.
    ForkFailed,
    /// The worker spoke for the first time.
    Forked { pid: i32 },
    /// The worker accepts connections.
    ReportedReady,
    /// The worker's channel closed before it said who it is, or it is no child any more.
    Lost,
    /// The worker's process ended.
    Exited { clean: bool },
    /// The master stops, gracefully.
    StopRequested,
    /// The master stops now.
    KillRequested,
    /// Time has passed.
    Tick,
}

/// What the master must do next. At most one per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make a channel and ask the mold for a worker.
    AskForFork,
    /// Tell the worker to drain.
    Drain,
    /// Send SIGKILL.
    Kill { pid: i32, why: KillReason },
}

/// Why a worker is killed; part of the log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// It did not accept connections within the boot time-out.
    BootTimeout,
    /// It did not finish within the shutdown time-out.
    ShutdownTimeout,
    /// The master was told to stop now.
    Asked,
}

impl KillReason {
    /// The reason in words, with the setting to change.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::BootTimeout => "it did not boot in time (--worker-boot-timeout)",
            Self::ShutdownTimeout => "it did not finish in time (--worker-shutdown-timeout)",
            Self::Asked => "it was asked for",
        }
    }
}

/// Limits of one worker's life, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the fork to accepting.
    pub(crate) boot: Duration,
    /// From the order to drain to the end.
    pub(crate) drain: Duration,
}

/// Delay before the second try after a failure; doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The delay stops doubling here.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A worker that ends sooner than this after it began to accept has failed, however it ended.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// Such ends in a row are counted up to this many: a site whose workers crash on some requests
/// waits 400 ms for the next one, not [`BACKOFF_MAX`].
const QUICK_ENDS_MAX: u32 = 4;

/// One worker's place, filled by one process after another.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    state: State,
    limits: Limits,
}

impl Slot {
    /// An empty slot whose worker is wanted at once.
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self { state: State::Waiting { until: now, failures: 0 }, limits }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Workers in this slot that failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        match self.state {
            State::Waiting { failures, .. }
            | State::Forking { failures, .. }
            | State::Booting { failures, .. }
            | State::Ready { failures, .. }
            | State::Killing { failures, .. } => failures,
            State::Draining { .. } | State::Unwanted { .. } | State::Gone => 0,
        }
    }

    /// When [`Event::Tick`] next matters.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            State::Forking { deadline, .. }
            | State::Booting { deadline, .. }
            | State::Draining { deadline, .. }
            | State::Unwanted { deadline } => Some(deadline),
            State::Ready { .. } | State::Killing { .. } | State::Gone => None,
        }
    }

    /// Applies `event`, moves to the next state, and says what must be done about it.
    ///
    /// An event that has no meaning in the present state is ignored on purpose: signals and
    /// reports arrive late, and a late one must never move a slot backwards. `mold_ready` says
    /// whether a fork can be asked for now.
    pub(crate) fn on(&mut self, event: Event, mold_ready: bool, now: Instant) -> Option<Action> {
        let (next, action) = self.transition(event, mold_ready, now)?;
        self.state = next;
        action
    }

    fn transition(
        &self,
        event: Event,
        mold_ready: bool,
        now: Instant,
    ) -> Option<(State, Option<Action>)> {
        use {Event as E, KillReason as Why, State as S};
        let draining =
            |pid| (S::Draining { pid, deadline: now + self.limits.drain }, Some(Action::Drain));
        let killing = |pid, wanted, failures, why| {
            (S::Killing { pid, wanted, failures }, Some(Action::Kill { pid, why }))
        };
        let deadline = now + self.limits.boot;
        let gone = (S::Gone, None);

        let step = match (self.state, event) {
            (S::Waiting { until, failures }, E::Tick | E::MoldReady)
                if mold_ready && until <= now =>
            {
                (S::Forking { deadline, failures }, Some(Action::AskForFork))
            }
            (S::Waiting { .. }, E::StopRequested | E::KillRequested) => gone,

            (S::Forking { failures, .. }, E::Forked { pid }) => {
                (S::Booting { pid, deadline, failures }, None)
            }
            (S::Forking { failures, .. }, E::ForkFailed | E::Lost) => {
                (waiting(failures + 1, now), None)
            }
            (S::Forking { deadline, failures }, E::Tick) if deadline <= now => {
                (waiting(failures + 1, now), None)
            }
            (S::Forking { deadline, .. }, E::StopRequested | E::KillRequested) => {
                (S::Unwanted { deadline }, None)
            }

            (S::Unwanted { .. }, E::Forked { pid }) => draining(pid),
            (S::Unwanted { .. }, E::ForkFailed | E::Lost) => gone,
            (S::Unwanted { deadline }, E::Tick) if deadline <= now => gone,

            (S::Booting { pid, failures, .. }, E::ReportedReady) => {
                (S::Ready { pid, since: now, failures }, None)
            }
            (S::Booting { pid, deadline, failures }, E::Tick) if deadline <= now => {
                killing(pid, true, failures + 1, Why::BootTimeout)
            }
            (S::Booting { pid, .. } | S::Ready { pid, .. }, E::StopRequested) => draining(pid),
            (S::Booting { failures, .. }, E::Exited { .. }) => (waiting(failures + 1, now), None),
            (S::Ready { since, failures, .. }, E::Exited { .. }) if now < since + STEADY_AFTER => {
                (waiting((failures + 1).min(QUICK_ENDS_MAX), now), None)
            }
            (S::Ready { .. }, E::Exited { clean }) => (waiting(u32::from(!clean), now), None),

            (S::Draining { pid, deadline }, E::Tick) if deadline <= now => {
                killing(pid, false, 0, Why::ShutdownTimeout)
            }
            (
                S::Booting { pid, .. } | S::Ready { pid, .. } | S::Draining { pid, .. },
                E::KillRequested,
            ) => killing(pid, false, 0, Why::Asked),
            (S::Draining { .. } | S::Killing { wanted: false, .. }, E::Exited { .. }) => gone,
            (S::Killing { wanted: true, failures, .. }, E::Exited { .. }) => {
                (waiting(failures, now), None)
            }
            (S::Killing { pid, failures, .. }, E::StopRequested | E::KillRequested) => {
                (S::Killing { pid, wanted: false, failures }, None)
            }
            _ => return None,
        };
        Some(step)
    }
}

/// A crash after serving is healed at once; one that repeats waits longer each time.
fn waiting(failures: u32, now: Instant) -> State {
    let delay = match failures {
        0 | 1 => Duration::ZERO,
        more => BACKOFF_MIN.saturating_mul(1 << (more - 2).min(16)).min(BACKOFF_MAX),
    };
    State::Waiting { until: now + delay, failures }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
