//! Which server is meant: from a pid file, a state file or a URL to its control socket.

use std::{
    env,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, unistd::Pid};
use rackrs_sys::process;

use super::{
    connection::{ConnectError, Connection},
    error::CtlError,
    parser::Which,
    pid_file::PidFile,
    state_file, trust,
};
use crate::{
    config::{Bind, parse_bind},
    control,
};

/// A server that may be there.
#[derive(Debug)]
pub(super) struct Target {
    socket: PathBuf,
    /// Besides root and us, who may run it: whoever owns the file that was believed.
    owner: Option<u32>,
    trace: Trace,
}

/// What there is of a server beside its socket.
#[derive(Debug)]
enum Trace {
    PidFile(PathBuf),
    /// Its path, and the process that it names.
    StateFile(PathBuf, i32),
    None,
}

impl Target {
    /// Finds the socket, without touching it.
    pub(super) fn find(which: &Which) -> Result<Self, CtlError> {
        match which {
            Which::PidFile(path) => {
                let socket = control::socket_of(path);
                let owner = match PidFile::look(path)?.owner() {
                    // A server that starts has a socket and no pid file yet.
                    None => trust::socket_owner(&socket)?,
                    owner => owner,
                };
                Ok(Self { socket, owner, trace: Trace::PidFile(path.clone()) })
            }
            Which::StateFile(path) => match state_file::read(path)? {
                None => Err(CtlError::NotRunning {
                    why: format!("there is no state file {}", path.display()),
                }),
                Some((state, owner)) => Ok(Self {
                    socket: socket_at(&state.control_url)?,
                    owner: Some(owner),
                    trace: Trace::StateFile(path.clone(), state.pid),
                }),
            },
            Which::Url(url) => {
                let socket = socket_at(url)?;
                let owner = trust::socket_owner(&socket)?;
                Ok(Self { socket, owner, trace: Trace::None })
            }
        }
    }

    /// Connects to it, or says why there is no server.
    pub(super) fn connect(&self) -> Result<Connection, CtlError> {
        Connection::open(&self.socket, self.owner).map_err(|error| match error {
            ConnectError::Nobody { source, .. } => self.absence(source),
            ConnectError::NotPermitted { .. }
            | ConnectError::Stranger { .. }
            | ConnectError::Busy { .. }
            | ConnectError::System { .. } => error.into(),
        })
    }

    /// Nobody listens: what is to be said about the server.
    fn absence(&self, source: Errno) -> CtlError {
        let unreachable = |process: String| CtlError::Unreachable {
            process,
            socket: self.socket.clone(),
            source,
        };
        let why = match &self.trace {
            Trace::None => format!("nobody listens on {}", self.socket.display()),
            Trace::PidFile(path) => match PidFile::look(path) {
                Ok(PidFile::Held { pid, .. }) => return unreachable(process(pid)),
                Ok(PidFile::Missing) => format!("there is no pid file {}", path.display()),
                Ok(PidFile::Stale { pid: None, .. }) => {
                    format!("the pid file {} is stale and names no process", path.display())
                }
                Ok(PidFile::Stale { pid: Some(pid), .. }) => format!(
                    "the pid file {} is stale: process {pid} {}",
                    path.display(),
                    fate(pid, "is not the server")
                ),
                Err(error) => return error.into(),
            },
            Trace::StateFile(path, pid) => format!(
                "the state file {} is stale: process {pid} {}",
                path.display(),
                fate(*pid, "does not answer")
            ),
        };
        CtlError::NotRunning { why }
    }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "its process is unknown".to_owned(), |pid| format!("process {pid}"))
}

fn fate(pid: i32, alive: &'static str) -> &'static str {
    match process::is_alive(Pid::from_raw(pid)) {
        Ok(false) => "is gone",
        Ok(true) | Err(_) => alive,
    }
}

/// `unix://PATH`, written as for `rackrs --bind`, without options.
fn socket_at(url: &str) -> Result<PathBuf, CtlError> {
    let wrong = |reason: &str| CtlError::Url { url: url.to_owned(), reason: reason.to_owned() };
    if url.contains('?') {
        return Err(wrong("it takes no options; write unix://PATH"));
    }
    let directory = env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    match parse_bind(url, &directory).map_err(|reason| wrong(&reason))? {
        Bind::Unix { path, .. } => Ok(path),
        Bind::Tcp { .. } | Bind::Abstract { .. } => {
            Err(wrong("a control socket is a file; write unix://PATH"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_url_is_a_file() {
        let there = |url| socket_at(url).map_err(|error| error.to_string());
        assert_eq!(there("unix:///tmp/a.ctl"), Ok("/tmp/a.ctl".into()));
        assert_eq!(there("unix:///tmp/a%20b.ctl"), Ok("/tmp/a b.ctl".into()));
        assert_eq!(there("unix://a.ctl"), Ok(env::current_dir().unwrap().join("a.ctl")));
        for (url, reason) in [
            ("tcp://127.0.0.1:80", "a control socket is a file; write unix://PATH"),
            ("unix://@name", "a control socket is a file; write unix://PATH"),
            ("unix:///tmp/a?mode=0600", "it takes no options; write unix://PATH"),
            ("/tmp/a", "the scheme is missing; write unix:///tmp/a"),
        ] {
            let text = format!("cannot use the control URL {url}: {reason}");
            assert_eq!(there(url), Err(text));
        }
    }
}
