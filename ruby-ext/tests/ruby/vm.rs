//! The embedded VM is the `ruby` program: the same script under both, compared.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output},
};

use nix::sys::signal::Signal;
use rackrs_ruby::{
    exception::{Exception, Kind},
    signals,
    title::set_title,
    vm::{Ending, Vm, Yjit},
};

use super::{
    child::{both, command, eval, execute, in_known_environment, stderr, stdout, succeeds},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("vm_has_the_settings_of_ruby_under_each_locale_and_option", settings),
    ("vm_takes_include_directories", include_directories),
    ("vm_ends_like_ruby", endings),
    ("vm_reports_a_failed_boot", failed_boots),
    ("vm_names_the_program_and_sets_the_title", names_and_title),
    ("vm_starts_yjit_where_there_is_one", yjit),
    ("vm_lets_children_die_of_a_broken_pipe", broken_pipe),
    ("vm_traps_signals", || drop(succeeds("vm-signals"))),
    ("vm_reads_hostile_exceptions", || drop(succeeds("vm-exceptions"))),
];

const SETTINGS: &str = r#"
puts [:external, Encoding.default_external, :internal, Encoding.default_internal.inspect,
      :locale, Encoding.find("locale"), :filesystem, Encoding.find("filesystem"),
      :env, ENV["HOME"].encoding, :pwd, Dir.pwd.encoding, :source, __ENCODING__,
      :stdout, $stdout.external_encoding.inspect].join(" ")
puts "verbose #{$VERBOSE.inspect} debug #{$DEBUG.inspect}"
puts "sync #{$stdout.sync} #{$stderr.sync}"
puts "gem #{defined?(Gem).inspect} #{Gem::VERSION} #{Gem.path.sort} set #{defined?(Set).inspect}"
puts "did_you_mean #{defined?(DidYouMean).inspect} error_highlight #{defined?(ErrorHighlight).inspect}"
puts $LOAD_PATH.map(&:to_s).sort
puts "argv #{ARGV.inspect} method #{__method__.inspect} self #{self} file #{__FILE__ == ENV["SCRIPT"]}"
puts "clock #{Process.clock_gettime(Process::CLOCK_MONOTONIC).class}"
puts "threads #{Thread.list.size} main #{Thread.current == Thread.main}"
puts "traps #{%w[INT TERM HUP USR1 USR2 QUIT PIPE CHLD].map { |s| old = trap(s, "DEFAULT"); trap(s, old || "DEFAULT"); old.inspect }}"
puts "umask #{File.umask} binding #{TOPLEVEL_BINDING.receiver} warnings #{Warning[:deprecated]}"
puts "yjit #{defined?(RubyVM::YJIT) && RubyVM::YJIT.enabled?}"
warn "a warning"
"#;

/// Runs `code` as a file under `ruby` and under us.
fn under_both(code: &str, environment: &[(&str, &str)]) -> (Output, Output) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.rb");
    fs::write(&file, code).unwrap();
    let run = |mut command: Command| {
        command.arg(&file).env("SCRIPT", &file).envs(environment.iter().copied());
        command.output().unwrap()
    };
    (run(in_known_environment(Command::new("ruby"))), run(command("script")))
}

fn settings() {
    for locale in ["C", "C.UTF-8", "POSIX", "xx_YY.UTF-8", ""] {
        for (name, value) in [
            ("RUBYOPT", ""),
            ("RUBYOPT", "-W0"),
            ("RUBYOPT", "-w"),
            ("RUBYOPT", "-rset"),
            ("RUBYOPT", "-Ku"),
            ("RUBYOPT", "-E ISO-8859-1:UTF-8"),
            ("RUBYOPT", "--disable=did_you_mean"),
            ("RUBYLIB", "/one:/two"),
            ("GEM_HOME", "/gems"),
            ("RUBY_YJIT_ENABLE", "1"),
        ] {
            let (ruby, ours) = under_both(SETTINGS, &[("LC_ALL", locale), (name, value)]);
            assert_eq!(both(&ruby), both(&ours), "LC_ALL={locale} {name}={value}");
            assert!(ruby.status.success(), "{}", both(&ruby));
        }
    }
}

fn include_directories() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("found.rb"), "puts $LOAD_PATH.first(2)").unwrap();
    let script = folder.path().join("script.rb");
    fs::write(&script, "require 'found'").unwrap();
    let directory = folder.path().to_str().unwrap();
    let output = command("script").args(["-I", directory, "-I", "/two"]).arg(&script).output();
    assert_eq!(stdout(&output.unwrap()), format!("{directory}\n/two\n"));
}

