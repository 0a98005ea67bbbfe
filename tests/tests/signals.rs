//! Every signal of the documentation has its effect on the master.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGWINCH, Signal,
};
use rackrs_tests::{Connection, Server, ServerBuilder, binary, eventually, holds_still, process};

const UNICORN: &str = "--compat unicorn";

fn server(flags: &str) -> Server {
    Server::builder("hello.ru").args(flags).start()
}

/// A request that waits at the gate `name`.
fn request_at_gate(server: &Server, name: &str) -> Connection {
    let mut busy = server.connect();
    busy.send(format!("GET /gate/{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
    server.await_gate(name);
    busy
}

#[test]
fn ttin_and_ttou_change_the_number_of_workers() {
    for (flags, least) in [("-w 2", 1), ("-w 2 --compat unicorn", 0)] {
        let server = server(flags);
        let first = server.await_workers(2);
        server.signal(SIGTTIN);
        let three = server.await_workers(3);
        assert!(first.iter().all(|pid| three.contains(pid)), "{first:?} stay: {three:?}");
        for count in (least..3).rev() {
            server.signal(SIGTTOU);
            server.await_workers(count);
        }
        server.signal(SIGTTOU);
        holds_still("there is a least number", || server.stats()["workers_wanted"] == least);
        server.await_workers(least);
        server.signal(SIGTTIN);
        server.await_workers(least + 1);
        assert_eq!(server.get("/").status, 200);
    }
}

#[test]
fn a_changed_number_of_workers_holds_until_the_settings_are_read_again() {
    let server = server("-w 2");
    server.signal(SIGTTIN);
    server.await_workers(3);
    for (command, count) in [("refork", 3), ("phased-restart", 3), ("restart", 2)] {
        server.ctl(&format!("{command} --wait")).assert_success();
        server.await_workers(count);
    }
}

#[test]
fn ttou_lets_a_worker_finish() {
    let server = server("-w 2 -t 2:2");
    let mut held = ["a", "b"].map(|name| (name, request_at_gate(&server, name)));
    server.signal(SIGTTOU);
    server.eventually_logs("Workers: 1");
    for (name, connection) in &mut held {
        server.open_gate(name);
        assert_eq!(connection.receive().expect(200).text(), format!("through {name}"));
    }
    server.await_workers(1);
}

#[test]
fn hang_up_without_log_files_stops() {
    let mut server = server("-w 2");
    let mut busy = request_at_gate(&server, "held");
    server.signal(SIGHUP);
    server.eventually_logs("Gracefully stopping");
    server.open_gate("held");
    assert_eq!(busy.receive().status, 200);
    let status = server.await_end().expect("our own child");
    assert_eq!(status.code(), Some(0));
    server.assert_nobody_left();
}

#[test]
fn an_ignored_hang_up_stays_ignored_after_a_restart() {
    for flags in ["", UNICORN, "--redirect-stderr err.log"] {
        let builder = ServerBuilder::new("hello.ru").args(flags);
        let server = builder.through("nohup", &[binary().as_os_str()]).start();
        let worker = server.worker();
        for restarts in 0..2 {
            server.signal(SIGHUP);
            holds_still("a HUP does nothing", || {
                let stats = server.stats();
                stats["restarts"]["begun"] == restarts && stats["state"] == "serving"
            });
            if restarts == 0 {
                assert_eq!(server.worker(), worker);
                server.signal(SIGUSR2);
                eventually("the restart ends", || {
                    (server.stats()["restarts"]["succeeded"] == 1).then_some(())
                });
            }
        }
    }
}

#[test]
fn each_kind_of_restart_has_its_signal() {
    let cases = [
        ("", SIGUSR2, "restart"),
        ("", SIGUSR1, "phased_restart"),
        ("-w 2", SIGURG, "refork"),
        (UNICORN, SIGUSR2, "restart"),
        (UNICORN, SIGHUP, "restart"),
    ];
    for (flags, signal, kind) in cases {
        let server = server(flags);
        let before = server.ready_workers();
        server.signal(signal);
        let last = eventually("the restart ends", || {
            let last = server.stats()["restarts"]["last"].clone();
            (!last.is_null()).then_some(last)
        });
        assert_eq!((&last["kind"], &last["outcome"]), (&kind.into(), &"succeeded".into()));
        let after = server.await_workers(before.len());
        assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
        assert_eq!(server.written_pid(), Some(server.master()));
    }
}

#[test]
fn a_restart_signal_that_belongs_to_others_does_nothing() {
    for flags in ["", UNICORN] {
        let server = Server::builder("hello.ru").args(flags).env("PUMA_SKIP_SIGUSR2", "1").start();
        let worker = server.worker();
        server.signal(SIGUSR2);
        holds_still("USR2 does nothing", || server.worker() == worker);
        assert_eq!(server.stats()["restarts"]["begun"], 0);
        // The other ways are open.
        server.ctl("restart --wait").assert_success();
        server.signal(SIGUSR2);
        holds_still("USR2 does nothing", || server.stats()["restarts"]["begun"] == 1);
    }
}

#[test]
fn window_changes_stop_the_workers_of_a_unicorn_daemon() {
    let mut server = Server::builder("hello.ru").args("-w 2 --compat unicorn").daemon().start();
    let before = server.await_workers(2);
    let mut busy = request_at_gate(&server, "held");
    server.signal(SIGWINCH);
    server.open_gate("held");
    assert_eq!(busy.receive().status, 200, "they finish what they hold");
    // A connection that stays open is waited for.
    drop(busy);
    server.await_workers(0);
    assert!(before.iter().all(|pid| !process::is_alive(*pid)));
    assert!(process::is_alive(server.master()));
    assert_eq!(server.written_pid(), Some(server.master()));
    // Who connects now is not refused.
    let mut waiting = server.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.signal(SIGTTIN);
    assert_eq!(waiting.receive().status, 200);
    drop(waiting);
    server.await_workers(1);
    server.signal(SIGWINCH);
    server.await_workers(0);
    let mut waiting = server.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.signal(SIGHUP);
    assert_eq!(waiting.receive().status, 200);
    drop(waiting);
    server.await_workers(2);
    server.signal(SIGWINCH);
    server.await_workers(0);
    server.end_by(SIGQUIT);
}

#[test]
fn window_changes_of_a_terminal_do_nothing() {
    for flags in ["", UNICORN] {
        let server = server(flags);
        let worker = server.worker();
        server.signal(SIGWINCH);
        holds_still("WINCH does nothing", || server.worker() == worker);
    }
    let puma = Server::builder("hello.ru").daemon().start();
    let worker = puma.worker();
    puma.signal(SIGWINCH);
    holds_still("WINCH does nothing", || puma.worker() == worker);
}

#[test]
fn power_failures_log_where_threads_stand() {
    for flags in ["-w 2", "-w 2 --compat unicorn"] {
        let server = server(flags);
        let mut busy = request_at_gate(&server, "held");
        server.signal(Signal::SIGPWR);
        for slot in 0..2 {
            server.eventually_logs(&format!("Threads of worker {slot} (PID: "));
        }
        server.eventually_logs("gate.rb:");
        server.open_gate("held");
        assert_eq!(busy.receive().status, 200);
    }
}

#[test]
fn unicorn_ends_quickly_by_term_and_int_and_gracefully_by_quit() {
    for signal in [SIGTERM, SIGINT] {
        let mut server = server("-w 2 --compat unicorn");
        let mut busy = request_at_gate(&server, "never");
        // Its request is never let through: only a quick end comes to an end.
        let status = server.end_by(signal).expect("our own child");
        assert_eq!((status.code(), status.signal()), (Some(0), None));
        assert!(busy.try_receive().is_none());
    }
    let mut server = server("-w 2 --compat unicorn");
    let mut busy = request_at_gate(&server, "held");
    server.signal(SIGQUIT);
    server.eventually_logs("Gracefully stopping");
    server.open_gate("held");
    assert_eq!(busy.receive().expect(200).text(), "through held");
    assert_eq!(server.await_end().expect("our own child").code(), Some(0));
    server.assert_nobody_left();
}

#[test]
fn a_second_signal_ends_a_graceful_stop_at_once() {
    for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGQUIT, SIGTERM)] {
        let mut server = server("-w 2");
        let mut busy = request_at_gate(&server, "never");
        server.signal(first);
        server.eventually_logs("Gracefully stopping");
        server.end_by(second);
        assert!(busy.try_receive().is_none());
    }
}
