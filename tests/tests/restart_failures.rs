//! A restart to code that does not come up: the old code goes on, says once why, and the next one works.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::sys::signal::{SIGKILL, SIGUSR2};
use rackrs_tests::{Poller, Server, ServerBuilder, both_racks, eventually, process, release};

fn old() -> ServerBuilder {
    ServerBuilder::of_source(&release("old", ""))
}

/// Restarts with what `spoil` does, which must fail for a reason with `words` in it; then with what
/// `mend` does, which must succeed.
fn fails(
    builder: ServerBuilder,
    words: &str,
    spoil: impl FnOnce(&Server),
    mend: impl FnOnce(&Server),
) {
    let mut server = builder.start();
    let (workers, children) = (server.ready_workers(), sorted(process::children(server.master())));
    let clients = Poller::start(&server);

    spoil(&server);
    server.signal(SIGUSR2);
    let log = server.eventually_logs("! Restart 1 (restart) failed");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("! Restart 1 ")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(words) && lines[0].contains("the old code goes on"), "{lines:?}");
    let stats = server.stats();
    let (restarts, last) = (&stats["restarts"], &stats["restarts"]["last"]);
    assert_eq!((&last["outcome"], &last["ticket"]), (&"failed".into(), &1.into()), "{stats}");
    assert!(last["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{stats}");
    assert_eq!((&restarts["failed"], &restarts["running"]), (&1.into(), &().into()), "{stats}");
    assert_eq!((&stats["generation"], server.ready_workers()), (&1.into(), workers), "{stats}");
    eventually("only the old processes are left", || {
        (sorted(process::children(server.master())) == children).then_some(())
    });
    clients.eventually_hears("old ");
    assert_eq!(server.written_pid(), Some(server.master()));

    mend(&server);
    server.signal(SIGUSR2);
    server.eventually_logs("* Restart 2 (restart) succeeded");
    clients.eventually_hears("new ");
    for answers in clients.finish() {
        assert!(answers.iter().all(|text| text.starts_with("old ") || text.starts_with("new ")));
    }
    server.end_by(nix::sys::signal::SIGTERM);
}

fn sorted(mut pids: Vec<i32>) -> Vec<i32> {
    pids.sort_unstable();
    pids
}

/// Fails with this release as the next one.
fn next_release_fails(builder: ServerBuilder, first: &str, words: &str) {
    let broken = release("broken", first);
    fails(builder, words, |server| server.write("config.ru", &broken), mend_release);
}

fn mend_release(server: &Server) {
    server.write("config.ru", &release("new", ""));
}

both_racks! {
    fn new_code_that_raises(rack) {
        next_release_fails(old().rack(&rack), "raise ArgumentError, 'no such shop'", "no such shop");
    }

    fn new_code_that_raises_in_cluster_mode(rack) {
        next_release_fails(old().rack(&rack).args("-w 2"), "raise 'too bad'", "too bad");
    }
}

#[test]
fn new_code_that_exits() {
    next_release_fails(old(), "exit 3", "cannot load");
    next_release_fails(old(), "exit! 3", "cannot load");
}

#[test]
fn new_code_that_lacks_a_library() {
    next_release_fails(old(), "require 'no/such/library'", "no/such/library");
}

#[test]
fn new_code_that_hangs() {
    next_release_fails(old().args("--load-timeout 1"), "sleep", "--load-timeout");
}

#[test]
fn new_code_that_is_killed_while_it_loads() {
    let loading = release("killed", "File.write('loading', Process.pid.to_s)\nsleep\n");
    let kill = |server: &Server| {
        server.write("config.ru", &loading);
        let file = server.path("loading");
        // Whoever runs is the mold of the new code, once it has told its pid.
        let kill = move || {
            let pid = eventually("the new code is being loaded", || {
                fs::read_to_string(&file).ok()?.parse().ok()
            });
            process::send(pid, SIGKILL);
        };
        std::thread::spawn(kill);
    };
    fails(old(), "SIGKILL", kill, mend_release);
}

#[test]
fn new_code_whose_warm_up_fails() {
    let up = "use(Class.new { def initialize(app) = @app = app\n\
              def call(env) = env['PATH_INFO'] == '/up' ? [500, {}, []] : @app.call(env) })";
    next_release_fails(old().args("--warmup /up"), up, "/up");
    next_release_fails(old().args("-w 2 --warmup /up"), up, "/up");
}

#[test]
fn new_code_whose_worker_dies_as_it_boots() {
    let hook = "Rackrs.before_worker_boot { exit! 7 }";
    next_release_fails(old(), hook, "worker 0");
    next_release_fails(old().args("-w 2"), hook, "worker 0");
}

#[test]
fn new_code_whose_worker_hangs_as_it_boots() {
    let hook = "Rackrs.before_worker_boot { sleep }";
    next_release_fails(old().args("--worker-boot-timeout 1"), hook, "worker 0");
}

