//! Slots: which worker has which place, and how one takes over from another.
//!
//! A slot never empties on purpose: its worker goes only when a successor serves. This one rule
//! makes restarts, recycling and the way back from a failed restart lose nothing.

use serde::{Deserialize, Serialize};

use super::{Action, Fleet, GenerationId, Worker, WorkerId};
use crate::{
    http::Manner,
    master::{moment::Moment, worker_state},
};

/// One worker's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Who has it; `None` while the first one is on its way.
    pub(super) current: Option<WorkerId>,
    /// Who will have it as soon as it serves.
    pub(super) successor: Option<WorkerId>,
}

/// Another number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WorkersChange {
    /// So many more.
    More(u16),
    /// So many fewer, but no fewer than `least`.
    Fewer {
        /// How many go.
        by: u16,
        /// How many stay at least.
        least: u16,
    },
    /// Exactly so many.
    Exactly(u16),
}

impl Fleet {
    /// A worker of `generation` for the slot with this number.
    pub(super) fn make_worker(
        &mut self,
        slot: u16,
        generation: GenerationId,
        now: Moment,
    ) -> Option<WorkerId> {
        let limits = self.generations.get(&generation)?.plan.worker_limits();
        self.workers_made += 1;
        let state = worker_state::WorkerState::new(limits, now);
        self.workers.insert(self.workers_made, Worker { slot, generation, state });
        Some(self.workers_made)
    }

    /// One slot more, filled by the serving generation.
    pub(super) fn add_slot(&mut self, now: Moment) {
        let current = self.make_worker(self.slots_wanted(), self.serving, now);
        self.slots.push(Slot { current, successor: None });
    }

    /// The last slot goes, with whoever has it.
    fn remove_slot(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots.pop() else { return };
        for worker in [slot.current, slot.successor].into_iter().flatten() {
            self.see_off(worker, Manner::Gently, now, actions);
        }
    }

    pub(super) fn see_off(
        &mut self,
        worker: WorkerId,
        manner: Manner,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.tell(worker, worker_state::Event::DrainRequested(manner), now, actions);
    }

    pub(super) fn change_workers(
        &mut self,
        change: WorkersChange,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if self.is_stopping() {
            return;
        }
        let count = self.slots_wanted();
        let wanted = match change {
            WorkersChange::More(by) => count.saturating_add(by),
            WorkersChange::Fewer { by, least } => count.saturating_sub(by).max(least).min(count),
            WorkersChange::Exactly(wanted) => wanted,
        };
        self.plan_restart_for(wanted);
        self.resize(wanted, now, actions);
    }

    pub(super) fn resize(&mut self, wanted: u16, now: Moment, actions: &mut Vec<Action>) {
        while self.slots_wanted() < wanted {
            self.add_slot(now);
        }
        while self.slots_wanted() > wanted {
            self.remove_slot(now, actions);
        }
    }

    /// Starts a successor for a worker that is to go; one at a time, and not during a restart,
    /// which replaces everybody anyway.
    pub(super) fn recycle(&mut self, worker: WorkerId, now: Moment) {
        let is_free =
            self.restart.is_none() && self.slots.iter().all(|slot| slot.successor.is_none());
        let Some(place) = self.slots.iter().position(|slot| slot.current == Some(worker)) else {
            return;
        };
        if is_free && !self.is_stopping() && self.is_served(&self.slots[place]) {
            self.start_successor(place, self.serving, now);
        }
    }

    pub(super) fn start_successor(&mut self, place: usize, of: GenerationId, now: Moment) {
        let number = u16::try_from(place).unwrap_or(u16::MAX);
        self.slots[place].successor = self.make_worker(number, of, now);
    }

    /// Lets every successor that serves take its slot, and sees off whoever had it.
    pub(super) fn take_over(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for place in 0..self.slots.len() {
            let Some(successor) = self.slots[place].successor else { continue };
            if !self.workers.get(&successor).is_some_and(|worker| worker.state.is_ready()) {
                continue;
            }
            let former = self.slots[place].current.replace(successor);
            self.slots[place].successor = None;
            match former {
                Some(former) if self.promotes(former) => self.promote(former, now, actions),
                Some(former) => self.see_off(former, Manner::Gently, now, actions),
                None => {}
            }
        }
    }

    pub(super) fn is_served(&self, slot: &Slot) -> bool {
        slot.current
            .and_then(|worker| self.workers.get(&worker))
            .is_some_and(|worker| worker.state.is_ready())
    }

    pub(super) fn generation_of(&self, worker: Option<WorkerId>) -> Option<GenerationId> {
        worker.and_then(|worker| self.workers.get(&worker)).map(|worker| worker.generation)
    }

    /// Workers that have no slot any more.
    pub(super) fn leaving(&self) -> Vec<WorkerId> {
        let has_slot = |worker: &WorkerId| {
            let worker = Some(*worker);
            self.slots.iter().any(|slot| slot.current == worker || slot.successor == worker)
        };
        self.workers.keys().copied().filter(|worker| !has_slot(worker)).collect()
    }
}
