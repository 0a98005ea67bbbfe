//! What a restart must survive that no client sees: files that somebody removed, processes that
//! stood still, molds that are not there, and nothing that is left behind.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use nix::sys::signal::{SIGTERM, SIGURG, SIGUSR2};
use rackrs_tests::{Server, ServerBuilder, eventually, process};

/// Restarts by USR2 and waits for the success of this restart.
fn restart(server: &Server, ticket: u32) {
    server.signal(SIGUSR2);
    server.eventually_logs(&format!("* Restart {ticket} (restart) succeeded"));
}

/// A cleaner of old files, or a deploy that moves the folder of the pid file: the new program
/// finds that its pid file is not there any more, and must not end for that.
#[test]
fn a_pid_file_that_was_removed_is_written_again_by_a_restart() {
    let server = ServerBuilder::new("hello.ru").start();
    fs::remove_file(server.pid_file()).expect("the server has one");
    restart(&server, 1);
    assert_eq!(server.written_pid(), Some(server.master()));
    assert_eq!(server.get("/").expect(200).text(), "hello\n");
}

/// The descriptors of a process, each as `/proc` names it.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process that lives").count()
}

#[test]
fn restarts_leave_no_process_and_no_descriptor_behind() {
    let server = ServerBuilder::new("hello.ru").args("-w 2").start();
    let is_settled = || {
        let children = process::children(server.master());
        (children.len() == 3 && process::zombies(server.master()).is_empty()).then_some(children)
    };
    let count = |children: Vec<i32>| -> Vec<usize> {
        let mut each: Vec<usize> = children.into_iter().map(descriptors).collect();
        each.sort_unstable();
        each
    };
    // The second start of a mold is the first one by a master that was restarted.
    restart(&server, 1);
    let before = eventually("a mold and two workers are left", is_settled);
    let (master, others) = (descriptors(server.master()), count(before));
    for ticket in 2..=5 {
        restart(&server, ticket);
        eventually("the mold and the workers before are gone", is_settled);
    }
    // What is under way at one look, an answer of the control socket, is over at another.
    eventually("nobody has more descriptors than before", || {
        let after = count(is_settled()?);
        let has_no_more = after.iter().zip(&others).all(|(now, then)| now <= then);
        (descriptors(server.master()) <= master && has_no_more).then_some(())
    });
}

/// One question on the control socket.
fn status(server: &Server) -> String {
    let path = server.pid_file().with_extension("ctl");
    let mut client = UnixStream::connect(path).expect("the master listens");
    client.write_all(b"{\"command\":\"status\"}\n").expect("the master reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the master answers");
    answer
}

/// Who has been accepted is answered before the exec, who comes during it by the next program.
#[test]
fn clients_of_the_control_socket_are_answered_throughout_a_restart() {
    let server = ServerBuilder::new("hello.ru").start();
    for ticket in 1..=5 {
        server.signal(SIGUSR2);
        let success = format!("* Restart {ticket} (restart) succeeded");
        eventually("it is restarted, and every question answered", || {
            for _ in 0..20 {
                let answer = status(&server);
                assert!(answer.contains("\"generation\""), "restart {ticket}: {answer:?}");
            }
            server.log().contains(&success).then_some(())
        });
    }
}

/// A refork holds up the end of the generation that was to come: the one that serves goes first.
#[test]
fn a_stop_in_which_the_new_generation_outlives_the_old_ends_in_peace() {
    let mut server = ServerBuilder::new("hello.ru").start();
    let mut busy = server.connect();
    busy.send("GET /gate/held HTTP/1.1\r\nHost: a\r\n\r\n");
    server.await_gate("held");
    server.signal(SIGURG);
    eventually("the successor serves", || {
        (server.log().matches(") booted in").count() == 2).then_some(())
    });
    server.signal(SIGTERM);
    eventually("only the worker that was to be the mold is left", || {
        (process::children(server.master()).len() == 1).then_some(())
    });
    let answer = status(&server);
    assert!(answer.contains("\"stopping\""), "{answer:?}");
    server.open_gate("held");
    assert_eq!(busy.receive().expect(200).text(), "through held");
    server.await_end();
    server.assert_nobody_left();
    let log = server.log();
    assert!(log.contains("Goodbye") && !log.contains("panicked"), "{log}");
}

/// As with Puma, whose new program opens them at its start.
#[test]
fn log_files_that_were_renamed_are_made_anew_by_a_restart() {
    let builder = ServerBuilder::of_source("warn 'loaded'\nrun ->(_) { [200, {}, []] }\n");
    let (out, err) = (builder.path("out.log"), builder.path("err.log"));
    let server = builder
        .args("--redirect-append --redirect-stdout")
        .arg(&out)
        .arg("--redirect-stderr")
        .arg(&err)
        .start();
    for path in [&out, &err] {
        fs::rename(path, path.with_extension("1")).expect("the server has written it");
    }
    server.signal(SIGUSR2);
    eventually("the new files are written", || {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        (read(&out).contains("succeeded") && read(&err).contains("loaded")).then_some(())
    });
}
