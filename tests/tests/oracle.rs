//! The restart oracle tells the truth: what a server loses is in its report, and nothing else.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
    time::Duration,
};

use nix::sys::signal::SIGKILL;
use rackrs_tests::{
    Server, ServerBuilder,
    oracle::{Address, Plan, Release, Report, Subject, watch},
    process,
};
use tempfile::TempDir;

/// How long a load lasts here. Every client has asked some times by then.
const LOAD: Duration = Duration::from_millis(1500);

fn plan(restarts: u32) -> Plan {
    Plan {
        base_line: LOAD,
        restarts,
        between: LOAD,
        limit: rackrs_tests::PATIENCE,
        monotonic: false,
    }
}

/// How a false server treats the requests of its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manners {
    /// Answers each, and closes after it without having said so.
    ClosesAfterAnswers,
    /// Reads each tenth and closes.
    ClosesAfterRequests,
    /// Answers with another's id.
    MixesUp,
    /// Answers with half of the promised body, and closes.
    Cuts,
    /// Answers 503.
    Refuses,
    /// Says that it is a release to come.
    Foretells,
}

/// A server of GETs that has the worst manners, in a folder of its own; its threads end with the
/// test.
struct FalseServer {
    folder: TempDir,
    subject: Subject,
}

impl FalseServer {
    fn start(manners: Manners) -> Self {
        let folder = TempDir::with_prefix("rackrs-test-").expect("a temporary folder can be made");
        let socket = folder.path().join("web.sock");
        let listener = UnixListener::bind(&socket).expect("a socket can be bound");
        let pid_file = folder.path().join("web.pid");
        write(&pid_file, &std::process::id().to_string());
        let release = Release::first(folder.path()).expect("the test's folder can be written");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || serve(&stream, manners));
            }
        });
        let addresses = vec![Address::Unix(socket)];
        Self { folder, subject: Subject { addresses, pid_file, release } }
    }

    fn watched(&self) -> Report {
        watch(&self.subject, &plan(0), &mut |_| Ok(()))
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the test's folder can be written");
}

/// Serves GETs of `/id/X` and `/slow/X`; all else is left without an answer.
fn serve(stream: &UnixStream, manners: Manners) -> Option<()> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    for count in 1_u32.. {
        let line = lines.next()?;
        lines.find(String::is_empty)?;
        let path = line.split(' ').nth(1)?;
        let id = path.split(['/', '?']).nth(2)?;
        let marker = if manners == Manners::Foretells { 2 } else { 1 };
        let id = if manners == Manners::MixesUp { "0-0" } else { id };
        let body = format!("{marker} {id} 1");
        let status = if manners == Manners::Refuses { 503 } else { 200 };
        let length = body.len() + if manners == Manners::Cuts { 10 } else { 0 };
        if manners == Manners::ClosesAfterRequests && count == 10 {
            return None;
        }
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n");
        let mut out = stream;
        out.write_all((head + &body).as_bytes()).ok()?;
        if matches!(manners, Manners::ClosesAfterAnswers | Manners::Cuts) {
            return None;
        }
    }
    None
}

/// What clients of this name saw in the base line: requests, answered, lost, closed idle.
fn seen(report: &Report, name: &str) -> (u64, u64, u64, u64) {
    let client = report.base_line.clients.iter().find(|client| client.name == name);
    let client = client.unwrap_or_else(|| panic!("no client {name} in {report}"));
    (client.requests, client.answered, client.lost, client.closed_idle)
}

const KEPT: &str = "GET, kept, unix";

#[test]
fn a_connection_that_was_closed_in_time_loses_nothing() {
    let report = FalseServer::start(Manners::ClosesAfterAnswers).watched();
    let (requests, answered, lost, closed_idle) = seen(&report, KEPT);
    assert!(requests > 10 && answered == requests && lost == 0, "{report}");
    // Every connection but the last, which was not looked at again.
    assert_eq!(closed_idle, requests - 1, "{report}");
}

