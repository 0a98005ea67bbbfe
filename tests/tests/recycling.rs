//! Workers that have used up their requests or memory are replaced in peace, one at a time.

use std::{collections::BTreeSet, fs};

use rackrs_tests::{Server, ServerBuilder, both_racks, eventually, process};

/// Workers and molds that serve now, in no order.
fn workers(server: &Server) -> Vec<i32> {
    let titled = |pid: &i32| process::title(*pid).starts_with("rackrs: cluster worker");
    process::children(server.master()).into_iter().filter(titled).collect()
}

/// How many workers the log says have been replaced.
fn worn(server: &Server, words: &str) -> usize {
    server.log().matches(words).count()
}

both_racks! {
    fn a_worker_that_has_served_its_requests_is_replaced_and_nothing_is_lost(rack) {
        let server =
            Server::builder("hello.ru").rack(&rack).args("-w 2 -t 2:2 --max-requests 20").start();
        let before: BTreeSet<i32> = workers(&server).into_iter().collect();
        // What is in hand when its worker is to go.
        let mut slow = server.connect();
        slow.send("GET /gate/slow HTTP/1.1\r\nHost: a\r\n\r\n");
        server.await_gate("slow");
        let holder: i32 = server.read("slow.reached").parse().expect("the gate notes the pid");
        let mut kept = server.connect();
        let mut most = 0;
        eventually("both have been replaced", || {
            assert_eq!(server.get("/").status, 200);
            // A kept connection is told of the end of its worker by `connection: close`.
            let response = kept.get("/").expect(200);
            if response.says_close() {
                kept = server.connect();
            }
            most = most.max(workers(&server).len());
            (worn(&server, "has served") >= 2).then_some(())
        });
        assert!(most <= 4, "one at a time: {most} workers at once");
        assert!(process::is_alive(holder), "it finishes what it has in hand");
        server.open_gate("slow");
        assert_eq!(slow.receive().status, 200);
        eventually("the first workers are gone", || {
            before.iter().all(|pid| !process::is_alive(*pid)).then_some(())
        });
        let log = server.log();
        assert!(log.contains("requests (--max-requests)"), "{log}");
        assert!(!log.contains("starting another"), "no end was unexpected:\n{log}");
        assert_eq!(server.get("/").status, 200);
    }
}

#[test]
fn workers_of_a_jitter_do_not_go_together() {
    let server = Server::builder("hello.ru")
        .args("-w 1 --max-requests 5 --max-requests-jitter 1000000")
        .start();
    let worker = server.worker();
    // By chance its limit is far beyond this, but for one case in many thousands.
    for _ in 0..50 {
        assert_eq!(server.worker(), worker);
    }
    eventually("the master has looked and counted", || {
        (server.stats()["workers"][0]["requests"].as_u64()? >= 50).then_some(())
    });
    assert_eq!(worn(&server, "has served"), 0, "{}", server.log());
}

/// Takes memory, as much as the query says, in MiB, and keeps it.
const GREEDY: &str = r"
KEPT = []
run(lambda do |env|
  mib = env['QUERY_STRING'].to_i
  KEPT << ('x' * (mib << 20)) if mib > 0
  [200, {}, [Process.pid.to_s]]
end)
";

fn grows_too_large(flag: &str, words: &str) {
    let server = ServerBuilder::of_source(GREEDY).args("-w 2").arg(flag).arg("256M").start();
    let mut connection = server.connect();
    let greedy: i32 = connection.get("/?300").expect(200).text().parse().expect("it is a pid");
    server.eventually_logs(words);
    eventually("it has gone", || {
        assert_eq!(server.get("/").status, 200);
        (!process::is_alive(greedy)).then_some(())
    });
    eventually("two workers are left", || (workers(&server).len() == 2).then_some(()));
    assert_eq!(worn(&server, "MiB"), 1, "the others are not to blame: {}", server.log());
}

#[test]
fn a_worker_with_too_much_resident_memory_is_replaced() {
    grows_too_large("--worker-max-rss", "of resident memory (--worker-max-rss)");
}

#[test]
fn a_worker_with_too_large_a_share_of_memory_is_replaced() {
    grows_too_large("--worker-max-pss", "of memory (--worker-max-pss)");
}

#[test]
fn a_limit_that_every_worker_is_above_replaces_one_at_a_time_and_serves_on() {
    let server = ServerBuilder::of_source(GREEDY).args("-w 2 --worker-max-rss 1M").start();
    let mut most = 0;
    eventually("several have been replaced", || {
        assert_eq!(server.get("/").status, 200);
        most = most.max(workers(&server).len());
        (worn(&server, "of resident memory") >= 3).then_some(())
    });
    assert!(most <= 4, "{most} workers at once");
    assert!(!server.log().contains("starting another"), "{}", server.log());
}

both_racks! {
    fn fork_worker_makes_a_warm_worker_the_mold_once(rack) {
        let server =
            Server::builder("hello.ru").rack(&rack).args("-w 2 --fork-worker=20").start();
        let mold = server.mold(&workers(&server));
        let mut kept = server.connect();
        eventually("a worker has become the mold", || {
            assert_eq!(server.get("/").status, 200);
            let response = kept.get("/").expect(200);
            if response.says_close() {
                kept = server.connect();
            }
            (!process::is_alive(mold) && workers(&server).len() == 2).then_some(())
        });
        let restarts = || server.stats()["restarts"].clone();
        eventually("the refork has ended", || restarts()["running"].is_null().then_some(()));
        let told = restarts();
        assert_eq!((&told["succeeded"], &told["last"]["kind"]), (&1.into(), &"refork".into()));
        let mold = server.mold(&workers(&server));
        // Once in the life of this code.
        for _ in 0..60 {
            assert_eq!(server.get("/").status, 200);
        }
        eventually("the master has looked again", || {
            let told = server.stats();
            let mut workers = told["workers"].as_array()?.iter();
            workers.any(|worker| worker["requests"].as_u64() > Some(20)).then_some(())
        });
        rackrs_tests::holds_still("no other refork", || {
            process::is_alive(mold) && restarts()["begun"] == 1
        });
        assert!(!fs::read_to_string(server.pid_file()).expect("it is there").is_empty());
    }
}
