//! Ruby inside `rackrs` behaves as the `ruby` program does.

use std::{collections::BTreeMap, process::Command};

use nix::sys::signal::{SIGTERM, Signal};
use rackrs_tests::{Finished, ServerBuilder, both_racks, eventually};
use tempfile::TempDir;

/// Facts that must be the same under `ruby` with the same environment.
const FACTS: &str = r"
FACTS = {
  'external' => Encoding.default_external.name,
  'internal' => Encoding.default_internal.inspect,
  'locale' => Encoding.find('locale').name,
  'filesystem' => Encoding.find('filesystem').name,
  'literal' => __ENCODING__.name,
  'argument' => ENV['WITH_UTF8'].encoding.name,
  'read' => File.read(__FILE__).encoding.name,
  'gems' => defined?(Gem).inspect,
  'verbose' => $VERBOSE.inspect,
  'debug' => $DEBUG.inspect,
  'rubyopt' => ENV['RUBYOPT'].inspect,
  'from_lib' => (begin; require('from_lib'); rescue LoadError; 'missing'; end).inspect,
  'set' => defined?(DidYouMean).inspect,
  'stdout' => [$stdout.fileno, $stdout.external_encoding.inspect].inspect,
  'frozen' => 'a'.frozen?.inspect,
  'load_path' => $LOAD_PATH.grep_v(%r{did_you_mean|bundled|/gems/}).first(3).inspect,
  'main' => self.class.name == 'Object' ? 'main' : 'other'
}
";

fn facts_of_server(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let source =
        format!("{FACTS}\nrequire 'json'\nrun ->(_) {{ [200, {{}}, [JSON.generate(FACTS)]] }}\n");
    let mut builder = ServerBuilder::of_source(&source).file("from_lib.rb", "");
    let folder = builder.folder().to_string_lossy().into_owned();
    for (name, value) in variables {
        builder = builder.env(name, value.replace("FOLDER", &folder));
    }
    let server = builder.start();
    let json = server.get("/").expect(200).text().replace(&folder, "FOLDER");
    serde_json::from_str(&json).expect("the facts are JSON")
}

fn facts_of_ruby(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().to_string_lossy().into_owned();
    let script = folder.path().join("config.ru");
    std::fs::write(&script, format!("{FACTS}\nrequire 'json'\nputs JSON.generate(FACTS)\n"))
        .expect("the test's folder can be written");
    std::fs::write(folder.path().join("from_lib.rb"), "")
        .expect("the test's folder can be written");
    let mut command = Command::new("ruby");
    command.arg(script).current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("LANG", "C.UTF-8").env("HOME", folder.path());
    command.envs(variables.iter().map(|(name, value)| (name, value.replace("FOLDER", &path))));
    let finished = Finished::of(&mut command, folder.path());
    finished.assert_success();
    serde_json::from_str(&finished.out.replace(&path, "FOLDER")).expect("the facts are JSON")
}

#[test]
fn the_language_is_set_up_as_ruby_does_it() {
    let cases: &[&[(&str, &str)]] = &[
        &[("WITH_UTF8", "ż")],
        &[("WITH_UTF8", "ż"), ("LANG", "C")],
        &[("WITH_UTF8", "ż"), ("LANG", "C"), ("LC_ALL", "C.UTF-8")],
        &[("WITH_UTF8", "ż"), ("RUBYOPT", "-W0")],
        &[("WITH_UTF8", "ż"), ("RUBYOPT", "-w -Eutf-8:utf-8")],
        &[("WITH_UTF8", "ż"), ("RUBYLIB", "FOLDER")],
        &[
            ("WITH_UTF8", "ż"),
            ("RUBYLIB", "FOLDER"),
            ("RUBYOPT", "-rfrom_lib --disable-did_you_mean"),
        ],
    ];
    for case in cases {
        let (mut found, mut expected) = (facts_of_server(case), facts_of_ruby(case));
        // `self` in a config.ru is a Rack::Builder, and its literals are of a string that is evaluated.
        for differs in ["main", "literal"] {
            found.remove(differs);
            expected.remove(differs);
        }
        assert_eq!(found, expected, "with {case:?}");
    }
}

