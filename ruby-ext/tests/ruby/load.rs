//! Loading applications by `Rack::Builder`, and every way in which that fails.

use std::{fs, path::Path, process::Output};

use magnus::prelude::*;
use rackrs_ruby::{
    load::{LoadErrorKind, load_application},
    vm::{Ending, Vm},
};

use super::{
    child::{both, command, eval, execute, stderr, stdout},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("load_builds_what_the_rackup_file_says", builds),
    ("load_takes_a_ruby_file_by_its_class", ruby_file),
    ("load_obeys_bundler", under_bundler),
    ("load_boots_rails", rails),
    ("load_reports_each_failure", failures),
    ("load_reports_a_missing_file", missing_file),
    ("load_reports_a_missing_rack", missing_rack),
];

/// What Rack 3 says of a `#\` line.
const REFUSAL_OF_OPTIONS: &str =
    "Parsing options from the first comment line is no longer supported: config.ru (RuntimeError)";

/// Loads `text` as `name` in a folder of its own.
fn load(name: &str, text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    command("load").arg(name).current_dir(folder.path()).output().unwrap()
}

fn builds() {
    let output = load(
        "config.ru",
        r#"use Rack::ContentType, "text/plain"
warmup { |app| puts "warm" }
freeze_app
map("/a") { run ->(env) { [200, {}, ["at a, in #{__FILE__}, #{env["SCRIPT_NAME"]}"]] } }
run ->(env) { [200, {}, ["root"]] }
__END__
not ruby
"#,
    );
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(text.contains("warm\n"), "{text}");
    assert!(text.contains("at a, in config.ru, /a"), "{text}");
    assert!(text.contains("text/plain"), "{text}");
    assert!(text.contains("frozen true"), "{text}");

    let output = load("config.ru", "#\\ -E deployment -p 3000\nrun ->(_) { [200, {}, []] }\n");
    let said = both(&output);
    if text.contains("rack 2.") {
        assert!(said.contains("(\"Port\", \"3000\")"), "{said}");
        assert_eq!(output.status.code(), Some(0), "{said}");
    } else {
        assert!(said.contains("kind Raised, status 1:"), "{said}");
        assert!(said.contains(REFUSAL_OF_OPTIONS), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
}

fn under_bundler() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Gemfile"), "gem 'rack'").unwrap();
    let code =
        "run ->(env) { [200, {}, [\"bundled #{defined?(Bundler)} #{defined?(Rack::Lint)}\"]] }";
    fs::write(folder.path().join("config.ru"), code).unwrap();
    let mut child = command("load");
    child.arg("config.ru").current_dir(folder.path());
    child.env("RUBYOPT", "-rbundler/setup").env("BUNDLE_GEMFILE", folder.path().join("Gemfile"));
    let output = child.output().unwrap();
    assert!(stdout(&output).contains("bundled constant"), "{}", both(&output));
}

fn ruby_file() {
    let output = load("my_app.rb", "class MyApp; def self.call(_) = [200, {}, [__FILE__]]; end");
    assert!(stdout(&output).contains("/my_app.rb"), "{}", both(&output));
}

fn rails() {
    let code = r#"
require "action_controller/railtie"
class Small < Rails::Application
  config.eager_load = true
  config.secret_key_base = "x" * 30
  config.hosts.clear
  config.logger = Logger.new(nil)
  routes.append { root to: ->(env) { [200, {}, ["rails #{Rails.version}"]] } ; get "/a", to: "small#show" }
end
class SmallController < ActionController::Base
  def show = render(plain: "rails #{Rails.version} shows")
end
Small.initialize!
run Rails.application
"#;
    let output = load("config.ru", code);
    if stderr(&output).contains("cannot load such file -- action_controller") {
        println!("  (Rails is not installed)");
        return;
    }
    assert!(stdout(&output).contains("shows"), "{}", both(&output));
}

fn failures() {
    for (code, kind, status, message) in [
        ("def (", "Syntax", 1, "syntax error"),
        ("raise 'boom'", "Raised", 1, "boom (RuntimeError)"),
        ("raise NotImplementedError", "Raised", 1, "NotImplementedError"),
        ("require 'missing'", "Raised", 1, "cannot load such file -- missing"),
        ("exit", "Exited", 1, ""),
        ("exit 3", "Exited", 3, ""),
        ("abort 'no'", "Exited", 1, ""),
        ("throw :x", "Raised", 1, "uncaught throw :x"),
        ("Process.kill(:TERM, $$); sleep", "Signalled", 143, "SIGTERM"),
        ("def f = f; f", "Raised", 1, "stack level too deep"),
        ("", "Raised", 1, "missing run or map statement"),
        ("run 42", "Raised", 1, "does not answer `call`"),
        ("Class.new(StandardError) { def message = raise }.then { raise _1 }", "Raised", 1, ""),
    ] {
        let output = load("config.ru", &format!("{code}\n"));
        let report = both(&output);
        let text = stdout(&output);
        assert!(text.contains(&format!("kind {kind}, status {status}:")), "{code}: {report}");
        assert!(text.contains(message), "{code}: {report}");
        assert!(text.contains("cannot load config.ru: "), "{code}: {report}");
        assert_ne!(output.status.code(), Some(0), "{code}: {report}");
        if !matches!(kind, "Exited" | "Signalled") {
            assert!(text.contains("\nat_exit #<"), "{code}: {report}");
            assert!(stderr(&output).contains(message), "{code}: {report}");
        }
    }
    // Of the backtrace, the place; how a frame is called differs from Ruby to Ruby.
    let output = load("config.ru", "raise 'boom'");
    assert!(stderr(&output).starts_with("config.ru:1:in "), "{}", both(&output));
    // Nothing can catch this.
    assert_eq!(load("config.ru", "exit! 9").status.code(), Some(9));
    assert!(stderr(&load("config.ru", "abort 'no'")).contains("no\n"));
}

fn missing_file() {
    let output = command("load").arg("/nowhere/config.ru").output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("kind Unreadable, status 66:"), "{}", both(&output));
    assert!(text.contains("cannot load /nowhere/config.ru: the file cannot be read"), "{text}");
    assert_eq!(output.status.code(), Some(66));
}

