//! Hooks of the application run in the right process, at the right time, as often as they should.

use nix::sys::signal::{SIGKILL, SIGTERM, SIGUSR1, SIGUSR2};
use rackrs_tests::{Server, ServerBuilder, both_racks, eventually, held_by, process};

/// One line of what the application noted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    hook: String,
    pid: i32,
    arguments: Vec<i32>,
}

fn notes(server: &Server) -> Vec<Note> {
    let number = |word: &str| word.parse().expect("a number");
    let note = |line: &str| {
        let mut words = line.split(' ');
        let hook = words.next().expect("a name").to_owned();
        let pid = number(words.next().expect("a pid"));
        Note { hook, pid, arguments: words.map(number).collect() }
    };
    let text = server.read("hooks");
    // A line that is being written is for the next look.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| note(line.trim()))
        .collect()
}

/// Where the notes of a hook are, and the notes.
fn of<'a>(notes: &'a [Note], hook: &str) -> Vec<(usize, &'a Note)> {
    notes.iter().enumerate().filter(|(_, note)| note.hook == hook).collect()
}

/// Waits until a hook was noted so often, and gives all notes.
fn await_notes(server: &Server, hook: &str, count: usize) -> Vec<Note> {
    eventually(&format!("{hook} has run {count} times"), || {
        Some(notes(server)).filter(|notes| of(notes, hook).len() >= count)
    })
}

fn indices(of: &[(usize, &Note)]) -> Vec<i32> {
    let mut indices: Vec<i32> = of.iter().map(|(_, note)| note.arguments[0]).collect();
    indices.sort_unstable();
    indices
}

