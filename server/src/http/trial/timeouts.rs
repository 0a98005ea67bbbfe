//! Every wait for a client has its limit, and what waits for the application has none.

use std::time::Duration;

use bytes::Bytes;
use rackrs_ruby::exchange::ResponseBody;
use tokio::time::{Instant, sleep};

use super::{echo, get, respond, run, seconds_since, serving, settings, with_settings};

#[test]
fn a_silent_newcomer_is_closed_without_a_word() {
    run(async {
        let trial = serving(echo);
        let start = Instant::now();
        let mut client = trial.connect();
        assert_eq!(client.read_to_end().await, "");
        assert_eq!(seconds_since(start), 30);
    });
}

#[test]
fn half_a_head_gets_a_408_however_it_drips() {
    run(async {
        let trial = serving(echo);
        let start = Instant::now();
        let mut client = trial.connect();
        for byte in ["G", "E", "T", " ", "/"] {
            client.send(byte).await;
            sleep(Duration::from_secs(5)).await;
        }
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 408 "));
        assert_eq!(seconds_since(start), 30);
        assert_eq!(trial.counters().timed_out, 1);
    });
}

#[test]
fn a_head_on_a_kept_alive_connection_has_its_time_from_its_first_byte() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send(get("/1")).await;
        client.read_response().await;
        sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        client.send("GET /2").await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 408 "));
        assert_eq!(seconds_since(start), 30);
    });
}

#[test]
fn half_a_body_gets_a_408_only_when_nothing_comes() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await;
        for byte in ["h", "e", "l", "l"] {
            sleep(Duration::from_secs(20)).await;
            client.send(byte).await;
        }
        let start = Instant::now();
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 408 "));
        assert_eq!(seconds_since(start), 30);
        assert_eq!(trial.counters().in_flight, 0);
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send(get("/1")).await;
        client.read_response().await;
        let start = Instant::now();
        assert_eq!(client.read_to_end().await, "");
        assert_eq!(seconds_since(start), 65);
    });
}

#[test]
fn a_request_that_comes_as_the_idle_time_ends_is_served() {
    run(async {
        // The shorter of the two ends before the connection has come to rest without hyper.
        for idle in [Duration::from_secs(3), Duration::from_secs(65)] {
            let mut settings = settings();
            settings.limits.persistent_timeout = idle;
            let trial = with_settings(settings, echo);
            let mut client = trial.connect();
            client.send(get("/1")).await;
            client.read_response().await;
            // Ends in the same moment as the idle time: the request is there when the worker wakes
            // to close, but the runtime has not heard of it.
            sleep(idle).await;
            client.stream.try_write(get("/2").as_bytes()).unwrap();
            assert_eq!(client.read_response().await.1, "GET /2 ");
        }
    });
}

#[test]
fn half_a_head_behind_a_request_is_not_lost_while_the_connection_rests() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send(get("/1") + "GET /2 HTTP").await;
        client.read_response().await;
        sleep(Duration::from_secs(20)).await;
        client.send("/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.read_response().await.1, "GET /2 ");
        sleep(Duration::from_secs(20)).await;
        client.send(get("/3")).await;
        assert_eq!(client.read_response().await.1, "GET /3 ");
    });
}

#[test]
fn the_idle_time_begins_anew_after_every_response() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        for _ in 0..5 {
            client.send(get("/1")).await;
            client.read_response().await;
            sleep(Duration::from_mins(1)).await;
        }
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    run(async {
        let trial = serving(|request| {
            let body = Bytes::from(vec![b'x'; 8 << 20]);
            respond(&request.answer, 200, &[], ResponseBody::Whole(body));
        });
        let mut client = trial.connect();
        client.send(get("/")).await;
        sleep(Duration::from_secs(9)).await;
        assert_eq!(trial.counters().timed_out, 0);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(trial.counters().timed_out, 1);
        assert!(client.read_bytes_to_end().await.len() < 8 << 20);
    });
}

#[test]
fn an_application_has_all_the_time_it_wants() {
    run(async {
        let trial = serving(|request| {
            tokio::task::spawn_local(async move {
                sleep(Duration::from_mins(50)).await;
                echo(request);
            });
        });
        let mut client = trial.connect();
        client.send(get("/slow")).await;
        assert_eq!(client.read_response().await.1, "GET /slow ");
    });
}

#[test]
fn a_quiet_stream_is_not_cut_off() {
    run(async {
        let trial = serving(|request| {
            tokio::task::spawn_local(async move {
                let answer = request.answer;
                respond(&answer, 200, &[], ResponseBody::Stream);
                for _ in 0..3 {
                    sleep(Duration::from_secs(100)).await;
                    let _room = answer.push(Bytes::from_static(b"tick"));
                }
                answer.finish();
            });
        });
        let mut client = trial.connect();
        client.send(get("/")).await;
        let text = client.read_until("0\r\n\r\n").await;
        assert_eq!(text.matches("4\r\ntick\r\n").count(), 3);
    });
}

#[test]
fn the_last_request_of_a_connection_is_told_so() {
    run(async {
        let mut settings = settings();
        settings.limits.max_keep_alive = 2;
        let trial = with_settings(settings, echo);
        let mut client = trial.connect();
        client.send(get("/1") + &get("/2") + &get("/3")).await;
        let (first, _) = client.read_response().await;
        assert!(!first.contains("connection: close"), "{first}");
        let (second, body) = client.read_response().await;
        assert!(second.contains("connection: close"), "{second}");
        assert_eq!((body.as_str(), client.read_to_end().await.as_str()), ("GET /2 ", ""));
    });
}

#[test]
fn a_flood_of_empty_lines_is_not_a_request() {
    run(async {
        let trial = serving(echo);
        let mut client = trial.connect();
        client.send("\r\n").await;
        client.send(get("/patient")).await;
        client.read_response().await;
        client.send("\r\n".repeat(2000)).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 400 "));
    });
}
