//! The master's loop: one queue of events, a pure decision, and the one place of effects.

use std::{ffi::OsString, ops::ControlFlow, time::Instant};

use rackrs_sys::process::{self, Exit};
use tokio::{sync::mpsc, time};

use super::{
    children::{ChildError, Children, Ended, Report},
    command::{Command, Commands, StopEnding},
    fleet::{Action, Event, Fleet, Limits, Outcome},
    listeners::Listeners,
    slot::{self, KillReason},
};
use crate::{
    config::Config,
    telemetry::events::Events,
    wire::{Failure, FromMold, FromWorker},
};

/// How the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoopEnd {
    pub(super) outcome: Outcome,
    pub(super) ending: StopEnding,
}

/// What is done once, when all workers serve.
pub(super) trait Announce {
    fn serving(&mut self) -> Announced;
}

/// What follows an announcement.
pub(super) enum Announced {
    /// Serve.
    GoOn,
    /// That was all that was wanted: stop.
    Stop,
    /// Stop, and call the start a failure (the pid file cannot be written).
    Refuse(Failure),
}

/// What a start is given beside the configuration.
pub(super) struct Start {
    /// How the user named the program.
    pub(super) program: OsString,
    /// How many slots; none for `--check`.
    pub(super) workers: u16,
}

/// The master while it runs.
pub(super) struct Master<'a, A> {
    config: &'a Config,
    listeners: Listeners,
    events: &'a Events,
    announce: A,
    fleet: Fleet,
    children: Children,
    reports: mpsc::Receiver<Report>,
    ending: StopEnding,
    /// A start that failed after all workers served, for want of a pid file.
    refusal: Option<Failure>,
}

impl<'a, A: Announce> Master<'a, A> {
    pub(super) fn new(
        config: &'a Config,
        listeners: Listeners,
        events: &'a Events,
        announce: A,
        start: Start,
    ) -> Self {
        let limits = Limits {
            load: config.limits.load_timeout,
            boot: config.limits.boot_timeout,
            drain: config.limits.shutdown_timeout,
        };
        let (children, reports) = Children::new(start.program);
        let fleet = Fleet::new(start.workers, limits, Instant::now());
        Self {
            config,
            listeners,
            events,
            announce,
            fleet,
            children,
            reports,
            ending: StopEnding::Success,
            refusal: None,
        }
    }

    /// Runs until nothing is left.
    pub(super) async fn run(mut self, mut commands: Commands) -> LoopEnd {
        let mut next = self.apply(Event::Tick);
        loop {
            if let ControlFlow::Break(outcome) = next {
                let outcome = match self.refusal.take() {
                    Some(refusal) => Outcome::FailedToStart(refusal),
                    None => outcome,
                };
                return LoopEnd { outcome, ending: self.ending };
            }
            let deadline = self.fleet.deadline();
            next = tokio::select! {
                command = commands.next() => self.on_command(command),
                Some(report) = self.reports.recv() => self.on_report(report),
                () = until(deadline) => self.apply(Event::Tick),
            };
        }
    }

    fn on_command(&mut self, command: Command) -> ControlFlow<Outcome> {
        match command {
            Command::Stop { ending } => {
                if self.fleet.is_stopping() {
                    return self.apply(Event::StopNow);
                }
                self.ending = ending;
                self.events.stopping();
                self.listeners.close();
                self.apply(Event::StopGracefully)
            }
            Command::Reap => self.reap(),
            Command::Unsupported { name, instead } => {
                self.events.signal_ignored(name, instead);
                ControlFlow::Continue(())
            }
        }
    }

    fn on_report(&mut self, report: Report) -> ControlFlow<Outcome> {
        match report {
            Report::Mold(birth, _) if !self.children.is_mold(birth) => ControlFlow::Continue(()),
            Report::Mold(_, None) => ControlFlow::Continue(()),
            Report::Mold(_, Some(FromMold::Loaded { ruby, rack })) => {
                if let Some(started) = self.children.mold_started() {
                    self.events.loaded(&ruby, &rack, started.elapsed());
                }
                self.apply(Event::MoldLoaded)
            }
            Report::Mold(_, Some(FromMold::Failed(failure))) => {
                self.children.mold_failed(failure);
                ControlFlow::Continue(())
            }
            Report::Mold(_, Some(FromMold::ForkFailed { slot, reason })) => {
                self.events.failure(&format!("cannot fork worker {slot}: {reason}"));
                self.apply(Event::Slot(slot, slot::Event::ForkFailed))
            }
            Report::Worker(slot, birth, message) => {
                if self.children.is_worker(slot, birth) {
                    self.on_worker(slot, message)
                } else {
                    ControlFlow::Continue(())
                }
            }
        }
    }

