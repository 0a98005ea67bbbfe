//! A worker: one I/O thread that speaks HTTP, and the Ruby threads that run the application.
//!
//! It is a fork of the mold. The I/O thread ([`io`]) is started here, after the fork; the main
//! thread becomes the foreman of the Ruby threads, so that Ruby's signal traps run on it.

mod io;
mod rack_service;

use std::{os::fd::OwnedFd, sync::Arc, thread};

use nix::sys::signal::Signal;
use rackrs_ruby::{
    Ruby,
    exchange::Queue,
    load::Loaded,
    pool::{NoWatch, Pool, PoolEnd, PoolOptions},
    signals::{self, TrapError},
    title,
    vm::{Ending, Vm},
};
use rackrs_sys::channel::Channel;
use tokio::sync::Notify;

use crate::{
    config::Config,
    mold::title_of,
    telemetry::{chain, events},
    wire::{self, Failure, FromWorker},
};
use io::Io;
use rack_service::RackService;

/// sysexits(3): a bug of ours.
const EX_SOFTWARE: u8 = 70;
/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

/// What a worker is born with.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) config: Config,
    pub(crate) master: i32,
    pub(crate) slot: u16,
    pub(crate) channel: Channel,
    pub(crate) listeners: Vec<OwnedFd>,
}

/// The main function of a worker process.
pub(crate) fn main(vm: &Vm, birth: Birth, application: &Loaded) -> Ending {
    let spoke = FromWorker::Forked { pid: nix::unistd::getpid().as_raw() };
    if let Err(error) = wire::send(&birth.channel, &spoke, &[]) {
        // A master that is gone needs no worker.
        tracing::debug!(error = chain(&error), "born without a master");
        return Ending::from(i32::from(EX_OSERR));
    }
    let drain = Arc::new(Notify::new());
    if let Err(reason) = dress(vm.ruby(), &birth, &drain) {
        return Ending::from(i32::from(give_up(&birth.channel, reason, EX_SOFTWARE)));
    }
    let service = match RackService::new(vm.ruby(), &birth.config, application) {
        Ok(service) => service,
        Err(exception) => {
            let reason = format!("cannot prepare the Rack environment: {}", exception.full_message);
            return Ending::from(i32::from(give_up(&birth.channel, reason, EX_SOFTWARE)));
        }
    };
    let limits = &birth.config.limits;
    let queue = Arc::new(Queue::new(limits.queue_max));
    let threads = birth.config.threads;
    let options = PoolOptions {
        threads: usize::from(threads.min)..=usize::from(threads.max),
        idle: rackrs_ruby::pool::IDLE_MAX,
        // The I/O thread has waited for the shutdown limit when it closes the pool: whatever still
        // runs then has nobody to answer to.
        drain: Some(rackrs_ruby::pool::KILL_GRACE),
        watch: Arc::new(NoWatch),
    };
    let pool = match Pool::new(Arc::clone(&queue), &options, Arc::new(service)) {
        Ok(pool) => pool,
        Err(error) => {
            let reason = format!("cannot make the thread pool: {error}");
            return Ending::from(i32::from(give_up(&birth.channel, reason, EX_OSERR)));
        }
    };
    let io = Io { birth, queue, drain, pool: Arc::clone(&pool) };
    let io = match thread::Builder::new().name("rackrs io".into()).spawn(move || io.run()) {
        Ok(io) => io,
        Err(error) => {
            events::complain(&format!("cannot start the I/O thread: {error}"));
            return Ending::from(i32::from(EX_OSERR));
        }
    };
    match pool.run(vm.ruby()) {
        Ok(PoolEnd::Drained | PoolEnd::Killed(_)) => {}
        // Ending the VM would wait for them for ever.
        Ok(PoolEnd::Hanging(_)) => rackrs_sys::fork::exit_now(0),
        Err(error) => return Ending::Uncaught(error),
    }
    match io.join() {
        Ok(status) => Ending::from(i32::from(status)),
        Err(_panic) => Ending::from(i32::from(EX_SOFTWARE)),
    }
}

/// Title and signals. TERM and QUIT drain, as the master's order does; the others are as in the
/// mold.
fn dress(ruby: &Ruby, birth: &Birth, drain: &Arc<Notify>) -> Result<(), String> {
    let role = format!("cluster worker {}", birth.slot);
    title::set_title(ruby, &title_of(&birth.config, &role, birth.master))
        .map_err(|exception| exception.to_string())?;
    trap_signals(ruby, drain).map_err(|error| chain(&error))
}

fn trap_signals(ruby: &Ruby, drain: &Arc<Notify>) -> Result<(), TrapError> {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let drain = Arc::clone(drain);
        signals::trap(ruby, signal, move |_| drain.notify_one())?;
    }
    Ok(())
}

fn give_up(channel: &Channel, reason: String, status: u8) -> u8 {
    let failed = FromWorker::Failed(Failure { reason, status });
    if let Err(error) = wire::send(channel, &failed, &[]) {
        events::complain(&format!("{failed:?}"));
        events::complain(&chain(&error));
    }
    status
}
