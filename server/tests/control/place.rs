//! A fresh folder for a server, and `rackrsctl` in it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::unistd::Pid;
use rackrs::control;
use rackrs_sys::pid_file::PidFile;
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const RACKRSCTL: &str = env!("CARGO_BIN_EXE_rackrsctl");

pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.at("web_server.pid")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        control::socket_of(&self.pid_file())
    }

    /// The pid file of this process, held as a master holds it.
    pub(crate) fn hold_pid_file(&self) -> PidFile {
        PidFile::claim(&self.pid_file()).unwrap().write(Pid::this()).unwrap()
    }

    /// `rackrsctl -P PIDFILE WORDS`
    pub(crate) fn ctl(&self, words: &str) -> Said {
        let pid_file = self.pid_file();
        let words = words.split_whitespace().map(OsStr::new);
        rackrsctl([OsStr::new("-P"), pid_file.as_os_str()].into_iter().chain(words))
    }
}

/// Runs `rackrsctl` to its end.
pub(crate) fn rackrsctl<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> Said {
    Said::of(&Command::new(RACKRSCTL).args(words).output().unwrap())
}

/// What a program printed and ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ends it"),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Its one line of JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!((self.out.lines().count(), self.err.as_str()), (1, ""), "{self:?}");
        serde_json::from_str(&self.out).expect(&self.out)
    }

    /// Asserts that it went well and printed this.
    #[track_caller]
    pub(crate) fn is(&self, line: &str) {
        let expected = Self { status: 0, out: format!("{line}\n"), err: String::new() };
        assert_eq!(*self, expected);
    }

    /// Asserts that it failed with one line that has this in it.
    #[track_caller]
    pub(crate) fn fails(&self, status: i32, part: &str) {
        assert_eq!((self.status, self.out.as_str()), (status, ""), "{self:?}");
        assert!(self.err.starts_with("rackrsctl: ") && self.err.contains(part), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
    }
}
