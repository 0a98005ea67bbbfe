//! Command lines, from words to what is to be done.

use std::{
    ffi::OsString, fs, num::NonZero, os::unix::ffi::OsStringExt, path::Path, time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::config::{Bind, Config, LogLevel, Threads, UnixOptions};

/// A fresh folder with a small application, and surroundings with nothing else in them.
struct Place {
    folder: TempDir,
    environment: Environment,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.ru"), "run App\n").unwrap();
        let environment = Environment {
            variables: [].into(),
            working_directory: Some(folder.path().to_owned()),
            cpus: NonZero::new(3).unwrap(),
            ipv6: false,
        };
        Self { folder, environment }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, line: &str) -> Result<Command, CliError> {
        let words = ["rackrs"].into_iter().chain(line.split_whitespace());
        parse(words.map(OsString::from), &self.environment)
    }

    fn resolved(&self, line: &str) -> Resolved {
        match self.run(line) {
            Ok(Command::Serve(resolved)) => *resolved,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn config(&self, line: &str) -> Config {
        self.resolved(line).config
    }
}

fn refused(line: &str) -> String {
    let error = Place::new().run(line).expect_err(line);
    assert_eq!(error.exit_code(), 64, "{line}");
    error.to_string()
}

fn socket(path: impl Into<std::path::PathBuf>) -> Bind {
    let options = UnixOptions { umask: None, mode: None, backlog: 1024 };
    Bind::Unix { path: path.into(), options }
}

fn tcp(host: &str, port: u16) -> Bind {
    Bind::Tcp { host: host.to_owned(), port, backlog: 1024 }
}

#[test]
fn a_bare_command_serves_on_the_agreed_socket() {
    let place = Place::new();
    let config = place.config("");
    assert_eq!(config.binds, [socket("/tmp/web_server.sock")]);
    assert_eq!(config.pid_file, Path::new("/tmp/web_server.pid"));
    assert_eq!(config.threads, Threads { min: 0, max: 5 });
    assert_eq!(config.workers, 0);
    assert_eq!(config.environment, "development");
    assert_eq!(config.rackup, place.path().join("config.ru"));
    assert_eq!(config.directory, place.path());
    assert_eq!(config.tag, place.path().file_name().unwrap().to_str().unwrap());
    assert_eq!(config.limits, crate::config::Limits::default());
    assert!(!config.daemon && !config.yjit && !config.log_requests && config.preload);
}

#[test]
fn a_procfile_line_of_puma_is_obeyed() {
    let config = Place::new().config(
        "-d -e production -t 2:8 -w 3 -b unix:///tmp/a.sock --pidfile /tmp/a.pid --tag shop -q -s \
         --preload --redirect-stdout log/out --redirect-stderr log/err --redirect-append",
    );
    assert!(config.daemon && config.preload && config.redirect.append);
    assert_eq!(config.environment, "production");
    assert_eq!(config.threads, Threads { min: 2, max: 8 });
    assert_eq!(config.workers, 3);
    assert_eq!(config.binds, [socket("/tmp/a.sock")]);
    assert_eq!(config.tag, "shop");
    assert_eq!(config.log, LogLevel::Silent);
    assert!(config.redirect.stdout.unwrap().ends_with("log/out"));
    assert!(config.redirect.stderr.unwrap().ends_with("log/err"));
}

#[test]
fn every_name_of_daemon_is_understood() {
    for line in ["-d", "-D", "--daemon", "--daemonize", "-dv"] {
        assert!(Place::new().config(line).daemon, "{line}");
    }
}

#[test]
fn spellings_of_ruby_s_option_parser_are_understood() {
    for line in ["-t5", "-t 5", "--threads=5:5", "--threads 5", "--thr 5"] {
        assert_eq!(Place::new().config(line).threads, Threads { min: 5, max: 5 }, "{line}");
    }
    assert_eq!(Place::new().config("--env staging").environment, "staging");
    assert!(Place::new().config("-- a.ru").rackup.ends_with("a.ru"));
}

#[test]
fn binds_and_ports_accumulate_in_the_order_typed() {
    let place = Place::new();
    let config = place.config("-p 3000 -b unix://tmp/a.sock -p 0 --bind tcp://[::1]:80");
    let expected = [
        tcp("0.0.0.0", 3000),
        socket(place.path().join("tmp/a.sock")),
        tcp("0.0.0.0", 0),
        tcp("::1", 80),
    ];
    assert_eq!(config.binds, expected);
    assert!(refused("-p 80 -b tcp://0.0.0.0:80").contains("the same address is given twice"));
}

#[test]
fn a_port_means_every_address_of_the_machine() {
    let mut place = Place::new();
    place.environment.ipv6 = true;
    assert_eq!(place.config("-p 3000").binds, [tcp("::", 3000)]);
}

#[test]
fn the_later_of_two_wins() {
    let place = Place::new();
    assert_eq!(place.config("-w 1 -w 2").workers, 2);
    assert!(!place.config("-v -q").log_requests);
    assert!(place.config("-q -v").log_requests);
    assert!(!place.config("--redirect-append --no-redirect-append").redirect.append);
    assert!(place.config("--no-redirect-append --redirect-append").redirect.append);
    assert!(matches!(place.run("--show-config --check"), Ok(Command::Check(_))));
}

#[test]
fn load_paths_are_joined_with_colons_or_repeated() {
    let place = Place::new();
    let here = |name: &str| place.path().join(name);
    assert_eq!(
        place.config("-I lib:/opt/x -I vendor:").load_paths,
        [here("lib"), "/opt/x".into(), here("vendor")]
    );
}

#[test]
fn limits_are_taken() {
    let limits = Place::new()
        .config(
            "--first-data-timeout 1.5 --persistent-timeout 2 --max-keep-alive 3 --write-timeout 4 \
             --http-content-length-limit 5 --queue-limit 6 --connections-limit 7 \
             --worker-boot-timeout 8 --worker-shutdown-timeout 9 --drain-idle-timeout 0.5",
        )
        .limits;
    assert_eq!(limits.first_data_timeout, Duration::from_millis(1500));
    assert_eq!(limits.persistent_timeout, Duration::from_secs(2));
    assert_eq!(limits.max_keep_alive, 3);
    assert_eq!(limits.write_timeout, Duration::from_secs(4));
    assert_eq!(limits.request_body_bytes_max, 5);
    assert_eq!((limits.queue_max, limits.connections_max), (6, 7));
    assert_eq!(limits.boot_timeout, Duration::from_secs(8));
    assert_eq!(limits.shutdown_timeout, Duration::from_secs(9));
    assert_eq!(limits.drain_idle_timeout, Duration::from_millis(500));
}

#[test]
fn wrong_values_say_what_is_wrong() {
    for (line, reason) in [
        ("-t 5:2", "cannot use --threads = 5:2 (the flag): the minimum is above the maximum"),
        ("-t 0:0", "cannot use --threads = 0:0 (the flag): at least one thread is needed"),
        ("-w -1", "cannot use --workers = -1 (the flag): it must be a whole number from 0 to 1024"),
        ("-p 65536", "cannot use --port = 65536 (the flag): the port must be a number from 0 to"),
        ("-b ssl://h:1", "cannot use --bind = ssl://h:1 (the flag): rackrs does not speak TLS yet"),
        ("--dir /nowhere", "cannot use --dir = /nowhere (the flag): there is no such directory"),
        ("--pidfile=", "cannot use --pidfile =  (the flag): the path is empty"),
        (
            "--write-timeout 0",
            "cannot use --write-timeout = 0 (the flag): it must be seconds above",
        ),
        (
            "--queue-limit 0",
            "cannot use --queue-limit = 0 (the flag): it must be a whole number fr",
        ),
        ("--compat thin", "cannot use --compat = thin (the flag): it takes puma, unicorn"),
        ("--worker-timeout x", "cannot use --worker-timeout = x (the flag): it must be seconds"),
        ("--worker-max-rss 1T", "cannot use --worker-max-rss = 1T (the flag): it must be a number"),
        ("--warmup up", "cannot use --warmup = up (the flag): it must begin with a slash"),
        (
            "--control-url tcp://h:1",
            "cannot use --control-url = tcp://h:1 (the flag): it must be u",
        ),
        ("-t", "cannot use --threads: it needs a value; write --threads <MIN:MAX>"),
        ("--quiet=3", "cannot use --quiet = 3 (the flag): it takes no value; write --quiet"),
        ("--show-config=xml", "cannot use --show-config = xml (the flag): it takes table, json"),
        ("a.ru b.ru", "cannot use b.ru: one rackup file can be served"),
    ] {
        let said = refused(line);
        assert!(said.starts_with(reason), "{line}: {said}");
    }
}

#[test]
fn unknown_flags_name_the_nearest() {
    for (line, said) in [
        ("--therads 5", "cannot use --therads: there is no such flag; the nearest is --threads"),
        ("--bnid=x", "cannot use --bnid: there is no such flag; the nearest is --bind"),
        ("--worker 5", "cannot use --worker: there is no such flag; the nearest is --workers"),
        ("-E test", "cannot use -E: there is no such flag; the nearest is -e"),
        ("--zzz", "cannot use --zzz: there is no such flag; rackrs --help lists them all"),
        ("-x", "cannot use -x: there is no such flag; rackrs --help lists them all"),
    ] {
        assert_eq!(refused(line), said);
    }
}

#[test]
fn what_waits_for_a_later_version_is_said_plainly() {
    for line in
        ["--control-token t", "--plugin x", "--idle-timeout 3", "-C config/puma.rb", "--config a"]
    {
        let said = refused(line);
        assert!(said.starts_with("cannot use --") && said.contains(" yet; "), "{line}: {said}");
    }
}

#[test]
fn what_is_harmless_is_accepted_and_said_where_it_is_ignored() {
    let quiet = Place::new().resolved("-C - --no-config --early-hints --preload --compat puma");
    assert_eq!(quiet.warnings, Vec::<String>::new());
    let place = Place::new();
    let told = place.resolved("-R x --prune-bundler --extra-runtime-dependencies a,b --debug");
    let names: Vec<_> = told.warnings.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        names,
        ["--restart-cmd", "--prune-bundler", "--extra-runtime-dependencies", "--debug"]
    );
}

#[test]
fn words_that_are_not_text_are_refused() {
    let place = Place::new();
    for line in [&[b"-e\xff".as_slice()][..], &[b"\xff.ru"]] {
        let words = [b"rackrs".as_slice()].into_iter().chain(line.iter().copied());
        let words = words.map(|word| OsString::from_vec(word.to_vec()));
        let error = parse(words, &place.environment).unwrap_err();
        assert_eq!(error.exit_code(), 64);
        assert!(error.to_string().contains("is not UTF-8"), "{error}");
    }
}

#[test]
fn help_version_and_products_need_no_surroundings() {
    let mut place = Place::new();
    place.environment.working_directory = None;
    for line in ["-h", "--help", "-V", "--version", "--generate man", "--generate complete-bash"] {
        assert!(matches!(place.run(line), Ok(Command::Print(_))), "{line}");
    }
    let Ok(Command::Print(text)) = place.run("-V") else { panic!("a text") };
    assert_eq!(text, format!("rackrs version {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(place.run("").unwrap_err().exit_code(), 71);
}

#[test]
fn show_config_prints_each_value_with_its_source() {
    let mut place = Place::new();
    place.environment.variables.insert("WEB_CONCURRENCY".into(), "auto".into());
    let Ok(Command::ShowConfig { text, warnings }) = place.run("--show-config -t 1:2 --debug")
    else {
        panic!("a table")
    };
    assert_eq!(warnings.len(), 1);
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split("  ")
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    assert_eq!(row("workers"), ["workers", "3", "$WEB_CONCURRENCY"]);
    assert_eq!(row("threads-min"), ["threads-min", "1", "--threads"]);
    assert_eq!(row("pidfile"), ["pidfile", "/tmp/web_server.pid", "the default"]);
    let Ok(Command::ShowConfig { text, .. }) = place.run("--show-config=json") else {
        panic!("an object")
    };
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["workers"]["value"], 3);
    assert_eq!(read["workers"]["source"], "$WEB_CONCURRENCY");
}

#[test]
fn every_row_has_a_flag_or_is_one_that_cannot_have_one() {
    let without_flag = [
        "rackup",
        "script-name",
        "threads-min",
        "threads-max",
        "request-body-memory",
        "request-head",
    ];
    for row in Place::new().resolved("").rows {
        assert!(
            without_flag.contains(&row.name) || flags::all().any(|flag| flag.long == row.name),
            "{}",
            row.name
        );
    }
}

#[test]
fn the_help_of_a_limit_tells_its_real_default() {
    let rows = Place::new().resolved("").rows;
    for flag in flags::all().filter(|flag| flag.heading == flag::Heading::Limits) {
        let row = rows.iter().find(|row| row.name == flag.long).unwrap();
        let (_, told) = flag.more.rsplit_once("Default: ").unwrap();
        let number = row.value.to_string();
        assert!(told.split([' ', '.', ';']).any(|word| word == number), "--{}: {told}", flag.long);
    }
}
