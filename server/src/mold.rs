//! The mold: boots Ruby, loads the application, then only forks workers.
//!
//! It has one thread of ours (and what the VM and the application started), no runtime and no
//! listener of its own: it keeps the listening descriptors only to hand them to its forks.

use std::{
    cell::Cell,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::signal::Signal;
use rackrs_ruby::{
    Ruby, RubyError,
    fork::{self, Fork},
    gvl::wait_readable,
    load::{self, Loaded},
    signals::{self, TrapError},
    title,
    vm::{self, Ending, Vm, VmOptions},
};
use rackrs_sys::channel::Channel;

use crate::{
    config::Config,
    master::leave_terminal,
    telemetry::{chain, events},
    wire::{self, Delivery, Failure, FromMold, Incoming, MOLD_CHANNEL, ToMold, WireError},
    worker::{self, Birth},
};

/// sysexits(3): used in a way that it is not meant to be.
const EX_USAGE: u8 = 64;
/// sysexits(3): a bug of ours.
const EX_SOFTWARE: u8 = 70;
/// sysexits(3): the other end said something else than agreed.
const EX_PROTOCOL: u8 = 76;

/// Everything the mold is told at its start.
struct Orders {
    config: Config,
    program: String,
    master: i32,
    listeners: Vec<OwnedFd>,
}

/// The main function of a mold process, started by the master only. Returns its exit status.
#[must_use]
pub fn main() -> u8 {
    let channel = match rackrs_sys::channel::inherited(MOLD_CHANNEL) {
        Ok(descriptor) => Channel::from_fd(descriptor),
        Err(error) => {
            events::complain(&format!(
                "cannot run as a mold: {error}; only the master starts molds"
            ));
            return EX_USAGE;
        }
    };
    match receive_orders(&channel) {
        Ok(Some(orders)) => run(orders, channel),
        // The master went away before it said a word.
        Ok(None) => 0,
        Err(error) => {
            events::complain(&chain(&error));
            EX_PROTOCOL
        }
    }
}

fn receive_orders(channel: &Channel) -> Result<Option<Orders>, WireError> {
    loop {
        match wire::receive::<ToMold>(channel)? {
            Incoming::Delivery(Delivery { message, descriptors }) => match message {
                ToMold::Boot { config, program, master } => {
                    let listeners = descriptors;
                    return Ok(Some(Orders { config: *config, program, master, listeners }));
                }
                ToMold::Fork { .. } => {}
            },
            Incoming::Closed => return Ok(None),
            Incoming::Nothing => {}
        }
    }
}

fn run(orders: Orders, channel: Channel) -> u8 {
    // `ps -C rackrs` and `pgrep rackrs` look at this name; executing /proc/self/exe set "exe".
    // Without it only such a search is poorer.
    let _ = nix::sys::prctl::set_name(c"rackrs");
    // A mold that waits sees the master's end in its channel; one that loads would not. It fails
    // for no argument that is a signal.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);

    let options = VmOptions {
        program_name: orders.program.clone(),
        load_path: orders.config.load_paths.clone(),
        yjit: orders.config.yjit,
    };
    // The channel goes into the closure, which drops it in a worker; if Ruby does not boot, the
    // closure has not run and the channel is still here.
    let channel = Cell::new(Some(channel));
    let body = |vm: &Vm| match channel.take() {
        Some(channel) => load_and_fork(vm, orders, channel),
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
fn load_and_fork(vm: &Vm, orders: Orders, channel: Channel) -> Ending {
    let ruby = vm.ruby();
    let config = &orders.config;
    let dressed = title::set_title(ruby, &title_of(config, "mold", orders.master))
        .and_then(|()| vm.synchronise_output())
        .map_err(|exception| exception.to_string())
        .and_then(|()| signals::disregard(ruby, Signal::SIGINT).map_err(|error| chain(&error)));
    if let Err(reason) = dressed {
        return Ending::from(i32::from(report_failure(&channel, reason, EX_SOFTWARE)));
    }
    let application = match load::load_application(vm, &config.rackup) {
        Ok(application) => application,
        Err(error) => {
            // Ruby prints its own message when the VM ends, after the `at_exit` blocks.
            report_failure(&channel, chain(&error), error.status);
            return error.into_ending(ruby);
        }
    };
    if let Err(error) = leave_signals_to_the_master(ruby) {
        return Ending::from(i32::from(report_failure(&channel, chain(&error), EX_SOFTWARE)));
    }
    if config.daemon {
        leave_terminal(config);
    }
    if let Err(exception) = vm.warmup() {
        // Only memory is lost: the pages are shared later, or not at all.
        events::complain(&format!("settling the heap raised {exception}"));
    }
    let rack = application.rack_version();
    let (ruby_major, ruby_minor) = vm.version();
    let loaded = FromMold::Loaded {
        ruby: format!("{ruby_major}.{ruby_minor}"),
        rack: format!("{}.{}", rack.major, rack.minor),
    };
    if let Err(error) = wire::send(&channel, &loaded, &[]) {
        events::complain(&chain(&error));
        return Ending::Status(i32::from(EX_PROTOCOL));
    }
    fork_on_request(vm, orders, channel, &application)
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

/// The mold's loop.
fn fork_on_request(vm: &Vm, orders: Orders, channel: Channel, application: &Loaded) -> Ending {
    loop {
        let slot_and_channel = match next_request(vm, &channel) {
            Ok(Some(request)) => request,
            Ok(None) => return Ending::Status(0),
            Err(Stop::Ruby(error)) => return Ending::Uncaught(error),
            Err(Stop::Wire(error)) => {
                events::complain(&chain(&error));
                return Ending::Status(i32::from(EX_PROTOCOL));
            }
        };
        let (slot, workers_end) = slot_and_channel;
        match fork::fork_orphan(vm) {
            Ok(Fork::Parent { .. }) => {}
            Ok(Fork::Child) => {
                // The master must see the mold's end, whoever of its forks lives on.
                drop(channel);
                let Orders { config, listeners, master, .. } = orders;
                let birth = Birth { config, master, slot, channel: workers_end, listeners };
                return worker::main(vm, birth, application);
            }
            Err(error) => {
                let failed = FromMold::ForkFailed { slot, reason: chain(&error) };
                if let Err(error) = wire::send(&channel, &failed, &[]) {
                    events::complain(&chain(&error));
                }
            }
        }
    }
}

/// Why the mold stops waiting.
enum Stop {
    /// A signal that nobody traps, or `exit` in a trap.
    Ruby(RubyError),
    /// The channel broke.
    Wire(WireError),
}

/// Waits for the slot to fill and its worker's channel; `None` when the master has closed the
/// channel. Meanwhile Ruby's signal traps and the application's threads run.
fn next_request(vm: &Vm, channel: &Channel) -> Result<Option<(u16, Channel)>, Stop> {
    loop {
        if !wait_readable(vm.ruby(), channel.as_fd(), None).map_err(Stop::Ruby)? {
            continue;
        }
        match wire::receive::<ToMold>(channel).map_err(Stop::Wire)? {
            Incoming::Delivery(Delivery { message: ToMold::Fork { slot }, mut descriptors }) => {
                if let Some(descriptor) = descriptors.pop() {
                    return Ok(Some((slot, Channel::from_fd(descriptor))));
                }
            }
            Incoming::Delivery(Delivery { message: ToMold::Boot { .. }, .. })
            | Incoming::Nothing => {}
            Incoming::Closed => return Ok(None),
        }
    }
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
