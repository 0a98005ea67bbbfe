//! The master's loop: one queue of events, and a pure decision about each.
//!
//! - [`effects`]: what was decided, done
//! - [`reports`]: what children say, and how they end
//! - [`restart`]: proving a new program, and becoming it
//! - [`upkeep`]: looking at the workers once a second
//! - [`answers`]: what `rackrsctl` is told

mod answers;
mod effects;
mod reports;
mod restart;
mod upkeep;

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::PathBuf,
    rc::Rc,
    time::{Duration, SystemTime},
};

use rackrs_sys::pid_file::PidFile;
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use super::{
    children::{Children, Report},
    command::{Command, Commands, StopEnding},
    fleet::{Action, Event, Fleet, GenerationId, Kind, Outcome, Ticket, WorkerId},
    listeners::Listeners,
    logs::reopen_logs,
    moment::Moment,
    program::Invocation,
    proof::{Answer, Proof},
    restart_log::RestartLog,
    service_manager::ServiceManager,
    site::Site,
    watch,
};
use crate::{
    config::Config,
    control::{Asked, CONNECTIONS_MAX, ControlServer, Reply, WorkerBacktraces},
    telemetry::events::Events,
    wire::{Failure, ToMold, ToWorker},
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

    /// The service manager knows, too.
    fn told_manager(&mut self);

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
    /// The program that the proof is, or was, of.
    program: Option<PathBuf>,
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
            manager: ServiceManager::of_environment(invocation.launched_as),
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
            program: None,
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
        let manager = self.manager.deadline();
        listening.chain(fleet).chain(manager).fold(self.gaze.next(), Moment::min)
    }

    fn on_time(&mut self) -> ControlFlow<Outcome> {
        let now = Moment::now();
        self.manager.on_time(now);
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
}

/// Waits for `deadline`.
async fn until(deadline: Moment) {
    let left = deadline.since(Moment::now());
    // A timer's own step is a millisecond; rounding down would spin.
    time::sleep(left + Duration::from_millis(u64::from(!left.is_zero()))).await;
}
