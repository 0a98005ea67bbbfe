//! A worker that makes no progress says where it stands, is killed and replaced; the others serve.

use nix::sys::signal::{SIGCONT, SIGSTOP};
use rackrs_tests::{Connection, Server, ServerBuilder, both_racks, eventually, process};

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

fn asked(server: &Server, path: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(format!("GET {path} {END}"));
    connection
}

/// The workers of a server that is not restarting, in no order: the pids in their log lines.
fn workers(server: &Server) -> Vec<i32> {
    let titled = |pid: &i32| process::title(*pid).starts_with("rackrs: cluster worker");
    process::children(server.master()).into_iter().filter(titled).collect()
}

/// Waits until `gone` is no more, and there are `count` workers that serve again.
fn await_replacement(server: &Server, gone: i32, count: usize) {
    eventually("the worker is killed", || (!process::is_alive(gone)).then_some(()));
    eventually("another is in its place", || {
        let booted = server.log().matches(") booted in ").count();
        (workers(server).len() == count && count < booted).then_some(())
    });
    assert_eq!(server.get("/").status, 200);
}

/// A kept connection to each of `pids`.
fn connected(server: &Server, pids: &[i32]) -> Vec<(i32, Connection)> {
    let mut found: Vec<(i32, Connection)> = Vec::new();
    eventually("each worker takes a connection", || {
        let mut connection = server.connect();
        let pid: i32 = connection.get("/pid").expect(200).text().parse().expect("it is a pid");
        if found.iter().all(|(known, _)| *known != pid) {
            found.push((pid, connection));
        }
        (found.len() == pids.len()).then_some(())
    });
    found
}

/// Has a request to `path` that never ends in one worker, keeps asking another one meanwhile, and
/// gives the log when the first has been replaced.
fn stuck_in(server: &Server, path: &str) -> String {
    let before = workers(server);
    let mut connections = connected(server, &before);
    let (gone, mut stuck) = connections.remove(0);
    let (_, mut other) = connections.remove(0);
    stuck.send(format!("GET {path} {END}"));
    eventually("its worker is killed", || {
        assert_eq!(other.get("/").text(), "hello", "the other worker serves");
        (!process::is_alive(gone)).then_some(())
    });
    await_replacement(server, gone, before.len());
    assert!(stuck.try_receive().is_none_or(|response| response.status >= 500), "no answer");
    let log = server.log();
    assert!(log.contains(&format!("had in hand: GET {path} (")), "the request is told:\n{log}");
    assert!(log.contains(&format!("(PID: {gone}): a request took too long")), "{log}");
    log
}

/// Several workers of one thread: a request that never ends takes one of them.
fn several() -> ServerBuilder {
    Server::builder("chaos.ru").args("-w 2 -t 1:1 --request-timeout 1 --max-keep-alive 100000")
}

both_racks! {
    fn an_endless_loop_is_told_killed_and_replaced(rack) {
        let server = several().rack(&rack).start();
        let log = stuck_in(&server, "/loop");
        assert!(log.contains("loop_for_ever"), "the frame of the application:\n{log}");
        assert!(log.contains("chaos.ru:"), "its file:\n{log}");
    }
}

#[test]
fn threads_that_wait_for_each_other_are_told() {
    let server = several().start();
    let log = stuck_in(&server, "/deadlock");
    assert!(
        log.matches("wait_for_each_other").count() >= 3,
        "the request and both threads:\n{log}"
    );
}

#[test]
fn what_waits_with_a_slow_request_is_lost_with_it_and_nothing_else() {
    let server = Server::builder("chaos.ru")
        .args("-w 2 -t 2:2 --request-timeout 1 --max-keep-alive 100000")
        .start();
    let log = stuck_in(&server, "/gate/never");
    assert!(log.contains("gate.rb:"), "where it waits:\n{log}");
}

#[test]
fn native_code_that_keeps_rubys_lock_says_its_last_words() {
    let server = Server::builder("chaos.ru").args("-w 2 -t 1:1 --worker-timeout 1").start();
    let before = workers(&server);
    let _stuck = asked(&server, "/native");
    let gone = eventually("a worker is killed", || {
        before.iter().find(|pid| !process::is_alive(**pid)).copied()
    });
    await_replacement(&server, gone, 2);
    let log = server.log();
    for words in [
        &format!("(PID: {gone}): its Ruby lock could not be had"),
        "had in hand: GET /native (",
        &format!("the Ruby lock of worker process {gone} cannot be had"),
        "the Ruby frames of thread",
        "keep_the_lock",
        "chaos.ru:",
    ] {
        assert!(log.contains(words), "no {words:?} in\n{log}");
    }
}

