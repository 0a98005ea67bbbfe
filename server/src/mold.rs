//! The mold: boots Ruby, loads the application, then only forks workers.
//!
//! It has one thread of ours (and what the VM and the application started), no runtime and no
//! listener of its own: it keeps the listening descriptors only to hand them to its forks. A worker
//! may become a mold too (a refork): it then stands where its own mold stood when it was forked.

use std::{
    cell::Cell,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::sys::signal::Signal;
use rackrs_ruby::{
    Ruby, RubyError,
    fork::{self, Fork},
    gvl::wait_readable,
    hooks::{Argument, Hook},
    load::{self, Loaded},
    signals::{self, TrapError},
    title,
    vm::{self, Ending, Vm, VmOptions},
};
use rackrs_sys::{channel::Channel, shared_words::SharedWords};

use crate::{
    config::Config,
    hooks,
    master::{leave_terminal, reopen_logs},
    telemetry::{chain, events},
    wire::{self, Delivery, Failure, FromMold, Incoming, MOLD_CHANNEL, Orders, ToMold, WireError},
    worker::{self, Birth, WorkerEnd},
};

/// The generation that a start brings; the later ones are those of restarts.
const FIRST_GENERATION: u32 = 1;
/// sysexits(3): used in a way that it is not meant to be.
const EX_USAGE: u8 = 64;
/// sysexits(3): a bug of ours.
const EX_SOFTWARE: u8 = 70;
/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;
/// sysexits(3): the other end said something else than agreed.
const EX_PROTOCOL: u8 = 76;

/// The main function of a mold process, started by the master only. Returns its exit status.
#[must_use]
pub fn main() -> u8 {
    let channel = match rackrs_sys::channel::inherited(MOLD_CHANNEL) {
        Ok(descriptor) => Channel::from_fd(descriptor),
        Err(error) => {
            events::complain(&format!(
                "cannot run as a mold: {}; only the master starts molds",
                chain(&error)
            ));
            return EX_USAGE;
        }
    };
    match receive_orders(&channel) {
        Ok(Some(estate)) => run(estate, channel),
        // The master went away before it said a word.
        Ok(None) => 0,
        Err(error) => {
            events::complain(&chain(&error));
            EX_PROTOCOL
        }
    }
}

/// What the mold is given at its start.
struct Estate {
    orders: Orders,
    board: Arc<SharedWords>,
    listeners: Vec<OwnedFd>,
}

fn receive_orders(channel: &Channel) -> Result<Option<Estate>, WireError> {
    loop {
        match wire::receive::<ToMold>(channel)? {
            Incoming::Delivery(Delivery { message: ToMold::Boot(orders), descriptors }) => {
                let mut descriptors = descriptors.into_iter();
                let board = descriptors.next().ok_or(WireError::NoScoreboard)?;
                let board = SharedWords::from_fd(board).map_err(WireError::Scoreboard)?;
                return Ok(Some(Estate {
                    orders: *orders,
                    board: Arc::new(board),
                    listeners: descriptors.collect(),
                }));
            }
            Incoming::Closed => return Ok(None),
            Incoming::Delivery(_) | Incoming::Nothing => {}
        }
    }
}

fn run(estate: Estate, channel: Channel) -> u8 {
    // `ps -C rackrs` and `pgrep rackrs` look at this name; executing /proc/self/exe set "exe".
    // Without it only such a search is poorer.
    let _ = nix::sys::prctl::set_name(c"rackrs");
    if !dies_with(estate.orders.master) {
        return EX_OSERR;
    }

    let options = VmOptions {
        program_name: estate.orders.program.clone(),
        load_path: estate.orders.config.load_paths.clone(),
        yjit: estate.orders.config.yjit,
    };
    // The channel goes into the closure, which drops it in a worker; if Ruby does not boot, the
    // closure has not run and the channel is still here.
    let channel = Cell::new(Some(channel));
    let body = |vm: &Vm| match channel.take() {
        Some(channel) => load_and_fork(vm, estate, channel),
        None => Ending::Status(i32::from(EX_SOFTWARE)),
    };
    match vm::run(&options, body) {
        Ok(status) => u8::try_from(status).unwrap_or(u8::MAX),
        Err(error) => {
            let status = error.exit_code();
            channel.take().map_or(status, |channel| report_failure(&channel, chain(&error), status))
        }
    }
}

/// Loads the application, then forks on request. Returns when the master dismisses the mold; in a
/// worker, when that is done.
fn load_and_fork(vm: &Vm, estate: Estate, channel: Channel) -> Ending {
    let ruby = vm.ruby();
    let orders = &estate.orders;
    let config = &orders.config;
    let dressed = title::set_title(ruby, &title_of(config, "mold", orders.master))
        .and_then(|()| vm.synchronise_output())
        .map_err(|exception| exception.to_string())
        .and_then(|()| hooks::define(ruby))
        .and_then(|()| signals::disregard(ruby, Signal::SIGINT).map_err(|error| chain(&error)));
    if let Err(reason) = dressed {
        return Ending::from(i32::from(report_failure(&channel, reason, EX_SOFTWARE)));
    }
    let application = match load::load_application(vm, &config.rackup) {
        Ok(application) => application,
        Err(error) => {
            // Ruby prints its own message when the VM ends, after the `at_exit` blocks. Whoever
            // waits for a restart may not see that.
            let is_start = orders.generation == FIRST_GENERATION;
            let reason = if is_start { chain(&error) } else { error.in_one_line() };
            report_failure(&channel, reason, error.status);
            return error.into_ending(ruby);
        }
    };
    if let Err(error) = leave_signals_to_the_master(ruby) {
        return Ending::from(i32::from(report_failure(&channel, chain(&error), EX_SOFTWARE)));
    }
    if config.daemon {
        leave_terminal(config);
    }
    let mut mold = Mold { vm, estate, channel, application, has_forked: false, is_promoted: false };
    if let Err(error) = mold.report_loaded() {
        events::complain(&chain(&error));
        return Ending::Status(i32::from(EX_PROTOCOL));
    }
    loop {
        match mold.next_message() {
            Ok(Some((message, descriptors))) => {
                if let Some(ending) = mold.obey(message, descriptors) {
                    return ending;
                }
            }
            Ok(None) => return Ending::Status(0),
            Err(Stop::Ruby(error)) => return Ending::Uncaught(error),
            Err(Stop::Wire(error)) => {
                events::complain(&chain(&error));
                return Ending::Status(i32::from(EX_PROTOCOL));
            }
        }
    }
}

/// A mold that waits sees the master's end in its channel; one that is busy would not, so the
/// kernel ends it. `false` when the master has gone already: then no signal comes.
fn dies_with(master: i32) -> bool {
    // It fails for no argument that is a signal.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    nix::unistd::getppid().as_raw() == master
}

/// Ctrl-C in a terminal, or a supervisor's TERM, goes to the whole group: the master alone decides
/// what it means. What Puma traps is taken from the application, as Puma does; the rest stays with
/// an application that traps it. Workers inherit this.
fn leave_signals_to_the_master(ruby: &Ruby) -> Result<(), TrapError> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        signals::disregard(ruby, signal)?;
    }
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        signals::disregard_unless_trapped(ruby, signal)?;
    }
    Ok(())
}

