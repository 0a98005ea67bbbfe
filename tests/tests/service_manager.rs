//! What a service manager is told: `sd_notify(3)` from the first moment to the last.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use nix::sys::signal::{SIGTERM, SIGUSR1, SIGUSR2};
use rackrs_tests::{Server, ServerBuilder, app, eventually, holds_still};
use tempfile::TempDir;

/// The longest message that a manager reads.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Half a second is what a manager would never set, and long for a test.
const WATCHDOG_USEC: &str = "500000";

/// Microseconds of 30 years: what a clock that counts from the machine's start does not show, and one
/// that counts from 1970 does.
const AGES_USEC: u128 = 30 * 365 * 86_400 * 1_000_000;

/// An application that waits at its load for the gate `load`.
const GATED: &str =
    "require ENV.fetch('GATE')\nGate.pass('load')\nrun ->(_) { [200, {}, ['up']] }\n";

type Message = BTreeMap<String, String>;

/// A service manager, as far as it listens.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::with_prefix("rackrs-manager-").expect("a folder can be made");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("it can be bound");
        socket.set_nonblocking(true).expect("a socket takes options");
        Self { folder, socket }
    }

    fn address(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// The next message, if there is one already.
    fn heard(&self) -> Option<Message> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let pairs = text.lines().map(|line| line.split_once('=').expect("each line assigns"));
        Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The next message.
    fn hear(&self) -> Message {
        eventually("the service manager hears something", || self.heard())
    }

    /// The next message that is no sign of life.
    fn hear_news(&self) -> Message {
        eventually("the service manager hears news", || {
            self.heard().filter(|message| !message.contains_key("WATCHDOG"))
        })
    }

    fn assert_ready(&self, master: i32) {
        let ready = self.hear_news();
        assert_eq!(ready.get("READY").map(String::as_str), Some("1"), "{ready:?}");
        assert_eq!(ready["MAINPID"], master.to_string());
        assert!(!ready["STATUS"].is_empty());
    }

    fn builder(&self, app: &str) -> ServerBuilder {
        Server::builder(app).env("NOTIFY_SOCKET", self.address())
    }
}

#[test]
fn it_is_ready_when_it_serves_and_not_before() {
    for daemon in [false, true] {
        let manager = Manager::new();
        let builder = ServerBuilder::of_source(GATED).env("GATE", app("gate.rb"));
        let builder = builder.env("NOTIFY_SOCKET", manager.address());
        let builder = if daemon { builder.daemon() } else { builder };
        let _guard = builder.guard();
        let [reached, open] = ["load.reached", "load.open"].map(|name| builder.path(name));
        let server = thread::scope(|scope| {
            scope.spawn(|| {
                eventually("the application is being loaded", || reached.exists().then_some(()));
                holds_still("nothing is said", || manager.heard().is_none());
                fs::write(&open, "").expect("the test's folder can be written");
            });
            builder.start()
        });
        if daemon {
            // A launcher that is gone before its manager knows another process has failed.
            let ready = manager.heard().expect("it was told before the command returned");
            assert_eq!(
                (&*ready["READY"], &*ready["MAINPID"]),
                ("1", &*server.master().to_string())
            );
        } else {
            manager.assert_ready(server.master());
        }
        assert_eq!(server.get("/").text(), "up");
    }
}

#[test]
fn a_failed_start_is_never_ready() {
    for flags in ["", "-d"] {
        let manager = Manager::new();
        let builder = ServerBuilder::of_source("raise 'too bad'\n").args(flags);
        let _failed = builder.env("NOTIFY_SOCKET", manager.address()).run_in_vain();
        while let Some(message) = manager.heard() {
            assert!(!message.contains_key("READY"), "{message:?}");
        }
    }
}

#[test]
fn restarts_are_told_from_their_beginning_to_their_end() {
    for (flags, daemon) in [("", false), ("-w 2", true)] {
        let manager = Manager::new();
        let source = fs::read_to_string(app("hello.ru")).expect("it can be read");
        let source = source.replace("require_relative 'gate'", "require ENV.fetch('GATE')");
        let builder = ServerBuilder::of_source(&source).args(flags).env("GATE", app("gate.rb"));
        let builder = builder.env("NOTIFY_SOCKET", manager.address());
        let server = if daemon { builder.daemon().start() } else { builder.start() };
        manager.assert_ready(server.master());
        let first = Instant::now();
        let mut first_told = None;
        for (signal, is_good) in [(SIGUSR2, true), (SIGUSR1, true), (SIGUSR2, false)] {
            if !is_good {
                fs::write(server.path("config.ru"), "raise 'too bad'\n").expect("it is ours");
            }
            server.signal(signal);
            let reloading = manager.hear();
            assert_eq!(reloading.get("RELOADING").map(String::as_str), Some("1"), "{reloading:?}");
            let told: u128 = reloading["MONOTONIC_USEC"].parse().expect("it is a number");
            let since_first = told - *first_told.get_or_insert(told);
            assert!(since_first <= first.elapsed().as_micros() && told < AGES_USEC, "{told}");
            manager.assert_ready(server.master());
            assert_eq!(server.stats()["restarts"]["failed"], u8::from(!is_good));
        }
        assert!(manager.heard().is_none(), "nothing more is said");
    }
}

