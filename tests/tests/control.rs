//! `rackrsctl` against real servers: every command does what it says, and says what it did.

use std::{fs, thread};

use rackrs_tests::{Connection, Server, ServerBuilder, app, ctl::json, eventually, process};
use serde_json::Value;

/// rackrsctl's statuses, as its reference tells them.
const REFUSED: i32 = 1;
const NOT_RUNNING: i32 = 3;
const NOT_SERVING: i32 = 4;
const WRONG_WORDS: i32 = 64;
const TIME_LIMIT: i32 = 75;

/// An application that computes for a while, and waits at its load for a gate that a test may set.
const COMPUTING: &str = "require ENV.fetch('GATE')
Gate.pass('load') if File.exist?(\"#{Gate::FOLDER}/gated\")
run ->(_) { [200, {}, [(1..300_000).sum { |n| n % 7 }.to_s]] }\n";

fn request_at_gate(server: &Server, name: &str) -> Connection {
    let mut busy = server.connect();
    busy.send(format!("GET /gate/{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
    server.await_gate(name);
    busy
}

/// The sum of a field of all workers.
fn total(stats: &Value, field: &str) -> u64 {
    let workers = stats["workers"].as_array().expect("there is a list of workers");
    workers.iter().map(|worker| worker[field].as_u64().expect("it is a count")).sum()
}

/// Waits for stats that `are_so`.
fn await_stats(server: &Server, what: &str, are_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(server.stats()).filter(|stats| are_so(stats)))
}

#[test]
fn stats_tell_what_workers_do() {
    let server = Server::builder("hello.ru").args("-w 1 -t 2:2").start();
    let idle = server.stats();
    assert_eq!((&idle["state"], &idle["generation"]), (&"serving".into(), &1.into()));
    assert_eq!(idle["pid"], server.master());
    assert_eq!(idle["pid_file"].as_str().map(std::path::Path::new), Some(server.pid_file()));
    let mut held = ["a", "b"].map(|name| (name, request_at_gate(&server, name)));
    let mut third = server.connect();
    third.send("GET /third HTTP/1.1\r\nHost: a\r\n\r\n");
    let busy = await_stats(&server, "two are busy and one waits", |stats| {
        total(stats, "busy_threads") == 2 && total(stats, "queue") == 1
    });
    assert_eq!((total(&busy, "threads"), total(&busy, "connections")), (2, 3));
    let worker = &busy["workers"][0];
    assert_eq!(server.read("a.reached"), worker["pid"].to_string());
    let oldest = &worker["oldest_request"];
    assert_eq!(oldest["line"], "GET /gate/a");
    assert!(oldest["seconds"].as_f64().is_some_and(|age| age > 0.0), "{oldest}");
    assert!(worker["rss_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{worker}");
    assert!(worker["io_beat_age_seconds"].is_f64() && worker["ruby_beat_age_seconds"].is_f64());
    let status = server.ctl("status");
    status.assert_success();
    for words in ["is serving", "1 ready, 1 wanted", "GET /gate/a", "2/2"] {
        status.assert_says(words);
    }
    for (name, connection) in &mut held {
        server.open_gate(name);
        assert_eq!(connection.receive().status, 200);
    }
    assert_eq!(third.receive().status, 200);
    let after = await_stats(&server, "three requests are counted and none is left", |stats| {
        total(stats, "requests") == 3 && total(stats, "busy_threads") == 0
    });
    assert_eq!(total(&after, "queue"), 0);
    assert!(after["workers"][0]["oldest_request"].is_null());
}

#[test]
fn stats_tell_how_long_threads_wait_for_each_other() {
    let builder = ServerBuilder::of_source(COMPUTING).env("GATE", app("gate.rb"));
    let server = builder.args("-t 4:4").start();
    let waited = |stats: &Value| stats["workers"][0]["gvl_wait_seconds"].as_f64().unwrap_or(0.0);
    let before = waited(&server.stats());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = server.connect();
                (0..5).for_each(|_| assert_eq!(connection.get("/").status, 200));
            });
        }
    });
    // Four threads that compute have waited for three others each.
    await_stats(&server, "the waiting is told", |stats| waited(stats) > before + 0.01);
}

