//! What a mold does once the application is loaded: it hears the master, forks, runs hooks.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rackrs_ruby::{
    RubyError,
    fork::{self, Fork, Private},
    gvl::wait_readable,
    hooks::{Argument, Hook},
    load::Loaded,
    title,
    vm::{Ending, Vm},
};
use rackrs_sys::channel::Channel;

use super::{
    EX_OSERR, EX_PROTOCOL, EX_SOFTWARE, Estate, die_with_the_master, leave_signals_to_the_master,
    report_failure, title_of,
};
use crate::{
    hooks,
    master::reopen_logs,
    telemetry::{chain, events},
    wire::{self, Delivery, FromMold, Incoming, Orders, ToMold, WireError},
    worker::{self, Birth, WorkerEnd},
};

/// Why the mold stops waiting.
enum Stop {
    /// A signal that nobody traps, or `exit` in a trap.
    Ruby(RubyError),
    /// The channel broke.
    Wire(WireError),
}

/// A mold with its application.
pub(super) struct Mold<'a> {
    vm: &'a Vm,
    estate: Estate,
    channel: Private<Channel>,
    application: Loaded,
    /// It has forked a worker.
    has_forked: bool,
    /// It was a worker before.
    is_promoted: bool,
}

impl<'a> Mold<'a> {
    pub(super) fn new(
        vm: &'a Vm,
        estate: Estate,
        channel: Private<Channel>,
        application: Loaded,
    ) -> Self {
        Self { vm, estate, channel, application, has_forked: false, is_promoted: false }
    }

    /// Forks on request. Returns when the master dismisses the mold; in a worker, when that is
    /// done.
    pub(super) fn serve(mut self) -> Ending {
        if let Err(error) = self.report_loaded() {
            events::complain(&chain(&error));
            return Ending::Status(i32::from(EX_PROTOCOL));
        }
        loop {
            match self.next_message() {
                Ok(Some((message, descriptors))) => {
                    if let Some(ending) = self.obey(&message, descriptors) {
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
                Incoming::Nothing | Incoming::Unknown => {}
                Incoming::Closed => return Ok(None),
            }
        }
    }

    /// Does what the master says; an ending when this process is to end, in a worker also when
    /// that is done.
    fn obey(&mut self, message: &ToMold, mut descriptors: Vec<OwnedFd>) -> Option<Ending> {
        match *message {
            ToMold::Boot(_) => {}
            ToMold::Fork { worker, slot, row } => {
                let channel = Private::new(Channel::from_fd(descriptors.pop()?));
                return self.fork(&Place { worker, slot, row }, channel);
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
            ToMold::WorkerTimeout { slot, pid } => {
                let arguments = [slot.into(), pid.into()].map(Argument::Integer);
                self.run_hook(Hook::WorkerTimeout, &arguments);
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
    fn fork(&mut self, place: &Place, workers_end: Private<Channel>) -> Option<Ending> {
        let Place { worker, slot, row } = *place;
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

    fn be_worker(
        &mut self,
        slot: u16,
        row: usize,
        workers_end: Private<Channel>,
    ) -> Option<Ending> {
        let listeners = std::mem::take(&mut self.estate.listeners);
        // The master must see the mold's end, whoever of its forks lives on.
        self.channel = workers_end;
        let channel = match self.channel.as_fd().try_clone_to_owned() {
            Ok(channel) => Private::new(Channel::from_fd(channel)),
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
        let Orders { config, master, .. } = &self.estate.orders;
        if !die_with_the_master(*master) {
            return Some(Ending::Status(0));
        }
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
