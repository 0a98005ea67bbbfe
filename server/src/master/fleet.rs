//! The whole of what the master looks after, as one pure state machine: generations and slots.
//!
//! [`Fleet::on`] takes an [`Event`] and the time and appends [`Action`]s, which `run.rs` carries
//! out. Nothing here forks, signals or logs, and all of it can be written down and taken up again
//! by another program in the same process (a restart).
//!
//! - [`event`]: what it is told, and what it wants done
//! - [`slots`]: which worker has which place, and how one takes over from another
//! - [`failures`]: what the end of a process means for a start or restart
//! - [`stop`]: the end of it all
//! - [`restart`]: the transaction from one generation to the next; [`swap`]: its part that touches
//!   the slots, there and back

mod event;
mod failures;
mod restart;
mod slots;
mod stop;
mod swap;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    mold_state::{self, MoldState},
    moment::Moment,
    worker_state::{self, WorkerState},
};

pub(crate) use event::{Action, Event, Outcome, Plan};
pub(crate) use restart::{Kind, Restart, RestartEnd, Ticket};
use slots::Slot;
pub(crate) use slots::WorkersChange;

/// A generation's number: 1 for the code that the server was started with.
pub(crate) type GenerationId = u32;

/// A worker's number, never used again.
pub(crate) type WorkerId = u64;

/// How far the master is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Not every slot has served yet.
    Starting,
    /// All slots have served at least once.
    Serving,
    /// Everything is being stopped.
    Stopping(Outcome),
    /// Nothing is left.
    Finished,
}

/// One version of the application: its mold, and the numbers its workers live by.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Generation {
    mold: MoldState,
    plan: Plan,
    /// When one of its workers was born last.
    #[serde(default)]
    born: Moment,
}

impl Generation {
    fn new(mold: MoldState, plan: Plan) -> Self {
        Self { mold, plan, born: Moment::default() }
    }

    fn mold_ready(&self) -> bool {
        matches!(self.mold.state(), mold_state::State::Ready { .. })
    }
}

/// One worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Worker {
    /// The slot it was made for.
    slot: u16,
    generation: GenerationId,
    state: WorkerState,
}

/// What a worker is, for those who only look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerView {
    pub(crate) slot: u16,
    pub(crate) generation: GenerationId,
    pub(crate) state: worker_state::State,
}

/// Generations and slots together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    stage: Stage,
    generations: BTreeMap<GenerationId, Generation>,
    /// The generation that crashed workers are replaced from.
    serving: GenerationId,
    slots: Vec<Slot>,
    /// All that live, those on their way out included.
    workers: BTreeMap<WorkerId, Worker>,
    workers_made: WorkerId,
    generations_made: GenerationId,
    restart: Option<Restart>,
    /// Asked for during a restart: begun when that is over.
    queued: Option<Kind>,
    tickets: Ticket,
}

impl Fleet {
    /// The first generation, nothing of which is there yet.
    pub(crate) fn new(plan: Plan, now: Moment) -> Self {
        let serving = 1;
        let generation = Generation::new(MoldState::new(plan.mold_limits(), now), plan);
        let mut fleet = Self {
            stage: Stage::Starting,
            generations: BTreeMap::from([(serving, generation)]),
            serving,
            slots: Vec::new(),
            workers: BTreeMap::new(),
            workers_made: 0,
            generations_made: serving,
            restart: None,
            queued: None,
            tickets: 0,
        };
        for _ in 0..plan.workers {
            fleet.add_slot(now);
        }
        fleet
    }

