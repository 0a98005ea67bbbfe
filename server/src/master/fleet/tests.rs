//! Tests of the fleet: whole stories, and many random lives.

mod lives;
mod restarts;
mod states;

use std::time::Duration;

use super::{event::DRAIN_GRACE, failures::START_FAILURES_MAX, worker_state::KillReason, *};
use crate::{http::Manner, wire::Failure};

const PLAN: Plan = Plan {
    load: Duration::from_mins(5),
    boot: Duration::from_mins(1),
    drain: Duration::from_secs(30),
    workers: 2,
    batch: 1,
};

/// A fleet, the time, and a pid for every worker: 100 and its number.
struct Story {
    fleet: Fleet,
    now: Moment,
}

impl Story {
    fn new(workers: u16) -> Self {
        let now = Moment::from_ms(1_000_000);
        Self { fleet: Fleet::new(Plan { workers, ..PLAN }, now), now }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.fleet.on(event, self.now, &mut actions);
        actions
    }

    fn worker(&mut self, id: WorkerId, event: worker_state::Event) -> Vec<Action> {
        self.on(Event::Worker(id, event))
    }

    /// The worker's process comes and serves.
    fn boots(&mut self, id: WorkerId) -> Vec<Action> {
        let mut actions = self.worker(id, worker_state::Event::Forked { pid: pid(id) });
        actions.extend(self.worker(id, worker_state::Event::ReportedReady));
        actions
    }

    fn serving(workers: u16) -> Self {
        let mut story = Self::new(workers);
        story.on(Event::Tick);
        story.on(Event::MoldLoaded(1));
        for id in 1..=u64::from(workers) {
            story.boots(id);
        }
        story
    }

    fn exits(&mut self, worker: WorkerId, clean: bool) -> Vec<Action> {
        self.on(Event::WorkerExited { worker, clean, failure: None })
    }

    fn mold_exits(&mut self, generation: GenerationId) -> Vec<Action> {
        self.on(Event::MoldExited(generation, failure()))
    }

    fn ask(&mut self, kind: Kind) -> (Option<Ticket>, Vec<Action>) {
        let mut actions = Vec::new();
        let ticket = self.fleet.ask_for_restart(kind, self.now, &mut actions);
        (ticket, actions)
    }

    /// Slots that are served, and by which generation.
    fn served(&self) -> Vec<GenerationId> {
        let slots = self.fleet.slots.iter().filter(|slot| self.fleet.is_served(slot));
        slots.filter_map(|slot| self.fleet.generation_of(slot.current)).collect()
    }
}

fn pid(id: WorkerId) -> i32 {
    100 + i32::try_from(id).unwrap()
}

fn failure() -> Failure {
    Failure { reason: "cannot load config.ru".into(), status: 1 }
}

#[test]
fn a_start_from_nothing_to_serving() {
    let mut story = Story::new(2);
    assert_eq!(story.on(Event::Tick), [Action::SpawnMold(1)]);
    let forks = [Action::AskForFork(1), Action::AskForFork(2)];
    assert_eq!(story.on(Event::MoldLoaded(1)), forks);
    assert_eq!(story.boots(1), []);
    assert_eq!(story.boots(2), [Action::AnnounceServing]);
}

#[test]
fn an_application_that_does_not_load_ends_the_start_with_its_reason() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    let actions = story.mold_exits(1);
    let end = Action::Finish(Outcome::FailedToStart(failure()));
    assert_eq!(actions, [Action::Disown(1), Action::Forget(1), end]);
}

#[test]
fn a_mold_that_hangs_at_the_start_is_killed_and_ends_it() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    story.now += PLAN.load;
    assert_eq!(story.on(Event::Tick), [Action::KillMold(1)]);
    let actions = story.mold_exits(1);
    assert!(matches!(actions.last(), Some(Action::Finish(Outcome::FailedToStart(_)))));
}

#[test]
fn a_worker_that_dies_is_replaced_in_the_same_step() {
    let mut story = Story::serving(2);
    assert_eq!(story.exits(2, false), [Action::AskForFork(2)]);
}

#[test]
fn a_mold_that_dies_is_started_again_and_workers_stay() {
    let mut story = Story::serving(2);
    assert_eq!(story.mold_exits(1), [Action::SpawnMold(1)]);
    assert_eq!(story.exits(1, false), [], "nobody can fork now");
    assert_eq!(story.on(Event::MoldLoaded(1)), [Action::AskForFork(1)]);
}

#[test]
fn a_worker_that_cannot_start_ends_the_start() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    story.on(Event::MoldLoaded(1));
    let mut last = Vec::new();
    for _ in 0..START_FAILURES_MAX {
        story.now += Duration::from_secs(20);
        story.on(Event::Tick);
        story.worker(1, worker_state::Event::Forked { pid: 100 });
        let failure = Some(failure());
        last = story.on(Event::WorkerExited { worker: 1, clean: false, failure });
    }
    assert_eq!(last, [Action::Disown(1), Action::DismissMold(1)]);
    let end = Action::Finish(Outcome::FailedToStart(failure()));
    assert_eq!(story.mold_exits(1), [Action::Forget(1), end]);
}

#[test]
fn a_graceful_stop_drains_then_lets_the_mold_go_and_finishes() {
    let mut story = Story::serving(2);
    let drain = |id| Action::Drain(id, Manner::Promptly);
    assert_eq!(story.on(Event::StopGracefully), [drain(1), drain(2)]);
    assert_eq!(story.exits(1, true), []);
    assert_eq!(story.exits(2, true), [Action::DismissMold(1)]);
    assert_eq!(story.mold_exits(1), [Action::Forget(1), Action::Finish(Outcome::Stopped)]);
}

