//! `kill -9` of each process of a server, under load: what is lost, and what follows.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::sys::signal::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use rackrs_tests::{
    Connection, Poller, Server, ServerBuilder, both_racks, eventually, holds_still, process,
};

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

/// Clients that ask on a new connection each time, and count what they lose.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    const CLIENTS: usize = 4;

    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let client = |_| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            let socket: PathBuf = server.socket().to_owned();
            thread::spawn(move || {
                let mut lost = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = Connection::try_unix(&socket).expect("never refused");
                    connection.offer(format!("GET / {END}"));
                    match connection.try_receive() {
                        Some(response) => {
                            assert_eq!(response.status, 200);
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        None => lost += 1,
                    }
                }
                lost
            })
        };
        let clients = (0..Self::CLIENTS).map(client).collect();
        eventually("the clients are answered", || {
            (answers.load(Ordering::Relaxed) > 10 * Self::CLIENTS).then_some(())
        });
        Self { stop, clients }
    }

    /// What each client lost.
    fn finish(self) -> Vec<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |client: JoinHandle<usize>| client.join().expect("no client is refused");
        self.clients.into_iter().map(joined).collect()
    }
}

fn workers(server: &Server) -> Vec<i32> {
    let titled = |pid: &i32| process::title(*pid).starts_with("rackrs: cluster worker");
    process::children(server.master()).into_iter().filter(titled).collect()
}

/// Has a request stand at a gate; the connection, and the worker that holds it.
fn held(server: &Server, gate: &str) -> (Connection, i32) {
    let mut connection = server.connect();
    connection.send(format!("GET /gate/{gate} {END}"));
    server.await_gate(gate);
    let worker = server.read(&format!("{gate}.reached")).parse().expect("the gate notes the pid");
    (connection, worker)
}

both_racks! {
    fn a_killed_worker_costs_what_it_had_in_hand(rack) {
        let server = Server::builder("hello.ru").rack(&rack).args("-w 2 -t 4:4").start();
        let before = workers(&server);
        let (mut first, worker) = held(&server, "first");
        let other = before.into_iter().find(|pid| *pid != worker).expect("there are two");
        let load = Load::start(&server);
        process::send(worker, SIGKILL);
        assert!(first.try_receive().is_none(), "its request is lost");
        eventually("another worker is in its place", || {
            let now = workers(&server);
            (now.len() == 2 && !now.contains(&worker) && now.contains(&other)).then_some(())
        });
        server.eventually_logs("had in hand: GET /gate/first (");
        let lost = load.finish();
        // Each client had at most one request in that worker.
        assert!(lost.iter().all(|count| *count <= 1), "{lost:?}");
        assert_eq!(process::zombies(server.master()), Vec::<i32>::new());
    }

    fn nobody_notices_the_end_of_the_mold(rack) {
        let server = Server::builder("hello.ru").rack(&rack).args("-w 2").start();
        let before = workers(&server);
        let mold = server.mold(&before);
        let (mut connection, _) = held(&server, "held");
        let clients = Poller::start(&server);
        process::send(mold, SIGKILL);
        server.eventually_logs(&format!("! Mold (PID: {mold}) was killed by SIGKILL"));
        let again = eventually("there is another mold", || {
            let loaded = server.log().matches("* Application loaded").count() == 2;
            loaded.then(|| server.mold(&before))
        });
        assert_ne!(again, mold);
        clients.eventually_hears("hello");
        let _all_answered = clients.finish();
        assert_eq!(workers(&server), before, "the workers went on");
        server.open_gate("held");
        assert_eq!(connection.receive().status, 200);
        // The new mold makes workers.
        process::send(before[0], SIGKILL);
        eventually("the killed worker is replaced", || {
            let now = workers(&server);
            (now.len() == 2 && !now.contains(&before[0])).then_some(())
        });
        assert_eq!(process::zombies(server.master()), Vec::<i32>::new());
    }

    fn workers_of_a_killed_master_finish_and_leave(rack) {
        let mut server = Server::builder("hello.ru").rack(&rack).args("-w 2").start();
        let before = workers(&server);
        let mold = server.mold(&before);
        let (mut connection, worker) = held(&server, "held");
        process::send(server.master(), SIGKILL);
        server.await_end();
        eventually("the mold is gone at once", || (!process::is_alive(mold)).then_some(()));
        eventually("so is the idle worker", || {
            before.iter().all(|pid| *pid == worker || !process::is_alive(*pid)).then_some(())
        });
        eventually("nobody listens any more", || {
            Connection::try_unix(server.socket()).is_none().then_some(())
        });
        assert!(process::is_alive(worker));
        server.open_gate("held");
        assert_eq!(connection.receive().status, 200);
        server.assert_nobody_left();
    }
}

