//! Tests of the Rack side against a real Ruby: the installed Rack, and one more if
//! `RACKRS_RACK3` names the `lib` folder of another.
//!
//! Each Rack has a child process of its own, because a process boots one Ruby and loads one Rack.
#![allow(clippy::print_stdout, reason = "a test program reports on stdout")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "rack/bodies.rs"]
mod bodies;
#[path = "rack/driver.rs"]
mod driver;
#[path = "rack/environment.rs"]
mod environment;
#[path = "rack/failures.rs"]
mod failures;
#[path = "rack/hijacks.rs"]
mod hijacks;
#[path = "rack/inputs.rs"]
mod inputs;
#[path = "ruby/request.rs"]
mod request;
#[path = "rack/responses.rs"]
mod responses;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::{Command, ExitCode},
};

use rackrs_ruby::vm::{self, Ending, VmOptions};

use driver::World;
use request::Request;

/// Tells the child which `lib` folder to load Rack from; empty is the installed one.
const CHILD: &str = "RACKRS_TEST_CHILD";
const OTHER_RACK: &str = "RACKRS_RACK3";

/// A name and what it runs.
pub(crate) type Case = (&'static str, fn(&World<'_>));

const CASES: [&[Case]; 6] = [
    environment::CASES,
    inputs::CASES,
    responses::CASES,
    bodies::CASES,
    hijacks::CASES,
    failures::CASES,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let request = Request::new(&arguments);
    if let Some(lib) = std::env::var_os(CHILD) {
        return child(&PathBuf::from(lib), &request);
    }
    if request.list {
        let names = CASES.into_iter().flatten().map(|(name, _)| name);
        names.filter(|name| request.wants(name)).for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let other = std::env::var(OTHER_RACK).ok();
    let mut all_passed = true;
    for lib in [Some(String::new()), other].into_iter().flatten() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let status = command.args(&arguments).env(CHILD, lib).env("LC_ALL", "C.UTF-8").status();
        all_passed &= status.unwrap().success();
    }
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn child(lib: &std::path::Path, request: &Request) -> ExitCode {
    let load_path = if lib.as_os_str().is_empty() { vec![] } else { vec![lib.to_owned()] };
    let options =
        VmOptions { program_name: "rackrs".to_owned(), load_path, ..VmOptions::default() };
    let mut failed = 0;
    let status = vm::run(&options, |vm| {
        let world = World::new(vm.ruby());
        println!("rack {:?}", world.rack);
        for (name, case) in CASES.into_iter().flatten() {
            if !request.wants(name) {
                continue;
            }
            let passed = catch_unwind(AssertUnwindSafe(|| case(&world))).is_ok();
            println!("{} {name}", if passed { "ok" } else { "FAILED" });
            failed += usize::from(!passed);
        }
        Ending::Status(0)
    });
    if failed == 0 && status.unwrap() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
