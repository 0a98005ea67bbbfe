//! The mold: boots Ruby, loads the application, then only forks workers.
//!
//! It has one thread of ours (and what the VM and the application started), no runtime and no
//! listener of its own: it keeps the listening descriptors only to hand them to its forks. A worker
//! may become a mold too (a refork): it then stands where its own mold stood when it was forked.

mod duty;
mod harmless;

use std::{cell::Cell, os::fd::OwnedFd, sync::Arc};

use nix::sys::signal::Signal;
use rackrs_ruby::{
    Ruby,
    fork::{self, Private},
    load,
    signals::{self, TrapError},
    title,
    vm::{self, Ending, Vm, VmOptions},
};
use rackrs_sys::{channel::Channel, process, shared_words::SharedWords};

use crate::{
    config::Config,
    hooks,
    master::leave_terminal,
    telemetry::{chain, events},
    wire::{self, Delivery, Failure, FromMold, Incoming, MOLD_CHANNEL, Orders, ToMold, WireError},
};

use duty::Mold;

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
        Ok(descriptor) => Private::new(Channel::from_fd(descriptor)),
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
    listeners: Vec<Private<OwnedFd>>,
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
                    listeners: descriptors.map(Private::new).collect(),
                }));
            }
            Incoming::Closed => return Ok(None),
            Incoming::Delivery(_) | Incoming::Nothing | Incoming::Unknown => {}
        }
    }
}

fn run(estate: Estate, channel: Private<Channel>) -> u8 {
    // `ps -C rackrs` and `pgrep rackrs` look at this name; executing /proc/self/exe set "exe".
    // Without it only such a search is poorer.
    let _ = nix::sys::prctl::set_name(c"rackrs");
    if !die_with_the_master(estate.orders.master) {
        return 0;
    }
    fork::watch_forks();

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
fn load_and_fork(vm: &Vm, estate: Estate, channel: Private<Channel>) -> Ending {
    let ruby = vm.ruby();
    let orders = &estate.orders;
    let config = &orders.config;
    let dressed = title::set_title(ruby, &title_of(config, "mold", orders.master))
        .and_then(|()| vm.synchronise_output())
        .map_err(|exception| exception.to_string())
        .and_then(|()| hooks::define(ruby))
        .and_then(|()| harmless::take(ruby).map_err(|error| chain(&error)));
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
    Mold::new(vm, estate, channel, application).serve()
}

/// A mold that waits sees the master's end in its channel; one that is busy would not. Nor does a
/// worker that boots, and it has the listening sockets. `false` when the master has ended already: of
/// that no signal tells.
pub(crate) fn die_with_the_master(master: i32) -> bool {
    // It fails for no argument that is a signal.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    process::parent_pid().as_raw() == master
}

/// A worker that serves sees the master's end in its channel, and finishes what it has in hand.
pub(crate) fn outlive_the_master() {
    // As above.
    let _ = nix::sys::prctl::set_pdeathsig(None);
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
