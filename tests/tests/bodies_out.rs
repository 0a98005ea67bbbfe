//! Response bodies: every kind, framed right for 1.0 and 1.1, closed exactly once on every path.

use std::fs;

use rackrs_tests::{Framing, RackVersion, Response, Server, both_racks, eventually};

const GET: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_1_0: &str = "HTTP/1.0\r\n\r\n";

/// Route, body, framing in 1.1.
const KINDS: &[(&str, &str, Framing)] = &[
    ("/array", "onetwothree", Framing::Length),
    ("/array-sized", "abc", Framing::Length),
    ("/empty", "", Framing::Length),
    ("/each", "onetwothree", Framing::Chunked),
    ("/each-sized", "onetwothree", Framing::Length),
    ("/each-empty-parts", "ab", Framing::Chunked),
    ("/enumerator", "part 0\npart 1\npart 2\n", Framing::Chunked),
    ("/stream", "streamed well", Framing::Chunked),
    ("/404", "nothing here", Framing::Chunked),
    ("/utf8", "zażółć", Framing::Length),
];

fn kinds(
    rack: &RackVersion,
) -> impl Iterator<Item = &'static (&'static str, &'static str, Framing)> + use<> {
    let newer = rack.is_newer();
    KINDS.iter().filter(move |(route, ..)| newer || *route != "/stream")
}

/// Waits until a body called `name` was closed `times` times, then sees that it stays so.
fn assert_closes(server: &Server, name: &str, times: usize) {
    let count = || server.read("closes").lines().filter(|line| *line == name).count();
    eventually(&format!("{name} is closed {times} times, was {}", count()), || {
        (count() >= times).then_some(())
    });
    // One more request goes through the same threads: time for a second close, were there one.
    assert!(server.get("/").complete);
    assert_eq!(count(), times, "closes of {name}");
}

fn head(server: &Server, path: &str) -> Response {
    let mut connection = server.connect();
    connection.send(format!("HEAD {path} {GET}"));
    let response = connection.receive_for("HEAD");
    // Whatever a HEAD leaves behind would be taken for the start of this one.
    assert!(connection.get(path).complete);
    response
}

