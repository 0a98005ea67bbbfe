//! Clients that are slow, rude or many.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rackrs::control::{CONNECTIONS_MAX, Reply};

use crate::{
    fake_master::{Act, FakeMaster},
    place::Place,
};

/// Longer than anything that the server waits for.
const PATIENCE: Duration = Duration::from_secs(30);

fn done() -> Reply {
    Reply::Done { message: "done".into() }
}

fn connect(place: &Place) -> UnixStream {
    let stream = UnixStream::connect(place.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything until the server closes; it may do so with what it did not read still there.
fn rest(mut stream: &UnixStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(bytes).unwrap()
}

fn refusal(stream: &UnixStream) -> String {
    let text = rest(stream);
    match serde_json::from_str(&text) {
        Ok(Reply::Refused { reason }) if text.ends_with('\n') => reason,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn garbage_is_refused_with_the_reason() {
    let place = Place::new();
    let master = FakeMaster::saying(&place.socket(), done());
    for (bytes, reason) in [
        (&b"explode\n"[..], "does not understand the request: "),
        (b"{\"command\":\"explode\"}\n", "unknown variant `explode`"),
        (b"\n", "does not understand the request: "),
        (b"\xff\xfe\x00\n", "does not understand the request: "),
        (b"{\"command\":\"status\"}", "the request is cut off"),
    ] {
        let mut client = connect(&place);
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let refusal = refusal(&client);
        assert!(refusal.contains(reason), "{refusal}");
    }
    // Nothing at all is no request.
    let client = connect(&place);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client), "");
    assert!(master.asked().is_empty());
    place.ctl("reload-logs").is("done");
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), done());
    let mut client = connect(&place);
    // The server closes in the middle of it.
    client.write_all(&vec![b'x'; 1 << 20]).unwrap_err();
    let refusal = refusal(&client);
    assert!(refusal.contains("longer than 4096 bytes"), "{refusal}");
    place.ctl("reload-logs").is("done");
}

#[test]
fn a_client_that_says_nothing_is_left_after_a_while() {
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), done());
    let silent = connect(&place);
    let mut half = connect(&place);
    half.write_all(b"{\"command\":").unwrap();
    // It stands in nobody's way.
    place.ctl("reload-logs").is("done");
    for client in [silent, half] {
        let refusal = refusal(&client);
        assert!(refusal.contains("no request came within 2s"), "{refusal}");
    }
}

#[test]
fn as_many_silent_clients_as_there_may_be_only_delay_the_next() {
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), done());
    let silent: Vec<UnixStream> = (0..CONNECTIONS_MAX + 4).map(|_| connect(&place)).collect();
    let began = Instant::now();
    place.ctl("reload-logs").is("done");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn a_hundred_clients_at_once_are_answered() {
    let place = Place::new();
    let master = FakeMaster::saying(&place.socket(), done());
    let clients: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut client = connect(&place);
            client.write_all(b"{\"command\":\"status\"}\n").unwrap();
            client
        })
        .collect();
    for client in clients {
        assert_eq!(rest(&client), "{\"reply\":\"done\",\"message\":\"done\"}\n");
    }
    assert_eq!(master.asked().len(), 100);
}

#[test]
fn a_client_that_leaves_early_costs_nothing() {
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), done());
    for _ in 0..50 {
        connect(&place).write_all(b"{\"command\":\"status\"}\n").unwrap();
    }
    place.ctl("reload-logs").is("done");
}

#[test]
fn a_request_that_the_master_drops_is_answered_all_the_same() {
    let place = Place::new();
    let _master = FakeMaster::start(&place.socket(), |_| Act::Silence);
    place.ctl("reload-logs").fails(1, "the server is ending");
}
