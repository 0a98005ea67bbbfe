//! Stories of restarts: good ones, and every way in which one can fail.

use super::*;

const OLD: GenerationId = 1;
const NEW: GenerationId = 2;

/// A serving fleet of two whose new mold loads.
fn loading() -> Story {
    let mut story = Story::serving(2);
    let (ticket, actions) = story.ask(Kind::Phased);
    assert_eq!(ticket, Some(1));
    assert_eq!(actions, [Action::RestartBegun(1, Kind::Phased), Action::SpawnMold(NEW)]);
    story
}

/// The same, and the first slot is swapped: worker 3 has taken over from worker 1.
fn half_swapped() -> Story {
    let mut story = loading();
    assert_eq!(story.on(Event::MoldLoaded(NEW)), [Action::AskForFork(3)]);
    let actions = story.boots(3);
    assert_eq!(actions, [Action::Drain(1, Manner::Gently), Action::AskForFork(4)]);
    assert_eq!(story.served(), [NEW, OLD]);
    story
}

fn ended(actions: &[Action]) -> Option<&RestartEnd> {
    actions.iter().find_map(
        |action| {
            if let Action::RestartEnded(end) = action { Some(end) } else { None }
        },
    )
}

fn assert_failed(actions: &[Action]) {
    let end = ended(actions).unwrap_or_else(|| panic!("it has not ended: {actions:?}"));
    assert!(end.result.is_err(), "{end:?}");
}

#[test]
fn a_phased_restart_swaps_slot_by_slot_and_ends_when_all_are_swapped() {
    let mut story = half_swapped();
    let actions = story.boots(4);
    assert_eq!(actions[..2], [Action::Drain(2, Manner::Gently), Action::DismissMold(OLD)]);
    let end = ended(&actions).unwrap();
    assert_eq!((end.ticket, &end.result), (1, &Ok(NEW)));
    assert_eq!(story.served(), [NEW, NEW]);
    assert_eq!(story.fleet.serving(), NEW);
    story.mold_exits(OLD);
    story.exits(1, true);
    assert_eq!(story.exits(2, true), [Action::Forget(OLD)]);
    assert_eq!(story.exits(3, false), [Action::AskForFork(3)], "reborn from the new mold");
}

#[test]
fn a_batch_swaps_more_at_a_time() {
    let mut story = Story::new(3);
    story.fleet = Fleet::new(Plan { workers: 3, batch: 2, ..PLAN }, story.now);
    story.on(Event::Tick);
    story.on(Event::MoldLoaded(OLD));
    for id in 1..=3 {
        story.boots(id);
    }
    story.ask(Kind::Phased);
    let forks = [Action::AskForFork(4), Action::AskForFork(5)];
    assert_eq!(story.on(Event::MoldLoaded(NEW)), forks);
    let actions = story.boots(4);
    assert_eq!(actions, [Action::Drain(1, Manner::Gently), Action::AskForFork(6)]);
}

#[test]
fn a_full_restart_proves_becomes_and_loads() {
    let mut story = Story::serving(1);
    let (_, actions) = story.ask(Kind::Full);
    assert_eq!(actions, [Action::RestartBegun(1, Kind::Full), Action::Prove]);
    assert_eq!(story.on(Event::Proved), [Action::Become]);
    // The next program reads what this one wrote.
    let text = serde_json::to_string(&story.fleet).unwrap();
    story.fleet = serde_json::from_str(&text).unwrap();
    let mut actions = Vec::new();
    let plan = Plan { workers: 2, ..PLAN };
    story.fleet.become_done(plan, story.now, &mut actions);
    assert_eq!(actions, [Action::SpawnMold(NEW)]);
    assert_eq!(story.on(Event::MoldLoaded(NEW)), [Action::AskForFork(2)]);
    let actions = story.boots(2);
    assert_eq!(actions, [Action::Drain(1, Manner::Gently), Action::AskForFork(3)]);
    assert!(ended(&story.boots(3)).unwrap().result.is_ok(), "with the slot that is new");
    assert_eq!(story.served(), [NEW, NEW]);
}

#[test]
fn a_new_program_that_cannot_take_over_changes_nothing() {
    let mut story = Story::serving(1);
    story.ask(Kind::Full);
    assert_failed(&story.on(Event::NotProved(failure())));
    assert_eq!(story.served(), [OLD]);
    story.ask(Kind::Full);
    story.now += restart::PROOF_MAX;
    let actions = story.on(Event::Tick);
    assert_eq!(actions[0], Action::KillProof);
    assert_failed(&actions);
    assert_eq!(story.on(Event::Proved), [], "too late");
}

