//! A restart takes what a deploy has put in place: another program, another release, another Gemfile.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::Command,
};

use nix::sys::signal::{SIGTERM, SIGUSR2};
use rackrs_tests::{Finished, Poller, Server, ServerBuilder, binary, eventually, release};

fn restart(server: &Server, ticket: u64) {
    server.signal(SIGUSR2);
    server.eventually_logs(&format!("Restart {ticket} (restart) succeeded"));
    assert_eq!(server.written_pid(), Some(server.master()), "the same master as ever");
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).expect("it is there").ino()
}

#[test]
fn a_new_program_of_the_same_name_takes_over() {
    let builder = ServerBuilder::of_source(&release("old", ""));
    let program = builder.path("rackrs");
    fs::copy(binary(), &program).expect("the program can be copied");
    let mut server = builder.through(&program.to_string_lossy(), &[]).start();
    let (exe, before) = (format!("/proc/{}/exe", server.master()), inode(&program));
    assert_eq!(inode(&exe), before);
    let clients = Poller::start(&server);
    for ticket in 1..=2 {
        let next = server.path("next");
        fs::copy(binary(), &next).expect("the program can be copied");
        fs::rename(&next, &program).expect("the folder can be written");
        assert_ne!(inode(&program), inode(&exe));
        restart(&server, ticket);
        assert_eq!(inode(&exe), inode(&program), "the master is the new program");
        // The former one may be there still.
        let molds = server.stats()["molds"].clone();
        let mold = molds.as_array().and_then(|molds| molds.last()).expect("there is one");
        let mold = mold["pid"].as_i64().expect("it has a pid");
        assert_eq!(inode(format!("/proc/{mold}/exe")), inode(&program), "so is its mold");
    }
    let _all_answered = clients.finish();
    server.end_by(SIGTERM);
}

/// Releases in folders, of which `current` names one, as Capistrano lays them out.
fn lay_out(folder: &Path, number: u32, files: &[(&str, &str)]) {
    let path = folder.join(format!("releases/{number}"));
    fs::create_dir_all(&path).expect("the folder can be written");
    for (name, text) in files {
        fs::write(path.join(name), text).expect("the folder can be written");
    }
    let (link, next) = (folder.join("current"), folder.join("next"));
    symlink(path, &next).and_then(|()| fs::rename(next, link)).expect("a link can be made");
}

/// In `current`, by the name that a shell has for it.
const IN_CURRENT: &str = "cd \"$FOLDER/current\" && exec \"$@\"";

fn in_current(builder: ServerBuilder, words: &[&OsStr]) -> ServerBuilder {
    let shell = ["-c", IN_CURRENT, "sh"].map(OsStr::new);
    builder.through("/bin/sh", &[&shell, words].concat())
}

#[test]
fn another_release_behind_the_same_link_is_served_though_the_first_is_deleted() {
    let builder = ServerBuilder::bare();
    let folder = builder.folder().to_owned();
    let deploy = |number, name: &str| {
        let check = format!("require './name'\nraise 'not of this release' if NAME != '{name}'");
        let files =
            [("config.ru", release(name, &check)), ("name.rb", format!("NAME = '{name}'\n"))];
        lay_out(&folder, number, &files.each_ref().map(|(file, text)| (*file, text.as_str())));
    };
    deploy(1, "first");
    let mut server = in_current(builder, &[binary().as_os_str()]).start();
    assert!(server.get("/").text().starts_with("first "));
    let clients = Poller::start(&server);
    for (ticket, name) in [(1, "second"), (2, "third")] {
        let number = u32::try_from(ticket).expect("it is small");
        deploy(number + 1, name);
        fs::remove_dir_all(folder.join(format!("releases/{number}"))).expect("it was there");
        restart(&server, ticket);
        clients.eventually_hears(&format!("{name} "));
    }
    let _all_answered = clients.finish();
    server.end_by(SIGTERM);
}

/// Writes a Gemfile's lock; gems of the machine only, nothing is fetched.
fn lock(folder: &Path) {
    let mut bundle = Command::new("bundle");
    bundle.args(["install", "--local", "--quiet"]).current_dir(folder).env("HOME", folder);
    Finished::of(&mut bundle, folder).assert_success();
}

/// A gem that is a part of Ruby.
const MORE: &str = "gem 'rack'\ngem 'find'\n";

/// Whether the site has it, and where it is.
fn gems(server: &Server) -> (bool, String) {
    let text = server.get("/").expect(200).text();
    (text.lines().next().expect("a line").split(' ').any(|gem| gem == "find"), text)
}

/// Tells its gems.
const GEMS: &str = "run ->(_) { [200, {}, [Gem.loaded_specs.keys.sort.join(' '), \"\\n\", ENV['BUNDLE_GEMFILE']]] }\n";

#[test]
fn another_gemfile_is_obeyed() {
    let builder = ServerBuilder::of_source(GEMS).file("Gemfile", "gem 'rack'\n");
    lock(builder.folder());
    let server = builder.through("bundle", &["exec".as_ref(), binary().as_os_str()]).start();
    assert!(!gems(&server).0, "{}", gems(&server).1);
    let clients = Poller::start(&server);
    for (ticket, gemfile, expected) in [(1, MORE, true), (2, "gem 'rack'\n", false)] {
        server.write("Gemfile", gemfile);
        lock(&server.path(""));
        restart(&server, ticket);
        let obeyed = || (gems(&server).0 == expected).then_some(());
        eventually("the gems are those of the Gemfile", obeyed);
    }
    let _all_answered = clients.finish();
}

#[test]
fn the_gemfile_of_another_release_is_obeyed() {
    let builder = ServerBuilder::bare();
    let folder = builder.folder().to_owned();
    let deploy = |number, gemfile: &str| {
        lay_out(&folder, number, &[("config.ru", GEMS), ("Gemfile", gemfile)]);
        lock(&folder.join(format!("releases/{number}")));
    };
    deploy(1, "gem 'rack'\n");
    let words = [OsStr::new("bundle"), OsStr::new("exec"), &binary().into_os_string()];
    let server = in_current(builder, &words).start();
    assert!(!gems(&server).0, "{}", gems(&server).1);
    let clients = Poller::start(&server);
    deploy(2, MORE);
    fs::remove_dir_all(folder.join("releases/1")).expect("it was there");
    restart(&server, 1);
    eventually("the gems are those of the second release", || {
        let (has_it, text) = gems(&server);
        (has_it && !text.contains("releases/1")).then_some(())
    });
    let _all_answered = clients.finish();
}
