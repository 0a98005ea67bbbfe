//! Requests in every order, and those that are refused.

use std::rc::Rc;

use rackrs_ruby::exchange::{Full, Request, ResponseBody};

use super::{
    Fake, Lines, Trial, Worker, echo, eventually, get, respond, run, serving, settings,
    with_settings,
};

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        let post = "POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
        let coded = "POST /3 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                     5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n";
        client.send(get("/1") + post + coded + &get("/4")).await;
        for expected in ["GET /1 ", "POST /2 hello", "POST /3 hello", "GET /4 "] {
            assert_eq!(client.read_response().await.1, expected);
        }
        assert_eq!(trial.counters().requests, 4);
    });
}

#[test]
fn a_client_that_has_ended_its_sending_still_gets_its_answers() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send(get("/1") + &get("/2")).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
        let text = client.read_to_end().await;
        assert!(text.contains("GET /1 ") && text.ends_with("GET /2 "), "{text}");
    });
}

#[test]
fn http_10_is_closed_unless_the_client_wants_it_kept() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send("GET /1 HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n").await;
        let (head, _) = client.read_response().await;
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(head.contains("connection: keep-alive\r\n"), "{head}");
        client.send("GET /2 HTTP/1.0\r\n\r\n").await;
        assert!(client.read_to_end().await.ends_with("GET /2 "));
    });
}

#[test]
fn a_refusal_says_why_and_closes() {
    run(async {
        let trial = serving(|_| panic!("nothing may reach the application"));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("BREW / HTTP/1.1\r\nhost: a\r\n\r\n", 501),
            ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nhost: a\r\nexpect: x\r\ncontent-length: 1\r\n\r\n", 417),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("nonsense\r\n\r\n", 400),
        ] {
            let mut client = trial.connect();
            client.send(request.to_owned() + &get("/smuggled")).await;
            let text = client.read_to_end().await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {text}");
            assert!(text.contains("connection: close\r\n"), "{text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
        }
    });
}

#[test]
fn a_full_queue_is_a_503() {
    run(async {
        let application = Fake(|request: Box<Request>| Err(Full(request)));
        let trial = Trial { worker: Worker::new(application, settings()) };
        let mut client = trial.connect();
        client.send(get("/")).await;
        let text = client.read_to_end().await;
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(text.contains("retry-after: 1\r\n"), "{text}");
    });
}

#[test]
fn a_lost_answer_is_a_500() {
    run(async {
        let trial = serving(drop);
        let mut client = trial.connect();
        client.send(get("/")).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 500 "));
        eventually("the end of the request", || trial.counters().in_flight == 0).await;
    });
}

#[test]
fn an_absolute_target_names_the_host() {
    run(async {
        let trial = serving(|request| {
            assert_eq!(request.head.headers["host"], "b.example:81");
            echo(request);
        });
        let mut client = trial.connect();
        client.send("GET http://b.example:81/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.read_response().await.1, "GET /x ");
    });
}

#[test]
fn a_client_that_goes_away_is_noticed_while_the_application_works() {
    run(async {
        let held = Rc::new(std::cell::RefCell::new(None));
        let keep = Rc::clone(&held);
        let trial = serving(move |request| *keep.borrow_mut() = Some(request));
        let mut client = trial.connect();
        // Exactly what hyper reads at once: the runtime takes the socket for readable still.
        let padding = "p".repeat(8192 - get("/").len() - "x-a: \r\n".len());
        client.send(get("/").replace("host", &format!("x-a: {padding}\r\nhost"))).await;
        eventually("the request", || held.borrow().is_some()).await;
        assert!(!held.borrow().as_ref().unwrap().answer.is_gone());
        drop(client);
        let gone = || held.borrow().as_ref().unwrap().answer.is_gone();
        eventually("the reply's end", gone).await;
        eventually("the connection's end", || trial.counters().connections_open == 0).await;
        assert_eq!(trial.counters().in_flight, 0);
    });
}

#[test]
fn every_response_is_logged_once() {
    run(async {
        let lines = Rc::new(Lines::default());
        let mut settings = settings();
        settings.access_log = Some(Rc::clone(&lines) as Rc<dyn super::AccessLog>);
        let trial = with_settings(settings, |request| match request.head.uri.path() {
            "/hijack" => request.answer.request_hijack().unwrap(),
            "/cut" => {
                respond(&request.answer, 200, &[], ResponseBody::Stream);
                let _room = request.answer.push("four".into());
                request.answer.abort();
            }
            _ => echo(request),
        });
        let mut client = trial.connect();
        client.send("GET /x?y=1 HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\n\r\n").await;
        client.read_response().await;
        client.send(get("/hijack")).await;
        eventually("the hijack", || lines.count.get() == 2).await;
        let mut client = trial.connect();
        client.send("GET /refused HTTP/1.1\r\n\r\n").await;
        client.read_to_end().await;
        let mut client = trial.connect();
        client.send(get("/cut")).await;
        client.read_to_end().await;
        eventually("the last line", || lines.count.get() == 4).await;
        assert_eq!(
            lines.take(),
            [
                "GET /x?y=1 HTTP/1.1 200 7 1.2.3.4",
                "GET /hijack HTTP/1.1 HIJACKED 0 -",
                "GET /refused HTTP/1.1 400 31 -",
                "GET /cut HTTP/1.1 200 4 - cut",
            ]
        );
        let counts = trial.counters();
        assert_eq!((counts.requests, counts.finished, counts.in_flight), (4, 4, 0));
    });
}