#[test]
fn a_mold_that_does_not_load_changes_nothing() {
    for hangs in [false, true] {
        let mut story = loading();
        if hangs {
            story.now += PLAN.load;
            assert_eq!(story.on(Event::Tick), [Action::KillMold(NEW)]);
        }
        assert_failed(&story.mold_exits(NEW));
        assert_eq!((story.served(), story.fleet.serving()), (vec![OLD, OLD], OLD));
        assert_eq!(story.exits(1, false), [Action::AskForFork(1)], "the old mold lives");
    }
}

#[test]
fn a_first_worker_that_fails_changes_nothing() {
    let mut story = loading();
    story.on(Event::MoldLoaded(NEW));
    story.worker(3, worker_state::Event::Forked { pid: 103 });
    let failure = Some(failure());
    let actions = story.on(Event::WorkerExited { worker: 3, clean: false, failure });
    assert!(actions.contains(&Action::DismissMold(NEW)), "{actions:?}");
    assert_failed(&actions);
    assert_eq!(story.served(), [OLD, OLD]);
}

#[test]
fn a_worker_that_does_not_boot_in_time_changes_nothing() {
    let mut story = loading();
    story.on(Event::MoldLoaded(NEW));
    story.worker(3, worker_state::Event::Forked { pid: 103 });
    story.now += PLAN.boot;
    let actions = story.on(Event::Tick);
    assert!(actions.contains(&Action::Kill(3, 103, KillReason::BootTimeout)), "{actions:?}");
    assert_failed(&actions);
    assert_eq!(story.served(), [OLD, OLD]);
}

#[test]
fn slots_that_were_swapped_are_given_back_before_anybody_goes() {
    let mut story = half_swapped();
    story.worker(4, worker_state::Event::Forked { pid: 104 });
    let actions = story.on(Event::WorkerExited { worker: 4, clean: false, failure: None });
    assert!(actions.contains(&Action::AskForFork(5)), "{actions:?}");
    assert_eq!(ended(&actions), None, "a slot is still the new generation's");
    assert_eq!(story.served(), [NEW, OLD], "and served until its successor serves");
    let actions = story.boots(5);
    assert!(actions.contains(&Action::Drain(3, Manner::Gently)), "{actions:?}");
    assert_failed(&actions);
    assert_eq!((story.served(), story.fleet.serving()), (vec![OLD, OLD], OLD));
}

#[test]
fn a_new_worker_that_crashes_after_it_took_over_fails_the_restart() {
    let mut story = half_swapped();
    let actions = story.exits(3, false);
    assert!(actions.contains(&Action::AskForFork(5)), "{actions:?}");
    assert_failed(&actions);
    story.boots(5);
    assert_eq!(story.served(), [OLD, OLD]);
}

/// The old mold is gone for good (its code is): what was swapped stays, and mended code can come.
#[test]
fn a_restart_that_cannot_be_taken_back_ends_where_it_is() {
    let mut story = half_swapped();
    story.mold_exits(OLD);
    story.worker(4, worker_state::Event::Forked { pid: 104 });
    let failed = Event::WorkerExited { worker: 4, clean: false, failure: None };
    assert_eq!(ended(&story.on(failed)), None, "the old mold may come back");
    let actions = story.mold_exits(OLD);
    assert_failed(&actions);
    assert_eq!(story.served(), [NEW, OLD]);
    story.mold_exits(NEW);
    story.exits(1, true);
    let (ticket, actions) = story.ask(Kind::Phased);
    assert_eq!((ticket, &actions[0]), (Some(2), &Action::RestartBegun(2, Kind::Phased)));
    let third = NEW + 1;
    story.on(Event::MoldLoaded(third));
    for id in 5..=8 {
        story.boots(id);
    }
    assert_eq!(story.served(), [third, third]);
}

#[test]
fn a_worker_of_a_generation_that_was_given_up_is_replaced_by_the_serving_one() {
    let mut story = half_swapped();
    story.mold_exits(OLD);
    story.worker(4, worker_state::Event::Forked { pid: 104 });
    story.on(Event::WorkerExited { worker: 4, clean: false, failure: None });
    story.mold_exits(OLD);
    story.mold_exits(NEW);
    story.now += Duration::from_mins(1);
    story.on(Event::Tick);
    story.on(Event::MoldLoaded(OLD));
    let actions = story.exits(3, false);
    let forks = actions.iter().filter(|action| matches!(action, Action::AskForFork(_)));
    assert_eq!(forks.count(), 1, "{actions:?}");
    let id = story.fleet.slots[0].current.unwrap();
    story.boots(id);
    assert_eq!(story.served(), [OLD, OLD]);
}

