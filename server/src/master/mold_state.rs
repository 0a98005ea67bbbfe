//! The life of the mold as the master sees it: a pure state machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// Where the mold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// No process; the next one is started at `until`.
    Absent { until: Moment, failures: u32 },
    /// It boots Ruby and loads the application.
    Loading { deadline: Moment, failures: u32 },
    /// A worker that finishes what it holds, to become the mold (a refork).
    Promoting { deadline: Moment },
    /// It forks on request, since `since`.
    Ready { since: Moment, failures: u32 },
    /// Sent SIGKILL; only its exit is awaited. `failures` as they will be then.
    Killing { failures: u32 },
    /// Its channel was closed because the master stops; it leaves by itself.
    Leaving { deadline: Moment },
    /// Not wanted any more, and not there.
    Gone,
}

/// What can happen to the mold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It loaded the application.
    Loaded,
    /// Its process ended.
    Exited,
    /// It was asked for a worker, and none came within the boot time-out.
    Hung,
    /// The master stops, or a newer mold is there.
    StopRequested,
    /// The master stops now.
    StopNowRequested,
    /// Time has passed.
    Tick,
}

/// What the master must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a mold.
    Spawn,
    /// Close its channel: it leaves.
    Dismiss,
    /// It exceeded a limit: send SIGKILL.
    Kill,
}

/// Limits of the mold's life.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// From the start to the loaded application.
    pub(crate) boot: Duration,
    /// From the dismissal to the end (`at_exit` blocks run here).
    pub(crate) leave: Duration,
}

/// A mold that ends sooner after it was ready counts as a failure.
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// Delay before a mold that failed again is started; doubles with each further failure in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The delay stops doubling here.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The mold's place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MoldState {
    state: State,
    limits: Limits,
}

impl MoldState {
    /// Wanted at once.
    pub(crate) fn new(limits: Limits, now: Moment) -> Self {
        Self { state: State::Absent { until: now, failures: 0 }, limits }
    }

    /// A worker that becomes a mold by itself (a refork) within `limit`; nothing is spawned.
    pub(crate) fn promoted(limits: Limits, limit: Duration, now: Moment) -> Self {
        Self { state: State::Promoting { deadline: now + limit }, limits }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// When [`Event::Tick`] next matters.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Absent { until, .. } => Some(until),
            State::Loading { deadline, .. }
            | State::Promoting { deadline }
            | State::Leaving { deadline } => Some(deadline),
            State::Ready { .. } | State::Killing { .. } | State::Gone => None,
        }
    }

    /// Applies `event` and says what must be done; a late event changes nothing.
    pub(crate) fn on(&mut self, event: Event, now: Moment) -> Option<Action> {
        use {Event as E, State as S};
        if event == E::StopNowRequested {
            return self.hurry(now);
        }
        let leaving = (S::Leaving { deadline: now + self.limits.leave }, Some(Action::Dismiss));
        let (next, action) = match (self.state, event) {
            (S::Absent { until, failures }, E::Tick) if until <= now => {
                let deadline = now + self.limits.boot;
                (S::Loading { deadline, failures }, Some(Action::Spawn))
            }
            (S::Absent { .. }, E::StopRequested) => (S::Gone, None),
            (S::Loading { failures, .. }, E::Loaded) => (S::Ready { since: now, failures }, None),
            (S::Loading { deadline, failures }, E::Tick) if deadline <= now => {
                (S::Killing { failures: failures + 1 }, Some(Action::Kill))
            }
            (S::Promoting { .. }, E::Loaded) => (S::Ready { since: now, failures: 0 }, None),
            (S::Promoting { deadline }, E::Tick) if deadline <= now => {
                (S::Killing { failures: 1 }, Some(Action::Kill))
            }
            (S::Promoting { .. }, E::Exited) => (absent(1, now), None),
            // It finishes what it holds, and sees then that nobody wants a mold.
            (S::Promoting { deadline }, E::StopRequested) => {
                (S::Leaving { deadline }, Some(Action::Dismiss))
            }
            (S::Loading { failures, .. }, E::Exited) => (absent(failures + 1, now), None),
            (S::Ready { since, failures }, E::Exited) => {
                let failures = if now < since + STEADY_AFTER { failures + 1 } else { 0 };
                (absent(failures, now), None)
            }
            // A mold that still loads is not listening: it is ended, not dismissed.
            (S::Loading { .. }, E::StopRequested) => {
                (S::Leaving { deadline: now }, Some(Action::Kill))
            }
            (S::Ready { failures, .. }, E::Hung) => {
                (S::Killing { failures: failures + 1 }, Some(Action::Kill))
            }
            (S::Ready { .. }, E::StopRequested) => leaving,
            (S::Killing { failures }, E::Exited) => (absent(failures, now), None),
            (S::Killing { .. }, E::StopRequested) => (S::Leaving { deadline: now }, None),
            (S::Leaving { deadline }, E::Tick) if deadline <= now => {
                (S::Leaving { deadline: now + self.limits.leave }, Some(Action::Kill))
            }
            (S::Leaving { .. }, E::Exited) => (S::Gone, None),
            _ => return None,
        };
        self.state = next;
        action
    }

    /// Also in a hurry there is the time for `at_exit` blocks, but not for what a worker holds
    /// that was to be the mold.
    fn hurry(&mut self, now: Moment) -> Option<Action> {
        let action = self.on(Event::StopRequested, now);
        if let State::Leaving { deadline } = &mut self.state {
            *deadline = (*deadline).min(now + self.limits.leave);
        }
        action
    }
}

