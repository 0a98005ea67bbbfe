//! A server that serves, and its end.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Connection, Response, ServerBuilder, eventually, patience::within_patience, process};

/// What is needed to start a server.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) folder: TempDir,
    pub(crate) command: Command,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) pid_file: PathBuf,
    pub(crate) tcp: bool,
    pub(crate) daemon: bool,
    /// For standard input and output, in place of nothing and the log.
    pub(crate) passed: Option<[OwnedFd; 2]>,
}

/// A running server of a test. Dropping it ends it, prints its log if the test panics, and panics
/// if a process of it lives on.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    /// The command, unless it was a daemon's and has ended.
    child: Option<Child>,
    master: i32,
    socket: Option<PathBuf>,
    pid_file: PathBuf,
    tcp: Option<SocketAddr>,
    ended: bool,
}

impl Server {
    /// The usual server: `tests/apps/NAME` on a Unix socket.
    #[must_use]
    pub fn builder(name: &str) -> ServerBuilder {
        ServerBuilder::new(name)
    }

    pub(crate) fn start(started: Started) -> Self {
        let Started { folder, mut command, socket, pid_file, tcp, daemon, passed } = started;
        let log =
            File::create(folder.path().join("log")).expect("the test's folder can be written");
        let stderr = log.try_clone().expect("a descriptor can be doubled");
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        if let Some([first, second]) = passed {
            command.stdin(first).stdout(second);
        }
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        // Which holds the sockets that are passed.
        drop(command);
        let master = child.id().cast_signed();
        let mut server =
            Self { folder, child: Some(child), master, socket, pid_file, tcp: None, ended: false };
        if daemon {
            server.await_daemon();
        } else {
            server.await_pid_file();
        }
        if tcp {
            server.tcp = Some(server.logged_address());
        }
        server
    }

