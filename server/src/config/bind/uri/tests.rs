//! Bind URIs: what is taken, what is refused, and that a shown bind can be given back.

use super::*;

const HERE: &str = "/srv/app";

fn read(text: &str) -> Bind {
    parse(text, Path::new(HERE)).unwrap_or_else(|reason| panic!("{text}: {reason}"))
}

fn refused(text: &str) -> String {
    parse(text, Path::new(HERE)).expect_err(text)
}

fn socket(path: &str) -> Bind {
    let options = UnixOptions { umask: None, mode: None, backlog: BACKLOG_DEFAULT };
    Bind::Unix { path: path.into(), options }
}

fn tcp(host: &str, port: u16) -> Bind {
    Bind::Tcp { host: host.to_owned(), port, backlog: BACKLOG_DEFAULT }
}

#[test]
fn tcp_addresses() {
    assert_eq!(read("tcp://0.0.0.0:9292"), tcp("0.0.0.0", 9292));
    assert_eq!(read("tcp://localhost:0"), tcp("localhost", 0));
    assert_eq!(read("tcp://[::1]:80/"), tcp("::1", 80));
    let Bind::Tcp { backlog, .. } = read("tcp://a:1?backlog=5&low_latency=true") else { panic!() };
    assert_eq!(backlog, 5);
}

#[test]
fn socket_files_in_pumas_spellings() {
    assert_eq!(read("unix:///tmp/a.sock"), socket("/tmp/a.sock"));
    assert_eq!(read("unix:/tmp/a.sock"), socket("/tmp/a.sock"));
    assert_eq!(read("unix://tmp/a.sock"), socket("/srv/app/tmp/a.sock"));
    assert_eq!(read("unix://a.sock"), socket("/srv/app/a.sock"));
    assert_eq!(read("unix:///tmp/with%20blank%3F"), socket("/tmp/with blank?"));
}

#[test]
fn socket_files_with_options() {
    let options = UnixOptions { umask: Some(0o111), mode: Some(0o600), backlog: 9 };
    assert_eq!(
        read("unix:///tmp/a.sock?umask=0111&mode=0600&backlog=9"),
        Bind::Unix { path: "/tmp/a.sock".into(), options }
    );
}

#[test]
fn abstract_names() {
    let bind = Bind::Abstract { name: "shop".to_owned(), backlog: 3 };
    assert_eq!(read("unix://@shop?backlog=3"), bind);
}

#[test]
fn what_cannot_be_a_bind_says_what_to_write() {
    for (text, reason) in [
        ("ssl://0.0.0.0:443?key=k", "rackrs does not speak TLS yet; use tcp:// or unix:// behind"),
        ("http://0.0.0.0:80", "the scheme http is not known; it takes tcp:// or unix://"),
        ("tpc://0.0.0.0:80", "the scheme tpc is not known; the nearest is tcp"),
        ("0.0.0.0:80", "the scheme is missing; write tcp://0.0.0.0:80"),
        ("/tmp/a.sock", "the scheme is missing; write unix:///tmp/a.sock"),
        ("unix:a.sock", "write unix://a.sock"),
        ("unix://", "the path is empty"),
        ("unix:///tmp/", "the path names a directory"),
        ("unix://@", "the name is missing"),
        ("unix:///tmp/%zz", "a % needs two hexadecimal digits"),
        ("unix:///tmp/%4", "a % needs two hexadecimal digits"),
        ("unix:///tmp/%00", "a socket's address cannot hold a NUL byte"),
        ("unix:///tmp/%ff", "it is not UTF-8"),
        ("unix:///tmp/a?mod=1", "mod is not an option of this address; the nearest is mode"),
        ("unix://@a?mode=1", "mode is not an option of this address; it takes backlog"),
        ("tcp://:80", "the host is missing"),
        ("tcp://0.0.0.0", "the port is missing"),
        ("tcp://0.0.0.0:", "the port is missing"),
        ("tcp://0.0.0.0:99999", "the port must be a number from 0 to 65535"),
        ("tcp://::1:80", "an IPv6 address needs brackets"),
        ("tcp://[::1:80", "the bracket is not closed"),
        ("tcp://[nonsense]:80", "nonsense is not an IPv6 address"),
        ("tcp://[::1]80", "the port is missing"),
        ("tcp://a/b:80", "a/b is not a host name"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(reason), "{text}: {said}");
    }
}

#[test]
fn addresses_longer_than_the_system_takes_are_refused() {
    let longest = format!("unix:///{}", "a".repeat(UNIX_ADDRESS_BYTES_MAX - 1));
    read(&longest);
    assert!(refused(&format!("{longest}a")).contains("has 108 bytes"));
    // It is the absolute path that counts.
    assert!(refused(&format!("unix://{}", "a".repeat(100))).contains("has 109 bytes"));
    read(&format!("unix://@{}", "a".repeat(UNIX_ADDRESS_BYTES_MAX)));
    assert!(refused(&format!("unix://@{}", "a".repeat(108))).contains("choose a shorter one"));
}

#[test]
fn a_shown_bind_can_be_given_back() {
    for text in [
        "tcp://0.0.0.0:9292",
        "tcp://[::]:80?backlog=5",
        "unix:///tmp/web_server.sock",
        "unix:///tmp/a%20b%25c%3F?umask=0111&mode=0600&backlog=9",
        "unix://@shop",
    ] {
        assert_eq!(read(text).to_string(), text);
    }
}
