//! The ways to new workers, and what stays when they come: pid, pid file, control socket.

use nix::sys::signal::{SIGTERM, SIGURG, SIGUSR1, SIGUSR2};
use rackrs_tests::{Poller, Server, ServerBuilder, both_racks, eventually, process, release};
use serde_json::Value;

fn cluster(flags: &str) -> Server {
    ServerBuilder::of_source(&release("old", "")).args(flags).start()
}

/// Waits for the end of the restart with this number, which must be good.
fn succeeds(server: &Server, ticket: u64, kind: &str) -> Value {
    let log = server.eventually_logs(&format!("Restart {ticket} ({kind}) "));
    assert!(log.contains(&format!("Restart {ticket} ({kind}) succeeded")), "{log}");
    assert_eq!(server.written_pid(), Some(server.master()), "the same master as ever");
    server.stats()
}

both_racks! {
    fn a_phased_restart_brings_new_code(rack) {
        let builder = ServerBuilder::of_source(&release("old", "")).rack(&rack);
        let mut server = builder.args("-w 2").start();
        let (clients, before) = (Poller::start(&server), server.ready_workers());
        server.write("config.ru", &release("new", ""));
        server.signal(SIGUSR1);
        let stats = succeeds(&server, 1, "phased restart");
        assert_eq!(stats["generation"], 2);
        assert!(server.ready_workers().iter().all(|worker| !before.contains(worker)));
        clients.eventually_hears("new ");
        let _all_answered = clients.finish();
        server.end_by(SIGTERM);
    }

    fn a_refork_makes_a_worker_the_mold(rack) {
        let builder = ServerBuilder::of_source(&release("old", "")).rack(&rack);
        let mut server = builder.args("-w 3").start();
        let (clients, before) = (Poller::start(&server), server.ready_workers());
        let mold = server.mold(&before);
        server.signal(SIGURG);
        let stats = succeeds(&server, 1, "refork");
        let after = server.ready_workers();
        assert_eq!(after.len(), 3);
        assert!(after.iter().all(|worker| !before.contains(worker)), "{before:?} {after:?}");
        let molds = stats["molds"].as_array().expect("a list of molds");
        let new = molds.last().and_then(|mold| mold["pid"].as_i64()).expect("it has a pid");
        assert!(before.iter().any(|worker| i64::from(*worker) == new), "{before:?} {stats}");
        eventually("the former mold ends", || (!process::is_alive(mold)).then_some(()));
        clients.eventually_hears("old ");
        let _all_answered = clients.finish();
        // The mold that was a worker makes workers like any other.
        process::send(after[0], nix::sys::signal::SIGKILL);
        eventually("the killed worker has a successor", || {
            let now = server.ready_workers();
            (now.len() == 3 && !now.contains(&after[0])).then_some(())
        });
        server.end_by(SIGTERM);
    }
}

#[test]
fn a_refork_and_a_restart_follow_a_refork() {
    let server = cluster("-w 2");
    let clients = Poller::start(&server);
    server.signal(SIGURG);
    succeeds(&server, 1, "refork");
    server.signal(SIGURG);
    succeeds(&server, 2, "refork");
    server.write("config.ru", &release("new", ""));
    server.signal(SIGUSR2);
    assert_eq!(succeeds(&server, 3, "restart")["generation"], 4);
    clients.eventually_hears("new ");
    let _all_answered = clients.finish();
}

#[test]
fn a_batch_of_workers_is_swapped_at_a_time() {
    // The new workers wait as they boot, so those of one batch are there together.
    let gate = "require_relative 'gate'\nRackrs.before_worker_boot { |index| Gate.pass(\"boot#{index}\") }";
    let new = release("new", gate);
    let gate = std::fs::read_to_string(rackrs_tests::app("gate.rb")).expect("it can be read");
    let builder = ServerBuilder::of_source(&release("old", "")).file("gate.rb", &gate);
    let server = builder.args("-w 5 --restart-batch 2").start();
    let clients = Poller::start(&server);
    server.write("config.ru", &new);
    server.signal(SIGUSR2);
    for batch in [&[0, 1][..], &[2, 3], &[4]] {
        for index in batch {
            server.await_gate(&format!("boot{index}"));
        }
        let next = server.path(&format!("boot{}.reached", batch[batch.len() - 1] + 1));
        rackrs_tests::holds_still("no more than the batch boots", || !next.exists());
        for index in batch {
            server.open_gate(&format!("boot{index}"));
        }
    }
    succeeds(&server, 1, "restart");
    clients.eventually_hears("new ");
    let _all_answered = clients.finish();
}

