//! The load generator against a server of a few lines.

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixListener,
    task::LocalSet,
};

use super::*;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers every request with `answer`; counts connections.
async fn serve(listener: UnixListener, answer: &'static str, accepted: Rc<RefCell<u64>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        *accepted.borrow_mut() += 1;
        tokio::task::spawn_local(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                if line == "\r\n" && stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
                line.clear();
            }
        });
    }
}

/// Runs 20 requests over 3 connections; gives the outcome and the connections seen.
fn outcome_of(answer: &'static str, reuse: Reuse) -> (Outcome, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let accepted = Rc::new(RefCell::new(0));
        let listener = UnixListener::bind(&path).unwrap();
        tokio::task::spawn_local(serve(listener, answer, Rc::clone(&accepted)));
        let plan = Plan {
            target: Target::Unix(path),
            connections: 3,
            stop: Stop::Count(20),
            reuse,
            exchange: Exchange {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                request_body_bytes: 0,
                status: 200,
                response_body_bytes: Some(2),
            },
        };
        let outcome = run(plan).await;
        let accepted = *accepted.borrow();
        (outcome, accepted)
    })
}

#[test]
fn good_responses_are_counted() {
    let (outcome, connections) = outcome_of(GOOD, Reuse::KeepAlive);
    let summary = outcome.summary();
    assert_eq!((summary.requests, summary.errors, summary.body_bytes), (20, 0, 40));
    assert_eq!(connections, 3);
    assert!(summary.p50_us <= summary.p99_us && summary.p99_us <= summary.max_us);
}

#[test]
fn a_connection_for_each_request() {
    let (outcome, connections) = outcome_of(GOOD, Reuse::OneRequest);
    assert_eq!((outcome.latencies.count(), outcome.errors), (20, 0));
    assert_eq!(connections, 20);
}

#[test]
fn anything_else_is_an_error() {
    for answer in [
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        "nonsense\r\n\r\n",
    ] {
        let (outcome, _) = outcome_of(answer, Reuse::KeepAlive);
        assert_eq!((outcome.latencies.count(), outcome.errors), (0, 20), "{answer}");
        assert!(outcome.first_error.is_some());
    }
}

#[test]
fn nobody_there_is_an_error() {
    let plan = Plan {
        target: Target::parse("unix:/nonexistent/socket"),
        connections: 1,
        stop: Stop::Count(2),
        reuse: Reuse::KeepAlive,
        exchange: Exchange {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            request_body_bytes: 3,
            status: 200,
            response_body_bytes: None,
        },
    };
    assert!(plan.exchange.wire(plan.reuse).ends_with(b"Content-Length: 3\r\n\r\nxxx"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = LocalSet::new().block_on(&runtime, run(plan));
    assert_eq!(outcome.errors, 2);
}
