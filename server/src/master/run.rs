//! The master's loop: one queue of events, a pure decision, and the one place of effects.
//!
//! - [`reports`]: what children say, and how they end
//! - [`restart`]: proving a new program, and becoming it
//! - [`upkeep`]: looking at the workers once a second
//! - [`answers`]: what `rackrsctl` is told

mod answers;
mod reports;
mod restart;
mod upkeep;

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    rc::Rc,
    time::{Duration, SystemTime},
};

use rackrs_sys::{pid_file::PidFile, shared_words::SharedError};
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use super::{
    children::{ChildError, Children, Report},
    command::{Command, Commands, StopEnding},
    fleet::{Action, Event, Fleet, GenerationId, Kind, Outcome, Plan, Ticket, WorkerId},
    listeners::Listeners,
    moment::Moment,
    program::{self, Invocation},
    proof::{Answer, Proof},
    restart_log::RestartLog,
    rows::Rows,
    service_manager::ServiceManager,
    start::reopen_logs,
    watch,
    worker_state::{self, KillReason},
};
use crate::{
    config::Config,
    control::{Asked, CONNECTIONS_MAX, ControlServer, Reply, WorkerBacktraces},
    telemetry::{chain, events::Events},
    wire::{Failure, Orders, ToMold, ToWorker},
};

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

/// How the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoopEnd {
    pub(super) outcome: Outcome,
    pub(super) ending: StopEnding,
}

/// What is done when all workers serve.
pub(super) trait Announce {
    /// For the first time.
    fn serving(&mut self) -> Announced;

    /// Another generation serves, with this configuration.
    fn restarted(&mut self, config: &Config);

    /// The pid file, to be handed over.
    fn pid_file(&self) -> Option<&PidFile>;
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

/// What a master is made of: new, or what an earlier program of this process has left.
pub(super) struct Site {
    pub(super) fleet: Fleet,
    pub(super) configs: BTreeMap<GenerationId, Rc<Config>>,
    pub(super) children: Children,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) listeners: Listeners,
    pub(super) control: Option<ControlServer>,
    pub(super) restarts: RestartLog,
    pub(super) started: SystemTime,
    pub(super) ending: StopEnding,
}

impl Site {
    /// One where nothing is yet.
    pub(super) fn new(
        config: &Rc<Config>,
        listeners: Listeners,
        workers: u16,
    ) -> Result<Self, SharedError> {
        let (children, reports) = Children::new(Rows::new()?);
        let fleet = Fleet::new(plan(config, workers), Moment::now());
        Ok(Self {
            configs: BTreeMap::from([(fleet.serving(), Rc::clone(config))]),
            fleet,
            children,
            reports,
            listeners,
            control: None,
            restarts: RestartLog::default(),
            started: SystemTime::now(),
            ending: StopEnding::Success,
        })
    }
}

/// What a configuration means for a generation.
pub(super) fn plan(config: &Config, workers: u16) -> Plan {
    Plan {
        load: config.limits.load_timeout,
        boot: config.limits.boot_timeout,
        drain: config.limits.shutdown_timeout,
        workers,
        batch: config.upkeep.restart_batch,
    }
}

/// A client of the control socket that waits for backtraces.
struct Listening {
    /// Workers that have not answered, with their slot and pid.
    missing: HashMap<WorkerId, (u16, i32)>,
    texts: Vec<WorkerBacktraces>,
    /// `None` when they are for the log.
    client: Option<oneshot::Sender<Reply>>,
    deadline: Moment,
}

