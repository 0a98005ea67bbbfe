//! Double forks: who returns where, and what happens when one of them fails.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use nix::{
    errno::Errno,
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, getpid, getppid},
};
use rackrs_ruby::{
    fork::{Fork, ForkError, fork_orphan},
    vm::{Ending, Vm},
};

use super::{
    child::{both, command, eval, execute, stderr, stdout, succeeds},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("fork_gives_a_process_that_can_run_a_pool", || drop(succeeds("fork-pool"))),
    ("fork_of_a_worker_whose_pool_has_ended_gives_workers", || drop(succeeds("fork-again"))),
    ("fork_gives_the_child_to_the_subreaper", || drop(succeeds("fork-orphan"))),
    ("fork_runs_hooks_and_threads_work_in_the_child", || drop(succeeds("fork-hooks"))),
    ("fork_runs_at_exit_once_in_each_lasting_process", at_exit),
    ("fork_failing_first_is_an_error_in_the_parent", || drop(succeeds("fork-first-fails"))),
    ("fork_failing_second_is_an_error_in_the_parent", || drop(succeeds("fork-second-fails"))),
    ("fork_with_a_hook_raising_in_the_new_process_is_an_error", hook_raises),
    ("fork_unreported_ends_the_child", || drop(succeeds("fork-parent-hook"))),
];

fn at_exit() {
    let printed = succeeds("fork-at-exit");
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["child", "child at_exit", "parent", "parent at_exit"], "{printed}");
}

fn hook_raises() {
    let output = command("fork-child-hook").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(stderr(&output).contains("no good (RuntimeError)"), "{}", both(&output));
    assert_eq!(stdout(&output), "Unreported\n");
}

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    become_subreaper();
    match scenario {
        "fork-orphan" => orphan(vm),
        "fork-hooks" => hooks(vm),
        "fork-pool" => {
            in_child(vm, || catch_unwind(AssertUnwindSafe(|| super::pool::serves(vm))).is_ok());
        }
        "fork-again" => again(vm),
        "fork-at-exit" => return with_at_exit(vm),
        "fork-first-fails" => first_fails(vm),
        "fork-second-fails" => second_fails(vm),
        "fork-child-hook" => child_hook(vm),
        "fork-parent-hook" => parent_hook(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

/// Orphans come to this process, as they come to the master.
fn become_subreaper() {
    // SAFETY: sets a flag of this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
}

/// In the child: ends with whether `holds`, without unwinding into the parent's frames.
fn leave(holds: bool) -> ! {
    // SAFETY: ends this process.
    unsafe { libc::_exit(i32::from(!holds)) }
}

const ANY: Pid = Pid::from_raw(-1);

/// Waits through interruptions: Ruby has a handler for SIGCHLD.
fn reap(child: Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            ended => return ended,
        }
    }
}

/// Forks, runs `body` in the child, and waits for it in the parent.
fn in_child(vm: &Vm, body: impl FnOnce() -> bool) {
    match fork_orphan(vm).unwrap() {
        Fork::Child => leave(body()),
        Fork::Parent { child } => {
            assert_eq!(reap(child), Ok(WaitStatus::Exited(child, 0)));
        }
    }
}

/// A worker serves, drains and becomes the mold of two others. All come to this process.
fn again(vm: &Vm) {
    let serve_well = || catch_unwind(AssertUnwindSafe(|| super::pool::serves(vm))).is_ok();
    in_child(vm, || {
        let served = serve_well();
        vm.warmup().unwrap();
        for _ in 0..2 {
            match fork_orphan(vm) {
                Ok(Fork::Child) => leave(serve_well()),
                Ok(Fork::Parent { child }) => println!("{child}"),
                Err(error) => panic!("{error}"),
            }
        }
        served && serve_well()
    });
    for _ in 0..2 {
        assert!(matches!(reap(ANY), Ok(WaitStatus::Exited(_, 0))));
    }
    assert_eq!(reap(ANY), Err(Errno::ECHILD));
}

fn orphan(vm: &Vm) {
    let caller = getpid();
    in_child(vm, || getpid() != caller && getppid() == caller);
}

fn hooks(vm: &Vm) {
    let ruby = vm.ruby();
    execute(
        ruby,
        "$forks = 0; Process.singleton_class.prepend(Module.new { def _fork = super.tap { $forks += 1 if _1 == 0 } }); nil",
    );
    in_child(vm, || {
        let forks: i32 = eval(ruby, "$forks");
        let native = std::thread::spawn(|| 1).join().unwrap();
        let thread: i32 = eval(ruby, "Thread.new { 2 }.value");
        (forks, native, thread) == (2, 1, 2)
    });
    assert_eq!(eval::<i32>(ruby, "$forks"), 0);
}

fn with_at_exit(vm: &Vm) -> Ending {
    let ruby = vm.ruby();
    execute(ruby, "$stdout.sync = true; at_exit { puts \"#{$who} at_exit\" }; nil");
    let who = match fork_orphan(vm).unwrap() {
        Fork::Child => "child",
        Fork::Parent { .. } => "parent",
    };
    execute(ruby, &format!("$who = '{who}'; puts $who"));
    if who == "parent" {
        reap(ANY).unwrap();
    }
    Ending::Status(0)
}

fn refuse_forks_when(vm: &Vm, condition: &str) {
    let hook = format!(
        "$caller = $$; Process.singleton_class.prepend(Module.new {{ def _fork = ({condition}) ? raise(Errno::EAGAIN) : super }}); nil"
    );
    execute(vm.ruby(), &hook);
}

fn first_fails(vm: &Vm) {
    refuse_forks_when(vm, "true");
    match fork_orphan(vm) {
        Err(ForkError::First(exception)) => assert_eq!(exception.class, "Errno::EAGAIN"),
        other => panic!("{other:?}"),
    }
    assert_eq!(reap(ANY), Err(Errno::ECHILD));
}

fn second_fails(vm: &Vm) {
    refuse_forks_when(vm, "$$ != $caller");
    match fork_orphan(vm) {
        Err(ForkError::Second(message)) => assert!(message.contains("EAGAIN"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(reap(ANY), Err(Errno::ECHILD));
}

fn child_hook(vm: &Vm) {
    execute(
        vm.ruby(),
        "Process.singleton_class.prepend(Module.new { def _fork = super.tap { raise 'no good' if _1 == 0 } }); nil",
    );
    match fork_orphan(vm) {
        Err(ForkError::Unreported(_)) => println!("Unreported"),
        other => panic!("{other:?}"),
    }
}

/// The hook raises in the parent when the new process exists already: that one must not live on.
fn parent_hook(vm: &Vm) {
    execute(
        vm.ruby(),
        "$caller = $$; Process.singleton_class.prepend(Module.new { def _fork = super.tap { raise 'late' if $$ == $caller } }); nil",
    );
    match fork_orphan(vm) {
        Err(ForkError::First(exception)) => assert_eq!(exception.message, "late"),
        other => panic!("{other:?}"),
    }
    while reap(ANY).is_ok() {}
    let children = format!("/proc/self/task/{}/children", getpid());
    assert!(!Path::new(&children).exists() || fs::read_to_string(children).unwrap().is_empty());
}
