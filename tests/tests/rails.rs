//! A real Rails application: a database, a form with its token, an upload, `send_file`, live streams.

use std::thread;

use rackrs_tests::{Poller, Response, Server};

/// Starting Rails takes most of the time of these tests, so one server stands for all of them.
#[test]
fn a_notebook() {
    for flags in ["-t 3:3", "-w 2 -t 1:2"] {
        let server = Server::builder("rails/config.ru").args("-e production").args(flags).start();
        a_form_is_posted_with_its_token(&server);
        a_form_without_its_token_is_refused(&server);
        an_upload_arrives(&server);
        a_file_is_sent(&server);
        errors_are_pages(&server);
        many_at_once(&server);
        assert_eq!(server.get("/live").expect(200).text(), "line 0\nline 1\nline 2\n");
    }
}

/// A session goes on over a restart, and nobody notices it.
#[test]
fn a_notebook_is_restarted() {
    let server = Server::builder("rails/config.ru").args("-e production -w 2").start();
    let (cookie, token) = form(&server);
    let poller = Poller::start(&server);
    for _ in 0..2 {
        server.ctl("restart --wait").assert_says("succeeded");
    }
    assert!(poller.finish().iter().all(|answers| answers.len() > 2), "{}", server.log());
    // The form from before the restarts.
    let body = format!("authenticity_token={}&text=kept", escaped(&token));
    let answer = server.ask(posted("/notes", &cookie, FORM, &body)).expect(302);
    assert!(answer.header("location").is_some_and(|place| place.contains("/notes/")));
}

fn cookie(response: &Response) -> String {
    let cookies = response.header_values("set-cookie");
    let session =
        cookies.iter().find(|cookie| cookie.starts_with("_notebook=")).expect("a session cookie");
    session.split(';').next().unwrap_or_default().to_owned()
}

/// The form's page: its cookie and the token in it.
fn form(server: &Server) -> (String, String) {
    let page = server.get("/").expect(200);
    let text = page.text();
    let token = text
        .split("name=\"authenticity_token\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_else(|| panic!("no token in {text}"));
    (cookie(&page), token.to_owned())
}

fn posted(path: &str, cookie: &str, kind: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: example.org\r\nCookie: {cookie}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn escaped(text: &str) -> String {
    text.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).map(char::from).collect()
}

const FORM: &str = "application/x-www-form-urlencoded";

fn a_form_is_posted_with_its_token(server: &Server) {
    let (cookie, token) = form(server);
    let body = format!("authenticity_token={}&text={}", escaped(&token), escaped("zażółć"));
    let answer = server.ask(posted("/notes", &cookie, FORM, &body)).expect(302);
    let location = answer.header("location").expect("where the note is");
    let path = location.strip_prefix("http://example.org").expect("the host that was asked");
    let shown =
        server.ask(format!("GET {path} HTTP/1.1\r\nHost: example.org\r\nCookie: {cookie}\r\n\r\n"));
    assert_eq!(shown.expect(200).text(), "zażółć (seen 1)");
}

fn a_form_without_its_token_is_refused(server: &Server) {
    let (cookie, _) = form(server);
    assert_eq!(server.ask(posted("/notes", &cookie, FORM, "text=forged")).status, 422);
}

fn an_upload_arrives(server: &Server) {
    let (cookie, token) = form(server);
    for size in [10, 400_000] {
        let content = "abcdefghij".repeat(size / 10);
        let part = |head: &str, text: &str| {
            format!("--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n")
        };
        let body = part("name=\"authenticity_token\"", &token)
            + &part("name=\"file\"; filename=\"notes.txt\"", &content)
            + "--edge--\r\n";
        let answer =
            server.ask(posted("/upload", &cookie, "multipart/form-data; boundary=edge", &body));
        let text = answer.expect(200).text();
        assert!(text.starts_with(&format!("notes.txt {size} ")), "{text}");
    }
}

fn a_file_is_sent(server: &Server) {
    let expected = std::fs::read(rackrs_tests::app("rails/application.rb"))
        .expect("the application is a file");
    assert_eq!(server.get("/file").expect(200).body, expected);
}

fn errors_are_pages(server: &Server) {
    assert_eq!(server.get("/raise").status, 500);
    assert_eq!(server.get("/notes/999999").status, 404);
    assert_eq!(server.get("/nowhere").status, 404);
}

fn many_at_once(server: &Server) {
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut connection = server.connect();
                for _ in 0..10 {
                    assert_eq!(connection.get("/").status, 200);
                }
            });
        }
    });
}
