//! The walk over every state and event of a mold, for `docs/states.md`.

use super::*;
use crate::master::walk::{Try, with_failures};

const LIMITS: Limits = Limits { boot: Duration::from_mins(1), leave: Duration::from_secs(5) };
const NOW: Moment = Moment::from_ms(100_000_000);
const HOUR: Duration = Duration::from_hours(1);
/// So many that one more, the same and a new count differ.
const FAILURES: u32 = 2;

/// Every state, with this deadline or, for `Ready`, beginning.
fn every_state(deadline: Moment, since: Moment) -> [State; 7] {
    let (until, failures) = (deadline, FAILURES);
    [
        State::Absent { until, failures },
        State::Loading { deadline, failures },
        State::Promoting { deadline },
        State::Ready { since, failures },
        State::Killing { failures },
        State::Leaving { deadline },
        State::Gone,
    ]
}

fn name(state: State) -> &'static str {
    match state {
        State::Absent { .. } => "Absent",
        State::Loading { .. } => "Loading",
        State::Promoting { .. } => "Promoting",
        State::Ready { .. } => "Ready",
        State::Killing { .. } => "Killing",
        State::Leaving { .. } => "Leaving",
        State::Gone => "Gone",
    }
}

fn failures(state: State) -> Option<u32> {
    match state {
        State::Absent { failures, .. }
        | State::Loading { failures, .. }
        | State::Ready { failures, .. }
        | State::Killing { failures } => Some(failures),
        State::Promoting { .. } | State::Leaving { .. } | State::Gone => None,
    }
}

const EVERY_EVENT: [(Event, &str); 6] = [
    (Event::Loaded, "Loaded"),
    (Event::Exited, "Exited"),
    (Event::Hung, "Hung"),
    (Event::StopRequested, "StopRequested"),
    (Event::StopNowRequested, "StopNowRequested"),
    (Event::Tick, "Tick"),
];

/// Tries every event in every state, before and at its limit.
pub(in crate::master) fn walk() -> Vec<Try> {
    let mut tries = Vec::new();
    let times = [
        (every_state(NOW, NOW - STEADY_AFTER), "due", "after 5 s"),
        (every_state(NOW + HOUR, NOW), "not due", "within 5 s"),
    ];
    for place in 0..times[0].0.len() {
        for (event, event_name) in EVERY_EVENT {
            for (states, due, age) in &times {
                let state = states[place];
                let time = if matches!(state, State::Ready { .. }) { age } else { due };
                tries.push(step(state, event, event_name, time));
            }
        }
    }
    tries
}

fn step(state: State, event: Event, name_of_event: &'static str, time: &'static str) -> Try {
    let mut mold = MoldState { state, limits: LIMITS };
    let action = mold.on(event, NOW);
    let action_text = match action {
        Some(Action::Spawn) => "start it",
        Some(Action::Dismiss) => "have it leave",
        Some(Action::Kill) => "kill it",
        None if mold.state != state && name(mold.state) == name(state) => "its limit is nearer",
        None => "",
    };
    // A mold that was a worker before has none to begin with.
    let before = failures(state).unwrap_or_default();
    let next = with_failures(name(mold.state), before, failures(mold.state));
    let outcome = (mold.state != state || action.is_some()).then(|| (next, action_text.to_owned()));
    Try { state: name(state).to_owned(), event: name_of_event, given: vec![time], outcome }
}
