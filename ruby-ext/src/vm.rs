//! The Ruby VM of this process, booted and ended the way the `ruby` program does it.
//!
//! `main` of Ruby calls `setlocale`, `ruby_sysinit`, `RUBY_INIT_STACK`, `ruby_setup`,
//! `ruby_options` and `ruby_run_node`; [`run`] does the same, so that locale, `RUBYOPT`, `RUBYLIB`,
//! `GEM_*` and Bundler mean what they mean to `ruby`, and the body of [`run`] stands where the main
//! script would.

mod boot;
mod ending;
mod process_arguments;

use std::{
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use magnus::{Error, Module, RClass, RModule, Ruby, Value, value::ReprValue};

pub use boot::BootError;
pub use ending::Ending;

use crate::exception::Exception;

/// How many collections an object of Ruby 3.1 and 3.2 survives until it is old and its header is
/// left alone.
const COLLECTIONS_UNTIL_OLD: usize = 3;

/// What the VM is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmOptions {
    /// What `$0`, `$PROGRAM_NAME` and `Process.argv0` say. The title in `ps` stays what it is until
    /// something sets it.
    pub program_name: String,
    /// Directories for the front of `$LOAD_PATH`, as `ruby -I` takes them.
    pub load_path: Vec<PathBuf>,
    /// Whether to start the just-in-time compiler. `RUBY_YJIT_ENABLE=1` is obeyed besides.
    pub yjit: bool,
}

/// Whether the just-in-time compiler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yjit {
    /// It compiles.
    On,
    /// It was not asked for.
    Off,
    /// This Ruby was built without it.
    Missing,
}

/// The VM of this process, seen from its main thread, with the GVL held.
pub struct Vm {
    ruby: Ruby,
}

impl fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vm").finish_non_exhaustive()
    }
}

static BOOTED: AtomicBool = AtomicBool::new(false);

/// Boots Ruby, runs `body` in the place of the main script, runs the `at_exit` blocks, and says the
/// status the process must end with.
///
/// Call it from `main`'s thread, once in the life of a process, before any other thread exists. A
/// process that `body` forks returns from here too. An uncaught signal ends the process in here.
/// The process may change its title afterwards, which overwrites the memory of its arguments: read
/// `std::env::args` before.
///
/// # Errors
///
/// [`BootError`] when Ruby does not come up; it has printed its own message then.
pub fn run(options: &VmOptions, body: impl FnOnce(&Vm) -> Ending) -> Result<i32, BootError> {
    if BOOTED.swap(true, Ordering::SeqCst) {
        return Err(BootError::Again);
    }
    // The collector scans the stack from here down, so every Ruby value must live in deeper frames.
    let mut stack_base: rb_sys::VALUE = 0;
    boot::boot(options, &raw mut stack_base)?;
    Ok(run_body(options, body))
}

#[inline(never)]
fn run_body(options: &VmOptions, body: impl FnOnce(&Vm) -> Ending) -> i32 {
    // SAFETY: the VM was booted by this thread just now, so it is a Ruby thread and holds the GVL.
    let ruby = unsafe { Ruby::get_unchecked() };
    let vm = Vm { ruby };
    vm.ruby.script(options.program_name.as_str());
    if options.yjit {
        vm.enable_yjit();
    }
    let ending = body(&vm);
    ending::end(&vm.ruby, ending)
}

impl Vm {
    /// The handle for everything else; the proof that this thread holds the GVL.
    #[must_use]
    pub fn ruby(&self) -> &Ruby {
        &self.ruby
    }

    /// The version of Ruby's API: major, minor.
    #[must_use]
    pub fn version(&self) -> (i32, i32) {
        boot::api_version()
    }

    /// Whether the just-in-time compiler runs.
    #[must_use]
    pub fn yjit(&self) -> Yjit {
        match self.yjit_module() {
            None => Yjit::Missing,
            Some(module) => match module.funcall::<_, _, bool>("enabled?", ()) {
                Ok(true) => Yjit::On,
                Ok(false) | Err(_) => Yjit::Off,
            },
        }
    }

    /// Has `$stdout` and `$stderr` write at once, as Puma's `mutate_stdout_and_stderr_to_sync_on_write`
    /// does by default: a log in a file must not lag behind.
    ///
    /// # Errors
    ///
    /// What it raised.
    pub fn synchronise_output(&self) -> Result<(), Exception> {
        for stream in ["$stdout", "$stderr"] {
            let set: Result<Value, _> =
                self.ruby.eval::<Value>(stream).and_then(|io| io.funcall("sync=", (true,)));
            set.map_err(|error| Exception::read(&self.ruby, &error))?;
        }
        Ok(())
    }

    /// Settles the heap for copy-on-write, before a process becomes the one that others are forked
    /// from: a mold when the application is loaded, a worker that is made a mold when its pool has
    /// ended. From Ruby 3.3 on by `Process.warmup`, and `true`; before, by full collections that
    /// leave no object that the next ones would mark as a little older, and `false`.
    ///
    /// # Errors
    ///
    /// What it raised.
    pub fn warmup(&self) -> Result<bool, Exception> {
        let process: RModule = self.ruby.module_process();
        let by_ruby = responds(process.as_value(), "warmup");
        let settled = if by_ruby {
            process.funcall::<_, _, Value>("warmup", ()).map(drop)
        } else {
            self.age_objects()
        };
        settled.map(|()| by_ruby).map_err(|error| Exception::read(&self.ruby, &error))
    }

    fn age_objects(&self) -> Result<(), Error> {
        let collector: RModule = self.ruby.class_object().const_get("GC")?;
        (0..COLLECTIONS_UNTIL_OLD)
            .try_for_each(|_| collector.funcall::<_, _, Value>("start", ()).map(drop))
    }

    /// From 3.3 on, where it can be enabled at any time; before, `--yjit` has done it at the start.
    fn enable_yjit(&self) {
        match self.yjit_module() {
            Some(module) if responds(module.as_value(), "enable") => {
                // A refusal shows in `yjit()`, and the program runs without it all the same.
                drop(module.funcall::<_, _, Value>("enable", ()));
            }
            None if boot::yjit_enables_late() => self.warn_of_missing_yjit(),
            Some(_) | None => {}
        }
    }

    /// Older Rubies say it themselves when they read the option.
    fn warn_of_missing_yjit(&self) {
        // By `Kernel#warn`, which all but `-W0` lets through; `rb_warning` speaks under `-w` only.
        let text = "warning: Ruby was built without YJIT; the application runs without it";
        // A warning that cannot be written is no reason not to serve.
        drop(self.ruby.module_kernel().funcall::<_, _, Value>("warn", (text,)));
    }

    fn yjit_module(&self) -> Option<RModule> {
        let vm: RClass = self.ruby.class_object().const_get("RubyVM").ok()?;
        vm.const_get("YJIT").ok()
    }
}

fn responds(receiver: Value, method: &str) -> bool {
    receiver.respond_to(method, false).unwrap_or(false)
}
