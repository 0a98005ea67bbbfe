//! Looking at processes through /proc. A zombie counts as dead.

use std::{fs, path::Path};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use procfs::process::{ProcState, Process, all_processes};

/// Whether the process runs; a zombie does not.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    let state = Process::new(pid).ok().and_then(|process| process.stat().ok()?.state().ok());
    state.is_some_and(|state| !matches!(state, ProcState::Zombie | ProcState::Dead))
}

/// The parent of a process.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    Some(Process::new(pid).ok()?.stat().ok()?.ppid)
}

/// The living children of `parent`, in no order.
#[must_use]
pub fn children(parent: i32) -> Vec<i32> {
    stats()
        .filter(|stat| stat.ppid == parent && !matches!(stat.state(), Ok(ProcState::Zombie)))
        .map(|stat| stat.pid)
        .collect()
}

/// The zombies among the children of `parent`.
#[must_use]
pub fn zombies(parent: i32) -> Vec<i32> {
    stats()
        .filter(|stat| stat.ppid == parent && matches!(stat.state(), Ok(ProcState::Zombie)))
        .map(|stat| stat.pid)
        .collect()
}

/// Number of threads of a process, 0 when it is gone.
#[must_use]
pub fn thread_count(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// What `ps` shows as the command, arguments separated by blanks.
#[must_use]
pub fn title(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Sends a signal; panics when there is no such process.
pub fn send(pid: i32, signal: Signal) {
    assert!(pid > 1, "a test signals single processes only, not {pid}");
    if let Err(errno) = signal::kill(Pid::from_raw(pid), signal) {
        panic!("cannot send {signal} to {pid}: {errno}");
    }
}

/// Sends a signal if the process is still there.
pub fn send_if_alive(pid: i32, signal: Signal) {
    if pid > 1 && is_alive(pid) {
        // It may end between the two lines, which is what is wanted.
        let _gone = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Living processes that have to do with `folder`: their working directory, a standard stream or
/// an environment variable is in it. That is how a server of a test is found when its parent died.
#[must_use]
pub fn living_in(folder: &Path) -> Vec<i32> {
    let me = std::process::id().cast_signed();
    let needle = folder.to_string_lossy().into_owned();
    all_processes()
        .expect("/proc can be read")
        .filter_map(Result::ok)
        .map(|process| process.pid)
        .filter(|&pid| pid != me && is_alive(pid) && has_to_do_with(pid, folder, &needle))
        .collect()
}

fn has_to_do_with(pid: i32, folder: &Path, needle: &str) -> bool {
    let links = ["cwd", "fd/0", "fd/1", "fd/2"];
    let linked = links
        .iter()
        .filter_map(|link| fs::read_link(format!("/proc/{pid}/{link}")).ok())
        .any(|target| target.starts_with(folder));
    // Ruby writes a process's title over its first environment, so this alone would not do.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    linked || String::from_utf8_lossy(&environment).contains(needle)
}

fn stats() -> impl Iterator<Item = procfs::process::Stat> {
    all_processes().expect("/proc can be read").filter_map(|process| process.ok()?.stat().ok())
}
