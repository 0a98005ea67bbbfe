//! `stop` and `halt`, which need a process that really ends: this test's program once more.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rackrs::control::{Reply, Request};
use serde_json::json;

use crate::{
    fake_master::{Act, in_runtime, run, stats},
    place::Place,
};

const SOCKET: &str = "RACKRS_TEST_CONTROL_SOCKET";
const MANNER: &str = "RACKRS_TEST_MANNER";
const READY: &str = "the fake master is ready";

/// The process of a fake master; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Kept open, so that it can go on printing.
    _output: BufReader<ChildStdout>,
}

impl Process {
    /// `manner`: see [`act`]. It serves when this returns.
    pub(crate) fn start(program: &mut Command, socket: &Path, manner: &str) -> Self {
        let mut child = program
            .args(["--exact", "ends::is_a_master_when_told_to", "--nocapture"])
            .env(SOCKET, socket)
            .env(MANNER, manner)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let ready = output.by_ref().lines().map_while(Result::ok).any(|line| line.contains(READY));
        assert!(ready, "it ended before it served");
        Self { child, _output: output }
    }

    fn with_manner(place: &Place, manner: &str) -> Self {
        Self::start(&mut Command::new(env::current_exe().unwrap()), &place.socket(), manner)
    }

    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

#[test]
fn is_a_master_when_told_to() {
    let (Some(socket), Ok(manner)) = (env::var_os(SOCKET), env::var(MANNER)) else { return };
    let ready = || println!("{READY}");
    in_runtime(async {
        run(Path::new(&socket), |request| act(&manner, request), ready).await;
    });
}

fn act(manner: &str, request: &Request) -> Act {
    let done = Reply::Done { message: "stopping".into() };
    match (manner, request) {
        ("polite", Request::Stop) => Act::End(done),
        ("abrupt", Request::Halt) => Act::Vanish,
        ("stubborn", Request::Stop) => Act::Reply(done),
        ("mortal", Request::Restart) => Act::Reply(Reply::Restarting { ticket: 1, queued: false }),
        ("mortal", Request::Stats) => Act::Vanish,
        _ => Act::Reply(stats()),
    }
}

#[test]
fn stop_returns_when_the_process_is_gone() {
    let place = Place::new();
    let master = Process::with_manner(&place, "polite");
    let said = place.ctl("stop");
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let head = format!("rackrs (process {}) has ended after ", master.id());
    assert!(said.out.starts_with(&head) && said.out.ends_with(" s\n"), "{said:?}");
    assert!(!place.socket().exists());
    place.ctl("status").fails(3, "not running");
}

#[test]
fn an_end_without_an_answer_is_an_end() {
    let place = Place::new();
    let master = Process::with_manner(&place, "abrupt");
    let said = place.ctl("halt --json");
    assert_eq!((said.status, &said.json()["pid"]), (0, &json!(master.id())));
}

#[test]
fn the_wait_for_the_end_has_a_limit() {
    let place = Place::new();
    let master = Process::with_manner(&place, "stubborn");
    let part = format!("rackrs (process {}) still runs after 200ms", master.id());
    place.ctl("stop --timeout 0.2").fails(75, &part);
}

#[test]
fn a_server_that_ends_during_a_restart_is_not_waited_for() {
    let place = Place::new();
    let _master = Process::with_manner(&place, "mortal");
    place.ctl("restart --wait").fails(1, "cannot tell how restart 1 ended: rackrs has ended");
}
