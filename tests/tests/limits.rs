//! Time-outs and sizes: Puma's defaults, and what happens beyond.

use rackrs_tests::{Connection, Server, ServerBuilder, eventually};

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn the_defaults_are_pumas() {
    let shown = ServerBuilder::new("hello.ru").arg("--show-config").run();
    shown.assert_success();
    let has = |name: &str, value: &str| {
        let dashed = name.replace('_', "-");
        let line = shown.out.lines().find(|line| line.contains(name) || line.contains(&dashed));
        let line = line.unwrap_or_else(|| panic!("no {name} in {shown}"));
        assert!(
            line.split(|char: char| !char.is_ascii_digit()).any(|word| word == value),
            "{line}"
        );
    };
    has("first_data_timeout", "30");
    has("persistent_timeout", "65");
    has("max_keep_alive", "999");
    has("worker_boot_timeout", "60");
    has("worker_shutdown_timeout", "30");
}

#[test]
fn a_head_that_never_ends_is_a_408() {
    let server = Server::builder("hello.ru").args("--first-data-timeout 1").start();
    for start in ["GET / HTTP/1.1\r\nHost: a\r\n", "GE", "GET / HTTP/1.1\r\nHost: a\r\nX-A: "] {
        let mut connection = server.connect();
        connection.send(start);
        let response = connection.receive().expect(408);
        assert!(response.says_close(), "{response:?}");
        connection.assert_closed();
    }
    // Bytes that trickle in do not lengthen it.
    let mut connection = server.connect();
    connection.send("GET / HTTP/1.1\r\nX-Trickle: ");
    let status = eventually("a 408 in spite of a trickle", || {
        connection.offer("a");
        connection.poll_end().then(|| connection.try_receive().map(|response| response.status))
    });
    assert!([Some(408), None].contains(&status), "{status:?}");
}

#[test]
fn a_body_that_never_comes_is_a_408() {
    let server = Server::builder("input.ru").args("--first-data-timeout 1").start();
    let mut connection = server.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!(connection.receive().status, 408);
    connection.assert_closed();
    assert_eq!(server.read("bodies"), "");
}

#[test]
fn a_silent_newcomer_is_let_go() {
    let server = Server::builder("hello.ru").args("--first-data-timeout 1").start();
    let mut connection = server.connect();
    let status = connection.try_receive().map(|response| response.status);
    assert!([None, Some(408)].contains(&status), "{status:?}");
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::builder("hello.ru").args("--persistent-timeout 1").start();
    let mut connection = server.connect();
    assert_eq!(connection.get("/").status, 200);
    connection.assert_closed();
}

#[test]
fn a_connection_serves_so_many_requests_and_says_so() {
    let server = Server::builder("hello.ru").args("--max-keep-alive 3").start();
    let mut connection = server.connect();
    for _ in 0..2 {
        assert!(!connection.get("/").expect(200).says_close());
    }
    assert!(connection.get("/").expect(200).says_close());
    connection.assert_closed();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::builder("echo.ru").start();
    let mut connection = server.connect();
    let all: Vec<_> = (0..50).map(|at| format!("GET /{at} {END}")).collect();
    connection.send(all.concat());
    for at in 0..50 {
        assert_eq!(connection.receive().expect(200).text(), format!("GET /{at}? 0"));
    }
}

#[test]
fn heads_have_a_size() {
    let server = Server::builder("hello.ru").start();
    let with_header =
        |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(len));
    assert_eq!(server.ask(with_header(60_000)).status, 200);
    for request in [with_header(200_000), with_many_headers(5000)] {
        let mut connection = server.connect();
        connection.offer(request);
        let status = connection.try_receive().map(|response| response.status);
        assert!([Some(431), Some(400)].contains(&status), "{status:?}");
        connection.read_to_end();
    }
}

fn with_many_headers(count: usize) -> String {
    let lines: Vec<_> =
        (0..count).map(|at| format!("X-{at}: some value of some length\r\n")).collect();
    let lines = lines.concat();
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn targets_have_a_size() {
    let server = Server::builder("hello.ru").start();
    assert_eq!(server.get(&format!("/{}", "x".repeat(8000))).status, 200);
    for path in [format!("/{}", "x".repeat(20_000)), format!("/?{}", "x".repeat(20_000))] {
        let mut connection = server.connect();
        connection.offer(format!("GET {path} {END}"));
        assert_eq!(connection.receive().status, 414);
        connection.read_to_end();
    }
}

#[test]
fn slow_senders_cost_no_ruby_thread() {
    let server = Server::builder("hello.ru").args("-t 1:1").start();
    let mut slow: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = server.connect();
            connection.send("GET / HTTP/1.1\r\nHo");
            connection
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(server.get("/").expect(200).text(), "hello\n");
    }
    for connection in &mut slow {
        assert_eq!(connection.ask("st: a\r\n\r\n").expect(200).text(), "hello\n");
    }
}

#[test]
fn a_busy_connection_does_not_starve_a_newcomer() {
    let server = Server::builder("hello.ru").args("-t 1:1").start();
    let mut busy: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for connection in &mut busy {
        connection.send(format!("GET / {END}").repeat(200));
    }
    assert_eq!(server.get("/").status, 200);
    for connection in &mut busy {
        for _ in 0..200 {
            assert_eq!(connection.receive().status, 200);
        }
    }
}

#[test]
fn connections_beyond_the_limit_wait_and_are_served_later() {
    let server = Server::builder("hello.ru").args("--connections-limit 2").start();
    let first = server.connect();
    let mut second = server.connect();
    assert_eq!(second.get("/").status, 200);
    let mut third = server.connect();
    third.send(format!("GET / {END}"));
    drop(first);
    drop(second);
    assert_eq!(third.receive().status, 200);
}
