//! A restart: the transaction from one generation to the next.
//!
//! ```text
//! Proving ─► Becoming ─► Loading ─► Swapping ─► ended, the new generation serves
//!    │           │          │          │
//!    └───────────┴──────────┴──────────┴─► Reverting ─► ended, the old one goes on
//! ```
//!
//! USR2 goes through all stages; a phased restart begins with Loading; a refork with Replacing, in
//! which the worker that becomes the mold gets a successor. Whatever fails, the old generation has
//! its mold and its workers until the new one has every slot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Action, Fleet, Generation, GenerationId, MoldState, Moment, Plan, Stage, WorkerId, mold_state,
};
use crate::{http::Manner, wire::Failure};

/// How long a new program may take to show that it can take over.
pub(super) const PROOF_MAX: Duration = Duration::from_secs(20);

/// sysexits(3): a failure that may pass.
const EX_TEMPFAIL: u8 = 75;

/// The number of a restart, counted from 1 over the life of the master.
pub(crate) type Ticket = u64;

/// What is made new. A later one here includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The mold, from a warm worker (Puma's URG).
    Refork,
    /// Mold and workers (Puma's USR1).
    Phased,
    /// The program, its configuration, mold and workers (USR2).
    Full,
}

impl Kind {
    /// As it is called in logs and statistics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refork => "refork",
            Self::Phased => "phased restart",
            Self::Full => "restart",
        }
    }
}

/// How a restart ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestartEnd {
    pub(crate) ticket: Ticket,
    pub(crate) kind: Kind,
    pub(crate) took: Duration,
    /// The generation that serves now, or why the old one goes on.
    pub(crate) result: Result<GenerationId, Failure>,
}

/// A restart under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Restart {
    pub(crate) ticket: Ticket,
    pub(crate) kind: Kind,
    pub(crate) began: Moment,
    pub(super) stage: Step,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// The new program shows in a child that it can take over.
    Proving { deadline: Moment },
    /// This process becomes the new program.
    Becoming,
    /// This worker gets a successor, then becomes the mold.
    Replacing { worker: WorkerId },
    /// The mold of this generation loads the application.
    Loading { to: GenerationId },
    /// Workers of this generation take over, slot by slot.
    Swapping { to: GenerationId },
    /// The slots that this generation had taken are given back.
    Reverting { from: GenerationId, failure: Failure },
}

impl Restart {
    /// In a word, for the statistics.
    pub(crate) fn stage_name(&self) -> &'static str {
        match self.stage {
            Step::Proving { .. } => "proving",
            Step::Becoming => "becoming",
            Step::Replacing { .. } => "replacing",
            Step::Loading { .. } => "loading",
            Step::Swapping { .. } => "swapping",
            Step::Reverting { .. } => "reverting",
        }
    }

    /// Whether this generation is the one that it brings, and may fail it.
    pub(super) fn is_for(&self, generation: GenerationId) -> bool {
        match self.stage {
            Step::Loading { to } | Step::Swapping { to } => to == generation,
            Step::Proving { .. } | Step::Becoming => false,
            Step::Replacing { .. } | Step::Reverting { .. } => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.stage {
            Step::Proving { deadline } => Some(deadline),
            Step::Becoming | Step::Replacing { .. } => None,
            Step::Loading { .. } | Step::Swapping { .. } | Step::Reverting { .. } => None,
        }
    }
}

impl Fleet {
    /// The restart under way.
    pub(crate) fn restart(&self) -> Option<&Restart> {
        self.restart.as_ref()
    }

    /// The number of the restart that waits for its turn.
    pub(crate) fn queued_restart(&self) -> Option<Ticket> {
        self.queued.map(|_| self.tickets)
    }

