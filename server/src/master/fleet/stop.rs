//! Stopping: workers finish first, and their mold goes last, with the hooks that come at the end.

use super::{Action, Fleet, GenerationId, Moment, Outcome, Stage, mold_state, worker_state};
use crate::http::Manner;

impl Fleet {
    pub(super) fn stop(&mut self, outcome: Outcome, now: Moment, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        self.stage = Stage::Stopping(outcome);
        self.cancel_restart(now, actions);
        let drain = worker_state::Event::DrainRequested(Manner::Promptly);
        self.tell_workers(drain, now, actions);
        self.dismiss_molds(now, actions);
    }

    /// Lets every mold go that has no worker left to hear of.
    pub(super) fn dismiss_molds(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_idle = |number: &GenerationId| {
            let is_left = |state| state != worker_state::State::Gone;
            let mut workers = self.workers.values();
            let awaits_workers =
                workers.any(|worker| worker.generation == *number && is_left(worker.state.state()));
            !(awaits_workers && self.mold_ready(*number))
        };
        let idle: Vec<GenerationId> = self.generations.keys().copied().filter(is_idle).collect();
        for number in idle {
            self.tell_mold(number, mold_state::Event::StopRequested, now, actions);
        }
    }
}
