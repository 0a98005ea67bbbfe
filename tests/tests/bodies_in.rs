//! Request bodies: sizes, codings, 100-continue, bodies cut short, and `rack.input` as SPEC says.

use std::{fs, thread};

use rackrs_tests::{Connection, Server, both_racks, eventually};

/// Bodies up to this many bytes stay in memory.
const MEMORY_BYTES_MAX: usize = 112 * 1024;

/// Bytes that are neither text nor the same everywhere.
fn body(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at * 7 + at / 251) % 256).expect("a remainder of 256"))
        .collect()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(path: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for part in body.chunks(chunk) {
        bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// SHA-256 by coreutils, so that neither side's Ruby is asked about its own work.
fn sha256(server: &Server, body: &[u8]) -> String {
    let path = server.path("expected");
    fs::write(&path, body).expect("the test's folder can be written");
    let output =
        std::process::Command::new("sha256sum").arg(&path).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

fn sizes() -> Vec<usize> {
    vec![0, 1, 100, 65_536, MEMORY_BYTES_MAX - 1, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, 10 << 20]
}

both_racks! {
    fn every_size_arrives_whole(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        for size in sizes() {
            let body = body(size);
            let expected = sha256(&server, &body);
            for request in [post("/", &body), chunked("/", &body, 60_000)] {
                let answer = server.ask(request).expect(200).json();
                assert_eq!(answer["size"], size);
                assert_eq!(answer["sha256"], expected.as_str(), "of {size} bytes");
                assert_eq!(answer["encoding"], "ASCII-8BIT");
                assert!(answer["length"].is_null() || answer["length"].as_str() == Some(&size.to_string()), "{answer}");
            }
        }
    }

    fn input_reads_as_a_stringio_does(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        let lines = b"first\nsecond\r\n\n\xFF\xFEthird\nno end".to_vec();
        let many = b"a line of text\n".repeat(10_000);
        for body in [Vec::new(), b"\n".to_vec(), lines, b"no line end".to_vec(), body(MEMORY_BYTES_MAX), many, vec![b'x'; 300_000]] {
            let size = body.len();
            assert_eq!(server.ask(post("/compare", &body)).expect(200).text(), "", "{size} bytes, in memory or file");
            assert_eq!(server.ask(chunked("/compare", &body, 5000)).expect(200).text(), "", "{size} bytes, chunked");
        }
        assert_eq!(server.ask("GET /class HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ASCII-8BIT");
    }

    fn a_body_nobody_reads_is_no_part_of_the_next_request(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        for size in [10, 100_000, 1 << 20] {
            let mut connection = server.connect();
            let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".repeat(size / 30);
            assert_eq!(connection.ask(post("/ignore", &smuggled)).expect(200).text(), "ignored");
            assert_eq!(connection.ask(chunked("/ignore", &smuggled, 4096)).expect(200).text(), "ignored");
            assert_eq!(connection.ask(post("/", b"abc")).expect(200).json()["size"], 3);
            assert_eq!(connection.ask(post("/close", b"abc")).expect(200).text(), "closed");
        }
    }

    fn continue_is_sent_when_the_body_is_wanted(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        let mut connection = server.connect();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
        connection.send(head);
        assert_eq!(connection.receive_status(), 100);
        connection.send("hello");
        let response = connection.receive().expect(200);
        assert_eq!((response.json()["size"].clone(), response.interim.len()), (5.into(), 0));
        // With the body sent at once a 100 is allowed but not needed; the answer is what counts.
        assert_eq!(connection.ask(format!("{head}hello")).expect(200).json()["size"], 5);
        // HTTP/1.0 knows no 1xx.
        let old = head.replace("HTTP/1.1", "HTTP/1.0") + "hello";
        let response = connection.ask(old).expect(200);
        assert!(response.interim.is_empty(), "{response:?}");
    }

    fn an_expectation_that_cannot_be_met_is_refused(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: the-impossible\r\n\r\nhello";
        assert!([417, 200].contains(&server.ask(request).status));
    }

    fn a_body_cut_short_never_reaches_the_application(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        let cut: [&[u8]; 5] = [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
        ];
        for bytes in cut {
            let mut connection = server.connect();
            connection.send(bytes);
            connection.finish_sending();
            let status = connection.try_receive().map(|response| response.status);
            assert!([None, Some(400), Some(408)].contains(&status), "{status:?}");
            connection.assert_closed();
        }
        assert_eq!(server.ask(post("/", b"whole body")).expect(200).json()["size"], 10);
        assert_eq!(server.read("bodies"), "10\n", "only the whole body was given to the application");
    }

    fn a_limit_of_bytes_is_a_413(rack) {
        let server = Server::builder("input.ru").rack(&rack).args("--http-content-length-limit 1000").start();
        assert_eq!(server.ask(post("/", &body(1000))).expect(200).json()["size"], 1000);
        let mut connection = server.connect();
        connection.offer(post("/", &body(1001)));
        let refused = connection.receive().expect(413);
        assert!(refused.says_close(), "{refused:?}");
        let mut connection = server.connect();
        connection.offer(chunked("/", &body(5000), 500));
        assert_eq!(connection.receive().status, 413);
        // Refused before a byte of the body is asked for.
        let mut connection = server.connect();
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n");
        let refused = connection.receive().expect(413);
        assert!(refused.interim.is_empty(), "{refused:?}");
        assert_eq!(server.read("bodies"), "1000\n");
    }
}

#[test]
fn slow_bodies_cost_no_ruby_thread() {
    let server = Server::builder("input.ru").args("-t 1:1").start();
    let mut slow: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = server.connect();
            connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
            connection
        })
        .collect();
    assert_eq!(server.ask(post("/", b"quick")).expect(200).json()["size"], 5);
    for connection in &mut slow {
        connection.send("lo");
        assert_eq!(connection.receive().expect(200).json()["size"], 5);
    }
}

#[test]
fn large_bodies_leave_no_file_behind() {
    let server = Server::builder("input.ru").start();
    let worker_files = || {
        let worker = rackrs_tests::process::children(server.master());
        let targets = worker
            .iter()
            .flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten());
        targets
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().contains("(deleted)"))
            .count()
    };
    let before = worker_files();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(
                    server.ask(post("/", &body(500_000))).expect(200).json()["size"],
                    500_000
                );
            });
        }
    });
    // Also when the application never reads, and when the body is cut.
    assert_eq!(server.ask(post("/ignore", &body(500_000))).status, 200);
    let mut cut = server.connect();
    cut.send(&post("/", &body(500_000))[..400_000]);
    drop(cut);
    eventually("descriptors of bodies are closed", || (worker_files() <= before).then_some(()));
}
