//! What surrounds the process: variables, working directory, CPUs, IPv6. Tests make their own.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    num::NonZero,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

/// Addresses of the machine's interfaces, one a line (Linux, `proc_pid_net(5)`).
const IPV6_INTERFACES: &str = "/proc/net/if_inet6";
/// `::1` as that file writes it.
const IPV6_LOOPBACK: &str = "00000000000000000000000000000001";

/// The surroundings that the configuration depends on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Through symlinks as `$PWD` names it, so that it outlives one release of a deploy; `None` when
    /// it has been removed.
    pub working_directory: Option<PathBuf>,
    /// CPUs this process may use: affinity and cgroup quota counted in. For `--workers auto`.
    pub cpus: NonZero<usize>,
    /// An interface has an IPv6 address other than `::1`: `--port` then means `[::]` (Puma 8).
    pub ipv6: bool,
}

impl Environment {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let variables: BTreeMap<OsString, OsString> = env::vars_os().collect();
        let named = variables.get(OsStr::new("PWD")).map(Path::new);
        Self {
            working_directory: working_directory(named, env::current_dir().ok()),
            // One CPU is what is left when the system does not say.
            cpus: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            // Without the file the kernel has no IPv6.
            ipv6: fs::read_to_string(IPV6_INTERFACES).is_ok_and(|text| has_ipv6(&text)),
            variables,
        }
    }

    /// A variable that is set to more than blanks.
    pub(crate) fn filled(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        let blank = value.as_encoded_bytes().iter().all(u8::is_ascii_whitespace);
        (!blank).then_some(value.as_os_str())
    }
}

/// `$PWD` where it names the directory we are in, or where that directory is gone; else what the
/// kernel says. A supervisor that changes directory leaves an old `$PWD` behind.
fn working_directory(named: Option<&Path>, real: Option<PathBuf>) -> Option<PathBuf> {
    let named = named.filter(|path| path.is_absolute() && path.is_dir());
    let Some(real) = real else { return named.map(Path::to_owned) };
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let there = identity(&real);
    Some(named.filter(|path| identity(path) == there).map_or(real, Path::to_owned))
}

fn has_ipv6(interfaces: &str) -> bool {
    interfaces
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .any(|address| address != IPV6_LOOPBACK)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn pwd_is_believed_when_it_names_the_directory_we_are_in() {
        let root = tempfile::tempdir().unwrap();
        let release = root.path().join("releases-1");
        let current = root.path().join("current");
        fs::create_dir(&release).unwrap();
        symlink(&release, &current).unwrap();
        assert_eq!(working_directory(Some(&current), Some(release.clone())), Some(current.clone()));
        // A supervisor went to `/` and left PWD as it was.
        assert_eq!(working_directory(Some(&current), Some("/".into())), Some("/".into()));
        // The release is gone; the link already leads to the next one.
        assert_eq!(working_directory(Some(&current), None), Some(current));
        assert_eq!(working_directory(Some(Path::new("/nowhere")), None), None);
        assert_eq!(working_directory(Some(Path::new(".")), Some(release.clone())), Some(release));
    }

    #[test]
    fn the_loopback_address_alone_is_not_ipv6() {
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(!has_ipv6(""));
        assert!(!has_ipv6(loopback));
        let ethernet = "fe80000000000000a00027fffe4e66a1 02 40 20 80     eth0\n";
        assert!(has_ipv6(&format!("{loopback}{ethernet}")));
    }

    #[test]
    fn blank_variables_count_as_not_set() {
        let mut environment = Environment::of_process();
        environment.variables =
            [("A", ""), ("B", "  "), ("C", "x")].map(|(k, v)| (k.into(), v.into())).into();
        assert_eq!(environment.filled("A"), None);
        assert_eq!(environment.filled("B"), None);
        assert_eq!(environment.filled("C"), Some(OsStr::new("x")));
        assert_eq!(environment.filled("D"), None);
    }
}
