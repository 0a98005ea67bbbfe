//! The Rack environment: what it holds for a head, and that it is what Puma gives.

use std::collections::BTreeMap;

use rackrs_tests::{Connection, Puma, RackVersion, Server, both_racks};
use serde_json::{Value, json};

type Environment = BTreeMap<String, Value>;

fn environment_of(connection: &mut Connection, request: &[u8]) -> Environment {
    let response = connection.ask(request);
    assert_eq!(response.status, 200, "to {:?}", String::from_utf8_lossy(request));
    serde_json::from_value(response.json()).expect("the application answers with an object")
}

fn text(environment: &Environment, key: &str) -> Option<String> {
    let hex = environment.get(key)?.get("bytes")?.as_str()?;
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).expect("bytes are in hex"))
        .collect();
    // One character for each byte, so that nothing is hidden by a replacement.
    Some(bytes.into_iter().map(char::from).collect())
}

/// Heads (without the request line's end and Host) and what the keys must hold; "" is an absent key.
const HEADS: &[(&str, &[(&str, &str)])] = &[
    (
        "GET / HTTP/1.1\r\nHost: a\r\n",
        &[
            ("REQUEST_METHOD", "GET"),
            ("PATH_INFO", "/"),
            ("SCRIPT_NAME", "="),
            ("QUERY_STRING", "="),
            ("SERVER_NAME", "a"),
            ("SERVER_PORT", "80"),
            ("HTTP_HOST", "a"),
            ("rack.url_scheme", "http"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("GATEWAY_INTERFACE", "CGI/1.2"),
            ("CONTENT_LENGTH", ""),
            ("CONTENT_TYPE", ""),
        ],
    ),
    (
        "GET /a/b%20c?d=e&f HTTP/1.1\r\nHost: example.org:8080\r\n",
        &[
            ("PATH_INFO", "/a/b%20c"),
            ("QUERY_STRING", "d=e&f"),
            ("REQUEST_URI", "/a/b%20c?d=e&f"),
            ("REQUEST_PATH", "/a/b%20c"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
        ],
    ),
    ("GET //double//slash HTTP/1.1\r\nHost: a\r\n", &[("PATH_INFO", "//double//slash")]),
    ("GET /?a=b?c=d HTTP/1.1\r\nHost: a\r\n", &[("QUERY_STRING", "a=b?c=d"), ("PATH_INFO", "/")]),
    (
        "GET /? HTTP/1.1\r\nHost: a\r\n",
        &[("QUERY_STRING", "="), ("PATH_INFO", "/"), ("REQUEST_URI", "/?")],
    ),
    (
        "GET / HTTP/1.1\r\nHost: [::1]:3000\r\n",
        &[("SERVER_NAME", "[::1]"), ("SERVER_PORT", "3000")],
    ),
    ("GET / HTTP/1.1\r\nHost: [::1]\r\n", &[("SERVER_NAME", "[::1]"), ("SERVER_PORT", "80")]),
    (
        "GET http://other.example/abs?x HTTP/1.1\r\nHost: other.example\r\n",
        &[("PATH_INFO", "/abs"), ("QUERY_STRING", "x"), ("SERVER_NAME", "other.example")],
    ),
    (
        "GET / HTTP/1.0\r\n",
        &[("SERVER_PROTOCOL", "HTTP/1.0"), ("HTTP_HOST", ""), ("SERVER_PORT", "80")],
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX-Twice: one\r\nX-Twice: two\r\n",
        &[("HTTP_X_TWICE", "one, two")],
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n", &[("HTTP_COOKIE", "a=1; b=2")]),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Blank:   \r\n",
        &[("HTTP_X_EMPTY", "="), ("HTTP_X_BLANK", "=")],
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Inner:  a  b \r\n", &[("HTTP_X_INNER", "a  b")]),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nContent-Length: 0\r\n",
        &[
            ("CONTENT_TYPE", "text/x"),
            ("CONTENT_LENGTH", "0"),
            ("HTTP_CONTENT_TYPE", ""),
            ("HTTP_CONTENT_LENGTH", ""),
        ],
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n",
        &[
            ("rack.url_scheme", "https"),
            ("SERVER_PORT", "443"),
            ("HTTP_X_FORWARDED_PROTO", "https"),
        ],
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Ssl: on\r\n", &[("rack.url_scheme", "https")]),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Scheme: https\r\n", &[("rack.url_scheme", "https")]),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: gopher\r\n", &[("rack.url_scheme", "http")]),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n",
        &[("REMOTE_ADDR", "127.0.0.1"), ("HTTP_X_FORWARDED_FOR", "1.2.3.4")],
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nProxy: http://evil\r\n", &[("HTTP_HOST", "a")]),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nAccept: */*\r\nReferer: y\r\nAuthorization: Basic z\r\n",
        &[
            ("HTTP_USER_AGENT", "x"),
            ("HTTP_ACCEPT", "*/*"),
            ("HTTP_REFERER", "y"),
            ("HTTP_AUTHORIZATION", "Basic z"),
        ],
    ),
    ("PATCH / HTTP/1.1\r\nHost: a\r\n", &[("REQUEST_METHOD", "PATCH")]),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-Latin: caf\u{e9}\r\n", &[("HTTP_X_LATIN", "caf\u{e9}")]),
];

/// The request's bytes: one byte for each character, and the end of the head.
fn request(head: &str) -> Vec<u8> {
    let bytes = head.chars().map(|char| u8::try_from(char).expect("heads are Latin-1"));
    bytes.chain(*b"\r\n").collect()
}

/// What may differ from Puma (5.6 in Debian 12, 8 in forky) for the same bytes, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("SERVER_SOFTWARE", "our own name"),
    ("rack.version", "kept for Rack 2 only where its SPEC asks"),
    ("puma.config", "an object of Puma's own configuration"),
    ("puma.socket", "our connections are not Ruby sockets before a hijack"),
    ("rack.tempfiles", "Puma's own bookkeeping"),
    ("rack.hijack", "any callable"),
    ("rack.hijack_io", "set when the socket is taken, as SPEC says"),
    ("rack.input", "our own class"),
    ("rack.errors", "any stream"),
    ("rack.logger", "optional"),
    ("rack.early_hints", "always offered here; Puma offers it by a flag"),
    ("rack.after_reply", "an Array in both"),
    ("rack.response_finished", "newer than Puma 5.6"),
    ("puma.request_body_wait", "a time"),
    ("puma.mark_as_io_bound", "newer than Puma 5.6; a lambda, another in each process"),
    ("rack.protocol", "Rack 3"),
    ("HTTP_VERSION", "Rack 3.1 gave it up"),
];

