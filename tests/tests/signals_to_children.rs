//! Signals that reach the mold or a worker do no harm: `pkill rackrs` and Ctrl-C reach them too.

use nix::sys::signal::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGURG, SIGUSR1, SIGUSR2,
    SIGWINCH, Signal,
};
use rackrs_tests::{Connection, Server, ServerBuilder, eventually, holds_still, process};

/// What a worker is not moved by.
const HARMLESS: [Signal; 9] =
    [SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH, SIGURG, SIGCHLD];

fn servers() -> impl Iterator<Item = Server> {
    let flags = ["", "--compat unicorn"];
    flags.into_iter().map(|flags| Server::builder("hello.ru").args(flags).start())
}

#[test]
fn workers_serve_on() {
    for server in servers() {
        let worker = server.worker();
        for signal in HARMLESS.into_iter().chain([Signal::SIGPWR]) {
            process::send(worker, signal);
            assert_eq!(server.worker(), worker, "after {signal}");
        }
        holds_still("they live", || server.worker() == worker);
    }
}

#[test]
fn the_mold_serves_on() {
    for server in servers() {
        let worker = server.worker();
        let mold = server.mold(&[worker]);
        for signal in HARMLESS.into_iter().chain([SIGTERM, SIGQUIT, Signal::SIGPWR]) {
            process::send(mold, signal);
        }
        holds_still("it lives", || process::is_alive(mold));
        server.signal(SIGTTIN);
        server.await_workers(2);
        assert_eq!(server.stats()["molds"][0]["pid"], mold, "the same mold has forked it");
    }
}

#[test]
fn a_worker_that_is_told_to_end_finishes_and_is_replaced() {
    for signal in [SIGTERM, SIGQUIT] {
        for server in servers() {
            let mut busy = server.connect();
            busy.send("GET /gate/held HTTP/1.1\r\nHost: a\r\n\r\n");
            server.await_gate("held");
            let worker: i32 = server.read("held.reached").parse().expect("the gate notes the pid");
            process::send(worker, signal);
            server.open_gate("held");
            assert_eq!(busy.receive().expect(200).text(), "through held");
            eventually("another worker answers", || {
                let mut connection = Connection::try_unix(server.socket())?;
                connection.offer("GET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
                connection.try_receive().filter(|response| response.text() != worker.to_string())
            });
        }
    }
}

#[test]
fn power_failure_of_one_process_logs_where_its_threads_stand() {
    let server = Server::builder("hello.ru").start();
    let mut busy = server.connect();
    busy.send("GET /gate/held HTTP/1.1\r\nHost: a\r\n\r\n");
    server.await_gate("held");
    let worker = server.read("held.reached").parse().expect("the gate notes the pid");
    let mold = server.mold(&[worker]);
    for pid in [worker, mold] {
        process::send(pid, Signal::SIGPWR);
        server.eventually_logs(&format!("process {pid} has "));
    }
    server.eventually_logs("gate.rb:");
    server.open_gate("held");
    assert_eq!(busy.receive().status, 200);
}

#[test]
fn signals_during_the_load_do_not_end_the_mold() {
    let source = "require 'rack/lint'\nrequire ENV.fetch('GATE')\nGate.pass('load')\n\
                  run ->(_) { [200, {}, ['loaded']] }\n";
    let gate = rackrs_tests::app("gate.rb");
    let builder = ServerBuilder::of_source(source).env("GATE", gate);
    let _guard = builder.guard();
    let reached = builder.path("load.reached");
    let open = builder.path("load.open");
    let helper = std::thread::spawn(move || {
        let mold = eventually("the application is being loaded", || {
            std::fs::read_to_string(&reached).ok()?.parse().ok()
        });
        for signal in [SIGINT, SIGTTIN, SIGTTOU, SIGWINCH, SIGURG, SIGCHLD, Signal::SIGPWR] {
            process::send(mold, signal);
        }
        std::fs::write(open, "").expect("the test's folder can be written");
        mold
    });
    let server = builder.start();
    let mold = helper.join().expect("the helper does not panic");
    assert_eq!(server.get("/").text(), "loaded");
    assert_eq!(server.stats()["molds"][0]["pid"], mold);
}
