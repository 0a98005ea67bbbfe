//! Accepting, through the public door: facts of a TCP client, and a process without descriptors.

use std::{fs::File, net::TcpListener, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rackrs::{
    config::Limits,
    http::{Application, Counters, Drained, Manner, Server, Settings, Source},
};
use rackrs_ruby::exchange::{Full, Request, Response, ResponseBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::{LocalSet, spawn_local},
};

/// Answers with what is known of the client.
struct Facts;

impl Application for Facts {
    fn call(&self, request: Box<Request>) -> Result<(), Full> {
        let peer = &request.peer;
        let text = format!("{:?} {:?}", peer.remote, peer.local.map(|local| local.ip()));
        let body = ResponseBody::Whole(text.into());
        let response = Response { status: StatusCode::OK, headers: HeaderMap::new(), body };
        request.answer.respond(response).expect("the client waits");
        Ok(())
    }
}

fn settings(counters: &Arc<Counters>) -> Settings {
    Settings {
        limits: Limits::default(),
        open_temp_file: || File::open("/dev/null"),
        yield_when_busy: Some(Duration::from_millis(5)),
        counters: Arc::clone(counters),
        access_log: None,
    }
}

async fn ask(client: &mut TcpStream) -> String {
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .expect("the server reads");
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("the server answers in text");
    text
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    for _ in 0..5000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not come about");
}

/// Takes every descriptor there is.
fn take_all() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

#[test]
fn a_process_without_descriptors_waits_for_one() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Arc::new(Counters::default());
        let (drain, mut asked) = oneshot::channel();
        let settings = settings(&counters);
        let server = spawn_local(async move {
            let orders = async || (&mut asked).await.unwrap();
            Server::new(Facts, settings).serve(vec![Source::Tcp(listener)], orders).await
        });
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut first).await.ends_with("Some(127.0.0.1) Some(127.0.0.1)"));

        let mut taken = take_all();
        // One for the client, none for the server.
        drop(taken.pop());
        let mut second = TcpStream::connect(address).await.unwrap();
        eventually("a pause", || counters.snapshot().accept_pauses > 0).await;
        let pauses = counters.snapshot().accept_pauses;
        assert_eq!(counters.snapshot().connections, 1);
        drop(taken);
        assert!(ask(&mut second).await.starts_with("HTTP/1.1 200 OK\r\n"));
        // A loop that spins would have counted thousands.
        assert!(counters.snapshot().accept_pauses < pauses + 100);

        drain.send(Manner::Promptly).unwrap();
        assert_eq!(server.await.unwrap(), Drained::Fully);
    });
}
