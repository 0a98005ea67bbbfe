//! The control socket and the state file: where they are, whose they are, and when they are gone.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::{SIGKILL, SIGTERM, SIGUSR2};
use rackrs_tests::{
    Finished, Server, ServerBuilder, binary,
    ctl::{ctl, ctl_binary, json},
    eventually, process,
};

/// rackrsctl's statuses, as its reference tells them.
const NOT_RUNNING: i32 = 3;
const NOT_PERMITTED: i32 = 77;

/// A user who is nobody here.
const NOBODY: u32 = 65534;

fn socket_of(server: &Server) -> PathBuf {
    server.pid_file().with_extension("ctl")
}

/// The socket's mode and inode.
fn identity(path: &Path) -> (u32, u64) {
    let there = fs::symlink_metadata(path).expect("it is there");
    assert!(there.file_type().is_socket(), "{} is a socket", path.display());
    (there.mode() & 0o7777, there.ino())
}

fn unix_url(path: &Path) -> String {
    format!("unix://{}", path.display())
}

#[test]
fn it_is_for_its_owner_alone_from_the_start_to_the_stop_and_over_restarts() {
    for daemon in [false, true] {
        let builder = ServerBuilder::of_source("run ->(_) { [200, {}, []] }\n");
        let mut server = if daemon { builder.daemon().start() } else { builder.start() };
        let socket = socket_of(&server);
        let first = identity(&socket);
        assert_eq!(first.0, 0o600);
        server.ctl("restart --wait").assert_success();
        assert_eq!(identity(&socket), first, "it is the same over a restart");
        fs::write(server.path("config.ru"), "raise 'too bad'\n").expect("it is ours");
        assert_eq!(server.ctl("restart --wait").code(), 1);
        assert_eq!(identity(&socket), first, "and over one that fails");
        server.end_by(SIGTERM);
        assert!(!socket.exists());
    }
}

#[test]
fn a_url_says_where_it_is() {
    let builder = Server::builder("hello.ru");
    let path = builder.path("elsewhere.ctl");
    let mut server = builder.arg("--control-url").arg(unix_url(&path)).start();
    assert_eq!(identity(&path).0, 0o600);
    assert!(!socket_of(&server).exists());
    let by_url = ctl(&server.path(""), &["-C", &unix_url(&path), "-j", "stats"]);
    assert_eq!(json(&by_url)["pid"], server.master());
    server.end_by(SIGTERM);
    assert!(!path.exists());
    let gone = ctl(&server.path(""), &["-C", &unix_url(&path), "status"]);
    assert_eq!(gone.code(), NOT_RUNNING, "{gone}");
}

#[test]
fn the_state_file_leads_to_it() {
    let builder = Server::builder("hello.ru");
    // What YAML and URLs have other meanings for.
    let path = builder.path("a b%41#c.ctl");
    let state = builder.path("state");
    let url = format!("unix://{}/a%20b%2541%23c.ctl", builder.folder().display());
    let builder = builder.arg("--control-url").arg(&url);
    let mut server = builder.arg("-S").arg(&state).start();
    assert!(path.exists());
    let text = fs::read_to_string(&state).expect("it is written when the server serves");
    let folder = server.path("").to_string_lossy().trim_end_matches('/').to_owned();
    let expected = format!(
        "---\npid: {}\ncontrol_url: {url}\ncontrol_auth_token: \nrunning_from: \"{folder}\"\n",
        server.master()
    );
    assert_eq!(text, expected);
    let by_state =
        |words: &str| ctl(&server.path(""), &["-S".as_ref(), state.as_os_str(), OsStr::new(words)]);
    by_state("status").assert_says(&format!("pid {}", server.master()));
    // A restart writes it anew.
    fs::remove_file(&state).expect("it is there");
    ctl(&server.path(""), &["-C", &url, "restart", "--wait"]).assert_success();
    assert_eq!(server.read("state"), expected);
    by_state("stop").assert_success();
    server.await_end();
    assert!(!state.exists() && !path.exists());
    let gone = ctl(&server.path(""), &["-S".as_ref(), state.as_os_str(), OsStr::new("status")]);
    assert_eq!(gone.code(), NOT_RUNNING, "{gone}");
}