both_racks! {
    fn from_the_start_to_the_stop(rack) {
        let mut server = Server::builder("hooks.ru").rack(&rack).args("-w 2 -t 1:1").start();
        let seen = await_notes(&server, "after_booted", 1);
        let mold = seen[0].pid;
        assert_eq!((seen[0].hook.as_str(), seen[1].hook.as_str()), ("load", "before_fork"));
        for hook in ["load", "before_fork", "before_worker_fork", "after_worker_fork", "after_booted"] {
            assert!(of(&seen, hook).iter().all(|(_, note)| note.pid == mold), "{hook}: {seen:?}");
        }
        assert_eq!(of(&seen, "before_fork").len(), 1);
        for hook in ["before_worker_fork", "after_worker_fork", "before_worker_boot"] {
            assert_eq!(indices(&of(&seen, hook)), [0, 1], "{hook}: {seen:?}");
        }
        let boots = of(&seen, "before_worker_boot");
        let workers: Vec<i32> = boots.iter().map(|(_, note)| note.pid).collect();
        assert!(!workers.contains(&mold) && workers[0] != workers[1], "{seen:?}");
        let booted = of(&seen, "after_booted")[0].0;
        assert!(boots.iter().all(|(place, _)| *place < booted), "{seen:?}");
        for (_, fork) in of(&seen, "before_worker_fork") {
            let place = |hook: &str| {
                let of_index = of(&seen, hook).into_iter();
                of_index.filter(|(_, note)| note.arguments == fork.arguments).map(|(place, _)| place).next()
            };
            assert!(place("before_worker_fork") < place("after_worker_fork"), "{seen:?}");
            assert!(place("before_worker_fork") < place("before_worker_boot"), "{seen:?}");
        }
        let threads = of(&seen, "before_thread_start");
        assert!(threads.iter().all(|(_, note)| workers.contains(&note.pid)), "{seen:?}");

        server.end_by(SIGTERM);
        let seen = notes(&server);
        let shut = of(&seen, "before_worker_shutdown");
        assert_eq!(indices(&shut), [0, 1], "{seen:?}");
        for (place, note) in shut {
            let exits = of(&seen, "before_thread_exit").into_iter();
            let mut exits = exits.filter(|(_, exit)| exit.pid == note.pid);
            assert!(exits.all(|(exit, _)| exit < place), "{seen:?}");
        }
        let stopped = of(&seen, "after_stopped");
        assert_eq!((stopped.len(), stopped[0].1.pid), (1, mold), "{seen:?}");
        let (starts, ends) = (of(&seen, "before_thread_start"), of(&seen, "before_thread_exit"));
        assert_eq!(starts.len(), ends.len(), "{seen:?}");
        assert_eq!(of(&seen, "before_restart").len(), 0, "{seen:?}");
    }

    fn the_end_of_a_worker_is_told_to_the_mold(rack) {
        let server = Server::builder("hooks.ru").rack(&rack).args("-w 2 -t 1:1").start();
        let seen = await_notes(&server, "after_booted", 1);
        let mold = seen[0].pid;
        let killed = of(&seen, "before_worker_boot")[1].1.clone();
        process::send(killed.pid, SIGKILL);
        let seen = await_notes(&server, "before_worker_boot", 3);
        let exit = of(&seen, "after_worker_exit")[0].1.clone();
        let arguments = vec![killed.arguments[0], killed.pid, 128 + 9];
        assert_eq!(exit, Note { hook: "after_worker_exit".to_owned(), pid: mold, arguments });
        assert_eq!(of(&seen, "before_worker_boot")[2].1.arguments, killed.arguments);
        // Once in the life of a mold.
        assert_eq!(of(&seen, "before_fork").len(), 1, "{seen:?}");
        assert_eq!(of(&seen, "after_booted").len(), 1, "{seen:?}");
    }

    fn a_restart_sees_the_old_code_off(rack) {
        for signal in [SIGUSR2, SIGUSR1] {
            let server = Server::builder("hooks.ru").rack(&rack).args("-w 2 -t 1:1").start();
            let seen = await_notes(&server, "after_booted", 1);
            let old = seen[0].pid;
            server.signal(signal);
            server.eventually_logs("succeeded");
            let seen = await_notes(&server, "after_stopped", 1);
            let of_old = |hook: &str| {
                let of_hook = of(&seen, hook);
                assert_eq!((of_hook.len(), of_hook[0].1.pid), (1, old), "{hook}: {seen:?}");
                of_hook[0].0
            };
            assert!(of_old("before_restart") < of_old("after_stopped"), "{seen:?}");
            let seen = await_notes(&server, "after_booted", 2);
            let new = of(&seen, "load").iter().map(|(_, note)| note.pid).find(|pid| *pid != old);
            let new = new.expect("the code was loaded again");
            for hook in ["before_fork", "after_booted"] {
                let pids: Vec<i32> = of(&seen, hook).iter().map(|(_, note)| note.pid).collect();
                assert_eq!(pids, [old, new], "{hook}: {seen:?}");
            }
            assert!(of(&seen, "after_booted")[0].0 < of(&seen, "load")[1].0, "{seen:?}");
        }
    }
}

#[test]
fn a_refork_is_told_on_both_sides() {
    let server = Server::builder("hooks.ru").args("-w 2 -t 1:1").start();
    let seen = await_notes(&server, "after_booted", 1);
    let workers: Vec<i32> =
        of(&seen, "before_worker_boot").iter().map(|(_, note)| note.pid).collect();
    server.ctl("refork --wait").assert_success();
    let seen = await_notes(&server, "after_refork", 1);
    let before = of(&seen, "before_refork")[0].1.pid;
    assert!(workers.contains(&before), "{seen:?}");
    assert_eq!(of(&seen, "after_refork")[0].1.pid, before, "{seen:?}");
    // The code was not loaded again, and the new mold forks for its first time.
    assert_eq!(of(&seen, "load").len(), 1, "{seen:?}");
    assert_eq!(of(&seen, "before_fork").last().expect("it ran").1.pid, before, "{seen:?}");
    await_notes(&server, "after_booted", 2);
}

