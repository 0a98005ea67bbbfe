//! What the end of a process means for a start, which it ends, or for a restart, which it fails.

use super::{
    Action, Fleet, GenerationId, Moment, Outcome, Stage, WorkerId, mold_state, worker_state,
};
use crate::wire::Failure;

/// Processes of one worker that may fail in a row before a start is given up.
pub(super) const START_FAILURES_MAX: u32 = 3;

/// sysexits(3): a failure that may pass.
const EX_TEMPFAIL: u8 = 75;

impl Fleet {
    pub(super) fn on_mold_exit(
        &mut self,
        number: GenerationId,
        failure: Failure,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(generation) = self.generations.get(&number) else { return };
        let was_ready = generation.mold_ready();
        let was_killed = matches!(generation.mold.state(), mold_state::State::Killing { .. });
        self.tell_mold(number, mold_state::Event::Exited, now, actions);
        let failure = if was_killed {
            let reason = "cannot load the application, or fork it: it took longer than \
                          --load-timeout or --worker-boot-timeout allows"
                .to_owned();
            Failure { reason, status: EX_TEMPFAIL }
        } else {
            failure
        };
        // Of a fork that the mold was asked for, the closing of its channel tells.
        if self.stage == Stage::Starting && !was_ready {
            self.stop(Outcome::FailedToStart(failure), now, actions);
        } else if self.restart.as_ref().is_some_and(|restart| restart.is_for(number)) {
            self.fail_restart(failure, now, actions);
        }
    }

    /// Ends a start in which a worker keeps failing, and a restart in which one fails at all.
    pub(super) fn on_failure_of(
        &mut self,
        id: WorkerId,
        failure: Option<Failure>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (slot, failures) = (worker.slot, worker.state.failures());
        let is_new = self.restart.as_ref().is_some_and(|restart| restart.is_for(worker.generation));
        let failure = || {
            failure.unwrap_or_else(|| Failure {
                reason: format!("cannot start worker {slot}: it failed {failures} times"),
                status: 1,
            })
        };
        if self.stage == Stage::Starting && failures >= START_FAILURES_MAX {
            self.stop(Outcome::FailedToStart(failure()), now, actions);
        } else if is_new && failures > 0 {
            self.fail_restart(failure(), now, actions);
        }
    }

    /// A worker was born, or has not been in time. One mold forks for many, one after the other: it
    /// hangs only if nobody was born meanwhile.
    pub(super) fn heed_birth(
        &mut self,
        number: GenerationId,
        (before, event): (worker_state::State, worker_state::Event),
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        use worker_state::{Event, State};
        let Some(generation) = self.generations.get_mut(&number) else { return };
        if matches!(event, Event::Forked { .. }) {
            generation.born = now;
            return;
        }
        let is_late = matches!(before, State::Forking { .. } | State::Unwanted { .. })
            && event == Event::Tick;
        if is_late && generation.born + generation.plan.boot <= now {
            self.tell_mold(number, mold_state::Event::Hung, now, actions);
        }
    }
}
