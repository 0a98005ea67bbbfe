//! A restart reads the settings anew: other addresses are opened before the old ones are closed.
//!
//! The command line stays, so what can change is the option line of a rackup file, which only
//! Rack 2 has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use nix::sys::signal::{SIGTERM, SIGUSR2};
use rackrs_tests::{Connection, RackVersion, Server, ServerBuilder, eventually, release};

fn port() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port")
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}

fn at(port: SocketAddr, name: &str) -> String {
    format!("#\\ -o 127.0.0.1 -p {}\n{}", port.port(), release(name, ""))
}

fn answer(port: SocketAddr) -> String {
    Connection::tcp(port).get("/").expect(200).text()
}

fn restart(server: &Server, words: &str) -> String {
    server.signal(SIGUSR2);
    server.eventually_logs(words)
}

#[test]
fn another_address_takes_the_place_of_the_first() {
    if RackVersion::Debian.is_newer() {
        return;
    }
    let (first, second) = (port(), port());
    let [old, new] = [&first, &second].map(address);
    drop(first);
    let mut server = ServerBuilder::of_source(&at(old, "old")).no_unix().start();
    assert!(answer(old).starts_with("old "));

    // It is taken: the old code goes on, where it was.
    server.write("config.ru", &at(new, "new"));
    let log = restart(&server, "! Restart 1 (restart) failed");
    assert!(log.contains(&new.port().to_string()), "{log}");
    assert!(answer(old).starts_with("old "));

    drop(second);
    let mut kept = Connection::tcp(old);
    assert!(kept.get("/").text().starts_with("old "));
    restart(&server, "* Restart 2 (restart) succeeded");
    assert!(answer(new).starts_with("new "));
    let is_closed = || TcpStream::connect(old).is_err().then_some(());
    // The former mold, which has it too, is on its way out.
    eventually("nobody listens there any more", is_closed);
    assert!(kept.get("/").expect(200).says_close(), "what was accepted is answered");

    // A restart that fails in its code has opened an address in vain.
    server.write("config.ru", &at(old, "broken").replace("run(", "raise 'too bad'\nrun("));
    restart(&server, "! Restart 3 (restart) failed");
    assert!(answer(new).starts_with("new "));
    eventually("nobody listens there", is_closed);
    server.end_by(SIGTERM);
}

#[test]
fn another_environment_is_obeyed() {
    if RackVersion::Debian.is_newer() {
        return;
    }
    let in_environment = |name| format!("#\\ -E {name}\n{}", release("#{ENV['RACK_ENV']}", ""));
    let server = ServerBuilder::of_source(&in_environment("staging")).start();
    assert!(server.get("/").text().starts_with("staging "));
    server.write("config.ru", &in_environment("production"));
    restart(&server, "* Restart 1 (restart) succeeded");
    server.eventually_answers("production ");
}
