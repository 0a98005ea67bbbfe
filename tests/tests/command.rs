//! The command line: help, version, wrong words, `--check`, `--show-config`, completions, man page.

use nix::sys::signal::SIGTERM;
use rackrs_tests::{Finished, Server, ServerBuilder, eventually, process};

/// sysexits(3): the command was used wrongly.
const EX_USAGE: i32 = 64;

fn plain(line: &str) -> Finished {
    ServerBuilder::bare().args(line).run_plain()
}

#[test]
fn help_is_grouped_and_goes_to_standard_output() {
    for flag in ["-h", "--help"] {
        let help = plain(flag);
        help.assert_success();
        assert_eq!(help.err, "");
        for word in [
            "--bind",
            "--port",
            "--environment",
            "--threads",
            "--workers",
            "--pidfile",
            "--dir",
            "--tag",
            "--include",
            "--preload",
            "--quiet",
            "--silent",
            "--log-requests",
            "--daemon",
            "--redirect-stdout",
            "--redirect-stderr",
            "--redirect-append",
            "--check",
            "--show-config",
            "--yjit",
        ] {
            help.assert_says(word);
        }
        let headings =
            help.out.lines().filter(|line| line.ends_with(':') && !line.starts_with(' '));
        assert!(headings.count() >= 3, "not grouped: {help}");
        assert!(help.out.lines().all(|line| line.chars().count() <= 100), "too wide: {help}");
    }
}

#[test]
fn version_is_one_line() {
    for flag in ["-V", "--version"] {
        let version = plain(flag);
        version.assert_success();
        assert!(version.out.starts_with("rackrs "), "{version}");
        assert_eq!(version.out.lines().count(), 1, "{version}");
    }
}

#[test]
fn an_unknown_flag_names_the_nearest() {
    for (wrong, near) in [
        ("--thread", "--threads"),
        ("--pid-file", "--pidfile"),
        ("--bnd", "--bind"),
        ("--deamon", "--daemon"),
    ] {
        let refused = plain(wrong);
        assert_eq!(refused.code(), EX_USAGE, "{refused}");
        assert_eq!(refused.out, "", "an error goes to standard error");
        refused.assert_says(wrong);
        refused.assert_says(near);
    }
}

#[test]
fn a_flag_like_nothing_suggests_nothing_wrong() {
    let refused = plain("--qqqqqqqqqqqq");
    assert_eq!(refused.code(), EX_USAGE, "{refused}");
    refused.assert_says("--qqqqqqqqqqqq");
}