#[test]
fn a_state_file_that_is_in_the_way() {
    let precious = |builder: &ServerBuilder| {
        let path = builder.path("precious");
        fs::write(&path, "precious").expect("the test's folder can be written");
        path
    };
    // What a killed server has left.
    let builder = Server::builder("hello.ru").file("state", "---\npid: 4242\n");
    let state = builder.path("state");
    let server = builder.arg("-S").arg(&state).start();
    assert!(server.read("state").contains(&format!("pid: {}\n", server.master())));
    // Another server's is left at the stop.
    let mut server = server;
    fs::write(&state, "---\npid: 4242\n").expect("the test's folder can be written");
    server.end_by(SIGTERM);
    assert_eq!(server.read("state"), "---\npid: 4242\n");
    // A link is replaced, not followed.
    let builder = Server::builder("hello.ru");
    let (target, state) = (precious(&builder), builder.path("state"));
    symlink(&target, &state).expect("the test's folder can be written");
    let mut server = builder.arg("-S").arg(&state).start();
    assert!(!state.is_symlink() && server.read("precious") == "precious");
    server.end_by(SIGTERM);
    assert!(!state.exists() && server.read("precious") == "precious");
    // A directory keeps nobody from serving.
    let builder = Server::builder("hello.ru");
    let state = builder.path("state");
    fs::create_dir(&state).expect("the test's folder can be written");
    let mut server = builder.arg("-S").arg(&state).start();
    server.eventually_logs("cannot write the state file");
    assert_eq!(server.get("/").status, 200);
    server.end_by(SIGTERM);
    assert!(state.is_dir());
}

/// Runs `rackrsctl` as another user; `None` where that cannot be done.
fn as_nobody(server: &Server, words: &[&str]) -> Option<Finished> {
    let may = nix::unistd::geteuid().is_root() && Path::new("/usr/bin/setpriv").exists();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(ctl_binary());
    may.then(|| Finished::of(command.args(words), &server.path("")))
}

#[test]
fn other_users_are_refused_by_its_mode_and_by_the_master() {
    let mut server = Server::builder("hello.ru").start();
    fs::set_permissions(server.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let socket = socket_of(&server);
    let url = unix_url(&socket);
    for mode in [0o600, 0o666] {
        fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).expect("it is ours");
        for command in ["status", "stats", "stop", "halt", "restart", "backtraces"] {
            let Some(refused) = as_nobody(&server, &["-C", &url, command]) else { return };
            assert_eq!(refused.code(), NOT_PERMITTED, "{command} {mode:o}: {refused}");
            assert!(
                refused.err.contains("permitted") || refused.err.contains("may not"),
                "{refused}"
            );
        }
    }
    assert_eq!(server.stats()["restarts"]["begun"], 0);
    server.end_by(SIGTERM);
}

#[test]
fn a_server_of_another_user_is_controlled_by_root() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let builder = Server::builder("hello.ru");
    chown(builder.folder(), Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"].map(OsStr::new);
    let rackrs = binary();
    let arguments: Vec<&OsStr> = user.into_iter().chain([rackrs.as_os_str()]).collect();
    let server = builder.through("setpriv", &arguments).start();
    let there = fs::symlink_metadata(socket_of(&server)).expect("it is there");
    assert_eq!((there.uid(), there.mode() & 0o7777), (NOBODY, 0o600));
    server.ctl("restart --wait").assert_success();
    let own = as_nobody(&server, &["-C", &unix_url(&socket_of(&server)), "status"]);
    own.expect("we are root").assert_success();
    server.ctl("stop").assert_success();
}

#[test]
fn a_dead_one_is_replaced() {
    let builder = Server::builder("hello.ru");
    let path = builder.pid_file().with_extension("ctl");
    drop(UnixListener::bind(&path).expect("a socket can be bound"));
    let mut server = builder.start();
    server.ctl("status").assert_success();
    // And what a killed master has left.
    server.signal(SIGKILL);
    server.await_end();
    server.assert_nobody_left();
    assert!(path.exists());
    assert_eq!(server.ctl("status").code(), NOT_RUNNING);
    let next = ServerBuilder::new("hello.ru").pid_file_at(server.pid_file()).start();
    assert_eq!(json(&next.ctl("stats -j"))["pid"], next.master());
}

