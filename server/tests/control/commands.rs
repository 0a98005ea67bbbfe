//! Every command: what is asked, what is printed, for people and for programs.

use std::ffi::OsStr;

use rackrs::control::{Reply, Request, ServerState, Stats, WorkerBacktraces, WorkerChange};
use serde_json::json;

use crate::{
    fake_master::{FakeMaster, serving, stats},
    place::{Place, rackrsctl},
};

fn done(message: &str) -> Reply {
    Reply::Done { message: message.to_owned() }
}

#[test]
fn status_is_a_table_or_json() {
    let place = Place::new();
    let master = FakeMaster::saying(&place.socket(), stats());
    place.ctl("status").is("\
rackrs 0.1.0 is serving, pid 4711
  up          1 min, since 2026-11-22T10:00:00Z
  generation  2
  listening   unix:///tmp/web_server.sock
  pid file    /tmp/web_server.pid
  workers     1 ready, 1 wanted
  restarts    1 begun, 1 succeeded, 0 failed

slot  gen   pid  state     up  requests  busy  queue  memory  oldest request
   0    2  4712  ready  1 min        17   1/5      0  64 MiB  2.0 s  GET /slow");
    assert_eq!(place.ctl("status --json").json(), serde_json::to_value(serving()).unwrap());
    assert_eq!(master.asked(), [Request::Status, Request::Status]);
}

#[test]
fn status_says_by_its_exit_status_whether_it_serves() {
    for (state, status) in [
        (ServerState::Starting, 4),
        (ServerState::Serving, 0),
        (ServerState::Restarting, 0),
        (ServerState::Stopping, 4),
    ] {
        let place = Place::new();
        let stats = Stats { state, ..serving() };
        let _master = FakeMaster::saying(&place.socket(), Reply::Stats(Box::new(stats)));
        assert_eq!(place.ctl("status").status, status, "{state:?}");
        assert_eq!(place.ctl("-j status").status, status, "{state:?}");
        assert_eq!(place.ctl("stats").status, 0, "{state:?}");
    }
}

#[test]
fn stats_are_json_in_many_lines_or_one() {
    let place = Place::new();
    let master = FakeMaster::saying(&place.socket(), stats());
    let said = place.ctl("stats");
    assert!(said.status == 0 && said.out.lines().count() > 30, "{said:?}");
    assert_eq!(serde_json::from_str::<Stats>(&said.out).unwrap(), serving());
    assert_eq!(place.ctl("stats -j").json(), serde_json::to_value(serving()).unwrap());
    assert_eq!(master.asked(), [Request::Stats, Request::Stats]);
}

#[test]
fn commands_print_the_masters_words() {
    let place = Place::new();
    let master = FakeMaster::saying(&place.socket(), done("it is\ndone"));
    for words in ["reload-logs", "workers +1", "workers -2", "workers 3"] {
        place.ctl(words).is("it is done");
        let reply = json!({ "reply": "done", "message": "it is\ndone" });
        assert_eq!(place.ctl(&format!("-j {words}")).json(), reply);
    }
    let asked = [
        Request::ReloadLogs,
        Request::Workers(WorkerChange::Add(1)),
        Request::Workers(WorkerChange::Remove(2)),
        Request::Workers(WorkerChange::Set(3)),
    ];
    let twice: Vec<Request> = asked.into_iter().flat_map(|one| [one.clone(), one]).collect();
    assert_eq!(master.asked(), twice);
}

#[test]
fn backtraces_are_of_all_workers_or_one() {
    let place = Place::new();
    let workers = vec![WorkerBacktraces { slot: 3, pid: 9, text: "a.rb:1\nb.rb:2".into() }];
    let master = FakeMaster::saying(&place.socket(), Reply::Backtraces { workers });
    place.ctl("backtraces").is("Worker 3 (PID: 9)\na.rb:1\nb.rb:2\n");
    let json = place.ctl("backtraces 3 -j").json();
    assert_eq!(json["workers"][0]["text"], "a.rb:1\nb.rb:2");
    let asked = [Request::Backtraces { worker: None }, Request::Backtraces { worker: Some(3) }];
    assert_eq!(master.asked(), asked);
}

#[test]
fn a_refusal_is_one_line() {
    let place = Place::new();
    let reason = "cannot have 9 workers: 8 is the most".to_owned();
    let _master = FakeMaster::saying(&place.socket(), Reply::Refused { reason: reason.clone() });
    for words in ["workers 9", "refork", "stop", "stats", "backtraces"] {
        place.ctl(words).fails(1, &reason);
    }
    place.ctl("status").fails(4, &reason);
    let said = place.ctl("workers 9 -j");
    assert_eq!(said.status, 1);
    assert_eq!(said.json(), json!({ "error": reason, "exit_status": 1 }));
}

#[test]
fn an_answer_to_another_question_is_not_believed() {
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), done("x"));
    place.ctl("stats").fails(1, "it answered something else");
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), stats());
    place.ctl("reload-logs").fails(1, "it answered something else");
}

#[test]
fn the_server_is_found_by_url_and_by_state_file() {
    let place = Place::new();
    let _master = FakeMaster::saying(&place.socket(), done("done"));
    let url = format!("unix://{}", place.socket().display());
    let words = |words: [&str; 3]| rackrsctl(words.map(OsStr::new));
    words(["-C", &url, "reload-logs"]).is("done");
    let state = place.at("web_server.state");
    let pid = std::process::id();
    std::fs::write(&state, format!("---\npid: {pid}\ncontrol_url: \"{url}\"\n")).unwrap();
    words(["-S", state.to_str().unwrap(), "reload-logs"]).is("done");
    std::fs::write(&state, format!("pid: {pid}\ncontrol_url: tcp://127.0.0.1:9\n")).unwrap();
    words(["-S", state.to_str().unwrap(), "reload-logs"]).fails(64, "a control socket is a file");
    std::fs::write(&state, "pid: x\n").unwrap();
    words(["-S", state.to_str().unwrap(), "reload-logs"]).fails(1, "which is no process");
}

#[test]
fn words_that_cannot_be_obeyed_end_with_64() {
    let place = Place::new();
    place.ctl("explode").fails(64, "unrecognized subcommand 'explode'");
    let said = place.ctl("--json workers x");
    assert_eq!((said.status, &said.json()["exit_status"]), (64, &json!(64)));
    assert!(place.ctl("--version").out.starts_with("rackrsctl version "));
    assert!(place.ctl("--help").out.contains("phased-restart"));
}
