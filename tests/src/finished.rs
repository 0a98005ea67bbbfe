//! A command that was run to its end.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use crate::patience::within_patience;

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub out: String,
    /// Standard error; bytes that are not UTF-8 are replaced.
    pub err: String,
}

impl Finished {
    /// Runs `command` to its end, with its output in files of `folder`.
    ///
    /// Files and not pipes, so that a daemon that keeps its standard streams open does not look
    /// like a command that has not ended. Panics when the command does not end.
    #[must_use]
    pub fn of(command: &mut Command, folder: &Path) -> Self {
        let (out, err) = (folder.join("stdout"), folder.join("stderr"));
        let create = |path: &Path| File::create(path).expect("the test's folder can be written");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(create(&out))
            .stderr(create(&err))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let ended = within_patience(|| child.try_wait().expect("a child can be waited for"));
        let read =
            |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let Some(status) = ended else {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("{command:?} did not end\n{}{}", read(&out), read(&err));
        };
        Self { status, out: read(&out), err: read(&err) }
    }

    /// The exit code; panics when a signal ended the command.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self}"))
    }

    /// Standard output and standard error, one after the other.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// Panics unless the exit code is 0.
    pub fn assert_success(&self) {
        assert!(self.status.success(), "did not succeed: {self}");
    }

    /// Panics unless it failed with an exit code, not by a signal.
    pub fn assert_failure(&self) {
        assert_ne!(self.code(), 0, "did not fail: {self}");
    }

    /// Panics unless something it said contains `words`.
    pub fn assert_says(&self, words: &str) {
        assert!(self.text().contains(words), "does not say {words:?}: {self}");
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, out, err } = self;
        write!(to, "{status}\n--- stdout\n{out}\n--- stderr\n{err}")
    }
}