/// The master while it runs.
pub(super) struct Master<'a, A> {
    invocation: &'a Invocation,
    events: &'a Events,
    announce: A,
    commands: Commands,
    manager: ServiceManager,
    fleet: Fleet,
    configs: BTreeMap<GenerationId, Rc<Config>>,
    /// For the generation that comes next.
    next_config: Option<Rc<Config>>,
    children: Children,
    reports: mpsc::Receiver<Report>,
    listeners: Listeners,
    control: Option<ControlServer>,
    asked: mpsc::Receiver<Asked>,
    restarts: RestartLog,
    proof: Option<Proof>,
    /// What new programs say, by the number of their restart.
    verdicts: mpsc::Receiver<(Ticket, Answer)>,
    verdict_sender: mpsc::Sender<(Ticket, Answer)>,
    /// The fleet has decided to become the new program.
    becoming: bool,
    listening: Vec<Listening>,
    /// When the workers are looked at.
    gaze: watch::Gaze,
    started: SystemTime,
    ending: StopEnding,
    /// A start that failed after all workers served, for want of a pid file.
    refusal: Option<Failure>,
}

impl<'a, A: Announce> Master<'a, A> {
    pub(super) fn new(
        site: Site,
        invocation: &'a Invocation,
        events: &'a Events,
        announce: A,
        commands: Commands,
    ) -> Self {
        let Site {
            fleet,
            configs,
            children,
            reports,
            listeners,
            control,
            restarts,
            started,
            ending,
        } = site;
        let (verdict_sender, verdicts) = mpsc::channel(1);
        let mut master = Self {
            invocation,
            events,
            announce,
            commands,
            manager: ServiceManager::of_environment(),
            fleet,
            configs,
            next_config: None,
            children,
            reports,
            listeners,
            control,
            asked: mpsc::channel(1).1,
            restarts,
            proof: None,
            verdicts,
            verdict_sender,
            becoming: false,
            listening: Vec::new(),
            gaze: watch::Gaze::new(Moment::now()),
            started,
            ending,
            refusal: None,
        };
        master.serve_clients();
        master
    }

    /// Has the clients of the control socket ask here. A site that stops is not asked any more;
    /// what is asked then is refused by its closing.
    fn serve_clients(&mut self) {
        let (sender, asked) = mpsc::channel(CONNECTIONS_MAX);
        self.asked = asked;
        if let Some(Err(error)) = self.control.as_mut().map(|server| server.serve(sender)) {
            self.events.error(&error);
        }
    }

    /// Runs until nothing is left.
    pub(super) async fn run(mut self) -> LoopEnd {
        let mut next = self.apply(Event::Tick);
        loop {
            if let ControlFlow::Break(outcome) = next {
                let outcome = match self.refusal.take() {
                    Some(refusal) => Outcome::FailedToStart(refusal),
                    None => outcome,
                };
                return LoopEnd { outcome, ending: self.ending };
            }
            if std::mem::take(&mut self.becoming) {
                next = self.become_new_program().await;
                continue;
            }
            let deadline = self.deadline();
            next = tokio::select! {
                command = self.commands.next() => self.on_command(command),
                Some(report) = self.reports.recv() => self.on_report(report),
                Some((request, client)) = self.asked.recv() => self.on_request(&request, client),
                Some((ticket, answer)) = self.verdicts.recv() => self.on_answer(ticket, answer),
                () = until(deadline) => self.on_time(),
            };
        }
    }

    fn deadline(&self) -> Moment {
        let listening = self.listening.iter().map(|listening| listening.deadline);
        let fleet = self.fleet.deadline();
        let watchdog = self.manager.watchdog_at();
        listening.chain(fleet).chain(watchdog).fold(self.gaze.next(), Moment::min)
    }

    fn on_time(&mut self) -> ControlFlow<Outcome> {
        let now = Moment::now();
        self.manager.feed_watchdog(now);
        self.give_up_listening(now);
        if let Some(gap) = self.gaze.look(now) {
            self.look_at_workers(gap, now)?;
        }
        self.apply(Event::Tick)
    }