    /// Whether the fleet is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.stage, Stage::Stopping(_) | Stage::Finished)
    }

    /// Whether all slots have served at the same time.
    pub(crate) fn has_served(&self) -> bool {
        self.stage != Stage::Starting
    }

    /// The generation that serves when nothing is being changed.
    pub(crate) fn serving(&self) -> GenerationId {
        self.serving
    }

    /// Each generation with what its mold does.
    pub(crate) fn molds(&self) -> impl Iterator<Item = (GenerationId, mold_state::State)> {
        self.generations.iter().map(|(number, generation)| (*number, generation.mold.state()))
    }

    /// Every worker, in the order in which they were made.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (WorkerId, WorkerView)> {
        self.workers.iter().map(|(id, worker)| (*id, worker.view()))
    }

    /// One worker.
    pub(crate) fn worker(&self, id: WorkerId) -> Option<WorkerView> {
        self.workers.get(&id).map(Worker::view)
    }

    /// How many slots there are to fill.
    pub(crate) fn slots_wanted(&self) -> u16 {
        u16::try_from(self.slots.len()).unwrap_or(u16::MAX)
    }

    /// When [`Event::Tick`] next matters.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let workers = self
            .workers
            .values()
            .filter_map(|worker| worker.state.deadline(self.mold_ready(worker.generation)));
        let molds = self.generations.values().filter_map(|generation| generation.mold.deadline());
        let restart = self.restart.as_ref().and_then(Restart::deadline);
        workers.chain(molds).chain(restart).min()
    }

    /// Applies `event`; what must be done is appended to `actions`, in order.
    pub(crate) fn on(&mut self, event: Event, now: Moment, actions: &mut Vec<Action>) {
        if self.stage == Stage::Finished {
            return;
        }
        match event {
            Event::MoldLoaded(generation) => {
                self.tell_mold(generation, mold_state::Event::Loaded, now, actions);
                self.tell_workers(worker_state::Event::MoldReady, now, actions);
                self.restart_loaded(generation);
            }
            Event::MoldExited(generation, failure) => {
                self.on_mold_exit(generation, failure, now, actions);
            }
            Event::Worker(id, event) => self.tell(id, event, now, actions),
            Event::WorkerExited { worker, clean, failure } => {
                self.tell(worker, worker_state::Event::Exited { clean }, now, actions);
                self.on_failure_of(worker, failure, now, actions);
            }
            Event::Proved => self.restart_proved(actions),
            Event::NotProved(failure) => self.fail_restart(failure, now, actions),
            Event::Recycle(worker) => self.recycle(worker, now),
            Event::Workers(change) => self.change_workers(change, now, actions),
            Event::StopGracefully => self.stop(Outcome::Stopped, now, actions),
            Event::StopNow => {
                self.stop(Outcome::Stopped, now, actions);
                self.tell_workers(worker_state::Event::KillRequested, now, actions);
                self.tell_molds(mold_state::Event::StopNowRequested, now, actions);
            }
            Event::Tick => {
                self.tick_restart(now, actions);
                self.tell_molds(mold_state::Event::Tick, now, actions);
                self.tell_workers(worker_state::Event::Tick, now, actions);
                for worker in self.worker_ids() {
                    self.on_failure_of(worker, None, now, actions);
                }
            }
        }
        self.settle(now, actions);
    }

    /// Moves everything on that has become possible.
    fn settle(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.bury(actions);
        if self.is_stopping() {
            self.dismiss_molds(now, actions);
        } else {
            self.take_over(now, actions);
            self.advance_restart(now, actions);
            self.replace_orphans(now, actions);
            // What became possible just now is done in the same step, not at the next tick.
            self.tell_molds(mold_state::Event::Tick, now, actions);
            self.tell_workers(worker_state::Event::Tick, now, actions);
        }
        self.bury(actions);
        // A fleet without slots (`--check`) has got there when the application is loaded.
        let all_serve = self.slots.iter().all(|slot| self.is_served(slot));
        if self.stage == Stage::Starting
            && all_serve
            && (!self.slots.is_empty() || self.mold_ready(self.serving))
        {
            self.stage = Stage::Serving;
            actions.push(Action::AnnounceServing);
            self.advance_restart(now, actions);
        }
        let all_gone = self.generations.is_empty() && self.workers.is_empty();
        if all_gone && let Stage::Stopping(outcome) = &self.stage {
            actions.push(Action::Finish(outcome.clone()));
            self.stage = Stage::Finished;
        }
    }

    /// Forgets the workers and generations of which nothing is left.
    fn bury(&mut self, actions: &mut Vec<Action>) {
        self.workers.retain(|_, worker| worker.state.state() != worker_state::State::Gone);
        let workers = &self.workers;
        self.generations.retain(|number, generation| {
            let is_left = generation.mold.state() != mold_state::State::Gone
                || workers.values().any(|worker| worker.generation == *number);
            if !is_left {
                actions.push(Action::Forget(*number));
            }
            is_left
        });
    }

    fn tell_molds(&mut self, event: mold_state::Event, now: Moment, actions: &mut Vec<Action>) {
        let numbers: Vec<GenerationId> = self.generations.keys().copied().collect();
        for number in numbers {
            self.tell_mold(number, event, now, actions);
        }
    }

    fn tell_mold(
        &mut self,
        number: GenerationId,
        event: mold_state::Event,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(generation) = self.generations.get_mut(&number) else { return };
        actions.extend(generation.mold.on(event, now).map(|action| match action {
            mold_state::Action::Spawn => Action::SpawnMold(number),
            mold_state::Action::Dismiss => Action::DismissMold(number),
            mold_state::Action::Kill => Action::KillMold(number),
        }));
    }

    fn tell_workers(&mut self, event: worker_state::Event, now: Moment, actions: &mut Vec<Action>) {
        for id in self.worker_ids() {
            self.tell(id, event, now, actions);
        }
    }

    fn tell(
        &mut self,
        id: WorkerId,
        event: worker_state::Event,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        use worker_state::State;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let generation = self.generations.get(&worker.generation);
        let mold_ready = generation.is_some_and(Generation::mold_ready);
        let before = worker.state.state();
        actions.extend(worker.state.on(event, mold_ready, now).map(|action| match action {
            worker_state::Action::AskForFork => Action::AskForFork(id),
            worker_state::Action::Drain(manner) => Action::Drain(id, manner),
            worker_state::Action::AskForConfession { pid, why } => {
                Action::AskForConfession(id, pid, why)
            }
            worker_state::Action::Kill { pid, why } => Action::Kill(id, pid, why),
        }));
        let (after, number) = (worker.state.state(), worker.generation);
        if before == after {
            return;
        }
        let has_ended = matches!(event, worker_state::Event::Exited { .. });
        if after == State::Gone && !has_ended {
            actions.push(Action::Disown(id));
        }
        self.heed_birth(number, (before, event), now, actions);
    }

    fn mold_ready(&self, number: GenerationId) -> bool {
        self.generations.get(&number).is_some_and(Generation::mold_ready)
    }

    fn worker_ids(&self) -> Vec<WorkerId> {
        self.workers.keys().copied().collect()
    }
}

impl Worker {
    fn view(&self) -> WorkerView {
        WorkerView { slot: self.slot, generation: self.generation, state: self.state.state() }
    }
}
