//! Sockets of a service manager: used where they should be, kept, and never unlinked.

use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use nix::sys::signal::{SIGKILL, SIGTERM, SIGUSR2};
use rackrs_tests::{Connection, Server, ServerBuilder, eventually, process};
use tempfile::TempDir;

/// Clients of a server whose master is killed.
const CLIENTS: usize = 4;

/// Answers that they have got before.
const ANSWERS_BEFORE: usize = 40;

/// The two sockets of a service, held open by this test as by a manager.
struct Sockets {
    unix: UnixListener,
    tcp: TcpListener,
    path: PathBuf,
    _folder: TempDir,
}

impl Sockets {
    fn new() -> Self {
        let folder = TempDir::with_prefix("rackrs-manager-").expect("a folder can be made");
        let path = folder.path().join("passed.sock");
        Self {
            unix: UnixListener::bind(&path).expect("it can be bound"),
            tcp: TcpListener::bind("127.0.0.1:0").expect("a port is free"),
            path,
            _folder: folder,
        }
    }

    fn address(&self) -> SocketAddr {
        self.tcp.local_addr().expect("it is bound")
    }

    fn copies(&self) -> [OwnedFd; 2] {
        [self.unix.as_fd(), self.tcp.as_fd()]
            .map(|socket| socket.try_clone_to_owned().expect("a descriptor can be doubled"))
    }

    /// A server that is passed both, named `web` and `api`.
    fn builder(&self) -> ServerBuilder {
        let builder = Server::builder("hello.ru").passing(self.copies());
        builder.env("LISTEN_FDNAMES", "web:api")
    }

    fn pids(&self) -> [i32; 2] {
        [Connection::unix(&self.path), Connection::tcp(self.address())].map(|mut connection| {
            connection.get("/pid").expect(200).text().parse().expect("/pid answers with a number")
        })
    }

    fn assert_served_by(&self, server: &Server) {
        let workers = process::children(server.master());
        assert!(self.pids().iter().all(|pid| workers.contains(pid)), "{workers:?}");
    }
}

fn listeners(server: &Server) -> Vec<String> {
    let stats = server.stats();
    let listeners = stats["listeners"].as_array().expect("there is a list of listeners");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    listeners.iter().map(text).collect()
}

#[test]
fn they_are_used_in_place_of_the_default() {
    for daemon in [false, true] {
        let sockets = Sockets::new();
        let builder = sockets.builder().no_unix();
        let mut server = if daemon { builder.daemon().start() } else { builder.start() };
        sockets.assert_served_by(&server);
        let expected =
            [format!("unix://{}", sockets.path.display()), format!("http://{}", sockets.address())];
        assert_eq!(listeners(&server), expected);
        for address in expected {
            server.eventually_logs(&format!("* Activated {address}"));
        }
        server.end_by(SIGTERM);
        assert!(sockets.path.exists(), "it is the manager's");
    }
}

#[test]
fn of_others_they_are_used_where_a_bind_names_them() {
    let sockets = Sockets::new();
    let bind = format!("unix://{}", sockets.path.display());
    let server = sockets.builder().arg("-b").arg(&bind).start();
    assert_eq!(listeners(&server).len(), 2, "it and the one of our own");
    assert!(listeners(&server).contains(&bind));
    assert_eq!(server.get("/").status, 200);
    assert_eq!(Connection::unix(&sockets.path).get("/").status, 200);
    let log = server.log();
    assert!(log.contains(&format!("* Activated {bind}")), "{log}");
    let unused = format!("the socket http://{} of the service manager", sockets.address());
    assert!(log.contains(&unused), "{log}");
}

#[test]
fn all_are_used_beside_others_where_that_is_wanted() {
    let sockets = Sockets::new();
    let server = sockets.builder().arg("--bind-to-activated-sockets").start();
    assert_eq!(listeners(&server).len(), 3);
    assert_eq!(server.get("/").status, 200);
    sockets.assert_served_by(&server);
}

#[test]
fn only_they_are_used_where_that_is_wanted() {
    let sockets = Sockets::new();
    let unwanted = sockets.path.with_extension("unwanted");
    let bind = format!("unix://{}", unwanted.display());
    let builder = sockets.builder().no_unix().arg("-b").arg(bind);
    let server = builder.arg("--bind-to-activated-sockets=only").start();
    assert_eq!(listeners(&server).len(), 2);
    assert!(!unwanted.exists());
    sockets.assert_served_by(&server);
}

