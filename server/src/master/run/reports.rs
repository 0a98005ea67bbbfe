//! What children say, and how they end.

use std::ops::ControlFlow;

use rackrs_sys::process::{self, Exit};

use super::{Announce, Event, Master, Outcome};
use crate::{
    master::{
        children::{Ended, Report, Worker},
        fleet::{GenerationId, WorkerId},
        moment::Moment,
        worker_state::{self, State},
    },
    wire::{Failure, FromMold, FromWorker, ToMold},
};

impl<A: Announce> Master<'_, A> {
    pub(super) fn on_report(&mut self, report: Report) -> ControlFlow<Outcome> {
        match report {
            Report::Mold(generation, birth, Some(message)) => {
                if self.children.is_mold(generation, birth) {
                    return self.on_mold(generation, message);
                }
            }
            // Of its end, SIGCHLD tells more.
            Report::Mold(_, _, None) => {}
            Report::Worker(worker, birth, message) => {
                if self.children.is_worker(worker, birth) {
                    return self.on_worker(worker, message);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn on_mold(&mut self, generation: GenerationId, message: FromMold) -> ControlFlow<Outcome> {
        match message {
            FromMold::Loaded { ruby, rack } => {
                if let Some(mold) = self.children.molds.get(&generation) {
                    self.events.loaded(&ruby, &rack, mold.started.elapsed());
                }
                self.apply(Event::MoldLoaded(generation))
            }
            FromMold::Failed(failure) => {
                self.children.mold_failed(generation, failure);
                ControlFlow::Continue(())
            }
            FromMold::ForkFailed { worker, reason } => {
                let slot = self.slot_of(worker);
                self.events.failure(&format!("cannot fork worker {slot}: {reason}"));
                self.apply(Event::Worker(worker, worker_state::Event::ForkFailed))
            }
        }
    }

    fn on_worker(&mut self, id: WorkerId, message: Option<FromWorker>) -> ControlFlow<Outcome> {
        match message {
            Some(FromWorker::Forked { pid }) => {
                let ended = self.children.worker_spoke(id, pid);
                self.apply(Event::Worker(id, worker_state::Event::Forked { pid }))?;
                let Some(exit) = ended else { return ControlFlow::Continue(()) };
                self.hear_last_words(pid)?;
                self.on_exit(pid, exit)
            }
            Some(FromWorker::Ready) => {
                if let Some(worker) = self.children.workers.get(&id)
                    && let Some(pid) = worker.pid
                {
                    let took = worker.asked.elapsed();
                    self.events.worker_booted(worker.slot, pid, worker.generation, took);
                }
                self.apply(Event::Worker(id, worker_state::Event::ReportedReady))
            }
            Some(FromWorker::Failed(failure)) => {
                self.children.worker_failed(id, failure);
                ControlFlow::Continue(())
            }
            Some(FromWorker::Confessed) => {
                self.apply(Event::Worker(id, worker_state::Event::Confessed))
            }
            Some(FromWorker::Backtraces { text }) => {
                self.heard_backtraces(id, text);
                ControlFlow::Continue(())
            }
            // Of a worker that has spoken, SIGCHLD tells more.
            None => self.apply(Event::Worker(id, worker_state::Event::Lost)),
        }
    }

    pub(super) fn reap(&mut self) -> ControlFlow<Outcome> {
        loop {
            match process::reap_any() {
                Ok(Some((pid, exit))) => {
                    self.hear_last_words(pid.as_raw())?;
                    self.on_exit(pid.as_raw(), exit)?;
                }
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => {
                    self.events.error(&error);
                    return ControlFlow::Continue(());
                }
            }
        }
    }

    /// Handles what a child said before it ended: SIGCHLD may overtake its messages.
    fn hear_last_words(&mut self, pid: i32) -> ControlFlow<Outcome> {
        while let Ok(report) = self.reports.try_recv() {
            self.on_report(report)?;
        }
        for report in self.children.last_words(pid) {
            self.on_report(report)?;
        }
        ControlFlow::Continue(())
    }

    fn on_exit(&mut self, pid: i32, exit: Exit) -> ControlFlow<Outcome> {
        match self.children.ended(pid, exit) {
            None => ControlFlow::Continue(()),
            Some(Ended::Mold { generation, pid, exit, failure }) => {
                self.on_mold_exit(generation, pid, exit, failure)
            }
            Some(Ended::Worker { id, worker, pid, exit }) => {
                self.on_worker_exit(id, worker, pid, exit)
            }
        }
    }

    fn on_mold_exit(
        &mut self,
        generation: GenerationId,
        pid: i32,
        exit: Exit,
        failure: Option<Failure>,
    ) -> ControlFlow<Outcome> {
        // The failure of a start or restart is its outcome, which is told once, at the end.
        let is_serving = self.fleet.has_served() && generation == self.fleet.serving();
        if is_serving && !self.fleet.is_stopping() {
            match &failure {
                Some(failure) => self.events.failure(&failure.reason),
                None => self.events.mold_exited(pid, exit),
            }
        }
        let failure = failure.unwrap_or_else(|| Failure {
            reason: format!(
                "cannot load the application: the process that loads it {exit}, without a word; \
                 look above for its output"
            ),
            status: status_of(exit).max(1),
        });
        self.apply(Event::MoldExited(generation, failure))
    }

    fn on_worker_exit(
        &mut self,
        id: WorkerId,
        worker: Worker,
        pid: i32,
        exit: Exit,
    ) -> ControlFlow<Outcome> {
        let Worker { slot, generation, failure, row, .. } = worker;
        if let Some(failure) = &failure {
            self.events.failure(&failure.reason);
        }
        let state = self.fleet.worker(id).map(|view| view.state);
        // One that is asked for its confession may find that it can leave by itself after all.
        let is_expected = matches!(
            state,
            Some(State::Draining { .. } | State::Confessing { .. } | State::Killing { .. }) | None
        );
        if !self.fleet.is_stopping() && !is_expected {
            self.events.worker_exited(slot, pid, exit);
            self.log_row(slot, pid, row);
        }
        self.children.rows.give_back(row);
        self.forget_listening_to(id);
        let status = i32::from(status_of(exit));
        self.tell_mold(generation, &ToMold::WorkerExited { slot, pid, status });
        self.apply(Event::WorkerExited { worker: id, clean: exit == Exit::Code(0), failure })
    }

    /// Logs what a worker has in hand.
    pub(super) fn log_in_hand(&self, id: WorkerId) {
        if let Some(worker) = self.children.workers.get(&id)
            && let Some(pid) = worker.pid
        {
            self.log_row(worker.slot, pid, worker.row);
        }
    }

    fn log_row(&self, slot: u16, pid: i32, row: usize) {
        let requests = self.children.rows.get(row).map(|row| row.in_hand()).unwrap_or_default();
        let now = Moment::now();
        for request in requests {
            let age = now.since(Moment::from_ms(request.began_ms));
            self.events.in_hand(slot, pid, &request.line, age);
        }
    }
}

/// The exit status as a shell tells it.
fn status_of(exit: Exit) -> u8 {
    match exit {
        Exit::Code(code) => u8::try_from(code).unwrap_or(1),
        Exit::Signal { signal, .. } => u8::try_from(128 + signal).unwrap_or(1),
    }
}
