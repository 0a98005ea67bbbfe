//! The socket's file: whose it is, what it replaces, and that it goes.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
};

use rackrs::control::{ControlError, ControlServer, Reply};
use tokio::sync::mpsc;

use crate::{
    fake_master::{FakeMaster, in_runtime},
    place::Place,
};

#[test]
fn only_its_user_may_connect_and_it_goes_when_it_is_dropped() {
    let place = Place::new();
    let server = ControlServer::open(&place.socket()).unwrap();
    let mode = fs::symlink_metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(server);
    assert!(!place.socket().exists());
}

#[test]
fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
    let place = Place::new();
    let alive = UnixListener::bind(place.socket()).unwrap();
    let error = ControlServer::open(&place.socket()).unwrap_err();
    assert_eq!(error.exit_code(), 69);
    assert!(matches!(error, ControlError::Open(_)), "{error}");
    drop(alive);
    ControlServer::open(&place.socket()).unwrap();
}

#[test]
fn no_link_is_followed_and_no_file_replaced() {
    let place = Place::new();
    fs::write(place.at("precious"), "precious").unwrap();
    symlink("precious", place.socket()).unwrap();
    assert_eq!(ControlServer::open(&place.socket()).unwrap_err().exit_code(), 78);
    fs::remove_file(place.socket()).unwrap();
    fs::write(place.socket(), "precious").unwrap();
    assert_eq!(ControlServer::open(&place.socket()).unwrap_err().exit_code(), 78);
    assert_eq!(fs::read_to_string(place.at("precious")).unwrap(), "precious");
}

#[test]
fn settling_waits_for_answers() {
    let place = Place::new();
    in_runtime(async {
        let (sender, mut requests) = mpsc::channel(1);
        let mut server = ControlServer::open(&place.socket()).unwrap();
        server.serve(sender).unwrap();
        let socket = place.socket();
        let client = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut client = UnixStream::connect(socket).unwrap();
            client.write_all(b"{\"command\":\"restart\"}\n").unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            text
        });
        let (_, answer) = requests.recv().await.unwrap();
        answer.send(Reply::Restarting { ticket: 1, queued: false }).unwrap();
        server.settle().await;
        // From here on the runtime does nothing more, as before an exec.
        let text = client.join().unwrap();
        assert_eq!(text, "{\"reply\":\"restarting\",\"ticket\":1,\"queued\":false}\n");
    });
}

#[test]
fn a_second_call_leads_the_requests_elsewhere() {
    let place = Place::new();
    drop(FakeMaster::saying(&place.socket(), Reply::Done { message: "x".into() }));
    in_runtime(async {
        let mut server = ControlServer::open(&place.socket()).unwrap();
        let (first, _gone) = mpsc::channel(1);
        server.serve(first).unwrap();
        let (second, mut requests) = mpsc::channel(1);
        server.serve(second).unwrap();
        let ctl = {
            let place = place.socket();
            std::thread::spawn(move || {
                let url = format!("unix://{}", place.display());
                let words = ["-C", url.as_str(), "reload-logs"];
                crate::place::rackrsctl(words.map(std::ffi::OsStr::new))
            })
        };
        let (_, answer) = requests.recv().await.unwrap();
        answer.send(Reply::Done { message: "second".into() }).unwrap();
        server.settle().await;
        ctl.join().unwrap().is("second");
    });
}
