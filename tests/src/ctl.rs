//! `rackrsctl` and what it says of a server.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{Finished, Server, binary, eventually};

/// The `rackrsctl` that belongs to [`binary()`].
///
/// Panics when there is none.
#[must_use]
pub fn ctl_binary() -> PathBuf {
    let path = binary().with_file_name("rackrsctl");
    assert!(path.is_file(), "there is no {}; run `cargo build -p rackrs`", path.display());
    path
}

/// Runs `rackrsctl` with these arguments to its end; its output is kept in `folder` meanwhile.
#[must_use]
pub fn ctl(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Finished {
    let mut command = Command::new(ctl_binary());
    command.current_dir(folder).env_clear().args(arguments);
    Finished::of(&mut command, folder)
}

impl Server {
    /// Runs `rackrsctl -P PIDFILE` with the words of `line` to its end.
    #[must_use]
    pub fn ctl(&self, line: &str) -> Finished {
        let mut arguments = vec![OsStr::new("-P"), self.pid_file().as_os_str()];
        arguments.extend(line.split_whitespace().map(OsStr::new));
        ctl(&self.path(""), &arguments)
    }

    /// What `rackrsctl --json stats` prints.
    #[must_use]
    pub fn stats(&self) -> Value {
        json(&self.ctl("--json stats"))
    }

    /// The pids of the workers that serve, by slot.
    #[must_use]
    pub fn ready_workers(&self) -> Vec<i32> {
        let stats = self.stats();
        let workers = stats["workers"].as_array().expect("there is a list of workers");
        let ready = workers.iter().filter(|worker| worker["state"] == "ready");
        ready.map(|worker| number(&worker["pid"])).collect()
    }

    /// Waits until `count` workers, and no others, are there; their pids.
    #[allow(clippy::must_use_candidate, reason = "often only the waiting is wanted")]
    pub fn await_workers(&self, count: usize) -> Vec<i32> {
        eventually(&format!("there are {count} workers"), || {
            let all = self.stats()["workers"].as_array().map_or(0, Vec::len);
            let ready = self.ready_workers();
            (all == count && ready.len() == count).then_some(ready)
        })
    }
}

/// The JSON on standard output, one line.
#[must_use]
pub fn json(finished: &Finished) -> Value {
    assert_eq!(finished.out.lines().count(), 1, "not one line: {finished}");
    serde_json::from_str(&finished.out)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {finished}"))
}

fn number(value: &Value) -> i32 {
    let number = value.as_i64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("{value} is no pid"))
}