#[test]
fn new_code_whose_warm_up_hangs() {
    let up = "use(Class.new { def initialize(app) = @app = app\n\
              def call(env) = env['PATH_INFO'] == '/up' ? sleep : @app.call(env) })";
    next_release_fails(old().args("--warmup /up --warmup-timeout 1"), up, "/up");
}

#[test]
fn new_code_that_is_no_ruby() {
    next_release_fails(old(), "def (", "not valid Ruby");
}

#[test]
fn new_code_that_crashes() {
    next_release_fails(old(), "Process.kill(:SEGV, Process.pid)\nsleep", "SIG");
}

#[test]
fn new_code_that_closes_what_is_not_its_own() {
    let close = "Dir.children('/proc/self/fd').map(&:to_i).select { |fd| fd > 2 }\n\
                 .each { |fd| IO.for_fd(fd).close rescue nil }";
    next_release_fails(old().args("--load-timeout 3"), close, "cannot load");
}

#[test]
fn new_code_of_which_only_the_second_worker_dies() {
    let hook = "Rackrs.before_worker_boot { |index| exit!(7) if index == 1 }";
    let broken = release("new", hook);
    let builder = old().args("-w 2");
    let server = builder.start();
    let clients = Poller::start(&server);
    server.write("config.ru", &broken);
    server.signal(SIGUSR2);
    server.eventually_logs("! Restart 1 (restart) failed");
    // The first slot had the new code already; nobody of it is left.
    clients.eventually_hears("old ");
    assert_eq!(server.stats()["generation"], 1);
    assert_eq!(server.ready_workers().len(), 2);
    let _whatever_the_first_slot_had = clients.finish();
}

/// A server through a copy of the program in its own folder.
fn through_a_copy() -> ServerBuilder {
    let builder = old();
    let copy = builder.path("rackrs");
    fs::copy(rackrs_tests::binary(), &copy).expect("the program can be copied");
    builder.through(&copy.to_string_lossy(), &[])
}

/// Puts `text` in place of the copy, as an installer does: by a rename.
fn replace_program(server: &Server, text: &str, mode: u32) {
    server.write("rackrs", text);
    fs::set_permissions(server.path("rackrs"), fs::Permissions::from_mode(mode))
        .expect("the test's folder can be written");
}

fn mend_program(server: &Server) {
    let next: PathBuf = server.path("next-program");
    fs::copy(rackrs_tests::binary(), &next).expect("the program can be copied");
    fs::rename(next, server.path("rackrs")).expect("the test's folder can be written");
    mend_release(server);
}

#[test]
fn a_program_that_is_missing() {
    let remove = |server: &Server| fs::remove_file(server.path("rackrs")).expect("it was there");
    fails(through_a_copy(), "no program", remove, mend_program);
}

#[test]
fn a_program_that_may_not_be_executed() {
    let spoil = |server: &Server| replace_program(server, "", 0o644);
    fails(through_a_copy(), "no program", spoil, mend_program);
}

#[test]
fn a_program_that_is_garbage() {
    let spoil = |server: &Server| replace_program(server, "\u{1}garbage\n\u{2}", 0o755);
    fails(through_a_copy(), "cannot execute", spoil, mend_program);
}

#[test]
fn a_program_that_is_empty() {
    let spoil = |server: &Server| replace_program(server, "", 0o755);
    fails(through_a_copy(), "cannot execute", spoil, mend_program);
}

#[test]
fn a_program_that_is_a_failing_script() {
    let spoil = |server: &Server| replace_program(server, "#!/bin/sh\nexit 1\n", 0o755);
    fails(through_a_copy(), "cannot take over", spoil, mend_program);
}

#[test]
fn a_program_that_is_a_script_without_its_interpreter() {
    let spoil = |server: &Server| replace_program(server, "#!/nonexistent/sh\n", 0o755);
    fails(through_a_copy(), "cannot execute", spoil, mend_program);
}

#[test]
fn a_directory_that_vanished() {
    let builder = ServerBuilder::bare();
    let folder = builder.path("site");
    fs::create_dir(&folder).expect("the test's folder can be written");
    fs::write(folder.join("config.ru"), release("old", "")).expect("it can be written");
    let builder = builder.arg("--dir").arg(&folder);
    let away = folder.with_file_name("away");
    let rename = |from: &Path, to: &Path| fs::rename(from, to).expect("it can be renamed");
    fails(
        builder,
        "--dir",
        |_| rename(&folder, &away),
        |_| {
            rename(&away, &folder);
            fs::write(folder.join("config.ru"), release("new", "")).expect("it can be written");
        },
    );
}

/// Rack 3 has no such line.
#[test]
fn flags_in_the_rackup_file_that_are_broken() {
    if rackrs_tests::RackVersion::Debian.is_newer() {
        return;
    }
    let with = |options: &str, name: &str| format!("#\\ {options}\n{}", release(name, ""));
    fails(
        ServerBuilder::of_source(&with("-q", "old")),
        "cannot load",
        |server| server.write("config.ru", &with("--no-such-flag", "broken")),
        |server| server.write("config.ru", &with("-q", "new")),
    );
}
