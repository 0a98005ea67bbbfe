//! Responses of every kind, framed right, and those that break off.

use std::{
    cell::Cell,
    io::{Seek, Write},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use rackrs_ruby::exchange::{Answer, Push, Request, ResponseBody, STREAM_QUEUED_BYTES_MAX, Wait};

use super::{eventually, get, respond, run, serving};

fn file(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

/// Answers by the path: what is asked for in a test.
fn application(request: Request) {
    let Request { head, answer, .. } = request;
    let ok = |body| respond(&answer, 200, &[], body);
    let stream = |pairs: &[(&'static str, &'static str)], chunks: &[&'static str]| {
        respond(&answer, 200, pairs, ResponseBody::Stream);
        for chunk in chunks {
            let _room = answer.push(Bytes::from_static(chunk.as_bytes()));
        }
    };
    match head.uri.path() {
        "/whole" => ok(ResponseBody::Whole("hello".into())),
        "/empty" => ok(ResponseBody::Whole(Bytes::new())),
        "/file" => {
            ok(ResponseBody::File { file: file("f".repeat(300_000).as_bytes()), len: 300_000 });
        }
        "/range" => ok(ResponseBody::File { file: file(b"0123456789"), len: 4 }),
        "/shrunk" => ok(ResponseBody::File { file: file(b"0123456789"), len: 11 }),
        "/204" => respond(&answer, 204, &[], ResponseBody::Whole("no".into())),
        "/304" => respond(&answer, 304, &[("etag", "\"1\"")], ResponseBody::Whole("no".into())),
        "/stream" => {
            stream(&[], &["one", "two"]);
            answer.finish();
        }
        "/sized" => {
            stream(&[("content-length", "6")], &["one", "two"]);
            answer.finish();
        }
        "/long" => {
            stream(&[("content-length", "5")], &["hello", "HTTP/1.1 200 OK\r\n\r\n"]);
            answer.finish();
        }
        "/short" => {
            stream(&[("content-length", "100")], &["short"]);
            answer.finish();
        }
        "/whole-short" => {
            respond(&answer, 200, &[("content-length", "9")], ResponseBody::Whole("short".into()));
        }
        "/whole-long" => {
            respond(&answer, 200, &[("content-length", "2")], ResponseBody::Whole("long".into()));
        }
        "/none-short" => {
            respond(&answer, 200, &[("content-length", "9")], ResponseBody::Whole(Bytes::new()));
        }
        "/abort" => {
            stream(&[], &["one"]);
            answer.abort();
        }
        "/interim" => respond(&answer, 102, &[], ResponseBody::Whole(Bytes::new())),
        other => panic!("{other}"),
    }
}

#[test]
fn bodies_are_framed_by_their_length_or_by_chunks() {
    run(async {
        let trial = serving(application);
        let mut client = trial.connect();
        for (path, body) in
            [("/whole", "hello"), ("/empty", ""), ("/range", "0123"), ("/sized", "onetwo")]
        {
            client.send(get(path)).await;
            let (head, read) = client.read_response().await;
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            assert_eq!(read, body);
        }
        client.send(get("/stream")).await;
        let text = client.read_until("\r\n0\r\n\r\n").await;
        assert!(text.contains("\r\ntransfer-encoding: chunked\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), "{text}");
        client.send(get("/file")).await;
        assert!(client.read_response().await.1 == "f".repeat(300_000));
        client.send("GET /stream HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        let text = client.read_to_end().await;
        assert!(text.ends_with("\r\n\r\nonetwo") && !text.contains("transfer-enc"), "{text}");
    });
}

#[test]
fn a_head_request_has_the_headers_and_no_body() {
    run(async {
        let trial = serving(application);
        let mut client = trial.connect();
        for (path, length) in [
            ("/whole", Some(5)),
            ("/file", Some(300_000)),
            ("/sized", Some(6)),
            ("/stream", None),
            ("/empty", None),
            ("/204", None),
        ] {
            client.send(get(path).replace("GET", "HEAD")).await;
            let head = client.read_until("\r\n\r\n").await;
            let line = length.map(|length| format!("content-length: {length}\r\n"));
            assert_eq!(head.contains("content-length"), line.is_some(), "{path}: {head}");
            assert!(line.is_none_or(|line| head.contains(&line)), "{path}: {head}");
        }
        // Nothing was left between the heads.
        client.send(get("/whole")).await;
        assert!(client.read_until("hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    });
}

#[test]
fn statuses_without_a_body_have_none() {
    run(async {
        let trial = serving(application);
        let mut client = trial.connect();
        client.send(get("/204") + &get("/304") + &get("/whole")).await;
        let text = client.read_until("hello").await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 3, "{text}");
        assert_eq!(text.matches("content-length").count(), 1, "{text}");
        client.send(get("/interim")).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 500 "));
    });
}

#[test]
fn a_body_too_long_ends_with_its_length_and_the_connection_with_it() {
    run(async {
        let trial = serving(application);
        for (path, end) in [("/long", "\r\n\r\nhello"), ("/whole-long", "\r\n\r\nlo")] {
            let mut client = trial.connect();
            client.send(get(path) + &get("/whole")).await;
            let text = client.read_to_end().await;
            assert!(text.ends_with(end), "{text}");
        }
    });
}

#[test]
fn a_body_that_breaks_off_looks_broken() {
    run(async {
        let trial = serving(application);
        for (path, end) in [
            ("/short", "\r\n\r\nshort"),
            ("/whole-short", "\r\n\r\nshort"),
            ("/none-short", "\r\n\r\n"),
            ("/abort", "\r\n\r\n3\r\none\r\n"),
            ("/shrunk", "\r\n\r\n"),
        ] {
            let mut client = trial.connect();
            client.send(get(path) + &get("/whole")).await;
            let text = client.read_to_end().await;
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(end), "{text}");
        }
    });
}

#[test]
fn a_stream_waits_for_a_slow_client_and_holds_little() {
    const TOTAL: usize = 4 << 20;
    const CHUNK: usize = 16 << 10;
    run(async {
        let pushed = Rc::new(Cell::new(0));
        let count = Rc::clone(&pushed);
        let trial = serving(move |request| {
            let count = Rc::clone(&count);
            tokio::task::spawn_local(async move {
                let answer = request.answer;
                respond(&answer, 200, &[], ResponseBody::Stream);
                while count.get() < TOTAL {
                    assert_ne!(answer.push(vec![b'x'; CHUNK].into()), Push::Gone);
                    count.set(count.get() + CHUNK);
                    wait_for_room(&answer).await;
                }
                answer.finish();
            });
        });
        let mut client = trial.connect();
        client.send(get("/")).await;
        client.read_until("\r\n\r\n").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let at_rest = pushed.get();
        // The kernel's buffer, what hyper takes at once, and the channel.
        assert!(at_rest < (1 << 20) + STREAM_QUEUED_BYTES_MAX, "{at_rest} bytes are held");
        client.read_until("\r\n0\r\n\r\n").await;
        assert_eq!(pushed.get(), TOTAL);
        eventually("the count", || trial.counters().body_bytes_out == TOTAL as u64).await;
    });
}

/// Asks for room without blocking the thread, which is the I/O thread here.
async fn wait_for_room(answer: &Answer) {
    loop {
        let interrupter = answer.interrupter();
        interrupter.interrupt();
        match answer.wait_for_room(&interrupter) {
            Wait::Ready => return,
            Wait::Gone => panic!("the client is there"),
            Wait::Interrupted => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}
