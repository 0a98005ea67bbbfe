//! Who may ask, and who may be asked. Needs root, who can be nobody, and util-linux's setpriv.

use std::{
    env,
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rackrs::control::Reply;

use crate::{
    ends::Process,
    fake_master::FakeMaster,
    place::{Place, RACKRSCTL, Said},
};

const NOBODY: u32 = 65534;

/// False where these tests cannot be made.
fn can_be_nobody() -> bool {
    let can = nix::unistd::geteuid().is_root()
        && Command::new("setpriv").arg("--version").output().is_ok();
    if !can {
        println!("left out: needs root and setpriv");
    }
    can
}

/// A copy of a program where everybody may run it.
fn copy(program: &Path, place: &Place) -> PathBuf {
    let copy = place.at("program");
    fs::copy(program, &copy).unwrap();
    set_mode(&copy, 0o755);
    copy
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

fn nobody_asks(place: &Place, words: &[&str]) -> Said {
    let program = copy(Path::new(RACKRSCTL), place);
    let pid_file = place.pid_file();
    let words = words.iter().map(OsStr::new);
    let output = as_nobody(&program).arg("-P").arg(pid_file).args(words).output().unwrap();
    Said::of(&output)
}

#[test]
fn another_user_may_not_ask() {
    if !can_be_nobody() {
        return;
    }
    let place = Place::new();
    set_mode(place.folder(), 0o755);
    let done = Reply::Done { message: "done".into() };
    let master = FakeMaster::saying(&place.socket(), done);
    let part = "not permitted; run rackrsctl as the server's user or as root";
    for words in [["status"], ["stop"], ["reload-logs"]] {
        nobody_asks(&place, &words).fails(77, part);
    }
    // Somebody has widened the socket's mode: the master's side still knows who asks.
    set_mode(&place.socket(), 0o666);
    for words in [["status"], ["stop"], ["reload-logs"]] {
        nobody_asks(&place, &words).fails(77, "user 65534 may not control this server; root may");
    }
    assert!(master.asked().is_empty());
    place.ctl("reload-logs").is("done");
}

#[test]
fn in_a_shared_directory_another_users_files_lead_nowhere() {
    if !can_be_nobody() {
        return;
    }
    let place = Place::new();
    set_mode(place.folder(), 0o1777);
    fs::write(place.pid_file(), "4711\n").unwrap();
    chown(place.pid_file(), Some(NOBODY), None).unwrap();
    place.ctl("status").fails(77, "it is user 65534's, in a directory where everybody");
    set_mode(place.folder(), 0o755);
    place.ctl("status").fails(3, "is stale");
}

#[test]
fn another_users_server_is_not_asked() {
    if !can_be_nobody() {
        return;
    }
    let place = Place::new();
    set_mode(place.folder(), 0o1777);
    let program = copy(&env::current_exe().unwrap(), &place);
    let _server = Process::start(&mut as_nobody(&program), &place.socket(), "polite");
    place.ctl("status").fails(77, "it is user 65534's");
    // A pid file of ours from a server that is gone: the socket is not that server's.
    fs::write(place.pid_file(), "4711\n").unwrap();
    place.ctl("status").fails(77, "it runs as user 65534");
    // In a directory of the user's own, root may ask.
    fs::remove_file(place.pid_file()).unwrap();
    set_mode(place.folder(), 0o755);
    assert_eq!(place.ctl("status").status, 0);
}