#[test]
fn wrong_values_are_refused_by_name() {
    let cases = [
        ("-t many", "many"),
        ("-t 5:2", "5:2"),
        ("-w -1", "-1"),
        ("-w some", "some"),
        ("-p 70000", "70000"),
        ("-b ftp://x", "ftp"),
        ("-b unix://", "unix://"),
        ("-b tcp://127.0.0.1:x", "tcp://127.0.0.1:x"),
    ];
    for (line, named) in cases {
        let refused = plain(line);
        refused.assert_failure();
        refused.assert_says(named);
        assert!(!refused.err.contains("panicked"), "{refused}");
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_with_the_limit() {
    let long = format!("unix:///tmp/{}", "x".repeat(120));
    let refused = ServerBuilder::new("hello.ru").no_unix().arg("-b").arg(long).run();
    refused.assert_failure();
    refused.assert_says("107");
}

#[test]
fn words_of_later_versions_are_known() {
    for line in ["-C config/puma.rb", "--control-token x", "--plugin x", "--idle-timeout 3"] {
        let answer = ServerBuilder::new("hello.ru").args(line).arg("--check").run();
        answer.assert_failure();
        let said = answer.text();
        assert!(said.contains("yet") || said.contains("not supported"), "{line}: {answer}");
        assert!(!said.contains("did you mean"), "{line} is a known word: {answer}");
    }
}

#[test]
fn two_applications_are_one_too_many() {
    let refused = ServerBuilder::new("hello.ru").arg("other.ru").run_in_vain();
    assert_eq!(refused.code(), EX_USAGE, "{refused}");
}

#[test]
fn check_of_a_good_application_says_so_and_serves_nothing() {
    let server = ServerBuilder::new("hello.ru").arg("--check");
    let checked = server.run();
    checked.assert_success();
    assert!(!server.pid_file().exists() && !server.socket().exists(), "{checked}");
}

#[test]
fn check_of_a_broken_application_fails_with_rubys_words() {
    let checked =
        ServerBuilder::of_source("raise 'broken on purpose'\n").arg("--check").run_in_vain();
    checked.assert_says("broken on purpose");
    checked.assert_says("config.ru:1");
}

#[test]
fn check_leaves_a_running_server_alone() {
    let server = Server::builder("hello.ru").start();
    let checked = ServerBuilder::new("hello.ru")
        .no_unix()
        .arg("--check")
        .arg("-b")
        .arg(format!("unix://{}", server.socket().display()))
        .run();
    checked.assert_success();
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn show_config_names_values_and_where_they_came_from() {
    let builder =
        ServerBuilder::new("hello.ru").args("--show-config -t 3:7 -w 2").env("RACK_ENV", "staging");
    let shown = builder.run();
    shown.assert_success();
    let line_of = |word: &str| {
        let found = shown.out.lines().find(|line| line.trim_start().starts_with(word));
        found.unwrap_or_else(|| panic!("no {word} in {shown}")).to_owned()
    };
    let words =
        |word: &str| line_of(word).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("threads-min"), ["threads-min", "3", "--threads"]);
    assert_eq!(words("threads-max"), ["threads-max", "7", "--threads"]);
    assert_eq!(words("workers"), ["workers", "2", "--workers"]);
    assert!(line_of("environment").contains("staging"), "{shown}");
    assert!(line_of("environment").contains("RACK_ENV"), "{shown}");
    assert!(shown.out.contains("default"), "{shown}");
}

#[test]
fn the_defaults_are_those_of_the_hosts_it_is_made_for() {
    let shown = ServerBuilder::new("hello.ru").no_unix().arg("--show-config").run_plain();
    shown.assert_success();
    shown.assert_says("unix:///tmp/web_server.sock");
    shown.assert_says("/tmp/web_server.pid");
}

#[test]
fn completions_man_page_and_reference_come_from_the_flag_table() {
    for shell in ["bash", "zsh", "fish"] {
        let script = plain(&format!("--generate complete-{shell}"));
        script.assert_success();
        script.assert_says("rackrs");
        script.assert_says("show-config");
    }
    let page = plain("--generate man");
    page.assert_success();
    assert!(page.out.contains(".TH"), "{page}");
    page.assert_says("show\\-config");
    let reference = plain("--generate markdown");
    let kept = std::fs::read_to_string(rackrs_tests::root().join("docs/reference/options.md"));
    assert_eq!(
        reference.out,
        kept.expect("the reference is kept"),
        "make it anew by rackrs --generate markdown"
    );
}

#[test]
fn a_port_alone_listens_on_every_address() {
    let server = Server::builder("hello.ru").no_unix().args("-p 0").start();
    let log = server.eventually_logs("* Listening on http://");
    assert!(log.contains("http://0.0.0.0:") || log.contains("http://[::]:"), "{log}");
}

#[test]
fn an_abstract_socket_is_served() {
    let name = format!("rackrs-test-{}", std::process::id());
    let server =
        Server::builder("hello.ru").no_unix().arg("-b").arg(format!("unix://@{name}")).start();
    let mut connection = rackrs_tests::Connection::try_abstract(&name).expect("somebody listens");
    assert_eq!(connection.get("/").text(), "hello\n");
    assert!(!server.path(&format!("@{name}")).exists());
}

#[test]
fn several_binds_are_all_served() {
    let builder = Server::builder("hello.ru").tcp();
    let other = builder.path("other.sock");
    let server = builder.arg("-b").arg(format!("unix://{}?mode=600", other.display())).start();
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.connect_tcp().get("/").status, 200);
    assert_eq!(rackrs_tests::Connection::unix(&other).get("/").status, 200);
}

#[test]
fn mode_and_umask_shape_the_socket_file() {
    use std::os::unix::fs::PermissionsExt;
    for (options, expected) in
        [("?mode=600", 0o600), ("?umask=0007", 0o770), ("?umask=0177&mode=660", 0o660)]
    {
        let builder = Server::builder("hello.ru");
        let socket = builder.path("own.sock");
        let server = builder.arg("-b").arg(format!("unix://{}{options}", socket.display())).start();
        let mode =
            std::fs::metadata(&socket).expect("the socket file is there").permissions().mode();
        assert_eq!(mode & 0o777, expected, "{options}, log {}", server.log());
    }
}

#[test]
fn dir_is_where_config_ru_is_looked_for() {
    let builder = ServerBuilder::bare();
    let inner = builder.path("inner");
    std::fs::create_dir(&inner).expect("the test's folder can be written");
    std::fs::write(inner.join("config.ru"), "run ->(_) { [200, {}, [Dir.pwd, ' ', __FILE__]] }\n")
        .expect("the test's folder can be written");
    let server = builder.arg("--dir").arg(&inner).start();
    let text = server.get("/").text();
    assert!(text.starts_with(&*inner.to_string_lossy()), "{text}");
    assert!(text.ends_with("config.ru"), "{text}");
}

#[test]
fn include_puts_folders_on_the_load_path() {
    let source = "require 'from_include'\nrun ->(_) { [200, {}, [FROM_INCLUDE]] }\n";
    let builder =
        ServerBuilder::of_source(source).file("from_include.rb", "FROM_INCLUDE = 'included'\n");
    let folder = builder.folder().to_owned();
    let server = builder.arg("-I").arg(folder).start();
    assert_eq!(server.get("/").text(), "included");
}

#[test]
fn output_goes_where_it_is_redirected() {
    let source = "run ->(_) { $stdout.puts 'to out'; warn 'to err'; [200, {}, ['ok']] }\n";
    let builder =
        ServerBuilder::of_source(source).file("out.txt", "kept\n").file("err.txt", "kept\n");
    let (out, err) = (builder.path("out.txt"), builder.path("err.txt"));
    let server = builder
        .arg("--redirect-append")
        .arg("--redirect-stdout")
        .arg(out)
        .arg("--redirect-stderr")
        .arg(err)
        .start();
    assert_eq!(server.get("/").text(), "ok");
    for (file, words) in [("out.txt", "to out"), ("err.txt", "to err")] {
        eventually(words, || server.read(file).contains(words).then_some(()));
        assert!(server.read(file).starts_with("kept\n"), "appended, not overwritten: {file}");
    }
}

#[test]
fn the_log_says_what_pumas_says() {
    let server = Server::builder("hello.ru").args("-t 1:2 -e production").tcp().start();
    let log = server.eventually_logs("Use Ctrl-C to stop");
    for line in [
        "starting in single mode...",
        "*  Min threads: 1",
        "*  Max threads: 2",
        "*  Environment: production",
        "* Listening on unix://",
    ] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    assert!(log.contains(&format!("*          PID: {}", server.master())), "{log}");
}

#[test]
fn silent_says_nothing_and_quiet_leaves_requests_out() {
    let server = Server::builder("hello.ru").arg("-s").start();
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.log(), "");
    let mut server = Server::builder("hello.ru").arg("-q").start();
    assert_eq!(server.get("/quiet").status, 200);
    server.end_by(SIGTERM);
    assert!(!server.log().contains("/quiet"), "{}", server.log());
}

