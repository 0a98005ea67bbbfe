//! Places where no socket or pid file can be: one line with the reason, a failure, nothing left.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixListener,
    },
    path::Path,
};

use rackrs_tests::{Finished, Server, ServerBuilder, binary};

/// A user who is nobody here.
const NOBODY: u32 = 65534;

/// Longest path of a Unix socket, unix(7).
const PATH_BYTES_MAX: usize = 107;

/// It failed with one line of ours, which names `path`.
fn assert_one_line(failed: &Finished, path: &Path) {
    failed.assert_failure();
    let lines: Vec<&str> = failed.err.lines().collect();
    assert_eq!(lines.len(), 1, "{failed}");
    assert!(lines[0].starts_with("rackrs: "), "{failed}");
    failed.assert_says(&path.to_string_lossy());
}

/// The three files of a server, each with a builder that wants it at another path.
fn misplaced(path_of: impl Fn(&ServerBuilder) -> std::path::PathBuf) {
    for flags in ["", "-d"] {
        for what in ["socket", "pid file", "control socket"] {
            let builder = ServerBuilder::new("hello.ru").args(flags);
            let path = path_of(&builder);
            let builder = match what {
                "socket" => builder.socket_at(&path),
                "pid file" => builder.pid_file_at(&path),
                _ => builder.arg("--control-url").arg(format!("unix://{}", path.display())),
            };
            assert_one_line(&builder.run_in_vain(), &path);
        }
    }
}

#[test]
fn a_folder_that_is_not_there() {
    misplaced(|builder| builder.path("nowhere/at"));
}

#[test]
fn a_file_in_place_of_the_folder() {
    misplaced(|builder| {
        fs::write(builder.path("file"), "").expect("the test's folder can be written");
        builder.path("file/at")
    });
}

#[test]
fn a_path_that_is_too_long_for_a_socket() {
    for flags in ["", "-d"] {
        let builder = ServerBuilder::new("hello.ru").args(flags);
        let mut length = builder.path("").as_os_str().len();
        length = PATH_BYTES_MAX + 1 - length;
        let path = builder.path(&"s".repeat(length));
        let failed = builder.socket_at(&path).run_in_vain();
        assert_one_line(&failed, &path);
        // The pid file may be there, but not the control socket beside it.
        let builder = ServerBuilder::new("hello.ru").args(flags);
        let path = builder.path(&format!("{}.pid", "p".repeat(length - 4)));
        let builder = builder.pid_file_at(&path);
        assert_one_line(&builder.run_in_vain(), &path.with_extension("ctl"));
        // With a place of its own for that, all is well.
        let builder = ServerBuilder::new("hello.ru").args(flags);
        let path = builder.path(&format!("{}.pid", "p".repeat(length)));
        let url = format!("unix://{}", builder.path("short.ctl").display());
        if flags.is_empty() {
            let server = builder.pid_file_at(&path).arg("--control-url").arg(url).start();
            assert_eq!(server.written_pid(), Some(server.master()));
        }
    }
}

/// A server that another user starts; only root can arrange that.
fn started_by_nobody(builder: ServerBuilder) -> Option<ServerBuilder> {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"].map(OsStr::new);
    let rackrs = binary();
    let arguments: Vec<&OsStr> = user.into_iter().chain([rackrs.as_os_str()]).collect();
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    chown(builder.folder(), Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    Some(builder.through("setpriv", &arguments))
}

#[test]
fn a_folder_of_another_user() {
    for what in ["socket", "pid file", "control socket"] {
        let builder = ServerBuilder::new("hello.ru");
        let folder = builder.path("theirs");
        fs::create_dir(&folder).expect("the test's folder can be written");
        let path = folder.join("at");
        let builder = match what {
            "socket" => builder.socket_at(&path),
            "pid file" => builder.pid_file_at(&path),
            _ => builder.arg("--control-url").arg(format!("unix://{}", path.display())),
        };
        let Some(builder) = started_by_nobody(builder) else { return };
        assert_one_line(&builder.run_in_vain(), &path);
    }
}

#[test]
fn a_folder_that_may_not_be_written() {
    let builder = ServerBuilder::new("hello.ru");
    let folder = builder.path("closed");
    fs::create_dir(&folder).expect("the test's folder can be written");
    let path = folder.join("at");
    let Some(builder) = started_by_nobody(builder.socket_at(&path)) else { return };
    chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("it is ours");
    assert_one_line(&builder.run_in_vain(), &path);
}

#[test]
fn a_socket_of_another_program() {
    let builder = ServerBuilder::new("hello.ru");
    let stranger = UnixListener::bind(builder.socket()).expect("a socket can be bound");
    let failed = builder.run();
    assert_one_line(&failed, builder.socket());
    failed.assert_says(&format!("process {}", std::process::id()));
    stranger.set_nonblocking(true).expect("a socket takes options");
    stranger.accept().expect("it was asked whether it lives, and does");
    assert!(builder.socket().exists() && !builder.pid_file().exists());
}

#[test]
fn one_place_for_two_files() {
    let builder = ServerBuilder::new("hello.ru");
    let url = format!("unix://{}", builder.socket().display());
    let failed = builder.arg("--control-url").arg(url).run_in_vain();
    failed.assert_failure();
    // The server before is not hurt by what the next one wants.
    let first = Server::builder("hello.ru").start();
    let failed = ServerBuilder::new("hello.ru").pid_file_at(first.socket()).run();
    failed.assert_failure();
    assert_eq!(first.get("/").status, 200);
}
