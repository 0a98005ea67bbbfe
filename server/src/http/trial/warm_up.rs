//! A warm-up is a request like others, and only a good answer lets a worker begin.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header::HOST};
use rackrs_ruby::exchange::{Push, Request, ResponseBody};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{Fake, echo, headers, respond, run, seconds_since, settings};
use crate::http::{Application, Server, Settings, WarmUp, WarmUpError};

const LIMIT: Duration = Duration::from_secs(20);

fn server(answer: impl Fn(Request) + 'static) -> Server<impl Application> {
    with_settings(settings(), answer)
}

fn with_settings(
    settings: Settings,
    answer: impl Fn(Request) + 'static,
) -> Server<impl Application> {
    let application = Fake(move |request: Box<Request>| {
        answer(*request);
        Ok(())
    });
    Server::new(application, settings)
}

async fn error(server: &Server<impl Application>, path: &str) -> (String, u8) {
    let error = server.warm_up(path, LIMIT).await.unwrap_err();
    (error.to_string(), error.exit_code())
}

#[test]
fn the_application_sees_a_plain_request() {
    run(async {
        let settings = settings();
        let counters = std::sync::Arc::clone(&settings.counters);
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let note = Rc::clone(&seen);
        let server = with_settings(settings, move |request| {
            let head = &request.head;
            let header = |name| head.headers[name].to_str().unwrap().to_owned();
            note.borrow_mut().push(format!(
                "{} {} {:?} {} {}",
                head.method,
                head.uri,
                head.version,
                header(HOST.as_str()),
                header("user-agent"),
            ));
            assert!(request.body.is_empty());
            echo(request);
        });
        let answer = server.warm_up("/warm?a=1", LIMIT).await.unwrap();
        assert_eq!(answer, WarmUp { status: StatusCode::OK, body_bytes: 10 });
        assert_eq!(*seen.borrow(), ["GET /warm?a=1 HTTP/1.1 localhost rackrs warm-up"]);
        let counts = counters.snapshot();
        assert_eq!((counts.connections, counts.requests, counts.finished), (1, 1, 1));
        assert_eq!((counts.connections_open, counts.in_flight), (0, 0));
    });
}

#[test]
fn an_answer_below_500_is_good() {
    run(async {
        for status in [200, 204, 302, 304, 401, 404] {
            let server = server(move |request| {
                respond(&request.answer, status, &[], ResponseBody::Whole(Bytes::new()));
            });
            let answer = server.warm_up("/", LIMIT).await.unwrap();
            assert_eq!(answer.status.as_u16(), status);
        }
    });
}

#[test]
fn an_answer_of_500_and_above_is_an_error() {
    run(async {
        let server =
            server(|request| respond(&request.answer, 503, &[], ResponseBody::Whole("no".into())));
        assert_eq!(
            error(&server, "/x").await,
            (
                "cannot warm up with GET /x: it was answered with 503; see what the application \
                 has logged, or choose another path"
                    .to_owned(),
                70
            )
        );
    });
}

#[test]
fn an_application_that_gives_no_answer_is_an_error() {
    run(async {
        let server = server(drop);
        let (text, _) = error(&server, "/x").await;
        assert!(text.contains("it was answered with 500;"), "{text}");
    });
}

#[test]
fn an_answer_must_come_in_time() {
    run(async {
        let settings = settings();
        let counters = std::sync::Arc::clone(&settings.counters);
        let kept: Rc<RefCell<Vec<Request>>> = Rc::default();
        let keep = Rc::clone(&kept);
        let server = with_settings(settings, move |request| keep.borrow_mut().push(request));
        let start = Instant::now();
        let (text, status) = error(&server, "/slow").await;
        assert!(text.contains("it was not answered within 20 s; give it more time"), "{text}");
        assert_eq!((status, seconds_since(start)), (70, 20));
        let counts = counters.snapshot();
        assert_eq!((counts.connections_open, counts.in_flight), (0, 0));
        assert!(kept.borrow()[0].answer.is_gone());
    });
}

#[test]
fn interim_answers_and_a_stream_are_read_to_the_end() {
    run(async {
        let server = server(|request| {
            request.answer.early_hints(headers(&[("link", "</a.css>")])).unwrap();
            spawn_local(async move {
                sleep(Duration::from_secs(3)).await;
                respond(&request.answer, 200, &[], ResponseBody::Stream);
                for _ in 0..2 {
                    sleep(Duration::from_secs(3)).await;
                    assert_eq!(request.answer.push("tick".into()), Push::Taken);
                }
                request.answer.finish();
            });
        });
        let start = Instant::now();
        let answer = server.warm_up("/", LIMIT).await.unwrap();
        let body_bytes = "4\r\ntick\r\n4\r\ntick\r\n0\r\n\r\n".len() as u64;
        assert_eq!(answer, WarmUp { status: StatusCode::OK, body_bytes });
        assert_eq!(seconds_since(start), 9);
    });
}

#[test]
fn an_answer_that_is_cut_short_is_an_error() {
    run(async {
        for declared in [&[][..], &[("content-length", "9")]] {
            let server = server(move |request| {
                respond(&request.answer, 200, declared, ResponseBody::Stream);
                let _room = request.answer.push("four".into());
                request.answer.abort();
            });
            let (text, status) = error(&server, "/").await;
            assert!(text.contains("it was not answered to the end;"), "{text}");
            assert_eq!(status, 70);
        }
    });
}

#[test]
fn a_socket_that_is_taken_and_dropped_is_no_answer() {
    run(async {
        let server = server(|request| {
            request.answer.request_hijack().unwrap();
            spawn_local(async move {
                sleep(Duration::from_secs(1)).await;
                drop(request.answer.take_socket());
            });
        });
        let (text, _) = error(&server, "/").await;
        assert!(text.contains("it was not answered to the end;"), "{text}");
    });
}

#[test]
fn an_answer_has_its_longest_length() {
    run(async {
        for (mebibytes, is_good) in [(64, true), (65, false)] {
            let body = Bytes::from(vec![0; mebibytes << 20]);
            let server = server(move |request| {
                respond(&request.answer, 200, &[], ResponseBody::Whole(body.clone()));
            });
            match server.warm_up("/", LIMIT).await {
                Ok(answer) => assert!(is_good && answer.body_bytes == 64 << 20, "{answer:?}"),
                Err(error) => {
                    assert!(!is_good && matches!(error, WarmUpError::TooLong { .. }), "{error:?}");
                }
            }
        }
    });
}

#[test]
fn a_path_that_is_none_is_not_asked_for() {
    run(async {
        let server = server(|_| panic!("a request came"));
        for path in ["", "x", "http://a/", "/a b", "/a\r\nx: y", "/é", "/a#b"] {
            let (text, status) = error(&server, path).await;
            assert!(text.contains("it is no path of a URL;") && !text.contains('\n'), "{text}");
            assert_eq!(status, 78);
        }
    });
}

#[test]
fn a_refused_request_is_an_error() {
    run(async {
        let server = server(|_| panic!("a request came"));
        let (text, status) = error(&server, &format!("/{}", "x".repeat(200_000))).await;
        assert!(text.contains("xx: it was refused with 431; choose a path"), "{}", text.len());
        assert_eq!(status, 78);
    });
}
