//! Early hints go out in order.

use rackrs_ruby::exchange::ResponseBody;

use super::{echo, get, headers, respond, run, serving};

#[test]
fn hints_come_before_the_response_and_after_the_one_before() {
    run(async {
        let trial = serving(|request| {
            for link in ["</a.css>", "</b.css>"] {
                request.answer.early_hints(headers(&[("link", link)])).unwrap();
            }
            respond(&request.answer, 200, &[], ResponseBody::Whole("done".into()));
        });
        let mut client = trial.connect();
        client.send(get("/1") + &get("/2")).await;
        for _ in 0..2 {
            let hint = |link| format!("HTTP/1.1 103 Early Hints\r\nlink: {link}\r\n\r\n");
            assert_eq!(client.read_until("\r\n\r\n").await, hint("</a.css>"));
            assert_eq!(client.read_until("\r\n\r\n").await, hint("</b.css>"));
            let (head, body) = client.read_response().await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(body, "done");
        }
    });
}

#[test]
fn an_http_10_client_gets_none() {
    run(async {
        let trial = serving(|request| {
            request.answer.early_hints(headers(&[("link", "</a.css>")])).unwrap();
            echo(request);
        });
        let mut client = trial.connect();
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.0 200 OK\r\n"));
    });
}
