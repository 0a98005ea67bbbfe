//! Streams of a forked child, which are its own.

use std::{
    fs,
    os::{
        fd::BorrowedFd,
        unix::fs::{PermissionsExt, symlink},
    },
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::stat::{Mode, umask},
    unistd::{mkfifo, write},
};

use super::{Existing, Stream, StreamError, ensure_open, redirect, to_null};
use crate::forked::{in_child, until};

fn borrowed(stream: Stream) -> BorrowedFd<'static> {
    // SAFETY: the tests below open the standard streams before they use them.
    unsafe { BorrowedFd::borrow_raw(stream.number()) }
}

fn say(stream: Stream, text: &str) {
    assert_eq!(write(borrowed(stream), text.as_bytes()), Ok(text.len()));
}

fn target(stream: Stream) -> std::path::PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", stream.number())).unwrap()
}

#[test]
fn closed_streams_are_opened_and_inherited() {
    in_child(|_| {
        for stream in Stream::ALL {
            // SAFETY: the child's standard streams; nothing in it uses them before they are back.
            unsafe { libc::close(stream.number()) };
        }
        ensure_open().unwrap();
        for stream in Stream::ALL {
            assert_eq!(target(stream), Path::new("/dev/null"));
            assert_eq!(fcntl(borrowed(stream), FcntlArg::F_GETFD), Ok(0));
        }
    });
}

#[test]
fn open_streams_are_left_alone() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        redirect(Stream::Output, &log, Existing::Append).unwrap();
        ensure_open().unwrap();
        assert_eq!(target(Stream::Output), log);
        to_null(Stream::Output).unwrap();
        assert_eq!(target(Stream::Output), Path::new("/dev/null"));
    });
}

#[test]
fn appending_and_truncating() {
    in_child(|_| {
        umask(Mode::empty());
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        redirect(Stream::Output, &log, Existing::Append).unwrap();
        say(Stream::Output, "one\n");
        redirect(Stream::Error, &log, Existing::Append).unwrap();
        say(Stream::Error, "two\n");
        say(Stream::Output, "three\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o644);
        redirect(Stream::Output, &log, Existing::Truncate).unwrap();
        say(Stream::Error, "four\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "four\n");
        let flags =
            OFlag::from_bits_retain(fcntl(borrowed(Stream::Output), FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK) && flags.contains(OFlag::O_APPEND));
        assert_eq!(fcntl(borrowed(Stream::Output), FcntlArg::F_GETFD), Ok(0));
    });
}

#[test]
fn a_rotated_log_is_reopened_under_the_writers() {
    in_child(|_| {
        umask(Mode::empty());
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        redirect(Stream::Output, &log, Existing::Append).unwrap();
        let written = AtomicU32::new(0);
        let done = AtomicBool::new(false);
        let mut text = String::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    say(Stream::Output, &format!("{}\n", written.load(Relaxed)));
                    written.fetch_add(1, Relaxed);
                }
            });
            for round in 0..20 {
                let old = folder.path().join(format!("log.{round}"));
                fs::rename(&log, &old).unwrap();
                // As a rotator with `create 0600` does.
                fs::write(&log, "").unwrap();
                fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
                redirect(Stream::Output, &log, Existing::Append).unwrap();
                let reopened = written.load(Relaxed);
                // The writer may hold the old file until the second line from now.
                until("the writer goes on", || written.load(Relaxed) > reopened + 1);
                text.push_str(&fs::read_to_string(&old).unwrap());
                assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
            }
            done.store(true, Relaxed);
        });
        text.push_str(&fs::read_to_string(&log).unwrap());
        let lines: Vec<String> = (0..written.into_inner()).map(|line| line.to_string()).collect();
        assert!(text.lines().eq(lines.iter().map(String::as_str)), "lost, doubled or cut: {text}");
    });
}

#[test]
fn links_and_devices_are_followed() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let (link, log) = (folder.path().join("link"), folder.path().join("log"));
        symlink("log", &link).unwrap();
        redirect(Stream::Output, &link, Existing::Append).unwrap();
        say(Stream::Output, "x");
        assert_eq!(fs::read_to_string(&log).unwrap(), "x");
        redirect(Stream::Output, Path::new("/dev/null"), Existing::Truncate).unwrap();
    });
}

#[test]
fn anything_else_is_refused_without_waiting() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let before = target(Stream::Output);
        for path in [fifo.as_path(), &socket, folder.path()] {
            let error = redirect(Stream::Output, path, Existing::Append).unwrap_err();
            assert!(matches!(error, StreamError::NotAFile { .. }), "{error:?}");
        }
        // A FIFO with a reader opens, and is refused all the same.
        let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let error = redirect(Stream::Output, &fifo, Existing::Truncate).unwrap_err();
        assert!(matches!(error, StreamError::NotAFile { .. }));
        drop(reader);
        let missing = folder.path().join("missing/log");
        let error = redirect(Stream::Error, &missing, Existing::Append).unwrap_err();
        assert!(error.to_string().starts_with("cannot redirect standard error to /"));
        assert_eq!(error.exit_code(), 73);
        assert_eq!(target(Stream::Output), before);
    });
}
