//! Forked children that become real programs, or do not.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{Read, Seek, SeekFrom, Write, pipe},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        signal::{Signal, raise},
        wait::WaitStatus,
    },
};

use super::{Exec, ExecError};
use crate::{
    fork::{SingleThreaded, fork_child},
    forked::{in_child, wait},
    signals,
};

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn is_cloexec(descriptor: BorrowedFd<'_>) -> bool {
    let flags = fcntl(descriptor, FcntlArg::F_GETFD).unwrap();
    FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
}

/// What `sh -c script` writes to the descriptor `$0`, in a child that has become the shell.
fn output<'fd>(
    proof: &SingleThreaded,
    script: &str,
    change: impl FnOnce(Exec<'fd>) -> Exec<'fd>,
) -> String {
    let (mut reader, writer) = pipe().unwrap();
    let child = fork_child(proof, || {
        let number = writer.as_raw_fd().to_string();
        let exec = change(Exec::new("/bin/sh", words(&["sh", "-c", script, &number])));
        panic!("{}", exec.keep(writer.as_fd()).run())
    });
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let child = child.unwrap();
    assert_eq!(wait(child), WaitStatus::Exited(child, 0), "{text}");
    text
}

#[test]
fn only_kept_descriptors_stay_under_their_numbers() {
    in_child(|proof| {
        let mut kept = tempfile::tempfile().unwrap();
        kept.write_all(b"kept\n").unwrap();
        kept.seek(SeekFrom::Start(0)).unwrap();
        let closed = kept.try_clone().unwrap();
        let (number, gone) = (kept.as_raw_fd(), closed.as_raw_fd());
        let script = format!(
            "{{ /bin/cat /dev/fd/{number}; for f in /proc/$$/fd/*; do echo ${{f##*/}}; done; }} >/dev/fd/$0"
        );
        let text = output(proof, &script, |exec| exec.keep(kept.as_fd()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "kept");
        assert!(lines[1..].contains(&number.to_string().as_str()), "{text}");
        assert!(!lines[1..].contains(&gone.to_string().as_str()), "{text}");
    });
}

#[test]
fn arguments_environment_and_directory_are_exactly_these() {
    in_child(|proof| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let script = "echo \"$GREETING|$HOME|$(/bin/pwd -P)\" >/dev/fd/$0";
        let text = output(proof, script, |exec| {
            exec.environment(vec![("GREETING".into(), "a=b c".into())]).directory(&path)
        });
        assert_eq!(text, format!("a=b c||{}\n", path.display()));
    });
}

/// A mask of the `/proc/PID/status` that was written, for example `SigIgn`.
fn mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as u32 - 1)
}

#[test]
fn signals_are_left_as_they_are_and_none_is_lost() {
    in_child(|proof| {
        signals::unblock_all().unwrap();
        signals::set_default(Signal::SIGUSR1).unwrap();
        signals::ignore(Signal::SIGUSR2).unwrap();
        signals::block(&[Signal::SIGUSR1]).unwrap();
        let script = "while read -r line; do echo \"$line\"; done </proc/$$/status >/dev/fd/$0";
        let text = output(proof, script, |exec| {
            raise(Signal::SIGUSR1).unwrap();
            exec
        });
        assert_ne!(mask(&text, "SigBlk:") & bit(Signal::SIGUSR1), 0, "{text}");
        let waiting = mask(&text, "SigPnd:") | mask(&text, "ShdPnd:");
        assert_ne!(waiting & bit(Signal::SIGUSR1), 0, "{text}");
        assert_ne!(mask(&text, "SigIgn:") & bit(Signal::SIGUSR2), 0, "{text}");
    });
}

#[test]
fn a_failed_exec_leaves_everything_as_it_was() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let before = env::current_dir().unwrap();
        let usual = File::open("/dev/null").unwrap();
        let open = File::open("/dev/null").unwrap();
        fcntl(&open, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let missing = Exec::new("/nonexistent/program", words(&["x"]))
            .directory(folder.path())
            .keep(usual.as_fd())
            .keep(usual.as_fd())
            .keep(open.as_fd())
            .run();
        assert!(matches!(missing, ExecError::Execute { source: Errno::ENOENT, .. }));
        assert_eq!(
            missing.to_string(),
            "cannot execute /nonexistent/program; check that it exists and may be executed"
        );
        assert_eq!(missing.exit_code(), 71);
        let nowhere = Exec::new("/bin/true", words(&["x"]))
            .directory("/nonexistent")
            .keep(usual.as_fd())
            .run();
        assert!(matches!(nowhere, ExecError::Directory { source: Errno::ENOENT, .. }));
        assert!(is_cloexec(usual.as_fd()));
        assert!(!is_cloexec(open.as_fd()));
        assert_eq!(env::current_dir().unwrap(), before);
    });
}

#[test]
fn what_no_program_can_be_given_is_refused() {
    in_child(|_| {
        let nul = Exec::new("/bin/true", words(&["a\0b"])).run();
        assert!(matches!(nul, ExecError::Nul { what: "an argument", .. }));
        let nul = Exec::new("/bin/true", words(&["x"])).directory("a\0b").run();
        assert!(matches!(nul, ExecError::Nul { what: "the working directory", .. }));
        for name in ["", "A=B"] {
            let variables = vec![(name.into(), "x".into())];
            let named = Exec::new("/bin/true", words(&["x"])).environment(variables).run();
            assert!(matches!(named, ExecError::Variable { .. }));
            assert_eq!(named.exit_code(), 70);
        }
    });
}
