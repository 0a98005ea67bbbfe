//! The program that the master becomes in a restart: where it is, and what surrounds it.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, Pid, access};

use super::handover;
use crate::config::Config;

/// Bundler keeps each variable that it changes under this prefix (`Bundler::EnvironmentPreserver`).
const BUNDLER_PREFIX: &str = "BUNDLER_ORIG_";
/// Its word for a variable that was not set.
const BUNDLER_UNSET: &str = "BUNDLER_ENVIRONMENT_PRESERVER_INTENTIONALLY_NIL";
/// The files that Bundler looks for, from the working directory upwards.
const GEMFILES: [&str; 2] = ["Gemfile", "gems.rb"];

/// Variables that are meant for the master alone, and for one program of it.
pub(super) const PASSED_SOCKETS: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// Variables that are meant for the master alone, whatever program it is.
const SERVICE_MANAGER: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How the server was started, as far as it can be started so again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `argv`, as it was typed.
    pub arguments: Vec<OsString>,
    /// Where it was typed, by the name that the user had for it (`$PWD`): after a deploy the same
    /// name leads to another release.
    pub directory: PathBuf,
    /// The process that was started, which a service manager means with `LISTEN_PID` and
    /// `WATCHDOG_PID`: this one, or the launcher that has become a daemon's parent.
    pub launched_as: Pid,
}

impl Invocation {
    /// The first argument.
    pub(super) fn program(&self) -> OsString {
        self.arguments.first().cloned().unwrap_or_else(|| "rackrs".into())
    }

    /// The file that the first argument names now: as a shell finds it.
    ///
    /// # Errors
    ///
    /// When there is none that may be executed.
    pub(super) fn find(&self, path: Option<&OsStr>) -> io::Result<PathBuf> {
        let program = self.program();
        let named = Path::new(&program);
        if named.components().count() > 1 || named.is_absolute() {
            let full = self.directory.join(named);
            return executable(&full).then_some(full).ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        env::split_paths(path.unwrap_or_default())
            .map(|folder| self.directory.join(folder).join(named))
            .find(|full| executable(full))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// The variables of this process as they were before Bundler, which `bundle exec` leaves in them:
/// else a new release would be served with the gems of the one it was started from.
///
/// Bundler itself is loaded again where it was before (Puma does the same on a restart).
pub(super) fn fresh_environment(directory: &Path) -> Vec<(OsString, OsString)> {
    let variables = env::vars_os()
        .filter(|(name, _)| !is_one_of(name, &PASSED_SOCKETS) && name != handover::VARIABLE);
    unbundle(variables.collect(), directory).into_iter().collect()
}

/// The environment of a mold, and so of the application: ours, with `RACK_ENV` as Puma sets it,
/// without what was meant for the master alone. `fresh` for a generation that comes by a restart.
pub(super) fn of_mold(config: &Config, fresh: bool) -> Vec<(OsString, OsString)> {
    let variables =
        if fresh { fresh_environment(&config.directory) } else { env::vars_os().collect() };
    for_application(variables)
        .filter(|(name, _)| name != "RACK_ENV" && name != "PWD")
        .chain([
            ("RACK_ENV".into(), config.environment.clone().into()),
            ("PWD".into(), config.directory.clone().into()),
        ])
        .collect()
}

/// What an application sees of `variables`: nothing that is meant for the master alone.
fn for_application(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    variables.into_iter().filter(|(name, _)| {
        !is_one_of(name, &PASSED_SOCKETS)
            && !is_one_of(name, &SERVICE_MANAGER)
            && name != handover::VARIABLE
    })
}

fn is_one_of(name: &OsStr, names: &[&str]) -> bool {
    names.iter().any(|other| name == *other)
}

fn unbundle(
    mut variables: BTreeMap<OsString, OsString>,
    directory: &Path,
) -> BTreeMap<OsString, OsString> {
    let kept: Vec<(OsString, OsString)> = variables
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_str()?.strip_prefix(BUNDLER_PREFIX)?;
            Some((name.into(), value.clone()))
        })
        .collect();
    if kept.is_empty() {
        return variables;
    }
    let gemfile = variables.get(OsStr::new("BUNDLE_GEMFILE")).cloned();
    for (name, value) in kept {
        variables.remove(OsStr::new(&format!("{BUNDLER_PREFIX}{}", name.to_string_lossy())));
        if value == BUNDLER_UNSET {
            variables.remove(&name);
        } else {
            variables.insert(name, value);
        }
    }
    let ruby_options = variables.entry("RUBYOPT".into()).or_default();
    let mut again = OsString::from("-rbundler/setup");
    if !ruby_options.is_empty() {
        again.push(" ");
        again.push(&*ruby_options);
    }
    *ruby_options = again;
    // One that was named by a flag of Bundler's, where no other would be found.
    if let Some(gemfile) = gemfile
        && !variables.contains_key(OsStr::new("BUNDLE_GEMFILE"))
        && !has_gemfile(directory)
    {
        variables.insert("BUNDLE_GEMFILE".into(), gemfile);
    }
    variables
}

fn has_gemfile(directory: &Path) -> bool {
    directory.ancestors().any(|folder| GEMFILES.iter().any(|name| folder.join(name).is_file()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn bundlers_traces_go_and_bundler_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Gemfile"), "").unwrap();
        let before = variables(&[
            ("BUNDLER_ORIG_BUNDLE_GEMFILE", BUNDLER_UNSET),
            ("BUNDLER_ORIG_PATH", "/bin"),
            ("BUNDLER_ORIG_RUBYOPT", "-W0"),
            ("BUNDLE_GEMFILE", "/releases/1/Gemfile"),
            ("HOME", "/root"),
            ("PATH", "/releases/1/bin:/bin"),
            ("RUBYOPT", "-r/usr/lib/ruby/bundler/setup -W0"),
        ]);
        let after =
            variables(&[("HOME", "/root"), ("PATH", "/bin"), ("RUBYOPT", "-rbundler/setup -W0")]);
        assert_eq!(unbundle(before, folder.path()), after);
        assert_eq!(unbundle(after.clone(), folder.path()), after);
    }

    #[test]
    fn a_gemfile_that_was_named_stays_where_there_is_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let before = variables(&[
            ("BUNDLER_ORIG_BUNDLE_GEMFILE", BUNDLER_UNSET),
            ("BUNDLER_ORIG_RUBYOPT", BUNDLER_UNSET),
            ("BUNDLE_GEMFILE", "/elsewhere/Gemfile"),
        ]);
        let after =
            variables(&[("BUNDLE_GEMFILE", "/elsewhere/Gemfile"), ("RUBYOPT", "-rbundler/setup")]);
        assert_eq!(unbundle(before, folder.path()), after);
    }

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bin/rackrs");
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(&program, "").unwrap();
        let find = |name: &OsStr| {
            let invocation = Invocation {
                arguments: vec![name.into()],
                directory: folder.path().into(),
                launched_as: Pid::this(),
            };
            invocation.find(Some(OsStr::new("/nowhere:bin"))).ok()
        };
        assert_eq!(find(program.as_os_str()), None, "it may not be executed");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        for name in [program.as_os_str(), OsStr::new("bin/rackrs"), OsStr::new("rackrs")] {
            assert_eq!(find(name), Some(program.clone()), "{name:?}");
        }
        assert_eq!(find(OsStr::new("./rackrs")), None);
    }
}