#[test]
fn requests_are_logged_in_pumas_form() {
    let server = Server::builder("hello.ru").arg("-v").start();
    let request = "GET /logged?a=b HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.1.2.3\r\n\r\n";
    assert_eq!(server.ask(request).status, 200);
    let log = server.eventually_logs("/logged?a=b");
    let line = log.lines().find(|line| line.contains("/logged")).expect("just seen");
    assert!(line.contains("10.1.2.3 - - ["), "{line}");
    assert!(line.contains("] \"GET /logged?a=b HTTP/1.1\" 200 "), "{line}");
}

#[test]
fn control_bytes_do_not_reach_the_log() {
    let server = Server::builder("hello.ru").arg("-v").start();
    server.connect().ask("GET /esc HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \u{7f}evil\r\n\r\n");
    let answer = server
        .connect()
        .ask(b"GET /caf\xC3\xA9%1b[31m HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: a\x80\r\n\r\n");
    assert!([200, 400].contains(&answer.status), "{answer:?}");
    assert_eq!(server.get("/end").status, 200);
    let log = server.eventually_logs("/end");
    let printable = |line: &str| line.chars().all(|char| !char.is_control() || char == '\t');
    assert!(log.lines().all(printable), "{log:?}");
}

#[test]
fn processes_have_titles_that_pgrep_finds() {
    let server = Server::builder("hello.ru").args("-w 1 --tag shop").start();
    let worker = server.worker();
    let title = process::title(worker);
    assert!(
        title.contains("rackrs") && title.contains("worker 0") && title.contains("[shop]"),
        "{title}"
    );
    let title = process::title(server.mold(&[worker]));
    assert!(title.contains("rackrs") && title.contains("mold"), "{title}");
}
