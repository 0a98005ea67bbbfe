//! The walk over every state and event of a worker, for `docs/states.md`.

use super::*;
use crate::master::walk::{Try, with_failures};

const LIMITS: Limits = Limits { boot: Duration::from_mins(1), drain: Duration::from_secs(30) };
const NOW: Moment = Moment::from_ms(100_000_000);
const HOUR: Duration = Duration::from_hours(1);
const PID: i32 = 7;
/// So many that one more, the same and a new count differ.
const FAILURES: u32 = 2;

/// Every state, with this deadline or, for `Ready`, beginning.
fn every_state(deadline: Moment, since: Moment) -> [State; 12] {
    let (until, pid, failures, why) = (deadline, PID, FAILURES, Stuck::Ruby);
    [
        State::Waiting { until, failures },
        State::Forking { deadline, failures },
        State::Unwanted { deadline },
        State::Booting { pid, deadline, failures },
        State::Ready { pid, since, failures },
        State::Draining { pid, deadline, manner: Manner::Gently },
        State::Draining { pid, deadline, manner: Manner::Promptly },
        State::Confessing { pid, deadline, wanted: true, failures, why },
        State::Confessing { pid, deadline, wanted: false, failures, why },
        State::Killing { pid, wanted: true, failures },
        State::Killing { pid, wanted: false, failures },
        State::Gone,
    ]
}

fn name(state: State) -> &'static str {
    match state {
        State::Waiting { .. } => "Waiting",
        State::Forking { .. } => "Forking",
        State::Unwanted { .. } => "Unwanted",
        State::Booting { .. } => "Booting",
        State::Ready { .. } => "Ready",
        State::Draining { manner: Manner::Gently, .. } => "Draining gently",
        State::Draining { manner: Manner::Promptly, .. } => "Draining promptly",
        State::Confessing { wanted: true, .. } => "Confessing, to be replaced",
        State::Confessing { wanted: false, .. } => "Confessing, to be gone",
        State::Killing { wanted: true, .. } => "Killing, to be replaced",
        State::Killing { wanted: false, .. } => "Killing, to be gone",
        State::Gone => "Gone",
    }
}

/// Every event, with a word for what tells it from its like.
const EVERY_EVENT: [(Event, &str, &str); 13] = [
    (Event::MoldReady, "MoldReady", ""),
    (Event::ForkFailed, "ForkFailed", ""),
    (Event::Forked { pid: PID }, "Forked", ""),
    (Event::ReportedReady, "ReportedReady", ""),
    (Event::Lost, "Lost", ""),
    (Event::Exited { clean: true }, "Exited", "with status 0"),
    (Event::Exited { clean: false }, "Exited", "badly"),
    (Event::DrainRequested(Manner::Gently), "DrainRequested", "gently"),
    (Event::DrainRequested(Manner::Promptly), "DrainRequested", "promptly"),
    (Event::KillRequested, "KillRequested", ""),
    (Event::Stuck(Stuck::Io), "Stuck", ""),
    (Event::Confessed, "Confessed", ""),
    (Event::Tick, "Tick", ""),
];

fn action_text(action: Option<Action>) -> &'static str {
    match action {
        None => "",
        Some(Action::AskForFork) => "ask the mold for a fork",
        Some(Action::Drain(Manner::Gently)) => "tell it to drain gently",
        Some(Action::Drain(Manner::Promptly)) => "tell it to drain promptly",
        Some(Action::AskForConfession { .. }) => "have it log where its threads stand",
        Some(Action::Kill { .. }) => "kill it",
    }
}

/// Tries every event in every state, before and at its limit, with and without a mold.
pub(in crate::master) fn walk() -> Vec<Try> {
    let mut tries = Vec::new();
    let times = [
        (every_state(NOW, NOW - STEADY_AFTER), "due", "after 5 s"),
        (every_state(NOW + HOUR, NOW), "not due", "within 5 s"),
    ];
    for place in 0..times[0].0.len() {
        for (event, event_name, which) in EVERY_EVENT {
            for ((states, due, age), mold) in times
                .iter()
                .flat_map(|time| [(time, "the mold is ready"), (time, "the mold is away")])
            {
                let state = states[place];
                let time = if matches!(state, State::Ready { .. }) { age } else { due };
                tries.push(step(state, event, event_name, vec![which, time, mold]));
            }
        }
    }
    tries
}

fn step(state: State, event: Event, name_of_event: &'static str, given: Vec<&'static str>) -> Try {
    let mut worker = WorkerState { state, limits: LIMITS };
    let action = worker.on(event, given.contains(&"the mold is ready"), NOW);
    let has_failures =
        !matches!(worker.state, State::Draining { .. } | State::Unwanted { .. } | State::Gone)
            && !matches!(
                worker.state,
                State::Killing { wanted: false, .. } | State::Confessing { wanted: false, .. }
            );
    let failures = has_failures.then(|| worker.failures());
    let next = with_failures(name(worker.state), FAILURES, failures);
    let is_changed = worker.state != state || action.is_some();
    let outcome = is_changed.then(|| (next, action_text(action).to_owned()));
    Try { state: name(state).to_owned(), event: name_of_event, given, outcome }
}