fn absent(failures: u32, now: Moment) -> State {
    let delay = match failures {
        0 | 1 => Duration::ZERO,
        more => BACKOFF_MIN.saturating_mul(1 << (more - 2).min(16)).min(BACKOFF_MAX),
    };
    State::Absent { until: now + delay, failures }
}

#[cfg(test)]
#[path = "mold_state_walk.rs"]
pub(super) mod walk;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { boot: Duration::from_mins(1), leave: Duration::from_secs(5) };

    const EVERY_EVENT: [Event; 6] = [
        Event::Loaded,
        Event::Exited,
        Event::Hung,
        Event::StopRequested,
        Event::StopNowRequested,
        Event::Tick,
    ];

    fn every_state(now: Moment) -> [State; 7] {
        [
            State::Absent { until: now, failures: 1 },
            State::Loading { deadline: now, failures: 1 },
            State::Promoting { deadline: now },
            State::Ready { since: now, failures: 0 },
            State::Killing { failures: 2 },
            State::Leaving { deadline: now },
            State::Gone,
        ]
    }

    #[test]
    fn every_state_survives_every_event() {
        let now = Moment::now();
        for state in every_state(now) {
            for event in EVERY_EVENT {
                let mut mold = MoldState { state, limits: LIMITS };
                let action = mold.on(event, now);
                let case = format!("{state:?} on {event:?}");
                if matches!(state, State::Gone | State::Leaving { .. }) {
                    assert_ne!(action, Some(Action::Spawn), "{case}");
                    assert!(matches!(mold.state, State::Gone | State::Leaving { .. }), "{case}");
                }
                if matches!(state, State::Ready { .. }) && event == Event::Loaded {
                    assert_eq!((mold.state, action), (state, None), "{case}");
                }
            }
        }
    }

    #[test]
    fn every_state_can_be_stopped() {
        let now = Moment::now();
        for state in every_state(now) {
            let mut mold = MoldState { state, limits: LIMITS };
            mold.on(Event::StopRequested, now);
            mold.on(Event::Exited, now);
            assert_eq!(mold.state, State::Gone, "from {state:?}");
        }
    }

    #[test]
    fn a_worker_that_was_to_be_the_mold_does_not_hold_up_a_stop_at_once() {
        let now = Moment::now();
        let state = State::Promoting { deadline: now + Duration::from_mins(5) };
        let mut mold = MoldState { state, limits: LIMITS };
        assert_eq!(mold.on(Event::StopRequested, now), Some(Action::Dismiss));
        assert_eq!(mold.on(Event::Tick, now + LIMITS.leave), None);
        assert_eq!(mold.on(Event::StopNowRequested, now), None);
        assert_eq!(mold.on(Event::Tick, now + LIMITS.leave), Some(Action::Kill));
    }

    #[test]
    fn a_mold_that_dies_is_back_at_once_and_one_that_keeps_dying_waits() {
        let now = Moment::now();
        let mut mold =
            MoldState { state: State::Ready { since: now, failures: 0 }, limits: LIMITS };
        mold.on(Event::Exited, now);
        assert_eq!(mold.on(Event::Tick, now), Some(Action::Spawn));
        mold.on(Event::Loaded, now);
        mold.on(Event::Exited, now);
        assert_eq!(mold.on(Event::Tick, now), None);
        assert_eq!(mold.on(Event::Tick, now + BACKOFF_MIN), Some(Action::Spawn));
    }
}