#[test]
fn restarts_that_are_asked_for_during_one_are_one() {
    let mut story = loading();
    assert_eq!(story.ask(Kind::Phased), (Some(2), vec![]));
    assert_eq!(story.ask(Kind::Full), (Some(2), vec![]));
    assert_eq!(story.ask(Kind::Refork), (Some(2), vec![]));
    story.on(Event::MoldLoaded(NEW));
    story.boots(3);
    let actions = story.boots(4);
    // Those before the last are hurried, and the next begins when they have gone.
    assert!(actions.contains(&Action::Drain(1, Manner::Promptly)), "{actions:?}");
    assert_eq!(story.fleet.queued_restart(), Some(2));
    story.exits(1, true);
    story.exits(2, true);
    let actions = story.mold_exits(OLD);
    assert_eq!(
        actions[..3],
        [Action::Forget(OLD), Action::RestartBegun(2, Kind::Full), Action::Prove,]
    );
}

#[test]
fn a_restart_during_the_start_waits_for_it() {
    let mut story = Story::new(1);
    story.on(Event::Tick);
    assert_eq!(story.ask(Kind::Full), (Some(1), vec![]));
    story.on(Event::MoldLoaded(1));
    let actions = story.boots(1);
    let begun = [Action::AnnounceServing, Action::RestartBegun(1, Kind::Full), Action::Prove];
    assert_eq!(actions, begun);
}

#[test]
fn a_stop_ends_a_restart_at_every_stage() {
    let stages: [fn() -> Story; 4] = [
        || {
            let mut story = Story::serving(2);
            story.ask(Kind::Full);
            story
        },
        loading,
        half_swapped,
        || {
            let mut story = half_swapped();
            story.exits(4, false);
            story
        },
    ];
    for make in stages {
        let mut story = make();
        let mut actions = story.on(Event::StopGracefully);
        assert_failed(&actions);
        assert_eq!(story.ask(Kind::Full), (None, vec![]));
        for generation in [OLD, NEW] {
            actions.extend(story.mold_exits(generation));
        }
        for id in 1..=5 {
            actions.extend(story.worker(id, worker_state::Event::Lost));
            actions.extend(story.exits(id, true));
        }
        assert_eq!(actions.last(), Some(&Action::Finish(Outcome::Stopped)), "{actions:?}");
    }
}

#[test]
fn a_refork_makes_a_warm_worker_the_mold() {
    let mut story = Story::serving(2);
    let (_, actions) = story.ask(Kind::Refork);
    assert_eq!(actions, [Action::RestartBegun(1, Kind::Refork), Action::AskForFork(3)]);
    assert_eq!(story.boots(3), [Action::Promote(1, NEW)]);
    assert_eq!(story.served(), [OLD, OLD], "its successor has its slot");
    assert_eq!(story.on(Event::MoldLoaded(NEW)), [Action::AskForFork(4)]);
    story.boots(4);
    let actions = story.boots(5);
    assert_eq!(ended(&actions).unwrap().result, Ok(NEW));
    assert!(actions.contains(&Action::DismissMold(OLD)), "{actions:?}");
}

#[test]
fn a_refork_whose_worker_dies_is_given_up() {
    let mut story = Story::serving(1);
    story.ask(Kind::Refork);
    let actions = story.exits(1, false);
    assert_failed(&actions);
    let mut story = Story::serving(1);
    story.ask(Kind::Refork);
    story.boots(2);
    assert_failed(&story.mold_exits(NEW));
    assert_eq!(story.served(), [OLD]);
}

/// It has no limit of its own, and a restart that waits behind it could be the way out.
#[test]
fn a_refork_that_gets_no_successor_is_given_up() {
    let mut story = Story::serving(1);
    story.mold_exits(OLD);
    assert_failed(&story.ask(Kind::Refork).1);
    let mut story = Story::serving(1);
    story.ask(Kind::Refork);
    assert_failed(&story.mold_exits(OLD));
    let mut story = Story::serving(1);
    story.ask(Kind::Refork);
    assert_failed(&story.worker(2, worker_state::Event::ForkFailed));
    let mut story = Story::serving(1);
    story.ask(Kind::Refork);
    story.now += PLAN.boot;
    assert_failed(&story.on(Event::Tick));
    assert_eq!(story.served(), [OLD]);
    story.boots(2);
    assert_eq!(story.served(), [OLD], "who was on the way takes the place in the end");
}

#[test]
fn a_changed_number_of_slots_holds_after_a_restart() {
    let mut story = loading();
    story.on(Event::Workers(WorkersChange::More(1)));
    story.boots(3);
    assert_eq!(story.on(Event::MoldLoaded(NEW)), [Action::AskForFork(4)]);
    for id in 4..=6 {
        story.boots(id);
    }
    assert_eq!(story.served(), [NEW, NEW, NEW]);
}