fn missing_rack() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rack.rb"), "require 'no/such/rack'").unwrap();
    fs::write(folder.path().join("config.ru"), "").unwrap();
    let mut child = command("load");
    child.arg("config.ru").arg("-I").arg(folder.path()).current_dir(folder.path());
    let output = child.output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("kind RackMissing, status 1:"), "{}", both(&output));
    assert!(text.contains("ruby-rack"), "{text}");
    assert!(text.contains("cannot load such file -- no/such/rack"), "{text}");
}

pub(crate) fn child(vm: &Vm, rackup: &Path) -> Ending {
    let ruby = vm.ruby();
    let loaded = match load_application(vm, rackup) {
        Ok(loaded) => loaded,
        Err(failure) => {
            let kind = match &failure.kind {
                LoadErrorKind::Unreadable(_) => "Unreadable",
                LoadErrorKind::RackMissing(_) => "RackMissing",
                LoadErrorKind::Syntax(_) => "Syntax",
                LoadErrorKind::Raised(_) => "Raised",
                LoadErrorKind::Exited(_) => "Exited",
                LoadErrorKind::Signalled(_) => "Signalled",
            };
            println!("kind {kind}, status {}: {}", failure.status, failure.ruby_message);
            println!("{failure}");
            execute(ruby, "at_exit { puts \"at_exit #{$!.inspect rescue '(bad)'}\" }; nil");
            return failure.into_ending(ruby);
        }
    };
    let version = loaded.rack_version();
    println!("rack {}.{} options {:?}", version.major, version.minor, loaded.rackup_options());
    for path in ["/a", "/"] {
        let mock: magnus::Value = eval(ruby, "Rack::MockRequest");
        let env: magnus::Value = mock.funcall("env_for", (path,)).unwrap();
        let triple: magnus::RArray = loaded.get(ruby).funcall("call", (env,)).unwrap();
        let body: magnus::Value = triple.entry(2).unwrap();
        let text: magnus::Value =
            eval::<magnus::block::Proc>(ruby, "->(body) { s = +''; body.each { s << _1 }; s }")
                .call((body,))
                .unwrap();
        println!(
            "{path}: {} {} {text}",
            triple.entry::<magnus::Value>(0).unwrap(),
            triple.entry::<magnus::Value>(1).unwrap()
        );
    }
    println!("frozen {}", loaded.get(ruby).is_frozen());
    Ending::Status(0)
}
