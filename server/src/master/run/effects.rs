//! What the fleet wants done, done: the one place of effects.

use std::{ops::ControlFlow, rc::Rc};

use super::{
    Action, Announce, Announced, EX_OSERR, Event, GenerationId, Master, Outcome, WorkerId,
};
use crate::{
    config::Config,
    http::Manner,
    master::{
        children::ChildError,
        program,
        worker_state::{self, KillReason, State},
    },
    telemetry::chain,
    wire::{Failure, Orders, ToMold, ToWorker},
};

impl<A: Announce> Master<'_, A> {
    pub(super) fn carry_all_out(&mut self, actions: Vec<Action>) -> ControlFlow<Outcome> {
        for action in actions {
            tracing::debug!(?action, "master");
            self.carry_out(action)?;
        }
        ControlFlow::Continue(())
    }

    fn carry_out(&mut self, action: Action) -> ControlFlow<Outcome> {
        match action {
            Action::SpawnMold(generation) => return self.spawn_mold(generation),
            Action::DismissMold(generation) => {
                let restarted = !self.fleet.is_stopping();
                self.children.dismiss_mold(generation, restarted);
            }
            Action::KillMold(generation) => self.kill_mold(generation),
            Action::AskForFork(worker) => return self.ask_for_fork(worker),
            Action::Disown(worker) => self.children.disown(worker),
            Action::Drain(worker, manner) => self.drain(worker, manner),
            Action::AskForConfession(worker, pid, why) => {
                let slot = self.slot_of(worker);
                self.events.killing(&format_args!("worker {slot}"), pid, why.text());
                self.log_in_hand(worker);
                self.tell_worker(worker, &ToWorker::Confess);
                if let Some(view) = self.fleet.worker(worker) {
                    self.tell_mold(view.generation, &ToMold::WorkerTimeout { slot, pid });
                }
            }
            Action::Kill(worker, pid, why) => self.kill_worker(worker, pid, why),
            Action::Promote(worker, generation) => return self.promote(worker, generation),
            Action::Forget(generation) => {
                // Of the one that serves they are asked for to the very end: in a stop it may go
                // before one that was to follow it.
                if generation != self.fleet.serving() {
                    self.configs.remove(&generation);
                }
            }
            Action::Prove => return self.prove(),
            Action::KillProof => self.proof = None,
            Action::Become => self.becoming = true,
            Action::RestartBegun(ticket, kind) => {
                self.restarts.begin();
                self.events.restart_begun(kind.name(), ticket);
                self.manager.reloading();
            }
            Action::RestartEnded(end) => self.restart_ended(end),
            Action::AnnounceServing => return self.announce_serving(),
            Action::Finish(outcome) => return ControlFlow::Break(outcome),
        }
        ControlFlow::Continue(())
    }

    fn announce_serving(&mut self) -> ControlFlow<Outcome> {
        match self.announce.serving() {
            Announced::GoOn => {
                // A launcher that is the service's main process may go only when the manager knows
                // another.
                self.manager.ready(self.fleet.slots_wanted());
                self.announce.told_manager();
                self.tell_mold(self.fleet.serving(), &ToMold::Booted);
                ControlFlow::Continue(())
            }
            Announced::Stop => self.apply(Event::StopGracefully),
            Announced::Refuse(refusal) => {
                self.refusal = Some(refusal);
                self.apply(Event::StopGracefully)
            }
        }
    }

    fn spawn_mold(&mut self, generation: GenerationId) -> ControlFlow<Outcome> {
        let config = match self.configs.get(&generation) {
            Some(config) => Rc::clone(config),
            None => self.next_config.take().unwrap_or_else(|| Rc::clone(self.config())),
        };
        self.configs.insert(generation, Rc::clone(&config));
        self.events.loading();
        let orders = Orders {
            config: Config::clone(&config),
            program: self.invocation.program().to_string_lossy().into_owned(),
            master: std::process::id().cast_signed(),
            generation,
        };
        let environment = program::of_mold(&config, generation > 1);
        let listeners = self.listeners.descriptors(&config);
        match self.children.spawn_mold(orders, environment, &listeners) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let failure = Failure { reason: chain(&error), status: EX_OSERR };
                self.on_child_error(&error, Event::MoldExited(generation, failure))
            }
        }
    }

    fn kill_mold(&mut self, generation: GenerationId) {
        if !self.fleet.is_stopping()
            && self.fleet.has_served()
            && let Some(mold) = self.children.molds.get(&generation)
        {
            let reason = "it is not wanted, or did not load or fork in time";
            self.events.killing(&"the mold", mold.pid, reason);
        }
        self.children.kill_mold(generation);
    }

    fn ask_for_fork(&mut self, worker: WorkerId) -> ControlFlow<Outcome> {
        let Some(view) = self.fleet.worker(worker) else { return ControlFlow::Continue(()) };
        match self.children.ask_for_fork(worker, view.slot, view.generation) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.on_child_error(&error, Event::Worker(worker, worker_state::Event::ForkFailed))
            }
        }
    }

    fn promote(&mut self, worker: WorkerId, generation: GenerationId) -> ControlFlow<Outcome> {
        let config = Rc::clone(self.config());
        let listeners = self.listeners.descriptors(&config);
        let promoted = self.children.promote(worker, generation, &listeners);
        self.configs.insert(generation, config);
        match promoted {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let failure = Failure { reason: chain(&error), status: EX_OSERR };
                self.children.kill_mold(generation);
                self.on_child_error(&error, Event::MoldExited(generation, failure))
            }
        }
    }

    fn kill_worker(&mut self, worker: WorkerId, pid: i32, why: KillReason) {
        let text = match why {
            KillReason::BootTimeout => "it did not boot in time (--worker-boot-timeout)",
            KillReason::ShutdownTimeout => "it did not finish in time (--worker-shutdown-timeout)",
            // The line was written when it was asked for its confession.
            KillReason::Stuck(_) | KillReason::Asked => "",
        };
        if !text.is_empty() {
            let slot = self.slot_of(worker);
            self.events.killing(&format_args!("worker {slot}"), pid, text);
        }
        self.children.kill_worker(worker, pid);
    }

    fn drain(&self, worker: WorkerId, manner: Manner) {
        if let Some(view) = self.fleet.worker(worker)
            && let State::Draining { pid, .. } = view.state
            && manner == Manner::Gently
        {
            self.events.worker_leaving(view.slot, pid, view.generation);
        }
        self.tell_worker(worker, &ToWorker::Drain(manner));
    }

    pub(super) fn slot_of(&self, worker: WorkerId) -> u16 {
        self.fleet.worker(worker).map_or(0, |view| view.slot)
    }

    pub(super) fn tell_worker(&self, worker: WorkerId, message: &ToWorker) {
        if let Err(error) = self.children.tell_worker(worker, message) {
            // A worker that does not hear is killed at the end of its limit.
            self.events.error(&error);
        }
    }

    pub(super) fn tell_mold(&self, generation: GenerationId, message: &ToMold) {
        if let Err(error) = self.children.tell_mold(generation, message) {
            self.events.error(&error);
        }
    }

    fn on_child_error(&mut self, error: &ChildError, event: Event) -> ControlFlow<Outcome> {
        self.events.error(error);
        self.apply(event)
    }
}