#[test]
fn a_request_that_was_read_and_not_answered_is_lost() {
    let report = FalseServer::start(Manners::ClosesAfterRequests).watched();
    let (requests, answered, lost, _) = seen(&report, KEPT);
    assert!(lost > 0 && lost == requests / 10 && answered + lost == requests, "{report}");
    assert!(report.to_string().contains("the connection ended without an answer"), "{report}");
}

#[test]
fn a_wrong_answer_is_lost() {
    for (manners, why) in [
        (Manners::MixesUp, "somebody else's answer"),
        (Manners::Cuts, "the answer was cut"),
        (Manners::Refuses, "answered 503"),
    ] {
        let report = FalseServer::start(manners).watched();
        let (requests, answered, lost, _) = seen(&report, KEPT);
        assert!(requests > 0, "{report}");
        // The id that all are answered with is that of one request.
        let right = u64::from(manners == Manners::MixesUp);
        assert!(answered <= right && answered + lost == requests, "{manners:?} {report}");
        assert!(report.to_string().contains(why), "{manners:?} {report}");
    }
}

#[test]
fn a_release_that_answers_before_its_time_is_seen() {
    let report = FalseServer::start(Manners::Foretells).watched();
    assert!(report.markers.early > 0, "{report}");
}

#[test]
fn a_server_that_is_gone_refuses_and_leaves_a_gap() {
    let server = FalseServer::start(Manners::ClosesAfterAnswers);
    let socket = server.folder.path().join("web.sock");
    let away = server.folder.path().join("away");
    let report = watch(&server.subject, &plan(1), &mut |_| {
        fs::rename(&socket, &away)?;
        fs::remove_file(&server.subject.pid_file)?;
        thread::park_timeout(LOAD);
        fs::rename(&away, &socket)?;
        write(&server.subject.pid_file, &std::process::id().to_string());
        Ok(())
    });
    assert!(report.restarted.refused > 100, "{report}");
    assert!(report.restarted.fast.gap_ms > 1000.0, "{report}");
    assert!(report.restarted.pid_file.longest_fault_ms > 1000.0, "{report}");
    assert_eq!(report.base_line.refused + report.base_line.pid_file.faults, 0, "{report}");
    // Complete, as it says, but the old release answers.
    assert!(report.markers.late > 0, "{report}");
}

#[test]
fn a_killed_worker_loses_what_it_held() {
    let (server, subject) = serving(ServerBuilder::new("release.ru").args("-w 2 -t 8:8"));
    let report = watch(&subject, &plan(2), &mut |_| {
        let text = server.get("/id/who").expect(200).text();
        let worker = text.rsplit(' ').next().and_then(|pid| pid.parse().ok());
        process::send(worker.expect("the answer ends with a pid"), SIGKILL);
        Ok(())
    });
    assert_eq!((report.base_line.lost, report.base_line.refused), (0, 0), "{report}");
    assert!(report.restarted.lost > 0, "{report}");
    assert_eq!(report.restarted.refused, 0, "the master keeps its sockets\n{report}");
}

#[test]
fn a_restart_that_never_comes_is_told() {
    let (_server, subject) = serving(ServerBuilder::new("release.ru"));
    let plan = Plan { limit: LOAD, ..plan(3) };
    let report = watch(&subject, &plan, &mut |round| round.settle());
    assert!(report.restarts.is_empty(), "{report}");
    let failure = report.failure.as_deref().unwrap_or_default();
    assert!(failure.contains("release 2 did not take over within"), "{report}");
    assert_eq!((report.restarted.lost, report.restarted.refused), (0, 0), "{report}");
}

fn serving(builder: ServerBuilder) -> (Server, Subject) {
    let release = Release::first(builder.folder()).expect("the test's folder can be written");
    let server = builder.start();
    let addresses = vec![Address::Unix(server.socket().to_owned())];
    let pid_file = server.pid_file().to_owned();
    (server, Subject { addresses, pid_file, release })
}
