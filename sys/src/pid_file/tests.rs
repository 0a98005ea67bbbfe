//! Everything that may stand at a pid file's path, with real files, locks and processes.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::pipe,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::{
        signal::Signal,
        stat::{Mode, umask},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, Uid, chown, getpid, mkfifo, setuid},
};

use super::{PidFile, PidFileError};
use crate::{
    channel::Channel,
    exec::Exec,
    fork::fork_child,
    forked::{in_child, until, wait},
    process::PidFd,
};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web_server.pid");
    (folder, path)
}

fn write(path: &Path) -> Result<PidFile, PidFileError> {
    PidFile::claim(path)?.write(getpid())
}

/// Nothing but these names is in the folder.
fn assert_only(folder: &Path, names: &[&str]) {
    let mut found: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, names);
}

fn assert_ours(path: &Path) {
    assert_eq!(fs::read_to_string(path).unwrap(), format!("{}\n", getpid()));
    let status = fs::symlink_metadata(path).unwrap();
    assert!(status.is_file());
    assert_eq!((status.permissions().mode() & 0o7777, status.nlink()), (0o644, 1));
}

#[test]
fn it_is_written_and_removed() {
    in_child(|_| {
        umask(Mode::from_bits_retain(0o077));
        let (folder, path) = folder();
        let claim = PidFile::claim(&path).unwrap();
        assert!(!path.exists(), "a claim is not visible");
        let file = claim.write(getpid()).unwrap();
        assert_ours(&path);
        assert_only(folder.path(), &["web_server.pid"]);
        assert!(file.is_in_place());
        file.remove().unwrap();
        assert_only(folder.path(), &[]);
    });
}

#[test]
fn a_claim_leaves_no_trace_even_if_its_process_is_killed() {
    in_child(|_| {
        let (folder, path) = folder();
        let claim = PidFile::claim(&path).unwrap();
        assert_only(folder.path(), &[]);
        drop(claim);
        assert_only(folder.path(), &[]);
    });
}

#[test]
fn whatever_names_no_live_master_is_replaced() {
    in_child(|_| {
        let (folder, path) = folder();
        let parent = nix::unistd::getppid().to_string();
        let own = getpid().to_string();
        for content in ["", "garbage", "-1", "0", "1", "999999999", &parent, &own, "\0\0"] {
            fs::write(&path, content).unwrap();
            let before = File::open(&path).unwrap();
            let file = write(&path).unwrap();
            assert_ours(&path);
            assert_eq!(before.metadata().unwrap().len(), content.len() as u64, "not written to");
            drop(file);
        }
        assert_only(folder.path(), &["web_server.pid"]);
    });
}

#[test]
fn a_lock_without_a_live_pid_holds_nothing_up() {
    in_child(|_| {
        let (_folder, path) = folder();
        for content in ["", "1", "-1", "999999999"] {
            fs::write(&path, content).unwrap();
            let holder = File::open(&path).unwrap();
            holder.try_lock().unwrap();
            write(&path).unwrap();
            assert_ours(&path);
        }
    });
}

#[test]
fn links_fifos_and_sockets_are_replaced_and_never_followed() {
    in_child(|_| {
        let (folder, path) = folder();
        let precious = folder.path().join("precious");
        fs::write(&precious, "keep").unwrap();
        symlink("precious", &path).unwrap();
        drop(write(&path).unwrap());
        assert_ours(&path);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "keep");

        fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        drop(write(&path).unwrap());
        assert_only(folder.path(), &["precious", "web_server.pid"]);

        fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        drop(write(&path).unwrap());
        assert_ours(&path);

        fs::remove_file(&path).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(write(&path).unwrap());
        assert_ours(&path);
    });
}

#[test]
fn a_directory_is_refused() {
    in_child(|_| {
        let (folder, path) = folder();
        fs::create_dir(&path).unwrap();
        let error = write(&path).unwrap_err();
        assert!(matches!(error, PidFileError::IsDirectory { .. }));
        assert_eq!(error.exit_code(), 73);
        assert!(matches!(write(Path::new("/")), Err(PidFileError::IsDirectory { .. })));
        assert_only(folder.path(), &["web_server.pid"]);
        let missing = write(&folder.path().join("missing/x.pid")).unwrap_err();
        assert!(missing.to_string().contains("the directory does not exist"), "{missing}");
        assert_eq!(missing.exit_code(), 73);
    });
}

/// Another master at `path`, until it is killed.
fn other_master(proof: &crate::fork::SingleThreaded, path: &Path, user: Uid) -> Pid {
    let (ours, theirs) = Channel::pair().unwrap();
    let child = fork_child(proof, || {
        setuid(user).unwrap();
        let _file = write(path).unwrap();
        theirs.send(b"written", &[]).unwrap();
        nix::unistd::pause();
        0
    });
    drop(theirs);
    assert!(matches!(ours.receive(&mut [0; 16]), Ok(crate::channel::Received::Message { .. })));
    child.unwrap()
}

fn kill(pid: Pid) {
    PidFd::open(pid).unwrap().send(Signal::SIGKILL).unwrap();
}

