//! Tests of one slot: every event in every state, and the pauses between tries.

use super::*;

const LIMITS: Limits = Limits { boot: Duration::from_mins(1), drain: Duration::from_secs(30) };

fn every_state(now: Instant) -> [State; 9] {
    let (deadline, until, pid, failures) = (now, now, 7, 1);
    [
        State::Waiting { until, failures },
        State::Forking { deadline, failures },
        State::Booting { pid, deadline, failures },
        State::Ready { pid, since: now, failures },
        State::Draining { pid, deadline },
        State::Killing { pid, wanted: true, failures },
        State::Killing { pid, wanted: false, failures },
        State::Unwanted { deadline },
        State::Gone,
    ]
}

const EVERY_EVENT: [Event; 10] = [
    Event::MoldReady,
    Event::ForkFailed,
    Event::Forked { pid: 7 },
    Event::ReportedReady,
    Event::Lost,
    Event::Exited { clean: true },
    Event::Exited { clean: false },
    Event::StopRequested,
    Event::KillRequested,
    Event::Tick,
];

fn slot(state: State) -> Slot {
    Slot { state, limits: LIMITS }
}

/// Whatever comes, a slot that is gone stays gone, nobody is killed twice, and a slot that is
/// stopping never asks for a process again.
#[test]
fn every_state_survives_every_event() {
    let now = Instant::now();
    for state in every_state(now) {
        for event in EVERY_EVENT {
            let mut slot = slot(state);
            let action = slot.on(event, true, now);
            let case = format!("{state:?} on {event:?}");
            match state {
                State::Gone => assert_eq!((slot.state, action), (State::Gone, None), "{case}"),
                State::Killing { .. } => assert_eq!(action, None, "{case}"),
                State::Unwanted { .. } | State::Draining { .. } => {
                    assert_ne!(action, Some(Action::AskForFork), "{case}");
                    assert!(
                        matches!(
                            slot.state,
                            State::Gone
                                | State::Draining { .. }
                                | State::Unwanted { .. }
                                | State::Killing { wanted: false, .. }
                        ),
                        "{case}"
                    );
                }
                State::Waiting { .. }
                | State::Forking { .. }
                | State::Booting { .. }
                | State::Ready { .. } => {}
            }
        }
    }
}

/// From every state, a stop followed by time and the process' end leads to `Gone`.
#[test]
fn every_state_can_be_stopped() {
    let now = Instant::now();
    let late = now + Duration::from_hours(1);
    for state in every_state(now) {
        let mut slot = slot(state);
        slot.on(Event::StopRequested, true, now);
        slot.on(Event::Tick, true, late);
        slot.on(Event::Exited { clean: true }, true, late);
        assert_eq!(slot.state, State::Gone, "from {state:?}");
    }
}

#[test]
fn a_worker_that_dies_after_serving_is_asked_for_again_at_once() {
    let since = Instant::now();
    for (now, failures) in [(since, 0), (since + STEADY_AFTER, 4)] {
        let mut slot = slot(State::Ready { pid: 7, since, failures });
        assert_eq!(slot.on(Event::Exited { clean: false }, true, now), None);
        assert_eq!(slot.on(Event::Tick, true, now), Some(Action::AskForFork));
    }
}

/// Without a pause an application that ends each worker at once would keep a CPU forking.
#[test]
fn workers_that_end_soon_after_their_first_accept_are_not_forked_in_a_hurry() {
    for clean in [true, false] {
        let mut now = Instant::now();
        let mut slot = Slot::new(LIMITS, now);
        let mut delays = Vec::new();
        for _ in 0..6 {
            let until = slot.deadline().expect("a waiting slot has one");
            delays.push(until.saturating_duration_since(now).as_millis());
            now = now.max(until);
            assert_eq!(slot.on(Event::Tick, true, now), Some(Action::AskForFork));
            slot.on(Event::Forked { pid: 7 }, true, now);
            slot.on(Event::ReportedReady, true, now);
            slot.on(Event::Exited { clean }, true, now);
        }
        assert_eq!(delays, [0, 0, 100, 200, 400, 400], "clean: {clean}");
    }
}

#[test]
fn repeated_failures_wait_longer_up_to_a_cap() {
    let now = Instant::now();
    let delays: Vec<Duration> = [1, 2, 3, 4, 30]
        .into_iter()
        .map(|failures| {
            let slot = Slot { state: waiting(failures, now), limits: LIMITS };
            slot.deadline().expect("a waiting slot has one") - now
        })
        .collect();
    let ms = Duration::from_millis;
    assert_eq!(delays, [ms(0), ms(100), ms(200), ms(400), BACKOFF_MAX]);
}

#[test]
fn no_fork_is_asked_for_while_the_mold_is_away() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, now);
    assert_eq!(slot.on(Event::Tick, false, now), None);
    assert_eq!(slot.on(Event::MoldReady, true, now), Some(Action::AskForFork));
}