#[test]
fn a_stopped_worker_is_killed_and_replaced() {
    let server = Server::builder("chaos.ru").args("-w 2 --worker-timeout 1").start();
    let stopped = workers(&server)[0];
    process::send(stopped, SIGSTOP);
    await_replacement(&server, stopped, 2);
    let log = server.log();
    assert!(log.contains(&format!("(PID: {stopped}): its I/O thread did not run")), "{log}");
}

#[test]
fn a_server_that_was_suspended_as_a_whole_kills_nobody() {
    let server = Server::builder("chaos.ru").args("-w 2 --worker-timeout 3").start();
    let before = workers(&server);
    let all = [&[server.master()][..], &before].concat();
    // As by Ctrl-Z, or a machine that sleeps.
    for pid in &all {
        process::send(*pid, SIGSTOP);
    }
    let seconds = || {
        let uptime = procfs::Current::current();
        let uptime: procfs::Uptime = uptime.expect("/proc can be read");
        uptime.uptime
    };
    let began = seconds();
    eventually("more than the limit has passed", || (seconds() > began + 5.0).then_some(()));
    for pid in all.iter().rev() {
        process::send(*pid, SIGCONT);
    }
    rackrs_tests::holds_still("nobody is killed", || {
        server.get("/").status == 200 && before.iter().all(|pid| process::is_alive(*pid))
    });
}

#[test]
fn a_worker_that_does_not_boot_is_killed() {
    let source = "Rackrs.before_worker_boot { sleep if File.exist?(\"#{ENV['FOLDER']}/hang\") }\n\
        run ->(_) { [200, {}, [Process.pid.to_s]] }\n";
    let server = ServerBuilder::of_source(source).args("--worker-boot-timeout 1").start();
    std::fs::write(server.path("hang"), "").expect("the test's folder can be written");
    process::send(server.worker(), nix::sys::signal::SIGKILL);
    server.eventually_logs("it did not boot in time (--worker-boot-timeout)");
    std::fs::remove_file(server.path("hang")).expect("it is there");
    eventually("another serves", || {
        (server.log().matches(") booted in ").count() > 1).then_some(())
    });
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn backtraces_are_shown_at_any_time() {
    let server = Server::builder("chaos.ru").args("-w 2 -t 1:1").start();
    let mut waiting = asked(&server, "/gate/shown");
    server.await_gate("shown");
    let holder: i32 = server.read("shown.reached").parse().expect("the gate notes the pid");
    let shown = server.ctl("backtraces");
    shown.assert_success();
    for pid in workers(&server) {
        shown.assert_says(&pid.to_string());
    }
    shown.assert_says("gate.rb:");
    let told = server.stats()["workers"].as_array().expect("there are workers").clone();
    let slot =
        told.iter().find(|worker| worker["pid"] == holder).expect("it is told")["slot"].clone();
    let one = server.ctl(&format!("backtraces {slot}"));
    one.assert_success();
    one.assert_says("gate.rb:");
    let other = server.ctl(&format!("backtraces {}", 1 - slot.as_u64().expect("a number")));
    other.assert_success();
    assert!(!other.text().contains("gate.rb:"), "{other}");
    // The same in the log, as Puma has it for INFO.
    server.signal(nix::sys::signal::SIGPWR);
    server.eventually_logs("gate.rb:");
    server.open_gate("shown");
    assert_eq!(waiting.receive().status, 200);
}

#[test]
fn a_worker_that_cannot_answer_keeps_no_client_of_the_control_socket_waiting() {
    let mut server = Server::builder("chaos.ru").args("-w 2 -t 1:1").start();
    let _stuck = asked(&server, "/native");
    eventually("it is in hand", || {
        let told = server.stats();
        let mut workers = told["workers"].as_array()?.iter();
        workers.any(|worker| worker["oldest_request"]["line"] == "GET /native").then_some(())
    });
    let shown = server.ctl("backtraces");
    shown.assert_says("Ruby threads");
    // Draining would wait for what never ends.
    server.ctl("halt").assert_success();
    server.await_end();
    server.assert_nobody_left();
}
