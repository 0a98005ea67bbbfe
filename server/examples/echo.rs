//! An application without Ruby behind the HTTP side, for the conformance corpus: it answers what
//! the corpus's Rack application answers.
//!
//! `cargo run -p rackrs --example echo -- /tmp/echo.sock 127.0.0.1:9292`

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::Read,
    net::TcpListener,
    os::unix::net::UnixListener,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, request::Parts};
use rackrs::{
    config::Limits,
    http::{Application, Counters, Manner, Server, Settings, Source},
};
use rackrs_ruby::exchange::{Answer, Body, Full, Queue, Request, Response, ResponseBody, Taken};
use serde_json::{Value, json};

struct Echo(Arc<Queue>);

impl Application for Echo {
    fn call(&self, request: Box<Request>) -> Result<(), Full> {
        self.0.call(request)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("echo SOCKET [HOST:PORT]")?;
    if std::path::Path::new(&path).exists() {
        std::fs::remove_file(&path)?;
    }
    let mut sources = vec![Source::Unix(UnixListener::bind(&path)?)];
    if let Some(address) = arguments.next() {
        sources.push(Source::Tcp(TcpListener::bind(address)?));
    }
    let limits = Limits::default();
    let queue = Arc::new(Queue::new(limits.queue_max));
    let (threads, ended) = channel::<()>();
    for _ in 0..3 {
        let (queue, threads) = (Arc::clone(&queue), threads.clone());
        thread::spawn(move || {
            work(&queue);
            drop(threads);
        });
    }
    drop(threads);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let settings = Settings {
        limits,
        open_temp_file,
        yield_when_busy: None,
        counters: Arc::new(Counters::default()),
        access_log: None,
    };
    let orders = async || {
        // Nothing is served any more when there is no interrupt to wait for.
        drop(tokio::signal::ctrl_c().await);
        Manner::Promptly
    };
    let server = Server::new(Echo(Arc::clone(&queue)), settings);
    local.block_on(&runtime, server.serve(sources, orders));
    queue.close();
    wait_for_all(&ended);
    Ok(())
}

/// Waits until every thread has dropped its sender.
fn wait_for_all(ended: &Receiver<()>) {
    while ended.recv().is_ok() {}
}

fn open_temp_file() -> std::io::Result<File> {
    rackrs_sys::temp_file::anonymous().map_err(|error| error.source)
}

fn work(queue: &Queue) {
    loop {
        match queue.wait(queue.interrupts(), std::time::Duration::from_mins(1)) {
            Taken::Request(request) => answer(*request),
            Taken::TimedOut | Taken::Interrupted => {}
            Taken::Closed => return,
        }
    }
}

fn answer(request: Request) {
    let Request { head, body, answer, .. } = request;
    let path = head.uri.path().to_owned();
    let status = |prefix| path.strip_prefix(prefix).and_then(|code: &str| code.parse().ok());
    if let Some(code) = status("/statusbody/") {
        return respond(
            &answer,
            code,
            &[],
            ResponseBody::Whole("BODY-THAT-MUST-NOT-BE-SENT".into()),
        );
    }
    if let Some(code) = status("/status/") {
        return respond(&answer, code, &[], ResponseBody::Whole(Bytes::new()));
    }
    match &*path {
        "/nolen" => stream(&answer, &[("content-type", "text/plain")], &["one", "two"]),
        "/raisemid" => {
            respond(&answer, 200, &[("content-type", "text/plain")], ResponseBody::Stream);
            let _client_may_be_gone = answer.push("one".into());
            answer.abort();
        }
        "/raise" | "/badheader" | "/badheader-cr" => {
            respond(&answer, 500, &[], ResponseBody::Whole("500\n".into()));
        }
        "/shortbody" => {
            respond(
                &answer,
                200,
                &[("content-length", "100")],
                ResponseBody::Whole("short".into()),
            );
        }
        "/longbody" => {
            stream(&answer, &[("content-length", "5")], &["hello", "HTTP/1.1 200 OK", "\r\n\r\n"]);
        }
        "/appte" => {
            let headers = [("transfer-encoding", "chunked")];
            respond(&answer, 200, &headers, ResponseBody::Whole("hello".into()));
        }
        "/noread" => echo(&answer, BTreeMap::from([("PATH_INFO".into(), "/noread".into())]), b""),
        _ => match read(body) {
            Ok(body) => echo(&answer, environment(&head, body.len()), &body),
            Err(_) => answer.abort(),
        },
    }
}

fn respond(answer: &Answer, code: u16, headers: &[(&str, &str)], body: ResponseBody) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            map.append(name, value);
        }
    }
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);

    let _client_may_be_gone = answer.respond(Response { status, headers: map, body });
}

fn stream(answer: &Answer, headers: &[(&str, &str)], chunks: &[&'static str]) {
    respond(answer, 200, headers, ResponseBody::Stream);
    for chunk in chunks {
        let _client_may_be_gone = answer.push(Bytes::from_static(chunk.as_bytes()));
    }
    answer.finish();
}

fn echo(answer: &Answer, environment: BTreeMap<String, Vec<u8>>, body: &[u8]) {
    let env: BTreeMap<String, Value> =
        environment.into_iter().map(|(key, value)| (key, base64(&value).into())).collect();
    let shown = &body[..body.len().min(2000)];
    let answer_body =
        json!({ "env": env, "body_len": body.len(), "body": base64(shown), "err": null });
    let headers = [("content-type", "application/json"), ("x-echo", "1")];
    respond(answer, 200, &headers, ResponseBody::Whole(answer_body.to_string().into()));
}

fn environment(head: &Parts, body_len: usize) -> BTreeMap<String, Vec<u8>> {
    let mut env: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, value) in &head.headers {
        let name = name.as_str();
        if name.contains('_') || name == "content-length" {
            continue;
        }
        let key = match name {
            "content-type" => "CONTENT_TYPE".to_owned(),
            _ => format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")),
        };
        let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
        let joined = env.entry(key).or_default();
        if !joined.is_empty() {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(value.as_bytes());
    }
    if head.headers.contains_key("content-length") || body_len > 0 {
        env.insert("CONTENT_LENGTH".into(), body_len.to_string().into());
    }
    env.insert("REQUEST_METHOD".into(), head.method.as_str().into());
    env.insert("PATH_INFO".into(), head.uri.path().into());
    env.insert("SCRIPT_NAME".into(), Vec::new());
    env.insert("QUERY_STRING".into(), head.uri.query().unwrap_or_default().into());
    env.insert("rack.url_scheme".into(), "http".into());
    let version = if head.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    env.insert("SERVER_PROTOCOL".into(), version.into());
    env
}

fn read(body: Body) -> std::io::Result<Vec<u8>> {
    match body {
        Body::Empty => Ok(Vec::new()),
        Body::Memory(bytes) => Ok(bytes.to_vec()),
        Body::File { mut file, .. } => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