#[test]
fn a_live_master_is_refused_and_left_in_peace() {
    in_child(|proof| {
        let (folder, path) = folder();
        let other = other_master(proof, &path, Uid::effective());
        let error = write(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Running { pid, .. } if pid == other));
        let text = format!(
            "cannot start: process {other} is running and holds {}; stop it or pass another --pidfile",
            path.display()
        );
        assert_eq!((error.to_string(), error.exit_code()), (text, 69));
        assert_only(folder.path(), &["web_server.pid"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{other}\n"));
        kill(other);
        // Dead but not yet reaped: a zombie holds nothing.
        waitid(Id::Pid(other), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let _file = write(&path).unwrap();
        assert_ours(&path);
        assert_eq!(wait(other), WaitStatus::Signaled(other, Signal::SIGKILL, false));
    });
}

#[test]
fn of_two_that_claim_at_once_one_gets_it() {
    in_child(|proof| {
        let (folder, path) = folder();
        fs::write(&path, "999999999\n").unwrap();
        let claim = PidFile::claim(&path).unwrap();
        let other = other_master(proof, &path, Uid::effective());
        let error = claim.write(getpid()).unwrap_err();
        assert!(matches!(error, PidFileError::Running { pid, .. } if pid == other));
        assert_only(folder.path(), &["web_server.pid"]);
        kill(other);
        wait(other);
    });
}

#[test]
fn a_strangers_file_does_not_hold_up_root() {
    in_child(|proof| {
        if !Uid::effective().is_root() {
            return;
        }
        let (folder, path) = folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let other = other_master(proof, &path, Uid::from_raw(65534));
        drop(write(&path).unwrap());
        assert_ours(&path);
        kill(other);
        assert_eq!(wait(other), WaitStatus::Signaled(other, Signal::SIGKILL, false));
    });
}

#[test]
fn a_file_of_roots_in_a_sticky_directory_is_explained() {
    if !Uid::effective().is_root() {
        return;
    }
    // Removed by this process: the child gives up the right to.
    let (folder, path) = folder();
    in_child(|_| {
        fs::write(&path, "garbage").unwrap();
        chown(&path, Some(Uid::from_raw(0)), None).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        setuid(Uid::from_raw(65534)).unwrap();
        let error = write(&path).unwrap_err();
        assert!(matches!(error, PidFileError::OtherOwner { owner: 0, .. }), "{error:?}");
        assert!(error.to_string().contains("it belongs to user 0; remove it"));
        assert_only(folder.path(), &["web_server.pid"]);
        let denied = write(Path::new("/etc/web_server.pid")).unwrap_err();
        assert!(denied.to_string().contains("no permission to write"), "{denied}");
    });
}

#[test]
fn what_another_put_there_is_not_removed() {
    in_child(|_| {
        let (folder, path) = folder();
        let file = write(&path).unwrap();
        let aside = folder.path().join("aside");
        fs::write(&aside, "another").unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(!file.is_in_place());
        file.remove().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");

        let file = write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.remove().unwrap();
    });
}

#[test]
fn it_survives_in_a_descriptor() {
    in_child(|proof| {
        let (_folder, path) = folder();
        let descriptor = write(&path).unwrap().into_fd();
        let child = fork_child(proof, || {
            u8::from(!matches!(write(&path), Err(PidFileError::Running { .. })))
        });
        let child = child.unwrap();
        assert_eq!(wait(child), WaitStatus::Exited(child, 0), "the lock is held");
        let file = PidFile::from_fd(descriptor, &path).unwrap();
        assert_eq!(file.path(), path);
        let descriptor = file.into_fd();
        fs::remove_file(&path).unwrap();
        let error = PidFile::from_fd(descriptor, &path).unwrap_err();
        assert!(matches!(error, PidFileError::Lost { .. }));
        assert_eq!(error.exit_code(), 69);
    });
}

#[test]
fn it_is_held_by_the_program_that_its_process_becomes() {
    in_child(|proof| {
        let (folder, path) = folder();
        let (life, hold) = pipe().unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let master = fork_child(proof, || {
            let file = write(&path).unwrap();
            // It ends when the test does, whatever happens there.
            let script = format!("read -r _ </dev/fd/{}", life.as_raw_fd());
            let arguments = ["sh", "-c", &script].map(OsString::from).to_vec();
            let exec = Exec::new("/bin/sh", arguments).keep(life.as_fd()).keep(file.as_fd());
            panic!("{}", exec.run())
        });
        let master = master.unwrap();
        drop(theirs);
        // Nothing was kept but the pipe and the file.
        assert!(matches!(ours.receive(&mut [0; 1]), Ok(crate::channel::Received::Closed)));
        let name = || fs::read_to_string(format!("/proc/{master}/comm")).unwrap();
        until("the master is a shell", || name() == "sh\n");
        let error = write(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Running { pid, .. } if pid == master));
        drop(hold);
        wait(master);
        let _file = write(&path).unwrap();
        assert_only(folder.path(), &["web_server.pid"]);
    });
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    in_child(|_| {
        let (folder, path) = folder();
        fs::write(&path, "stale").unwrap();
        // A limit of 0 bytes for files stands in for a full disk: the write fails.
        crate::signals::ignore(Signal::SIGXFSZ).unwrap();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_FSIZE, 0, 0).unwrap();
        let error = write(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Write { .. }));
        assert_only(folder.path(), &["web_server.pid"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "stale");
    });
}

#[test]
fn the_file_is_not_inherited_by_programs() {
    in_child(|_| {
        let (_folder, path) = folder();
        let _file = write(&path).unwrap();
        let inode = fs::metadata(&path).unwrap().ino().to_string();
        let list = Command::new("/bin/ls").args(["-iL", "/proc/self/fd"]).output().unwrap();
        let text = String::from_utf8(list.stdout).unwrap();
        assert!(!text.split_whitespace().any(|word| word == inode), "{text}");
    });
}