both_racks! {
    fn the_program_is_called_rackrs_and_files_by_their_path(rack) {
        let source = "at = [$0, $PROGRAM_NAME, __FILE__, File.basename(__dir__.to_s), ARGV.inspect, __LINE__]\n\
                      run ->(_) { [200, {}, [at.join('|')]] }\n";
        let server = ServerBuilder::of_source(source).rack(&rack).start();
        let text = server.get("/").text();
        let parts: Vec<_> = text.split('|').collect();
        assert_eq!(parts[0], rackrs_tests::binary().to_string_lossy());
        assert_eq!(parts[0], parts[1]);
        assert_eq!(parts[2], server.path("config.ru").to_string_lossy());
        assert_eq!(parts[5], "1");
    }

    fn at_exit_runs_once_in_a_worker_that_stops(rack) {
        let source = "at_exit { File.write('exits', \"#{Process.pid}\\n\", mode: 'a') }\n\
                      run ->(_) { [200, {}, [Process.pid.to_s]] }\n";
        let mut server = ServerBuilder::of_source(source).rack(&rack).start();
        let worker = server.worker();
        server.end_by(SIGTERM);
        let exits = server.read("exits");
        let of_worker = exits.lines().filter(|line| *line == worker.to_string()).count();
        assert_eq!(of_worker, 1, "{exits}");
    }

    fn the_rackup_file_is_one_for_rack_builder(rack) {
        let source = "class Mark\n  def initialize(app, word) = (@app, @word = app, word)\n\
                      def call(env) = @app.call(env).tap { |answer| answer[1]['x-mark'] = @word }\nend\n\
                      use Mark, 'outer'\n\
                      warmup { |app| File.write('warm', app.call('PATH_INFO' => '/', 'SCRIPT_NAME' => '', 'REQUEST_METHOD' => 'GET')[0].to_s) }\n\
                      map('/inner') { run ->(env) { [200, {}, ['inner ', env['SCRIPT_NAME'], env['PATH_INFO']]] } }\n\
                      map('/') { run ->(_) { [200, {}, ['outer']] } }\n\
                      freeze_app\n";
        let server = ServerBuilder::of_source(source).rack(&rack).start();
        assert_eq!(server.get("/inner/x").text(), "inner /inner/x");
        let outer = server.get("/");
        assert_eq!((outer.text().as_str(), outer.header("x-mark")), ("outer", Some("outer".to_owned())));
        assert_eq!(server.read("warm"), "200");
    }

    fn rack_env_is_told_to_the_application(rack) {
        let source = "run ->(_) { [200, {}, [ENV['RACK_ENV'].inspect]] }\n";
        let of = |line: &str| ServerBuilder::of_source(source).rack(&rack).args(line).start().get("/").text();
        assert_eq!(of(""), "\"development\"");
        assert_eq!(of("-e staging"), "\"staging\"");
    }

    fn the_option_line_is_obeyed_by_rack_2_and_refused_by_rack_3(rack) {
        let source = "#\\ -E from_the_line\nrun ->(_) { [200, {}, [ENV['RACK_ENV']]] }\n";
        let builder = ServerBuilder::of_source(source).rack(&rack);
        if rack.is_newer() {
            let finished = builder.run_in_vain();
            finished.assert_says("Parsing options from the first comment line is no longer supported");
            assert_eq!(finished.code(), 1, "{finished}");
        } else {
            assert_eq!(builder.start().get("/").text(), "from_the_line");
        }
    }

    fn warnings_and_prints_reach_the_streams_at_once(rack) {
        let source = "puts 'printed at load'\nwarn 'warned at load'\n\
                      run ->(env) { puts 'printed'; warn 'warned'; env['rack.errors'].puts('told'); [200, {}, []] }\n";
        let server = ServerBuilder::of_source(source).rack(&rack).start();
        assert_eq!(server.get("/").status, 200);
        for words in ["printed at load", "warned at load", "printed\n", "warned\n", "told\n"] {
            server.eventually_logs(words);
        }
    }
}

#[test]
fn the_end_marker_and_data_do_not_disturb() {
    let source = "run ->(_) { [200, {}, ['before the end']] }\n__END__\nthis is no Ruby (\n";
    let server = ServerBuilder::of_source(source).start();
    assert_eq!(server.get("/").text(), "before the end");
}

