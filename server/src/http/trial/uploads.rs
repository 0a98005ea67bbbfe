//! Request bodies: received whole or not at all.

use std::fs::File;

use rackrs_ruby::exchange::Body;

use super::{echo, get, respond, run, serving, settings, with_settings};
use rackrs_ruby::exchange::ResponseBody;

fn post(length: usize) -> String {
    format!("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

#[test]
fn a_large_body_goes_to_a_file_and_comes_back_whole() {
    run(async {
        let mut settings = settings();
        settings.limits.request_body_memory_bytes_max = 1000;
        let trial = with_settings(settings, |request| {
            let kind = match &request.body {
                Body::Empty => "empty",
                Body::Memory(_) => "memory",
                Body::File { .. } => "file",
            };
            assert_eq!(kind, &request.head.uri.path()[1..]);
            echo(request);
        });
        for (length, kind) in
            [(0, "empty"), (1, "memory"), (1000, "memory"), (1001, "file"), (2_000_000, "file")]
        {
            let body: String = "abcdefghijklmnopqrstuvw".chars().cycle().take(length).collect();
            let mut client = trial.connect();
            let head = post(length).replace("/x", &format!("/{kind}"));
            client.send(head + &body).await;
            assert!(client.read_response().await.1 == format!("POST /{kind} {body}"), "{length}");
            let coded =
                format!("POST /{kind} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
            client.send(coded).await;
            for chunk in body.as_bytes().chunks(700) {
                client.send(format!("{:x}\r\n", chunk.len())).await;
                client.send(chunk).await;
                client.send("\r\n").await;
            }
            client.send("0\r\n\r\n").await;
            assert!(client.read_response().await.1 == format!("POST /{kind} {body}"), "{length}");
        }
    });
}

#[test]
fn a_body_beyond_the_limit_is_a_413() {
    run(async {
        let mut settings = settings();
        settings.limits.request_body_bytes_max = 10;
        let trial = with_settings(settings, echo);
        let mut client = trial.connect();
        client.send(post(10) + "0123456789").await;
        assert_eq!(client.read_response().await.1, "POST /x 0123456789");
        client.send(post(11) + "0123456789a").await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 413 "));
        let mut client = trial.connect();
        client.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        client.send("6\r\n012345\r\n6\r\n012345\r\n").await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 413 "));
    });
}

#[test]
fn a_100_is_sent_for_a_body_that_is_wanted_and_no_other() {
    run(async {
        let mut settings = settings();
        settings.limits.request_body_bytes_max = 10;
        let trial = with_settings(settings, echo);
        let mut client = trial.connect();
        let expecting = |length| post(length).replace("host", "expect: 100-continue\r\nhost");
        client.send(expecting(5)).await;
        assert_eq!(client.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hello").await;
        assert_eq!(client.read_response().await.1, "POST /x hello");
        client.send(expecting(11)).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 413 "));
        let mut client = trial.connect();
        client.send(expecting(5).replace("HTTP/1.1", "HTTP/1.0") + "hello").await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.0 200 "));
    });
}

#[test]
fn a_body_cut_short_never_reaches_the_application() {
    run(async {
        let trial = serving(|_| panic!("half a body was dispatched"));
        for request in [
            post(10) + "hello",
            "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
                .into(),
        ] {
            let mut client = trial.connect();
            client.send(request).await;
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
            let text = client.read_to_end().await;
            assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
        }
    });
}

#[test]
fn a_full_disk_is_a_507() {
    run(async {
        let mut settings = settings();
        settings.limits.request_body_memory_bytes_max = 1000;
        settings.open_temp_file = || File::options().write(true).open("/dev/full");
        let trial = with_settings(settings.clone(), echo);
        let mut client = trial.connect();
        client.send(post(5000) + &"x".repeat(5000)).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 507 "));
        settings.open_temp_file = || Err(std::io::ErrorKind::PermissionDenied.into());
        let trial = with_settings(settings, echo);
        let mut client = trial.connect();
        client.send(post(5000) + &"x".repeat(5000)).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 500 "));
    });
}

#[test]
fn a_slow_sender_occupies_nobody_else() {
    run(async {
        let trial = serving(|request| {
            respond(&request.answer, 200, &[], ResponseBody::Whole("ok".into()));
        });
        let mut slow = trial.connect();
        slow.send(post(5) + "he").await;
        let mut quick = trial.connect();
        quick.send(get("/")).await;
        assert_eq!(quick.read_response().await.1, "ok");
        assert_eq!(trial.counters().in_flight, 0);
        slow.send("llo").await;
        assert_eq!(slow.read_response().await.1, "ok");
    });
}
