//! Processes that die in the middle of a restart are nobody's end.

use nix::sys::signal::{SIGKILL, SIGUSR1, SIGUSR2};
use rackrs_tests::{Server, ServerBuilder, eventually, process, release};

/// A restart whose new code loads until there is the file `go`.
fn restarting(flags: &str) -> Server {
    let server = ServerBuilder::of_source(&release("old", "")).args(flags).start();
    server.write("config.ru", &release("new", "sleep 0.01 until File.exist?('go')"));
    server.signal(SIGUSR2);
    server.eventually_logs("has taken over");
    server
}

fn go(server: &Server) {
    server.write("go", "");
    server.eventually_logs("Restart 1 (restart) succeeded");
    server.eventually_answers("new ");
    server.signal(SIGUSR2);
    server.eventually_logs("Restart 2 (restart) succeeded");
}

#[test]
fn an_old_worker_that_dies_meanwhile_is_replaced_by_the_old_code() {
    for flags in ["", "-w 2"] {
        let server = restarting(flags);
        let before = server.ready_workers();
        process::send(before[0], SIGKILL);
        eventually("it has a successor", || {
            let now = server.ready_workers();
            (now.len() == before.len() && !now.contains(&before[0])).then_some(())
        });
        assert!(server.get("/").expect(200).text().starts_with("old "));
        go(&server);
    }
}

#[test]
fn an_old_mold_that_dies_meanwhile_harms_nobody() {
    let server = restarting("-w 2");
    let stats = server.stats();
    let mold = stats["molds"][0]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    process::send(mold.expect("the old mold has a pid"), SIGKILL);
    server.eventually_logs("was killed by SIGKILL");
    assert!(server.get("/").expect(200).text().starts_with("old "));
    go(&server);
}

#[test]
fn a_worker_that_is_still_leaving_may_be_killed() {
    let server = ServerBuilder::of_source(&release("old", "")).args("-w 2").start();
    let mut kept: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for connection in &mut kept {
        assert_eq!(connection.get("/").status, 200);
    }
    let before = server.ready_workers();
    server.write("config.ru", &release("new", ""));
    server.signal(SIGUSR1);
    server.eventually_logs("Restart 1 (phased restart) succeeded");
    for worker in before {
        process::send_if_alive(worker, SIGKILL);
    }
    server.signal(SIGUSR2);
    server.eventually_logs("Restart 2 (restart) succeeded");
    assert_eq!(server.ready_workers().len(), 2);
}

#[test]
fn a_killed_master_takes_both_generations_with_it() {
    let mut server = restarting("-w 2");
    server.signal(SIGKILL);
    server.await_end();
    server.assert_nobody_left();
}

#[test]
fn a_stop_in_the_middle_ends_both_generations() {
    use nix::sys::signal::{SIGINT, SIGQUIT, SIGTERM};
    for signal in [SIGTERM, SIGINT, SIGQUIT] {
        let mut server = restarting("-w 2");
        server.end_by(signal);
        let log = server.log();
        assert!(log.contains("Restart 1 (restart) failed") && log.contains("Goodbye"), "{log}");
        assert!(!server.path("web.ctl").exists(), "the control socket was left");
    }
}

#[test]
fn another_number_of_workers_asked_for_meanwhile_is_that_of_the_new_ones() {
    let server = restarting("-w 2");
    server.ctl("workers +1").assert_success();
    eventually("there are three", || (server.ready_workers().len() == 3).then_some(()));
    server.write("go", "");
    server.eventually_logs("Restart 1 (restart) succeeded");
    assert_eq!(server.ready_workers().len(), 3);
    assert_eq!(server.stats()["workers_wanted"], 3);
}