#[test]
fn an_applications_own_trap_works_in_its_worker() {
    let source = "trap('USR1') { File.write('trapped', Process.pid.to_s) }\n\
                  run ->(_) { [200, {}, [Process.pid.to_s]] }\n";
    let server = ServerBuilder::of_source(source).start();
    let worker = server.worker();
    rackrs_tests::process::send(worker, Signal::SIGUSR1);
    eventually("the trap runs", || (server.read("trapped") == worker.to_string()).then_some(()));
    assert_eq!(server.get("/").text(), worker.to_string());
}

#[test]
fn threads_of_the_load_do_not_stop_the_server() {
    let source =
        "Thread.new { loop { sleep 0.01 } }\nrun ->(_) { [200, {}, [Process.pid.to_s]] }\n";
    let server = ServerBuilder::of_source(source).start();
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn children_of_the_application_get_three_descriptors_and_no_secrets() {
    let source = "run ->(_) { [200, {}, [`ls /proc/self/fd; env`, $?.exitstatus.to_s]] }\n";
    let server = ServerBuilder::of_source(source).tcp().start();
    let text = server.get("/").text();
    let descriptors: Vec<u32> = text.lines().map_while(|line| line.parse().ok()).collect();
    // The fourth is the folder that `ls` itself has open.
    assert_eq!(descriptors, [0, 1, 2, 3], "{text}");
    assert!(!text.contains("RACKRS_"), "{text}");
    assert!(text.ends_with('0'), "the status of a child is had: {text}");
}

#[test]
fn system_spawn_fork_and_popen_work_in_a_request() {
    let source = "run lambda { |_|\n\
                  pid = fork { exit! 7 }\n\
                  forked = Process.wait2(pid)[1].exitstatus\n\
                  spawned = Process.wait2(spawn('exit 5'))[1].exitstatus\n\
                  [200, {}, [forked, spawned, system('true'), IO.popen('echo popen', &:read)].map(&:to_s)]\n}\n";
    let server = ServerBuilder::of_source(source).start();
    assert_eq!(server.get("/").text(), "75truepopen\n");
}

/// `bundle exec` with gems of the machine only; nothing is fetched.
#[test]
fn bundle_exec_works() {
    let source = "run ->(_) { [200, {}, [defined?(Bundler).inspect, ' ', Gem.loaded_specs.keys.sort.join(','), ' ', ENV['BUNDLE_GEMFILE'].to_s]] }\n";
    let builder = ServerBuilder::of_source(source).file("Gemfile", "gem 'rack'\n");
    let mut bundle = Command::new("bundle");
    bundle
        .args(["install", "--local", "--quiet"])
        .current_dir(builder.folder())
        .env("HOME", builder.folder());
    Finished::of(&mut bundle, builder.folder()).assert_success();
    let program = rackrs_tests::binary();
    let server = builder.through("bundle", &["exec".as_ref(), program.as_os_str()]).start();
    let text = server.get("/").text();
    assert!(text.contains("\"constant\"") || text.contains("constant"), "{text}");
    assert!(text.contains("rack"), "{text}");
    assert!(text.ends_with("Gemfile"), "{text}");
}

#[test]
fn yjit_is_asked_for_by_flag_and_variable() {
    let on = "defined?(RubyVM::YJIT) && RubyVM::YJIT.enabled? ? 'on' : 'off'";
    let source = format!("on = {on}\nrun ->(_) {{ [200, {{}}, [on]] }}\n");
    let builder = || ServerBuilder::of_source(&source);
    let ruby = Command::new("ruby").args(["--yjit", "-e", &format!("print({on})")]).output();
    let under_ruby = String::from_utf8_lossy(&ruby.expect("ruby runs").stdout).into_owned();
    assert!(["on", "off"].contains(&under_ruby.as_str()), "{under_ruby}");
    for builder in [builder().arg("--yjit"), builder().env("RUBY_YJIT_ENABLE", "1")] {
        let server = builder.start();
        assert_eq!(server.get("/").text(), under_ruby);
        let warned = server.log().contains("built without YJIT");
        assert_eq!(warned, under_ruby == "off", "{}", server.log());
    }
    let server = builder().start();
    assert_eq!(server.get("/").text(), "off");
    assert!(!server.log().contains("built without YJIT"), "{}", server.log());
}
