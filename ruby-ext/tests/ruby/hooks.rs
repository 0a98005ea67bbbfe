//! The hooks of `Rackrs`: order, arguments, and blocks that do not behave.

use nix::{errno::Errno, sys::wait::waitpid, unistd::Pid};
use rackrs_ruby::{
    Ruby,
    exception::Kind,
    hooks::{self, Argument, Hook},
    vm::{Ending, Vm},
};

use super::{
    child::{both, command, eval, execute, stderr, succeeds},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("hooks_run_in_order_with_their_arguments", || drop(succeeds("hooks-order"))),
    ("hooks_that_raise_do_not_stop_the_others", || drop(succeeds("hooks-raise"))),
    ("hooks_that_are_killed_stop", || drop(succeeds("hooks-kill"))),
    ("hooks_may_fork", forks),
    ("hooks_live_through_collections", || drop(succeeds("hooks-collected"))),
];

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    let ruby = vm.ruby();
    assert_eq!(hooks::run(ruby, Hook::BeforeFork, &[]), [], "not defined yet");
    hooks::define(ruby, "1.2.3").unwrap();
    execute(ruby, "$log = []; nil");
    match scenario {
        "hooks-order" => order(ruby),
        "hooks-raise" => raise(ruby),
        "hooks-kill" => killed(ruby),
        "hooks-fork" => fork(ruby),
        "hooks-collected" => collected(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

fn order(ruby: &Ruby) {
    for hook in Hook::ALL {
        let name = hook.name();
        execute(ruby, &format!("Rackrs.{name} {{ |*given| $log << [:{name}, given] }}; nil"));
    }
    // Again, by who loads it as well.
    hooks::define(ruby, "4").unwrap();
    assert!(eval::<bool>(ruby, "Rackrs::VERSION == '1.2.3' && Rackrs::VERSION.frozen?"));
    for hook in Hook::ALL {
        let texts = hook.arguments().iter().map(|text| Argument::Text((*text).to_owned()));
        assert_eq!(hooks::run(ruby, *hook, &texts.collect::<Vec<_>>()), []);
        let (name, arguments) = (hook.name(), hook.arguments());
        assert!(eval::<bool>(ruby, &format!("$log.shift == [:{name}, {arguments:?}]")), "{name}");
        assert!(eval::<bool>(ruby, "$log.empty?"));
    }
    execute(
        ruby,
        "Rackrs.before_worker_boot { $log << 0 }
         Rackrs.before_worker_boot { |index| $log << index }
         Rackrs.before_worker_boot { |index, more| $log << more }
         Rackrs.before_worker_boot { Rackrs.before_worker_boot { $log << :late }; $log << :last }
         nil",
    );
    let index = [Argument::Integer(7)];
    assert_eq!(hooks::run(ruby, Hook::BeforeWorkerBoot, &index), []);
    assert!(eval::<bool>(ruby, "$log == [[:before_worker_boot, [7]], 0, 7, nil, :last]"));
    let refused = ruby.eval::<magnus::Value>("Rackrs.before_fork").unwrap_err();
    assert!(refused.to_string().contains("Rackrs.before_fork takes a block"), "{refused}");
}

fn raise(ruby: &Ruby) {
    execute(
        ruby,
        "Rackrs.after_booted { raise 'one' }
         Rackrs.after_booted { exit 3 }
         Rackrs.after_booted { throw :nowhere }
         Rackrs.after_booted { raise Exception, 'two' }
         Rackrs.after_booted(&->(needed) { $log << needed })
         def returning = Rackrs.after_booted { return 1 }
         returning
         Rackrs.after_booted { $log << :reached }
         nil",
    );
    let exceptions = hooks::run(ruby, Hook::AfterBooted, &[]);
    let classes: Vec<&str> = exceptions.iter().map(|exception| &*exception.class).collect();
    let expected = ["RuntimeError", "SystemExit", "UncaughtThrowError", "Exception"];
    assert_eq!(classes[..4], expected);
    assert_eq!(classes[4..], ["ArgumentError", "LocalJumpError"]);
    assert_eq!(exceptions[1].kind, Kind::Exit(3));
    assert!(eval::<bool>(ruby, "$log == [:reached]"));
    assert_eq!(hooks::run(ruby, Hook::AfterStopped, &[]), []);
}

fn killed(ruby: &Ruby) {
    execute(
        ruby,
        "Rackrs.before_thread_start { $log << 1 }
         Rackrs.before_thread_start { Thread.current.kill }
         Rackrs.before_thread_start { $log << 2 }
         nil",
    );
    let run = ruby.thread_create_from_fn(|ruby| {
        let exceptions = hooks::run(ruby, Hook::BeforeThreadStart, &[]);
        let kinds = exceptions.iter().map(|exception| format!("{:?}", exception.kind));
        kinds.collect::<Vec<_>>()
    });
    let kinds: Vec<String> = magnus::value::ReprValue::funcall(run, "value", ()).unwrap();
    assert_eq!(kinds, ["Kill"]);
    assert!(eval::<bool>(ruby, "$log == [1]"));
}

fn forks() {
    let output = command("hooks-fork").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(stderr(&output).contains("a block of Rackrs.before_fork forked"), "{}", both(&output));
}

fn fork(ruby: &Ruby) {
    execute(
        ruby,
        "Rackrs.before_fork { $sleeping = fork { sleep } }
         Rackrs.before_fork { $back = fork }
         Rackrs.before_fork { $log << $$ }
         nil",
    );
    assert_eq!(hooks::run(ruby, Hook::BeforeFork, &[]), []);
    assert!(eval::<bool>(ruby, "$log == [$$]"));
    // The copy that came back has ended, and the block's one sleeps until it is told to end.
    assert_eq!(eval::<i32>(ruby, "Process.wait($back); $?.exitstatus"), 64);
    assert!(eval::<bool>(ruby, "Process.wait($sleeping, Process::WNOHANG).nil?"));
    assert_eq!(
        eval::<i32>(ruby, "Process.kill(:KILL, $sleeping); Process.wait($sleeping); $?.termsig"),
        9
    );
    assert_eq!(waitpid(Pid::from_raw(-1), None), Err(Errno::ECHILD));
}

fn collected(vm: &Vm) {
    let ruby = vm.ruby();
    execute(ruby, "3.times { |n| Rackrs.after_refork { $log << n } }; nil");
    vm.warmup().unwrap();
    execute(ruby, "GC.stress = true; 100.times { Object.new }; GC.stress = false; nil");
    assert_eq!(hooks::run(ruby, Hook::AfterRefork, &[]), []);
    assert!(eval::<bool>(ruby, "$log == [0, 1, 2]"));
    assert!(eval::<bool>(ruby, "Rackrs.instance_variables.empty?"));
}
