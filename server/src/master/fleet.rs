//! The whole of what the master looks after, as one pure state machine: the mold and the slots.
//!
//! [`Fleet::on`] takes an [`Event`] and the time and appends [`Action`]s, which `run.rs` carries
//! out. Nothing here forks, signals or logs.

use std::time::{Duration, Instant};

use super::{
    mold_state::{self, MoldState},
    slot::{self, KillReason, Slot},
};
use crate::wire::Failure;

/// Workers of one slot that may fail in a row before a start is given up.
pub(crate) const START_FAILURES_MAX: u32 = 3;

/// sysexits(3): a failure that may pass.
const EX_TEMPFAIL: u8 = 75;

/// How far the master is.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// How the master ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was told to.
    Stopped,
    /// It never served.
    FailedToStart(Failure),
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The mold loaded the application.
    MoldLoaded,
    /// The mold's process ended; with the reason, should it be the end of a start.
    MoldExited(Failure),
    /// Something happened to a slot.
    Slot(u16, slot::Event),
    /// A worker's process ended; with what it said before, if it spoke.
    WorkerExited {
        /// The slot that it filled.
        slot: u16,
        /// Status 0.
        clean: bool,
        /// Why it gave up.
        failure: Option<Failure>,
    },
    /// Drain, then end.
    StopGracefully,
    /// End without draining.
    StopNow,
    /// Time has passed.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a mold process.
    SpawnMold,
    /// Close the mold's channel.
    DismissMold,
    /// Send the mold SIGKILL.
    KillMold,
    /// Make a channel and ask the mold for a worker in this slot.
    AskForFork(u16),
    /// Tell the worker of this slot to drain.
    Drain(u16),
    /// Send the worker of this slot SIGKILL.
    Kill(u16, i32, KillReason),
    /// All slots serve: write the pid file, tell whoever waits for the start.
    AnnounceServing,
    /// Nothing is left: end.
    Finish(Outcome),
}

/// Limits of mold and workers, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Loading of the application by the mold.
    pub(crate) load: Duration,
    /// From a worker's fork to its first accept.
    pub(crate) boot: Duration,
    /// From the order to drain to the end.
    pub(crate) drain: Duration,
}

/// How long a dismissed mold may take for its `at_exit` blocks before it is killed.
const MOLD_LEAVE_MAX: Duration = Duration::from_secs(5);

/// How much longer than its own limit a worker has before the master kills it: it must get the
/// chance to cut its connections and run its `at_exit` blocks itself.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// Mold and slots together.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    stage: Stage,
    mold: MoldState,
    slots: Vec<Slot>,
}

impl Fleet {
    /// A fleet of `workers` empty slots and a mold that is not there yet.
    pub(crate) fn new(workers: u16, limits: Limits, now: Instant) -> Self {
        let slot_limits = slot::Limits { boot: limits.boot, drain: limits.drain + DRAIN_GRACE };
        let mold_limits = mold_state::Limits { boot: limits.load, leave: MOLD_LEAVE_MAX };
        Self {
            stage: Stage::Starting,
            mold: MoldState::new(mold_limits, now),
            slots: (0..workers).map(|_| Slot::new(slot_limits, now)).collect(),
        }
    }