#[test]
fn a_worker_of_a_killed_master_leaves_at_its_limit() {
    let mut server = Server::builder("hello.ru").args("--worker-shutdown-timeout 1").start();
    let (mut connection, _) = held(&server, "never");
    process::send(server.master(), SIGKILL);
    server.await_end();
    server.assert_nobody_left();
    assert!(connection.try_receive().is_none_or(|response| response.status >= 500));
}

#[test]
fn a_worker_that_boots_dies_with_its_master() {
    let source = "Rackrs.before_worker_boot { sleep if File.exist?(\"#{ENV['FOLDER']}/hang\") }\n\
        run ->(_) { [200, {}, [Process.pid.to_s]] }\n";
    let mut server = ServerBuilder::of_source(source).start();
    server.write("hang", "");
    let worker = server.worker();
    process::send(worker, SIGKILL);
    eventually("another boots", || {
        let now = workers(&server);
        (now.len() == 1 && now[0] != worker).then_some(())
    });
    process::send(server.master(), SIGKILL);
    server.await_end();
    server.assert_nobody_left();
}

/// The same command line again, on the paths and the port of a server that was killed.
fn again(server: &Server) -> ServerBuilder {
    ServerBuilder::new("hello.ru")
        .socket_at(server.socket())
        .pid_file_at(server.pid_file())
        .arg("-b")
        .arg(format!("tcp://{}", server.address()))
        .args("-w 2")
}

#[test]
fn the_next_start_takes_over_while_old_workers_still_drain() {
    for _ in 0..3 {
        let mut server = Server::builder("hello.ru").tcp().args("-w 2").start();
        let (mut connection, worker) = held(&server, "held");
        process::send(server.master(), SIGKILL);
        server.await_end();
        let mut next = again(&server).start();
        assert!(process::is_alive(worker), "it has something in hand");
        assert_eq!(next.get("/").text(), "hello\n");
        assert_eq!(Connection::tcp(server.address()).get("/").text(), "hello\n");
        assert_eq!(next.written_pid(), Some(next.master()));
        assert_eq!(next.stats()["pid"], next.master());
        server.open_gate("held");
        assert_eq!(connection.receive().status, 200);
        server.assert_nobody_left();
        // The old ones took nothing of the new one's with them.
        assert_eq!(next.get("/").text(), "hello\n");
        assert_eq!(next.written_pid(), Some(next.master()));
        next.end_by(SIGTERM);
    }
}

/// The moment between the master's end and the closing of the workers' sockets, made long.
fn starts_as_soon_as_the_sockets_are_closed(server: &mut Server, next: ServerBuilder) {
    let before = workers(server);
    for pid in &before {
        process::send(*pid, SIGSTOP);
    }
    process::send(server.master(), SIGKILL);
    server.await_end();
    let log = next.path("log");
    let mut next = thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the next start waits", || {
                let log = std::fs::read_to_string(&log).ok()?;
                log.contains("* Waiting for ").then_some(())
            });
            for pid in &before {
                process::send(*pid, SIGCONT);
            }
        });
        next.start()
    });
    assert_eq!(next.get("/").text(), "hello\n");
    server.assert_nobody_left();
    assert_eq!(next.get("/").text(), "hello\n");
    next.end_by(SIGTERM);
}

#[test]
fn a_start_waits_for_the_workers_of_a_dead_master_to_close_a_unix_socket() {
    let mut server = Server::builder("hello.ru").args("-w 2").start();
    let next = ServerBuilder::new("hello.ru").socket_at(server.socket());
    starts_as_soon_as_the_sockets_are_closed(&mut server, next);
}

#[test]
fn a_start_waits_for_the_workers_of_a_dead_master_to_close_a_port() {
    let mut server = Server::builder("hello.ru").tcp().args("-w 2").start();
    let next = ServerBuilder::new("hello.ru")
        .pid_file_at(server.pid_file())
        .arg("-b")
        .arg(format!("tcp://{}", server.address()));
    starts_as_soon_as_the_sockets_are_closed(&mut server, next);
}

#[test]
fn nobody_who_lives_is_waited_for() {
    let server = Server::builder("hello.ru").start();
    let refused = ServerBuilder::new("hello.ru").socket_at(server.socket()).run();
    refused.assert_failure();
    assert!(!refused.text().contains("Waiting for"), "{refused}");
    holds_still("the first serves on", || server.get("/").status == 200);
}
