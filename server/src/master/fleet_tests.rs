//! Tests of the fleet: whole stories, and every event in every stage.

use super::*;

const LIMITS: Limits = Limits {
    load: Duration::from_mins(5),
    boot: Duration::from_mins(1),
    drain: Duration::from_secs(30),
};

struct Story {
    fleet: Fleet,
    now: Instant,
}

impl Story {
    fn new(workers: u16) -> Self {
        let now = Instant::now();
        Self { fleet: Fleet::new(workers, LIMITS, now), now }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.fleet.on(event, self.now, &mut actions);
        actions
    }

    fn slot(&mut self, number: u16, event: slot::Event) -> Vec<Action> {
        self.on(Event::Slot(number, event))
    }

    fn serving(workers: u16) -> Self {
        let mut story = Self::new(workers);
        story.on(Event::Tick);
        story.on(Event::MoldLoaded);
        for number in 0..workers {
            story.slot(number, slot::Event::Forked { pid: 100 + i32::from(number) });
            story.slot(number, slot::Event::ReportedReady);
        }
        story
    }

    fn exit(&mut self, slot: u16, clean: bool) -> Vec<Action> {
        self.on(Event::WorkerExited { slot, clean, failure: None })
    }
}

fn failure() -> Failure {
    Failure { reason: "cannot load config.ru".into(), status: 1 }
}

#[test]
fn a_start_from_nothing_to_serving() {
    let mut story = Story::new(2);
    assert_eq!(story.on(Event::Tick), [Action::SpawnMold]);
    assert_eq!(story.on(Event::MoldLoaded), [Action::AskForFork(0), Action::AskForFork(1)]);
    assert_eq!(story.slot(0, slot::Event::Forked { pid: 100 }), []);
    assert_eq!(story.slot(0, slot::Event::ReportedReady), []);
    assert_eq!(story.slot(1, slot::Event::Forked { pid: 101 }), []);
    assert_eq!(story.slot(1, slot::Event::ReportedReady), [Action::AnnounceServing]);
}

#[test]
fn an_application_that_does_not_load_ends_the_start_with_its_reason() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    let actions = story.on(Event::MoldExited(failure()));
    assert_eq!(actions, [Action::Finish(Outcome::FailedToStart(failure()))]);
}

#[test]
fn a_mold_that_hangs_at_the_start_is_killed_and_ends_it() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    story.now += LIMITS.load;
    assert_eq!(story.on(Event::Tick), [Action::KillMold]);
    let actions = story.on(Event::MoldExited(failure()));
    assert!(matches!(actions[..], [Action::Finish(Outcome::FailedToStart(_))]), "{actions:?}");
}

#[test]
fn a_worker_that_dies_is_replaced_in_the_same_step() {
    let mut story = Story::serving(2);
    assert_eq!(story.exit(1, false), [Action::AskForFork(1)]);
}

#[test]
fn a_mold_that_dies_is_started_again_and_workers_stay() {
    let mut story = Story::serving(2);
    assert_eq!(story.on(Event::MoldExited(failure())), [Action::SpawnMold]);
    assert_eq!(story.exit(0, false), [], "nobody can fork now");
    assert_eq!(story.on(Event::MoldLoaded), [Action::AskForFork(0)]);
}

#[test]
fn a_worker_that_cannot_start_ends_the_start() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    story.on(Event::MoldLoaded);
    let mut last = Vec::new();
    for _ in 0..START_FAILURES_MAX {
        story.now += Duration::from_secs(20);
        story.on(Event::Tick);
        story.slot(0, slot::Event::Forked { pid: 100 });
        last = story.on(Event::WorkerExited { slot: 0, clean: false, failure: Some(failure()) });
    }
    assert_eq!(last, [Action::DismissMold]);
    let actions = story.on(Event::MoldExited(failure()));
    assert_eq!(actions, [Action::Finish(Outcome::FailedToStart(failure()))]);
}

#[test]
fn a_graceful_stop_drains_then_finishes() {
    let mut story = Story::serving(2);
    let actions = story.on(Event::StopGracefully);
    assert_eq!(actions, [Action::Drain(0), Action::Drain(1), Action::DismissMold]);
    assert_eq!(story.exit(0, true), []);
    assert_eq!(story.on(Event::MoldExited(failure())), []);
    assert_eq!(story.exit(1, true), [Action::Finish(Outcome::Stopped)]);
}

#[test]
fn a_worker_that_does_not_drain_is_killed_at_the_limit() {
    let mut story = Story::serving(1);
    story.on(Event::StopGracefully);
    story.on(Event::MoldExited(failure()));
    story.now += LIMITS.drain + DRAIN_GRACE;
    let actions = story.on(Event::Tick);
    assert_eq!(actions, [Action::Kill(0, 100, KillReason::ShutdownTimeout)]);
    assert_eq!(story.exit(0, false), [Action::Finish(Outcome::Stopped)]);
}

#[test]
fn a_second_stop_kills() {
    let mut story = Story::serving(1);
    story.on(Event::StopGracefully);
    assert_eq!(story.on(Event::StopNow), [Action::Kill(0, 100, KillReason::Asked)]);
}

#[test]
fn a_stop_during_boot_leaves_nothing() {
    let mut story = Story::new(2);
    story.on(Event::Tick);
    assert_eq!(story.on(Event::StopGracefully), [Action::KillMold]);
    assert_eq!(story.on(Event::MoldExited(failure())), [Action::Finish(Outcome::Stopped)]);
}

/// In every stage, any event followed by a stop, the deaths and time leads to exactly one end.
#[test]
fn every_stage_and_event_can_be_brought_to_an_end() {
    let stages: [fn() -> Story; 4] = [
        || Story::new(2),
        || {
            let mut story = Story::new(2);
            story.on(Event::Tick);
            story
        },
        || Story::serving(2),
        || {
            let mut story = Story::serving(2);
            story.on(Event::StopGracefully);
            story
        },
    ];
    let events = [
        Event::MoldLoaded,
        Event::MoldExited(failure()),
        Event::Slot(0, slot::Event::Forked { pid: 100 }),
        Event::Slot(0, slot::Event::ReportedReady),
        Event::Slot(1, slot::Event::ForkFailed),
        Event::WorkerExited { slot: 0, clean: false, failure: None },
        Event::StopGracefully,
        Event::StopNow,
        Event::Tick,
    ];
    for (stage, make) in stages.into_iter().enumerate() {
        for event in &events {
            let mut story = make();
            let mut actions = story.on(event.clone());
            actions.extend(story.on(Event::StopNow));
            story.now += Duration::from_hours(1);
            actions.extend(story.on(Event::Tick));
            for slot in 0..2 {
                actions.extend(story.exit(slot, false));
            }
            actions.extend(story.on(Event::MoldExited(failure())));
            let ends = actions.iter().filter(|action| matches!(action, Action::Finish(_))).count();
            assert_eq!(ends, 1, "stage {stage}, {event:?}: {actions:?}");
        }
    }
}
