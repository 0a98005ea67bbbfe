//! The Ruby threads of a worker: MIN to MAX of them, kept by a foreman on the main Ruby thread.
//!
//! ```text
//! I/O thread ──► Queue ──► hand ("rackrs srv 001") ──► Serve
//!                  ▲       hand ("rackrs srv 002")
//!                  └────── foreman: spawns, replaces, sees shortage, runs signal traps
//! ```
//!
//! A hand holds the GVL while there is work and gives it up only to wait. All state that both
//! native and Ruby threads read is in atomics and locks that hold no Ruby value.

mod foreman;
mod hand;
mod plan;
mod seat;
mod status;
mod watch;

use std::{
    fmt, io,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use magnus::{Error, Ruby};

pub use status::{PoolStatus, PoolStatusNow};
pub use watch::{NoWatch, Watch};

use crate::{
    bell::Bell,
    exception::Exception,
    exchange::{Queue, Request, process::Process},
    hooks::Hook,
};

/// How long a thread above the minimum stays without work, unless the options say otherwise
/// (Puma's `auto_trim_time`).
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long killed threads have to run their `ensure` blocks (Puma's `SHUTDOWN_GRACE_TIME`).
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// Longest time that the foreman waits at a time. So often it tells [`Watch::ruby_ran`], and after it
/// notices what nobody told it: a thread killed before it began, or a queue closed by itself instead
/// of through [`Pool::close`].
pub const BEAT: Duration = Duration::from_secs(1);

/// Pause before the next attempt when the system gives no more threads.
pub const SPAWN_RETRY: Duration = Duration::from_secs(1);

/// What a pool does with its requests. One object for all threads.
pub trait Serve: Send + Sync + 'static {
    /// Serves one request. Must drop it on every path and let no Ruby jump out: exceptions of the
    /// application are answered and reported in here.
    ///
    /// # Errors
    ///
    /// What ended the thread's work: a kill ends the thread, which is then replaced; anything else
    /// goes to [`Serve::stray`] and costs nothing more.
    fn serve(&self, ruby: &Ruby, request: Box<Request>) -> Result<(), Error>;

    /// Told of an exception that belongs to no request: `Thread#raise` from outside between two of
    /// them, an error or panic that [`Serve::serve`] let out, a thread that could not be created.
    fn stray(&self, ruby: &Ruby, exception: &Exception);

    /// Told of what a block of `hook` raised on a thread of the pool; a stray unless told otherwise.
    fn hook_failed(&self, ruby: &Ruby, hook: Hook, exception: &Exception) {
        let _ = hook;
        self.stray(ruby, exception);
    }

    /// Told where every Ruby thread of the process is, after [`Pool::ask_for_backtraces`]; on the
    /// main Ruby thread.
    fn backtraces(&self, text: &str);
}

/// The limits of a pool, and who watches it.
#[derive(Clone)]
pub struct PoolOptions {
    /// How many threads to keep, and how many to have at most. At least 1 is kept.
    pub threads: RangeInclusive<usize>,
    /// How long a thread above the minimum stays without work; usually [`IDLE_MAX`].
    pub idle: Duration,
    /// How long requests may take after the closing before their threads are killed; `None` waits
    /// for ever (Puma's `force_shutdown_after :forever`).
    pub drain: Option<Duration>,
    /// Who is told what the threads do; [`NoWatch`] if nobody is.
    pub watch: Arc<dyn Watch>,
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PoolOptions")
            .field("threads", &self.threads)
            .field("idle", &self.idle)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

/// How a pool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolEnd {
    /// Every request was served.
    Drained,
    /// At the limit of the drain this many threads were still at work. They were killed, and have
    /// ended.
    Killed(usize),
    /// As `Killed`, but this many did not end in [`KILL_GRACE`]. They hang outside of Ruby, and
    /// ending the VM would wait for them for ever: leave by `_exit`.
    Hanging(usize),
}

/// The threads that serve one queue.
pub struct Pool {
    queue: Arc<Queue>,
    serve: Arc<dyn Serve>,
    status: Arc<PoolStatus>,
    watch: Arc<dyn Watch>,
    /// The process that made the pool, in which alone it is watched.
    process: Process,
    /// Rung for the foreman when a thread has begun or ended, when backtraces are wanted, and at the
    /// closing.
    bell: Arc<Bell>,
    backtraces_asked: AtomicBool,
    threads_min: usize,
    threads_max: usize,
    idle: Duration,
    drain: Option<Duration>,
}

impl Pool {
    /// A pool without threads yet, to be run in this process.
    ///
    /// # Errors
    ///
    /// When the limit of descriptors is reached.
    pub fn new(
        queue: Arc<Queue>,
        options: &PoolOptions,
        serve: Arc<dyn Serve>,
    ) -> io::Result<Arc<Self>> {
        let threads_min = (*options.threads.start()).max(1);
        let bell = Arc::new(Bell::new()?);
        queue.announce_shortage_by(Arc::clone(&bell));
        Ok(Arc::new(Self {
            queue,
            serve,
            status: Arc::default(),
            watch: Arc::clone(&options.watch),
            process: Process::current(),
            bell,
            backtraces_asked: AtomicBool::new(false),
            threads_min,
            threads_max: (*options.threads.end()).max(threads_min),
            idle: options.idle,
            drain: options.drain,
        }))
    }

    /// Counters that any thread may read.
    #[must_use]
    pub fn status(&self) -> Arc<PoolStatus> {
        Arc::clone(&self.status)
    }

    /// Takes no more requests: what is queued is served, then the threads end and [`Pool::run`]
    /// returns. Any thread may call it, and a signal's callback; it does not block.
    pub fn close(&self) {
        self.queue.close();
        self.bell.ring();
    }

    /// Has the main Ruby thread tell [`Serve::backtraces`] where every Ruby thread is, as soon as it
    /// can take the GVL. Any thread may call it; it does not block. What is asked for again before
    /// it was told is told once.
    pub fn ask_for_backtraces(&self) {
        self.backtraces_asked.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    /// Keeps the threads until the queue is closed and served, or the drain limit is over. Call on
    /// the main Ruby thread; signal traps run meanwhile, on this thread.
    ///
    /// # Errors
    ///
    /// What Ruby delivered to this thread, as a signal that nobody traps, or `exit` in a trap. The
    /// threads still run then; ending the VM kills them.
    pub fn run(self: &Arc<Self>, ruby: &Ruby) -> Result<PoolEnd, Error> {
        foreman::run(ruby, self)
    }

    /// Who is to be told; nobody in a process that the application has forked.
    fn watch(&self) -> Option<&dyn Watch> {
        (!self.process.is_left()).then_some(&*self.watch)
    }

    /// Wakes the foreman wherever it waits.
    fn tell_foreman(&self) {
        self.bell.ring();
        self.queue.interrupt();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pool")
            .field("threads_min", &self.threads_min)
            .field("threads_max", &self.threads_max)
            .field("status", &self.status.now())
            .finish_non_exhaustive()
    }
}
