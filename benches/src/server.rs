//! Starts and stops the servers that are compared.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::sleep;

use crate::{
    load::{Exchange, Plan, Reuse, Stop, Target, run},
    process,
};

/// From the start to the first good answer.
const BOOT_LIMIT: Duration = Duration::from_secs(30);
/// From TERM to the end, before KILL.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Rackrs,
    /// Threads, and processes when asked for; the one that ratios refer to.
    Puma,
    /// One process for each request at a time.
    Unicorn,
    /// One process with an event loop.
    Thin,
}

impl Kind {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 4] = [Self::Rackrs, Self::Puma, Self::Unicorn, Self::Thin];

    /// Its name, which is its program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rackrs => "rackrs",
            Self::Puma => "puma",
            Self::Unicorn => "unicorn",
            Self::Thin => "thin",
        }
    }
}

/// How the client reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket.
    Unix,
    /// TCP on loopback.
    Tcp,
}

impl Transport {
    /// Both, in the order they are run.
    pub const ALL: [Self; 2] = [Self::Unix, Self::Tcp];

    /// Its name, as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        }
    }
}

/// What every server is given alike.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Worker processes; 0 is each server's way of running without any.
    pub workers: u16,
    /// Threads of each process, for servers that have threads.
    pub threads: u16,
    /// The application, absolute.
    pub rackup: PathBuf,
    /// Where sockets, logs and pid files go.
    pub folder: PathBuf,
}

/// A running server on one transport; it is stopped when dropped.
#[derive(Debug)]
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Where it listens.
    pub target: Target,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program` on `transport`. Follow with [`Server::wait_until_serving`].
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(
        kind: Kind,
        program: &Path,
        transport: Transport,
        setup: &Setup,
    ) -> anyhow::Result<Self> {
        let name = format!("{}-{}", kind.name(), transport.name());
        let target = match transport {
            Transport::Unix => Target::Unix(setup.folder.join(format!("{name}.sock"))),
            Transport::Tcp => Target::Tcp(format!("127.0.0.1:{}", free_port()?)),
        };
        let log = setup.folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new(program);
        arguments(&mut command, kind, &target, setup)?;
        command
            .current_dir(&setup.folder)
            .env("RACK_ENV", "production")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { kind, target, child, log })
    }

    /// Its first process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid fits")
    }

    /// Waits for the first good answer to `exchange`.
    ///
    /// # Errors
    ///
    /// When it ends, or does not answer within 30 s; its log is in the message.
    pub async fn wait_until_serving(&mut self, exchange: &Exchange) -> anyhow::Result<()> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let outcome = run(Plan {
                target: self.target.clone(),
                connections: 1,
                stop: Stop::Count(1),
                reuse: Reuse::OneRequest,
                exchange: exchange.clone(),
            })
            .await;
            if outcome.errors == 0 {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let why = outcome.first_error.unwrap_or_default();
                bail!("{} does not serve: {why}; its log:\n{log}", self.kind.name());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops it with TERM, and what is left of it after 10 s with KILL.
    ///
    /// # Errors
    ///
    /// When its processes cannot be listed or waited for.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let tree = process::pids(self.pid())?;
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                kill_all(&tree);
                self.child.wait()?;
                bail!("{} did not stop within {STOP_LIMIT:?}; killed", self.kind.name());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only a server that was not stopped properly is still there.
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_all(&process::pids(self.pid()).unwrap_or_else(|_| vec![self.pid()]));
            // It was killed just now, so this does not wait long; there is nobody to tell.
            let _ = self.child.wait();
        }
    }
}

fn kill_all(pids: &[i32]) {
    for pid in pids {
        // One that has ended meanwhile needs no signal.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
}

/// A port nobody uses now; another program could still take it before the server does.
fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The same wish in each server's words.
fn arguments(
    command: &mut Command,
    kind: Kind,
    target: &Target,
    setup: &Setup,
) -> anyhow::Result<()> {
    let uri = match target {
        Target::Unix(path) => format!("unix://{}", path.display()),
        Target::Tcp(address) => format!("tcp://{address}"),
    };
    let threads = format!("{0}:{0}", setup.threads);
    let workers = setup.workers.to_string();
    match kind {
        Kind::Rackrs | Kind::Puma => {
            command.args(["-b", &uri, "-w", &workers, "-t", &threads, "-e", "production"]);
            if kind == Kind::Rackrs {
                command.arg("--pidfile").arg(setup.folder.join("rackrs.pid"));
            }
            command.arg(&setup.rackup);
        }
        Kind::Unicorn => {
            let config = setup.folder.join("unicorn.rb");
            fs::write(&config, format!("worker_processes {}\n", setup.workers.max(1)))?;
            let listen = uri.trim_start_matches("unix://").trim_start_matches("tcp://");
            command.args(["-N", "-E", "production", "-l", listen, "-c"]).arg(config);
            command.arg(&setup.rackup);
        }
        Kind::Thin => {
            command.args(["start", "--quiet", "-e", "production", "-R"]).arg(&setup.rackup);
            match target {
                Target::Unix(path) => command.arg("-S").arg(path),
                Target::Tcp(address) => {
                    let (host, port) = address.rsplit_once(':').context("no port")?;
                    command.args(["-a", host, "-p", port])
                }
            };
        }
    }
    Ok(())
}