    /// Asks for a restart: begun at once, or when the present one is over; of several that wait,
    /// one remains, the most thorough. Tells its number; `None` when the fleet stops.
    pub(crate) fn ask_for_restart(
        &mut self,
        kind: Kind,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Option<Ticket> {
        if self.is_stopping() {
            return None;
        }
        if self.queued.is_none() {
            self.tickets += 1;
        }
        self.queued = self.queued.max(Some(kind));
        self.settle(now, actions);
        Some(self.tickets)
    }

    /// In the new program: brings the generation of its configuration.
    pub(crate) fn become_done(&mut self, plan: Plan, now: Moment, actions: &mut Vec<Action>) {
        let is_becoming =
            self.restart.as_ref().is_some_and(|restart| restart.stage == Step::Becoming);
        if is_becoming {
            self.load(plan, now);
            self.settle(now, actions);
        }
    }

    /// Begins with the mold of a new generation.
    fn load(&mut self, plan: Plan, now: Moment) {
        self.generations_made += 1;
        let to = self.generations_made;
        let mold = MoldState::new(plan.mold_limits(), now);
        self.generations.insert(to, Generation::new(mold, plan));
        self.step(Step::Loading { to });
    }

    fn step(&mut self, stage: Step) {
        if let Some(restart) = &mut self.restart {
            restart.stage = stage;
        }
    }

    pub(super) fn restart_proved(&mut self, actions: &mut Vec<Action>) {
        if let Some(Restart { stage: stage @ Step::Proving { .. }, .. }) = &mut self.restart {
            *stage = Step::Becoming;
            actions.push(Action::Become);
        }
    }

    pub(super) fn restart_loaded(&mut self, generation: GenerationId) {
        if let Some(Restart { stage: stage @ Step::Loading { .. }, .. }) = &mut self.restart
            && *stage == (Step::Loading { to: generation })
        {
            *stage = Step::Swapping { to: generation };
        }
    }

    pub(super) fn tick_restart(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let deadline = self.restart.as_ref().and_then(Restart::deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            actions.push(Action::KillProof);
            let reason = format!(
                "cannot restart: the new program did not show within {} s that it can take over",
                PROOF_MAX.as_secs()
            );
            self.fail_restart(Failure { reason, status: EX_TEMPFAIL }, now, actions);
        }
    }

    /// The new generation is given up; what it had taken is given back first.
    pub(super) fn fail_restart(
        &mut self,
        failure: Failure,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(restart) = &self.restart else { return };
        match restart.stage {
            Step::Proving { .. } | Step::Becoming | Step::Replacing { .. } => {
                self.end_restart(Err(failure), now, actions);
            }
            Step::Loading { to: from } | Step::Swapping { to: from } => {
                self.step(Step::Reverting { from, failure });
                self.tell_mold(from, mold_state::Event::StopRequested, now, actions);
            }
            Step::Reverting { .. } => {}
        }
    }

    /// The fleet stops: so does its restart.
    pub(super) fn cancel_restart(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.queued = None;
        if matches!(&self.restart, Some(Restart { stage: Step::Proving { .. }, .. })) {
            actions.push(Action::KillProof);
        }
        let reason = "the restart was given up: the server was told to stop".to_owned();
        self.end_restart(Err(Failure { reason, status: EX_TEMPFAIL }), now, actions);
    }

    pub(super) fn end_restart(
        &mut self,
        result: Result<GenerationId, Failure>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(Restart { ticket, kind, began, .. }) = self.restart.take() else { return };
        let took = now.since(began);
        actions.push(Action::RestartEnded(RestartEnd { ticket, kind, took, result }));
    }

    /// Does whatever the restart is ready for.
    pub(super) fn advance_restart(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let stage = self.restart.as_ref().map(|restart| restart.stage.clone());
        match stage {
            None => self.begin_queued(now, actions),
            Some(Step::Replacing { worker }) => self.check_replacement(worker, now, actions),
            Some(Step::Swapping { to }) => self.swap(to, now, actions),
            Some(Step::Reverting { from, failure }) => self.revert(from, failure, now, actions),
            Some(Step::Proving { .. } | Step::Becoming | Step::Loading { .. }) => {}
        }
    }

    /// Begins the restart that waits, once the generation before the last has gone: there are
    /// never more than two at a time, so the memory has a bound.
    pub(super) fn begin_queued(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(kind) = self.queued else { return };
        if self.stage != Stage::Serving {
            return;
        }
        let leaving = self.leaving();
        if !leaving.is_empty() {
            for worker in leaving {
                self.see_off(worker, Manner::Promptly, now, actions);
            }
            return;
        }
        let molds = self.generations.values().map(|generation| generation.mold.state());
        if molds.filter(|mold| *mold != mold_state::State::Gone).count() > 1 {
            // A mold that has been dismissed is on its way out.
            return;
        }
        self.queued = None;
        let stage = Step::Proving { deadline: now + PROOF_MAX };
        self.restart = Some(Restart { ticket: self.tickets, kind, began: now, stage });
        actions.push(Action::RestartBegun(self.tickets, kind));
        match kind {
            Kind::Full => actions.push(Action::Prove),
            Kind::Phased => {
                if let Some(generation) = self.generations.get(&self.serving) {
                    let workers = self.slots_wanted();
                    let plan = Plan { workers, ..generation.plan };
                    self.load(plan, now);
                }
            }
            Kind::Refork => self.begin_refork(now, actions),
        }
    }

    fn begin_refork(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(place) = self.slots.iter().position(|slot| self.is_served(slot)) else {
            let reason = "cannot refork: no worker serves that could become the mold".to_owned();
            return self.fail_restart(Failure { reason, status: EX_TEMPFAIL }, now, actions);
        };
        if let Some(successor) = self.slots[place].successor.take() {
            // It was being recycled; now it goes for another reason.
            self.see_off(successor, Manner::Promptly, now, actions);
        }
        if let Some(worker) = self.slots[place].current {
            self.step(Step::Replacing { worker });
            self.check_replacement(worker, now, actions);
        }
    }

    /// The worker that is to become the mold may die before it has a successor.
    fn check_replacement(&mut self, worker: WorkerId, now: Moment, actions: &mut Vec<Action>) {
        let place = self.slots.iter().position(|slot| slot.current == Some(worker));
        let Some(place) = place.filter(|place| self.is_served(&self.slots[*place])) else {
            let reason = "cannot refork: the worker that was to become the mold ended".to_owned();
            return self.fail_restart(Failure { reason, status: EX_TEMPFAIL }, now, actions);
        };
        let successor = self.slots[place].successor.and_then(|id| self.workers.get(&id));
        let has_failed = successor.is_some_and(|successor| successor.state.failures() > 0);
        // It would wait for a mold that perhaps never comes, and every later restart with it.
        if !self.mold_ready(self.serving) || has_failed {
            let reason = "cannot refork: no worker can be forked for the place of the one that is \
                          to become the mold"
                .to_owned();
            return self.fail_restart(Failure { reason, status: EX_TEMPFAIL }, now, actions);
        }
        if self.slots[place].successor.is_none() {
            self.start_successor(place, self.serving, now);
        }
    }

    /// Whether this worker becomes the mold when its successor serves.
    pub(super) fn promotes(&self, worker: WorkerId) -> bool {
        self.restart.as_ref().is_some_and(|restart| restart.stage == (Step::Replacing { worker }))
    }

    /// The worker has a successor: it becomes the mold of the next generation.
    pub(super) fn promote(&mut self, worker: WorkerId, now: Moment, actions: &mut Vec<Action>) {
        let Some(serving) = self.generations.get(&self.serving) else { return };
        let plan = Plan { workers: self.slots_wanted(), ..serving.plan };
        self.workers.remove(&worker);
        self.generations_made += 1;
        let to = self.generations_made;
        // It finishes what it holds before it is a mold.
        let limit = plan.worker_limits().drain + plan.load;
        let mold = MoldState::promoted(plan.mold_limits(), limit, now);
        self.generations.insert(to, Generation::new(mold, plan));
        self.step(Step::Loading { to });
        actions.push(Action::Promote(worker, to));
    }
}
