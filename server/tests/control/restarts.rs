//! `restart`, `phased-restart`, `refork`, with and without waiting for their end.

use rackrs::control::{
    LastRestart, Outcome, Reply, Request, RestartKind, Restarts, RunningRestart, Stats,
};
use serde_json::json;

use crate::{
    fake_master::{Act, FakeMaster, serving},
    place::Place,
};

fn begun() -> Reply {
    Reply::Restarting { ticket: 3, queued: false }
}

fn running() -> Reply {
    let running = RunningRestart {
        ticket: 3,
        kind: RestartKind::Restart,
        stage: "loading".into(),
        seconds: 0.1,
    };
    let restarts = Restarts { running: Some(running), ..Restarts::default() };
    Reply::Stats(Box::new(Stats { restarts, ..serving() }))
}

fn ended(outcome: Outcome, reason: Option<&str>) -> Reply {
    let last = LastRestart {
        ticket: 3,
        kind: RestartKind::Restart,
        outcome,
        reason: reason.map(str::to_owned),
        seconds: 4.2,
    };
    let restarts = Restarts { last: Some(last), ..Restarts::default() };
    Reply::Stats(Box::new(Stats { restarts, ..serving() }))
}

/// Acts in this order, then repeats the last.
fn in_turn(acts: Vec<fn() -> Act>) -> impl FnMut(&Request) -> Act + Send + 'static {
    let mut next = 0;
    move |_| {
        let act = acts[next.min(acts.len() - 1)];
        next += 1;
        act()
    }
}

#[test]
fn without_wait_the_beginning_is_told() {
    for (words, request) in [
        ("restart", Request::Restart),
        ("phased-restart", Request::PhasedRestart),
        ("refork", Request::Refork),
    ] {
        let place = Place::new();
        let master = FakeMaster::saying(&place.socket(), begun());
        place.ctl(words).is("restart 3 has begun; rackrsctl status shows how it goes");
        let reply = json!({ "reply": "restarting", "ticket": 3, "queued": false });
        assert_eq!(place.ctl(&format!("{words} -j")).json(), reply);
        assert_eq!(master.asked(), [request.clone(), request]);
    }
    let place = Place::new();
    let queued = Reply::Restarting { ticket: 4, queued: true };
    let _master = FakeMaster::saying(&place.socket(), queued);
    place.ctl("restart").is("restart 4 is queued: another one runs");
}

#[test]
fn with_wait_the_end_is_told_however_quiet_the_server_was() {
    let place = Place::new();
    let acts: Vec<fn() -> Act> = vec![
        || Act::Reply(begun()),
        || Act::Reply(running()),
        || Act::Silence,
        || Act::Reopen(running()),
        || Act::Reply(running()),
        || Act::Reply(ended(Outcome::Succeeded, None)),
    ];
    let master = FakeMaster::start(&place.socket(), in_turn(acts));
    place.ctl("restart --wait").is("restart 3 succeeded in 4.2 s: generation 2 serves");
    assert_eq!(master.asked().len(), 6);
    assert_eq!(master.asked()[..2], [Request::Restart, Request::Stats]);
}

#[test]
fn a_failed_restart_is_told_with_its_reason() {
    let place = Place::new();
    let acts: Vec<fn() -> Act> = vec![
        || Act::Reply(begun()),
        || Act::Reply(ended(Outcome::Failed, Some("cannot load config.ru"))),
        || Act::Reply(begun()),
        || Act::Reply(ended(Outcome::Failed, Some("cannot load config.ru"))),
    ];
    let _master = FakeMaster::start(&place.socket(), in_turn(acts));
    let said = place.ctl("phased-restart --wait");
    assert_eq!((said.status, said.err.as_str()), (1, ""));
    assert_eq!(
        said.out,
        "restart 3 failed after 4.2 s: cannot load config.ru; the old code goes on\n"
    );
    let said = place.ctl("refork --wait -j");
    assert_eq!(said.status, 1);
    let facts = json!({
        "ticket": 3, "kind": "restart", "outcome": "failed", "reason": "cannot load config.ru",
        "seconds": 4.2, "generation": 2
    });
    assert_eq!(said.json(), facts);
}

#[test]
fn the_wait_has_a_limit() {
    let place = Place::new();
    let acts: Vec<fn() -> Act> = vec![|| Act::Reply(begun()), || Act::Reply(running())];
    let _master = FakeMaster::start(&place.socket(), in_turn(acts));
    place
        .ctl("restart --wait --timeout 0.3")
        .fails(75, "restart 3 has not ended after 300ms (loading)");
}

#[test]
fn a_restart_without_an_answer_is_unsure() {
    let place = Place::new();
    let _master = FakeMaster::start(&place.socket(), |_| Act::Vanish);
    place.ctl("restart --wait").fails(1, "cannot tell whether it was done");
}