#[test]
fn status_says_whether_it_serves() {
    let source = COMPUTING;
    let builder = ServerBuilder::of_source(source).env("GATE", app("gate.rb")).file("gated", "");
    let _guard = builder.guard();
    let (reached, open) = (builder.path("load.reached"), builder.path("load.open"));
    let (pid_file, folder) = (builder.pid_file().to_owned(), builder.folder().to_owned());
    let mut server = thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the application is being loaded", || reached.exists().then_some(()));
            let words = ["-P".as_ref(), pid_file.as_os_str(), "status".as_ref()];
            let status = rackrs_tests::ctl::ctl(&folder, &words);
            fs::write(&open, "").expect("the test's folder can be written");
            assert_eq!(status.code(), NOT_SERVING, "{status}");
            status.assert_says("is starting");
        });
        builder.start()
    });
    for gate in [&reached, &open] {
        fs::remove_file(gate).expect("it is there");
    }
    server.ctl("restart").assert_says("restart 1 has begun");
    eventually("the new application is being loaded", || reached.exists().then_some(()));
    let status = server.ctl("status");
    assert_eq!(status.code(), 0, "{status}");
    status.assert_says("is serving and restarting");
    assert_eq!(server.stats()["restarts"]["running"]["kind"], "restart");
    server.ctl("restart").assert_says("restart 2 is queued");
    fs::write(&open, "").expect("the test's folder can be written");
    await_stats(&server, "both restarts end", |stats| stats["restarts"]["succeeded"] == 2);
    server.ctl("stop").assert_success();
    server.await_end();
    let status = server.ctl("status");
    assert_eq!(status.code(), NOT_RUNNING, "{status}");
}

#[test]
fn a_restart_that_is_waited_for_tells_its_end() {
    let builder = ServerBuilder::of_source("run ->(_) { [200, {}, ['1']] }\n").args("-w 2");
    let server = builder.start();
    let kinds =
        [("restart", "restart"), ("phased-restart", "phased_restart"), ("refork", "refork")];
    for (number, (command, kind)) in (1..).zip(kinds) {
        let before = server.ready_workers();
        let generation = server.stats()["generation"].as_u64().expect("a number");
        let ended = json(&server.ctl(&format!("{command} --wait --json")));
        assert_eq!((&ended["ticket"], &ended["kind"]), (&Value::from(number), &kind.into()));
        assert_eq!(ended["outcome"], "succeeded");
        assert_eq!(ended["generation"], generation + 1);
        let after = server.await_workers(2);
        assert!(after.iter().all(|pid| !before.contains(pid)), "{command}: {before:?} {after:?}");
        assert_eq!(server.stats()["pid"], server.master());
    }
    let said = server.ctl("restart --wait");
    said.assert_success();
    said.assert_says("restart 4 succeeded in ");
}

#[test]
fn a_restart_that_fails_tells_why_and_the_old_code_goes_on() {
    let good = "run ->(_) { [200, {}, [File.read(\"#{ENV['FOLDER']}/word\")]] }\n";
    let server = ServerBuilder::of_source(good).file("word", "good").start();
    let worker = server.ready_workers();
    fs::write(server.path("config.ru"), "raise 'no such shop'\n").expect("it is ours");
    for command in ["restart", "phased-restart"] {
        let failed = server.ctl(&format!("{command} --wait"));
        assert_eq!(failed.code(), REFUSED, "{failed}");
        failed.assert_says("no such shop");
        failed.assert_says("the old code goes on");
        let failed = server.ctl(&format!("{command} --wait -j"));
        assert_eq!(failed.code(), REFUSED, "{failed}");
        let ended = json(&failed);
        assert_eq!(ended["outcome"], "failed");
        assert!(
            ended["reason"].as_str().is_some_and(|why| why.contains("no such shop")),
            "{ended}"
        );
        assert_eq!(server.get("/").expect(200).text(), "good");
        assert_eq!(server.ready_workers(), worker);
    }
    fs::write(server.path("config.ru"), good).expect("it is ours");
    server.ctl("restart --wait").assert_success();
    assert_eq!(server.stats()["restarts"]["failed"], 4);
}

#[test]
fn a_wait_has_a_limit_and_the_restart_goes_on() {
    let builder = ServerBuilder::of_source(COMPUTING).env("GATE", app("gate.rb"));
    let server = builder.start();
    fs::write(server.path("gated"), "").expect("the test's folder can be written");
    let given_up = server.ctl("restart --wait --timeout 0.2");
    assert_eq!(given_up.code(), TIME_LIMIT, "{given_up}");
    server.open_gate("load");
    await_stats(&server, "it ends", |stats| stats["restarts"]["succeeded"] == 1);
}

