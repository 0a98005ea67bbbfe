//! Everything that may stand at a socket's path. Each test is alone in a forked child, because
//! binding changes the umask.

use std::{
    fs,
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt, symlink},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::stat::{Mode, umask},
    unistd::{Uid, getpid, mkfifo, pause, setuid},
};

use super::{bind_abstract, bind_unix, unlink_unix};
use crate::{
    channel::{Channel, Received},
    fork::fork_child,
    forked::{in_child, wait},
    listen::BindError,
    process::PidFd,
};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web_server.sock");
    (folder, path)
}

fn mode_of(path: &Path) -> u32 {
    let status = fs::symlink_metadata(path).unwrap();
    assert!(status.file_type().is_socket());
    status.permissions().mode() & 0o7777
}

#[test]
fn it_listens_and_is_unlinked() {
    in_child(|_| {
        let (_folder, path) = folder();
        let listener = bind_unix(&path, None, None, 16).unwrap();
        let status = OFlag::from_bits_retain(fcntl(&listener, FcntlArg::F_GETFL).unwrap());
        assert!(status.contains(OFlag::O_NONBLOCK));
        assert_eq!(fcntl(&listener, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        let _client = UnixStream::connect(&path).unwrap();
        let copy = listener.as_fd().try_clone_to_owned().unwrap();
        UnixListener::from(copy).accept().unwrap();
        unlink_unix(&listener).unwrap();
        assert!(!path.exists());
        unlink_unix(&listener).unwrap();
    });
}

#[test]
fn permissions_are_those_asked_for_and_the_umask_comes_back() {
    in_child(|_| {
        umask(Mode::from_bits_retain(0o027));
        let (_folder, path) = folder();
        for (mask, mode, expected) in [
            (None, None, 0o777),
            (Some(0o117), None, 0o660),
            (None, Some(0o660), 0o660),
            (Some(0o177), Some(0o666), 0o666),
        ] {
            let listener = bind_unix(&path, mask, mode, 1).unwrap();
            assert_eq!(mode_of(&path), expected, "{mask:?} {mode:?}");
            unlink_unix(&listener).unwrap();
        }
        assert_eq!(umask(Mode::empty()), Mode::from_bits_retain(0o027));
    });
}

#[test]
fn a_dead_socket_is_replaced() {
    in_child(|_| {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        let _listener = bind_unix(&path, None, None, 1).unwrap();
        UnixStream::connect(&path).unwrap();
    });
}

#[test]
fn a_live_socket_is_left_alone_and_its_process_named() {
    in_child(|proof| {
        let (_folder, path) = folder();
        let (ours, theirs) = Channel::pair().unwrap();
        let child = fork_child(proof, || {
            let _listener = bind_unix(&path, None, None, 4).unwrap();
            theirs.send(b"listening", &[]).unwrap();
            pause();
            0
        });
        let child = child.unwrap();
        drop(theirs);
        assert!(matches!(ours.receive(&mut [0; 16]), Ok(Received::Message { .. })));
        let error = bind_unix(&path, None, None, 1).unwrap_err();
        assert!(matches!(&error, BindError::InUse { owner: Some(pid), .. } if *pid == child));
        let text = format!(
            "cannot listen on unix://{}: already listening, process {child}; stop it or bind another address",
            path.display()
        );
        assert_eq!((error.to_string(), error.exit_code()), (text, 69));
        assert!(path.exists());
        PidFd::open(child).unwrap().send(nix::sys::signal::Signal::SIGKILL).unwrap();
        wait(child);
        bind_unix(&path, None, None, 1).unwrap();
    });
}

#[test]
fn a_full_queue_is_a_live_server() {
    in_child(|_| {
        let (_folder, path) = folder();
        let _listener = bind_unix(&path, None, None, 0).unwrap();
        // A queue of 0 holds one connection.
        let _waiting = UnixStream::connect(&path).unwrap();
        let error = bind_unix(&path, None, None, 1).unwrap_err();
        assert!(matches!(error, BindError::InUse { owner: None, .. }), "{error:?}");
    });
}

#[test]
fn a_live_socket_of_another_type_is_left_alone() {
    in_child(|_| {
        let (_folder, path) = folder();
        let _other = UnixDatagram::bind(&path).unwrap();
        let error = bind_unix(&path, None, None, 1).unwrap_err();
        assert!(matches!(error, BindError::InUse { owner: None, .. }), "{error:?}");
        assert!(path.exists());
    });
}

#[test]
fn what_is_no_socket_is_refused_and_kept() {
    in_child(|_| {
        let (folder, path) = folder();
        let refused = |kind: &str| {
            let error = bind_unix(&path, None, None, 1).unwrap_err();
            assert!(matches!(error, BindError::NotASocket { .. }));
            let text = format!(
                "cannot listen on {}: {kind} is there, which is not replaced; remove it or bind another path",
                path.display()
            );
            assert_eq!((error.to_string(), error.exit_code()), (text, 78));
        };
        fs::write(&path, "precious").unwrap();
        refused("a regular file");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a directory");
        fs::remove_dir(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        refused("a FIFO");
        fs::remove_file(&path).unwrap();
        // Even a link to a dead socket, and one to nothing.
        let dead = folder.path().join("dead");
        drop(UnixListener::bind(&dead).unwrap());
        symlink("dead", &path).unwrap();
        refused("a symbolic link");
        assert!(dead.exists());
        fs::remove_file(&dead).unwrap();
        refused("a symbolic link");
    });
}

#[test]
fn another_users_dead_socket_is_refused() {
    if !Uid::effective().is_root() {
        return;
    }
    // Removed by this process: the child gives up the right to.
    let (folder, path) = folder();
    in_child(|_| {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        umask(Mode::empty());
        drop(UnixListener::bind(&path).unwrap());
        setuid(Uid::from_raw(65534)).unwrap();
        let error = bind_unix(&path, None, None, 1).unwrap_err();
        assert!(matches!(error, BindError::OtherOwner { owner: 0, .. }), "{error:?}");
        assert!(path.exists());
    });
}

#[test]
fn only_our_own_file_is_unlinked() {
    in_child(|_| {
        let (_folder, path) = folder();
        let listener = bind_unix(&path, None, None, 1).unwrap();
        fs::remove_file(&path).unwrap();
        let _another = UnixListener::bind(&path).unwrap();
        unlink_unix(&listener).unwrap();
        UnixStream::connect(&path).unwrap();
    });
}

#[test]
fn names_that_cannot_be_are_refused() {
    in_child(|_| {
        let (folder, _) = folder();
        let base = folder.path().as_os_str().len();
        let path = |bytes: usize| folder.path().join("x".repeat(bytes - base - 1));
        bind_unix(&path(107), None, None, 1).unwrap();
        let error = bind_unix(&path(108), None, None, 1).unwrap_err();
        assert!(matches!(error, BindError::NameTooLong { bytes: 108, .. }));
        assert!(error.to_string().contains("the name has 108 bytes"));
        assert_eq!(error.exit_code(), 78);
        let empty = bind_unix(Path::new(""), None, None, 1).unwrap_err();
        assert!(matches!(empty, BindError::BadName { .. }));
        let missing = bind_unix(&folder.path().join("a/b"), None, None, 1).unwrap_err();
        assert!(missing.to_string().contains("the directory does not exist"), "{missing}");
        assert_eq!(missing.exit_code(), 71);
    });
}

#[test]
fn abstract_names_have_no_file() {
    in_child(|_| {
        let name = format!("rackrs-test-{}", getpid());
        let listener = bind_abstract(&name, 4).unwrap();
        assert_eq!(listener.address.to_string(), format!("unix://@{name}"));
        let error = bind_abstract(&name, 4).unwrap_err();
        let this = getpid();
        assert!(matches!(error, BindError::InUse { owner: Some(pid), .. } if pid == this));
        unlink_unix(&listener).unwrap();
        drop(listener);
        bind_abstract(&name, 4).unwrap();
        assert!(matches!(bind_abstract("", 4), Err(BindError::BadName { .. })));
        let long = "x".repeat(108);
        assert!(matches!(bind_abstract(&long, 4), Err(BindError::NameTooLong { .. })));
    });
}