#[test]
fn they_are_kept_over_restarts() {
    for daemon in [false, true] {
        let sockets = Sockets::new();
        let builder = sockets.builder().no_unix().args("-w 2");
        let mut server = if daemon { builder.daemon().start() } else { builder.start() };
        for restarts in 1..3 {
            let before = sockets.pids();
            server.signal(SIGUSR2);
            eventually("the restart ends", || {
                (server.stats()["restarts"]["succeeded"] == restarts).then_some(())
            });
            sockets.assert_served_by(&server);
            assert!(sockets.pids().iter().all(|pid| !before.contains(pid)));
            assert_eq!(listeners(&server).len(), 2);
        }
        server.end_by(SIGTERM);
        assert!(sockets.path.exists());
    }
}

#[test]
fn those_of_another_process_are_left_alone() {
    // A program in between that does not know of the protocol has forked us.
    let sockets = Sockets::new();
    let binary = rackrs_tests::binary();
    let script = "LISTEN_PID=1 exec \"$0\" \"$@\"";
    let arguments = ["-c".as_ref(), script.as_ref(), binary.as_os_str()];
    let builder = Server::builder("hello.ru").through("sh", &arguments);
    let server = builder.passing(sockets.copies()).start();
    assert_eq!(listeners(&server).len(), 1);
    assert_eq!(server.get("/").status, 200);
    assert!(!server.log().contains("Activated"));
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let sockets = Sockets::new();
    let [unix, _] = sockets.copies();
    let file = std::fs::File::open("/dev/null").expect("it can be opened");
    let builder = Server::builder("hello.ru").no_unix().passing([unix, file.into()]);
    let _guard = builder.guard();
    let mut command = builder.command();
    let [unix, _] = sockets.copies();
    let file = std::fs::File::open("/dev/null").expect("it can be opened");
    let ended = command.stdin(unix).stdout(file).output().expect("sh runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains("cannot serve passed descriptor 4"), "{said}");
}

/// Asks again and again, each time on a new connection, until `ended`; every connection must be
/// accepted. Counts in `answered`; returns how many answers were lost.
fn ask_anew(path: &Path, answered: &AtomicUsize, ended: &AtomicBool) -> usize {
    let mut lost = 0;
    while !ended.load(Ordering::Relaxed) {
        let connection = Connection::try_unix(path);
        let mut connection = connection.expect("no connect is refused");
        connection.offer("GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        match connection.try_receive() {
            Some(response) => {
                assert_eq!(response.status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            None => lost += 1,
        }
    }
    lost
}

#[test]
fn a_killed_master_costs_no_connection() {
    let sockets = Sockets::new();
    let mut first = sockets.builder().no_unix().args("-w 2").start();
    let (answered, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (second, lost) = thread::scope(|scope| {
        let ask = || scope.spawn(|| ask_anew(&sockets.path, &answered, &ended));
        let clients: Vec<_> = (0..CLIENTS).map(|_| ask()).collect();
        eventually("the clients have some answers", || {
            (answered.load(Ordering::Relaxed) > ANSWERS_BEFORE).then_some(())
        });
        first.signal(SIGKILL);
        first.await_end();
        first.assert_nobody_left();
        // Nobody is there who would answer, and nobody is refused.
        let mut waiting = [Connection::unix(&sockets.path), Connection::tcp(sockets.address())];
        for connection in &mut waiting {
            connection.send("GET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        let second = sockets.builder().no_unix().args("-w 2").start();
        let workers = process::children(second.master());
        for connection in &mut waiting {
            let pid = connection.receive().expect(200).text();
            assert!(workers.contains(&pid.parse().expect("/pid answers with a number")));
        }
        ended.store(true, Ordering::Relaxed);
        let lost: usize =
            clients.into_iter().map(|client| client.join().expect("no client panics")).sum();
        (second, lost)
    });
    assert_eq!(lost, 0, "workers answer what they have accepted, after their master's end too");
    drop(second);
    assert!(sockets.path.exists());
}
