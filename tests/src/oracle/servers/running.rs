//! A server of the oracle, from its start to its end.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{command::command, kind::Kind};
use crate::{
    PATIENCE,
    oracle::{
        address::Address,
        release::{FIRST, Release},
        restart::{Round, Subject},
    },
    patience::within_patience,
    process,
};

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long the application takes to boot.
    pub boot_time: Duration,
    /// Worker processes. Unicorn gets more when long requests would hold all of them.
    pub workers: u16,
    /// Threads of each, where the server has threads.
    pub threads: u16,
    /// The `rackrs` program.
    pub rackrs: PathBuf,
}

impl Setup {
    /// The longest that one start or restart may take: every worker may boot after the other.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.boot_time * u32::from(self.workers.max(1)) + PATIENCE
    }
}

/// A server that runs; dropping it ends it.
#[derive(Debug)]
pub struct Running {
    kind: Kind,
    subject: Subject,
    folder: TempDir,
    child: Child,
}

impl Running {
    /// Starts a server in a fresh folder, on a Unix socket and a TCP port, and waits until it
    /// answers on both.
    ///
    /// # Errors
    ///
    /// When it does not start or not answer, with its log.
    pub fn start(kind: Kind, setup: &Setup) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("rackrs-oracle-").context("no temporary folder")?;
        let subject = Subject {
            addresses: vec![
                Address::Unix(folder.path().join("web.sock")),
                Address::Tcp(free_port().context("no free port")?),
            ],
            pid_file: folder.path().join("web.pid"),
            release: Release::first(folder.path()).context("cannot write the release")?,
        };
        let log = File::create(folder.path().join("log"))?;
        let mut command = command(kind, setup, folder.path(), &subject)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let server = Self { kind, subject, folder, child };
        let first = Round { subject: &server.subject, marker: FIRST, limit: setup.limit() };
        first
            .await_first_answer()
            .with_context(|| format!("it does not serve\n{}", server.log()))?;
        Ok(server)
    }

    /// What the oracle has to know.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Restarts it, and returns when the restart is complete.
    ///
    /// # Errors
    ///
    /// When it is not complete within the limit.
    pub fn restart(&self, round: &Round) -> anyhow::Result<()> {
        self.kind.restart(self, round)
    }

    /// Its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The process that the pid file names.
    pub(super) fn written_pid(&self) -> anyhow::Result<i32> {
        let path = &self.subject.pid_file;
        let text = fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
        text.trim().parse().with_context(|| format!("not a pid: {text:?}"))
    }

    /// Signals the master, and gives its pid.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<i32> {
        let master = self.written_pid()?;
        if !process::living_in(self.folder.path()).contains(&master) {
            bail!("the pid file names process {master}, which is none of this server's");
        }
        kill(Pid::from_raw(master), signal)
            .with_context(|| format!("cannot send {signal} to the master {master}"))?;
        Ok(master)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let folder = self.folder.path();
        // Where this fails nobody is left to be told, or the second step does it.
        let _told = self.signal(Signal::SIGTERM);
        if within_patience(|| process::living_in(folder).is_empty().then_some(())).is_none() {
            for pid in process::living_in(folder) {
                process::send_if_alive(pid, Signal::SIGKILL);
            }
        }
        // The first master is a child of this process, whoever the master is by now.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A port that nobody listens on. Not every peer tells which one it got for port 0.
fn free_port() -> std::io::Result<std::net::SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
