//! The part of a restart that touches the slots: to the next generation, and back.

use super::{
    Action, Fleet, GenerationId, Moment, Plan, mold_state,
    restart::{Restart, Step},
    slots::Slot,
};
use crate::{http::Manner, wire::Failure};

impl Fleet {
    /// A change of the number of slots during a restart holds after it too.
    pub(super) fn plan_restart_for(&mut self, workers: u16) {
        if let Some(Restart { stage: Step::Loading { to } | Step::Swapping { to }, .. }) =
            &self.restart
            && let Some(next) = self.generations.get_mut(to)
        {
            next.plan.workers = workers;
        }
    }

    /// Starts as many successors as may be under way, and ends the restart when all have taken
    /// over.
    pub(super) fn swap(&mut self, to: GenerationId, now: Moment, actions: &mut Vec<Action>) {
        let Some(Plan { workers, batch, .. }) = self.generations.get(&to).map(|next| next.plan)
        else {
            return;
        };
        while self.slots_wanted() < workers {
            self.slots.push(Slot::default());
        }
        let mut under_way = 0;
        let mut is_complete = true;
        for place in 0..usize::from(workers) {
            let slot = self.slots[place];
            if self.generation_of(slot.current) == Some(to) {
                continue;
            }
            is_complete = false;
            if under_way == batch.max(1) {
                break;
            }
            under_way += 1;
            if self.generation_of(slot.successor) == Some(to) {
                continue;
            }
            if let Some(unwanted) = slot.successor {
                self.see_off(unwanted, Manner::Promptly, now, actions);
            }
            self.start_successor(place, to, now);
        }
        if is_complete {
            self.commit(to, workers, now, actions);
        }
    }

    fn commit(&mut self, to: GenerationId, workers: u16, now: Moment, actions: &mut Vec<Action>) {
        let former = std::mem::replace(&mut self.serving, to);
        self.tell_mold(former, mold_state::Event::StopRequested, now, actions);
        self.resize(workers, now, actions);
        self.end_restart(Ok(to), now, actions);
        self.begin_queued(now, actions);
    }

    /// Gives the slots back to the serving generation; nobody goes before a successor serves.
    pub(super) fn revert(
        &mut self,
        from: GenerationId,
        failure: Failure,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let mut is_complete = true;
        for place in 0..self.slots.len() {
            let slot = self.slots[place];
            if self.generation_of(slot.successor) == Some(from) {
                self.slots[place].successor = None;
                if let Some(unwanted) = slot.successor {
                    self.see_off(unwanted, Manner::Promptly, now, actions);
                }
            }
            if self.generation_of(slot.current) != Some(from) {
                continue;
            }
            if self.is_served(&slot) {
                // Where the old code cannot be had any more, the new one has to do.
                if !self.is_forkable(self.serving) {
                    continue;
                }
                is_complete = false;
                if self.slots[place].successor.is_none() {
                    self.start_successor(place, self.serving, now);
                }
                continue;
            }
            // It serves nobody: nothing is lost when it goes first.
            if let Some(dead) = slot.current {
                self.see_off(dead, Manner::Promptly, now, actions);
            }
            let successor = self.slots[place].successor.take();
            let number = u16::try_from(place).unwrap_or(u16::MAX);
            self.slots[place].current =
                successor.or_else(|| self.make_worker(number, self.serving, now));
        }
        // Slots that only the new generation was to fill.
        self.slots.retain(|slot| slot.current.is_some());
        if is_complete {
            self.end_restart(Err(failure), now, actions);
            self.begin_queued(now, actions);
        }
    }

    /// Whether this generation's mold forks, or may well come back.
    fn is_forkable(&self, number: GenerationId) -> bool {
        self.generations.get(&number).is_some_and(|generation| match generation.mold.state() {
            mold_state::State::Ready { .. } => true,
            mold_state::State::Absent { failures, .. }
            | mold_state::State::Loading { failures, .. } => failures <= 1,
            mold_state::State::Promoting { .. } | mold_state::State::Killing { .. } => false,
            mold_state::State::Leaving { .. } | mold_state::State::Gone => false,
        })
    }

    /// A worker whose generation was given up, and which ended after all, is nobody's to replace:
    /// the serving generation fills its slot.
    pub(super) fn replace_orphans(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.restart.is_some() {
            return;
        }
        for place in 0..self.slots.len() {
            let slot = self.slots[place];
            let of = self.generation_of(slot.current);
            if self.is_served(&slot) || of.is_none() || of == Some(self.serving) {
                continue;
            }
            if let Some(orphan) = slot.current {
                self.see_off(orphan, Manner::Promptly, now, actions);
            }
            let number = u16::try_from(place).unwrap_or(u16::MAX);
            self.slots[place].current = self.make_worker(number, self.serving, now);
        }
    }
}
