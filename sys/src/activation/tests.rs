//! Variables as a service manager sets them, and descriptors as it leaves them.

use std::{
    ffi::OsStr,
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
    unistd::getpid,
};

use super::{ActivationError, PASSED_MAX, Passed, passed, take};
use crate::{
    forked::in_child,
    listen::{Address, Listener},
};

/// Far above what a test process has open.
const FREE: RawFd = 500;

/// Leaves a copy at `number` as an exec would: without CLOEXEC, and owned by nobody.
fn leave(descriptor: impl AsFd, number: RawFd) {
    // SAFETY: the number is above every descriptor of this forked child, so none is replaced.
    let outcome = unsafe { libc::dup2(descriptor.as_fd().as_raw_fd(), number) };
    assert_eq!(outcome, number);
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn listener() -> (tempfile::TempDir, UnixListener) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    (folder, listener)
}

/// With the pid of this process.
fn ours(count: &str, names: Option<&str>) -> Result<Vec<Passed>, ActivationError> {
    let pid = getpid().to_string();
    passed(getpid(), Some(pid.as_ref()), Some(count.as_ref()), names.map(OsStr::new))
}

#[test]
fn sockets_are_taken_with_their_names() {
    in_child(|_| {
        let (folder, first) = listener();
        let (_folder, second) = listener();
        leave(&first, FREE);
        leave(&second, FREE + 1);
        let passed = take(FREE, names(&["web", ""])).unwrap();
        assert_eq!((passed[0].name.as_str(), passed[1].name.as_str()), ("web", ""));
        for (socket, number) in passed.iter().zip(FREE..) {
            assert_eq!(socket.fd.as_raw_fd(), number);
            let flags = fcntl(&socket.fd, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        }
        let [web, _] = passed.try_into().unwrap();
        let web = Listener::adopt(web.fd, None).unwrap();
        assert_eq!(web.address, Address::Unix(folder.path().join("socket")));
    });
}

#[test]
fn nothing_is_passed_to_another_process() {
    let parent = nix::unistd::getppid().to_string();
    let three = Some(OsStr::new("3"));
    for (pid, count) in [
        (None, None),
        (None, three),
        (Some(OsStr::new(&parent)), three),
        (Some(OsStr::new(&parent)), Some(OsStr::new("nonsense"))),
    ] {
        assert!(passed(getpid(), pid, count, None).unwrap().is_empty());
    }
    let this = getpid().to_string();
    assert!(passed(getpid(), Some(this.as_ref()), None, None).unwrap().is_empty());
    assert!(ours("0", None).unwrap().is_empty());
    assert!(ours("0", Some("")).unwrap().is_empty());
}

#[test]
fn garbled_variables_are_told() {
    let variable = |outcome: Result<Vec<Passed>, ActivationError>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.exit_code(), 78);
        error.to_string()
    };
    let text = variable(passed(getpid(), Some("x".as_ref()), Some("1".as_ref()), None));
    assert!(text.contains("LISTEN_PID is \"x\"; start through the service manager"), "{text}");
    for count in ["", "-1", "1x"] {
        let text = variable(ours(count, None));
        assert!(text.contains(&format!("LISTEN_FDS is {count:?}")), "{text}");
    }
    let text = variable(ours("65", None));
    assert_eq!(text, "cannot take 65 passed sockets; the limit is 64");
    assert_eq!(PASSED_MAX, 64);
    let text = variable(ours("2", Some("a:b:c")));
    assert_eq!(text, "cannot take 2 passed sockets: LISTEN_FDNAMES has 3 names");
}

#[test]
fn whatever_is_no_listener_is_named() {
    in_child(|_| {
        let (one, _other) = UnixStream::pair().unwrap();
        let not_listening: OwnedFd = one.into();
        let datagram: OwnedFd = UnixDatagram::unbound().unwrap().into();
        let file: OwnedFd = File::open("/dev/null").unwrap().into();
        for (descriptor, what) in [
            (&not_listening, "a socket that does not listen"),
            (&datagram, "a socket of another type"),
            (&file, "no socket"),
        ] {
            let (_folder, listener) = listener();
            leave(&listener, FREE);
            leave(descriptor, FREE + 1);
            let error = take(FREE, names(&["web", "odd"])).unwrap_err();
            let text = format!(
                "cannot serve passed descriptor 501 (odd): it is {what}; pass listening stream sockets only"
            );
            assert_eq!(error.to_string(), text);
        }
        let error = take(FREE + 2, names(&["missing"])).unwrap_err();
        assert_eq!(error.to_string(), "cannot take over descriptor 502: it is not open");
    });
}
