//! Starting the VM, step by step as `main` of the `ruby` program does.

use std::{
    ffi::{CString, NulError, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
};

use nix::{libc, sys::signal};
use rb_sys::VALUE;

use super::{VmOptions, process_arguments};

/// The first Ruby that can enable YJIT while it runs; older ones take it as an option at the start.
const YJIT_ENABLES_LATE_SINCE: (i32, i32) = (3, 3);

/// sysexits(3): an internal software error.
const EX_SOFTWARE: u8 = 70;
/// sysexits(3): something is wrong with the configuration.
const EX_CONFIG: u8 = 78;

/// Why the VM did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A second VM was asked for.
    #[error("cannot start Ruby: this process has run it before; start another process")]
    Again,
    /// The core did not initialise.
    #[error("cannot start Ruby: its set-up failed with status {0}; check the Ruby installation")]
    Setup(i32),
    /// A program name or directory has a zero byte.
    #[error("cannot start Ruby: an option has a zero byte in it")]
    ZeroByte(#[source] NulError),
    /// Ruby printed its own message and wants the process to end. The usual causes are a library
    /// that `RUBYOPT` names and Ruby does not find, and a gem that Bundler does not find.
    #[error(
        "cannot start Ruby: it ended with status {status} before the application was loaded; \
         see its message, and check RUBYOPT and BUNDLE_GEMFILE"
    )]
    Ended {
        /// The status that `ruby` would end with.
        status: i32,
    },
}

impl BootError {
    /// The status to end the process with; never 0, because nothing is being served.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Again | Self::Setup(_) => EX_SOFTWARE,
            Self::ZeroByte(_) => EX_CONFIG,
            Self::Ended { status } => u8::try_from(*status).unwrap_or(EX_SOFTWARE).max(1),
        }
    }
}

/// Boots the VM. `stack_base` lies in a frame above every later use of Ruby.
pub(super) fn boot(options: &VmOptions, stack_base: *mut VALUE) -> Result<(), BootError> {
    let arguments = made_up_arguments(options).map_err(BootError::ZeroByte)?;
    use_locale();
    let_ruby_have_sigpipe();
    process_arguments::announce();
    // SAFETY: the address is of a local in a frame that stays until the VM has ended.
    unsafe { rb_sys::ruby_init_stack(stack_base.cast()) };
    // SAFETY: first and only call in this process (`BOOTED` in vm.rs), after the stack is known.
    let state = unsafe { rb_sys::ruby_setup() };
    if state != 0 {
        return Err(BootError::Setup(state));
    }
    let script = process_options(arguments);
    process_arguments::offer_title_memory();
    run_empty_script(script)
}

/// Ruby's encodings of files, arguments and environment follow `LC_CTYPE`.
fn use_locale() {
    // SAFETY: no other thread exists yet that could read the locale, and the string is static.
    unsafe { libc::setlocale(libc::LC_CTYPE, c"".as_ptr()) };
}

/// Rust's runtime ignores SIGPIPE, and Ruby keeps what it finds ignored, so that each program the
/// application starts would inherit it and never stop at a closed pipe. At its default, Ruby
/// installs a handler of its own, which `exec` resets.
fn let_ruby_have_sigpipe() {
    let default = signal::SigHandler::SigDfl;
    // SAFETY: the default action is no function of ours, and nothing is written before Ruby has
    // set its handler a moment later.
    let set = unsafe { signal::signal(signal::Signal::SIGPIPE, default) };
    set.expect("SIGPIPE is a signal that can be set");
}

/// `rackrs [--yjit] [-I DIR]... -e ''`.
fn made_up_arguments(options: &VmOptions) -> Result<Vec<CString>, NulError> {
    let mut arguments = vec![CString::new(options.program_name.as_str())?];
    if options.yjit && !yjit_enables_late() {
        arguments.push(c"--yjit".to_owned());
    }
    for directory in &options.load_path {
        arguments.push(c"-I".to_owned());
        arguments.push(c_string(directory.as_os_str())?);
    }
    arguments.push(c"-e".to_owned());
    arguments.push(c"".to_owned());
    Ok(arguments)
}

fn c_string(text: &OsStr) -> Result<CString, NulError> {
    CString::new(text.as_bytes())
}

/// Reads `RUBYOPT` and the options, loads `RubyGems` and what `-r` names, and compiles the script.
fn process_options(arguments: Vec<CString>) -> *mut c_void {
    // Ruby keeps pointers into both, and writes to the vector when the title is set.
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let count = c_int::try_from(pointers.len()).expect("a handful of arguments");
    pointers.push(std::ptr::null_mut());
    let pointers = pointers.leak().as_mut_ptr();
    // SAFETY: the VM is set up; the vector has `count` strings and a NULL, all leaked just above.
    // Exceptions and exits are caught inside and come back as a special value.
    unsafe { rb_sys::ruby_options(count, pointers) }
}

fn run_empty_script(script: *mut c_void) -> Result<(), BootError> {
    let mut status: c_int = 0;
    // SAFETY: `script` comes from `ruby_options`, and `status` is an out-parameter on this frame.
    if unsafe { rb_sys::ruby_executable_node(script, &raw mut status) } == 0 {
        // SAFETY: what is no script only makes it run the `at_exit` blocks and end the VM.
        let status = unsafe { rb_sys::ruby_run_node(script) };
        return Err(BootError::Ended { status });
    }
    // SAFETY: `script` is executable, as was just asked; exceptions are caught inside.
    match unsafe { rb_sys::ruby_exec_node(script) } {
        0 => Ok(()),
        status => Err(BootError::Ended { status }),
    }
}

/// The version of the library that is loaded, which need not be the one compiled with.
pub(super) fn api_version() -> (i32, i32) {
    // SAFETY: a constant of libruby.
    let version = unsafe { rb_sys::ruby_api_version };
    (version[0], version[1])
}

pub(super) fn yjit_enables_late() -> bool {
    api_version() >= YJIT_ENABLES_LATE_SINCE
}
