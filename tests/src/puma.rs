//! Debian's Puma beside `rackrs`, for promises of the form "as Puma does".

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Connection, app, patience::within_patience};

/// A Puma that serves on a Unix socket in a folder of its own; dropping it ends it.
#[derive(Debug)]
pub struct Puma {
    folder: TempDir,
    child: Child,
}

impl Puma {
    /// Starts `/usr/bin/puma` with an application of `tests/apps`.
    ///
    /// Panics when Puma is not installed: a comparison that was not made proves nothing.
    #[must_use]
    pub fn start(name: &str) -> Self {
        let folder = TempDir::with_prefix("rackrs-puma-").expect("a temporary folder can be made");
        let log =
            File::create(folder.path().join("log")).expect("the test's folder can be written");
        let stderr = log.try_clone().expect("a descriptor can be doubled");
        let socket = folder.path().join("puma.sock");
        let child = Command::new("/usr/bin/puma")
            .args(["-e", "production", "-t", "1:1", "-b"])
            .arg(format!("unix://{}", socket.display()))
            .arg(app(name))
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", folder.path())
            .env("FOLDER", folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start Puma: {error}; run script/bootstrap"));
        let puma = Self { folder, child };
        let up = within_patience(|| Connection::try_unix(&puma.socket()));
        let log = || std::fs::read_to_string(puma.folder.path().join("log")).unwrap_or_default();
        assert!(up.is_some(), "Puma did not start: {}", log());
        puma
    }

    /// A new connection to it.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::unix(&self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("puma.sock")
    }
}

impl Drop for Puma {
    fn drop(&mut self) {
        // Its end is no subject of any test.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
