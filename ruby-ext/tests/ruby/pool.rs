//! The threads of a worker: growth, replacement, draining, and requests that kill their thread.

use std::{sync::mpsc, time::Duration};

use nix::sys::signal::{Signal, kill};
use rackrs_ruby::{
    exception::Exception,
    exchange::Reply,
    pool::{PoolEnd, PoolStatusNow},
    signals,
    vm::{Ending, Vm},
};

use super::{
    child::{eval, execute, succeeds},
    pool_kit::{PATIENCE, Setting, USUAL, answer, with_pool},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("pool_serves_and_drains", || drop(succeeds("pool-serves"))),
    ("pool_grows_to_its_maximum_only_on_demand", || drop(succeeds("pool-grows"))),
    ("pool_shrinks_to_its_minimum_when_idle", || drop(succeeds("pool-shrinks"))),
    ("pool_survives_a_fork_that_comes_back", || drop(succeeds("pool-fork"))),
    ("pool_survives_what_a_request_does_to_its_thread", || drop(succeeds("pool-hostile"))),
    ("pool_replaces_threads_killed_between_requests", || drop(succeeds("pool-kills-idle"))),
    ("pool_runs_signal_traps_and_other_threads", || drop(succeeds("pool-signals"))),
    ("pool_kills_at_the_end_of_the_drain", || drop(succeeds("pool-kill"))),
    ("pool_gives_up_on_threads_that_hang_outside_of_ruby", || drop(succeeds("pool-hangs"))),
    ("pool_ends_with_an_exit_in_a_trap", || drop(succeeds("pool-exit"))),
];

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    match scenario {
        "pool-serves" => serves(vm),
        "pool-grows" => grows(vm),
        "pool-shrinks" => shrinks(vm),
        "pool-fork" => forks(vm),
        "pool-hostile" => hostile(vm),
        "pool-kills-idle" => kills_idle(vm),
        "pool-signals" => traps(vm),
        "pool-kill" => kills(vm),
        "pool-hangs" => hangs(vm),
        "pool-exit" => exits(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

pub(crate) fn serves(vm: &Vm) {
    let (end, queued, strays) = with_pool(vm, USUAL, |client| {
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        for _ in 0..1000 {
            let hello = client.get("hello").unwrap();
            assert!(hello.starts_with("hello from rackrs srv 00"), "{hello}");
        }
        // Closed behind these: they are served all the same.
        let queued: Vec<Reply> = (0..50).map(|_| client.send("hello")).collect();
        client.pool.close();
        queued
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(queued.into_iter().all(|reply| answer(reply).is_some()));
    assert_eq!(strays, Vec::<String>::new());
    assert_eq!(eval::<usize>(vm.ruby(), "Thread.list.size"), 1);
}

fn grows(vm: &Vm) {
    execute(vm.ruby(), "trap(:USR2) { 8.times { $gate << nil } }; nil");
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        client.await_status("the minimum", |now| now.spawned == 2);
        let mut replies = vec![client.send("wait"), client.send("wait")];
        client.await_status("two at work", |now| now.busy == 2);
        assert_eq!(client.pool.status().now().spawned, 2, "nobody was needed");
        replies.extend((0..6).map(|_| client.send("wait")));
        client.await_status("the maximum", |now| now.busy == 4);
        assert_eq!(client.pool.status().now().spawned, 4);
        assert_eq!(client.queue.load().queued, 4);
        client.pool.close();
        // The gate is opened by a signal's trap, on the foreman's thread.
        kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
        for reply in replies {
            assert_eq!(answer(reply).as_deref(), Some("waited"));
        }
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

fn shrinks(vm: &Vm) {
    execute(vm.ruby(), "trap(:USR2) { 8.times { $gate << nil } }; nil");
    let setting = Setting { idle: Duration::from_millis(1), ..USUAL };
    let (end, (), _) = with_pool(vm, setting, |client| {
        let replies: Vec<Reply> = (0..4).map(|_| client.send("wait")).collect();
        client.await_status("the maximum", |now| now.busy == 4);
        kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
        assert!(replies.into_iter().all(|reply| answer(reply).is_some()));
        client.await_status("the minimum", |now| now.spawned == 2);
        assert!(client.get("hello").is_some());
        // One more may have come for it, when both were just between two waits.
        client.await_status("the minimum again", |now| now.spawned == 2);
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

/// The child leaves its copy of the pool and ends; it never serves.
fn forks(vm: &Vm) {
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        assert_eq!(client.get("fork").as_deref(), Some("parent 0"));
        assert!(client.get("hello").is_some());
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

fn hostile(vm: &Vm) {
    let paths = [
        "exit",
        "throw",
        "raise",
        "kill",
        "thread-exit",
        "stack",
        "memory",
        "no-memory",
        "fatal",
        "panic",
        "nil",
        "missing",
    ];
    let (end, (), strays) = with_pool(vm, Setting { threads: 1..=1, ..USUAL }, move |client| {
        for _ in 0..3 {
            for path in paths {
                let lost = client.get(path);
                assert_eq!(lost, None, "{path}");
                assert_eq!(
                    client.get("hello").as_deref(),
                    Some("hello from rackrs srv 001"),
                    "{path}"
                );
            }
        }
        client.await_status("one thread", |now| {
            now == PoolStatusNow { spawned: 1, ..PoolStatusNow::default() }
        });
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    // All but the two kills are reported.
    assert_eq!(strays.len(), 3 * (paths.len() - 2), "{strays:#?}");
    assert!(strays.iter().any(|stray| stray == "as asked (panic)"));
}

fn kills_idle(vm: &Vm) {
    execute(
        vm.ruby(),
        "trap(:USR1) { Thread.list.each { |t| t.kill if t.name&.start_with?('rackrs srv') }; $killed = true };
         trap(:USR2) { Thread.list.each { |t| t.raise('stray') if t.name&.start_with?('rackrs srv') } }; nil",
    );
    let (end, (), strays) = with_pool(vm, USUAL, |client| {
        for _ in 0..20 {
            client.await_status("the minimum", |now| now.spawned == 2);
            kill(nix::unistd::getpid(), Signal::SIGUSR1).unwrap();
            // A thread may be killed with a request in its hands.
            assert!((0..4).any(|_| client.get("hello").is_some()));
        }
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
        assert!((0..4).any(|_| client.get("hello").is_some()));
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(strays.iter().all(|stray| stray == "stray (RuntimeError)"), "{strays:?}");
}

fn traps(vm: &Vm) {
    let ruby = vm.ruby();
    let (sender, receiver) = mpsc::channel();
    signals::trap(ruby, Signal::SIGUSR1, move |_| sender.send(()).unwrap()).unwrap();
    execute(ruby, "$ticks = 0; Thread.new { loop { sleep 0.001; $ticks += 1 } }; nil");
    let (end, (), _) = with_pool(vm, USUAL, move |client| {
        for _ in 0..5 {
            kill(nix::unistd::getpid(), Signal::SIGUSR1).unwrap();
            receiver.recv_timeout(PATIENCE).expect("the trap runs");
        }
        assert!(client.get("hello").is_some());
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(eval::<i64>(ruby, "sleep 0.001 until $ticks > 0; $ticks") > 0);
}

fn kills(vm: &Vm) {
    let setting = Setting { threads: 2..=2, drain: Some(Duration::ZERO), ..USUAL };
    let (end, reply, _) = with_pool(vm, setting, |client| {
        let reply = client.send("sleep");
        client.await_status("one at work", |now| now.busy == 1);
        reply
    });
    assert!(matches!(end.unwrap(), PoolEnd::Killed(1 | 2)));
    assert_eq!(answer(reply), None);
    assert!(eval::<bool>(vm.ruby(), "$ensured"));
}

fn hangs(vm: &Vm) {
    let setting = Setting { threads: 1..=1, drain: Some(Duration::ZERO), ..USUAL };
    let (end, reply, _) = with_pool(vm, setting, |client| {
        let reply = client.send("hang");
        client.await_status("one at work", |now| now.busy == 1);
        reply
    });
    assert_eq!(end.unwrap(), PoolEnd::Hanging(1));
    drop(reply);
}

fn exits(vm: &Vm) {
    execute(vm.ruby(), "trap(:USR1) { exit 3 }; nil");
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        assert!(client.get("hello").is_some());
        kill(nix::unistd::getpid(), Signal::SIGUSR1).unwrap();
        // Closing it now would race with the signal.
        client.await_end();
    });
    let exception = Exception::read(vm.ruby(), &end.unwrap_err());
    assert_eq!(exception.kind, rackrs_ruby::exception::Kind::Exit(3));
}
