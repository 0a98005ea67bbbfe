//! The child side: one Ruby, one scenario; and how the parent side starts it.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
};

use magnus::{Error, Ruby, Value, prelude::*};
use rackrs_ruby::vm::{self, Ending, Vm, VmOptions};

/// The first argument of a child.
pub(crate) const FLAG: &str = "--child";

/// A command that runs `scenario` in a child, in a poor and known environment.
pub(crate) fn command(scenario: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(FLAG).arg(scenario);
    in_known_environment(command)
}

pub(crate) fn in_known_environment(mut command: Command) -> Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/");
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Runs `scenario`, expects it to end with 0, and returns what it printed.
pub(crate) fn succeeds(scenario: &str) -> String {
    let output = command(scenario).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    stdout(&output)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn both(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, stdout(output), stderr(output))
}

/// Evaluates Ruby code, which must not raise.
pub(crate) fn eval<T: magnus::TryConvert>(ruby: &Ruby, code: &str) -> T {
    ruby.eval(code).unwrap_or_else(|error: Error| panic!("{code}: {error}"))
}

/// Evaluates Ruby code for its effect.
pub(crate) fn execute(ruby: &Ruby, code: &str) {
    eval::<Value>(ruby, code);
}

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let (scenario, rest) = arguments.split_first().unwrap();
    let mut options = VmOptions { program_name: "rackrs".to_owned(), ..VmOptions::default() };
    let mut files = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-I" => options.load_path.push(PathBuf::from(words.next().unwrap())),
            "--yjit" => options.yjit = true,
            file => files.push(PathBuf::from(file)),
        }
    }
    let ended = vm::run(&options, |vm| match scenario.as_str() {
        "script" => script(vm, &files[0]),
        "load" => super::load::child(vm, &files[0]),
        scenario if scenario.starts_with("vm-") => super::vm::child(vm, scenario),
        scenario if scenario.starts_with("fork-") => super::fork::child(vm, scenario),
        scenario if scenario.starts_with("pool-") => super::pool::child(vm, scenario),
        scenario if scenario.starts_with("hooks-") => super::hooks::child(vm, scenario),
        scenario if scenario.starts_with("watch-") => super::watch::child(vm, scenario),
        scenario if scenario.starts_with("backtraces-") => super::backtraces::child(vm, scenario),
        unknown => panic!("no scenario {unknown}"),
    });
    match ended {
        Ok(status) => ExitCode::from(u8::try_from(status & 0xff).unwrap()),
        Err(error) => {
            println!("boot error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// What `ruby FILE` does.
fn script(vm: &Vm, file: &Path) -> Ending {
    let file = file.to_str().unwrap();
    let loaded: Result<Value, Error> = vm.ruby().module_kernel().funcall("load", (file,));
    match loaded {
        Ok(_) => Ending::Status(0),
        Err(error) => Ending::Uncaught(error),
    }
}
