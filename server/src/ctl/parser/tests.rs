//! Words of `rackrsctl`, and what they come to mean.

use super::*;

fn run(line: &str) -> Result<Parsed, CtlError> {
    parse(["rackrsctl"].into_iter().chain(line.split_whitespace()).map(OsString::from))
}

fn asked(line: &str) -> Asked {
    match run(line) {
        Ok(Parsed::Asked(asked)) => asked,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    let error = run(line).expect_err(line);
    assert_eq!((error.exit_code(), error.status_exit_code()), (64, 64), "{line}");
    let text = error.to_string();
    let inner = text
        .strip_prefix("cannot read the command line: ")
        .and_then(|text| text.strip_suffix("; see rackrsctl --help"));
    inner.expect(&text).to_owned()
}

#[test]
fn the_parser_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_command_has_a_meaning() {
    for known in commands() {
        let name = known.get_name();
        let line = if name == "workers" { "workers 2" } else { name };
        assert!(!asked(line).json);
    }
    assert_eq!(asked("status").command, Command::Status);
    assert_eq!(asked("stats").command, Command::Stats);
    assert_eq!(asked("reload-logs").command, Command::Simple(Request::ReloadLogs));
    let all = Command::Simple(Request::Backtraces { worker: None });
    assert_eq!(asked("backtraces").command, all);
    assert_eq!(asked("thread-backtraces").command, all);
    let one = Command::Simple(Request::Backtraces { worker: Some(3) });
    assert_eq!(asked("backtraces 3").command, one);
}

#[test]
fn restarts_wait_when_told_to() {
    let restart = |request, wait| Command::Restart { request, wait };
    assert_eq!(asked("restart").command, restart(Request::Restart, None));
    assert_eq!(
        asked("phased-restart --wait").command,
        restart(Request::PhasedRestart, Some(Duration::from_mins(10)))
    );
    assert_eq!(
        asked("refork --wait --timeout 2.5").command,
        restart(Request::Refork, Some(Duration::from_millis(2500)))
    );
    assert_eq!(refused("restart --timeout 5"), "an argument of the command is missing");
}

#[test]
fn ends_are_waited_for() {
    let end = |request, seconds| Command::End { request, limit: Duration::from_secs(seconds) };
    assert_eq!(asked("stop").command, end(Request::Stop, 60));
    assert_eq!(asked("halt --timeout 5").command, end(Request::Halt, 5));
    assert!(refused("stop --timeout never").starts_with("invalid value 'never' for '--timeout"));
}

#[test]
fn a_number_of_workers_has_a_sign_or_none() {
    for (line, change) in [
        ("workers +1", WorkerChange::Add(1)),
        ("workers -1", WorkerChange::Remove(1)),
        ("workers 12 -j", WorkerChange::Set(12)),
    ] {
        assert_eq!(asked(line).command, Command::Simple(Request::Workers(change)), "{line}");
    }
    for wrong in ["", "0", "+0", "-0", "+", "++1", "1.5", "x", "65536"] {
        refused(&format!("workers {wrong}"));
    }
}

#[test]
fn options_stand_before_or_after_the_command() {
    let pid_file = |path: &str| Which::PidFile(path.into());
    assert_eq!(asked("status").which, pid_file("/tmp/web_server.pid"));
    for line in ["-P /a.pid -j status", "status --pidfile /a.pid --json", "-j status -P/a.pid"] {
        let asked = asked(line);
        assert_eq!((asked.which, asked.json), (pid_file("/a.pid"), true), "{line}");
    }
    assert_eq!(asked("stop -C unix:///a").which, Which::Url("unix:///a".to_owned()));
    assert_eq!(asked("stop -S a.state").which, Which::StateFile("a.state".into()));
    for line in ["status -P a -C unix:///b", "-P a status -S c", "-P a -C b -S c status"] {
        assert_eq!(refused(line), "--pidfile, --control-url and --state exclude each other");
    }
}

#[test]
fn wrong_words_are_named() {
    assert_eq!(refused(""), "a command is missing");
    assert_eq!(refused("explode"), "unrecognized subcommand 'explode'");
    assert_eq!(refused("status --colour"), "unexpected argument '--colour' found");
    assert_eq!(refused("workers"), "an argument of the command is missing");
}

#[test]
fn help_and_version_are_printed() {
    let printed = |line: &str| match run(line) {
        Ok(Parsed::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(printed("--version"), format!("rackrsctl version {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(printed("-V"), printed("--version"));
    let help = printed("--help");
    for known in commands() {
        assert!(help.contains(known.get_name()), "{help}");
    }
    assert!(help.contains("Exit status:"));
    assert!(printed("restart --help").contains("--wait"));
    assert!(help.lines().all(|line| line.chars().count() <= 88), "{help}");
}
