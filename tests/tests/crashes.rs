//! A worker that dies costs what it had in hand, is told with all that is known, and is replaced.

use nix::sys::signal::SIGKILL;
use rackrs_tests::{Connection, Server, ServerBuilder, both_racks, eventually, process};

const END: &str = "HTTP/1.1\r\nHost: a\r\n\r\n";

/// A kept connection to a worker, and one to another worker.
fn two(server: &Server) -> ((i32, Connection), (i32, Connection)) {
    let connect = || {
        let mut connection = server.connect();
        let pid: i32 = connection.get("/pid").expect(200).text().parse().expect("it is a pid");
        (pid, connection)
    };
    let first = connect();
    let second = eventually("another worker takes a connection", || {
        let second = connect();
        (second.0 != first.0).then_some(second)
    });
    (first, second)
}

/// The slot of a worker, by its line in the log.
fn slot_of(server: &Server, pid: i32) -> String {
    let log = server.log();
    let line = log.lines().find(|line| line.contains(&format!("(PID: {pid}) booted")));
    let words = line.expect("its start was logged").split("Worker ").nth(1).expect("it names it");
    words.split(' ').next().expect("there is a number").to_owned()
}

both_racks! {
    fn the_end_of_a_worker_is_told_and_costs_only_what_it_had_in_hand(rack) {
        let ends = [
            ("/segv", "was killed by SIG", "look above for"),
            ("/abort-process", "was killed by SIGABRT", "look above for"),
            ("/exit!", "exited with status 3", ""),
            ("/exit!-0", "exited with status 0", "the application ended it (exit!)"),
            ("/kill", "was killed by SIGKILL", "out-of-memory killer"),
        ];
        let server = Server::builder("chaos.ru").rack(&rack).args("-w 2 -t 2:2").start();
        for (path, how, hint) in ends {
            let ((pid, mut dying), (_, mut other)) = two(&server);
            let slot = slot_of(&server, pid);
            let gate = path.replace(|c: char| !c.is_alphanumeric(), "");
            other.send(format!("GET /gate/{gate} {END}"));
            server.await_gate(&gate);
            dying.send(format!("GET {path} {END}"));
            assert!(dying.try_receive().is_none(), "{path}: no answer can come");
            let line = format!("! Worker {slot} (PID: {pid}) {how}");
            let log = server.eventually_logs(&line);
            let line = log.lines().find(|told| told.contains(&line)).expect("it was found");
            assert!(line.contains(hint), "{line}");
            server.eventually_logs(&format!("Worker {slot} (PID: {pid}) had in hand: GET {path} ("));
            eventually("another has the slot", || {
                let workers = server.ready_workers();
                (workers.len() == 2 && !workers.contains(&pid)).then_some(())
            });
            server.open_gate(&gate);
            assert_eq!(other.receive().status, 200, "{path}: what the other had in hand");
        }
        // What is no end of the process.
        let ((pid, mut connection), _) = two(&server);
        assert_eq!(connection.get("/abort").status, 500);
        assert!(process::is_alive(pid));
    }
}

#[test]
fn the_listening_socket_stays_open_without_any_worker() {
    let server = ServerBuilder::of_source(
        "Rackrs.before_worker_boot { sleep 0.01 while File.exist?(\"#{ENV['FOLDER']}/hold\") }\n\
         run ->(_) { [200, {}, [Process.pid.to_s]] }\n",
    )
    .start();
    let worker = server.worker();
    std::fs::write(server.path("hold"), "").expect("the test's folder can be written");
    process::send(worker, SIGKILL);
    eventually("it is gone", || (!process::is_alive(worker)).then_some(()));
    // Nobody accepts; the kernel keeps the client.
    let mut waiting = server.connect();
    waiting.send(format!("GET / {END}"));
    std::fs::remove_file(server.path("hold")).expect("it is there");
    assert_ne!(waiting.receive().expect(200).text(), worker.to_string());
}

/// Notes the monotonic milliseconds of its birth, and ends at once while it is told to.
const CRASHING: &str = r##"
Rackrs.before_worker_boot do |_|
  ms = Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond)
  File.write("#{ENV['FOLDER']}/births", "#{ms}\n", mode: 'a')
  exit!(1) if File.exist?("#{ENV['FOLDER']}/crash")
end
run ->(_) { [200, {}, [Process.pid.to_s]] }
"##;

#[test]
fn workers_that_crash_at_once_are_forked_ever_more_slowly() {
    let server = ServerBuilder::of_source(CRASHING).args("-w 1").start();
    std::fs::write(server.path("crash"), "").expect("the test's folder can be written");
    process::send(server.worker(), SIGKILL);
    let births = || -> Vec<u64> {
        server.read("births").lines().map(|line| line.parse().expect("a number")).collect()
    };
    eventually("many have crashed", || (births().len() >= 8).then_some(()));
    let births = births();
    // The first was born at the start, the second in the place of the killed one, the third at
    // once; from then on each waits twice as long as the one before.
    let waited = |n: usize| births[n] - births[n - 1];
    for (n, at_least) in [(4, 100), (5, 200), (6, 400), (7, 800)] {
        assert!(waited(n) >= at_least, "{n}: {births:?}");
    }
    eventually("the slot waits, and that is told", || {
        let is_waiting = server.stats()["workers"][0]["state"] == "waiting";
        (is_waiting && server.ctl("status").out.contains("waiting")).then_some(())
    });
    std::fs::remove_file(server.path("crash")).expect("it is there");
    assert_eq!(server.get("/").status, 200, "whoever waited is served");
}
