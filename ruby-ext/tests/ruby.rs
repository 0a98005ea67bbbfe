//! Tests of the embedded VM. Each case runs this same program again as a child with a Ruby inside.
#![allow(clippy::print_stdout, reason = "a test program reports on stdout")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "ruby/backtraces.rs"]
mod backtraces;
#[path = "ruby/child.rs"]
mod child;
#[path = "ruby/fork.rs"]
mod fork;
#[path = "ruby/hooks.rs"]
mod hooks;
#[path = "ruby/load.rs"]
mod load;
#[path = "ruby/pool.rs"]
mod pool;
#[path = "ruby/pool_kit.rs"]
mod pool_kit;
#[path = "ruby/recorder.rs"]
mod recorder;
#[path = "ruby/request.rs"]
mod request;
#[path = "ruby/runner.rs"]
mod runner;
#[path = "ruby/vm.rs"]
mod vm;
#[path = "ruby/watch.rs"]
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == child::FLAG => child::main(rest),
        Some(_) | None => runner::main(
            &arguments,
            &[
                vm::CASES,
                load::CASES,
                fork::CASES,
                hooks::CASES,
                pool::CASES,
                watch::CASES,
                backtraces::CASES,
            ],
        ),
    }
}
