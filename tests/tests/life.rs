//! Start, stop, death and replacement: processes, the pid file, the socket file.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{net::UnixListener, process::ExitStatusExt},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::{SIGINT, SIGKILL, SIGQUIT, SIGTERM};
use rackrs_tests::{
    Connection, Server, ServerBuilder, both_racks, eventually, holds_still, process,
};

/// A process that has nothing to do with us and must live on.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        let mut command = Command::new("cat");
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat runs"))
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        assert!(process::is_alive(self.pid()), "a foreign process was signalled");
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a child can be waited for");
    }
}

both_racks! {
    fn the_daemon_command_returns_when_it_serves(rack) {
        let mut server = Server::builder("hello.ru").rack(&rack).daemon().start();
        assert_eq!(server.get("/").expect(200).text(), "hello\n");
        assert_ne!(process::title(server.master()), "");
        server.end_by(SIGTERM);
    }

    fn stopping_leaves_nothing(rack) {
        for signal in [SIGTERM, SIGQUIT, SIGINT] {
            for flags in ["", "-w 2"] {
                let mut server = Server::builder("hello.ru").rack(&rack).args(flags).tcp().start();
                assert_eq!(server.get("/").status, 200);
                let idle = server.connect();
                let status = server.end_by(signal).expect("our own child");
                // Puma ends by TERM when told by TERM, and its users' scripts know that.
                let expected = if signal == SIGTERM { (None, Some(15)) } else { (Some(0), None) };
                assert_eq!((status.code(), status.signal()), expected);
                assert!(server.log().contains("Goodbye"), "{signal}: {}", server.log());
                drop(idle);
            }
        }
    }

    fn requests_in_hand_are_answered_at_the_stop(rack) {
        for signal in [SIGTERM, SIGQUIT, SIGINT] {
            let mut server = Server::builder("hello.ru").rack(&rack).start();
            let mut busy = server.connect();
            busy.send("GET /gate/held HTTP/1.1\r\nHost: a\r\n\r\n");
            server.await_gate("held");
            server.signal(signal);
            server.eventually_logs("Gracefully stopping");
            server.open_gate("held");
            let response = busy.receive().expect(200);
            assert_eq!(response.text(), "through held");
            busy.assert_closed();
            server.await_end();
            server.assert_nobody_left();
        }
    }

    fn a_killed_worker_is_replaced(rack) {
        let server = Server::builder("hello.ru").rack(&rack).start();
        for _ in 0..3 {
            let worker = server.worker();
            process::send(worker, SIGKILL);
            // The next request waits in the socket's queue for the next worker.
            let next = eventually("another worker answers", || {
                let mut connection = Connection::try_unix(server.socket())?;
                connection.offer("GET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
                connection.try_receive().filter(|response| response.text() != worker.to_string())
            });
            assert_eq!(next.status, 200);
        }
        server.eventually_logs("was killed by SIGKILL");
        eventually("the dead are reaped", || process::zombies(server.master()).is_empty().then_some(()));
    }

    fn a_killed_mold_harms_nobody(rack) {
        let server = Server::builder("hello.ru").rack(&rack).start();
        let worker = server.worker();
        let mold = server.mold(&[worker]);
        process::send(mold, SIGKILL);
        assert_eq!(server.worker(), worker);
        let next = eventually("another mold", || {
            let mut others = process::children(server.master());
            others.retain(|&pid| pid != worker && pid != mold);
            (others.len() == 1).then(|| others[0])
        });
        assert_ne!(next, mold);
        process::send(worker, SIGKILL);
        eventually("a worker of the new mold", || {
            let mut connection = Connection::try_unix(server.socket())?;
            connection.offer("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            connection.try_receive().filter(|response| response.status == 200)
        });
    }
}

#[test]
fn the_daemon_command_waits_for_the_load() {
    let builder = ServerBuilder::new("loading.ru").daemon();
    let _guard = builder.guard();
    let mut command = builder.command();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("rackrs runs");
    let reached = builder.path("load.reached");
    eventually("the application is being loaded", || reached.exists().then_some(()));
    holds_still("the command has not returned", || matches!(child.try_wait(), Ok(None)));
    assert!(!builder.pid_file().exists(), "no pid file before it serves");
    fs::write(builder.path("load.open"), "").expect("the test's folder can be written");
    let status =
        eventually("the command returns", || child.try_wait().expect("it can be waited for"));
    assert!(status.success(), "{status}");
    assert!(builder.is_served());
    let master =
        fs::read_to_string(builder.pid_file()).expect("a pid file").trim().parse().expect("a pid");
    assert_eq!(Connection::unix(builder.socket()).get("/").status, 200);
    process::send(master, SIGTERM);
    eventually("nobody is left", || process::living_in(builder.folder()).is_empty().then_some(()));
}

#[test]
fn a_daemon_has_left_the_terminal_and_its_streams() {
    let server = Server::builder("hello.ru").daemon().start();
    let stat = procfs::process::Process::new(server.master())
        .and_then(|process| process.stat())
        .expect("it lives");
    assert_eq!(stat.tty_nr, 0);
    assert_ne!(stat.session, nix::unistd::getsid(None).expect("this test has a session").as_raw());
    let stdin = fs::read_link(format!("/proc/{}/fd/0", server.master())).expect("a standard input");
    assert_eq!(stdin.to_string_lossy(), "/dev/null");
}

#[test]
fn what_is_in_the_way_of_the_pid_file() {
    let stranger = Stranger::new();
    let gone = {
        let mut child = Command::new("true").spawn().expect("true runs");
        child.wait().expect("a child can be waited for");
        child.id().to_string()
    };
    let contents = [
        gone,
        "999999999".into(),
        "garbage".into(),
        String::new(),
        "-1".into(),
        "0".into(),
        "1".into(),
        stranger.pid().to_string(),
        "12 34\n56".into(),
        "9".repeat(100),
        "\0".into(),
    ];
    for text in contents {
        let builder = ServerBuilder::new("hello.ru");
        fs::write(builder.pid_file(), &text).expect("the test's folder can be written");
        let mut server = builder.start();
        assert_eq!(server.written_pid(), Some(server.master()), "over {text:?}");
        server.end_by(SIGTERM);
    }
}

#[test]
fn a_pid_file_is_never_written_through_a_link() {
    let builder = ServerBuilder::new("hello.ru");
    let precious = builder.path("precious");
    fs::write(&precious, "precious").expect("the test's folder can be written");
    std::os::unix::fs::symlink(&precious, builder.pid_file())
        .expect("the test's folder can be written");
    let mut server = builder.start();
    assert_eq!(fs::read_to_string(&precious).expect("it is there"), "precious");
    assert!(!server.pid_file().is_symlink(), "replaced, not followed");
    server.end_by(SIGTERM);
    assert!(precious.exists());
}

#[test]
fn a_pipe_in_place_of_the_pid_file_holds_nobody() {
    let builder = ServerBuilder::new("hello.ru");
    nix::unistd::mkfifo(builder.pid_file(), nix::sys::stat::Mode::S_IRWXU)
        .expect("a pipe can be made");
    builder.start().end_by(SIGTERM);
}

#[test]
fn a_folder_in_place_of_the_pid_file_is_refused() {
    let builder = ServerBuilder::new("hello.ru");
    fs::create_dir(builder.pid_file()).expect("the test's folder can be written");
    let refused = builder.run();
    refused.assert_failure();
    refused.assert_says("web.pid");
    assert!(builder.pid_file().is_dir() && !builder.socket().exists());
}

#[test]
fn a_living_master_is_not_replaced() {
    let first = Server::builder("hello.ru").start();
    for daemon in [false, true] {
        let builder = ServerBuilder::new("hello.ru").pid_file_at(first.pid_file());
        let builder = if daemon { builder.daemon() } else { builder };
        let refused = builder.run();
        refused.assert_failure();
        refused.assert_says(&first.master().to_string());
    }
    assert_eq!(first.written_pid(), Some(first.master()));
    assert_eq!(first.get("/").status, 200);
}

#[test]
fn a_pid_file_of_somebody_else_is_left_at_the_stop() {
    let mut server = Server::builder("hello.ru").start();
    let other = server.path("other.pid");
    fs::write(&other, "4242").expect("the test's folder can be written");
    fs::rename(other, server.pid_file()).expect("the test's folder can be written");
    server.signal(SIGTERM);
    server.await_end();
    assert_eq!(server.written_pid(), Some(4242));
}

#[test]
fn a_dead_socket_is_replaced() {
    let builder = ServerBuilder::new("hello.ru");
    drop(UnixListener::bind(builder.socket()).expect("a socket can be bound"));
    assert!(builder.socket().exists(), "a closed listener leaves its file");
    let mut server = builder.start();
    assert_eq!(server.get("/").status, 200);
    server.end_by(SIGTERM);
}

#[test]
fn a_living_socket_is_refused_with_its_owner() {
    let first = Server::builder("hello.ru").start();
    for flags in ["", "-d"] {
        let refused = ServerBuilder::new("hello.ru").socket_at(first.socket()).args(flags).run();
        refused.assert_failure();
        refused.assert_says("already listening");
        refused.assert_says(&format!("process {}", first.master()));
    }
    assert_eq!(first.get("/").expect(200).text(), "hello\n");
}

#[test]
fn what_is_no_socket_is_refused_and_kept() {
    let builder = ServerBuilder::new("hello.ru");
    fs::write(builder.socket(), "precious").expect("the test's folder can be written");
    builder.run().assert_failure();
    assert_eq!(fs::read_to_string(builder.socket()).expect("it is there"), "precious");

    let builder = ServerBuilder::new("hello.ru");
    fs::create_dir(builder.socket()).expect("the test's folder can be written");
    builder.run().assert_failure();
    assert!(builder.socket().is_dir());

    // A link, even to a dead socket.
    let builder = ServerBuilder::new("hello.ru");
    let target = builder.path("target.sock");
    drop(UnixListener::bind(&target).expect("a socket can be bound"));
    std::os::unix::fs::symlink(&target, builder.socket())
        .expect("the test's folder can be written");
    builder.run().assert_failure();
    assert!(builder.socket().is_symlink() && target.exists());
}

#[test]
fn a_socket_of_somebody_else_is_left_at_the_stop() {
    let mut server = Server::builder("hello.ru").start();
    fs::remove_file(server.socket()).expect("the test's folder can be written");
    let other = UnixListener::bind(server.socket()).expect("a socket can be bound");
    server.signal(SIGTERM);
    server.await_end();
    assert!(server.socket().exists(), "not ours any more");
    drop(other);
}

#[test]
fn a_taken_port_is_refused() {
    let first = Server::builder("hello.ru").tcp().start();
    let refused = ServerBuilder::new("hello.ru")
        .arg("-b")
        .arg(format!("tcp://{}", first.address()))
        .run_in_vain();
    refused.assert_says(&first.address().port().to_string());
}

#[test]
fn a_killed_master_takes_its_workers_with_it() {
    let mut server = Server::builder("hello.ru").args("-w 2").start();
    assert_eq!(server.get("/").status, 200);
    server.signal(SIGKILL);
    server.await_end();
    server.assert_nobody_left();
    // What it left behind is in nobody's way.
    let mut next = ServerBuilder::new("hello.ru")
        .socket_at(server.socket())
        .pid_file_at(server.pid_file())
        .start();
    assert_eq!(next.get("/").status, 200);
    next.end_by(SIGTERM);
}

#[test]
fn workers_belong_to_the_master_and_share_the_work() {
    let server = Server::builder("hello.ru").args("-w 3 -t 1:1").start();
    let queued = || -> u64 {
        let stats = server.stats();
        let workers = stats["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().filter_map(|worker| worker["queue"].as_u64()).sum()
    };
    let mut workers = BTreeSet::new();
    let mut waiting = 0;
    let mut held = Vec::new();
    // On a machine so busy that an idle worker is late, a busy one takes a newcomer after all.
    while workers.len() < 3 {
        assert!(held.len() < 20, "a busy worker leaves the rest to idle ones: {workers:?}");
        let name = format!("gate{}", held.len());
        let mut connection = server.connect();
        connection.send(format!("GET /gate/{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let worker = eventually("a worker has the request, or it waits for one", || {
            let reached: Option<i32> = server.read(&format!("{name}.reached")).parse().ok();
            reached.map(Some).or_else(|| (queued() > waiting).then_some(None))
        });
        waiting += u64::from(worker.is_none());
        workers.extend(worker);
        held.push((name, connection));
    }
    let workers: Vec<i32> = workers.into_iter().collect();
    let children = process::children(server.master());
    assert!(workers.iter().all(|worker| children.contains(worker)));
    assert!(!workers.contains(&server.mold(&workers)));
    for (name, _) in &held {
        server.open_gate(name);
    }
    for (_, connection) in &mut held {
        assert_eq!(connection.receive().status, 200);
    }
}

#[test]
fn a_drain_has_an_end() {
    let mut server = Server::builder("hello.ru").args("--worker-shutdown-timeout 1").start();
    let mut busy = server.connect();
    busy.send("GET /gate/never HTTP/1.1\r\nHost: a\r\n\r\n");
    server.await_gate("never");
    server.end_by(SIGTERM);
    assert!(busy.try_receive().is_none_or(|response| response.status >= 500));
}

#[test]
fn a_hang_up_that_was_ignored_stays_ignored() {
    // Supervisors start servers under nohup; a HUP must not end them.
    let server =
        Server::builder("hello.ru").through("nohup", &[rackrs_tests::binary().as_os_str()]).start();
    server.signal(nix::sys::signal::SIGHUP);
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn the_application_has_the_working_directory_as_it_was_named() {
    let source = "run ->(_) { [200, {}, [ENV['PWD']]] }\n";
    let builder = ServerBuilder::of_source(source);
    let link = builder.path("current");
    std::os::unix::fs::symlink(builder.folder(), &link).expect("the test's folder can be written");
    let server = builder.arg("--dir").arg(&link).start();
    assert_eq!(server.get("/").text(), link.to_string_lossy());
}