#[test]
fn a_living_one_is_refused_with_its_owner_and_lives_on() {
    let first = Server::builder("hello.ru").start();
    let url = unix_url(&socket_of(&first));
    for flags in ["", "-d"] {
        let builder = ServerBuilder::new("hello.ru").args(flags);
        let refused = builder.arg("--control-url").arg(&url).run_in_vain();
        refused.assert_says("cannot open the control socket");
        refused.assert_says(&format!("already listening, process {}", first.master()));
        // The other way round: its pid file, a control socket of our own.
        let builder = ServerBuilder::new("hello.ru").args(flags).pid_file_at(first.pid_file());
        let own = builder.path("own.ctl");
        let refused = builder.arg("--control-url").arg(unix_url(&own)).run();
        refused.assert_failure();
        refused.assert_says(&first.master().to_string());
        assert!(!own.exists());
    }
    assert_eq!(first.stats()["pid"], first.master());
    assert_eq!(first.written_pid(), Some(first.master()));
    // A stranger that listens there.
    let builder = ServerBuilder::new("hello.ru");
    let path = builder.pid_file().with_extension("ctl");
    let stranger = UnixListener::bind(&path).expect("a socket can be bound");
    builder.run_in_vain().assert_says(&format!("process {}", std::process::id()));
    stranger.set_nonblocking(true).expect("a socket takes options");
    assert!(stranger.accept().is_ok(), "it was asked whether it lives, and does");
}

#[test]
fn what_is_no_socket_is_refused_and_kept() {
    type Put = (&'static str, fn(&Path));
    let put: [Put; 5] = [
        ("a file", |path| fs::write(path, "precious").expect("it can be written")),
        ("a directory", |path| fs::create_dir(path).expect("it can be made")),
        ("a pipe", |path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("it can be made");
        }),
        ("a link to a dead socket", |path| {
            let target = path.with_extension("target");
            drop(UnixListener::bind(&target).expect("a socket can be bound"));
            symlink(target, path).expect("it can be made");
        }),
        ("a link to nothing", |path| symlink("nothing", path).expect("it can be made")),
    ];
    for (what, put) in put {
        for at in ["the control socket", "the socket"] {
            let builder = ServerBuilder::new("hello.ru");
            let path = match at {
                "the socket" => builder.socket().to_owned(),
                _ => builder.pid_file().with_extension("ctl"),
            };
            put(&path);
            let before = fs::symlink_metadata(&path).expect("it is there").ino();
            let refused = builder.run();
            refused.assert_failure();
            refused.assert_says(&path.to_string_lossy());
            let after = fs::symlink_metadata(&path).expect("it is there").ino();
            assert_eq!(before, after, "{what} in place of {at}");
            assert!(!builder.pid_file().exists());
        }
    }
}

#[test]
fn a_dead_one_of_another_user_is_refused_and_kept() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let builder = Server::builder("hello.ru");
    let path = builder.pid_file().with_extension("ctl");
    drop(UnixListener::bind(&path).expect("a socket can be bound"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("it is ours");
    chown(builder.folder(), Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"].map(OsStr::new);
    let rackrs = binary();
    let arguments: Vec<&OsStr> = user.into_iter().chain([rackrs.as_os_str()]).collect();
    let builder = builder.through("setpriv", &arguments);
    builder.run_in_vain().assert_says("it belongs to user 0");
    assert!(path.exists());
}

#[test]
fn one_that_was_taken_away_is_missed_by_rackrsctl_alone() {
    let mut server = Server::builder("hello.ru").start();
    let socket = socket_of(&server);
    fs::remove_file(&socket).expect("it is there");
    let missed = server.ctl("restart");
    missed.assert_failure();
    missed.assert_says(&format!("process {}", server.master()));
    server.signal(SIGUSR2);
    server.eventually_logs("Restart 1 (restart) succeeded");
    // Somebody else's by now: left at the stop.
    let other = UnixListener::bind(&socket).expect("a socket can be bound");
    assert!(process::is_alive(server.master()));
    server.signal(SIGTERM);
    server.await_end();
    assert!(socket.exists());
    drop(other);
}

#[test]
fn a_number_in_the_pid_file_is_never_signalled() {
    let mut stranger = Command::new("sleep").arg("600").spawn().expect("sleep runs");
    let pid = stranger.id().cast_signed();
    // A running server whose file was written over: its lock and socket tell the right process.
    let mut server = Server::builder("hello.ru").start();
    fs::write(server.pid_file(), pid.to_string()).expect("it is ours");
    assert_eq!(server.stats()["pid"], server.master());
    server.ctl("restart --wait").assert_success();
    server.ctl("stop").assert_success();
    server.await_end();
    // A stale file with a number that is in use again.
    fs::write(server.pid_file(), pid.to_string()).expect("the test's folder can be written");
    for command in ["stop", "halt", "restart", "reload-logs"] {
        let refused = server.ctl(command);
        assert_eq!(refused.code(), NOT_RUNNING, "{refused}");
        refused.assert_says(&format!("process {pid} is not the server"));
    }
    eventually("the stranger lives", || process::is_alive(pid).then_some(()));
    stranger.kill().expect("a child can be killed");
    stranger.wait().expect("a child can be waited for");
}
