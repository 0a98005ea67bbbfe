//! Hijack, full and partial, upgrades and early hints.

use rackrs_tests::{Connection, RackVersion, Server, both_racks};

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

fn line(connection: &mut Connection) -> String {
    let bytes = connection.take_plain_line().expect("a line from the application");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn converse(connection: &mut Connection) {
    connection.send("one\n");
    assert_eq!(line(connection), "ONE");
    connection.send("two\nbye\n");
    assert_eq!(line(connection), "TWO");
    assert_eq!(line(connection), "BYE");
    connection.assert_closed();
}

both_racks! {
    fn a_full_hijack_gives_the_clients_socket(rack) {
        for unix in [true, false] {
            let builder = Server::builder("hijack.ru").rack(&rack);
            let server = if unix { builder.start() } else { builder.no_unix().tcp().start() };
            let mut connection = server.connect();
            connection.send(format!("GET /full {END}"));
            assert_eq!(connection.receive_status(), 200);
            assert_eq!(line(&mut connection), "yours");
            converse(&mut connection);
            assert!(server.read("hijack").contains("the same"), "{}", server.read("hijack"));
            assert_eq!(server.get("/").status, 200);
        }
    }

    fn bytes_that_were_already_read_come_first(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).start();
        let mut connection = server.connect();
        // In one packet with the request, so that the server has them before the application asks.
        connection.send(format!("GET /full {END}early\nlater\n"));
        assert_eq!(connection.receive_status(), 200);
        assert_eq!(line(&mut connection), "yours");
        assert_eq!(line(&mut connection), "EARLY");
        assert_eq!(line(&mut connection), "LATER");
        converse(&mut connection);
    }

    fn hijacking_twice_gives_the_same_or_an_error(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).start();
        let response = server.get("/again");
        assert!(["same", "IOError", "RuntimeError"].contains(&response.text().as_str()), "{response:?}");
    }

    fn a_partial_hijack_sends_the_head_first(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).start();
        let mut connection = server.connect();
        connection.send(format!("GET /partial {END}"));
        assert_eq!(connection.receive_status(), 200);
        assert_eq!(line(&mut connection), "partial");
        converse(&mut connection);
        assert_eq!(server.get("/").status, 200);
    }

    fn an_upgrade_is_a_conversation(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).start();
        let mut connection = server.connect();
        connection.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n");
        let response = connection.receive().expect(101);
        assert_eq!(response.header("upgrade"), Some("shout".to_owned()));
        assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{response:?}");
        assert_eq!(response.header("content-length").or(response.header("transfer-encoding")), None);
        converse(&mut connection);
        assert_eq!(server.get("/upgrade").status, 400);
    }

    fn many_at_once_do_not_hold_ruby_threads(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).args("-t 1:1").start();
        let mut open: Vec<_> = (0..10)
            .map(|_| {
                let mut connection = server.connect();
                connection.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n");
                assert_eq!(connection.receive().status, 101);
                connection
            })
            .collect();
        assert_eq!(server.get("/").status, 200);
        for connection in &mut open {
            converse(connection);
        }
    }

    fn early_hints_come_before_the_response(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).args("--early-hints").start();
        let mut connection = server.connect();
        connection.send(format!("GET /hints?gate {END}"));
        let hints = connection.receive_one("GET").expect("a 103");
        assert_eq!(hints.status, 103);
        assert_eq!(hints.header_values("link"), ["</a.css>; rel=preload", "</b.js>; rel=preload"]);
        server.open_gate("hinted");
        assert_eq!(connection.receive().expect(200).text(), "hinted");
        // A client of HTTP/1.0 knows no 1xx.
        let response = server.ask("GET /hints HTTP/1.0\r\n\r\n");
        assert!(response.interim.is_empty(), "{response:?}");
    }

    fn control_bytes_in_early_hints_are_not_sent(rack) {
        let server = Server::builder("hijack.ru").rack(&rack).args("--early-hints").start();
        let response = server.get("/bad-hints").expect(200);
        let injected = response.interim.iter().any(|hints| hints.header("x-injected").is_some());
        assert!(!injected && response.header("x-injected").is_none(), "{response:?}");
        assert_eq!(response.text(), "survived");
    }
}

/// Rack 3: a 101 with a streaming body.
#[test]
fn a_streamed_upgrade_is_a_conversation() {
    let server = Server::builder("hijack.ru").rack(&RackVersion::newer()).start();
    let mut connection = server.connect();
    connection.send("GET /streamed-upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n");
    assert_eq!(connection.receive().status, 101);
    converse(&mut connection);
}
