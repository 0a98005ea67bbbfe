//! Runs the cases that were asked for, and reports like the usual harness.

use std::{panic::catch_unwind, process::ExitCode};

use crate::request::Request;

/// A named test.
pub(crate) type Case = (&'static str, fn());

pub(crate) fn main(arguments: &[String], groups: &[&[Case]]) -> ExitCode {
    let request = Request::new(arguments);
    let cases = groups.iter().copied().flatten().filter(|(name, _)| request.wants(name));
    if request.list {
        cases.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, case) in cases {
        let outcome = catch_unwind(case);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        match outcome {
            Ok(()) => passed += 1,
            Err(_) => failed.push(*name),
        }
    }
    println!("\ntest result: {passed} passed; {} failed {failed:?}\n", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