both_racks! {
    fn every_kind_in_1_1_and_1_0(rack) {
        let server = Server::builder("output.ru").rack(&rack).start();
        let mut connection = server.connect();
        for (route, body, framing) in kinds(&rack) {
            let response = connection.get(route);
            assert_eq!(response.text(), *body, "{route}");
            assert!(response.complete && response.trailers.is_empty(), "{route}");
            let lint_hides_the_array = *framing == Framing::Length && response.framing == Framing::Chunked;
            assert!(response.framing == *framing || lint_hides_the_array, "{route}: {:?}", response.framing);
            let old = server.ask(format!("GET {route} {GET_1_0}"));
            assert_eq!((old.text().as_str(), old.header("transfer-encoding")), (*body, None), "{route}");
        }
    }

    fn an_array_without_lint_gets_a_length(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        let response = server.get("/");
        assert_eq!((response.framing, response.header("content-length")), (Framing::Length, Some("6".to_owned())));
        let response = server.get("/mixed-case");
        assert_eq!((response.text().as_str(), response.header("content-length")), ("ok", Some("2".to_owned())));
    }

    fn an_old_client_may_keep_the_connection_when_the_length_is_known(rack) {
        let server = Server::builder("output.ru").rack(&rack).start();
        let mut connection = server.connect();
        let request = "GET /array-sized HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
        let response = connection.ask(request).expect(200);
        assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")), "{response:?}");
        assert_eq!(connection.ask(request).expect(200).text(), "abc");
        let mut connection = server.connect();
        assert_eq!(connection.ask(format!("GET /array-sized {GET_1_0}")).text(), "abc");
        connection.assert_closed();
    }

    fn files_are_sent_without_each(rack) {
        let server = Server::builder("output.ru").rack(&rack).env("LINT", "off").start();
        let expected = fs::read(server.path("served.bin")).expect("the application wrote it");
        for route in ["/file", "/file-sized"] {
            for request in [format!("GET {route} {GET}"), format!("GET {route} {GET_1_0}")] {
                let response = server.ask(request).expect(200);
                assert!(response.complete && response.body == expected, "{route}: {} bytes", response.body.len());
                assert_eq!(response.header("content-length"), Some(expected.len().to_string()), "{route}");
            }
            assert_closes(&server, &route[1..], 2);
        }
        assert!(!server.read("closes").contains("was read by each"), "{}", server.read("closes"));
    }

    fn a_file_that_is_gone_is_read_by_each(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        let response = server.get("/missing-file");
        let fell_back = response.status == 200 && response.text() == "from each";
        assert!(fell_back || response.status == 500, "{response:?}");
        assert_closes(&server, "missing-file", 1);
    }

    fn head_has_the_headers_and_nothing_more(rack) {
        let server = Server::builder("output.ru").rack(&rack).start();
        assert_eq!(head(&server, "/each-sized").header("content-length"), Some("11".to_owned()));
        assert_eq!(head(&server, "/file-sized").status, 200);
        assert_eq!(head(&server, "/404").status, 404);
        for (route, ..) in kinds(&rack) {
            assert!(head(&server, route).body.is_empty(), "{route}");
        }
    }

    fn no_content_and_not_modified_have_no_body(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        let mut connection = server.connect();
        for (route, status) in [("/body-204", 204), ("/body-304", 304)] {
            let response = connection.get(route).expect(status);
            assert_eq!(response.header("transfer-encoding"), None, "{route}");
            assert!(status != 204 || response.header("content-length").is_none(), "{route}");
            assert_eq!(connection.get("/").expect(200).text(), "hello\n", "{route} left nothing behind");
            assert_closes(&server, &route[1..], 1);
        }
    }

    fn header_values_of_every_kind(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        assert_eq!(server.get("/lines").expect(200).header_values("x-wild"), ["one", "two"]);
        assert_eq!(server.get("/array-values").header_values("x-wild"), ["one", "two"]);
        let latin = server.get("/latin").expect(200);
        assert!(latin.headers.iter().any(|(name, value)| name == "x-wild" && value == b"caf\xE9"), "{latin:?}");
        let hidden = server.get("/rack-headers").expect(200);
        assert!(hidden.headers.iter().all(|(name, _)| !name.starts_with("rack.")), "{hidden:?}");
        let own = server.get("/own-coding");
        assert_eq!(own.expect(200).text(), "hello", "our framing, not the application's word for it");
        let mut connection = server.connect();
        assert!(connection.get("/own-connection").says_close());
        connection.assert_closed();
    }

    fn cookies_are_lines_of_their_own(rack) {
        let server = Server::builder("output.ru").rack(&rack).start();
        assert_eq!(server.get("/cookies").expect(200).header_values("set-cookie"), ["a=1", "b=2"]);
    }

    fn control_bytes_in_headers_are_a_500(rack) {
        let server = Server::builder("wild.ru").rack(&rack).args("-e production").start();
        for route in ["/crlf", "/cr", "/nul", "/name", "/name-blank"] {
            let response = server.get(route).expect(500);
            assert_eq!(response.header("x-injected"), None, "{route}");
            server.eventually_logs(route);
        }
        assert_eq!(server.get("/").status, 200);
    }

    fn malformed_answers_are_a_500(rack) {
        let server = Server::builder("wild.ru").rack(&rack).args("-e production").start();
        for route in ["/raise", "/nil", "/two", "/no-each"] {
            let mut connection = server.connect();
            let response = connection.get(route).expect(500);
            assert!(!response.text().contains("wild.ru"), "no backtrace in production: {}", response.text());
        }
        let log = server.eventually_logs("before");
        assert!(log.contains("GET") && log.contains("/raise") && log.contains("wild.ru"), "{log}");
        assert_eq!(log.matches("before").count(), 1, "logged once: {log}");
    }

    fn the_backtrace_is_shown_in_development(rack) {
        let server = Server::builder("wild.ru").rack(&rack).args("-e development").start();
        let text = server.get("/raise").expect(500).text();
        assert!(text.contains("before") && text.contains("wild.ru"), "{text}");
    }

    fn a_status_may_be_text(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        assert_eq!(server.get("/status-text").expect(201).text(), "made");
        assert!([201, 500].contains(&server.get("/status-odd").status));
    }

    fn a_body_that_raises_midway_is_seen_to_be_cut(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        for route in ["/raise-midway", "/raise-odd", "/raise-sized"] {
            let mut connection = server.connect();
            let response = connection.get(route);
            assert!(!response.complete || response.status == 500, "{route}: {response:?}");
            connection.assert_closed();
            assert_closes(&server, &route[1..], 1);
            let mut old = server.connect();
            old.send(format!("GET {route} {GET_1_0}"));
            old.read_to_end();
            assert_closes(&server, &route[1..], 2);
        }
        // Nothing was sent before the first part, so this may still be an honest 500.
        let response = server.get("/raise-first");
        assert!(!response.complete || response.status == 500, "{response:?}");
        assert_closes(&server, "raise-first", 1);
        server.eventually_logs("midway");
    }

    fn a_wrong_length_never_reaches_the_next_response(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        for route in ["/short", "/short-array"] {
            let mut connection = server.connect();
            let response = connection.get(route);
            assert!(!response.complete || response.status == 500, "{route}: {response:?}");
            connection.assert_closed();
        }
        for route in ["/long", "/long-array"] {
            let mut connection = server.connect();
            let response = connection.get(route);
            assert!(response.status == 500 || response.text() == "hello", "{route}: {response:?}");
            connection.offer(format!("GET / {GET}"));
            let next = connection.try_receive();
            assert!(next.is_none_or(|next| next.text() == "hello\n"), "{route}");
        }
        assert_closes(&server, "short", 1);
        assert_closes(&server, "long", 1);
    }

    fn close_is_called_once_whatever_happens(rack) {
        let server = Server::builder("output.ru").rack(&rack).start();
        for route in ["/each", "/each-sized", "/large"] {
            let name = &route[1..];
            assert!(server.get(route).complete);
            assert_closes(&server, name, 1);
            assert_eq!(head(&server, route).status, 200);
            assert_closes(&server, name, 3);
            assert!(server.ask(format!("GET {route} {GET_1_0}")).complete);
            assert_closes(&server, name, 4);
        }
        // The client goes before the body is through.
        let mut gone = server.connect();
        gone.send(format!("GET /large {GET}"));
        assert_eq!(gone.receive_status(), 200);
        drop(gone);
        assert_closes(&server, "large", 5);
        // And before it has read anything at all.
        let mut gone = server.connect();
        gone.send(format!("GET /large {GET}"));
        drop(gone);
        eventually("the server has looked at it", || Some(server.get("/").status));
    }

    fn odd_bodies_are_closed_too(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        server.connect().get("/not-strings");
        assert_closes(&server, "not-strings", 1);
        assert_eq!(server.get("/close-raises").text(), "fine");
        assert_closes(&server, "close-raises", 1);
    }

    fn parts_are_sent_as_they_come(rack) {
        let server = Server::builder("wild.ru").rack(&rack).start();
        let mut connection = server.connect();
        connection.send(format!("GET /gated {GET}"));
        assert_eq!(connection.receive_status(), 200);
        assert_eq!(connection.receive_chunk().as_deref(), Some(&b"first"[..]));
        server.await_gate("middle");
        server.open_gate("middle");
        assert_eq!(connection.receive_chunk().as_deref(), Some(&b"second"[..]));
        assert_eq!(connection.receive_chunk(), None);
    }
}

