//! Every phase meets every event.

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    first_data: Duration::from_secs(30),
    persistent: Duration::from_secs(65),
    write: Duration::from_secs(10),
    drain_idle: Duration::from_secs(5),
};

const EVENTS: [Event; 12] = [
    Event::Received,
    Event::HeadComplete,
    Event::SpoolingStarted,
    Event::SpoolingEnded,
    Event::Dispatched,
    Event::ResponseStarted,
    Event::WriteBlocked,
    Event::Written,
    Event::ResponseFlushed,
    Event::DrainAsked(Manner::Gently),
    Event::DrainAsked(Manner::Promptly),
    Event::Tick,
];

/// The phases in the order of the rows below, each with the deadline `until`.
fn phases(until: Instant) -> [Phase; 8] {
    [
        Phase::Fresh { until },
        Phase::Head { until },
        Phase::Body { until },
        Phase::Spooling,
        Phase::Application,
        Phase::Responding,
        Phase::Blocked { until },
        Phase::Idle { until },
    ]
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Fresh { .. } => "Fresh",
        Phase::Head { .. } => "Head",
        Phase::Body { .. } => "Body",
        Phase::Spooling => "Spooling",
        Phase::Application => "Application",
        Phase::Responding => "Responding",
        Phase::Blocked { .. } => "Blocked",
        Phase::Idle { .. } => "Idle",
    }
}

#[test]
fn every_phase_meets_every_event() {
    let now = Instant::now();
    // Columns as EVENTS; "-" stays. The deadline has not passed, so a tick does nothing.
    let table = [
        ["Head", "Body", "-", "-", "-", "Responding", "-", "-", "Idle", "-", "-", "-"],
        ["-", "Body", "-", "-", "-", "Responding", "-", "-", "Idle", "-", "-", "-"],
        ["-", "-", "Spooling", "-", "Application", "Responding", "-", "-", "Idle", "-", "-", "-"],
        ["-", "Body", "-", "Body", "Application", "Responding", "-", "-", "Idle", "-", "-", "-"],
        ["-", "Body", "-", "-", "-", "Responding", "Blocked", "-", "Idle", "-", "-", "-"],
        ["-", "Body", "-", "-", "-", "-", "Blocked", "-", "Idle", "-", "-", "-"],
        ["-", "Body", "-", "-", "-", "-", "-", "Responding", "Idle", "-", "-", "-"],
        ["Head", "Body", "-", "-", "-", "Responding", "-", "-", "-", "-", "-", "-"],
    ];
    for (phase, row) in phases(now + Duration::from_secs(1)).into_iter().zip(table) {
        for (event, expected) in EVENTS.into_iter().zip(row) {
            let (next, action) = phase.on(event, now, &TIMEOUTS);
            let expected = if expected == "-" { name(phase) } else { expected };
            assert_eq!(name(next), expected, "{phase:?} on {event:?}");
            let closes = phase.is_idle() && event == Event::DrainAsked(Manner::Promptly);
            let expected = if closes { Action::Close } else { Action::Continue };
            assert_eq!(action, expected, "{phase:?} on {event:?}");
        }
    }
}

#[test]
fn a_passed_deadline_says_how_to_end() {
    let now = Instant::now();
    let actions = phases(now).map(|phase| phase.on(Event::Tick, now, &TIMEOUTS).1);
    assert_eq!(
        actions,
        [
            Action::Close,
            Action::AnswerTimeout,
            Action::AnswerTimeout,
            Action::Continue,
            Action::Continue,
            Action::Continue,
            Action::Cut,
            Action::Close,
        ]
    );
}

