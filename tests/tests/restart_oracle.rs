//! A restart by USR2 or USR1 loses nothing: no request, no connection, not the pid file for a millisecond.

use std::time::Duration;

use nix::sys::signal::{SIGUSR1, SIGUSR2, Signal};
use rackrs_tests::{
    PATIENCE, ServerBuilder, both_racks,
    oracle::{Address, Plan, Release, Report, Subject, watch},
};

/// Restarts of each test; `script/restarts` makes more.
const RESTARTS: u32 = 4;

/// What the application's boot takes, in seconds.
const BOOT_SECONDS: &str = "1";

/// Where the clients connect to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Transports {
    Both,
    Tcp,
}

/// Restarts the server that `builder` makes, and watches; it must be the last release that answers
/// in the end, and the master that was started.
fn restarted(builder: ServerBuilder, transports: Transports, signal: Signal) -> Report {
    let release = Release::first(builder.folder()).expect("the test's folder can be written");
    let builder = builder.env("BOOT_SECONDS", BOOT_SECONDS).args("-t 8:8");
    let server = builder.tcp().start();
    let tcp = Address::Tcp(server.address());
    let addresses = match transports {
        Transports::Both => vec![Address::Unix(server.socket().to_owned()), tcp],
        Transports::Tcp => vec![tcp],
    };
    let subject = Subject { addresses, pid_file: server.pid_file().to_owned(), release };
    let plan = Plan {
        base_line: Duration::from_secs(2),
        restarts: RESTARTS,
        between: Duration::from_millis(300),
        limit: PATIENCE,
        monotonic: false,
    };
    let report = watch(&subject, &plan, &mut |round| {
        server.signal(signal);
        round.settle()
    });
    report.assert_nothing_lost();
    assert_eq!(server.written_pid(), Some(server.master()), "the same master as ever");
    let last = server.get("/id/last").expect(200).text();
    assert!(last.starts_with(&format!("{} last ", RESTARTS + 1)), "{last}");
    report
}

both_racks! {
    fn restarts_of_two_workers_lose_nothing(rack) {
        let builder = ServerBuilder::new("release.ru").rack(&rack).args("-w 2");
        let report = restarted(builder, Transports::Both, SIGUSR2);
        assert_eq!(report.restarted.pid_file.processes, 1, "{report}");
    }

    fn restarts_in_single_mode_lose_nothing(rack) {
        let builder = ServerBuilder::new("release.ru").rack(&rack);
        let report = restarted(builder, Transports::Both, SIGUSR2);
        assert_eq!(report.restarted.pid_file.processes, 1, "{report}");
    }
}

#[test]
fn restarts_over_tcp_alone_lose_nothing() {
    let builder = ServerBuilder::new("release.ru").no_unix().args("-w 2");
    restarted(builder, Transports::Tcp, SIGUSR2);
}

#[test]
fn phased_restarts_in_batches_lose_nothing() {
    let builder = ServerBuilder::new("release.ru").args("-w 3 --restart-batch 2");
    restarted(builder, Transports::Both, SIGUSR1);
}
