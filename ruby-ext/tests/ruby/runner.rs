//! Runs the cases whose names contain what was asked for, and reports like the usual harness.

use std::{panic::catch_unwind, process::ExitCode};

/// A named test.
pub(crate) type Case = (&'static str, fn());

pub(crate) fn main(arguments: &[String], groups: &[&[Case]]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        groups.iter().copied().flatten().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = groups.iter().copied().flatten().filter(|(name, _)| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    });
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, case) in chosen {
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
