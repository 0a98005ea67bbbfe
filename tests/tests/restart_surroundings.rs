//! However often a server is restarted, its application finds what it found at the start.

use nix::sys::signal::{SIGURG, SIGUSR1, SIGUSR2};
use rackrs_tests::{Server, ServerBuilder, both_racks, eventually, process};

/// Tells what surrounds its process.
const SURROUNDINGS: &str = r#"
AT_LOAD = [Process.ppid, ARGV, $0, $stdin.fileno].inspect
run(lambda do |_|
  status = File.read('/proc/self/status').lines.grep(/\A(Sig(Blk|Ign|Cgt)|Seccomp|NoNewPrivs|Umask):/)
  limits = [Process.getrlimit(:NOFILE), Process.getpriority(Process::PRIO_PROCESS, 0)]
  ids = [Process.ppid, Process.getpgrp, Process.getsid]
  files = Dir.children('/proc/self/fd').map { |fd| File.readlink("/proc/self/fd/#{fd}") rescue nil }
  files = files.compact.reject { |file| file.start_with?('/proc/') }.map { |file| file[/\A[^\[]*/] }
  told = [AT_LOAD, ENV.to_h.sort, Dir.pwd, status, limits, ids, files.sort.tally, Encoding.default_external]
  [200, { 'content-type' => 'text/plain' }, [told.map(&:inspect).join("\n")]]
end)
"#;

fn surroundings(server: &Server) -> String {
    server.get("/").expect(200).text()
}

fn assert_all_the_same(server: &Server) {
    let (first, descriptors) = (surroundings(server), descriptors(server.master()));
    for (ticket, signal) in (1..).zip([SIGUSR2, SIGUSR1, SIGUSR2, SIGURG, SIGUSR2, SIGUSR2]) {
        server.signal(signal);
        eventually("only the new ones are left", || {
            let stats = server.stats();
            let count = |list: &str| stats[list].as_array().map_or(0, Vec::len);
            let is_over = stats["restarts"]["succeeded"] == ticket && count("molds") == 1;
            (is_over && stats["workers_wanted"] == count("workers")).then_some(())
        });
        for (now, first) in surroundings(server).lines().zip(first.lines()) {
            assert_eq!(now, first, "after restart {ticket}");
        }
    }
    eventually("the master has as many descriptors as at the start", || {
        (self::descriptors(server.master()) == descriptors).then_some(())
    });
    assert!(process::zombies(server.master()).is_empty());
}

/// How many a process has open.
fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

both_racks! {
    fn restarts_change_nothing_around_the_application(rack) {
        let builder = ServerBuilder::of_source(SURROUNDINGS).rack(&rack);
        assert_all_the_same(&builder.args("-w 2").start());
    }
}

#[test]
fn restarts_change_nothing_around_the_application_of_a_daemon() {
    assert_all_the_same(&ServerBuilder::of_source(SURROUNDINGS).daemon().start());
}
