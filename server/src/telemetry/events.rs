//! The life-cycle lines. Tools and tests parse them (most are Puma's, spelled as Puma spells
//! them), so each is written here and nowhere else.
//!
//! They go to standard output, complaints to standard error. A log that cannot be written (disk
//! full, closed pipe) never stops the server, so write errors are dropped on purpose.

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use rackrs_sys::process::Exit;

use crate::config::{Config, LogLevel};

/// The writer of life-cycle lines of one process.
#[derive(Clone, Debug)]
pub struct Events {
    silent: bool,
    /// `[PID] ` in cluster mode, as Puma does; empty in single mode.
    prefix: String,
}

impl Events {
    /// A writer for a process with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let prefix = match config.workers {
            0 => String::new(),
            _ => format!("[{}] ", std::process::id()),
        };
        Self { silent: config.log == LogLevel::Silent, prefix }
    }

    /// The first lines of a start.
    pub fn starting(&self, config: &Config) {
        let mode = if config.workers == 0 { "single" } else { "cluster" };
        self.line(format_args!("rackrs starting in {mode} mode..."));
        self.line(format_args!("* rackrs version: {}", env!("CARGO_PKG_VERSION")));
        self.line(format_args!("*  Min threads: {}", config.threads.min));
        self.line(format_args!("*  Max threads: {}", config.threads.max));
        self.line(format_args!("*  Environment: {}", config.environment));
        let pid = std::process::id();
        if config.workers == 0 {
            self.line(format_args!("*          PID: {pid}"));
        } else {
            self.line(format_args!("*   Master PID: {pid}"));
            self.line(format_args!("*      Workers: {}", config.workers));
        }
    }

    /// One listener is open.
    pub fn listening(&self, address: &dyn fmt::Display) {
        self.line(format_args!("* Listening on {address}"));
    }

    /// One address is kept for a moment by the workers of a master that was killed.
    pub fn left_behind(&self, address: &dyn fmt::Display) {
        self.line(format_args!("* Waiting for {address}: workers of a dead master still have it"));
    }

    /// One listener came from a service manager.
    pub fn activated(&self, address: &dyn fmt::Display) {
        self.line(format_args!("* Activated {address}"));
    }

    /// One listener is kept over a restart.
    pub fn inherited(&self, address: &dyn fmt::Display) {
        self.line(format_args!("* Inherited {address}"));
    }

    /// The mold starts to load the application.
    pub fn loading(&self) {
        self.line(format_args!("* Preloading application"));
    }

    /// The mold has loaded the application.
    pub fn loaded(&self, ruby: &str, rack: &str, took: Duration) {
        self.line(format_args!(
            "* Application loaded in {:.2}s ({ruby}, rack {rack})",
            took.as_secs_f64()
        ));
    }

    /// `--check` has found nothing wrong.
    pub fn checked(&self) {
        self.line(format_args!("* Check passed: the settings are good and the application loads"));
    }

    /// A worker accepts connections.
    pub fn worker_booted(&self, slot: u16, pid: i32, generation: u32, took: Duration) {
        self.line(format_args!(
            "- Worker {slot} (PID: {pid}) booted in {:.2}s, phase: {}",
            took.as_secs_f64(),
            phase(generation)
        ));
    }

    /// A restart, phased restart or refork begins.
    pub fn restart_begun(&self, what: &str, ticket: u64) {
        match what {
            "restart" => self.line(format_args!("* Restarting... (restart {ticket})")),
            _ => self.line(format_args!("* Starting {what} (restart {ticket})")),
        }
    }

    /// One more restart was asked for while one is under way.
    pub fn restart_queued(&self, what: &str, ticket: u64) {
        self.line(format_args!(
            "* A {what} was asked for during another; it follows as restart {ticket}"
        ));
    }

    /// The new program has shown that it can take over.
    pub fn restart_proved(&self, version: &str) {
        self.line(format_args!("* The new program (version {version}) can take over"));
    }

    /// This is the new program.
    pub fn taken_over(&self, workers: usize) {
        self.line(format_args!(
            "* rackrs {} has taken over; {workers} workers serve on meanwhile",
            env!("CARGO_PKG_VERSION")
        ));
    }

    /// The new generation serves.
    pub fn restart_succeeded(&self, what: &str, ticket: u64, generation: u32, took: Duration) {
        self.line(format_args!(
            "* Restart {ticket} ({what}) succeeded in {:.2}s, phase: {}",
            took.as_secs_f64(),
            phase(generation)
        ));
    }

    /// The old generation goes on.
    pub fn restart_failed(&self, what: &str, ticket: u64, reason: &str, took: Duration) {
        self.complaint(format_args!(
            "! Restart {ticket} ({what}) failed after {:.2}s, the old code goes on: {}",
            took.as_secs_f64(),
            one_line(reason)
        ));
    }

    /// A worker has finished being the serving one of its slot.
    pub fn worker_leaving(&self, slot: u16, pid: i32, generation: u32) {
        self.line(format_args!(
            "- Stopping {pid} for phased upgrade (worker {slot}, phase: {})...",
            phase(generation)
        ));
    }

    /// A worker goes because it is used up.
    pub fn worker_worn(&self, slot: u16, pid: i32, why: &dyn fmt::Display) {
        self.line(format_args!("- Worker {slot} (PID: {pid}) {why}, starting its successor"));
    }

    /// The number of workers was changed.
    pub fn workers_wanted(&self, count: u16) {
        self.line(format_args!("* Workers: {count}"));
    }

    /// Log files were opened anew.
    pub fn logs_reopened(&self) {
        self.line(format_args!("* Log files are open anew"));
    }

    /// Where the threads of a worker stand.
    pub fn backtraces(&self, slot: u16, pid: i32, text: &str) {
        self.complaint(format_args!(
            "! Threads of worker {slot} (PID: {pid}):\n{}",
            text.trim_end_matches('\n')
        ));
    }

    /// What a worker had in hand when it ended.
    pub fn in_hand(&self, slot: u16, pid: i32, line: &str, age: Duration) {
        self.complaint(format_args!(
            "! Worker {slot} (PID: {pid}) had in hand: {line} ({:.1}s)",
            age.as_secs_f64()
        ));
    }

    /// All workers serve.
    pub fn serving(&self) {
        self.line(format_args!("Use Ctrl-C to stop"));
    }

    /// Something was accepted but will not have the effect that it has in Puma.
    pub fn warning(&self, text: &str) {
        self.complaint(format_args!("! {text}"));
    }

    /// A worker's process ended without being told to.
    pub fn worker_exited(&self, slot: u16, pid: i32, exit: Exit) {
        let hint = match exit {
            Exit::Signal { signal: 9, .. } => "; look for the out-of-memory killer in dmesg",
            Exit::Signal { signal: 11 | 7, .. } => {
                "; a native extension is to blame most often: look above for Ruby's own report"
            }
            Exit::Signal { signal: 6, .. } => "; look above for the message of what gave up",
            Exit::Code(0) => "; the application ended it (exit!)",
            Exit::Signal { .. } | Exit::Code(_) => "",
        };
        self.complaint(format_args!(
            "! Worker {slot} (PID: {pid}) {}, starting another{hint}",
            Ended(exit)
        ));
    }

    /// The mold's process ended without being told to.
    pub fn mold_exited(&self, pid: i32, exit: Exit) {
        self.complaint(format_args!("! Mold (PID: {pid}) {}, starting another", Ended(exit)));
    }

    /// A process exceeded a limit and is killed.
    pub fn killing(&self, who: &dyn fmt::Display, pid: i32, why: &str) {
        self.complaint(format_args!("! Killing {who} (PID: {pid}): {why}"));
    }

    /// An error that the server survives.
    pub fn error(&self, error: &dyn std::error::Error) {
        self.complaint(format_args!("! {}", super::chain(error)));
    }

    /// A worker or mold gave a reason for its failure.
    pub fn failure(&self, reason: &str) {
        self.complaint(format_args!("! {reason}"));
    }

    /// The master was told to stop gracefully.
    pub fn stopping(&self) {
        self.line(format_args!("- Gracefully stopping, waiting for requests to finish"));
    }

    /// A worker had to cut connections at the end of its shutdown time-out.
    pub fn drain_cut(&self, connections: usize, limit: Duration) {
        self.complaint(format_args!(
            "! {connections} connections were cut: they did not finish within {limit:?} \
             (--worker-shutdown-timeout)"
        ));
    }

    /// The last line.
    pub fn goodbye(&self) {
        self.line(format_args!("- Goodbye!"));
    }

    fn line(&self, text: fmt::Arguments<'_>) {
        if !self.silent {
            // See the head of this file.
            let _ = io::stdout().write_all(format!("{}{text}\n", self.prefix).as_bytes());
        }
    }

    fn complaint(&self, text: fmt::Arguments<'_>) {
        // See the head of this file.
        let _ = io::stderr().write_all(format!("{}{text}\n", self.prefix).as_bytes());
    }
}

/// Puma's number for a generation: it counts from 0.
fn phase(generation: u32) -> u32 {
    generation.saturating_sub(1)
}

/// A reason as one line: Ruby's messages have several, of which the first says what it is.
fn one_line(reason: &str) -> &str {
    reason.lines().next().unwrap_or_default()
}

/// Says one sentence on standard error, outside the life of a server (bad flags, a failed start).
pub fn complain(text: &str) {
    // See the head of this file.
    let _ = io::stderr().write_all(format!("rackrs: {text}\n").as_bytes());
}

/// Passes on what Ruby said, as Ruby said it.
pub fn complain_verbatim(text: &str) {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    // See the head of this file.
    let _ = io::stderr().write_all(format!("{text}{newline}").as_bytes());
}

struct Ended(Exit);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "exited with status {code}"),
            Exit::Signal { signal, core } => {
                let core = if core { " (core dumped)" } else { "" };
                match nix::sys::signal::Signal::try_from(signal) {
                    Ok(name) => write!(f, "was killed by {name}{core}"),
                    Err(_) => write!(f, "was killed by signal {signal}{core}"),
                }
            }
        }
    }
}
