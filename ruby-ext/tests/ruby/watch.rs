//! What a pool tells who watches it. That it makes sense is checked in every test of a pool.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::getpid,
};
use rackrs_ruby::{
    hooks,
    pool::{BEAT, PoolEnd},
    vm::{Ending, Vm},
};

use super::{
    child::{eval, execute, succeeds},
    pool_kit::{PATIENCE, Setting, USUAL, answer, with_pool},
    recorder::TOLD_BY_A_CHILD,
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("watch_sees_the_main_thread_run_while_nothing_happens", || drop(succeeds("watch-beat"))),
    ("watch_sees_hands_and_requests", || drop(succeeds("watch-requests"))),
    ("watch_sees_the_wait_for_the_gvl", || drop(succeeds("watch-gvl"))),
    ("watch_sees_nothing_of_a_forked_child", || drop(succeeds("watch-fork"))),
    ("watch_and_thread_hooks_see_every_end_of_a_thread", || drop(succeeds("watch-hooks"))),
];

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    match scenario {
        "watch-beat" => beats(vm),
        "watch-requests" => requests(vm),
        "watch-gvl" => gvl_waits(vm),
        "watch-fork" => forks(vm),
        "watch-hooks" => thread_hooks(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

fn beats(vm: &Vm) {
    execute(vm.ruby(), KILL_HANDS);
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        let ran = || client.recorder.notes().ran;
        let (before, started) = (ran(), Instant::now());
        client.until("two beats", || ran() >= before + 3);
        assert!(started.elapsed() > BEAT, "an idle foreman sleeps");
        // With every thread at work it waits for other things.
        let asleep: Vec<_> = (0..4).map(|_| client.send("sleep")).collect();
        client.await_status("all at work", |now| now.busy == 4);
        let before = ran();
        client.until("two beats", || ran() >= before + 3);
        client.pool.close();
        let before = ran();
        client.until("two beats", || ran() >= before + 3);
        kill_hands();
        assert!(asleep.into_iter().all(|reply| answer(reply).is_none()));
    });
    assert!(matches!(end.unwrap(), PoolEnd::Drained));
}

/// Kills the threads of the pool, by a signal's trap on the main thread.
const KILL_HANDS: &str = "
trap(:USR1) { Thread.list.each { |t| t.kill if t.name&.start_with?('rackrs srv') } }
nil
";

fn kill_hands() {
    kill(getpid(), Signal::SIGUSR1).unwrap();
}

fn requests(vm: &Vm) {
    execute(vm.ruby(), KILL_HANDS);
    let (end, (), _) = with_pool(vm, Setting { threads: 2..=2, ..USUAL }, |client| {
        client.await_status("both", |now| now.spawned == 2 && now.starting == 0);
        let hands = client.recorder.notes().hands;
        assert_eq!(hands.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert_ne!(hands[&0], hands[&1]);
        assert!(hands.values().all(|tid| *tid != getpid().as_raw()));
        let asleep = client.send("sleep");
        client.await_status("one at work", |now| now.busy == 1);
        let notes = client.recorder.notes();
        assert_eq!(notes.requests.values().collect::<Vec<_>>(), ["/sleep"]);
        for path in ["hello", "raise", "exit", "panic", "throw"] {
            client.get(path);
        }
        let is_alone = || client.recorder.notes().requests == notes.requests;
        client.until("the other one is free", is_alone);
        assert_eq!(client.recorder.notes().served.len(), 6);
        client.pool.close();
        kill_hands();
        assert_eq!(answer(asleep), None);
    });
    assert!(matches!(end.unwrap(), PoolEnd::Drained));
}

fn gvl_waits(vm: &Vm) {
    execute(vm.ruby(), "Thread.new { loop {} }; nil");
    let (end, (), _) = with_pool(vm, Setting { threads: 1..=1, ..USUAL }, |client| {
        client.await_status("the thread", |now| now.spawned == 1 && now.starting == 0);
        let waits = || client.recorder.notes().served.into_iter().map(|(_, wait)| wait);
        // How long depends on where the other thread is in its time slice.
        client.until("a wait", || {
            client.until("it is idle", || client.queue.load().waiting == 1);
            assert!(client.get("hello").is_some());
            waits().any(|wait| wait > Duration::from_millis(1))
        });
        // Behind a request that waits for the GVL others are taken without a wait.
        client.until("no wait", || {
            let replies: Vec<_> = (0..20).map(|_| client.send("hello")).collect();
            assert!(replies.into_iter().all(|reply| answer(reply).is_some()));
            waits().any(|wait| wait.is_zero())
        });
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

/// One child comes back out of the request, another one serves nothing but tells its exit status.
fn forks(vm: &Vm) {
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        let forked = client.get("fork").unwrap();
        assert_eq!(forked, "parent 0", "{TOLD_BY_A_CHILD}: the child told of its parent's threads");
        assert!(client.get("hello").is_some());
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

/// Idle threads that go, killed threads and those of the end: each runs both hooks.
fn thread_hooks(vm: &Vm) {
    let ruby = vm.ruby();
    hooks::define(ruby, "1").unwrap();
    execute(
        ruby,
        "$log = Queue.new
         Rackrs.before_thread_start { $log << [:start, Thread.current.object_id] }
         Rackrs.before_thread_start { raise 'at the start' }
         Rackrs.before_thread_exit { Thread.pass; $log << [:exit, Thread.current.object_id] }
         Rackrs.before_thread_exit { raise 'at the exit' }; nil",
    );
    execute(ruby, KILL_HANDS);
    let setting = Setting { idle: Duration::from_millis(1), drain: Some(PATIENCE), ..USUAL };
    let (end, (), strays) = with_pool(vm, setting, |client| {
        let replies: Vec<_> = (0..4).map(|_| client.send("wait")).collect();
        client.await_status("the maximum", |now| now.busy == 4);
        // Kills all four in their requests.
        kill_hands();
        assert!(replies.into_iter().all(|reply| answer(reply).is_none()));
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        assert_eq!(client.get("kill"), None);
        client.until("new hands", || client.recorder.notes().began_and_ended.0 >= 7);
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    let (started, ended): (usize, usize) = (
        eval(ruby, "$all = Array.new($log.size) { $log.pop }; $all.count { _1[0] == :start }"),
        eval(ruby, "$all.count { _1[0] == :exit }"),
    );
    assert!(started >= 7 && started == ended, "{started} {ended}");
    assert!(eval::<bool>(ruby, "$all.group_by(&:last).values.all? { _1.size == 2 }"));
    let count = |text: &str| strays.iter().filter(|stray| *stray == text).count();
    assert_eq!(count("at the start (RuntimeError)"), started);
    assert_eq!(count("at the exit (RuntimeError)"), started);
    assert_eq!(strays.len(), 2 * started, "{strays:?}");
}
