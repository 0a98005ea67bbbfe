//! No server, or nothing that may be taken for one.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
};

use serde_json::json;

use crate::place::{Place, rackrsctl};

const COMMANDS: [&str; 10] = [
    "status",
    "stats",
    "restart --wait",
    "phased-restart",
    "refork",
    "stop",
    "halt",
    "reload-logs",
    "workers 2",
    "backtraces",
];

fn everything_fails(place: &Place, status: i32, part: &str) {
    for words in COMMANDS {
        let status = if words == "status" && status == 1 { 4 } else { status };
        place.ctl(words).fails(status, part);
    }
}

#[test]
fn without_a_pid_file_it_is_not_running() {
    let place = Place::new();
    let line =
        format!("rackrs is not running (there is no pid file {})\n", place.pid_file().display());
    everything_fails(&place, 3, &line);
    let said = place.ctl("-j status");
    assert_eq!(said.status, 3);
    assert_eq!(said.json(), json!({ "error": line.trim_end(), "exit_status": 3 }));
}

#[test]
fn a_stale_pid_file_is_told() {
    let place = Place::new();
    for (content, fate) in [
        ("2147483000\n".to_owned(), "process 2147483000 is gone)"),
        ("1\n".to_owned(), "and names no process)"),
        ("garbage".to_owned(), "and names no process)"),
        (format!("{}\n", std::process::id()), "is not the server)"),
    ] {
        fs::write(place.pid_file(), content).unwrap();
        place.ctl("status").fails(3, "rackrs is not running (the pid file ");
        place.ctl("status").fails(3, fate);
    }
    // A dead socket beside it says no more.
    drop(UnixListener::bind(place.socket()).unwrap());
    everything_fails(&place, 3, "is stale");
}

#[test]
fn a_living_master_without_its_socket_is_told() {
    let place = Place::new();
    let _held = place.hold_pid_file();
    let part = format!("cannot reach rackrs (process {})", std::process::id());
    everything_fails(&place, 1, &part);
}

#[test]
fn symbolic_links_are_not_followed() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let _held = elsewhere.hold_pid_file();
    symlink(elsewhere.pid_file(), place.pid_file()).unwrap();
    everything_fails(&place, 1, "a symbolic link is there");

    fs::remove_file(place.pid_file()).unwrap();
    symlink(elsewhere.socket(), place.socket()).unwrap();
    everything_fails(&place, 1, "a symbolic link is there");
}

#[test]
fn what_is_no_file_is_not_read() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.pid_file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    place.ctl("status").fails(4, "cannot trust");
    fs::remove_file(place.pid_file()).unwrap();
    fs::create_dir(place.pid_file()).unwrap();
    place.ctl("status").fails(4, "a directory is there");
}

#[test]
fn a_url_or_state_file_that_leads_nowhere_is_not_running() {
    let place = Place::new();
    let words = |option, value: &Path| {
        rackrsctl([OsStr::new("status"), OsStr::new(option), value.as_os_str()])
    };
    let url = format!("unix://{}", place.socket().display());
    words("-C", Path::new(&url)).fails(3, "(nobody listens on ");
    let state = place.at("state");
    words("-S", &state).fails(3, "(there is no state file ");
    fs::write(&state, format!("pid: 2147483000\ncontrol_url: {url}\n")).unwrap();
    words("-S", &state).fails(3, "is stale: process 2147483000 is gone)");
    let long = format!("unix:///tmp/{}", "x".repeat(200));
    words("-C", Path::new(&long)).fails(64, "choose a shorter one");
}

#[test]
fn a_path_too_long_for_a_socket_is_told() {
    let place = Place::new();
    let deep = place.at(&"x".repeat(120)).join("y.pid");
    let said = rackrsctl([OsStr::new("status"), OsStr::new("-P"), deep.as_os_str()]);
    said.fails(4, "cannot connect to ");
}
