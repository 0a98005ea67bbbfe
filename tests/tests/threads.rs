//! Ruby threads: they grow to the maximum, wait interruptibly, and no request takes another with it.

use std::{sync::mpsc, thread};

use nix::sys::signal::SIGTERM;
use rackrs_tests::{Connection, Server, both_racks, process};

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

fn asked(server: &Server, path: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(format!("GET {path} {END}"));
    connection
}

both_racks! {
    fn threads_grow_to_the_maximum_and_serve_together(rack) {
        let server = Server::builder("threads.ru").rack(&rack).args("-t 0:4").start();
        let names = ["a", "b", "c", "d"];
        let mut held: Vec<_> = names.iter().map(|name| asked(&server, &format!("/gate/{name}"))).collect();
        for name in names {
            server.await_gate(name);
        }
        // The fifth waits in the queue until one is free.
        let mut fifth = asked(&server, "/gate/e");
        let fifth_reached = server.path("e.reached");
        rackrs_tests::holds_still("only four run at once", || !fifth_reached.exists());
        server.open_gate("a");
        assert_eq!(held[0].receive().expect(200).text(), "through");
        server.await_gate("e");
        for name in ["b", "c", "d", "e"] {
            server.open_gate(name);
        }
        assert_eq!(fifth.receive().status, 200);
        for connection in &mut held[1..] {
            assert_eq!(connection.receive().status, 200);
        }
    }

    fn what_ends_a_thread_costs_its_request_only(rack) {
        let server = Server::builder("threads.ru").rack(&rack).args("-t 1:2 -e production").start();
        let worker = server.worker();
        let routes = [
            "/exit", "/exit-3", "/abort", "/throw", "/thread-exit", "/thread-kill", "/thread-raise", "/deep",
            "/no-memory", "/interrupt", "/security", "/script-error", "/break", "/timeout",
        ];
        for route in routes {
            for round in 0..3 {
                let mut connection = server.connect();
                let status = connection.get(route).status;
                assert_eq!(status, 500, "{route}, round {round}");
            }
            assert_eq!(server.worker(), worker, "the worker outlives {route}");
        }
        let log = server.log();
        for words in ["SystemExit", "SystemStackError", "NoMemoryError", "nobody_catches_this", "Timeout::Error"] {
            assert!(log.contains(words), "no {words} in {log}");
        }
    }

    fn a_worker_that_is_ended_from_inside_is_replaced(rack) {
        let server = Server::builder("threads.ru").rack(&rack).start();
        for route in ["/exit!", "/segv"] {
            let worker = server.worker();
            let mut connection = asked(&server, route);
            assert!(connection.try_receive().is_none_or(|response| response.status >= 500), "{route}");
            let next = server.worker();
            assert_ne!(worker, next, "{route}");
        }
    }

    fn time_outs_and_kills_reach_ruby_code(rack) {
        let server = Server::builder("threads.ru").rack(&rack).args("-t 2:2").start();
        assert_eq!(server.get("/timeout-caught").expect(200).text(), "caught");
        assert!(server.get("/kill-idle").expect(200).text().starts_with("killed "));
        for _ in 0..5 {
            assert_eq!(server.get("/").text(), "hello");
        }
    }
}

#[test]
fn thread_locals_of_a_request_are_not_in_the_next() {
    // Puma keeps its threads' locals, and so may we; what counts is that the answer is honest.
    let server = Server::builder("threads.ru").args("-t 1:1").start();
    assert_eq!(server.get("/locals").expect(200).text(), "nil");
}

#[test]
fn a_full_queue_is_a_503() {
    let server = Server::builder("threads.ru").args("-t 1:1 --queue-limit 2").start();
    let mut running = asked(&server, "/gate/one");
    server.await_gate("one");
    let (told, answers) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..8 {
            let told = told.clone();
            let server = &server;
            scope.spawn(move || told.send(server.get("/").status).expect("the test listens"));
        }
        // Two wait; the others are refused now, while the thread is still busy.
        for _ in 0..6 {
            assert_eq!(answers.recv(), Ok(503));
        }
        server.open_gate("one");
        assert_eq!([answers.recv(), answers.recv()], [Ok(200), Ok(200)]);
    });
    assert_eq!(running.receive().status, 200);
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn idle_threads_do_not_hold_the_stop() {
    let mut server = Server::builder("threads.ru").args("-t 4:4").start();
    assert_eq!(server.get("/").status, 200);
    let worker = server.worker();
    assert!(process::thread_count(worker) >= 5, "four threads for Ruby and one for the network");
    let idle = server.connect();
    server.end_by(SIGTERM);
    drop(idle);
}