/// Standard output, and how the process ended, are the same; stderr but for the frame's name.
fn endings() {
    let at_exit =
        "at_exit { puts \"first #{$!.inspect}\" }; at_exit { puts \"last #{$!.class}\" };";
    for ending in [
        "",
        "exit 3",
        "exit",
        "exit false",
        "abort 'why'",
        "exit! 4",
        "raise 'boom'",
        "raise Interrupt",
        "throw :nowhere",
        "Process.kill(:TERM, $$); sleep",
        "Process.kill(:KILL, $$); sleep",
        "Thread.main.kill; sleep",
        "at_exit { exit 7 }",
        "at_exit { raise 'late' }",
        "at_exit { raise 'late' }; exit 5",
        "Thread.new { exit 6 }.join",
        "fork { at_exit { puts 'child' } }; Process.wait; exit 8",
        "exit 9 unless fork; Process.wait; puts $?.exitstatus",
        "class Odd < StandardError; def message = raise; end; raise Odd",
        "def f = f; f",
    ] {
        let (ruby, ours) = under_both(&format!("{at_exit}\n{ending}"), &[]);
        assert_eq!(stdout(&ruby), stdout(&ours), "{ending}: {}{}", both(&ruby), both(&ours));
        assert_eq!(ruby.status.code(), ours.status.code(), "{ending}");
        assert_eq!(ruby.status.signal(), ours.status.signal(), "{ending}");
        let first_line = |output: &Output| {
            let text = stderr(output);
            text.lines()
                .next()
                .unwrap_or("")
                .replace("<top (required)>", "<main>")
                .replace("script.rb:2:in `<main>': ", "")
        };
        assert_eq!(first_line(&ruby), first_line(&ours), "{ending}");
    }
}

fn failed_boots() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let gemfile = write("Gemfile", "gem 'no-such-gem-anywhere'");
    let quits = write("quits.rb", "at_exit { puts 'bye' }; exit 0");
    let broken = write("broken.rb", "def (");
    for (environment, status, message) in [
        (("RUBYOPT", "-rmissing"), 1, "cannot load such file -- missing"),
        (("RUBYOPT", &*format!("-r{quits}")), 1, ""),
        (("RUBYOPT", &*format!("-r{broken}")), 1, "SyntaxError"),
        (("RUBYOPT", "--bad-option"), 1, "invalid"),
        (("BUNDLE_GEMFILE", &*gemfile), 1, "no-such-gem-anywhere"),
    ] {
        let mut child = command("vm-nothing");
        if environment.0 == "BUNDLE_GEMFILE" {
            child.env("RUBYOPT", "-rbundler/setup");
        }
        let output = child.env(environment.0, environment.1).output().unwrap();
        let report = both(&output);
        assert!(output.status.code().is_some_and(|code| code >= status), "{report}");
        assert!(stderr(&output).contains(message), "{environment:?} {report}");
        assert!(stdout(&output).contains("boot error: cannot start Ruby"), "{report}");
        assert_eq!(stdout(&output).contains("bye"), environment.1.contains("quits"), "{report}");
    }
}

/// Bytes; more than the arguments of a child take, and less than Ruby's limit of 1023.
const LONG_TITLE: usize = 900;

fn long_title() -> String {
    format!("{:x<LONG_TITLE$}", "rackrs 1.0 worker ")
}

fn names_and_title() {
    // The room for a title is that of arguments and environment: enough for the long one below.
    let output = command("vm-title").env("ROOM", "-".repeat(LONG_TITLE)).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let printed = stdout(&output);
    let lines: Vec<&str> = printed.lines().collect();
    let [named, before, after, by_name, restored] = lines[..] else { panic!("{printed}") };
    assert_eq!(named, "rackrs rackrs rackrs []");
    assert!(before.ends_with("--child vm-title"), "{before}");
    assert_eq!((after, by_name, restored), (&*long_title(), "short", "yes /"));
}

fn yjit() {
    assert!(["Off\n", "Missing\n"].contains(&&*succeeds("vm-nothing")));
    let output = command("vm-nothing").arg("--yjit").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    match stdout(&output).trim() {
        "On" => {}
        "Missing" => assert!(stderr(&output).contains("built without YJIT"), "{}", both(&output)),
        other => panic!("{other}"),
    }
}

