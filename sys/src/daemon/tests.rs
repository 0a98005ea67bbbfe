//! Real daemons, reaped by the test's own child as their subreaper.

use std::fs;

use nix::{
    sys::{
        signal::{Signal, raise},
        stat::{Mode, umask},
    },
    unistd::{chdir, getpgrp, getpid, getsid, pipe},
};

use super::{Daemon, MESSAGE_BYTES_MAX, ReadyNotifier, Verdict, VerdictWaiter, daemonize};
use crate::{
    fork::{SingleThreaded, exit_now},
    forked::{in_child, until},
    process::{Exit, become_subreaper, reap_any},
};

/// Daemonizes, runs `body` in the daemon, and returns the verdict and the daemon's end.
fn verdict_of(proof: &SingleThreaded, body: impl FnOnce(ReadyNotifier) -> u8) -> (Verdict, Exit) {
    become_subreaper().unwrap();
    match daemonize(proof).unwrap() {
        Daemon::Daemon(notifier) => exit_now(body(notifier)),
        Daemon::Launcher(waiter) => {
            let verdict = waiter.wait();
            let mut end = None;
            until("the daemon ended", || {
                end = reap_any().unwrap();
                end.is_some()
            });
            assert_eq!(reap_any().unwrap(), None, "the process between was reaped");
            (verdict, end.unwrap().1)
        }
    }
}

#[test]
fn ready_reaches_the_launcher() {
    in_child(|proof| {
        let outcome = verdict_of(proof, |notifier| u8::from(notifier.ready().is_err()));
        assert_eq!(outcome, (Verdict::Ready, Exit::Code(0)));
    });
}

#[test]
fn failure_brings_status_and_text() {
    in_child(|proof| {
        let outcome = verdict_of(proof, |notifier| {
            notifier.failed(69, "cannot listen: taken").unwrap();
            69
        });
        let failed = Verdict::Failed { status: 69, message: "cannot listen: taken".to_owned() };
        assert_eq!(outcome, (failed, Exit::Code(69)));
    });
}

#[test]
fn death_without_a_word_is_noticed() {
    in_child(|proof| {
        let (verdict, end) = verdict_of(proof, |_notifier| {
            raise(Signal::SIGKILL).unwrap();
            0
        });
        assert_eq!(verdict, Verdict::Died);
        assert_eq!(end, Exit::Signal { signal: 9, core: false });
    });
}

#[test]
fn the_daemon_has_a_session_of_its_own_that_it_does_not_lead() {
    in_child(|proof| {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap();
        chdir(&place).unwrap();
        umask(Mode::from_bits_retain(0o027));
        let launcher = (getsid(None).unwrap(), getpid());
        let outcome = verdict_of(proof, |notifier| {
            let session = getsid(None).unwrap();
            let apart = session != launcher.0 && session != launcher.1;
            let led_by_another = session != getpid() && getpgrp() == session;
            let kept = std::env::current_dir().unwrap() == place
                && umask(Mode::empty()) == Mode::from_bits_retain(0o027)
                && fs::read_link("/proc/self/fd/2").is_ok();
            notifier.ready().unwrap();
            u8::from(!(apart && led_by_another && kept))
        });
        assert_eq!(outcome, (Verdict::Ready, Exit::Code(0)));
    });
}

#[test]
fn a_launcher_that_is_gone_is_no_error() {
    let (reader, writer) = pipe().unwrap();
    drop(VerdictWaiter::new(reader));
    ReadyNotifier::new(writer).ready().unwrap();
}

#[test]
fn a_long_text_is_cut() {
    let (reader, writer) = pipe().unwrap();
    ReadyNotifier::new(writer).failed(1, &"x".repeat(MESSAGE_BYTES_MAX + 9)).unwrap();
    let message = "x".repeat(MESSAGE_BYTES_MAX);
    assert_eq!(VerdictWaiter::new(reader).wait(), Verdict::Failed { status: 1, message });
}
