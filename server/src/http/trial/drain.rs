//! A worker that ends finishes what it has begun.

use std::{cell::RefCell, os::unix::net::UnixListener, path::PathBuf, rc::Rc, time::Duration};

use rackrs_ruby::exchange::Request;
use tokio::{
    net::UnixStream,
    sync::oneshot,
    task::{JoinHandle, spawn_local},
    time::Instant,
};

use super::{Client, Fake, echo, eventually, get, run, seconds_since, settings};
use crate::http::{Counters, Drained, Snapshot, Source, serve};

/// A worker with a listener; requests for `/held` wait until [`Server::release`].
struct Server {
    folder: tempfile::TempDir,
    drain: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Drained>,
    held: Rc<RefCell<Vec<Request>>>,
    counters: std::sync::Arc<Counters>,
}

impl Server {
    fn start(connections_max: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let held: Rc<RefCell<Vec<Request>>> = Rc::default();
        let keep = Rc::clone(&held);
        let application = Fake(move |request: Box<Request>| {
            match request.head.uri.path() {
                "/held" => keep.borrow_mut().push(*request),
                _ => echo(*request),
            }
            Ok(())
        });
        let mut settings = settings();
        settings.limits.connections_max = connections_max;
        let counters = std::sync::Arc::clone(&settings.counters);
        let (drain, asked) = oneshot::channel();
        let ended = spawn_local(async move {
            let asked = async { asked.await.unwrap() };
            serve(vec![Source::Unix(listener)], application, settings, asked).await
        });
        Self { folder, drain: Some(drain), ended, held, counters }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    async fn connect(&self) -> Client {
        Client { stream: UnixStream::connect(self.path()).await.unwrap(), seen: Vec::new() }
    }

    fn drain(&mut self) {
        self.drain.take().unwrap().send(()).unwrap();
    }

    async fn wait_for_held(&self, count: usize) {
        eventually("the held request", || self.held.borrow().len() == count).await;
    }

    fn release(&self) {
        self.held.borrow_mut().drain(..).for_each(echo);
    }

    fn counts(&self) -> Snapshot {
        self.counters.snapshot()
    }
}

#[test]
fn idle_connections_are_closed_and_requests_in_hand_are_finished() {
    run(async {
        let mut server = Server::start(100);
        let mut idle = server.connect().await;
        idle.send(get("/")).await;
        idle.read_response().await;
        let mut busy = server.connect().await;
        busy.send(get("/held")).await;
        server.wait_for_held(1).await;
        let start = Instant::now();
        server.drain();
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
        let mut server = Server::start(100);
        let mut client = server.connect().await;
        client.send(get("/1")).await;
        client.read_response().await;
        // Without an await between the two: the worker learns of both at once.
        server.drain();
        client.stream.try_write(get("/2").as_bytes()).unwrap();
        let text = client.read_to_end().await;
        assert!(text.contains("connection: close\r\n") && text.ends_with("GET /2 "), "{text}");
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn a_newcomer_has_a_moment_to_say_what_it_wants() {
    run(async {
        let mut server = Server::start(100);
        let mut quick = server.connect().await;
        let mut silent = server.connect().await;
        eventually("both connections", || server.counts().connections == 2).await;
        let start = Instant::now();
        server.drain();
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
        let mut server = Server::start(100);
        let mut client = server.connect().await;
        client.send(get("/held")).await;
        server.wait_for_held(1).await;
        let start = Instant::now();
        server.drain();
        assert_eq!((&mut server.ended).await.unwrap(), Drained::Cut { connections: 1 });
        assert_eq!(seconds_since(start), 30);
    });
}

#[test]
fn newcomers_wait_in_the_backlog_while_there_is_no_room() {
    run(async {
        let server = Server::start(1);
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
