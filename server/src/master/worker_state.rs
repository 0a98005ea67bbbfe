//! The life of one worker, as a pure state machine.
//!
//! Nothing here forks, kills or reads a clock: [`WorkerState::on`] takes an [`Event`] and the time,
//! and returns the [`Action`] the master must carry out. `docs/states.md` draws the same machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{moment::Moment, watch::Stuck};
use crate::http::Manner;

/// Where a worker stands. Each variant holds what exists only in that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// No process; one is asked for as soon as `until` has passed and the mold is ready.
    Waiting { until: Moment, failures: u32 },
    /// The mold was asked to fork; the worker has not spoken.
    Forking { deadline: Moment, failures: u32 },
    /// Alive; not accepting yet.
    Booting { pid: i32, deadline: Moment, failures: u32 },
    /// Accepting connections since then. `failures` are those before it, should it end soon too.
    Ready { pid: i32, since: Moment, failures: u32 },
    /// Told to finish what it has in hand; no longer accepting.
    Draining { pid: i32, deadline: Moment, manner: Manner },
    /// It makes no progress: asked to tell where its threads stand, then to be killed.
    Confessing { pid: i32, deadline: Moment, wanted: bool, failures: u32, why: Stuck },
    /// Sent SIGKILL; only its exit is awaited.
    Killing { pid: i32, wanted: bool, failures: u32 },
    /// Asked for, then not wanted before it spoke.
    Unwanted { deadline: Moment },
    /// Stopped for good.
    Gone,
}

/// What can happen to a worker.
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
    /// It is not wanted any more: because the master stops, or because another has its place.
    DrainRequested(Manner),
    /// The master stops now.
    KillRequested,
    /// It makes no progress.
    Stuck(Stuck),
    /// It has told where its threads stand.
    Confessed,
    /// Time has passed.
    Tick,
}

/// What the master must do next. At most one per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make a channel and ask the mold for a worker.
    AskForFork,
    /// Tell the worker to drain.
    Drain(Manner),
    /// Have the worker log the backtraces of its threads; it will be killed.
    AskForConfession { pid: i32, why: Stuck },
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
    /// It makes no progress.
    Stuck(Stuck),
    /// The master was told to stop now.
    Asked,
}

/// Limits of one worker's life, from the configuration.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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

/// How long a stuck worker may take to say where its threads stand.
const CONFESSION_MAX: Duration = Duration::from_secs(1);

/// One worker, through as many processes as it takes to have one that serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerState {
    state: State,
    limits: Limits,
}

impl WorkerState {
    /// Wanted at once.
    pub(crate) fn new(limits: Limits, now: Moment) -> Self {
        Self { state: State::Waiting { until: now, failures: 0 }, limits }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether it accepts connections.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Processes of this worker that failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        match self.state {
            State::Waiting { failures, .. }
            | State::Forking { failures, .. }
            | State::Booting { failures, .. }
            | State::Ready { failures, .. }
            | State::Confessing { failures, .. }
            | State::Killing { failures, .. } => failures,
            State::Draining { .. } | State::Unwanted { .. } | State::Gone => 0,
        }
    }

    /// When [`Event::Tick`] next matters. A worker that waits for a mold is woken by the mold.
    pub(crate) fn deadline(&self, mold_ready: bool) -> Option<Moment> {
        match self.state {
            State::Waiting { until, .. } => mold_ready.then_some(until),
            State::Forking { deadline, .. }
            | State::Booting { deadline, .. }
            | State::Draining { deadline, .. }
            | State::Confessing { deadline, .. }
            | State::Unwanted { deadline } => Some(deadline),
            State::Ready { .. } | State::Killing { .. } | State::Gone => None,
        }
    }

    /// Applies `event`, moves to the next state, and says what must be done about it.
    ///
    /// An event that has no meaning in the present state is ignored on purpose: signals and
    /// reports arrive late, and a late one must never move a worker backwards. `mold_ready` says
    /// whether a fork can be asked for now.
    pub(crate) fn on(&mut self, event: Event, mold_ready: bool, now: Moment) -> Option<Action> {
        use Event as E;
        let step = match event {
            E::MoldReady | E::ForkFailed | E::Forked { .. } | E::ReportedReady | E::Lost => {
                self.on_birth(event, mold_ready, now)
            }
            E::Exited { clean } => self.on_exit(clean, now).map(|state| (state, None)),
            E::DrainRequested(manner) => self.on_drain(manner, now),
            E::KillRequested => self.on_kill(),
            E::Stuck(why) => self.on_stuck(why, now),
            E::Confessed => self.on_confession(),
            E::Tick => self.on_tick(mold_ready, now),
        };
        let (next, action) = step?;
        self.state = next;
        action
    }

    fn on_birth(&self, event: Event, mold_ready: bool, now: Moment) -> Option<Step> {
        use {Event as E, State as S};
        Some(match (self.state, event) {
            (S::Waiting { until, failures }, E::MoldReady) if mold_ready && until <= now => {
                self.forking(failures, now)
            }
            // In `Waiting` it comes late, from a mold that was slow: it is as good as another.
            (S::Forking { failures, .. } | S::Waiting { failures, .. }, E::Forked { pid }) => {
                (S::Booting { pid, deadline: now + self.limits.boot, failures }, None)
            }
            (S::Forking { failures, .. }, E::ForkFailed | E::Lost) => {
                (waiting(failures + 1, now), None)
            }
            (S::Unwanted { .. }, E::Forked { pid }) => self.draining(pid, Manner::Promptly, now),
            (S::Unwanted { .. }, E::ForkFailed | E::Lost) => (S::Gone, None),
            (S::Booting { pid, failures, .. }, E::ReportedReady) => {
                (S::Ready { pid, since: now, failures }, None)
            }
            _ => return None,
        })
    }