#[test]
fn the_number_of_workers_is_changed() {
    let server = Server::builder("hello.ru").args("-w 2").start();
    for (word, count) in [("+1", 3), ("-2", 1), ("3", 3), ("-9", 1)] {
        let done = server.ctl(&format!("workers {word}"));
        done.assert_success();
        done.assert_says(&format!("workers: {count}"));
        server.await_workers(count);
    }
    let refused = server.ctl("workers 65535");
    assert_eq!(refused.code(), REFUSED, "{refused}");
    refused.assert_says("must be from 1 to ");
    for wrong in ["many", "0", "+0"] {
        assert_eq!(server.ctl(&format!("workers {wrong}")).code(), WRONG_WORDS, "{wrong}");
    }
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn backtraces_tell_where_threads_are() {
    let server = Server::builder("hello.ru").args("-w 2 -t 1:1").start();
    let mut busy = request_at_gate(&server, "held");
    let pid: i32 = server.read("held.reached").parse().expect("a pid");
    let all = server.ctl("backtraces");
    all.assert_success();
    for words in ["Worker 0 (PID: ", "Worker 1 (PID: ", "gate.rb:"] {
        all.assert_says(words);
    }
    let answer = json(&server.ctl("-j thread-backtraces"));
    let workers = answer["workers"].as_array().expect("there is a list of workers");
    assert_eq!(workers.len(), 2);
    for worker in workers {
        let slot = &worker["slot"];
        let one = server.ctl(&format!("backtraces {slot}"));
        one.assert_success();
        assert_eq!(one.out.contains("gate.rb:"), worker["pid"] == pid, "{one}");
    }
    let refused = server.ctl("backtraces 7");
    assert_eq!(refused.code(), REFUSED, "{refused}");
    refused.assert_says("no worker serves in slot 7");
    server.open_gate("held");
    assert_eq!(busy.receive().status, 200);
}

#[test]
fn stop_waits_for_the_end_and_for_requests() {
    let mut server = Server::builder("hello.ru").args("-w 2").start();
    let mut busy = request_at_gate(&server, "held");
    let given_up = server.ctl("stop --timeout 0.1");
    assert_eq!(given_up.code(), TIME_LIMIT, "{given_up}");
    let status = server.ctl("status");
    assert_eq!(status.code(), NOT_SERVING, "{status}");
    status.assert_says("is stopping");
    let refused = server.ctl("restart");
    assert_eq!(refused.code(), REFUSED, "{refused}");
    server.open_gate("held");
    assert_eq!(busy.receive().status, 200);
    server.await_end();
    server.assert_nobody_left();

    for (command, daemon) in [("stop", false), ("halt", false), ("stop", true), ("halt", true)] {
        let builder = Server::builder("hello.ru").args("-w 2");
        let mut server = if daemon { builder.daemon().start() } else { builder.start() };
        let mut busy = (command == "halt").then(|| request_at_gate(&server, "never"));
        let master = server.master();
        let ended = json(&server.ctl(&format!("{command} --json")));
        assert_eq!(ended["pid"], master);
        assert!(!process::is_alive(master), "it is gone when the command returns");
        let status = server.await_end();
        assert!(status.is_none_or(|status| status.code() == Some(0)), "{status:?}");
        server.assert_nobody_left();
        assert!(!server.pid_file().exists() && !server.socket().exists());
        if let Some(busy) = &mut busy {
            assert!(busy.try_receive().is_none());
        }
        let again = server.ctl(command);
        assert_eq!(again.code(), NOT_RUNNING, "{again}");
    }
}

#[test]
fn every_answer_is_a_line_of_json_where_that_is_wanted() {
    let mut server = Server::builder("hello.ru").start();
    let good = [
        "status",
        "stats",
        "restart",
        "restart --wait",
        "phased-restart --wait",
        "refork --wait",
        "workers 1",
        "reload-logs",
        "backtraces",
        "backtraces 0",
    ];
    for words in good {
        let finished = server.ctl(&format!("-j {words}"));
        finished.assert_success();
        assert!(json(&finished).is_object() && finished.err.is_empty(), "{finished}");
    }
    for (words, status) in
        [("workers 65535", REFUSED), ("backtraces 9", REFUSED), ("dance", WRONG_WORDS)]
    {
        let finished = server.ctl(&format!("{words} -j"));
        assert_eq!(finished.code(), status, "{finished}");
        let error = json(&finished);
        assert_eq!(error["exit_status"], status);
        assert!(error["error"].is_string() && finished.err.is_empty(), "{finished}");
    }
    server.ctl("-j stop").assert_success();
    server.await_end();
    for words in ["status", "stats", "restart", "stop", "halt", "reload-logs"] {
        let finished = server.ctl(&format!("-j {words}"));
        assert_eq!(json(&finished)["exit_status"], NOT_RUNNING, "{finished}");
        assert_eq!(finished.code(), NOT_RUNNING);
    }
}
