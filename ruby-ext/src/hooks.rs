//! Hooks: what an application wants done at the turns of its processes' lives.
//!
//! `Rackrs.before_fork { ... }` and its like keep a block; [`run`] calls the blocks of a hook in the
//! order in which they came. They live in a variable of the module that Ruby code cannot name, so
//! the collector sees them, and processes forked later have them too.

use magnus::{
    Error, IntoValue, Module, Object, RArray, RModule, Ruby, Value, block::Proc, function,
    value::ReprValue,
};

use crate::{
    exception::{Exception, Kind},
    exchange::process::Process,
    fork::process::{leave, print_to_stderr},
};

/// Not a name that Ruby code can write.
const BLOCKS: &str = "blocks of hooks";

/// sysexits(3): used in a way that it is not meant to be.
const EX_USAGE: u8 = 64;

/// From `Variant: name(arguments)` per hook, in one table: the enum and what is known of each.
macro_rules! hooks {
    ($($(#[$doc:meta])+ $hook:ident: $name:ident($($argument:ident),*);)+) => {
        /// A turn in the life of the processes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Hook {
            $($(#[$doc])+ $hook,)+
        }

        impl Hook {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$hook,)+];

            /// The name of the method of `Rackrs` that takes a block.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$hook => stringify!($name),)+
                }
            }

            /// What the blocks are given, in this order. A block may take less of it.
            #[must_use]
            pub fn arguments(self) -> &'static [&'static str] {
                match self {
                    $(Self::$hook => &[$(stringify!($argument)),*],)+
                }
            }
        }

        fn define_methods(module: RModule) -> Result<(), Error> {
            $(
                let method = function!(register::<{ Hook::$hook as usize }>, 0);
                module.define_singleton_method(Hook::$hook.name(), method)?;
            )+
            Ok(())
        }
    };
}

hooks! {
    /// In the mold, before it forks its first worker.
    BeforeFork: before_fork();
    /// In the mold, before it forks a worker.
    BeforeWorkerFork: before_worker_fork(index);
    /// In the mold, when it has forked a worker.
    AfterWorkerFork: after_worker_fork(index);
    /// In a worker, before it serves.
    BeforeWorkerBoot: before_worker_boot(index);
    /// In a worker, after its last request.
    BeforeWorkerShutdown: before_worker_shutdown(index);
    /// On a new thread of the pool, before its first request.
    BeforeThreadStart: before_thread_start();
    /// On a thread of the pool, after its last request; also when it was killed.
    BeforeThreadExit: before_thread_exit();
    /// In the mold of the old generation, when a restart has succeeded and it is to go.
    BeforeRestart: before_restart();
    /// In a worker, before it becomes the mold of the others.
    BeforeRefork: before_refork();
    /// In the new mold, when it has forked the other workers again.
    AfterRefork: after_refork();
    /// In the mold, when all workers of its generation serve.
    AfterBooted: after_booted();
    /// In the mold, at the end.
    AfterStopped: after_stopped();
    /// In the mold, when a worker has ended; `status` as a shell says it.
    AfterWorkerExit: after_worker_exit(index, pid, status);
    /// In the mold, when a worker is killed because it does not answer.
    WorkerTimeout: worker_timeout(index, pid);
}

/// What a block is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// As the index of a worker, a pid, a status.
    Integer(i64),
    /// Any text.
    Text(String),
}

/// Defines the module `Rackrs` with a method per hook and `VERSION`. Before the application is
/// loaded; doing it again changes nothing.
///
/// # Errors
///
/// What Ruby raised, as when the application has something else of that name.
pub fn define(ruby: &Ruby, version: &str) -> Result<(), Error> {
    let module = ruby.define_module("Rackrs")?;
    if module.ivar_get::<_, Option<RArray>>(BLOCKS)?.is_some() {
        return Ok(());
    }
    let blocks = ruby.ary_new_capa(Hook::ALL.len());
    for _ in Hook::ALL {
        blocks.push(ruby.ary_new())?;
    }
    define_methods(module)?;
    module.ivar_set(BLOCKS, blocks)?;
    let text = ruby.str_new(version);
    text.freeze();
    module.const_set("VERSION", text)
}

/// Calls the blocks of `hook` in the order of their registration, each with as much of `arguments`
/// as it takes, and returns what they raised, `exit` and `throw` among it. One that raises does not
/// keep the others from running.
///
/// `Thread#kill` does: it is the last one returned then, of [`Kind::Kill`], and the caller must end
/// its thread. A block that forks and comes back twice, as `fork` without a block does, is ended in
/// the new process with a message: that one is no mold and no worker.
#[must_use]
pub fn run(ruby: &Ruby, hook: Hook, arguments: &[Argument]) -> Vec<Exception> {
    let mut exceptions = Vec::new();
    if let Err(error) = run_each(ruby, hook, arguments, &mut exceptions) {
        exceptions.push(Exception::read(ruby, &error));
    }
    exceptions
}

/// # Errors
///
/// What came between the blocks.
fn run_each(
    ruby: &Ruby,
    hook: Hook,
    arguments: &[Argument],
    exceptions: &mut Vec<Exception>,
) -> Result<(), Error> {
    let Some(blocks) = blocks_of(ruby, hook)? else { return Ok(()) };
    let process = Process::current();
    // A block may register another, which then runs next time.
    for number in 0..blocks.len() {
        let block: Proc = blocks.entry(isize::try_from(number).unwrap_or(isize::MAX))?;
        let given = ruby.ary_new_capa(arguments.len());
        for argument in arguments {
            given.push(argument.to_ruby(ruby))?;
        }
        let called: Result<Value, Error> = block.call(given);
        if process.is_left() {
            leave_copy(hook);
        }
        let Err(error) = called else { continue };
        let exception = Exception::read(ruby, &error);
        let is_kill = exception.kind == Kind::Kill;
        exceptions.push(exception);
        if is_kill {
            break;
        }
    }
    Ok(())
}

impl Argument {
    fn to_ruby(&self, ruby: &Ruby) -> Value {
        match self {
            Self::Integer(number) => number.into_value_with(ruby),
            Self::Text(text) => text.as_str().into_value_with(ruby),
        }
    }
}

/// The blocks of `hook`; none where [`define`] was not called.
fn blocks_of(ruby: &Ruby, hook: Hook) -> Result<Option<RArray>, Error> {
    let module = ruby.define_module("Rackrs")?;
    let Some(blocks) = module.ivar_get::<_, Option<RArray>>(BLOCKS)? else { return Ok(None) };
    blocks.entry(hook as isize).map(Some)
}

/// The method of a hook, by its place in the table.
fn register<const HOOK: usize>(ruby: &Ruby) -> Result<(), Error> {
    let hook = Hook::ALL[HOOK];
    if !ruby.block_given() {
        let message = format!("Rackrs.{} takes a block", hook.name());
        return Err(Error::new(ruby.exception_arg_error(), message));
    }
    let block = ruby.block_proc()?;
    match blocks_of(ruby, hook)? {
        Some(blocks) => blocks.push(block),
        None => Ok(()),
    }
}

/// Without the `at_exit` blocks, which belong to the process that was copied.
fn leave_copy(hook: Hook) -> ! {
    let name = hook.name();
    print_to_stderr(&format!(
        "rackrs: a block of Rackrs.{name} forked and went on in the new process, which ends here; \
         give `fork` a block\n"
    ));
    leave(EX_USAGE)
}