    fn on_exit(&self, clean: bool, now: Moment) -> Option<State> {
        use State as S;
        Some(match self.state {
            S::Booting { failures, .. } => waiting(failures + 1, now),
            S::Ready { since, failures, .. } if now < since + STEADY_AFTER => {
                waiting((failures + 1).min(QUICK_ENDS_MAX), now)
            }
            S::Ready { .. } => waiting(u32::from(!clean), now),
            S::Confessing { wanted: true, failures, .. }
            | S::Killing { wanted: true, failures, .. } => waiting(failures, now),
            S::Draining { .. }
            | S::Confessing { wanted: false, .. }
            | S::Killing { wanted: false, .. } => S::Gone,
            S::Waiting { .. } | S::Forking { .. } | S::Unwanted { .. } | S::Gone => return None,
        })
    }

    fn on_drain(&self, manner: Manner, now: Moment) -> Option<Step> {
        use State as S;
        Some(match self.state {
            S::Waiting { .. } => (S::Gone, None),
            S::Forking { deadline, .. } => (S::Unwanted { deadline }, None),
            S::Booting { pid, .. } | S::Ready { pid, .. } => self.draining(pid, manner, now),
            // In a hurry after all; the limit runs from the first order.
            S::Draining { pid, deadline, manner: Manner::Gently } if manner == Manner::Promptly => {
                (S::Draining { pid, deadline, manner }, Some(Action::Drain(manner)))
            }
            S::Confessing { pid, deadline, failures, why, wanted: true } => {
                (S::Confessing { pid, deadline, failures, why, wanted: false }, None)
            }
            S::Killing { pid, failures, wanted: true } => {
                (S::Killing { pid, failures, wanted: false }, None)
            }
            S::Draining { .. } | S::Confessing { .. } | S::Killing { .. } => return None,
            S::Unwanted { .. } | S::Gone => return None,
        })
    }

    fn on_kill(&self) -> Option<Step> {
        use State as S;
        Some(match self.state {
            S::Waiting { .. } => (S::Gone, None),
            S::Forking { deadline, .. } => (S::Unwanted { deadline }, None),
            S::Booting { pid, .. }
            | S::Ready { pid, .. }
            | S::Draining { pid, .. }
            | S::Confessing { pid, .. } => killing(pid, false, 0, KillReason::Asked),
            S::Killing { pid, failures, .. } => (S::Killing { pid, wanted: false, failures }, None),
            S::Unwanted { .. } | S::Gone => return None,
        })
    }

    fn on_stuck(&self, why: Stuck, now: Moment) -> Option<Step> {
        let deadline = now + CONFESSION_MAX;
        let (pid, wanted, failures) = match self.state {
            State::Ready { pid, .. } => (pid, true, 1),
            State::Draining { pid, .. } => (pid, false, 0),
            State::Waiting { .. } | State::Forking { .. } | State::Booting { .. } => return None,
            State::Confessing { .. } | State::Killing { .. } => return None,
            State::Unwanted { .. } | State::Gone => return None,
        };
        let state = State::Confessing { pid, deadline, wanted, failures, why };
        Some((state, Some(Action::AskForConfession { pid, why })))
    }

    fn on_confession(&self) -> Option<Step> {
        let State::Confessing { pid, wanted, failures, why, .. } = self.state else { return None };
        Some(killing(pid, wanted, failures, KillReason::Stuck(why)))
    }

    fn on_tick(&self, mold_ready: bool, now: Moment) -> Option<Step> {
        use State as S;
        Some(match self.state {
            S::Waiting { until, failures } if mold_ready && until <= now => {
                self.forking(failures, now)
            }
            S::Forking { deadline, failures } if deadline <= now => {
                (waiting(failures + 1, now), None)
            }
            S::Unwanted { deadline } if deadline <= now => (S::Gone, None),
            S::Booting { pid, deadline, failures } if deadline <= now => {
                killing(pid, true, failures + 1, KillReason::BootTimeout)
            }
            S::Draining { pid, deadline, .. } if deadline <= now => {
                killing(pid, false, 0, KillReason::ShutdownTimeout)
            }
            S::Confessing { pid, deadline, wanted, failures, why } if deadline <= now => {
                killing(pid, wanted, failures, KillReason::Stuck(why))
            }
            S::Waiting { .. } | S::Forking { .. } | S::Booting { .. } => return None,
            S::Ready { .. } | S::Draining { .. } | S::Confessing { .. } => return None,
            S::Killing { .. } | S::Unwanted { .. } | S::Gone => return None,
        })
    }

    fn forking(&self, failures: u32, now: Moment) -> Step {
        let deadline = now + self.limits.boot;
        (State::Forking { deadline, failures }, Some(Action::AskForFork))
    }

    fn draining(&self, pid: i32, manner: Manner, now: Moment) -> Step {
        let deadline = now + self.limits.drain;
        (State::Draining { pid, deadline, manner }, Some(Action::Drain(manner)))
    }
}

/// The next state, and what must be done.
type Step = (State, Option<Action>);

fn killing(pid: i32, wanted: bool, failures: u32, why: KillReason) -> Step {
    (State::Killing { pid, wanted, failures }, Some(Action::Kill { pid, why }))
}

/// A crash after serving is healed at once; one that repeats waits longer each time.
fn waiting(failures: u32, now: Moment) -> State {
    let delay = match failures {
        0 | 1 => Duration::ZERO,
        more => BACKOFF_MIN.saturating_mul(1 << (more - 2).min(16)).min(BACKOFF_MAX),
    };
    State::Waiting { until: now + delay, failures }
}

#[cfg(test)]
#[path = "worker_state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "worker_state_walk.rs"]
pub(super) mod walk;