#[test]
fn a_head_has_one_deadline_and_each_body_arrival_a_new_one() {
    let start = Instant::now();
    let later = start + Duration::from_secs(20);
    let fresh = Phase::accepted(start, &TIMEOUTS);
    let (head, _) = fresh.on(Event::Received, later, &TIMEOUTS);
    assert_eq!(head.deadline(), Some(start + TIMEOUTS.first_data));
    let (head, _) = head.on(Event::Received, later, &TIMEOUTS);
    assert_eq!(head.deadline(), Some(start + TIMEOUTS.first_data));
    let (body, _) = head.on(Event::HeadComplete, later, &TIMEOUTS);
    let much_later = later + Duration::from_secs(20);
    let (body, _) = body.on(Event::Received, much_later, &TIMEOUTS);
    assert_eq!(body.deadline(), Some(much_later + TIMEOUTS.first_data));
    let idle = Phase::Idle { until: start + TIMEOUTS.persistent };
    let (head, _) = idle.on(Event::Received, later, &TIMEOUTS);
    assert_eq!(head.deadline(), Some(later + TIMEOUTS.first_data));
}

#[test]
fn a_blocked_write_keeps_its_deadline_until_a_byte_is_taken() {
    let start = Instant::now();
    let (blocked, _) = Phase::Responding.on(Event::WriteBlocked, start, &TIMEOUTS);
    let later = start + Duration::from_secs(5);
    let (still, _) = blocked.on(Event::WriteBlocked, later, &TIMEOUTS);
    assert_eq!(still.deadline(), Some(start + TIMEOUTS.write));
    let (moved, _) = still.on(Event::Written, later, &TIMEOUTS);
    let (again, _) = moved.on(Event::WriteBlocked, later, &TIMEOUTS);
    assert_eq!(again.deadline(), Some(later + TIMEOUTS.write));
}

#[test]
fn a_drain_shortens_the_wait_for_a_first_byte() {
    let now = Instant::now();
    let fresh = Phase::accepted(now, &TIMEOUTS);
    for (manner, grace) in [(Manner::Gently, TIMEOUTS.drain_idle), (Manner::Promptly, FRESH_GRACE)]
    {
        let (next, action) = fresh.on(Event::DrainAsked(manner), now, &TIMEOUTS);
        assert_eq!((next.deadline(), action), (Some(now + grace), Action::Continue));
    }
    let short = Timeouts { drain_idle: FRESH_GRACE / 2, ..TIMEOUTS };
    let (next, _) = fresh.on(Event::DrainAsked(Manner::Gently), now, &short);
    assert_eq!(next.deadline(), Some(now + FRESH_GRACE));
}

#[test]
fn a_gentle_drain_shortens_the_idle_time_and_never_lengthens_it() {
    let now = Instant::now();
    let ordered = Event::DrainAsked(Manner::Gently);
    let (idle, _) = Phase::Responding.on(Event::ResponseFlushed, now, &TIMEOUTS);
    let (idle, action) = idle.on(ordered, now, &TIMEOUTS);
    let until = now + TIMEOUTS.drain_idle;
    assert_eq!((idle.deadline(), action), (Some(until), Action::Continue));
    let later = now + Duration::from_secs(3);
    let (again, _) = idle.on(ordered, later, &TIMEOUTS);
    assert_eq!(again.deadline(), Some(until));
}

#[test]
fn a_response_that_ends_during_a_gentle_drain_is_followed_by_the_short_idle_time() {
    let now = Instant::now();
    let flushed = Event::ResponseFlushed;
    let (idle, _) = Phase::Responding.on(flushed, now, &TIMEOUTS.draining());
    assert_eq!(idle.deadline(), Some(now + TIMEOUTS.drain_idle));
    let short = Timeouts { persistent: Duration::from_secs(2), ..TIMEOUTS };
    let (idle, _) = Phase::Responding.on(flushed, now, &short.draining());
    assert_eq!(idle.deadline(), Some(now + short.persistent));
}

#[test]
fn a_drain_always_leaves_time_for_the_last_answers() {
    let limits = Limits { shutdown_timeout: Duration::from_secs(6), ..Limits::default() };
    assert_eq!(Timeouts::from(&limits).drain_idle, Duration::from_secs(3));
    assert_eq!(Timeouts::from(&Limits::default()).drain_idle, Duration::from_secs(5));
}
