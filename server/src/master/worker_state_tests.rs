//! Tests of one worker: every event in every state, and the pauses between tries.

use super::*;

const LIMITS: Limits = Limits { boot: Duration::from_mins(1), drain: Duration::from_secs(30) };

const NOW: Moment = Moment::from_ms(1_000_000);

fn every_state(now: Moment) -> [State; 12] {
    let (deadline, until, pid, failures, why) = (now, now, 7, 1, Stuck::Ruby);
    [
        State::Waiting { until, failures },
        State::Forking { deadline, failures },
        State::Booting { pid, deadline, failures },
        State::Ready { pid, since: now, failures },
        State::Draining { pid, deadline, manner: Manner::Gently },
        State::Draining { pid, deadline, manner: Manner::Promptly },
        State::Confessing { pid, deadline, wanted: true, failures, why },
        State::Confessing { pid, deadline, wanted: false, failures, why },
        State::Killing { pid, wanted: true, failures },
        State::Killing { pid, wanted: false, failures },
        State::Unwanted { deadline },
        State::Gone,
    ]
}

const EVERY_EVENT: [Event; 13] = [
    Event::MoldReady,
    Event::ForkFailed,
    Event::Forked { pid: 7 },
    Event::ReportedReady,
    Event::Lost,
    Event::Exited { clean: true },
    Event::Exited { clean: false },
    Event::DrainRequested(Manner::Gently),
    Event::DrainRequested(Manner::Promptly),
    Event::KillRequested,
    Event::Stuck(Stuck::Io),
    Event::Confessed,
    Event::Tick,
];

fn worker(state: State) -> WorkerState {
    WorkerState { state, limits: LIMITS }
}

fn is_on_its_way_out(state: State) -> bool {
    matches!(
        state,
        State::Gone
            | State::Draining { .. }
            | State::Unwanted { .. }
            | State::Confessing { wanted: false, .. }
            | State::Killing { wanted: false, .. }
    )
}

/// Whatever comes, a worker that is gone stays gone, nobody is killed twice, and one that is on
/// its way out never asks for a process again.
#[test]
fn every_state_survives_every_event() {
    for state in every_state(NOW) {
        for event in EVERY_EVENT {
            let mut worker = worker(state);
            let action = worker.on(event, true, NOW);
            let case = format!("{state:?} on {event:?}");
            if state == State::Gone {
                assert_eq!((worker.state, action), (State::Gone, None), "{case}");
            }
            if matches!(state, State::Killing { .. }) {
                assert_eq!(action, None, "{case}");
            }
            if is_on_its_way_out(state) {
                assert_ne!(action, Some(Action::AskForFork), "{case}");
                assert!(is_on_its_way_out(worker.state), "{case}");
            }
        }
    }
}

/// From every state, a stop followed by time and the process' end leads to `Gone`.
#[test]
fn every_state_can_be_stopped() {
    let late = NOW + Duration::from_hours(1);
    for manner in [Manner::Gently, Manner::Promptly] {
        for state in every_state(NOW) {
            let mut worker = worker(state);
            worker.on(Event::DrainRequested(manner), true, NOW);
            worker.on(Event::Tick, true, late);
            worker.on(Event::Exited { clean: true }, true, late);
            assert_eq!(worker.state, State::Gone, "from {state:?}");
        }
    }
}

#[test]
fn a_gentle_drain_can_be_hurried_and_not_slowed_down() {
    let deadline = NOW;
    let mut worker = worker(State::Draining { pid: 7, deadline, manner: Manner::Gently });
    let hurry = Event::DrainRequested(Manner::Promptly);
    assert_eq!(worker.on(hurry, true, NOW), Some(Action::Drain(Manner::Promptly)));
    assert_eq!(worker.on(hurry, true, NOW), None);
    assert_eq!(worker.on(Event::DrainRequested(Manner::Gently), true, NOW), None);
    assert_eq!(worker.state, State::Draining { pid: 7, deadline, manner: Manner::Promptly });
}

#[test]
fn a_stuck_worker_may_speak_and_is_killed_and_replaced() {
    for speaks in [true, false] {
        let mut worker = worker(State::Ready { pid: 7, since: NOW, failures: 0 });
        let why = Stuck::Ruby;
        let asked = worker.on(Event::Stuck(why), true, NOW);
        assert_eq!(asked, Some(Action::AskForConfession { pid: 7, why }));
        let kill = Some(Action::Kill { pid: 7, why: KillReason::Stuck(why) });
        if speaks {
            assert_eq!(worker.on(Event::Confessed, true, NOW), kill);
        } else {
            assert_eq!(worker.on(Event::Tick, true, NOW), None);
            assert_eq!(worker.on(Event::Tick, true, NOW + CONFESSION_MAX), kill);
        }
        assert_eq!(worker.on(Event::Exited { clean: false }, true, NOW), None);
        assert_eq!(worker.on(Event::Tick, true, NOW), Some(Action::AskForFork));
    }
}

#[test]
fn a_worker_that_dies_after_serving_is_asked_for_again_at_once() {
    for (now, failures) in [(NOW, 0), (NOW + STEADY_AFTER, 4)] {
        let mut worker = worker(State::Ready { pid: 7, since: NOW, failures });
        assert_eq!(worker.on(Event::Exited { clean: false }, true, now), None);
        assert_eq!(worker.on(Event::Tick, true, now), Some(Action::AskForFork));
    }
}

/// Without a pause an application that ends each worker at once would keep a CPU forking.
#[test]
fn workers_that_end_soon_after_their_first_accept_are_not_forked_in_a_hurry() {
    for clean in [true, false] {
        let mut now = NOW;
        let mut worker = WorkerState::new(LIMITS, now);
        let mut delays = Vec::new();
        for _ in 0..6 {
            let until = worker.deadline(true).expect("a waiting worker has one");
            delays.push(until.since(now).as_millis());
            now = now.max(until);
            assert_eq!(worker.on(Event::Tick, true, now), Some(Action::AskForFork));
            worker.on(Event::Forked { pid: 7 }, true, now);
            worker.on(Event::ReportedReady, true, now);
            worker.on(Event::Exited { clean }, true, now);
        }
        assert_eq!(delays, [0, 0, 100, 200, 400, 400], "clean: {clean}");
    }
}

#[test]
fn repeated_failures_wait_longer_up_to_a_cap() {
    let delays: Vec<Duration> = [1, 2, 3, 4, 30]
        .into_iter()
        .map(|failures| {
            let worker = worker(waiting(failures, NOW));
            worker.deadline(true).expect("a waiting worker has one").since(NOW)
        })
        .collect();
    let ms = Duration::from_millis;
    assert_eq!(delays, [ms(0), ms(100), ms(200), ms(400), BACKOFF_MAX]);
}

#[test]
fn no_fork_is_asked_for_while_the_mold_is_away() {
    let mut worker = WorkerState::new(LIMITS, NOW);
    assert_eq!(worker.on(Event::Tick, false, NOW), None);
    assert_eq!(worker.deadline(false), None);
    assert_eq!(worker.on(Event::MoldReady, true, NOW), Some(Action::AskForFork));
}

#[test]
fn a_worker_that_is_born_late_is_taken() {
    let mut worker = WorkerState::new(LIMITS, NOW);
    worker.on(Event::MoldReady, true, NOW);
    let late = NOW + LIMITS.boot;
    worker.on(Event::Tick, false, late);
    assert_eq!(worker.state, waiting(1, late));
    worker.on(Event::Forked { pid: 7 }, true, late);
    let deadline = late + LIMITS.boot;
    assert_eq!(worker.state, State::Booting { pid: 7, deadline, failures: 1 });
}
