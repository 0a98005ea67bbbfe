//! In a restart, the clients of the old generation notice nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Client, drain::Server, eventually, get, run, seconds_since};
use crate::{
    config::Limits,
    http::{Drained, Manner},
};

/// A server with a client that is kept alive and idle.
async fn with_idle_client(limits: Limits) -> (Server, Client) {
    let server = Server::start(limits);
    let mut client = server.connect().await;
    client.send(get("/1")).await;
    client.read_response().await;
    (server, client)
}

async fn assert_last_answer(client: &mut Client, body: &str) {
    let text = client.read_to_end().await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("connection: close\r\n") && text.ends_with(body), "{text}");
}

#[test]
fn an_idle_connection_may_bring_one_more_request() {
    run(async {
        // The second comes after the connection has given up its buffers.
        for before in [Duration::ZERO, Duration::from_secs(20)] {
            let (server, mut client) = with_idle_client(Limits::default()).await;
            sleep(before).await;
            server.drain(Manner::Gently);
            sleep(Duration::from_secs(4)).await;
            client.send(get("/2")).await;
            assert_last_answer(&mut client, "GET /2 ").await;
            assert_eq!(server.ended.await.unwrap(), Drained::Fully);
        }
    });
}

#[test]
fn an_idle_connection_that_brings_nothing_is_closed_without_a_word() {
    run(async {
        for before in [Duration::ZERO, Duration::from_secs(20)] {
            let (server, mut client) = with_idle_client(Limits::default()).await;
            sleep(before).await;
            let start = Instant::now();
            server.drain(Manner::Gently);
            assert_eq!(client.read_to_end().await, "");
            assert_eq!(seconds_since(start), 5);
            assert_eq!(server.ended.await.unwrap(), Drained::Fully);
        }
    });
}

#[test]
fn a_request_that_comes_as_the_time_ends_is_served() {
    run(async {
        for before in [Duration::ZERO, Duration::from_secs(20)] {
            let (server, mut client) = with_idle_client(Limits::default()).await;
            sleep(before).await;
            server.drain(Manner::Gently);
            sleep(Limits::default().drain_idle_timeout).await;
            client.stream.try_write(get("/2").as_bytes()).unwrap();
            assert_last_answer(&mut client, "GET /2 ").await;
            assert_eq!(server.ended.await.unwrap(), Drained::Fully);
        }
    });
}

#[test]
fn the_idle_time_is_not_made_longer() {
    run(async {
        let limits = Limits { persistent_timeout: Duration::from_secs(3), ..Limits::default() };
        let (server, mut client) = with_idle_client(limits).await;
        let start = Instant::now();
        server.drain(Manner::Gently);
        assert_eq!(client.read_to_end().await, "");
        assert_eq!(seconds_since(start), 3);
    });
}

#[test]
fn idle_clients_never_use_up_the_time_of_the_drain() {
    run(async {
        let limits = Limits { shutdown_timeout: Duration::from_secs(4), ..Limits::default() };
        let (server, _client) = with_idle_client(limits).await;
        let start = Instant::now();
        server.drain(Manner::Gently);
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
        assert_eq!(seconds_since(start), 2);
    });
}

#[test]
fn who_was_promised_a_kept_connection_may_use_it_once() {
    run(async {
        let server = Server::start(Limits::default());
        let (mut quick, mut silent) = (server.connect().await, server.connect().await);
        for client in [&mut quick, &mut silent] {
            client.send(get("/begun")).await;
            let head = client.read_until("\r\n\r\n").await;
            assert!(!head.contains("connection: close"), "{head}");
        }
        server.drain(Manner::Gently);
        sleep(Duration::from_secs(10)).await;
        server.release();
        let start = Instant::now();
        assert_eq!(quick.read_until("tick").await, "tick");
        sleep(Duration::from_secs(3)).await;
        quick.send(get("/2")).await;
        assert_last_answer(&mut quick, "GET /2 ").await;
        assert_eq!(silent.read_to_end().await, "tick");
        assert_eq!(seconds_since(start), 5);
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn a_promise_does_not_hold_up_a_stop() {
    run(async {
        let server = Server::start(Limits::default());
        let mut client = server.connect().await;
        client.send(get("/begun")).await;
        client.read_until("\r\n\r\n").await;
        server.drain(Manner::Promptly);
        server.release();
        let start = Instant::now();
        assert_eq!(client.read_to_end().await, "tick");
        assert_eq!(seconds_since(start), 0);
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn a_newcomer_has_as_long_as_an_idle_client() {
    run(async {
        let server = Server::start(Limits::default());
        let (mut late, mut silent) = (server.connect().await, server.connect().await);
        eventually("both connections", || server.counts().connections == 2).await;
        let start = Instant::now();
        server.drain(Manner::Gently);
        sleep(Duration::from_secs(4)).await;
        late.send(get("/late")).await;
        assert_last_answer(&mut late, "GET /late ").await;
        assert_eq!(silent.read_to_end().await, "");
        assert_eq!(seconds_since(start), 5);
    });
}

#[test]
fn what_is_under_way_is_finished() {
    run(async {
        let server = Server::start(Limits::default());
        let (mut held, mut slow) = (server.connect().await, server.connect().await);
        held.send(get("/held")).await;
        slow.send("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe").await;
        server.wait_for_held(1).await;
        server.drain(Manner::Gently);
        for part in ["l", "l", "o"] {
            sleep(Duration::from_secs(8)).await;
            slow.send(part).await;
        }
        assert_last_answer(&mut slow, "POST /slow hello").await;
        server.release();
        assert_last_answer(&mut held, "GET /held ").await;
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn a_second_order_hurries() {
    run(async {
        let (server, mut client) = with_idle_client(Limits::default()).await;
        let mut quick = server.connect().await;
        quick.send(get("/1")).await;
        quick.read_response().await;
        let start = Instant::now();
        server.drain(Manner::Gently);
        sleep(Duration::from_secs(2)).await;
        server.drain(Manner::Promptly);
        // Without an await between the two: the worker learns of both at once.
        quick.stream.try_write(get("/2").as_bytes()).unwrap();
        assert_last_answer(&mut quick, "GET /2 ").await;
        assert_eq!(client.read_to_end().await, "");
        assert_eq!(seconds_since(start), 2);
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn a_stop_does_not_become_gentle() {
    run(async {
        let (server, mut client) = with_idle_client(Limits::default()).await;
        let mut held = server.connect().await;
        held.send(get("/held")).await;
        server.wait_for_held(1).await;
        let start = Instant::now();
        server.drain(Manner::Promptly);
        server.drain(Manner::Gently);
        assert_eq!(client.read_to_end().await, "");
        assert_eq!(seconds_since(start), 0);
        server.release();
        assert_last_answer(&mut held, "GET /held ").await;
        assert_eq!(server.ended.await.unwrap(), Drained::Fully);
    });
}

#[test]
fn it_is_bounded_like_a_stop() {
    run(async {
        let mut server = Server::start(Limits::default());
        let mut client = server.connect().await;
        client.send(get("/held")).await;
        server.wait_for_held(1).await;
        let start = Instant::now();
        server.drain(Manner::Gently);
        sleep(Duration::from_secs(10)).await;
        server.drain(Manner::Promptly);
        assert_eq!((&mut server.ended).await.unwrap(), Drained::Cut { connections: 1 });
        assert_eq!(seconds_since(start), 30);
    });
}
