//! An application that cannot be loaded: Ruby's own words, one line of ours, a failure, nothing left.

use rackrs_tests::{Finished, ServerBuilder, both_racks};

/// What an application does instead of loading, and what must be said of it.
const FAILURES: &[(&str, &str, &[&str])] = &[
    (
        "raise",
        "def build\n  raise ArgumentError, 'no such shop'\nend\nbuild\n",
        &["no such shop", "ArgumentError", "config.ru:2", "config.ru:4"],
    ),
    ("syntax", "run ->(env) { [200, {}, ['x'] }\n", &["config.ru:1", "syntax error"]),
    ("require", "require 'no/such/library'\n", &["no/such/library", "LoadError"]),
    ("name", "run NoSuchThing\n", &["NoSuchThing", "NameError"]),
    ("exit", "exit\n", &["config.ru:1"]),
    ("exit 3", "exit 3\n", &["config.ru:1"]),
    ("abort", "abort 'the application gave up'\n", &["the application gave up"]),
    ("exit!", "exit!\n", &[]),
    ("killed", "Process.kill(:KILL, Process.pid)\nsleep\n", &["SIGKILL"]),
    ("throw", "throw :nothing_catches_this\n", &["nothing_catches_this"]),
    ("no run", "# no run here\n", &[]),
    ("thread exit", "Thread.exit\n", &[]),
    ("deep", "def deep = deep\ndeep\n", &["SystemStackError"]),
    ("empty interrupt", "raise Interrupt\n", &["Interrupt"]),
];

/// What is wrong with what was said of a failure, if anything.
fn fault(name: &str, words: &[&str], failed: &Finished) -> Option<String> {
    let text = failed.text();
    let prefixes = ["rackrs: cannot load ", "! cannot load "];
    let ours = text.lines().filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)));
    let missing = words.iter().find(|word| !text.contains(**word));
    let wrong = match (missing, ours.count()) {
        (Some(word), _) => format!("no {word:?}"),
        (None, 1) if text.contains("panicked") => "a panic".to_owned(),
        (None, 1) if text.contains("starting another") => "says that another is started".to_owned(),
        (None, 1) => return None,
        (None, count) => format!("{count} lines of ours instead of one"),
    };
    Some(format!("{name}: {wrong} in {}", failed.err))
}

/// Starts each of the broken applications, as `prepare` makes it.
fn assert_all_told(prepare: impl Fn(ServerBuilder) -> ServerBuilder) {
    let faults: Vec<_> = FAILURES
        .iter()
        .filter_map(|(name, source, words)| {
            fault(name, words, &prepare(ServerBuilder::of_source(source)).run_in_vain())
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

both_racks! {
    fn every_failure_is_told_and_leaves_nothing(rack) {
        assert_all_told(|builder| builder.rack(&rack));
    }

    fn every_failure_is_told_by_the_daemon_command_too(rack) {
        assert_all_told(|builder| builder.rack(&rack).daemon());
    }
}

#[test]
fn failures_in_cluster_mode_are_told_once() {
    let failed = ServerBuilder::of_source("raise 'told once'\n").args("-w 3").run_in_vain();
    assert_eq!(failed.text().matches("told once").count(), 1, "{failed}");
}

#[test]
fn a_missing_rackup_file_is_named() {
    for daemon in [false, true] {
        let builder = ServerBuilder::bare().arg("no_such.ru");
        let builder = if daemon { builder.daemon() } else { builder };
        let failed = builder.run_in_vain();
        failed.assert_says("no_such.ru");
    }
    ServerBuilder::bare().run_in_vain().assert_says("config.ru");
}

#[test]
fn a_folder_is_no_rackup_file() {
    let builder = ServerBuilder::bare();
    let folder = builder.folder().to_owned();
    builder.arg(&folder).run_in_vain().assert_says(&folder.to_string_lossy());
}

#[test]
fn a_missing_rack_is_told() {
    // A load path without Rack: RubyGems is off, and a `rack.rb` that fails as a missing one does.
    let builder = ServerBuilder::new("hello.ru")
        .file("rack.rb", "raise LoadError, 'cannot load such file -- rack'\n");
    let folder = builder.folder().to_owned();
    let failed = builder.env("RUBYLIB", folder).run_in_vain();
    failed.assert_says("cannot load such file -- rack");
    failed.assert_says("LoadError");
}

#[test]
fn an_at_exit_of_a_broken_application_runs_once() {
    let source = "at_exit { warn 'last words' }\nraise 'too bad'\n";
    let failed = ServerBuilder::of_source(source).run_in_vain();
    assert_eq!(failed.err.matches("last words").count(), 1, "{failed}");
}

#[test]
fn a_bad_folder_for_the_socket_or_pid_file_is_named_before_anything_starts() {
    let failed = ServerBuilder::new("hello.ru")
        .no_unix()
        .args("-b unix:///nonexistent/web.sock")
        .run_in_vain();
    failed.assert_says("/nonexistent/web.sock");
    let pid_file = std::path::Path::new("/nonexistent/web.pid");
    let failed = ServerBuilder::new("hello.ru").pid_file_at(pid_file).run_in_vain();
    failed.assert_says("/nonexistent/web.pid");
    ServerBuilder::new("hello.ru")
        .args("--dir /nonexistent")
        .run_in_vain()
        .assert_says("/nonexistent");
}

#[test]
fn an_application_that_hangs_at_load_is_ended_by_the_boot_limit() {
    let builder = ServerBuilder::of_source("sleep\n").args("--load-timeout 1");
    let failed = builder.run_in_vain();
    failed.assert_says("--load-timeout");
}

#[test]
fn a_stop_during_the_load_is_obeyed() {
    use rackrs_tests::{eventually, process};
    let builder = ServerBuilder::of_source("File.write('loading', '')\nsleep\n");
    let _guard = builder.guard();
    let mut command = builder.command();
    let (null, reached) = (std::process::Stdio::null, builder.path("loading"));
    let mut child =
        command.stdin(null()).stdout(null()).stderr(null()).spawn().expect("rackrs runs");
    eventually("the application is being loaded", || reached.exists().then_some(()));
    process::send(child.id().cast_signed(), nix::sys::signal::SIGTERM);
    eventually("the server ends", || child.try_wait().expect("a child can be waited for"));
    assert!(!builder.pid_file().exists() && !builder.socket().exists());
    eventually("nobody is left", || process::living_in(builder.folder()).is_empty().then_some(()));
}