#[test]
fn a_stop_is_told_when_it_begins() {
    for daemon in [false, true] {
        let manager = Manager::new();
        let builder = manager.builder("hello.ru");
        let server = if daemon { builder.daemon().start() } else { builder.start() };
        manager.assert_ready(server.master());
        let mut busy = server.connect();
        busy.send("GET /gate/held HTTP/1.1\r\nHost: a\r\n\r\n");
        server.await_gate("held");
        server.signal(SIGTERM);
        assert_eq!(manager.hear().get("STOPPING").map(String::as_str), Some("1"));
        server.open_gate("held");
        assert_eq!(busy.receive().status, 200);
    }
    let manager = Manager::new();
    let mut server = manager.builder("hello.ru").args("--compat unicorn").start();
    manager.assert_ready(server.master());
    server.end_by(SIGTERM);
    assert_eq!(manager.hear().get("STOPPING").map(String::as_str), Some("1"));
}

fn assert_feeds(manager: &Manager) {
    for _ in 0..3 {
        eventually("the watchdog is fed", || {
            manager.heard().filter(|message| message.get("WATCHDOG").is_some_and(|one| one == "1"))
        });
    }
}

#[test]
fn the_watchdog_is_fed_by_the_process_that_it_means() {
    // `sh` names the process that it becomes, as a manager does.
    let script = "export WATCHDOG_PID=$$; exec \"$0\" \"$@\"";
    for daemon in [false, true] {
        let manager = Manager::new();
        let builder = manager.builder("hello.ru").env("WATCHDOG_USEC", WATCHDOG_USEC);
        let binary = rackrs_tests::binary();
        let arguments = ["-c".as_ref(), script.as_ref(), binary.as_os_str()];
        let builder = builder.through("sh", &arguments);
        let server = if daemon { builder.daemon().start() } else { builder.start() };
        assert_feeds(&manager);
        server.ctl("restart --wait").assert_success();
        while manager.heard().is_some() {}
        assert_feeds(&manager);
        server.ctl("restart --wait").assert_success();
        while manager.heard().is_some() {}
        assert_feeds(&manager);
    }
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let builder = manager.builder("hello.ru").env("WATCHDOG_USEC", "1000");
    let server = builder.env("WATCHDOG_PID", "1").start();
    manager.assert_ready(server.master());
    holds_still("it says nothing", || manager.heard().is_none());
}

#[test]
fn the_application_sees_nothing_of_the_manager() {
    let source = "run ->(_) { [200, {}, [ENV.keys.join(' '), ' ', `env`]] }\n";
    for flags in ["", "--daemon"] {
        let manager = Manager::new();
        let builder = ServerBuilder::of_source(source).env("NOTIFY_SOCKET", manager.address());
        let builder = builder.env("WATCHDOG_USEC", WATCHDOG_USEC).env("LISTEN_FDS", "0");
        let builder = builder.env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "");
        let server = if flags.is_empty() { builder.start() } else { builder.daemon().start() };
        for round in 0..2 {
            let text = server.get("/").expect(200).text();
            assert!(text.contains("FOLDER"), "{text}");
            for name in ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "RACKRS_HANDOVER"] {
                assert!(!text.contains(name), "{name} in {text}");
            }
            if round == 0 {
                server.ctl("restart --wait").assert_success();
            }
        }
    }
}

#[test]
fn a_manager_that_is_not_there_is_missed_by_nobody() {
    for address in ["/nonexistent/notify", "notify", "@", ""] {
        let mut server = Server::builder("hello.ru").env("NOTIFY_SOCKET", address).start();
        server.ctl("restart --wait").assert_success();
        assert_eq!(server.get("/").status, 200);
        server.end_by(SIGTERM);
    }
    // One that went away.
    let manager = Manager::new();
    let server = manager.builder("hello.ru").env("WATCHDOG_USEC", "1000").start();
    manager.assert_ready(server.master());
    drop(manager);
    let words = "is the service manager there?";
    server.eventually_logs(words);
    server.ctl("restart --wait").assert_success();
    // One line of each program of the master, however often it was missed.
    eventually("the new program has missed it, too", || {
        (server.log().matches(words).count() == 2).then_some(())
    });
    holds_still("that is enough", || server.log().matches(words).count() == 2);
}

#[test]
fn a_manager_that_does_not_listen_hears_the_news_later() {
    let manager = Manager::new();
    // Until there is no room.
    let filler = UnixDatagram::unbound().expect("a socket can be made");
    filler.set_nonblocking(true).expect("a socket takes options");
    while filler.send_to(b"WATCHDOG=1", manager.address()).is_ok() {}
    let builder = manager.builder("hello.ru").env("WATCHDOG_USEC", WATCHDOG_USEC);
    let server = builder.start();
    assert_eq!(server.get("/").status, 200);
    manager.assert_ready(server.master());
}

#[test]
fn a_socket_of_the_abstract_namespace_is_heard_on() {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    let folder = TempDir::with_prefix("rackrs-manager-").expect("a folder can be made");
    let name = folder.path().file_name().map(Path::new).expect("it has a name").to_owned();
    let name = name.to_string_lossy().into_owned();
    let address = SocketAddr::from_abstract_name(&name).expect("it is short");
    let socket = UnixDatagram::bind_addr(&address).expect("nobody has it");
    socket.set_nonblocking(true).expect("a socket takes options");
    let manager = Manager { folder, socket };
    let server = Server::builder("hello.ru").env("NOTIFY_SOCKET", format!("@{name}")).start();
    manager.assert_ready(server.master());
}