/// Why the mold stops waiting.
enum Stop {
    /// A signal that nobody traps, or `exit` in a trap.
    Ruby(RubyError),
    /// The channel broke.
    Wire(WireError),
}

/// A mold with its application.
struct Mold<'a> {
    vm: &'a Vm,
    estate: Estate,
    channel: Channel,
    application: Loaded,
    /// It has forked a worker.
    has_forked: bool,
    /// It was a worker before.
    is_promoted: bool,
}

impl Mold<'_> {
    /// Settles the heap, so that forks share it, and says that they can be asked for.
    fn report_loaded(&self) -> Result<(), WireError> {
        if let Err(exception) = self.vm.warmup() {
            // Only memory is lost: the pages are shared later, or not at all.
            events::complain(&format!("Process.warmup raised {exception}"));
        }
        let rack = self.application.rack_version();
        let (ruby_major, ruby_minor) = self.vm.version();
        let loaded = FromMold::Loaded {
            ruby: format!("{ruby_major}.{ruby_minor}"),
            rack: format!("{}.{}", rack.major, rack.minor),
        };
        wire::send(&self.channel, &loaded, &[])
    }

    /// Waits for the master; `None` when it has closed the channel. Meanwhile Ruby's signal traps
    /// and the application's threads run.
    fn next_message(&self) -> Result<Option<(ToMold, Vec<OwnedFd>)>, Stop> {
        loop {
            if !wait_readable(self.vm.ruby(), self.channel.as_fd(), None).map_err(Stop::Ruby)? {
                continue;
            }
            match wire::receive::<ToMold>(&self.channel).map_err(Stop::Wire)? {
                Incoming::Delivery(Delivery { message, descriptors }) => {
                    return Ok(Some((message, descriptors)));
                }
                Incoming::Nothing => {}
                Incoming::Closed => return Ok(None),
            }
        }
    }

    /// Does what the master says; an ending when this process is to end, in a worker also when
    /// that is done.
    fn obey(&mut self, message: ToMold, mut descriptors: Vec<OwnedFd>) -> Option<Ending> {
        match message {
            ToMold::Boot(_) => {}
            ToMold::Fork { worker, slot, row } => {
                let channel = Channel::from_fd(descriptors.pop()?);
                return self.fork(Place { worker, slot, row }, channel);
            }
            ToMold::Booted => {
                if self.is_promoted {
                    self.run_hook(Hook::AfterRefork, &[]);
                }
                self.run_hook(Hook::AfterBooted, &[]);
            }
            ToMold::WorkerExited { slot, pid, status } => {
                let arguments = [slot.into(), pid.into(), status.into()].map(Argument::Integer);
                self.run_hook(Hook::AfterWorkerExit, &arguments);
            }
            ToMold::ReopenLogs => {
                if let Err(error) = reopen_logs(&self.estate.orders.config) {
                    events::complain(&chain(&error));
                }
            }
            ToMold::Leave { restarted } => {
                if restarted {
                    self.run_hook(Hook::BeforeRestart, &[]);
                }
                self.run_hook(Hook::AfterStopped, &[]);
                return Some(Ending::Status(0));
            }
        }
        None
    }

    fn run_hook(&self, hook: Hook, arguments: &[Argument]) {
        hooks::run(self.vm.ruby(), hook, arguments);
    }

    /// Returns in the mold at once, and in the worker when that has ended or is the mold now.
    fn fork(&mut self, place: Place, workers_end: Channel) -> Option<Ending> {
        let Place { worker, slot, row } = place;
        let index = [Argument::Integer(slot.into())];
        if !std::mem::replace(&mut self.has_forked, true) {
            self.run_hook(Hook::BeforeFork, &[]);
        }
        self.run_hook(Hook::BeforeWorkerFork, &index);
        match fork::fork_orphan(self.vm) {
            Ok(Fork::Parent { .. }) => {
                drop(workers_end);
                self.run_hook(Hook::AfterWorkerFork, &index);
                None
            }
            Ok(Fork::Child) => self.be_worker(slot, row, workers_end),
            Err(error) => {
                let failed = FromMold::ForkFailed { worker, reason: chain(&error) };
                if let Err(error) = wire::send(&self.channel, &failed, &[]) {
                    events::complain(&chain(&error));
                }
                None
            }
        }
    }

    fn be_worker(&mut self, slot: u16, row: usize, workers_end: Channel) -> Option<Ending> {
        let listeners = std::mem::take(&mut self.estate.listeners);
        // The master must see the mold's end, whoever of its forks lives on.
        self.channel = workers_end;
        let channel = match self.channel.as_fd().try_clone_to_owned() {
            Ok(channel) => Channel::from_fd(channel),
            Err(error) => {
                let failure = format!("cannot double a channel: {error}");
                return Some(Ending::from(i32::from(report_failure(
                    &self.channel,
                    failure,
                    EX_OSERR,
                ))));
            }
        };
        let Orders { config, master, .. } = &self.estate.orders;
        let board = Arc::clone(&self.estate.board);
        let birth =
            Birth { config: config.clone(), master: *master, slot, channel, listeners, board, row };
        match worker::main(self.vm, birth, &self.application) {
            WorkerEnd::Ended(ending) => Some(ending),
            WorkerEnd::Promoted(promotion) => self.succeed(promotion),
        }
    }

    /// The worker that this process was is the mold now.
    fn succeed(&mut self, promotion: worker::Promotion) -> Option<Ending> {
        let worker::Promotion { channel, listeners, generation } = promotion;
        self.channel = channel;
        self.estate.listeners = listeners;
        self.estate.orders.generation = generation;
        self.has_forked = false;
        self.is_promoted = true;
        if !dies_with(self.estate.orders.master) {
            return Some(Ending::Status(i32::from(EX_OSERR)));
        }
        let Orders { config, master, .. } = &self.estate.orders;
        let ruby = self.vm.ruby();
        let prepared = title::set_title(ruby, &title_of(config, "mold", *master))
            .map_err(|exception| exception.to_string())
            .and_then(|()| leave_signals_to_the_master(ruby).map_err(|error| chain(&error)));
        if let Err(reason) = prepared {
            let status = report_failure(&self.channel, reason, EX_SOFTWARE);
            return Some(Ending::from(i32::from(status)));
        }
        self.run_hook(Hook::BeforeRefork, &[]);
        if let Err(error) = self.report_loaded() {
            events::complain(&chain(&error));
            return Some(Ending::Status(i32::from(EX_PROTOCOL)));
        }
        None
    }
}

/// What a fork is for.
struct Place {
    worker: u64,
    slot: u16,
    row: usize,
}

fn report_failure(channel: &Channel, reason: String, status: u8) -> u8 {
    let failure = Failure { reason, status };
    if let Err(error) = wire::send(channel, &FromMold::Failed(failure.clone()), &[]) {
        // The master is gone; whoever reads this terminal is not.
        events::complain(&failure.reason);
        events::complain(&chain(&error));
    }
    status
}

/// A process title in Puma's form: `rackrs: cluster worker 0: MASTERPID [tag]`.
pub(crate) fn title_of(config: &Config, role: &str, master: i32) -> String {
    match config.tag.as_str() {
        "" => format!("rackrs: {role}: {master}"),
        tag => format!("rackrs: {role}: {master} [{tag}]"),
    }
}