fn broken_pipe() {
    let code = "system('yes | head -n 1; exit ${PIPESTATUS[0]}'); system('bash', '-c', 'yes | head -n 1; exit ${PIPESTATUS[0]}'); puts $?.exitstatus";
    let (ruby, ours) = under_both(code, &[]);
    assert_eq!(both(&ruby), both(&ours));
    assert!(stdout(&ours).ends_with("141\n"), "{}", both(&ours));
}

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    match scenario {
        "vm-nothing" => println!("{:?}", vm.yjit()),
        "vm-title" => title(vm),
        "vm-signals" => signal_traps(vm),
        "vm-exceptions" => exceptions(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

fn command_line() -> String {
    let bytes = fs::read(Path::new("/proc/self/cmdline")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.trim_end_matches('\0').replace('\0', " ")
}

fn title(vm: &Vm) {
    let ruby = vm.ruby();
    println!(
        "{}",
        eval::<String>(ruby, "[$0, $PROGRAM_NAME, Process.argv0, ARGV.inspect].join(' ')")
    );
    println!("{}", command_line());
    // Longer than the arguments: it goes on over the environment.
    assert!(command_line().len() < LONG_TITLE);
    set_title(ruby, &long_title()).unwrap();
    println!("{}", command_line());
    execute(ruby, "ENV['LATER'] = 'yes'; $0 = 'short'; nil");
    println!("{}", command_line());
    println!("{} {}", std::env::var("LATER").unwrap(), std::env::var("HOME").unwrap());
    assert!(set_title(ruby, "zero \0 byte").unwrap_err().message.contains("null byte"));
    assert!(vm.version() >= (3, 1));
    assert_ne!(vm.yjit(), Yjit::On);
    execute(ruby, "require 'objspace'; $kept = Object.new; nil");
    let is_old = || eval::<bool>(ruby, "ObjectSpace.dump($kept).include?('\"old\":true')");
    assert!(!is_old());
    assert_eq!(vm.warmup().unwrap(), vm.version() >= (3, 3));
    assert!(is_old(), "the next collection would write to it");
}

fn signal_traps(vm: &Vm) {
    let ruby = vm.ruby();
    let (sender, receiver) = std::sync::mpsc::channel();
    signals::trap(ruby, Signal::SIGTERM, move |ruby| {
        let is_main: bool = eval(ruby, "Thread.current == Thread.main");
        sender.send(is_main).unwrap();
    })
    .unwrap();
    execute(ruby, "Process.kill(:TERM, $$); sleep 0.001; nil");
    assert_eq!(receiver.try_recv(), Ok(true));
    signals::ignore(ruby, Signal::SIGTERM).unwrap();
    execute(ruby, "Process.kill(:TERM, $$); sleep 0.001; nil");
    signals::default(ruby, Signal::SIGTERM).unwrap();
    let died = eval::<bool>(
        ruby,
        "begin Process.kill(:TERM, $$); sleep; rescue SignalException; true end",
    );
    assert!(died);
    let refused = signals::trap(ruby, Signal::SIGSEGV, |_| {}).unwrap_err();
    assert_eq!(refused.to_string(), "cannot trap SIGSEGV; choose another signal");
    assert_eq!(refused.source.class, "ArgumentError");
}

fn exceptions(vm: &Vm) {
    let ruby = vm.ruby();
    let read = |code: &str| {
        let error = ruby.eval::<magnus::Value>(code).expect_err(code);
        Exception::read(ruby, &error)
    };
    let plain = read("raise ArgumentError, 'b\u{fc}'");
    assert_eq!((&*plain.class, &*plain.message), ("ArgumentError", "b\u{fc}"));
    assert_eq!(plain.kind, Kind::Raise);
    assert!(plain.full_message.contains("b\u{fc} (ArgumentError)"), "{}", plain.full_message);
    assert!(!plain.backtrace.is_empty());
    assert_eq!(read("exit 3").kind, Kind::Exit(3));
    assert_eq!(read("abort").kind, Kind::Exit(1));
    assert_eq!(read("raise SignalException, 'TERM'").kind, Kind::Signal(15));
    assert_eq!(read("throw :x").class, "UncaughtThrowError");
    assert_eq!(read("def f = f; f").class, "SystemStackError");
    assert!(read("def f = f; f").backtrace.len() <= rackrs_ruby::exception::BACKTRACE_LINES_MAX);
    assert_eq!(read("raise NoMemoryError, 'none'").class, "NoMemoryError");
    for body in ["raise 'again'", "42", "nil", "exit", "throw :x", "Thread.exit", "\"\\xff\""] {
        for method in
            ["message", "backtrace", "full_message(**)", "detailed_message(**)", "inspect", "to_s"]
        {
            let code = format!(
                "class Odd < StandardError; def self.name = raise; def {method} = ({body}); end; begin; raise Odd; ensure; e = $!; end"
            );
            // On a thread of its own: a killed main thread is the end of the program.
            let odd = read(&format!("begin; {code}; end"));
            assert_eq!(odd.kind, Kind::Raise, "{code}");
            assert_eq!(odd.class, "Odd", "{code}");
            assert!(!odd.full_message.is_empty(), "{code}");
            execute(ruby, "Object.send(:remove_const, :Odd); nil");
        }
    }
}
