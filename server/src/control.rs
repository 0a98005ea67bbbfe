//! The control socket: how `rackrsctl` and other programs speak to a running master.
//!
//! A connection carries one request and one reply, each a line of JSON; then the server closes it.
//!
//! - [`protocol`]: what can be asked and what is answered
//! - [`stats`]: the state of a server, the longest of the answers
//! - [`server`]: the socket, for the master's loop
//! - [`conversation`]: one connection of it
//! - [`peer`]: who may ask

mod conversation;
mod peer;
mod protocol;
mod server;
mod stats;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

pub use protocol::{Reply, Request, WorkerBacktraces, WorkerChange};
pub use server::{Asked, CONNECTIONS_MAX, ControlError, ControlServer};
pub use stats::{
    LastRestart, MoldStats, OldestRequest, Outcome, RestartKind, Restarts, RunningRestart,
    ServerState, Stats, WorkerStats,
};

pub(crate) use conversation::{ANSWER_LIMIT, READ_LIMIT};
pub(crate) use protocol::encode;

/// The extension of a control socket.
const EXTENSION: &str = "ctl";

/// Where the control socket of the server with this pid file is: beside it, `/tmp/web_server.ctl`
/// for `/tmp/web_server.pid`.
#[must_use]
pub fn socket_of(pid_file: &Path) -> PathBuf {
    if pid_file.extension() == Some(OsStr::new(EXTENSION)) {
        // The two must not be one file.
        return pid_file.with_added_extension(EXTENSION);
    }
    pid_file.with_extension(EXTENSION)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::socket_of;

    #[test]
    fn the_socket_is_beside_the_pid_file_and_never_the_same() {
        for (pid_file, socket) in [
            ("/tmp/web_server.pid", "/tmp/web_server.ctl"),
            ("/run/app/rackrs", "/run/app/rackrs.ctl"),
            ("/run/app/a.b.pid", "/run/app/a.b.ctl"),
            ("/run/app/.pid", "/run/app/.pid.ctl"),
            ("/run/app/x.ctl", "/run/app/x.ctl.ctl"),
            ("x.pid", "x.ctl"),
        ] {
            assert_eq!(socket_of(Path::new(pid_file)), Path::new(socket));
        }
    }
}
