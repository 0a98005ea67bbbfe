//! Real programs started by [`Spawn`].

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write, pipe},
    os::fd::AsFd,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{signal::Signal, wait::WaitStatus},
    unistd::dup,
};

use super::{Spawn, SpawnError};
use crate::{
    forked::{in_child, wait},
    process, signals,
};

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// What `sh -c script` prints, with the given number of our descriptors passed on.
fn output(script: &str, change: impl for<'a> FnOnce(Spawn<'a>) -> Spawn<'a>) -> String {
    let (mut reader, writer) = pipe().unwrap();
    let spawn = Spawn::new("/bin/sh", words(&["sh", "-c", script]));
    let child = change(spawn).inherit(writer.as_fd(), 1).spawn().unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(wait(child), WaitStatus::Exited(child, 0), "{text}");
    text
}

#[test]
fn arguments_environment_and_directory_are_exactly_these() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let variables = vec![("GREETING".into(), "a=b c".into())];
        let text = output("echo \"$0|$GREETING|$HOME|$(/bin/pwd -P)\"", |spawn| {
            spawn.environment(variables).directory(&path)
        });
        assert_eq!(text, format!("sh|a=b c||{}\n", path.display()));
    });
}

#[test]
fn only_named_descriptors_pass() {
    in_child(|_| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"passed").unwrap();
        // As a careless parent would leave one: open and not CLOEXEC.
        let leak = dup(&file).unwrap();
        fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let list = "for f in /proc/$$/fd/*; do printf '%s ' ${f##*/}; done";
        let text = output(list, |spawn| spawn);
        // The shell keeps nothing else open while it expands the pattern but its own directory.
        let numbers: Vec<u32> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(numbers.starts_with(&[0, 1, 2]) && numbers.len() <= 4, "{text}");
        let flags = fcntl(&leak, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, 0, "the parent's flags are its own");
    });
}

#[test]
fn descriptors_may_change_places() {
    in_child(|_| {
        let (mut first_out, first_in) = pipe().unwrap();
        let (mut second_out, second_in) = pipe().unwrap();
        let (low, high) = (3, 4);
        let child = Spawn::new("/bin/sh", words(&["sh", "-c", "echo low >&3; echo high >&4"]))
            .inherit(second_in.as_fd(), low)
            .inherit(first_in.as_fd(), high)
            .spawn()
            .unwrap();
        drop((first_in, second_in));
        assert_eq!(wait(child), WaitStatus::Exited(child, 0));
        let (mut first, mut second) = (String::new(), String::new());
        first_out.read_to_string(&mut first).unwrap();
        second_out.read_to_string(&mut second).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("high\n", "low\n"));
    });
}

/// A mask of `/proc/PID/status` of a new program, for example `SigIgn`.
fn mask(name: &str) -> u64 {
    let (mut reader, writer) = pipe().unwrap();
    let child = Spawn::new("/bin/cat", words(&["cat", "/proc/self/status"]))
        .inherit(writer.as_fd(), 1)
        .spawn()
        .unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(wait(child), WaitStatus::Exited(child, 0));
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
}

#[test]
fn signals_start_fresh_but_an_ignored_hangup_stays() {
    in_child(|_| {
        signals::set_default(Signal::SIGHUP).unwrap();
        signals::ignore(Signal::SIGUSR1).unwrap();
        signals::ignore(Signal::SIGPIPE).unwrap();
        signals::block(&[Signal::SIGTERM, Signal::SIGCHLD]).unwrap();
        assert_eq!(mask("SigIgn:") & 0x7fff_ffff, 0);
        assert_eq!(mask("SigBlk:"), 0);
        signals::ignore(Signal::SIGHUP).unwrap();
        assert_eq!(mask("SigIgn:") & 0x7fff_ffff, 1);
    });
}

#[test]
fn a_program_that_cannot_be_executed_is_told_and_reaped() {
    in_child(|_| {
        let missing = Spawn::new("/nonexistent/program", words(&["x"])).spawn().unwrap_err();
        assert!(matches!(missing, SpawnError::Execute { source: Errno::ENOENT, .. }));
        assert_eq!(
            missing.to_string(),
            "cannot execute /nonexistent/program; check that it exists and may be executed"
        );
        let directory = Spawn::new("/", words(&["x"])).spawn().unwrap_err();
        assert!(matches!(directory, SpawnError::Execute { source: Errno::EACCES, .. }));
        let nowhere = Spawn::new("/bin/true", words(&["x"])).directory("/nonexistent").spawn();
        let nowhere = nowhere.unwrap_err();
        assert!(matches!(&nowhere, SpawnError::Directory { source: Errno::ENOENT, .. }));
        assert_eq!(nowhere.exit_code(), 71);
        assert_eq!(nix::sys::wait::wait(), Err(Errno::ECHILD));
        assert_eq!(process::reap_any(), Ok(None));
    });
}

#[test]
fn the_report_is_not_overwritten_by_a_descriptor() {
    in_child(|_| {
        let null = File::open("/dev/null").unwrap();
        let mut spawn = Spawn::new(Path::new("/nonexistent"), words(&["x"]));
        for number in 3..40 {
            spawn = spawn.inherit(null.as_fd(), number);
        }
        assert!(matches!(spawn.spawn(), Err(SpawnError::Execute { source: Errno::ENOENT, .. })));
    });
}

#[test]
fn what_no_program_can_be_given_is_refused() {
    let refused = |spawn: Spawn<'_>| spawn.spawn().unwrap_err();
    let nul = refused(Spawn::new("/bin/true", words(&["a\0b"])));
    assert!(matches!(nul, SpawnError::Nul { what: "an argument", .. }));
    for name in ["", "A=B"] {
        let variables = vec![(name.into(), "x".into())];
        let named = refused(Spawn::new("/bin/true", words(&["x"])).environment(variables));
        assert!(matches!(named, SpawnError::Variable { .. }));
        assert_eq!(named.exit_code(), 70);
    }
    let null = File::open("/dev/null").unwrap();
    let spawn = Spawn::new("/bin/true", words(&["x"]));
    let twice = refused(spawn.inherit(null.as_fd(), 5).inherit(null.as_fd(), 5));
    assert!(matches!(twice, SpawnError::Descriptor { number: 5, .. }));
    let below = refused(Spawn::new("/bin/true", words(&["x"])).inherit(null.as_fd(), -1));
    assert!(matches!(below, SpawnError::Descriptor { number: -1, .. }));
}
