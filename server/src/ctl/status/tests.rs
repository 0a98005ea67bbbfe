//! What people see of a server's state.

use super::*;
use crate::control::{OldestRequest, RunningRestart};

fn busy() -> Stats {
    let ready = WorkerStats {
        slot: 0,
        generation: 4,
        pid: Some(1301),
        state: "ready".into(),
        uptime_seconds: 3725.0,
        requests: 12345,
        threads: 5,
        busy_threads: 3,
        queue: 2,
        oldest_request: Some(OldestRequest { line: "GET /slow\x1b[2J".into(), seconds: 12.34 }),
        rss_bytes: Some(120 << 20),
        ..WorkerStats::default()
    };
    let forking = WorkerStats { slot: 10, state: "forking".into(), ..WorkerStats::default() };
    Stats {
        version: "0.1.0".into(),
        pid: 1234,
        started_at: "2026-11-22T10:00:00Z".into(),
        uptime_seconds: 200_000.0,
        state: ServerState::Restarting,
        generation: 4,
        workers_wanted: 2,
        queued_restart: true,
        restarts: Restarts {
            begun: 4,
            succeeded: 2,
            failed: 1,
            running: Some(RunningRestart {
                ticket: 4,
                kind: RestartKind::PhasedRestart,
                stage: "loading".into(),
                seconds: 2.1,
            }),
            last: Some(LastRestart {
                ticket: 3,
                kind: RestartKind::Restart,
                outcome: Outcome::Failed,
                reason: Some("cannot load\nconfig.ru".into()),
                seconds: 1.2,
            }),
        },
        listeners: vec!["unix:///tmp/web_server.sock".into(), "http://[::]:80".into()],
        pid_file: "/tmp/web_server.pid".into(),
        molds: vec![MoldStats {
            generation: 4,
            pid: Some(1240),
            state: "ready".into(),
            seconds: 3.0,
        }],
        workers: vec![ready, forking],
    }
}

#[test]
fn a_busy_server_is_shown_in_columns() {
    let shown = "\
rackrs 0.1.0 is serving and restarting, pid 1234
  up          2 d 7 h, since 2026-11-22T10:00:00Z
  generation  4
  listening   unix:///tmp/web_server.sock
  listening   http://[::]:80
  pid file    /tmp/web_server.pid
  workers     1 ready, 2 wanted
  mold        generation 4: ready, up 3.0 s, pid 1240
  restarts    4 begun, 2 succeeded, 1 failed
  running     restart 4 (phased restart) for 2.1 s: loading; another one is queued
  last        restart 3 (restart) failed after 1.2 s: cannot load config.ru

slot  gen   pid  state           up  requests  busy  queue   memory  oldest request
   0    4  1301  ready    1 h 2 min     12345   3/5      2  120 MiB  12.3 s  GET /slow [2J
  10    0     -  forking      0.0 s         0   0/0      0        -  -
";
    assert_eq!(render(&busy()), shown);
}

#[test]
fn a_server_that_says_little_is_shown_too() {
    let shown = render(&Stats { pid: 5, ..Stats::default() });
    let head = "rackrs  is in a state that this rackrsctl does not know, pid 5\n";
    assert!(shown.starts_with(head), "{shown}");
    for absent in ["restarts", "running", "last", "slot", "pid file"] {
        assert!(!shown.contains(&format!("  {absent} ")), "{shown}");
    }
}

#[test]
fn every_kind_of_end_is_told() {
    let end = |kind, outcome, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        last(&LastRestart { ticket: 1, kind, outcome, reason, seconds: 2.0 })
    };
    assert_eq!(
        end(RestartKind::Refork, Outcome::Succeeded, None),
        "restart 1 (refork) succeeded in 2.0 s"
    );
    assert_eq!(
        end(RestartKind::Unknown, Outcome::Failed, None),
        "restart 1 (unknown kind) failed after 2.0 s"
    );
}

#[test]
fn backtraces_stand_under_their_worker() {
    let workers = [
        WorkerBacktraces { slot: 0, pid: 7, text: "Thread a\n\tx.rb:1\n\n".into() },
        WorkerBacktraces { slot: 1, pid: 8, text: "Thread b\x1b".into() },
    ];
    assert_eq!(
        backtraces(&workers),
        "Worker 0 (PID: 7)\nThread a\n\tx.rb:1\n\nWorker 1 (PID: 8)\nThread b \n\n"
    );
}
