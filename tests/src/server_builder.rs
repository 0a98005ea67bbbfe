//! How a server of a test is put together before it is started.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    Connection, Finished, RackVersion, Server, app, binary, patience::within_patience, process,
    server::Started,
};

/// A command line of `rackrs`, in a fresh folder of its own.
#[derive(Debug)]
pub struct ServerBuilder {
    folder: TempDir,
    rackup: Option<PathBuf>,
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    unix: bool,
    tcp: bool,
    daemon: bool,
    socket: PathBuf,
    pid_file: PathBuf,
    passed: Option<[OwnedFd; 2]>,
}

/// Puts what are standard input and output to where a service manager passes sockets.
const ACTIVATE: &str = "exec 3<&0 4<&1 0</dev/null 1>&2
export LISTEN_FDS=2 LISTEN_PID=$$
exec \"$0\" \"$@\"";

impl ServerBuilder {
    /// A server for the application `tests/apps/NAME`, listening on a socket in a fresh folder.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut builder = Self::bare();
        builder.rackup = Some(app(name));
        builder
    }

    /// A server for an application that is written into its folder as `config.ru`.
    #[must_use]
    pub fn of_source(ruby: &str) -> Self {
        let mut builder = Self::bare();
        let path = builder.folder.path().join("config.ru");
        fs::write(&path, ruby).expect("the test's folder can be written");
        builder.rackup = Some(path);
        builder
    }

    /// A command line without an application.
    #[must_use]
    pub fn bare() -> Self {
        let folder = TempDir::with_prefix("rackrs-test-").expect("a temporary folder can be made");
        Self {
            socket: folder.path().join("web.sock"),
            pid_file: folder.path().join("web.pid"),
            folder,
            rackup: None,
            program: binary(),
            arguments: Vec::new(),
            variables: Vec::new(),
            unix: true,
            tcp: false,
            daemon: false,
            passed: None,
        }
    }

    /// Chooses the Rack.
    #[must_use]
    pub fn rack(mut self, rack: &RackVersion) -> Self {
        for (name, value) in rack.variables() {
            self = self.env(name, value);
        }
        self
    }

    /// Another program in place of `rackrs` itself, `bundle exec rackrs` for example; `arguments`
    /// come before all others.
    #[must_use]
    pub fn through(mut self, program: &str, arguments: &[&OsStr]) -> Self {
        self.program = PathBuf::from(program);
        self.arguments.splice(0..0, arguments.iter().map(OsString::from));
        self
    }

    /// Passes two listening sockets as a service manager does, as descriptors 3 and 4.
    #[must_use]
    pub fn passing(mut self, sockets: [OwnedFd; 2]) -> Self {
        self.passed = Some(sockets);
        let program = self.program.clone();
        self.through("sh", &[OsStr::new("-c"), OsStr::new(ACTIVATE), program.as_os_str()])
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments, separated by blanks.
    #[must_use]
    pub fn args(mut self, line: &str) -> Self {
        self.arguments.extend(line.split_whitespace().map(OsString::from));
        self
    }

    /// Sets an environment variable. Only those of the kit and those set here exist.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Listens on a free port of 127.0.0.1 as well.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Gives no `-b` for the socket in the folder.
    #[must_use]
    pub fn no_unix(mut self) -> Self {
        self.unix = false;
        self
    }

    /// Starts it by `-d`.
    #[must_use]
    pub fn daemon(mut self) -> Self {
        self.daemon = true;
        self
    }

    /// Writes a file into the folder.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).expect("the test's folder can be written");
        self
    }

    /// A path in the folder of this server.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Listens on another socket file than the one in its folder.
    #[must_use]
    pub fn socket_at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.socket);
        self
    }

    /// Writes another pid file than the one in its folder.
    #[must_use]
    pub fn pid_file_at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.pid_file);
        self
    }

    /// Where it will listen.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where its pid file will be.
    #[must_use]
    pub fn pid_file(&self) -> &Path {
        &self.pid_file
    }

    /// The command, ready to be run.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let folder = self.folder.path();
        command.current_dir(folder).env_clear().args(&self.arguments);
        for name in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LANG", "C.UTF-8")
            .env("HOME", folder)
            .env("PWD", folder)
            .env("FOLDER", folder)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        if self.unix {
            command.arg("-b").arg(format!("unix://{}", self.socket().display()));
        }
        if self.tcp {
            command.args(["-b", "tcp://127.0.0.1:0"]);
        }
        command.arg("--pidfile").arg(&self.pid_file);
        if self.daemon {
            command.arg("-d");
        }
        command.args(&self.rackup);
        command
    }

    /// Ends whatever runs in the folder when it is dropped, for tests that start the command by
    /// themselves. Make it after the builder, so that it goes first.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard { folder: self.folder.path().to_owned() }
    }

    /// Runs it to its end, for command lines that are not to serve.
    ///
    /// Panics when something of it lives on.
    #[must_use]
    pub fn run(&self) -> Finished {
        let finished = Finished::of(&mut self.command(), self.folder.path());
        self.assert_nobody(&finished);
        finished
    }

    /// Runs the binary alone with the arguments and variables given, without socket, pid file and
    /// application.
    #[must_use]
    pub fn run_plain(&self) -> Finished {
        let mut command = Command::new(&self.program);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.current_dir(self.folder.path()).args(&self.arguments).envs(variables);
        let finished = Finished::of(&mut command, self.folder.path());
        self.assert_nobody(&finished);
        finished
    }

    fn assert_nobody(&self, finished: &Finished) {
        // A daemon that failed has told its command so, and is just about to be gone.
        let nobody = || process::living_in(self.folder.path()).is_empty().then_some(());
        if within_patience(nobody).is_some() {
            return;
        }
        let left = process::living_in(self.folder.path());
        let titles: Vec<_> = left.iter().map(|&pid| process::title(pid)).collect();
        for &pid in &left {
            process::send_if_alive(pid, nix::sys::signal::SIGKILL);
        }
        panic!("{titles:?} lived on after: {finished}");
    }

    /// Runs it to its end, which must be a failure that leaves no pid file and no socket.
    #[must_use]
    pub fn run_in_vain(&self) -> Finished {
        let finished = self.run();
        finished.assert_failure();
        for path in [self.pid_file(), self.socket()] {
            assert!(fs::symlink_metadata(path).is_err(), "{} was left: {finished}", path.display());
        }
        finished
    }

    /// Starts it and waits until it serves; panics with its log when it ends instead.
    #[must_use]
    pub fn start(self) -> Server {
        let command = self.command();
        Server::start(Started {
            socket: self.unix.then_some(self.socket),
            pid_file: self.pid_file,
            folder: self.folder,
            command,
            tcp: self.tcp,
            daemon: self.daemon,
            passed: self.passed,
        })
    }

    /// Whether somebody listens on the socket in the folder.
    #[must_use]
    pub fn is_served(&self) -> bool {
        Connection::try_unix(&self.socket).is_some()
    }

    /// The folder of this server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// See [`ServerBuilder::guard`].
#[derive(Debug)]
pub struct Guard {
    folder: PathBuf,
}

impl Drop for Guard {
    fn drop(&mut self) {
        for pid in process::living_in(&self.folder) {
            process::send_if_alive(pid, nix::sys::signal::SIGKILL);
        }
    }
}