    fn on_worker(&mut self, slot: u16, message: Option<FromWorker>) -> ControlFlow<Outcome> {
        match message {
            Some(FromWorker::Forked { pid }) => {
                let ended = self.children.worker_spoke(slot, pid);
                self.apply(Event::Slot(slot, slot::Event::Forked { pid }))?;
                let Some(exit) = ended else { return ControlFlow::Continue(()) };
                self.hear_last_words(pid)?;
                self.on_exit(pid, exit)
            }
            Some(FromWorker::Ready) => {
                if let (Some(asked), Some(pid)) =
                    (self.children.worker_asked(slot), self.children.worker_pid(slot))
                {
                    self.events.worker_booted(slot, pid, asked.elapsed());
                }
                self.apply(Event::Slot(slot, slot::Event::ReportedReady))
            }
            Some(FromWorker::Failed(failure)) => {
                self.children.worker_failed(slot, failure);
                ControlFlow::Continue(())
            }
            // Of a worker that has spoken, SIGCHLD tells more.
            None => self.apply(Event::Slot(slot, slot::Event::Lost)),
        }
    }

    fn reap(&mut self) -> ControlFlow<Outcome> {
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
        let stopping = self.fleet.is_stopping();
        match self.children.ended(pid, exit) {
            None => ControlFlow::Continue(()),
            Some(Ended::Mold { pid, exit, failure }) => {
                // The failure of a start is its outcome, which is told once, at the end.
                if !stopping && self.fleet.has_served() {
                    match &failure {
                        Some(failure) => self.events.failure(&failure.reason),
                        None => self.events.mold_exited(pid, exit),
                    }
                }
                let failure = failure.unwrap_or_else(|| Failure {
                    reason: format!(
                        "cannot load the application: the process that loads it {exit}, without a \
                         word; look above for its output"
                    ),
                    status: status_of(exit),
                });
                self.apply(Event::MoldExited(failure))
            }
            Some(Ended::Worker { slot, pid, exit, failure }) => {
                if let Some(failure) = &failure {
                    self.events.failure(&failure.reason);
                }
                if !stopping {
                    self.events.worker_exited(slot, pid, exit);
                }
                self.apply(Event::WorkerExited { slot, clean: exit == Exit::Code(0), failure })
            }
        }
    }

    /// Lets the fleet decide about `event`, and does what it says.
    fn apply(&mut self, event: Event) -> ControlFlow<Outcome> {
        let mut actions = Vec::new();
        self.fleet.on(event, Instant::now(), &mut actions);
        for action in actions {
            tracing::debug!(?action, "master");
            self.carry_out(action)?;
        }
        ControlFlow::Continue(())
    }

    fn carry_out(&mut self, action: Action) -> ControlFlow<Outcome> {
        match action {
            Action::SpawnMold => self.spawn_mold(),
            Action::DismissMold => {
                self.children.dismiss_mold();
                ControlFlow::Continue(())
            }
            Action::KillMold => {
                if !self.fleet.is_stopping() && self.fleet.has_served() {
                    let pid = self.children.mold_pid().unwrap_or_default();
                    self.events.killing(&"the mold", pid, "the application did not load in time");
                }
                self.children.kill_mold();
                ControlFlow::Continue(())
            }
            Action::AskForFork(slot) => match self.children.ask_for_fork(slot) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    self.on_child_error(&error, Event::Slot(slot, slot::Event::ForkFailed))
                }
            },
            Action::Drain(slot) => {
                if let Err(error) = self.children.drain(slot) {
                    // A worker that does not hear is killed at the end of its limit.
                    self.events.error(&error);
                }
                ControlFlow::Continue(())
            }
            Action::Kill(slot, pid, why) => {
                if why != KillReason::Asked {
                    self.events.killing(&format_args!("worker {slot}"), pid, why.text());
                }
                self.children.kill_worker(slot, pid);
                ControlFlow::Continue(())
            }
            Action::AnnounceServing => match self.announce.serving() {
                Announced::GoOn => ControlFlow::Continue(()),
                Announced::Stop => self.apply(Event::StopGracefully),
                Announced::Refuse(refusal) => {
                    self.refusal = Some(refusal);
                    self.apply(Event::StopGracefully)
                }
            },
            Action::Finish(outcome) => ControlFlow::Break(outcome),
        }
    }

    fn spawn_mold(&mut self) -> ControlFlow<Outcome> {
        self.events.loading();
        match self.children.spawn_mold(self.config, &self.listeners.descriptors()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let failure = Failure { reason: crate::telemetry::chain(&error), status: EX_OSERR };
                self.on_child_error(&error, Event::MoldExited(failure))
            }
        }
    }

    fn on_child_error(&mut self, error: &ChildError, event: Event) -> ControlFlow<Outcome> {
        self.events.error(error);
        self.apply(event)
    }
}

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

/// The exit status of a start that failed because a child ended so; never 0.
fn status_of(exit: Exit) -> u8 {
    match exit {
        Exit::Code(code) => u8::try_from(code).unwrap_or(1).max(1),
        Exit::Signal { signal, .. } => u8::try_from(128 + signal).unwrap_or(1),
    }
}

/// Waits for `deadline`; for ever when there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