/// Requests that Puma 5.6 answers differently on purpose, by their place in the head.
const NOT_AS_PUMA: &[(&str, &str)] = &[
    ("Host: [::1]\r\n", "Puma 5.6 has no port for a bare IPv6 host"),
    ("Proxy:", "the httpoxy header does not become HTTP_PROXY"),
    ("GET http://", "Puma 5.6 keeps the scheme and host of the target elsewhere"),
    ("HTTP/1.0", "Puma 5.6 says HTTP/1.1 in SERVER_PROTOCOL whatever was sent"),
    ("Cookie: b=2", "Puma joins cookies by a comma, RFC 6265 and HTTP/2 by a semicolon"),
];

both_racks! {
    fn heads_become_the_keys_that_the_table_says(rack) {
        let server = Server::builder("env.ru").rack(&rack).args("-e production").start();
        for (head, expected) in HEADS {
            let environment = environment_of(&mut server.connect(), &request(head));
            for (key, value) in *expected {
                let wanted = match *value {
                    "" => None,
                    "=" => Some(String::new()),
                    value => Some(value.to_owned()),
                };
                assert_eq!(text(&environment, key), wanted, "{key} of {head:?}");
            }
        }
    }

    fn strings_have_the_encodings_that_lint_and_puma_know(rack) {
        let server = Server::builder("env.ru").rack(&rack).start();
        let head = "GET /a?b HTTP/1.1\r\nHost: a\r\nX-Some: c\r\nX-Latin: \u{e9}\r\nContent-Type: t\r\n";
        let environment = environment_of(&mut server.connect(), &request(head));
        for (key, value) in &environment {
            let Some(encoding) = value.get("encoding") else { continue };
            let encoding = encoding.as_str().expect("a name");
            assert!(["ASCII-8BIT", "UTF-8", "US-ASCII"].contains(&encoding), "{key}: {value}");
            if key.starts_with("HTTP_X_LATIN") {
                assert_eq!(encoding, "ASCII-8BIT", "bytes that are not UTF-8 stay as they came");
            }
        }
    }

    fn the_keys_of_the_spec_have_their_kinds(rack) {
        let server = Server::builder("env.ru").rack(&rack).args("-t 2:2").start();
        let environment = environment_of(&mut server.connect(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let is = |key: &str, value: &Value| assert_eq!(environment.get(key), Some(value), "{key}");
        is("rack.multithread", &json!({ "value": true }));
        is("rack.multiprocess", &json!({ "value": false }));
        is("rack.hijack?", &json!({ "value": true }));
        for key in ["rack.input", "rack.errors", "rack.hijack"] {
            assert!(environment.contains_key(key), "no {key} in {:?}", environment.keys());
        }
        if !rack.is_newer() {
            is("rack.run_once", &json!({ "value": false }));
            assert!(environment["rack.version"]["value"].is_array());
        }
        assert!(text(&environment, "SERVER_SOFTWARE").is_some_and(|name| name.starts_with("rackrs")));
    }

    fn threads_and_processes_are_told_as_they_are(rack) {
        let server = Server::builder("env.ru").rack(&rack).args("-t 1:1 -w 2").start();
        let environment = environment_of(&mut server.connect(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(environment["rack.multithread"], json!({ "value": false }));
        assert_eq!(environment["rack.multiprocess"], json!({ "value": true }));
    }

    fn nothing_of_a_request_is_in_the_next(rack) {
        let server = Server::builder("shared.ru").rack(&rack).args("-t 1:1").start();
        let mut connection = server.connect();
        for round in 0..20 {
            let request = "POST /same?q HTTP/1.1\r\nHost: example.org\r\nX-Same: value\r\nContent-Length: 3\r\n\r\nabc";
            assert_eq!(connection.ask(request).expect(200).text(), "", "round {round}");
        }
    }

    fn the_mount_prefix_comes_from_script_name(rack) {
        let server = Server::builder("env.ru").rack(&rack).env("SCRIPT_NAME", "/mounted").start();
        let environment = environment_of(&mut server.connect(), b"GET /mounted/x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(text(&environment, "SCRIPT_NAME").as_deref(), Some("/mounted"));
    }

    fn the_clients_address_is_told_over_tcp(rack) {
        let server = Server::builder("env.ru").rack(&rack).tcp().no_unix().start();
        let environment = environment_of(&mut server.connect_tcp(), b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(text(&environment, "REMOTE_ADDR").as_deref(), Some("127.0.0.1"));
        assert!(text(&environment, "SERVER_NAME").is_some_and(|name| !name.is_empty()));
    }

    fn values_survive_a_garbage_collection(rack) {
        let server = Server::builder("env.ru").rack(&rack).start();
        let long = "x".repeat(5000);
        let request = format!("GET /gc?{long} HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n");
        for _ in 0..5 {
            let environment = environment_of(&mut server.connect(), request.as_bytes());
            assert_eq!(text(&environment, "HTTP_X_LONG").as_ref(), Some(&long));
            assert_eq!(text(&environment, "QUERY_STRING").as_ref(), Some(&long));
        }
    }
}

/// The drop-in promise: the same bytes give the same keys and values as Puma gives.
#[test]
fn the_environment_is_pumas() {
    let puma = Puma::start("env.ru");
    let server =
        Server::builder("env.ru").rack(&RackVersion::Debian).args("-e production -t 1:1").start();
    let mut faults = Vec::new();
    for (head, _) in HEADS {
        if NOT_AS_PUMA.iter().any(|(part, _)| head.contains(part)) {
            continue;
        }
        let theirs = environment_of(&mut puma.connect(), &request(head));
        let ours = environment_of(&mut server.connect(), &request(head));
        let keys = theirs.keys().chain(ours.keys());
        for key in keys.filter(|key| !DIFFERENCES.iter().any(|(known, _)| known == key)) {
            let (their, our) = (theirs.get(key), ours.get(key));
            if bytes_of(their) != bytes_of(our) {
                faults.push(format!("{key}: Puma {their:?}, rackrs {our:?}, head {head:?}"));
            }
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The bytes of a string, or the value itself; encodings are the business of another test.
fn bytes_of(value: Option<&Value>) -> Option<&Value> {
    value.map(|value| value.get("bytes").unwrap_or(value))
}

/// Encodings differ from Puma's nowhere but where the list says.
#[test]
fn the_encodings_are_pumas() {
    let puma = Puma::start("env.ru");
    let server =
        Server::builder("env.ru").rack(&RackVersion::Debian).args("-e production -t 1:1").start();
    let head = "POST /a?b HTTP/1.1\r\nHost: a:1\r\nX-Some: c\r\nCookie: d\r\nContent-Type: t\r\nContent-Length: 0\r\n";
    let theirs = environment_of(&mut puma.connect(), &request(head));
    let ours = environment_of(&mut server.connect(), &request(head));
    let request_keys = [
        "REQUEST_METHOD",
        "REQUEST_URI",
        "REQUEST_PATH",
        "PATH_INFO",
        "QUERY_STRING",
        "HTTP_X_SOME",
        "HTTP_COOKIE",
        "CONTENT_TYPE",
        "HTTP_HOST",
        "SERVER_NAME",
        "SERVER_PORT",
    ];
    for key in request_keys {
        assert_eq!(theirs[key]["encoding"], ours[key]["encoding"], "{key}");
    }
}