    fn on_command(&mut self, command: Command) -> ControlFlow<Outcome> {
        match command {
            Command::Stop { ending } => {
                if self.fleet.is_stopping() {
                    return self.apply(Event::StopNow);
                }
                self.ending = ending;
                self.events.stopping();
                self.stop_listening();
                self.apply(Event::StopGracefully)
            }
            Command::Halt => {
                self.stop_listening();
                self.apply(Event::StopNow)
            }
            Command::Restart(kind) => self.ask_for_restart(kind).1,
            Command::Workers(change) => {
                let before = self.fleet.slots_wanted();
                let next = self.apply(Event::Workers(change));
                let count = self.fleet.slots_wanted();
                if count != before {
                    self.events.workers_wanted(count);
                }
                next
            }
            Command::ReopenLogs => {
                self.reopen_logs();
                ControlFlow::Continue(())
            }
            Command::Backtraces => {
                self.ask_for_backtraces(None, None);
                ControlFlow::Continue(())
            }
            Command::Reap => self.reap(),
        }
    }

    fn stop_listening(&mut self) {
        self.manager.stopping();
        self.listeners.close();
    }

    fn ask_for_restart(&mut self, kind: Kind) -> (Option<(Ticket, bool)>, ControlFlow<Outcome>) {
        let before = self.fleet.queued_restart();
        let mut actions = Vec::new();
        let ticket = self.fleet.ask_for_restart(kind, Moment::now(), &mut actions);
        let queued = self.fleet.queued_restart();
        if let Some(ticket) = queued
            && before.is_none()
        {
            self.events.restart_queued(kind.name(), ticket);
        }
        (ticket.map(|ticket| (ticket, queued.is_some())), self.carry_all_out(actions))
    }

    fn reopen_logs(&mut self) {
        match reopen_logs(self.config()) {
            Ok(()) => self.events.logs_reopened(),
            Err(error) => self.events.error(&error),
        }
        for error in self.children.tell_all(&ToMold::ReopenLogs, &ToWorker::ReopenLogs) {
            self.events.error(&error);
        }
    }

    /// The configuration of the generation that serves.
    fn config(&self) -> &Rc<Config> {
        self.configs.get(&self.fleet.serving()).expect("the serving generation has one")
    }

    /// Lets the fleet decide about `event`, and does what it says.
    fn apply(&mut self, event: Event) -> ControlFlow<Outcome> {
        let mut actions = Vec::new();
        self.fleet.on(event, Moment::now(), &mut actions);
        self.carry_all_out(actions)
    }

    fn carry_all_out(&mut self, actions: Vec<Action>) -> ControlFlow<Outcome> {
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
            Action::Drain(worker, manner) => self.tell_worker(worker, &ToWorker::Drain(manner)),
            Action::AskForConfession(worker, pid, why) => {
                let slot = self.slot_of(worker);
                self.events.killing(&format_args!("worker {slot}"), pid, why.text());
                self.log_in_hand(worker);
                self.tell_worker(worker, &ToWorker::Confess);
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
                self.manager.ready(self.fleet.slots_wanted());
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
            self.events.killing(
                &"the mold",
                mold.pid,
                "it is not wanted, or did not load or fork in time",
            );
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

    fn slot_of(&self, worker: WorkerId) -> u16 {
        self.fleet.worker(worker).map_or(0, |view| view.slot)
    }

    fn tell_worker(&self, worker: WorkerId, message: &ToWorker) {
        if let Err(error) = self.children.tell_worker(worker, message) {
            // A worker that does not hear is killed at the end of its limit.
            self.events.error(&error);
        }
    }

    fn tell_mold(&self, generation: GenerationId, message: &ToMold) {
        if let Err(error) = self.children.tell_mold(generation, message) {
            self.events.error(&error);
        }
    }

    fn on_child_error(&mut self, error: &ChildError, event: Event) -> ControlFlow<Outcome> {
        self.events.error(error);
        self.apply(event)
    }
}

/// Waits for `deadline`.
async fn until(deadline: Moment) {
    let left = deadline.since(Moment::now());
    // A timer's own step is a millisecond; rounding down would spin.
    time::sleep(left + Duration::from_millis(u64::from(!left.is_zero()))).await;
}
