//! A worker: one I/O thread that speaks HTTP, and the Ruby threads that run the application.
//!
//! It is a fork of the mold. The I/O thread ([`io`]) is started here, after the fork; the main
//! thread becomes the foreman of the Ruby threads, so that Ruby's signal traps run on it.
//!
//! - [`io`]: the I/O thread, its runtime, its listeners
//! - [`orders`]: what the master says meanwhile
//! - [`confession`]: where the threads stand
//! - [`scores`]: what is noted in memory shared with the master
//! - [`rack_service`]: what a Ruby thread does with a request

mod confession;
mod io;
mod orders;
mod rack_service;
mod scores;

use std::{os::fd::OwnedFd, sync::Arc, thread};

use nix::sys::signal::Signal;
use rackrs_ruby::{
    Ruby,
    backtraces::last_resort,
    exchange::Queue,
    fork::Private,
    hooks::{Argument, Hook},
    load::Loaded,
    pool::{Pool, PoolEnd, PoolOptions},
    signals::{self, TrapError},
    title,
    vm::{Ending, Vm},
};
use rackrs_sys::{channel::Channel, shared_words::SharedWords};
use tokio::sync::{Notify, mpsc};

use crate::{
    config::Config,
    hooks,
    mold::{die_with_the_master, outlive_the_master, title_of},
    scoreboard::Row,
    telemetry::{chain, events},
    wire::{self, Failure, FromWorker},
};
use io::{Io, IoEnd};
pub(crate) use orders::Promotion;
use rack_service::RackService;
use scores::Scores;

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
    pub(crate) channel: Private<Channel>,
    pub(crate) listeners: Vec<Private<OwnedFd>>,
    pub(crate) board: Arc<SharedWords>,
    /// Its row of the scoreboard.
    pub(crate) row: usize,
}

/// How a worker ends.
pub(crate) enum WorkerEnd {
    /// With its process.
    Ended(Ending),
    /// It is to be the mold now.
    Promoted(Promotion),
}

impl From<u8> for WorkerEnd {
    fn from(status: u8) -> Self {
        Self::Ended(Ending::from(i32::from(status)))
    }
}

/// The main function of a worker process.
pub(crate) fn main(vm: &Vm, birth: Birth, application: &Loaded) -> WorkerEnd {
    if !die_with_the_master(birth.master) {
        return EX_OSERR.into();
    }
    let spoke = FromWorker::Forked { pid: nix::unistd::getpid().as_raw() };
    if let Err(error) = wire::send(&birth.channel, &spoke, &[]) {
        // A master that is gone needs no worker.
        tracing::debug!(error = chain(&error), "born without a master");
        return EX_OSERR.into();
    }
    let ruby = vm.ruby();
    let drain = Arc::new(Notify::new());
    if let Err(reason) = dress(ruby, &birth, &drain) {
        return give_up(&birth.channel, reason, EX_SOFTWARE).into();
    }
    let Some(row) = Row::new(&birth.board, birth.row) else {
        let reason = format!("the scoreboard has no row {}", birth.row);
        return give_up(&birth.channel, reason, EX_SOFTWARE).into();
    };
    let index = [Argument::Integer(birth.slot.into())];
    hooks::run(ruby, Hook::BeforeWorkerBoot, &index);
    let (io, pool) = match prepare(ruby, birth, application, row, drain) {
        Ok(prepared) => prepared,
        Err((channel, reason, status)) => return give_up(&channel, reason, status).into(),
    };
    let io = match thread::Builder::new().name("rackrs io".into()).spawn(move || io.run()) {
        Ok(io) => io,
        Err(error) => {
            events::complain(&format!("cannot start the I/O thread: {error}"));
            return EX_OSERR.into();
        }
    };
    // The I/O thread looks after it from here on.
    outlive_the_master();
    let pool_end = match pool.run(ruby) {
        Ok(PoolEnd::Hanging(_)) => {
            // Ending the VM would wait for them for ever.
            rackrs_sys::fork::exit_now(0)
        }
        Ok(end @ (PoolEnd::Drained | PoolEnd::Killed(_))) => end,
        Err(error) => return WorkerEnd::Ended(Ending::Uncaught(error)),
    };
    let io_end = io.join();
    hooks::run(ruby, Hook::BeforeWorkerShutdown, &index);
    match io_end {
        Ok(IoEnd { promotion: Some(promotion), .. }) if pool_end == PoolEnd::Drained => {
            WorkerEnd::Promoted(promotion)
        }
        Ok(IoEnd { status, .. }) => status.into(),
        Err(_panic) => EX_SOFTWARE.into(),
    }
}

/// Why a worker cannot be made: its channel, the reason, the exit status.
type Refusal = (Private<Channel>, String, u8);

/// Everything that the two sides of a worker run with.
fn prepare(
    ruby: &Ruby,
    birth: Birth,
    application: &Loaded,
    row: Row,
    drain: Arc<Notify>,
) -> Result<(Io, Arc<Pool>), Refusal> {
    if let Err(error) = last_resort::arm() {
        // Only the last words of a worker that hangs outside of Ruby are lost.
        events::complain(&chain(&error));
    }
    let (tell, backtraces) = mpsc::unbounded_channel();
    let service = match RackService::new(ruby, &birth.config, application, tell) {
        Ok(service) => service,
        Err(exception) => {
            let reason = format!("cannot prepare the Rack environment: {}", exception.full_message);
            return Err((birth.channel, reason, EX_SOFTWARE));
        }
    };
    let queue = Arc::new(Queue::new(birth.config.limits.queue_max));
    let threads = birth.config.threads;
    let options = PoolOptions {
        threads: usize::from(threads.min)..=usize::from(threads.max),
        idle: rackrs_ruby::pool::IDLE_MAX,
        // The I/O thread has waited for the shutdown limit when it closes the pool: whatever still
        // runs then has nobody to answer to.
        drain: Some(rackrs_ruby::pool::KILL_GRACE),
        watch: Arc::new(Scores(row.clone())),
    };
    match Pool::new(Arc::clone(&queue), &options, Arc::new(service)) {
        Ok(pool) => {
            let pool_of_io = Arc::clone(&pool);
            Ok((Io { birth, queue, drain, pool: pool_of_io, row, backtraces }, pool))
        }
        Err(error) => {
            Err((birth.channel, format!("cannot make the thread pool: {error}"), EX_OSERR))
        }
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
