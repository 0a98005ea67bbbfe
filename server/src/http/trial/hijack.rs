//! The application takes the client's socket.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use rackrs_ruby::exchange::{Answer, HandedSocket, HijackRefused, ResponseBody, Wait};

use super::{echo, get, headers, respond, run, run_with_threads, serving};

/// Waits for the socket on a thread of its own, and speaks on it until the client ends.
fn converse(answer: &Answer) {
    assert_eq!(answer.wait_for_socket(&answer.interrupter()), Wait::Ready);
    let HandedSocket { fd, leftover } = answer.take_socket().unwrap();
    let mut stream = UnixStream::from(fd);
    stream.set_nonblocking(false).unwrap();
    write!(stream, "leftover {:?};", std::str::from_utf8(&leftover).unwrap()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    write!(stream, "then {text:?}").unwrap();
}

#[test]
fn a_full_hijack_hands_over_the_socket_and_what_was_read() {
    run_with_threads(async {
        let trial = serving(|request| {
            if request.head.uri.path() != "/hijack" {
                return echo(request);
            }
            thread::spawn(move || {
                request.answer.early_hints(headers(&[("link", "</a>")])).unwrap();
                request.answer.request_hijack().unwrap();
                converse(&request.answer);
            });
        });
        let mut client = trial.connect();
        client.send(get("/before") + &get("/hijack") + "more").await;
        assert_eq!(client.read_response().await.1, "GET /before ");
        assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 103 "));
        assert_eq!(client.read_until(";").await, "leftover \"more\";");
        client.send("later").await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
        assert_eq!(client.read_to_end().await, "then \"later\"");
        assert_eq!((trial.counters().connections_open, trial.counters().in_flight), (0, 0));
    });
}

#[test]
fn a_partial_hijack_sends_the_head_first() {
    run_with_threads(async {
        let trial = serving(|request| {
            thread::spawn(move || {
                let upgrade = [("upgrade", "x"), ("connection", "upgrade")];
                match request.head.uri.path() {
                    "/101" => respond(&request.answer, 101, &upgrade, ResponseBody::Hijack),
                    _ => respond(&request.answer, 200, &[("x-a", "b")], ResponseBody::Hijack),
                }
                converse(&request.answer);
            });
        });
        for (path, status, expected) in [
            ("/200", "HTTP/1.1 200 OK\r\n", "connection: close\r\n"),
            ("/101", "HTTP/1.1 101 Switching Protocols\r\n", "connection: upgrade\r\n"),
        ] {
            let mut client = trial.connect();
            client.send(get(path).replace("\r\n\r\n", "\r\nupgrade: x\r\n\r\n")).await;
            let head = client.read_until("\r\n\r\n").await;
            assert!(head.starts_with(status) && head.contains(expected), "{head}");
            assert!(head.contains("\r\ndate: "), "{head}");
            assert!(!head.contains("content-length") && !head.contains("transfer-"), "{head}");
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
            assert_eq!(client.read_to_end().await, "leftover \"\";then \"\"");
        }
    });
}

#[test]
fn a_hijack_after_the_client_has_gone_is_refused() {
    run(async {
        let kept = std::rc::Rc::new(std::cell::RefCell::new(None));
        let keep = std::rc::Rc::clone(&kept);
        let trial = serving(move |request| *keep.borrow_mut() = Some(request.answer));
        let mut client = trial.connect();
        client.send(get("/")).await;
        super::eventually("the request", || kept.borrow().is_some()).await;
        drop(client);
        let answer = kept.borrow_mut().take().unwrap();
        super::eventually("the client's end", || answer.is_gone()).await;
        assert_eq!(answer.request_hijack(), Err(HijackRefused("the client is gone")));
    });
}