    /// Foreground: ready when the pid file names it and the socket can be connected to.
    fn await_pid_file(&mut self) {
        eventually("the server serves or ends", || {
            let child = self.child.as_mut().expect("a foreground server is our child");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                self.ended = true;
                panic!("the server ended with {status} instead of serving");
            }
            (self.written_pid() == Some(self.master)).then_some(())
        });
        if let Some(path) = &self.socket {
            assert!(Connection::try_unix(path).is_some(), "nobody listens on {}", path.display());
        }
    }

    /// Daemon: ready, by its promise, when the command has ended with 0.
    fn await_daemon(&mut self) {
        let mut child = self.child.take().expect("the command has just been started");
        let status = eventually("the daemon's command ends", || child.try_wait().ok().flatten());
        self.master = self.written_pid().unwrap_or(0);
        assert!(status.success(), "the daemon's command ended with {status}");
        assert!(process::is_alive(self.master), "the pid file names no living process");
    }

    fn logged_address(&self) -> SocketAddr {
        let line = "* Listening on http://";
        eventually("the log tells the port", || {
            let log = self.log();
            let address = log.split(line).nth(1)?.lines().next()?.trim().to_owned();
            address.parse().ok()
        })
    }

    /// The pid in the pid file, if it holds one.
    #[must_use]
    pub fn written_pid(&self) -> Option<i32> {
        // A pipe in its place would be waited for.
        let is_file = fs::symlink_metadata(&self.pid_file).ok()?.is_file();
        is_file.then(|| fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok())?
    }

    /// The master's pid.
    #[must_use]
    pub fn master(&self) -> i32 {
        self.master
    }

    /// The pid of a worker that serves `GET /pid`.
    #[must_use]
    pub fn worker(&self) -> i32 {
        let response = self.get("/pid").expect(200);
        response.text().trim().parse().expect("/pid answers with a number")
    }

    /// The mold: the one child of the master that is none of `workers`.
    #[must_use]
    pub fn mold(&self, workers: &[i32]) -> i32 {
        let mut others = process::children(self.master);
        others.retain(|pid| !workers.contains(pid));
        assert_eq!(others.len(), 1, "the master has one mold beside its workers {workers:?}");
        others[0]
    }

    /// Standard output and error so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the log contains `words`, and gives the log.
    #[allow(clippy::must_use_candidate, reason = "often only the waiting is wanted")]
    pub fn eventually_logs(&self, words: &str) -> String {
        eventually(&format!("the log says {words:?}"), || {
            Some(self.log()).filter(|log| log.contains(words))
        })
    }

    /// Waits until `GET /` is answered with a text that begins with `words`. An old worker may
    /// still accept for a moment when the new ones serve.
    pub fn eventually_answers(&self, words: &str) {
        eventually(&format!("the server answers {words:?}"), || {
            self.get("/").expect(200).text().starts_with(words).then_some(())
        });
    }

    /// A path in the server's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the server's folder as text; empty when there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Puts a file into the server's folder, by a rename: whoever reads it sees all of it.
    pub fn write(&self, name: &str, text: &str) {
        let whole = self.path(&format!("{name}.whole"));
        fs::write(&whole, text)
            .and_then(|()| fs::rename(whole, self.path(name)))
            .expect("the test's folder can be written");
    }

    /// Its socket file.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().expect("this server listens on a socket file")
    }

    /// Its pid file.
    #[must_use]
    pub fn pid_file(&self) -> &Path {
        &self.pid_file
    }

    /// Its TCP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tcp.expect("this server was built with tcp()")
    }

    /// Whether this is its TCP address, should it have one.
    #[must_use]
    pub fn listens_at(&self, address: SocketAddr) -> bool {
        self.tcp == Some(address)
    }

    /// A new connection over the Unix socket, or TCP where it has no other.
    #[must_use]
    pub fn connect(&self) -> Connection {
        self.socket.as_deref().map_or_else(|| self.connect_tcp(), Connection::unix)
    }

    /// A new connection over TCP.
    #[must_use]
    pub fn connect_tcp(&self) -> Connection {
        Connection::tcp(self.address())
    }

    /// One GET on a connection of its own.
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// One request on a connection of its own.
    #[must_use]
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().ask(request)
    }

    /// Waits until the application stands at `Gate.pass(name)`.
    pub fn await_gate(&self, name: &str) {
        let reached = self.path(&format!("{name}.reached"));
        eventually(&format!("the application reaches gate {name}"), || {
            reached.exists().then_some(())
        });
    }

    /// Lets the application through `Gate.pass(name)`, now and later.
    pub fn open_gate(&self, name: &str) {
        File::create(self.path(&format!("{name}.open"))).expect("the test's folder can be written");
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        process::send(self.master, signal);
    }

    /// Sends `signal` to the master, waits for its end and checks that nothing is left: no
    /// process, no pid file, no socket. `None` for a daemon, whose status nobody can have.
    pub fn end_by(&mut self, signal: Signal) -> Option<ExitStatus> {
        self.signal(signal);
        let status = self.await_end();
        self.assert_nobody_left();
        for path in [Some(&self.pid_file), self.socket.as_ref()].into_iter().flatten() {
            assert!(fs::symlink_metadata(path).is_err(), "{} was left", path.display());
        }
        status
    }

    /// Waits until the master has ended, by whatever cause.
    pub fn await_end(&mut self) -> Option<ExitStatus> {
        eventually("the master ends", || self.has_ended().then_some(()));
        self.ended = true;
        // A second wait for an ended child gives its status again.
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Whether the master has ended.
    fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().expect("a child can be waited for").is_some(),
            None => !process::is_alive(self.master),
        }
    }

    /// Waits until every process of this server is gone.
    pub fn assert_nobody_left(&self) {
        let folder = self.folder.path();
        let gone = within_patience(|| process::living_in(folder).is_empty().then_some(()));
        if gone.is_none() {
            let left = process::living_in(folder);
            let titles: Vec<_> = left.iter().map(|&pid| (pid, process::title(pid))).collect();
            for pid in left {
                process::send_if_alive(pid, Signal::SIGKILL);
            }
            panic!("processes were left: {titles:?}");
        }
    }

    /// Ends the server on the way out; says what was wrong.
    fn clean_up(&mut self) -> Result<(), String> {
        if !self.ended {
            process::send_if_alive(self.master, Signal::SIGTERM);
            if within_patience(|| self.has_ended().then_some(())).is_none() {
                process::send_if_alive(self.master, Signal::SIGKILL);
                within_patience(|| self.has_ended().then_some(()));
                self.kill_the_rest();
                return Err("the master did not end by TERM".to_owned());
            }
        }
        let folder = self.folder.path();
        if within_patience(|| process::living_in(folder).is_empty().then_some(())).is_some() {
            return Ok(());
        }
        let left = self.kill_the_rest();
        Err(format!("processes were left: {left:?}"))
    }

    fn kill_the_rest(&self) -> Vec<(i32, String)> {
        let left = process::living_in(self.folder.path());
        let titled = left.iter().map(|&pid| (pid, process::title(pid))).collect();
        for pid in left {
            process::send_if_alive(pid, Signal::SIGKILL);
        }
        titled
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr, reason = "what a failed test has to show")]
    fn drop(&mut self) {
        let panicking = thread::panicking();
        if panicking {
            eprintln!("--- log of the server\n{}--- end of the log", self.log());
        }
        if let Err(complaint) = self.clean_up() {
            assert!(panicking, "{complaint}\n--- log of the server\n{}", self.log());
            eprintln!("{complaint}");
        }
    }
}
