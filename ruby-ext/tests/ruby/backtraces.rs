//! Backtraces of threads that do not answer: asked for, and as last words.

use std::{
    fs,
    io::Read,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
};

use magnus::{Value, function, prelude::*};
use nix::{
    libc,
    unistd::{dup, dup2_stderr, getpid, gettid, pipe},
};
use rackrs_ruby::{
    backtraces::last_resort,
    pool::PoolEnd,
    vm::{Ending, Vm},
};

use super::{
    child::{execute, succeeds},
    pool_kit::{Client, Setting, USUAL, with_pool},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("backtraces_tell_of_a_deadlock_and_of_a_loop", || drop(succeeds("backtraces-gentle"))),
    ("backtraces_survive_odd_threads", || drop(succeeds("backtraces-odd"))),
    ("backtraces_of_the_last_resort_need_no_gvl", || drop(succeeds("backtraces-last"))),
];

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    match scenario {
        "backtraces-gentle" => gentle(vm),
        "backtraces-odd" => odd(vm),
        "backtraces-last" => last(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

/// Asks, and returns what the main thread told.
fn ask(client: &Client) -> String {
    let told = || client.serve.backtraces.lock().unwrap().clone();
    let before = told().len();
    client.pool.ask_for_backtraces();
    client.until("the backtraces", || told().len() > before);
    told().pop().unwrap()
}

/// Loads `code` as the file `stuck.rb`.
fn load(vm: &Vm, code: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stuck.rb");
    fs::write(&file, code).unwrap();
    let _: Value = vm.ruby().module_kernel().funcall("load", (file.to_str().unwrap(),)).unwrap();
}

const KNOTS: &str = r#"
$one, $two = Mutex.new, Mutex.new
$met = Queue.new
def tie(first, second)
  first.synchronize do
    $met << 1
    Thread.pass until $met.size == 2
    second.lock
  end
end
$more = {
  "one" => -> { tie($one, $two) },
  "two" => -> { tie($two, $one) },
  "loop" => -> { loop { $looping = true } },
}
"#;

fn gentle(vm: &Vm) {
    load(vm, KNOTS);
    let drain = Some(std::time::Duration::ZERO);
    let (end, text, _) = with_pool(vm, Setting { threads: 3..=3, drain, ..USUAL }, |client| {
        let replies = ["one", "two", "loop"].map(|path| client.send(path));
        client.await_status("all at work", |now| now.busy == 3);
        let is_locked = |line: &&str| line.contains("stuck.rb:8:in ") && line.ends_with("lock'");
        client.until("the knot", || ask(client).lines().filter(is_locked).count() == 2);
        let text = ask(client);
        drop(replies);
        text
    });
    assert_eq!(end.unwrap(), PoolEnd::Killed(3));
    assert!(text.starts_with("4 Ruby threads\n"), "{text}");
    for part in [
        "rackrs srv 001, seat 0 of the pool, ",
        "rackrs srv 003, seat 2 of the pool, ",
        ", sleep:\n",
        ", run:\n",
        "stuck.rb:8:in ",
        "stuck.rb:14:in ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn odd(vm: &Vm) {
    execute(
        vm.ruby(),
        "class Odd < Thread; def name = raise; def inspect = 42; def backtrace(*) = nil; end
         class Other < Thread; def status = throw(:x); def backtrace(*) = [nil, 'here']; end
         Odd.new { sleep }; Other.new { sleep }.name = 'other'
         Thread.new { def deep(n) = n == 0 ? sleep : deep(n - 1); deep(1000) }; Thread.pass
         nil",
    );
    let (end, text, _) = with_pool(vm, USUAL, |client| {
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        ask(client)
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(text.starts_with("6 Ruby threads\n"), "{text}");
    assert!(text.contains("a thread without a name, sleep:\n  (no backtrace)\n"), "{text}");
    assert!(text.contains("other, dead:\n  (a frame without a text)\n  here\n"), "{text}");
    assert!(text.lines().count() < 150, "{text}");
}

static STUCK: AtomicBool = AtomicBool::new(false);
static FREE: AtomicBool = AtomicBool::new(false);

/// A method in C that does not give up the GVL.
fn keep_the_gvl() {
    STUCK.store(true, Ordering::SeqCst);
    while !FREE.load(Ordering::SeqCst) {
        std::hint::spin_loop();
    }
}

const STUCK_RB: &str = r#"
def stuck(depth)
  return stuck(depth - 1) if depth > 0
  keep_the_gvl
end
$more = { "stuck" => -> { stuck(200); "free" } }
"#;

/// Sends the signal of the last resort to one thread of this process.
fn prompt(tid: i32) {
    let process = getpid().as_raw();
    // SAFETY: sends a signal that this process handles.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, tid, last_resort::signal()) };
    assert_eq!(sent, 0);
}

fn last(vm: &Vm) {
    let method = function!(keep_the_gvl, 0);
    vm.ruby().define_global_function("keep_the_gvl", method).unwrap();
    load(vm, STUCK_RB);
    last_resort::arm().unwrap();
    let (end, text, _) = with_pool(vm, Setting { threads: 1..=1, ..USUAL }, |client| {
        let reply = client.send("stuck");
        client.until("it is stuck", || STUCK.load(Ordering::SeqCst));
        let text = last_words(client.recorder.notes().hands[&0]);
        FREE.store(true, Ordering::SeqCst);
        assert_eq!(super::pool_kit::answer(reply).as_deref(), Some("free"));
        // It has survived.
        assert!(client.get("hello").is_some());
        text
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("the Ruby frames of thread "), "{text}");
    assert_eq!(lines[1], "  (C function)", "{text}");
    assert!(lines[2].ends_with("/stuck.rb:4:in 'stuck'"), "{text}");
    assert!(lines[3].ends_with("/stuck.rb:3:in 'stuck'"), "{text}");
    assert_eq!(lines.len(), 1 + last_resort::FRAMES_MAX, "{text}");
}

/// What is written to descriptor 2 when three threads are asked: this one, which is not Ruby's and
/// says nothing, `tid`, and the main thread, whose first line ends the text.
fn last_words(tid: i32) -> String {
    let stderr = dup(std::io::stderr().as_fd()).unwrap();
    let (reader, writer) = pipe().unwrap();
    dup2_stderr(&writer).unwrap();
    prompt(gettid().as_raw());
    prompt(tid);
    let main = getpid().as_raw();
    let mut text = String::new();
    let mut reader = fs::File::from(reader);
    let mut read_until = |is_enough: &dyn Fn(&str) -> bool| {
        while !is_enough(&text) {
            let mut bytes = [0; 4096];
            let count = reader.read(&mut bytes).unwrap();
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        text.clone()
    };
    let words = read_until(&|text| text.lines().count() > last_resort::FRAMES_MAX);
    prompt(main);
    let mains = format!("thread {main} of process {main}, innermost first:\n");
    read_until(&|text| text.contains(&mains));
    dup2_stderr(&stderr).unwrap();
    words
}