#[test]
fn a_restart_asked_for_during_another_follows_it_once() {
    let server = cluster("-w 2 --load-timeout 60");
    server.write("config.ru", &release("new", "sleep 0.01 until File.exist?('go')"));
    server.signal(SIGUSR2);
    server.eventually_logs("has taken over");
    for signal in [SIGURG, SIGUSR1, SIGUSR2, SIGUSR1] {
        server.signal(signal);
        // The next one must not be merged with it by the kernel.
        eventually("it is taken", || (server.stats()["queued_restart"] == true).then_some(()));
    }
    server.write("go", "");
    succeeds(&server, 1, "restart");
    assert_eq!(succeeds(&server, 2, "restart")["generation"], 3);
    let log = server.log();
    assert_eq!(log.matches("it follows as restart 2").count(), 1, "{log}");
    assert_eq!(server.stats()["restarts"]["begun"], 2, "{log}");
}

#[test]
fn a_restart_during_the_boot_follows_it() {
    let builder = ServerBuilder::of_source(&release("old", "sleep 0.01 until File.exist?('go')"));
    let _guard = builder.guard();
    let mut command = builder.command();
    let log = std::fs::File::create(builder.path("log")).expect("the folder can be written");
    let mut child = command.stdout(log).spawn().expect("rackrs runs");
    let says = |words: &str| {
        let log = std::fs::read_to_string(builder.path("log")).unwrap_or_default();
        log.contains(words).then_some(())
    };
    eventually("the application is being loaded", || says("Preloading"));
    let master = child.id().cast_signed();
    process::send(master, SIGUSR2);
    process::send(master, SIGUSR2);
    std::fs::write(builder.path("go"), "").expect("the folder can be written");
    eventually("the restart follows the start", || says("Restart 1 (restart) succeeded"));
    let pid = std::fs::read_to_string(builder.pid_file()).expect("there is a pid file");
    assert_eq!(pid.trim(), master.to_string());
    let connection = rackrs_tests::Connection::try_unix(builder.socket());
    assert_eq!(connection.expect("somebody listens").get("/").status, 200);
    process::send(master, SIGTERM);
    eventually("the server ends", || child.try_wait().expect("a child can be waited for"));
}

#[test]
fn who_waits_for_a_restart_is_told_its_end() {
    let server = cluster("-w 2");
    server.write("config.ru", &release("new", ""));
    let told = server.ctl("restart --wait");
    told.assert_success();
    assert_eq!(told.text().lines().count(), 1, "{told}");
    assert!(told.out.starts_with("restart 1 succeeded in "), "{told}");
    server.eventually_answers("new ");

    server.write("config.ru", &release("broken", "raise 'too bad'"));
    let told = server.ctl("restart --wait");
    assert_eq!((told.code(), told.text().lines().count()), (1, 1), "{told}");
    told.assert_says("restart 2 failed after ");
    told.assert_says("too bad");
    told.assert_says("the old code goes on");
    server.eventually_answers("new ");

    let told = server.ctl("phased-restart --wait");
    assert_eq!(told.code(), 1, "{told}");
    server.write("config.ru", &release("newest", ""));
    for command in ["phased-restart", "refork", "restart"] {
        server.ctl(&format!("{command} --wait")).assert_success();
    }
    server.eventually_answers("newest ");
}

#[test]
fn another_number_of_workers_outlives_a_failed_restart_and_not_a_good_one() {
    let server = cluster("-w 1");
    server.ctl("workers +2").assert_success();
    let three = || (server.ready_workers().len() == 3).then_some(());
    eventually("there are three workers", three);
    server.write("config.ru", &release("broken", "raise 'too bad'"));
    assert_eq!(server.ctl("restart --wait").code(), 1);
    three().expect("the failed restart changed nothing");
    server.write("config.ru", &release("new", ""));
    server.ctl("phased-restart --wait").assert_success();
    three().expect("a phased restart keeps the number");
    server.ctl("restart --wait").assert_success();
    eventually("the flags say one worker", || (server.ready_workers().len() == 1).then_some(()));
}

#[test]
fn a_daemon_keeps_its_pid_its_pid_file_and_its_control_socket() {
    use std::os::unix::fs::MetadataExt;
    let mut server =
        ServerBuilder::of_source(&release("old", "")).args("-w 2").tcp().daemon().start();
    let inode = |path| std::fs::symlink_metadata(path).expect("it is there").ino();
    let files = [server.pid_file().to_owned(), server.socket().to_owned(), server.path("web.ctl")];
    let (master, before) = (server.master(), files.each_ref().map(inode));
    let clients = Poller::start(&server);
    for name in ["new", "newest"] {
        server.write("config.ru", &release(name, ""));
        server.ctl("restart --wait").assert_success();
        clients.eventually_hears(&format!("{name} "));
        assert_eq!(files.each_ref().map(inode), before);
        assert_eq!(server.written_pid(), Some(master));
    }
    let _all_answered = clients.finish();
    server.end_by(SIGTERM);
    assert!(!server.path("web.ctl").exists(), "the control socket was left");
}