#[test]
fn an_endless_body_ends_with_its_client() {
    let server = Server::builder("wild.ru").args("-t 2:2").start();
    let mut connection = server.connect();
    connection.send(format!("GET /endless {GET}"));
    assert_eq!(connection.receive_status(), 200);
    assert_eq!(connection.receive_chunk().map(|chunk| chunk.len()), Some(65_536));
    drop(connection);
    eventually("the producer is told", || {
        server.read("produced").contains("ended by").then_some(())
    });
    assert_closes(&server, "endless", 1);
}

#[test]
fn a_slow_reader_holds_nobody_and_is_cut_by_the_write_time_out() {
    let server = Server::builder("wild.ru").args("-t 1:3 --write-timeout 1").start();
    let mut slow = server.connect();
    slow.send(format!("GET /endless {GET}"));
    assert_eq!(slow.receive_status(), 200);
    for _ in 0..50 {
        assert_eq!(server.get("/").text(), "hello\n");
    }
    // The reader reads nothing more, so the time-out ends it.
    assert_closes(&server, "endless", 1);
    slow.read_to_end();
}

/// Streaming bodies are Rack 3's.
#[test]
fn streaming_bodies() {
    let server = Server::builder("wild.ru").rack(&RackVersion::newer()).start();
    assert_eq!(
        server.get("/stream-class").expect(200).text(),
        "",
        "methods that SPEC asks of a stream"
    );
    let raised = server.get("/stream-raises");
    assert!(!raised.complete || raised.status == 500, "{raised:?}");
    assert_eq!(server.get("/").status, 200);
}