    /// Whether the fleet is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.stage, Stage::Stopping(_) | Stage::Finished)
    }

    /// Whether all slots have served at the same time.
    pub(crate) fn has_served(&self) -> bool {
        self.stage != Stage::Starting
    }

    /// When [`Event::Tick`] next matters.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let mold_ready = self.mold_ready();
        self.slots
            .iter()
            // A slot that waits for a mold is woken by the mold, not by time.
            .filter(|slot| mold_ready || !matches!(slot.state(), slot::State::Waiting { .. }))
            .filter_map(Slot::deadline)
            .chain(self.mold.deadline())
            .min()
    }

    /// Applies `event`; what must be done is appended to `actions`, in order.
    pub(crate) fn on(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        if self.stage == Stage::Finished {
            return;
        }
        match event {
            Event::MoldLoaded => {
                self.tell_mold(mold_state::Event::Loaded, now, actions);
                self.tell_all(slot::Event::MoldReady, now, actions);
            }
            Event::MoldExited(failure) => self.on_mold_exit(failure, now, actions),
            Event::Slot(number, event) => self.tell(number, event, now, actions),
            Event::WorkerExited { slot, clean, failure } => {
                self.tell(slot, slot::Event::Exited { clean }, now, actions);
                self.give_up_starting(slot, failure, now, actions);
            }
            Event::StopGracefully => self.stop(Outcome::Stopped, now, actions),
            Event::StopNow => {
                self.stop(Outcome::Stopped, now, actions);
                self.tell_all(slot::Event::KillRequested, now, actions);
            }
            Event::Tick => {
                self.tell_mold(mold_state::Event::Tick, now, actions);
                self.tell_all(slot::Event::Tick, now, actions);
                for number in 0..self.count() {
                    self.give_up_starting(number, None, now, actions);
                }
            }
        }
        self.settle(now, actions);
    }

    fn on_mold_exit(&mut self, failure: Failure, now: Instant, actions: &mut Vec<Action>) {
        let was_ready = self.mold_ready();
        let was_killed = matches!(self.mold.state(), mold_state::State::Killing { .. });
        self.tell_mold(mold_state::Event::Exited, now, actions);
        // Of a fork that the mold was asked for, the closing of its channel tells.
        if self.stage == Stage::Starting && !was_ready {
            let failure = if was_killed {
                let reason = "cannot load the application: it took longer than --load-timeout \
                              allows";
                Failure { reason: reason.into(), status: EX_TEMPFAIL }
            } else {
                failure
            };
            self.stop(Outcome::FailedToStart(failure), now, actions);
        }
    }

    /// Ends a start in which a slot keeps failing.
    fn give_up_starting(
        &mut self,
        number: u16,
        failure: Option<Failure>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let failures = self.slots[usize::from(number)].failures();
        if self.stage == Stage::Starting && failures >= START_FAILURES_MAX {
            let failure = failure.unwrap_or_else(|| Failure {
                reason: format!("cannot start worker {number}: it failed {failures} times"),
                status: 1,
            });
            self.stop(Outcome::FailedToStart(failure), now, actions);
        }
    }

    fn stop(&mut self, outcome: Outcome, now: Instant, actions: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        self.stage = Stage::Stopping(outcome);
        self.tell_all(slot::Event::StopRequested, now, actions);
        self.tell_mold(mold_state::Event::StopRequested, now, actions);
    }

    /// Moves the stage on when the parts have got there.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // A fleet without slots (`--check`) has got there when the application is loaded.
        let all_serve =
            self.slots.iter().all(|slot| matches!(slot.state(), slot::State::Ready { .. }));
        if self.stage == Stage::Starting
            && all_serve
            && (!self.slots.is_empty() || self.mold_ready())
        {
            self.stage = Stage::Serving;
            actions.push(Action::AnnounceServing);
        }
        // A slot that became empty is filled in the same step, not at the next tick.
        if !self.is_stopping() {
            self.tell_all(slot::Event::Tick, now, actions);
            self.tell_mold(mold_state::Event::Tick, now, actions);
        }
        let all_gone = self.mold.state() == mold_state::State::Gone
            && self.slots.iter().all(|slot| slot.state() == slot::State::Gone);
        if all_gone && let Stage::Stopping(outcome) = &self.stage {
            actions.push(Action::Finish(outcome.clone()));
            self.stage = Stage::Finished;
        }
    }

    fn tell_mold(&mut self, event: mold_state::Event, now: Instant, actions: &mut Vec<Action>) {
        actions.extend(self.mold.on(event, now).map(|action| match action {
            mold_state::Action::Spawn => Action::SpawnMold,
            mold_state::Action::Dismiss => Action::DismissMold,
            mold_state::Action::Kill => Action::KillMold,
        }));
    }

    fn tell_all(&mut self, event: slot::Event, now: Instant, actions: &mut Vec<Action>) {
        for number in 0..self.count() {
            self.tell(number, event, now, actions);
        }
    }

    fn tell(&mut self, number: u16, event: slot::Event, now: Instant, actions: &mut Vec<Action>) {
        let mold_ready = self.mold_ready();
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        actions.extend(slot.on(event, mold_ready, now).map(|action| match action {
            slot::Action::AskForFork => Action::AskForFork(number),
            slot::Action::Drain => Action::Drain(number),
            slot::Action::Kill { pid, why } => Action::Kill(number, pid, why),
        }));
    }

    fn mold_ready(&self) -> bool {
        matches!(self.mold.state(), mold_state::State::Ready { .. })
    }

    fn count(&self) -> u16 {
        u16::try_from(self.slots.len()).expect("made from a u16")
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