#[test]
fn a_worker_that_is_killed_for_making_no_progress_is_told() {
    let server = Server::builder("hooks.ru").args("-w 1 -t 1:1 --request-timeout 1").start();
    let worker = server.worker();
    let mut stuck = server.connect();
    stuck.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n");
    let seen = await_notes(&server, "worker_timeout", 1);
    let told = of(&seen, "worker_timeout")[0].1;
    assert_eq!((told.pid, told.arguments.as_slice()), (seen[0].pid, &[0, worker][..]));
}

#[test]
fn hooks_that_raise_are_logged_and_harmless() {
    let names = [
        "before_fork",
        "before_worker_fork",
        "after_worker_fork",
        "before_worker_boot",
        "before_thread_start",
        "after_booted",
        "before_worker_shutdown",
        "before_thread_exit",
        "after_stopped",
        "after_worker_exit",
    ];
    let blocks = |name| {
        [
            format!("Rackrs.{name} {{ raise 'no {name}' }}"),
            format!("Rackrs.{name} {{ exit 3 }}"),
            format!("Rackrs.{name} {{ throw :nobody }}"),
            format!("Rackrs.{name} {{ $stderr.puts 'yet {name}' }}"),
        ]
    };
    let mut lines: Vec<String> = names.into_iter().flat_map(blocks).collect();
    lines.push("run ->(_) { [200, {}, [Process.pid.to_s]] }\n".to_owned());
    let source = lines.join("\n");
    let mut server = ServerBuilder::of_source(&source).args("-w 2 -t 1:1").start();
    let worker = server.worker();
    process::send(worker, SIGKILL);
    server.eventually_logs("yet after_worker_exit");
    assert_eq!(server.get("/").status, 200);
    server.end_by(SIGTERM);
    let log = server.log();
    for name in names {
        assert!(log.contains(&format!("the hook {name} failed:")), "{name}: {log}");
        assert!(log.contains(&format!("no {name} (RuntimeError)")), "{name}: {log}");
        assert!(log.contains(&format!("yet {name}")), "the next block of {name} runs: {log}");
    }
}

/// As `solid_queue`'s plugin does: a process beside the site, ended with it, that also looks whether
/// its parent is there.
const WITH_A_HELPER: &str = r##"
Rackrs.after_booted do
  parent = Process.pid
  $helper = fork do
    File.write("#{ENV['FOLDER']}/helpers", "#{Process.pid}\n", mode: 'a')
    sleep 0.01 while Process.ppid == parent
  end
end
Rackrs.after_stopped do
  Process.kill(:INT, $helper)
  Process.wait($helper)
end
run ->(_) { [200, {}, [Process.pid.to_s]] }
"##;

fn helper(server: &Server, number: usize) -> i32 {
    eventually("the application has forked its helper", || {
        let text = server.read("helpers");
        let line = text.split_inclusive('\n').nth(number)?;
        line.ends_with('\n').then(|| line.trim().parse().expect("a pid"))
    })
}

#[test]
fn a_helper_that_a_hook_forks_lives_with_the_code_that_forked_it() {
    let mut server = ServerBuilder::of_source(WITH_A_HELPER).tcp().args("-w 2").start();
    let first = helper(&server, 0);
    eventually("it holds nothing of ours", || held_by(&server, first).is_empty().then_some(()));
    // A worker that is forked later has nothing to do with it.
    process::send(server.worker(), SIGKILL);
    assert_eq!(server.get("/").status, 200);
    assert!(process::is_alive(first));
    server.signal(SIGUSR2);
    let second = helper(&server, 1);
    eventually("the old one is gone", || (!process::is_alive(first)).then_some(()));
    assert!(process::is_alive(second));
    server.end_by(SIGTERM);
}

#[test]
fn a_helper_sees_its_mold_die() {
    let server = ServerBuilder::of_source(WITH_A_HELPER).args("-w 2").start();
    let first = helper(&server, 0);
    let mold = process::parent(first).expect("it has a parent");
    process::send(mold, SIGKILL);
    eventually("it has seen that", || (!process::is_alive(first)).then_some(()));
    eventually("and is reaped", || process::zombies(server.master()).is_empty().then_some(()));
    assert_eq!(server.get("/").status, 200);
}
