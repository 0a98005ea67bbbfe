//! A worker that ends finishes what it has begun.

use std::{cell::RefCell, os::unix::net::UnixListener, path::PathBuf, rc::Rc, time::Duration};

use rackrs_ruby::exchange::{Request, ResponseBody};
use tokio::{
    net::UnixStream,
    sync::mpsc,
    task::{JoinHandle, spawn_local},
    time::Instant,
};

use super::{Client, Fake, echo, eventually, get, respond, run, seconds_since, serving, settings};
use crate::{
    config::Limits,
    http::{self, Counters, Drained, Manner, Snapshot, Source},
};

/// A worker with a listener; requests for `/held` wait until [`Server::release`], and so does the
/// body of a response to `/begun`.
pub(super) struct Server {
    folder: tempfile::TempDir,
    orders: mpsc::Sender<Manner>,
    pub(super) ended: JoinHandle<Drained>,
    held: Rc<RefCell<Vec<Request>>>,
    counters: std::sync::Arc<Counters>,
}

impl Server {
    pub(super) fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let held: Rc<RefCell<Vec<Request>>> = Rc::default();
        let keep = Rc::clone(&held);
        let application = Fake(move |request: Box<Request>| {
            match request.head.uri.path() {
                "/held" => keep.borrow_mut().push(*request),
                "/begun" => {
                    let length = [("content-length", "4")];
                    respond(&request.answer, 200, &length, ResponseBody::Stream);
                    keep.borrow_mut().push(*request);
                }
                _ => echo(*request),
            }
            Ok(())
        });
        let mut settings = settings();
        settings.limits = limits;
        let counters = std::sync::Arc::clone(&settings.counters);
        let (orders, mut given) = mpsc::channel(2);
        let ended = spawn_local(async move {
            let orders = async || given.recv().await.unwrap();
            http::Server::new(application, settings)
                .serve(vec![Source::Unix(listener)], orders)
                .await
        });
        Self { folder, orders, ended, held, counters }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(super) async fn connect(&self) -> Client {
        Client { stream: UnixStream::connect(self.path()).await.unwrap(), seen: Vec::new() }
    }

    pub(super) fn drain(&self, manner: Manner) {
        self.orders.try_send(manner).unwrap();
    }

    pub(super) async fn wait_for_held(&self, count: usize) {
        eventually("the held request", || self.held.borrow().len() == count).await;
    }

    pub(super) fn release(&self) {
        for request in self.held.borrow_mut().drain(..) {
            if request.head.uri.path() == "/begun" {
                let _room = request.answer.push("tick".into());
                request.answer.finish();
            } else {
                echo(request);
            }
        }
    }

    pub(super) fn counts(&self) -> Snapshot {
        self.counters.snapshot()
    }
}

#[test]
fn idle_connections_are_closed_and_requests_in_hand_are_finished() {
    run(async {
        let server = Server::start(Limits::default());
        let mut idle = server.connect().await;
        idle.send(get("/")).await;
        idle.read_response().await;
        let mut busy = server.connect().await;
        busy.send(get("/held")).await;
        server.wait_for_held(1).await;
        let start = Instant::now();
        server.drain(Manner::Promptly);
        assert_eq!(idle.read_to_end().await, "");
        assert_eq!(seconds_since(start), 0);
        assert!(!server.ended.is_finished());
        server.release();
        let text = busy.read_to_end().await;
        assert!(text.contains("connection: close\r\n") && text.ends_with("GET /held "), "{text}");
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
        assert_eq!(server.counters.snapshot().connections_open, 0);
    });
}

#[test]
fn a_request_that_has_arrived_on_an_idle_connection_is_served() {
    run(async {
        let server = Server::start(Limits::default());
        let mut client = server.connect().await;
        client.send(get("/1")).await;
        client.read_response().await;
        // Without an await between the two: the worker learns of both at once.
        server.drain(Manner::Promptly);
        client.stream.try_write(get("/2").as_bytes()).unwrap();
        let text = client.read_to_end().await;
        assert!(text.contains("connection: close\r\n") && text.ends_with("GET /2 "), "{text}");
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn an_answer_in_the_moment_of_the_order_says_close() {
    run(async {
        let held: Rc<RefCell<Vec<Request>>> = Rc::default();
        let keep = Rc::clone(&held);
        let trial = serving(move |request| keep.borrow_mut().push(request));
        let mut client = trial.connect();
        client.send(get("/1")).await;
        eventually("the request", || held.borrow().len() == 1).await;
        // Without an await between the two: the connection learns of both at once.
        trial.worker.roll.ask(Manner::Gently);
        held.borrow_mut().drain(..).for_each(echo);
        let text = client.read_to_end().await;
        assert!(text.contains("connection: close\r\n") && text.ends_with("GET /1 "), "{text}");
    });
}

#[test]
fn a_newcomer_has_a_moment_to_say_what_it_wants() {
    run(async {
        let server = Server::start(Limits::default());
        let mut quick = server.connect().await;
        let mut silent = server.connect().await;
        eventually("both connections", || server.counts().connections == 2).await;
        let start = Instant::now();
        server.drain(Manner::Promptly);
        tokio::time::sleep(Duration::from_millis(500)).await;
        quick.send(get("/")).await;
        assert!(quick.read_to_end().await.contains("connection: close\r\n"));
        assert_eq!(silent.read_to_end().await, "");
        assert_eq!(seconds_since(start), 1);
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn what_is_not_finished_in_time_is_cut() {
    run(async {
        let mut server = Server::start(Limits::default());
        let mut client = server.connect().await;
        client.send(get("/held")).await;
        server.wait_for_held(1).await;
        let start = Instant::now();
        server.drain(Manner::Promptly);
        assert_eq!((&mut server.ended).await.unwrap(), Drained::Cut { connections: 1 });
        assert_eq!(seconds_since(start), 30);
    });
}

#[test]
fn newcomers_wait_in_the_backlog_while_there_is_no_room() {
    run(async {
        let server = Server::start(Limits { connections_max: 1, ..Limits::default() });
        let mut first = server.connect().await;
        first.send(get("/held")).await;
        server.wait_for_held(1).await;
        let mut second = server.connect().await;
        second.send(get("/second")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(server.counts().connections, 1);
        server.release();
        first.read_response().await;
        drop(first);
        assert_eq!(second.read_response().await.1, "GET /second ");
    });
}
