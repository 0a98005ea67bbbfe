//! `docs/states.md` says what the state machines do: it is made from walks through them.

use std::{fs, path::Path};

use super::*;
use crate::master::walk::{Try, diagram, table};

const OLD: GenerationId = 1;
const NEW: GenerationId = 2;

/// A fleet at a stage of a restart, and how far it is in it.
type Stand = (fn() -> Story, [&'static str; 2]);

const NONE_SWAPPED: &str = "no slot is swapped";
const ONE_SWAPPED: &str = "a slot is swapped";
const MORE_FOLLOW: &str = "more slots follow";
const LAST: &str = "in the last slot";

const STANDS: [Stand; 10] = [
    (|| Story::serving(2), [""; 2]),
    (|| asked(Kind::Full), [""; 2]),
    (becoming, [""; 2]),
    (|| asked(Kind::Refork), [""; 2]),
    (|| asked(Kind::Phased), [""; 2]),
    (|| swapping(2, 0), [NONE_SWAPPED, MORE_FOLLOW]),
    (|| swapping(1, 0), [NONE_SWAPPED, LAST]),
    (|| swapping(3, 1), [ONE_SWAPPED, MORE_FOLLOW]),
    (|| swapping(2, 1), [ONE_SWAPPED, LAST]),
    (reverting, [""; 2]),
];

fn asked(kind: Kind) -> Story {
    let mut story = Story::serving(2);
    story.ask(kind);
    story
}

fn becoming() -> Story {
    let mut story = asked(Kind::Full);
    story.on(Event::Proved);
    story
}

/// So many slots have been swapped; the worker of the next one is on its way.
fn swapping(slots: u16, swapped: u16) -> Story {
    let mut story = Story::serving(slots);
    story.ask(Kind::Phased);
    story.on(Event::MoldLoaded(NEW));
    for _ in 0..swapped {
        serves(&mut story);
    }
    story
}

/// One slot is the new generation's and has to be given back.
fn reverting() -> Story {
    let mut story = swapping(2, 1);
    fails(&mut story);
    story
}

/// The worker that was made last, if it is on its way.
fn newcomer(story: &Story) -> Option<WorkerId> {
    let (id, view) = story.fleet.workers().last()?;
    matches!(view.state, worker_state::State::Forking { .. }).then_some(id)
}

fn serves(story: &mut Story) -> Vec<Action> {
    newcomer(story).map(|id| story.boots(id)).unwrap_or_default()
}

fn fails(story: &mut Story) -> Vec<Action> {
    let Some(worker) = newcomer(story) else { return Vec::new() };
    story.worker(worker, worker_state::Event::Forked { pid: pid(worker) });
    story.exits(worker, false)
}

/// What can happen to a restart, in words and done.
type Happening = (&'static str, fn(&mut Story) -> Vec<Action>);

const HAPPENINGS: [Happening; 14] = [
    ("restart asked for", |story| story.ask(Kind::Full).1),
    ("phased restart asked for", |story| story.ask(Kind::Phased).1),
    ("refork asked for", |story| story.ask(Kind::Refork).1),
    ("Proved", |story| story.on(Event::Proved)),
    ("NotProved", |story| story.on(Event::NotProved(failure()))),
    ("20 s pass", |story| {
        story.now += restart::PROOF_MAX;
        story.on(Event::Tick)
    }),
    ("the new program has taken over", |story| {
        let mut actions = Vec::new();
        story.fleet.become_done(PLAN, story.now, &mut actions);
        actions
    }),
    ("the worker that is to be the mold ends", |story| match story.fleet.restart() {
        Some(restart) if restart.stage_name() == "replacing" => story.exits(1, false),
        _ => Vec::new(),
    }),
    ("the old mold ends", |story| story.mold_exits(OLD)),
    ("the new mold has loaded", |story| story.on(Event::MoldLoaded(NEW))),
    ("the new mold ends", |story| story.mold_exits(NEW)),
    ("the worker on its way serves", serves),
    ("the worker on its way fails", fails),
    ("StopGracefully", |story| story.on(Event::StopGracefully)),
];

fn stage(story: &Story) -> String {
    story.fleet.restart().map_or("none", Restart::stage_name).to_owned()
}

/// What an action means for a restart; `None` for what has to be done all the same.
fn action_text(action: &Action) -> Option<&'static str> {
    Some(match action {
        Action::Prove => "have the new program show that it can take over",
        Action::KillProof => "end that",
        Action::Become => "become the new program",
        Action::SpawnMold(NEW) => "start the new mold",
        Action::Promote(..) => "have the worker become the mold",
        Action::DismissMold(OLD) => "have the old mold leave",
        Action::DismissMold(NEW) => "have the new mold leave",
        Action::KillMold(NEW) => "kill the new mold",
        Action::AskForFork(_) => "ask for a worker",
        Action::Drain(_, Manner::Gently) => "drain the worker that had the slot",
        Action::SpawnMold(_) | Action::DismissMold(_) | Action::KillMold(_) => return None,
        Action::Drain(..) | Action::AskForConfession(..) | Action::Kill(..) => return None,
        Action::Disown(_) | Action::Forget(_) | Action::Finish(_) => return None,
        Action::RestartBegun(..) | Action::RestartEnded(_) => return None,
        Action::AnnounceServing => return None,
    })
}

/// Tries everything that can happen at every stage.
fn walk() -> Vec<Try> {
    let mut tries = Vec::new();
    for (stand, given) in STANDS {
        for (event, happens) in HAPPENINGS {
            let mut story = stand();
            let state = stage(&story);
            let actions = happens(&mut story);
            let ended = |result: bool| {
                let is_end = |action: &Action| matches!(action, Action::RestartEnded(end) if end.result.is_ok() == result);
                actions.iter().any(is_end)
            };
            let next = match (ended(true), ended(false)) {
                (true, _) => "none (it has succeeded)".to_owned(),
                (_, true) => "none (it has failed)".to_owned(),
                _ => stage(&story),
            };
            let mut texts: Vec<&str> = actions.iter().filter_map(action_text).collect();
            texts.dedup();
            let is_swap = texts.contains(&"drain the worker that had the slot");
            let outcome = (next != state || is_swap).then(|| (next, texts.join(", ")));
            tries.push(Try { state, event, given: given.to_vec(), outcome });
        }
    }
    tries
}

/// Table and diagram.
fn both(tries: &[Try], first: &[&str]) -> String {
    format!("{}\n{}", table(tries), diagram(tries, first))
}

fn page() -> String {
    let workers = both(&worker_state::walk::walk(), &["Waiting"]);
    let molds = both(&mold_state::walk::walk(), &["Absent", "Promoting"]);
    let restarts = both(&walk(), &["none"]);
    format!(
        "\
# States

<!-- Made by the test master::fleet::tests::states; change the state machines instead. -->

The state machines of the master. Each is a pure function of state, event and time; the tables are
walks through the code, every event in every state. An event that is in no row changes nothing:
messages and signals arrive late, and a late one must never move anything backwards. *Due* means
that a limit, or the moment that was waited for, has come.

## A worker

`server/src/master/worker_state.rs`

{workers}
The first failure is healed at once; further ones in a row wait 100 ms, 200 ms, ... up to 10 s.
Ends within 5 s of `Ready` count as failures too, but no more than four of them.

## A mold

`server/src/master/mold_state.rs`. One that was a worker before (a refork) begins with `Promoting`.

{molds}
The first failure is healed at once; further ones in a row wait 200 ms, 400 ms, ... up to 30 s.

## A restart

`server/src/master/fleet/restart.rs`; the stages as `rackrsctl stats` names them.

{restarts}
What is asked for during a restart follows it; of several that wait, the most thorough remains.
Whatever a generation lacks meanwhile, a worker or the old mold, is started again beside it.

## The fleet

`server/src/master/fleet.rs`

Starting → Serving when every slot is served at the same time. Starting → Stopping (the start has
failed) when the mold ends before it is ready, or a worker has failed three times in a row. Anything
→ Stopping when a signal, or `rackrsctl`, says so. Stopping → Finished when no worker and no mold is
left.
"
    )
}

#[test]
fn the_committed_page_tells_what_the_state_machines_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let committed = fs::read_to_string(root.join("docs/states.md")).unwrap_or_default();
    let walked = page();
    if committed != walked {
        let fresh = root.join("target/states.md");
        fs::write(&fresh, walked).unwrap();
        panic!(
            "docs/states.md is not what the state machines do; see whether that is meant, then\n  \
             cp target/states.md docs/states.md"
        );
    }
}
