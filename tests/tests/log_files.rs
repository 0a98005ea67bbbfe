//! Log files that are rotated: everybody writes on into the new file, and no line is lost or torn.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::sys::signal::{SIGHUP, SIGUSR1, SIGUSR2, Signal};
use rackrs_tests::{Connection, Server, ServerBuilder, eventually, process};

/// Clients that make the application write lines all the time.
const CLIENTS: usize = 4;

/// Rotations of a test.
const ROTATIONS: usize = 3;

/// Whom a rotator gives its files.
const NOBODY: u32 = 65534;

/// The files and their streams.
const FILES: [(&str, &str, i32); 2] = [("out.log", "out", 1), ("err.log", "err", 2)];

fn logging(flags: &str) -> ServerBuilder {
    let builder = ServerBuilder::new("noisy.ru").args(flags);
    let [out, err] = FILES.map(|(name, ..)| builder.path(name));
    builder.arg("--redirect-stdout").arg(out).arg("--redirect-stderr").arg(err)
}

/// Every process of the server: master, molds, workers.
fn processes(server: &Server) -> Vec<i32> {
    let mut all = process::children(server.master());
    all.push(server.master());
    all
}

/// Whether every process has the file that now bears the name at the stream's number.
fn is_open_everywhere(server: &Server, (name, _, number): (&str, &str, i32)) -> bool {
    let there = fs::metadata(server.path(name)).expect("the rotator has made it");
    processes(server).iter().all(|pid| {
        let open = fs::metadata(format!("/proc/{pid}/fd/{number}"));
        open.is_ok_and(|open| open.ino() == there.ino())
    })
}

/// Renames the files as a rotator does, makes new ones with a mode and owner of their own, and has
/// the server open them.
fn rotate(server: &Server, number: usize, signal: Option<Signal>) {
    let is_root = nix::unistd::geteuid().is_root();
    for (name, ..) in FILES {
        let path = server.path(name);
        fs::rename(&path, server.path(&format!("{name}.{number}"))).expect("it is renamed");
        fs::write(&path, "").expect("the test's folder can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).expect("it is ours");
        if is_root {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
        }
    }
    match signal {
        Some(signal) => server.signal(signal),
        None => server.ctl("reload-logs").assert_success(),
    }
    for file in FILES {
        eventually(&format!("everybody has opened {}", file.0), || {
            is_open_everywhere(server, file).then_some(())
        });
        let there = fs::metadata(server.path(file.0)).expect("it is there");
        assert_eq!(there.mode() & 0o7777, 0o620);
        if is_root {
            assert_eq!((there.uid(), there.gid()), (NOBODY, NOBODY));
        }
    }
}

/// Asks for one line after the other until `ended`; how many.
fn talk(socket: &Path, client: usize, ended: &AtomicBool) -> usize {
    let mut connection = Connection::unix(socket);
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        let word = format!("c{client}x{count}");
        assert_eq!(connection.get(&format!("/say/{word}")).expect(200).text(), word);
        count += 1;
    }
    count
}

/// How often each word stands in a whole line of the files of `stream`.
fn words(server: &Server, name: &str, stream: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let numbers = (0..ROTATIONS).map(|number| format!("{name}.{number}"));
    for file in numbers.chain([name.to_owned()]) {
        let text = server.read(&file);
        assert!(text.is_empty() || text.ends_with('\n'), "{file} ends within a line");
        for line in text.lines().filter(|line| line.contains("....")) {
            let mut parts = line.split(' ');
            let parts = [(); 4].map(|()| parts.next().unwrap_or_default());
            let is_whole = parts[0] == stream && parts[2].len() == 300 && parts[1] == parts[3];
            assert!(is_whole, "torn in {file}: {line}");
            *found.entry(parts[1].to_owned()).or_default() += 1;
        }
    }
    found
}

fn rotated_under_load(flags: &str, signal: Option<Signal>) {
    let server = logging(flags).start();
    server.await_workers(2);
    let ended = AtomicBool::new(false);
    let counts: Vec<usize> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let (socket, ended) = (server.socket(), &ended);
                    move || talk(socket, client, ended)
                })
            })
            .collect();
        for number in 0..ROTATIONS {
            rotate(&server, number, signal);
        }
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no client panics")).collect()
    });
    for (name, stream, _) in FILES {
        let words = words(&server, name, stream);
        assert_eq!(words.len(), counts.iter().sum::<usize>(), "lines in {name}");
        assert!(words.values().all(|count| *count == 1), "{name} has a line twice");
    }
    let said: String = (0..ROTATIONS)
        .map(|number| format!("out.log.{number}"))
        .chain(["out.log".to_owned()])
        .map(|file| server.read(&file))
        .collect();
    assert_eq!(said.matches("Log files are open anew").count(), ROTATIONS, "{said}");
}

#[test]
fn hang_up_opens_the_new_files() {
    rotated_under_load("-w 2", Some(SIGHUP));
}

#[test]
fn usr1_opens_the_new_files_for_unicorn() {
    rotated_under_load("-w 2 --compat unicorn", Some(SIGUSR1));
}

#[test]
fn rackrsctl_opens_the_new_files() {
    rotated_under_load("-w 2", None);
}

#[test]
fn a_daemon_opens_the_new_files_too() {
    let server = logging("-w 2").daemon().start();
    rotate(&server, 0, Some(SIGHUP));
    assert_eq!(server.connect().get("/say/later").status, 200);
    assert!(server.read("out.log").contains("out later"));
    assert!(server.read("err.log").contains("err later"));
}

#[test]
fn a_restart_empties_no_log_and_its_processes_open_the_new_files() {
    for flags in ["-w 2", "-w 2 --no-redirect-append"] {
        let server = logging(flags).start();
        assert_eq!(server.get("/say/before").status, 200);
        server.signal(SIGUSR2);
        eventually("the restart ends", || {
            (server.stats()["restarts"]["succeeded"] == 1).then_some(())
        });
        assert_eq!(server.get("/say/after").status, 200);
        let log = server.read("out.log");
        assert!(log.contains("out before") && log.contains("out after"), "{log}");
        rotate(&server, 0, Some(SIGHUP));
    }
}

#[test]
fn a_file_that_cannot_be_opened_anew_leaves_the_old_one() {
    let server = logging("-w 2").start();
    fs::rename(server.path("out.log"), server.path("out.log.0")).expect("it is renamed");
    fs::create_dir(server.path("out.log")).expect("the test's folder can be written");
    server.signal(SIGHUP);
    eventually("the master complains", || {
        server.read("err.log").contains("out.log: it is neither a regular file").then_some(())
    });
    assert_eq!(server.get("/say/still").status, 200);
    assert!(server.read("out.log.0").contains("out still"));
    fs::remove_dir(server.path("out.log")).expect("it is empty");
}
