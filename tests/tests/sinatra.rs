//! A real Sinatra application: sessions, uploads, streaming, files, errors.

use rackrs_tests::{Response, Server, ServerBuilder};

/// The part of a `Set-Cookie` that goes back to the server.
fn cookie(response: &Response) -> String {
    let cookie = response.header("set-cookie").expect("a session cookie");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

fn shop() -> ServerBuilder {
    Server::builder("sinatra.ru").args("-e production")
}

#[test]
fn pages_and_errors() {
    let server = shop().start();
    let mut connection = server.connect();
    assert_eq!(connection.get("/").expect(200).text(), "shop");
    assert_eq!(connection.get("/hello/caf%C3%A9").expect(200).text(), "hello café");
    assert_eq!(connection.get("/halt").expect(418).text(), "short and stout");
    assert_eq!(connection.get("/nowhere").status, 404);
    assert_eq!(connection.get("/raise").expect(500).text(), "sorry");
    let redirect = connection.get("/redirect").expect(302);
    assert_eq!(redirect.header("location"), Some("http://example.org/".to_owned()));
    connection.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.receive_for("HEAD").header("content-length"), Some("4".to_owned()));
}

#[test]
fn a_session_lives_in_its_cookie() {
    let server = shop().start();
    let first = server.get("/count").expect(200);
    assert_eq!(first.text(), "1");
    let mut cookie = cookie(&first);
    for count in ["2", "3"] {
        let next = server
            .ask(format!("GET /count HTTP/1.1\r\nHost: example.org\r\nCookie: {cookie}\r\n\r\n"));
        assert_eq!(next.text(), count);
        cookie = self::cookie(&next);
    }
    assert_eq!(server.get("/count").text(), "1");
}

#[test]
fn an_upload_arrives() {
    let server = shop().start();
    for size in [10, 500_000] {
        let content = "0123456789".repeat(size / 10);
        let part = |head: &str, text: &str| {
            format!("--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n")
        };
        let body = part("name=\"note\"", "a note")
            + &part("name=\"file\"; filename=\"a.txt\"", &content)
            + "--edge--\r\n";
        let request = format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let text = server.ask(request).expect(200).text();
        assert!(text.starts_with(&format!("a.txt {size} ")) && text.ends_with(" a note"), "{text}");
    }
}

#[test]
fn a_stream_is_sent_as_it_is_made() {
    let server = shop().start();
    assert_eq!(server.get("/stream").expect(200).text(), "part 0\npart 1\npart 2\n");
    let mut connection = server.connect();
    connection.send("GET /live HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.receive_status(), 200);
    assert_eq!(connection.receive_chunk().as_deref(), Some(&b"first"[..]));
    server.await_gate("live");
    server.open_gate("live");
    assert_eq!(connection.receive_chunk().as_deref(), Some(&b"second"[..]));
    assert_eq!(connection.receive_chunk(), None);
}

#[test]
fn a_file_is_sent() {
    let server = shop().start();
    let response = server.get("/file").expect(200);
    let expected =
        std::fs::read(rackrs_tests::app("sinatra.ru")).expect("the application is a file");
    assert_eq!(response.body, expected);
    assert_eq!(response.header("content-length"), Some(expected.len().to_string()));
    let part = server.ask("GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes=2-5\r\n\r\n").expect(206);
    assert_eq!(part.body, expected[2..=5]);
}