#[test]
fn a_mold_that_dies_during_the_stop_is_not_missed() {
    let mut story = Story::serving(1);
    story.on(Event::StopGracefully);
    assert_eq!(story.mold_exits(1), []);
    assert_eq!(story.on(Event::Tick), []);
    assert_eq!(story.exits(1, true), [Action::Forget(1), Action::Finish(Outcome::Stopped)]);
}

#[test]
fn a_worker_that_does_not_drain_is_killed_at_the_limit() {
    let mut story = Story::serving(1);
    story.on(Event::StopGracefully);
    story.mold_exits(1);
    story.now += PLAN.drain + DRAIN_GRACE;
    let actions = story.on(Event::Tick);
    assert_eq!(actions, [Action::Kill(1, pid(1), KillReason::ShutdownTimeout)]);
    assert_eq!(story.exits(1, false).last(), Some(&Action::Finish(Outcome::Stopped)));
}

#[test]
fn a_second_stop_kills() {
    let mut story = Story::serving(1);
    story.on(Event::StopGracefully);
    let kill = Action::Kill(1, pid(1), KillReason::Asked);
    assert_eq!(story.on(Event::StopNow), [kill, Action::DismissMold(1)]);
}

#[test]
fn a_stop_during_boot_leaves_nothing() {
    let mut story = Story::new(2);
    story.on(Event::Tick);
    let disowned = [Action::Disown(1), Action::Disown(2)];
    assert_eq!(story.on(Event::StopGracefully), [&disowned[..], &[Action::KillMold(1)]].concat());
    let actions = story.mold_exits(1);
    assert_eq!(actions, [Action::Forget(1), Action::Finish(Outcome::Stopped)]);
}

#[test]
fn a_check_has_no_slots_and_is_over_when_the_application_is_loaded() {
    let mut story = Story::new(0);
    assert_eq!(story.on(Event::Tick), [Action::SpawnMold(1)]);
    assert_eq!(story.on(Event::MoldLoaded(1)), [Action::AnnounceServing]);
}

#[test]
fn a_recycled_worker_goes_when_its_successor_serves() {
    let mut story = Story::serving(2);
    assert_eq!(story.on(Event::Recycle(1)), [Action::AskForFork(3)]);
    assert_eq!(story.on(Event::Recycle(2)), [], "one at a time");
    assert_eq!(story.boots(3), [Action::Drain(1, Manner::Gently)]);
    assert_eq!(story.exits(1, true), []);
    assert_eq!(story.on(Event::Recycle(2)), [Action::AskForFork(4)]);
}

/// A mold that did not fork in time may fork at last: that worker must not serve unseen.
#[test]
fn a_worker_that_is_given_up_before_it_was_born_is_disowned() {
    for gives_up in [worker_state::Event::ForkFailed, worker_state::Event::Lost] {
        let mut story = Story::serving(1);
        story.on(Event::Workers(WorkersChange::More(1)));
        assert_eq!(story.on(Event::Workers(WorkersChange::Exactly(1))), []);
        assert_eq!(story.worker(2, gives_up), [Action::Disown(2)]);
    }
    let mut story = Story::serving(1);
    story.on(Event::Workers(WorkersChange::More(1)));
    story.on(Event::Workers(WorkersChange::Exactly(1)));
    story.now += PLAN.boot;
    assert_eq!(story.on(Event::Tick), [Action::Disown(2), Action::KillMold(1)]);
}

#[test]
fn a_mold_that_does_not_fork_in_time_is_killed_and_started_again() {
    let mut story = Story::serving(2);
    assert_eq!(story.exits(1, false), [Action::AskForFork(1)]);
    story.now += PLAN.boot;
    assert_eq!(story.on(Event::Tick), [Action::KillMold(1)]);
    assert_eq!(story.mold_exits(1), [Action::SpawnMold(1)]);
    story.now += Duration::from_secs(1);
    assert_eq!(story.on(Event::MoldLoaded(1)), [Action::AskForFork(1)]);
}

#[test]
fn a_mold_that_forks_slowly_is_left_alone() {
    let mut story = Story::serving(2);
    story.exits(1, false);
    story.exits(2, false);
    story.now += PLAN.boot / 2;
    story.worker(1, worker_state::Event::Forked { pid: 100 });
    story.now += PLAN.boot / 2;
    assert_eq!(story.on(Event::Tick), []);
    story.now += Duration::from_secs(1);
    assert_eq!(story.on(Event::Tick), [Action::AskForFork(2)]);
}

#[test]
fn slots_come_and_go() {
    let mut story = Story::serving(1);
    let more = story.on(Event::Workers(WorkersChange::More(2)));
    assert_eq!(more, [Action::AskForFork(2), Action::AskForFork(3)]);
    story.boots(2);
    let fewer = story.on(Event::Workers(WorkersChange::Fewer { by: 9, least: 1 }));
    assert_eq!(fewer, [Action::Drain(2, Manner::Gently)]);
    assert_eq!(story.fleet.slots_wanted(), 1);
    story.worker(3, worker_state::Event::Forked { pid: 103 });
    let none = story.on(Event::Workers(WorkersChange::Exactly(0)));
    assert_eq!(none, [Action::Drain(1, Manner::Gently)]);
    assert_eq!(story.on(Event::Workers(WorkersChange::More(1))), [Action::AskForFork(4)]);
}
